//! The fixed things of the world: channels, skills, intents, carriers, skus, and what people write.

use super::dice::{Dice, Purpose, Streams, exp};

/// The channels, and how many customers prefer each.
pub(super) const CHANNELS: [&str; 7] = ["web", "app", "miniprogram", "wechat", "douyin", "taobao", "phone"];
pub(super) const CHANNEL_WEIGHTS: [f64; 7] = [0.08, 0.17, 0.12, 0.22, 0.14, 0.21, 0.06];
pub(super) const PHONE: u8 = 6;

pub(super) const SKILLS: [&str; 8] =
    ["presale", "logistics", "refund", "return", "invoice", "complaint", "technical", "vip"];
pub(super) const VIP: u8 = 7;
pub(super) const COMPLAINT: u8 = 5;

/// How long handling takes by skill, relative to the average.
pub(super) const SKILL_EFFORT: [f64; 8] = [0.97, 1.0, 0.98, 1.02, 0.9, 1.1, 1.08, 1.05];

pub(super) const CARRIERS: [&str; 4] = ["sf", "zto", "yto", "sto"];
pub(super) const CARRIER_WEIGHTS: [f64; 4] = [0.2, 0.35, 0.25, 0.2];
/// Median days in transit.
pub(super) const CARRIER_DAYS: [f64; 4] = [1.3, 1.9, 2.1, 2.3];

pub(super) const SKU_COUNT: usize = 160;

/// What a conversation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Intent {
    ProductQuestion,
    WhereIsMyOrder,
    UrgeShipping,
    CancelOrder,
    RefundStatus,
    ReturnHow,
    QualityIssue,
    HowToUse,
    Invoice,
    Complaint,
    Care,
}

pub(super) const INTENTS: [Intent; 11] = [
    Intent::ProductQuestion,
    Intent::WhereIsMyOrder,
    Intent::UrgeShipping,
    Intent::CancelOrder,
    Intent::RefundStatus,
    Intent::ReturnHow,
    Intent::QualityIssue,
    Intent::HowToUse,
    Intent::Invoice,
    Intent::Complaint,
    Intent::Care,
];

