//! Alerts of a run: rules over the rows that KPIs give out, with what the facts say of a rise.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use headsup_alerts::{
    Alert, Alerts, AlertsError, Change, Condition, Contributor, CopiedAlerts, Direction, Episode, Explain,
    Fired, KpiShape, Rule, Rules,
};
use headsup_kpi::{Details, Kpi, Rise};
use serde_json::json;

/// What rules have to know of KPIs, in their order.
pub fn shapes(kpis: &[Arc<Kpi>]) -> Vec<KpiShape> {
    let shape = |kpi: &Arc<Kpi>| KpiShape {
        title: kpi.title.clone(),
        size_ms: kpi.windowing.size_ms(),
        slide_ms: kpi.windowing.slide_ms(),
        offset_ms: kpi.windowing.offset_ms(),
        corrections_ms: kpi.corrections_ms,
        ..KpiShape::of_rows(&kpi.name, &kpi.rows, kpi.key_count, kpi.sets())
    };
    kpis.iter().map(shape).collect()
}

/// The state of alerts, and the facts behind them.
pub(crate) struct Alerting {
    alerts: Alerts,
    explain: Facts,
}

/// Knows agents, intents and conversations.
struct Facts(Details);

impl Alerting {
    /// Of rules over these KPIs.
    pub fn new(rules: &Rules, kpis: &[Arc<Kpi>]) -> Self {
        let values = rules.rules.iter().filter_map(|rule| {
            let kpi = kpis.iter().find(|kpi| kpi.name == rule.kpi)?;
            Some((kpi.clone(), rule.value.clone()))
        });
        Self { alerts: Alerts::new(rules), explain: Facts(Details::new(values)) }
    }

    /// The facts behind alerts, to be put behind the pipeline.
    pub fn details(&self) -> Details {
        self.explain.0.clone()
    }

    /// Takes in rows of KPIs, with their places, and says what follows until `until_ms`.
    ///
    /// # Errors
    /// Rows of something else.
    pub fn advance(
        &mut self,
        rows: &[(usize, RecordBatch)],
        until_ms: i64,
    ) -> Result<Vec<Change>, AlertsError> {
        let mut changes = Vec::new();
        self.alerts.advance(rows, until_ms, &mut self.explain, &mut changes)?;
        self.explain.0.forget(until_ms);
        Ok(changes)
    }

    /// The state, for a checkpoint.
    pub fn copy(&self) -> CopiedAlerts {
        self.alerts.copy()
    }

    /// Goes on from a saved state. What is wrong with it, if it is of other rules: nobody but
    /// people depends on alerts, so they begin anew then.
    ///
    /// # Errors
    /// Bytes of something else.
    pub fn restore(&mut self, bytes: &[u8], rules: &Rules) -> Result<Option<String>, AlertsError> {
        match self.alerts.restore(bytes) {
            Ok(()) => Ok(None),
            Err(AlertsError::OtherRules(which)) => {
                self.alerts = Alerts::new(rules);
                Ok(Some(which))
            }
            Err(error) => Err(error),
        }
    }

    /// By rule, rows of series that were left out because there were so many, and rows that came
    /// when their window was final.
    pub fn left_out(&self) -> Vec<(String, u64, u64)> {
        let counts = self.alerts.left_out().zip(self.alerts.late());
        counts.map(|((rule, left_out), (_, late))| (rule.name.clone(), left_out, late)).collect()
    }

    /// Those that fire.
    pub fn firing(&self) -> impl Iterator<Item = (&Arc<Rule>, &Alert)> {
        self.alerts.living()
    }
}

impl Explain for Facts {
    fn explain(
        &mut self,
        rule: &Rule,
        key: &[String],
        window_ms: (i64, i64),
        now_ms: i64,
    ) -> (Vec<Contributor>, Vec<String>) {
        let keys: Vec<(&str, &str)> =
            rule.by.iter().map(String::as_str).zip(key.iter().map(String::as_str)).collect();
        let limit = match &rule.condition {
            Condition::Threshold(threshold) => Some(threshold.fire),
            Condition::Baseline(_) | Condition::Burn(_) => None,
        };
        let above = rule.direction() == Direction::Above;
        let rise = Rise { keys: &keys, window_ms, now_ms, limit, above };
        let (parts, worst) = self.0.explain(&rule.kpi, &rule.value, &rise);
        let parts = parts.into_iter().map(|part| Contributor {
            dimension: part.dimension,
            value: part.value,
            n: part.n,
            share: part.share,
            metric: Some(part.mean),
        });
        (parts.collect(), worst)
    }
}

