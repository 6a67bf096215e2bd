//! How good probabilities are: ranking, calibration, lift, profit, lead time, each with its interval.
//!
//! Intervals are 95 % percentile intervals of a cluster bootstrap (Field and Welsh, "Bootstrapping
//! clustered data", JRSS B 69 (2007)): customers are drawn with replacement and bring all their
//! rows, because the weeks of one customer are no independent evidence. Rows are sorted once; a
//! resample is a vector of whole weights and one pass. ECE leans upwards under resampling, and its
//! interval with it.
//!
//! Everything is invariant to the order of rows but for rounding: rows of equal probability count
//! as one step, and a cut through them takes their average.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Shares of all rows, best first, that lift and lead time are given for.
pub const TOPS: [f64; 3] = [0.01, 0.05, 0.10];
/// Bins of ECE and of the calibration table.
pub const BINS: usize = 10;
/// Lead times given beside that of the model, ms.
const LEADS_MS: [i64; 3] = [24 * HOUR_MS, 72 * HOUR_MS, 168 * HOUR_MS];
const HOUR_MS: i64 = 3_600_000;
/// How far a curve moves from one point to the next, as a share of its axes.
const STEP: f64 = 0.01;

/// Rows to evaluate; all slices are of one length.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Predicted probability, 0 to 1.
    pub probability: &'a [f64],
    /// What happened.
    pub label: &'a [bool],
    /// Number of the row's customer: rows with the same are drawn together.
    pub entity: &'a [u32],
    /// Time from the row's `as_of` to the event, ms; `None` without an event, or if unknown.
    pub event_in_ms: &'a [Option<i64>],
    /// Dimensions to split by (`channel`, `shop`), and the value of each row.
    pub groups: &'a [(String, Vec<String>)],
}

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Resamples; 0 for none, intervals are then the value alone.
    pub bootstrap: usize,
    /// Of the resampling.
    pub seed: u64,
    /// What contacting customers brings.
    pub profit: Profit,
    /// The model's lead, ms: reported with the usual lead times.
    pub lead_ms: i64,
}

/// What contacting customers brings and costs, minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profit {
    /// Value of a contact with someone whose label is true.
    pub hit_minor: i64,
    /// Cost of any contact.
    pub contact_minor: i64,
}

/// A value and its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// On the sample as it is.
    pub value: f64,
    /// 2.5 % of the resamples are below.
    pub low: f64,
    /// 2.5 % of the resamples are above.
    pub high: f64,
}

/// The figures that one looks at first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Headline {
    /// Area under the ROC curve; 0.5 is chance.
    pub auroc: Interval,
    /// Average precision; the base rate is chance.
    pub auc_pr: Interval,
    /// Mean squared error of the probability.
    pub brier: Interval,
    /// Expected calibration error, see [`ece`].
    pub ece: Interval,
    /// Mean negative log-likelihood, nats.
    pub log_loss: Interval,
    /// For each of [`TOPS`].
    pub lift: Vec<Lift>,
}

/// Of the best share of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lift {
    /// Share of rows that are contacted.
    pub top: f64,
    /// Share of positives among them, over the base rate.
    pub lift: Interval,
    /// Share of positives among them.
    pub precision: f64,
    /// Share of all positives that is among them.
    pub recall: f64,
    /// Probability of the last row that is contacted.
    pub threshold: f64,
}

/// What [`evaluate`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Rows.
    pub rows: u64,
    /// Customers.
    pub entities: u64,
    /// Rows whose label is true.
    pub positives: u64,
    /// Positives per row.
    pub base_rate: f64,
    /// Of all rows.
    pub headline: Headline,
    /// By bins of equal size, lowest first; rows of equal probability are in one bin.
    pub calibration: Vec<CalibrationBin>,
    /// (false positive rate, true positive rate), thinned to some 200 points.
    pub roc: Vec<[f64; 2]>,
    /// (recall, precision), thinned.
    pub precision_recall: Vec<[f64; 2]>,
    /// (share of rows contacted, recall), thinned.
    pub gain: Vec<[f64; 2]>,
    /// What contacting the best share brings.
    pub profit: ProfitCurve,
    /// How early the events were foreseen; `None` if no positive has a time.
    pub lead: Option<LeadTimes>,
    /// By dimension and value.
    pub groups: Vec<Group>,
}

