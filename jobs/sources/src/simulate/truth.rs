//! The ground truth: hazards, effects and causes that no event shows.
//!
//! Everything is decided by the day. At each midnight (of the simulation's clock) the world computes every
//! hazard of the coming day, writes it here, and only then throws the dice with exactly that
//! probability. Hazards over several days carry the present state forward: what is already settled
//! (the parcel that will come late, the fault in the box) counts, service that is not yet given
//! is taken as neutral. The effect of a contact is the hazard with a contact at that midnight minus
//! the hazard without: negative where the contact helps.

use serde::{Deserialize, Serialize};

use super::customers::{Customer, Treated};
use super::orders::{Order, OrderState};

/// A kind of proactive contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// A message that explains and apologises.
    Contact,
    /// A message with a coupon: keeps customers more than orders.
    Coupon,
    /// A call by a senior agent: the strongest.
    Callback,
}

impl Treatment {
    /// Strength against returning, 1 for [`Treatment::Contact`].
    pub(super) fn on_returning(self) -> f64 {
        match self {
            Self::Contact => 1.0,
            Self::Coupon => 0.5,
            Self::Callback => 1.15,
        }
    }

    /// Strength against leaving, 1 for [`Treatment::Contact`].
    pub(super) fn on_leaving(self) -> f64 {
        match self {
            Self::Contact => 1.0,
            Self::Coupon => 1.3,
            Self::Callback => 1.2,
        }
    }
}

/// One row of the ground truth.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TruthRow {
    /// A customer at a midnight.
    Customer(CustomerTruth),
    /// An open order at a midnight.
    Order(OrderTruth),
    /// An order whose fate is settled.
    Outcome(OrderOutcome),
    /// A customer who left: no further visit. Nothing in the events says so.
    Left(CustomerLeft),
}

/// A customer at a midnight. Probabilities are of the time from `at_ms` on, given that no (further)
/// contact is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CustomerTruth {
    /// Unix milliseconds.
    pub at_ms: i64,
    pub customer_id: String,
    /// Orders that can be cancelled or returned.
    pub open_orders: u32,
    /// Cancels or returns one or more of the open orders, within 1 day, 7 days, and in day 3 to 10.
    pub return_1d: f64,
    pub return_7d: f64,
    pub return_3d_10d: f64,
    /// Change of `return_7d` and `return_3d_10d` by a contact at `at_ms`.
    pub return_7d_effect: f64,
    pub return_3d_10d_effect: f64,
    /// Leaves for good, within 1 day and 7 days.
    pub churn_1d: f64,
    pub churn_7d: f64,
    /// Change of `churn_7d` by a contact at `at_ms`.
    pub churn_7d_effect: f64,
    /// Visits a day as long as the customer has not left; about 4 of 5 become orders.
    pub visits_per_day: f64,
    /// Whether an earlier treatment works at `at_ms`.
    pub treated: bool,
}

/// An open order at a midnight; the fields mean what they mean in [`CustomerTruth`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct OrderTruth {
    /// Unix milliseconds.
    pub at_ms: i64,
    pub customer_id: String,
    pub order_id: String,
    pub return_1d: f64,
    pub return_7d: f64,
    pub return_3d_10d: f64,
    pub return_7d_effect: f64,
    pub return_3d_10d_effect: f64,
}

/// How an order ended and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct OrderOutcome {
    /// Unix milliseconds.
    pub at_ms: i64,
    pub customer_id: String,
    pub order_id: String,
    /// `kept`, `returned` or `cancelled` (by the customer), `merchant` or `timeout` (cancelled by others).
    pub outcome: &'static str,
    /// What moved the hazard of returning at that time.
    #[serde(flatten)]
    pub causes: Causes,
    /// The largest of them, or `whim` if none is above 0.3.
    pub main_cause: &'static str,
}

/// Logarithms of the factors on an order's hazard of being returned; 0 is neutral.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Causes {
    /// The customer's own habit.
    pub habit: f64,
    /// Skus that look or fit other than shown.
    pub product: f64,
    /// A faulty unit.
    pub fault: f64,
    /// Delivery after the promised time.
    pub late: f64,
    /// How the order's conversations went.
    pub service: f64,
    /// Known to nobody: the irreducible part.
    pub whim: f64,
    /// Proactive contact.
    pub treatment: f64,
}

impl Causes {
    pub(super) fn main(&self) -> &'static str {
        let named = [
            ("habit", self.habit),
            ("product", self.product),
            ("fault", self.fault),
            ("late", self.late),
            ("service", self.service),
        ];
        let mut main = ("whim", 0.3);
        for cause in named {
            if cause.1 > main.1 {
                main = cause;
            }
        }
        main.0
    }
}