/// Changes as rows of table `alerts`.
///
/// # Errors
/// Columns of different lengths, which these are not.
pub(crate) fn rows(changes: &[Change]) -> Result<RecordBatch, ArrowError> {
    let times = |of: &dyn Fn(&Change) -> Option<i64>| -> ArrayRef {
        let us = changes.iter().map(|change| of(change).map(|ms| ms.saturating_mul(1_000)));
        Arc::new(us.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let texts = |of: &dyn Fn(&Change) -> Option<String>| -> ArrayRef {
        Arc::new(changes.iter().map(of).collect::<StringArray>())
    };
    let doubles = |of: &dyn Fn(&Change) -> Option<f64>| -> ArrayRef {
        Arc::new(changes.iter().map(of).collect::<Float64Array>())
    };
    let integers = |of: &dyn Fn(&Change) -> Option<i64>| -> ArrayRef {
        Arc::new(changes.iter().map(of).collect::<Int64Array>())
    };
    let labels = |change: &Change| {
        let labels = change.labels().map(|(key, value)| (key.to_owned(), json!(value)));
        serde_json::Value::Object(labels.collect()).to_string()
    };
    let columns = vec![
        ("alert_id", texts(&|change| Some(change.alert.id.clone()))),
        ("revision", integers(&|change| Some(change.alert.revision as i64))),
        ("name", texts(&|change| Some(change.rule.name.clone()))),
        ("state", texts(&|change| Some(change.kind.name().to_owned()))),
        ("severity", texts(&|change| Some(change.rule.severity.name().to_owned()))),
        ("kpi", texts(&|change| Some(change.rule.kpi.clone()))),
        ("value_name", texts(&|change| Some(change.rule.value.clone()))),
        ("grouped_by", texts(&|change| Some(change.rule.by.join(",")))),
        ("keys", texts(&|change| Some(labels(change)))),
        ("window_start", times(&|change| Some(change.window_ms().0))),
        ("window_end", times(&|change| Some(change.window_ms().1))),
        ("value", doubles(&|change| Some(change.alert.episode.value))),
        ("threshold", doubles(&|change| Some(change.alert.episode.limit))),
        ("n", integers(&|change| Some(change.alert.episode.n))),
        ("peak", doubles(&|change| Some(change.alert.episode.peak))),
        ("contributors", texts(&|change| Some(json!(change.alert.contributors).to_string()))),
        ("worst", texts(&|change| Some(json!(change.alert.worst).to_string()))),
        ("runbook", texts(&|change| Some(change.rule.runbook.clone()))),
        ("started_at", times(&|change| Some(change.alert.episode.started_ms))),
        ("resolved_at", times(&|change| change.alert.episode.resolved_ms)),
        ("at", times(&|change| Some(change.at_ms))),
        ("known_at", times(&|change| Some(change.at_ms))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

/// A query of table `alerts`: the last revision of each alert that was not withdrawn.
pub const FIRED: &str = "SELECT alert_id, name, keys, started_at, resolved_at, value, threshold, n, peak FROM \
    (SELECT *, row_number() OVER (PARTITION BY alert_id ORDER BY revision DESC) AS newest FROM alerts) \
    WHERE newest = 1 AND state <> 'withdrawn' ORDER BY name, started_at, alert_id";

/// What the rows of [`FIRED`] say.
pub fn fired(batches: &[RecordBatch]) -> Vec<Fired> {
    batches.iter().flat_map(|batch| (0..batch.num_rows()).filter_map(|row| fired_row(batch, row))).collect()
}

fn fired_row(batch: &RecordBatch, row: usize) -> Option<Fired> {
    let text = |name: &str| {
        let column = cast(batch.column_by_name(name)?, &DataType::Utf8).ok()?;
        let column = column.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| column.value(row).div_euclid(1_000))
    };
    let double = |name: &str| Some(batch.column_by_name(name)?.as_primitive_opt::<Float64Type>()?.value(row));
    let labels: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text("keys")?).ok()?;
    let started_ms = time("started_at")?;
    let episode = Episode {
        since_ms: started_ms,
        started_ms,
        value: double("value")?,
        n: batch.column_by_name("n")?.as_primitive_opt::<Int64Type>()?.value(row),
        limit: double("threshold")?,
        peak: double("peak")?,
        peak_ms: started_ms,
        last_ms: started_ms,
        resolved_ms: time("resolved_at"),
    };
    let labels = labels.into_iter().map(|(key, value)| (key, value.as_str().unwrap_or_default().to_owned()));
    Some(Fired { rule: text("name")?, id: text("alert_id")?, labels: labels.collect(), episode })
}