/// One bin of the calibration table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Rows in it.
    pub rows: u64,
    /// Mean probability.
    pub predicted: f64,
    /// Share of positives.
    pub observed: f64,
}

/// Profit by the share of rows contacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfitCurve {
    /// What it was computed with.
    pub of: Profit,
    /// (share contacted, profit in minor units), thinned.
    pub points: Vec<[f64; 2]>,
    /// Share contacted at the best point; 0 if no contact pays.
    pub best_share: f64,
    /// Contact those with at least this probability; 1 if no contact pays.
    pub best_threshold: f64,
    /// Profit there, minor units.
    pub best_minor: f64,
}

/// Of the positives with a known time: what share was flagged, and how early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeadTimes {
    /// Positive rows with a time.
    pub events: u64,
    /// For each of [`TOPS`], each lead.
    pub flagged: Vec<Flagged>,
}

/// See [`LeadTimes`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flagged {
    /// Share of rows that are flagged.
    pub top: f64,
    /// At least so long before the event, ms.
    pub lead_ms: i64,
    /// Share of the events.
    pub share: f64,
}

/// Figures of the rows with one value of a dimension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// As `channel`.
    pub dimension: String,
    /// As `wechat`.
    pub value: String,
    /// Rows with it.
    pub rows: u64,
    /// Of these with a true label.
    pub positives: u64,
    /// Mean probability: beside the base rate it shows whether the group is over- or underrated.
    pub predicted: f64,
    /// `None` where all rows have the same label.
    pub headline: Option<Headline>,
}

/// Two models on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// AUC-PR of the first less that of the second, on the sample as it is.
    pub difference: f64,
    /// Mean over the resamples.
    pub mean: f64,
    /// 2.5 % of the resamples are below.
    pub low: f64,
    /// 2.5 % of the resamples are above.
    pub high: f64,
}

/// Why a sample cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("no rows to evaluate; widen the evaluation slice, or see whether all labels are still immature")]
    Empty,
    /// Slices of different lengths.
    #[error("{what} has {found} rows where the labels have {expected}; pass one value per row")]
    Length {
        /// Which slice.
        what: String,
        /// Its length.
        found: usize,
        /// That of the labels.
        expected: usize,
    },
    /// NaN, infinite, below 0 or above 1.
    #[error("row {row} has probability {value}, which is not within 0 and 1; calibrate scores first")]
    Probability {
        /// Counted from 0.
        row: usize,
        /// What is there.
        value: f64,
    },
    /// Nothing to tell apart.
    #[error(
        "all {rows} rows have the label {label}: there is nothing to tell apart; widen the evaluation slice"
    )]
    OneClass {
        /// How many.
        rows: usize,
        /// Which.
        label: bool,
    },
}

/// Evaluates the sample. Takes 200 × 100,000 rows in a second.
///
/// # Errors
/// No rows, slices of different lengths, values that are no probabilities, or one class only.
pub fn evaluate(sample: &Sample, options: &Options) -> Result<Evaluation, Error> {
    check(sample, sample.probability, "probability")?;
    let all: Vec<u32> = (0..sample.label.len() as u32).collect();
    let ranked = Ranked::new(sample.probability, sample.label, sample.entity, &all, BINS);
    let mut groups = Vec::new();
    for (dimension, values) in sample.groups {
        let mut by_value: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (row, value) in values.iter().enumerate() {
            by_value.entry(value).or_default().push(row as u32);
        }
        for (value, rows) in by_value {
            let ranked = Ranked::new(sample.probability, sample.label, sample.entity, &rows, BINS);
            groups.push(Group {
                dimension: dimension.clone(),
                value: value.to_owned(),
                rows: ranked.rows.len() as u64,
                positives: ranked.positives(),
                predicted: ranked.rows.iter().map(|row| row.probability).sum::<f64>() / rows.len() as f64,
                headline: ranked.has_both().then(|| ranked.headline(options)),
            });
        }
    }
    let steps = ranked.steps();
    let (count, positives) = (ranked.rows.len() as f64, ranked.positives() as f64);
    let curve = |point: &dyn Fn(&Step) -> [f64; 2], start: [f64; 2]| {
        thin(start, steps.iter().map(point), |a, b| (a[0] - b[0]).abs() + (a[1] - b[1]).abs())
    };
    Ok(Evaluation {
        rows: ranked.rows.len() as u64,
        entities: ranked.entities() as u64,
        positives: ranked.positives(),
        base_rate: positives / count,
        headline: ranked.headline(options),
        calibration: ranked.calibration(),
        roc: curve(&|step| [(step.rows - step.hits) / (count - positives), step.hits / positives], [0.0; 2]),
        precision_recall: curve(
            &|step| [step.hits / positives, step.hits / step.rows],
            [0.0, steps[0].hits / steps[0].rows],
        ),
        gain: curve(&|step| [step.rows / count, step.hits / positives], [0.0; 2]),
        profit: profit(&steps, options.profit),
        lead: ranked.lead(sample.event_in_ms, options.lead_ms),
        groups,
    })
}