/// A customer who left.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct CustomerLeft {
    /// Unix milliseconds.
    pub at_ms: i64,
    pub customer_id: String,
    /// What happened lately: logarithm of the factor on the hazard of leaving.
    pub mood: f64,
}

/// Probabilities for one order (or several) from a midnight on.
#[derive(Clone, Copy)]
pub(super) struct Foresight {
    within_1d: f64,
    within_7d: f64,
    from_3d_to_10d: f64,
}

impl Foresight {
    const NOTHING: Self = Self { within_1d: 0.0, within_7d: 0.0, from_3d_to_10d: 0.0 };

    fn of(hazards: &[f64; 10]) -> Self {
        let keeps = |hazards: &[f64]| hazards.iter().map(|hazard| 1.0 - hazard).product::<f64>();
        Self {
            within_1d: hazards[0],
            within_7d: 1.0 - keeps(&hazards[..7]),
            from_3d_to_10d: keeps(&hazards[..3]) * (1.0 - keeps(&hazards[3..])),
        }
    }

    /// One or the other, independently.
    fn or(self, other: Self) -> Self {
        let or = |a: f64, b: f64| 1.0 - (1.0 - a) * (1.0 - b);
        Self {
            within_1d: or(self.within_1d, other.within_1d),
            within_7d: or(self.within_7d, other.within_7d),
            from_3d_to_10d: or(self.from_3d_to_10d, other.from_3d_to_10d),
        }
    }
}

/// The rows of one customer and the open orders at a midnight.
pub(super) fn rows_at_midnight(customer: &Customer, orders: &[Order], at_ms: i64, rows: &mut Vec<TruthRow>) {
    let contact = Some(Treated { kind: Treatment::Contact, at_ms });
    let treated = customer.treated.filter(|treated| treated.works(at_ms));
    let (mut without, mut with) = (Foresight::NOTHING, Foresight::NOTHING);
    let mut open_orders = 0;
    for &index in &customer.open_orders {
        let order = &orders[index as usize];
        if !order.can_be_given_back() {
            continue;
        }
        open_orders += 1;
        let hazards = order.hazards_ahead(customer, at_ms, [treated, contact]);
        let [order_without, order_with] = hazards.map(|hazards| Foresight::of(&hazards));
        without = without.or(order_without);
        with = with.or(order_with);
        rows.push(TruthRow::Order(OrderTruth {
            at_ms,
            customer_id: customer.id(),
            order_id: order.id(),
            return_1d: rounded(order_without.within_1d),
            return_7d: rounded(order_without.within_7d),
            return_3d_10d: rounded(order_without.from_3d_to_10d),
            return_7d_effect: rounded(order_with.within_7d - order_without.within_7d),
            return_3d_10d_effect: rounded(order_with.from_3d_to_10d - order_without.from_3d_to_10d),
        }));
    }
    if customer.left_ms.is_some() && open_orders == 0 {
        return;
    }
    let open = customer.open_orders.iter().map(|&index| &orders[index as usize]);
    let on_the_way =
        open.filter(|order| matches!(order.state, OrderState::Paid | OrderState::Shipped) && !order.missing);
    let [churn_7d, churn_7d_with] = customer.leave_within_7d(at_ms, [treated, contact], on_the_way);
    let gone = customer.left_ms.is_some();
    let churn = |probability: f64| if gone { 0.0 } else { rounded(probability) };
    rows.push(TruthRow::Customer(CustomerTruth {
        at_ms,
        customer_id: customer.id(),
        open_orders,
        return_1d: rounded(without.within_1d),
        return_7d: rounded(without.within_7d),
        return_3d_10d: rounded(without.from_3d_to_10d),
        return_7d_effect: rounded(with.within_7d - without.within_7d),
        return_3d_10d_effect: rounded(with.from_3d_to_10d - without.from_3d_to_10d),
        churn_1d: churn(customer.leave_hazard(at_ms, treated)),
        churn_7d: churn(churn_7d),
        churn_7d_effect: churn(churn_7d_with - churn_7d),
        visits_per_day: if gone { 0.0 } else { rounded(customer.visits_per_day) },
        treated: treated.is_some(),
    }));
}

/// Six decimals: what is written is short, and the same everywhere.
pub(super) fn rounded(x: f64) -> f64 {
    (x * 1e6).round() / 1e6
}