/// What is fixed about an intent.
pub(super) struct IntentFacts {
    pub(super) name: &'static str,
    pub(super) skill: u8,
    /// Probability that the bot settles it.
    pub(super) bot_settles: f64,
    /// Probability that an average agent settles it.
    pub(super) agent_settles: f64,
    /// What customers write.
    pub(super) asks: [&'static str; 3],
    /// What agents write.
    pub(super) answers: [&'static str; 3],
}

impl Intent {
    pub(super) fn facts(self) -> &'static IntentFacts {
        &FACTS[self as usize]
    }
}

static FACTS: [IntentFacts; 11] = [
    IntentFacts {
        name: "product_question",
        skill: 0,
        bot_settles: 0.36,
        agent_settles: 0.93,
        asks: ["这款有货吗", "170的身高穿什么码", "今天下单有优惠吗"],
        answers: ["亲,有现货的", "建议您选L码哦", "今天满200减20,亲可以看看"],
    },
    IntentFacts {
        name: "where_is_my_order",
        skill: 1,
        bot_settles: 0.46,
        agent_settles: 0.86,
        asks: ["我的快递到哪了", "物流怎么不动了", "什么时候能到"],
        answers: ["亲,包裹正在派送中", "已帮您联系快递核实", "预计明天送达,请您留意"],
    },
    IntentFacts {
        name: "urge_shipping",
        skill: 1,
        bot_settles: 0.38,
        agent_settles: 0.88,
        asks: ["怎么还没发货", "能不能快点发", "今天能发出吗"],
        answers: ["亲,已帮您催促仓库", "今天会为您发出", "马上帮您加急处理"],
    },
    IntentFacts {
        name: "cancel_order",
        skill: 2,
        bot_settles: 0.3,
        agent_settles: 0.9,
        asks: ["我想取消订单", "不想要了怎么取消", "拍错了能取消吗"],
        answers: ["好的,已为您登记取消", "亲可以在订单页申请哦", "已帮您拦截包裹"],
    },
    IntentFacts {
        name: "refund_status",
        skill: 2,
        bot_settles: 0.34,
        agent_settles: 0.85,
        asks: ["退款什么时候到账", "退货收到了吗", "怎么还没退款"],
        answers: ["亲,预计1到3个工作日到账", "已为您提交财务处理", "仓库正在验收"],
    },
    IntentFacts {
        name: "return_how",
        skill: 3,
        bot_settles: 0.3,
        agent_settles: 0.88,
        asks: ["怎么退货", "尺码不合适想退", "退货运费谁出"],
        answers: ["亲,支持七天无理由退货", "已为您安排上门取件", "运费险会赔付运费的"],
    },
    IntentFacts {
        name: "quality_issue",
        skill: 3,
        bot_settles: 0.08,
        agent_settles: 0.74,
        asks: ["收到的东西是坏的", "有色差,和图片不一样", "用了一天就坏了"],
        answers: ["非常抱歉,请您拍照发给我", "可以为您补发或退款", "已为您登记质量问题"],
    },
    IntentFacts {
        name: "how_to_use",
        skill: 6,
        bot_settles: 0.34,
        agent_settles: 0.87,
        asks: ["这个怎么安装", "连不上网怎么办", "说明书在哪里看"],
        answers: ["亲,请长按电源键三秒", "我把教程发给您", "请您重启再试一下"],
    },
    IntentFacts {
        name: "invoice",
        skill: 4,
        bot_settles: 0.48,
        agent_settles: 0.94,
        asks: ["可以开发票吗", "发票抬头写错了", "电子发票发我邮箱"],
        answers: ["可以的亲,请提供抬头和税号", "已为您重新开具", "发票已发送至您的邮箱"],
    },
    IntentFacts {
        name: "complaint",
        skill: COMPLAINT,
        bot_settles: 0.03,
        agent_settles: 0.66,
        asks: ["我要投诉", "你们服务太差了", "问了几次都没人解决"],
        answers: ["非常抱歉给您带来不便", "我马上为您升级处理", "我会跟进到底,请您放心"],
    },
    IntentFacts {
        name: "care",
        skill: COMPLAINT,
        bot_settles: 0.0,
        agent_settles: 0.95,
        asks: ["好的谢谢", "收到", "好,那我再等等"],
        answers: ["亲,看到您的订单有些问题,主动联系您", "已为您优先处理", "给您申请了一张优惠券"],
    },
];

pub(super) const GREETING: &str = "您好,客服为您服务,请稍等";
pub(super) const NUDGES: [&str; 3] = ["在吗", "有人吗", "怎么没人回"];
pub(super) const BOT_ANSWERS: [&str; 3] =
    ["请问您想咨询什么问题", "为您找到以下答案", "您可以点击订单查看详情"];

/// A thing for sale.
pub(super) struct Sku {
    pub(super) unit_minor: u32,
    /// Probability that a unit is faulty.
    pub(super) faulty: f64,
    /// How its size or look misleads: logarithm of the factor on returning.
    pub(super) misleads_log: f64,
}

/// The skus, and their popularity, which falls with the number.
pub(super) struct Catalogue {
    pub(super) skus: Vec<Sku>,
    /// Cumulative popularity, the last is 1.
    popularity: Vec<f64>,
}

impl Catalogue {
    pub(super) fn new(streams: &Streams) -> Self {
        let mut skus = Vec::with_capacity(SKU_COUNT);
        let mut popularity = Vec::with_capacity(SKU_COUNT);
        let mut total = 0.0;
        for number in 0..SKU_COUNT {
            let mut dice = streams.of(Purpose::Sku, number as u64, 0);
            let unit_yuan = dice.log_normal(89.0, 0.7).clamp(9.0, 2_999.0);
            let misleads_log = 0.55 * dice.normal();
            skus.push(Sku {
                // Prices end in .90, as they do.
                unit_minor: unit_yuan as u32 * 100 + 90,
                faulty: dice.log_normal(0.05, 0.8).min(0.3),
                misleads_log: misleads_log.clamp(-1.1, 1.1),
            });
            total += exp(-0.03 * number as f64);
            popularity.push(total);
        }
        popularity.iter_mut().for_each(|share| *share /= total);
        Self { skus, popularity }
    }

    pub(super) fn pick(&self, dice: &mut Dice) -> usize {
        let wanted = dice.unit();
        self.popularity.partition_point(|share| *share <= wanted).min(SKU_COUNT - 1)
    }
}