/// Compares two models by a paired bootstrap: both are measured on the same resamples, so that the
/// interval is of the difference. `sample.probability` is not looked at.
///
/// # Errors
/// As [`evaluate`].
pub fn compare(a: &[f64], b: &[f64], sample: &Sample, options: &Options) -> Result<Comparison, Error> {
    check(sample, a, "the first model's probability")?;
    check(sample, b, "the second model's probability")?;
    let all: Vec<u32> = (0..sample.label.len() as u32).collect();
    let [a, b] = [a, b].map(|p| Ranked::new(p, sample.label, sample.entity, &all, BINS));
    let difference = |weights: &[u32]| Some(a.figures(weights)?[AUC_PR] - b.figures(weights)?[AUC_PR]);
    let point = difference(&vec![1; a.entities()]).unwrap_or_default();
    let mut resampled: Vec<f64> =
        resamples(a.entities(), options).filter_map(|weights| difference(&weights)).collect();
    let Interval { low, high, .. } = interval(point, &mut resampled);
    let mean = match resampled.len() {
        0 => point,
        n => resampled.iter().sum::<f64>() / n as f64,
    };
    Ok(Comparison { difference: point, mean, low, high })
}

/// Area under the ROC curve: the probability that a positive is ranked above a negative, ties half.
/// NaN if there is one class only.
pub fn auroc(p: &[f64], y: &[bool]) -> f64 {
    figure(p, y, AUROC)
}

/// Area under the precision-recall curve as average precision, Σ (Rₙ − Rₙ₋₁) Pₙ over distinct
/// probabilities, like scikit-learn's `average_precision_score`. NaN if there is one class only.
pub fn auc_pr(p: &[f64], y: &[bool]) -> f64 {
    figure(p, y, AUC_PR)
}

/// Mean squared error of the probability (Brier, Monthly Weather Review 78 (1950)). NaN without rows.
pub fn brier(p: &[f64], y: &[bool]) -> f64 {
    p.iter().zip(y).map(|(&p, &y)| squared(p, y)).sum::<f64>() / p.len() as f64
}

/// Mean negative log-likelihood, nats. A probability of 0 or 1 counts as 2.2e-16 away from it, as in
/// scikit-learn. NaN without rows.
pub fn log_loss(p: &[f64], y: &[bool]) -> f64 {
    p.iter().zip(y).map(|(&p, &y)| surprise(p, y)).sum::<f64>() / p.len() as f64
}

/// Expected calibration error (Naeini et al., AAAI 2015) over `bins` bins of equal size, not equal
/// width: of rare events, nearly all rows would fall into the first of equal width, and their errors
/// would cancel. Rows of equal probability are never parted. NaN without rows; at most 255 bins.
pub fn ece(p: &[f64], y: &[bool], bins: usize) -> f64 {
    let all: Vec<u32> = (0..p.len() as u32).collect();
    let ranked = Ranked::new(p, y, &vec![0; p.len()], &all, bins);
    let off: f64 = ranked.bins().iter().map(|bin| (bin.predicted - bin.observed).abs()).sum();
    off / p.len() as f64
}

const AUROC: usize = 0;
const AUC_PR: usize = 1;
const BRIER: usize = 2;
const ECE: usize = 3;
const LOG_LOSS: usize = 4;
const LIFT: usize = 5;
type Figures = [f64; LIFT + TOPS.len()];

fn figure(p: &[f64], y: &[bool], which: usize) -> f64 {
    let all: Vec<u32> = (0..p.len() as u32).collect();
    let ranked = Ranked::new(p, y, &vec![0; p.len()], &all, BINS);
    ranked.figures(&[1]).map_or(f64::NAN, |figures| figures[which])
}

fn check(sample: &Sample, probability: &[f64], what: &str) -> Result<(), Error> {
    let expected = sample.label.len();
    let groups = sample.groups.iter().map(|(name, values)| (name.as_str(), values.len()));
    let slices = [
        (what, probability.len()),
        ("entity", sample.entity.len()),
        ("event_in_ms", sample.event_in_ms.len()),
    ];
    if let Some((what, found)) = slices.into_iter().chain(groups).find(|(_, found)| *found != expected) {
        return Err(Error::Length { what: what.to_owned(), found, expected });
    }
    let Some(&label) = sample.label.first() else { return Err(Error::Empty) };
    if let Some(row) = probability.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::Probability { row, value: probability[row] });
    }
    if sample.label.iter().all(|&other| other == label) {
        return Err(Error::OneClass { rows: expected, label });
    }
    Ok(())
}

/// Rows, the most probable first.
struct Ranked {
    rows: Vec<Row>,
    /// Rows and positives of each entity; entities are numbered from 0 without gaps.
    sizes: Vec<[u64; 2]>,
    bins: usize,
}

struct Row {
    /// In the sample.
    number: u32,
    entity: u32,
    label: bool,
    /// The next row has the same probability.
    tied: bool,
    bin: u8,
    probability: f64,
    squared: f64,
    surprise: f64,
}

/// What has been passed at the end of a run of equal probabilities.
struct Step {
    rows: f64,
    hits: f64,
    probability: f64,
}

#[derive(Clone, Copy, Default)]
struct Bin {
    rows: f64,
    predicted: f64,
    observed: f64,
}

impl Ranked {
    fn new(p: &[f64], y: &[bool], entity: &[u32], of: &[u32], bins: usize) -> Self {
        let mut numbers: Vec<u32> = of.iter().map(|&row| entity[row as usize]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut order = of.to_vec();
        order.sort_by(|&a, &b| p[b as usize].total_cmp(&p[a as usize]));
        let mut sizes = vec![[0; 2]; numbers.len()];
        let mut run = 0;
        let rows = (0..order.len())
            .map(|place| {
                let row = order[place] as usize;
                let (p, y, before) = (p[row], y[row], place.checked_sub(1).map(|at| p[order[at] as usize]));
                if before.is_some_and(|before| before != p) {
                    run = place;
                }
                let entity = numbers.partition_point(|&number| number < entity[row]);
                sizes[entity][0] += 1;
                sizes[entity][1] += u64::from(y);
                Row {
                    number: row as u32,
                    entity: entity as u32,
                    label: y,
                    tied: false,
                    bin: (run * bins / order.len()) as u8,
                    probability: p,
                    squared: squared(p, y),
                    surprise: surprise(p, y),
                }
            })
            .collect();
        let mut ranked = Self { rows, sizes, bins };
        for place in 1..ranked.rows.len() {
            ranked.rows[place - 1].tied =
                ranked.rows[place - 1].probability == ranked.rows[place].probability;
        }
        ranked
    }

    fn entities(&self) -> usize {
        self.sizes.len()
    }

    fn positives(&self) -> u64 {
        self.sizes.iter().map(|size| size[1]).sum()
    }

    fn has_both(&self) -> bool {
        (1..self.rows.len() as u64).contains(&self.positives())
    }

    /// The figures of the rows, each as often as its entity's weight says; `None` if that leaves one
    /// class only.
    fn figures(&self, weights: &[u32]) -> Option<Figures> {
        let (mut count, mut positives) = (0, 0);
        for (&[rows, hits], &weight) in self.sizes.iter().zip(weights) {
            count += rows * u64::from(weight);
            positives += hits * u64::from(weight);
        }
        if positives == 0 || positives == count {
            return None;
        }
        let cuts = TOPS.map(|top| (top * count as f64).ceil());
        let mut figures: Figures = [0.0; _];
        let mut bins = [Bin::default(); 256];
        let (mut rows, mut hits, mut tied_rows, mut tied_hits) = (0_u64, 0_u64, 0_u64, 0_u64);
        let (mut twice_area, mut cut) = (0_u64, 0);
        for row in &self.rows {
            let weight = u64::from(weights[row.entity as usize]);
            let times = weight as f64;
            let hit = if row.label { weight } else { 0 };
            tied_rows += weight;
            tied_hits += hit;
            figures[BRIER] += times * row.squared;
            figures[LOG_LOSS] += times * row.surprise;
            let bin = &mut bins[usize::from(row.bin)];
            bin.predicted += times * row.probability;
            bin.observed += hit as f64;
            if row.tied || tied_rows == 0 {
                continue;
            }
            twice_area += (tied_rows - tied_hits) * (2 * hits + tied_hits);
            while cut < TOPS.len() && (rows + tied_rows) as f64 >= cuts[cut] {
                let share = (cuts[cut] - rows as f64) / tied_rows as f64;
                let precision = (hits as f64 + share * tied_hits as f64) / cuts[cut];
                figures[LIFT + cut] = precision * count as f64 / positives as f64;
                cut += 1;
            }
            rows += tied_rows;
            hits += tied_hits;
            figures[AUC_PR] += tied_hits as f64 * hits as f64 / rows as f64;
            (tied_rows, tied_hits) = (0, 0);
        }
        figures[AUROC] = twice_area as f64 / (2.0 * positives as f64 * (count - positives) as f64);
        figures[AUC_PR] /= positives as f64;
        figures[BRIER] /= count as f64;
        figures[LOG_LOSS] /= count as f64;
        figures[ECE] =
            bins.iter().map(|bin| (bin.predicted - bin.observed).abs()).sum::<f64>() / count as f64;
        Some(figures)
    }

    fn headline(&self, options: &Options) -> Headline {
        let values = self.figures(&vec![1; self.entities()]).unwrap_or([f64::NAN; _]);
        let resampled: Vec<Figures> =
            resamples(self.entities(), options).filter_map(|weights| self.figures(&weights)).collect();
        let of = |which: usize| {
            interval(values[which], &mut resampled.iter().map(|figures| figures[which]).collect::<Vec<_>>())
        };
        let base_rate = self.positives() as f64 / self.rows.len() as f64;
        let lift = TOPS.iter().enumerate().map(|(place, &top)| {
            let cut = (top * self.rows.len() as f64).ceil();
            let lift = of(LIFT + place);
            let precision = lift.value * base_rate;
            let recall = precision * cut / self.positives() as f64;
            Lift { top, lift, precision, recall, threshold: self.rows[cut as usize - 1].probability }
        });
        Headline {
            auroc: of(AUROC),
            auc_pr: of(AUC_PR),
            brier: of(BRIER),
            ece: of(ECE),
            log_loss: of(LOG_LOSS),
            lift: lift.collect(),
        }
    }

    fn bins(&self) -> Vec<Bin> {
        let mut bins = vec![Bin::default(); self.bins];
        for row in &self.rows {
            let bin = &mut bins[usize::from(row.bin)];
            bin.rows += 1.0;
            bin.predicted += row.probability;
            bin.observed += f64::from(u8::from(row.label));
        }
        bins
    }

    fn calibration(&self) -> Vec<CalibrationBin> {
        let bins = self.bins().into_iter().rev().filter(|bin| bin.rows > 0.0);
        bins.map(|bin| CalibrationBin {
            rows: bin.rows as u64,
            predicted: bin.predicted / bin.rows,
            observed: bin.observed / bin.rows,
        })
        .collect()
    }

    fn steps(&self) -> Vec<Step> {
        let (mut rows, mut hits) = (0.0, 0.0);
        let passed = self.rows.iter().filter_map(|row| {
            rows += 1.0;
            hits += f64::from(u8::from(row.label));
            (!row.tied).then_some(Step { rows, hits, probability: row.probability })
        });
        passed.collect()
    }

    fn lead(&self, event_in_ms: &[Option<i64>], lead_ms: i64) -> Option<LeadTimes> {
        let mut leads = LEADS_MS.to_vec();
        leads.push(lead_ms);
        leads.sort_unstable();
        leads.dedup();
        let in_ms = |row: &Row| event_in_ms[row.number as usize].filter(|_| row.label);
        let events = self.rows.iter().filter_map(in_ms).count();
        let mut flagged = Vec::new();
        for top in TOPS {
            let cut = (top * self.rows.len() as f64).ceil() as usize;
            let threshold = self.rows[cut - 1].probability;
            let above = self.rows.partition_point(|row| row.probability > threshold);
            let tied = self.rows.partition_point(|row| row.probability >= threshold) - above;
            for &lead_ms in &leads {
                let early =
                    |rows: &[Row]| rows.iter().filter_map(in_ms).filter(|&ms| ms >= lead_ms).count() as f64;
                let (sure, maybe) = (early(&self.rows[..above]), early(&self.rows[above..above + tied]));
                let found = sure + maybe * (cut - above) as f64 / tied as f64;
                flagged.push(Flagged { top, lead_ms, share: found / events as f64 });
            }
        }
        (events > 0).then_some(LeadTimes { events: events as u64, flagged })
    }
}

/// How often each entity was drawn, for each resample.
fn resamples(entities: usize, options: &Options) -> impl Iterator<Item = Vec<u32>> {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    (0..options.bootstrap).map(move |_| {
        let mut weights = vec![0; entities];
        for _ in 0..entities {
            // Multiply and shift: uneven by less than one in 2³².
            weights[((u128::from(random.next_u64()) * entities as u128) >> 64) as usize] += 1;
        }
        weights
    })
}

fn interval(value: f64, resampled: &mut [f64]) -> Interval {
    resampled.sort_unstable_by(f64::total_cmp);
    let Some(last) = resampled.len().checked_sub(1) else {
        return Interval { value, low: value, high: value };
    };
    let quantile = |q: f64| {
        let at = q * last as f64;
        let (low, high) = (resampled[at.floor() as usize], resampled[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    Interval { value, low: quantile(0.025), high: quantile(0.975) }
}

fn profit(steps: &[Step], of: Profit) -> ProfitCurve {
    let count = steps.last().map_or(1.0, |step| step.rows);
    let brings = |step: &Step| of.hit_minor as f64 * step.hits - of.contact_minor as f64 * step.rows;
    let mut curve =
        ProfitCurve { of, points: Vec::new(), best_share: 0.0, best_threshold: 1.0, best_minor: 0.0 };
    for step in steps {
        if brings(step) > curve.best_minor {
            curve.best_share = step.rows / count;
            curve.best_threshold = step.probability;
            curve.best_minor = brings(step);
        }
    }
    let points = steps.iter().map(|step| [step.rows / count, brings(step)]);
    curve.points = thin([0.0; 2], points, |a, b| 2.0 * (a[0] - b[0]).abs());
    curve
}

/// The first, the last, and those in between that are [`STEP`] away from the one before.
fn thin(
    start: [f64; 2],
    points: impl Iterator<Item = [f64; 2]>,
    distance: impl Fn([f64; 2], [f64; 2]) -> f64,
) -> Vec<[f64; 2]> {
    let mut kept = vec![start];
    let mut last = start;
    for point in points {
        if distance(kept[kept.len() - 1], point) >= STEP {
            kept.push(point);
        }
        last = point;
    }
    if kept[kept.len() - 1] != last {
        kept.push(last);
    }
    kept
}

fn squared(p: f64, y: bool) -> f64 {
    let off = p - f64::from(u8::from(y));
    off * off
}

fn surprise(p: f64, y: bool) -> f64 {
    let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    -libm::log(if y { p } else { 1.0 - p })
}

#[cfg(test)]
mod tests;
