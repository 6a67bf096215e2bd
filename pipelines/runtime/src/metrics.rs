//! `/metrics` in the Prometheus text format. See docs/metrics.md for the list.

use prometheus::{Encoder, Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::board::{BATCH_SECONDS, State};
use crate::sink::Sink;

/// Renders the board. Nothing is kept between calls, so a series that is gone from
/// the board is gone from the metrics.
///
/// # Errors
/// A name or label that Prometheus does not allow.
pub fn render(state: &State) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    let counter = |name: &str, help: &str, labels: &[&str]| {
        let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
        registry.register(Box::new(vec.clone()))?;
        Ok::<_, prometheus::Error>(vec)
    };
    let read = counter("headsup_events_read_total", "Records read, by partition.", &["partition"])?;
    let events = counter(
        "headsup_events_total",
        "What became of the records read: applied, duplicate, late, quarantined, ignored.",
        &["partition", "outcome"],
    )?;
    let quarantined = counter("headsup_quarantined_total", "Records set aside, by reason.", &["reason"])?;
    let facts = counter("headsup_facts_total", "Facts given out, by table.", &["table"])?;
    let rows = counter(
        "headsup_kpi_rows_total",
        "Rows that KPIs have shown, with early values and corrections.",
        &["kpi"],
    )?;
    let refused = counter(
        "headsup_kpi_refused_total",
        "Facts that came when all windows of the KPI that hold them were final.",
        &["kpi"],
    )?;

    let pending = IntGaugeVec::new(
        Opts::new("headsup_events_pending", "Records read that wait for their turn."),
        &["partition"],
    )?;
    let behind = IntGaugeVec::new(
        Opts::new("headsup_log_lag_records", "Records in the log that have not been read."),
        &["partition"],
    )?;
    let latest = GaugeVec::new(
        Opts::new("headsup_event_time_seconds", "The largest event time seen, since the Unix epoch."),
        &["partition"],
    )?;
    let sizes = IntGaugeVec::new(
        Opts::new("headsup_state_entries", "Entries in the operators' states."),
        &["state"],
    )?;
    for gauge in [&pending, &behind, &sizes] {
        registry.register(Box::new(gauge.clone()))?;
    }
    registry.register(Box::new(latest.clone()))?;

    for partition in &state.partitions {
        let name = partition.name.as_str();
        read.with_label_values(&[name]).inc_by(partition.accounting.read);
        for (outcome, count) in partition.accounting.outcomes() {
            events.with_label_values(&[name, outcome]).inc_by(count);
        }
        pending.with_label_values(&[name]).set(partition.accounting.pending() as i64);
        if let Some(records) = partition.behind {
            behind.with_label_values(&[name]).set(records as i64);
        }
        if let Some(ms) = partition.latest_ms {
            latest.with_label_values(&[name]).set(ms as f64 / 1e3);
        }
    }
    for (reason, count) in &state.quarantined {
        quarantined.with_label_values(&[*reason]).inc_by(*count);
    }
    for (table, count) in &state.facts {
        facts.with_label_values(&[*table]).inc_by(*count);
    }
    if !state.tasks.is_empty() {
        let tasks = counter(
            "headsup_tasks_total",
            "What became of proactive service, by campaign and type of event.",
            &["campaign", "event"],
        )?;
        for ((campaign, event), count) in &state.tasks {
            tasks.with_label_values(&[campaign.as_str(), event.as_str()]).inc_by(*count);
        }
    }
    if !state.webhooks.is_empty() {
        let events = counter(
            "headsup_webhook_events_total",
            "Events of tasks that an endpoint was sent, by what came of it.",
            &["endpoint", "outcome"],
        )?;
        let help = "Events that an endpoint has not taken yet.";
        let waiting = GaugeVec::new(Opts::new("headsup_webhook_waiting_events", help), &["endpoint"])?;
        registry.register(Box::new(waiting.clone()))?;
        for webhook in &state.webhooks {
            let outcomes = [
                ("delivered", webhook.delivered),
                ("retried", webhook.retried),
                ("dead", webhook.dead),
                ("skipped", webhook.skipped),
            ];
            for (outcome, count) in outcomes {
                events.with_label_values(&[webhook.name.as_str(), outcome]).inc_by(count);
            }
            waiting.with_label_values(&[webhook.name.as_str()]).set(webhook.waiting as f64);
        }
    }
    if !state.scores.is_empty() {
        let scores =
            counter("headsup_scores_total", "Scores of customers, by model and role.", &["model", "role"])?;
        for ((model, role), count) in &state.scores {
            scores.with_label_values(&[model.as_str(), role.as_str()]).inc_by(*count);
        }
    }
    for (kind, size) in &state.sizes {
        sizes.with_label_values(&[*kind]).set(*size as i64);
    }
    if let Some(ms) = state.watermark_ms.filter(|&ms| ms != i64::MAX) {
        let watermark = Gauge::new(
            "headsup_watermark_seconds",
            "Event time up to which everything is known, since the Unix epoch.",
        )?;
        watermark.set(ms as f64 / 1e3);
        registry.register(Box::new(watermark))?;
    }
    let written = prometheus::IntCounter::new("headsup_checkpoints_total", "Checkpoints written.")?;
    written.inc_by(state.checkpoints);
    registry.register(Box::new(written))?;
    for (name, help, value) in [
        ("headsup_checkpoint_bytes", "Size of the last checkpoint.", state.checkpoint_bytes as f64),
        (
            "headsup_checkpoint_stall_seconds",
            "How long the operators stood still for a checkpoint, at most.",
            state.checkpoint_stalls.max,
        ),
    ] {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        registry.register(Box::new(gauge))?;
    }
    if let Some(health) = state.sink.as_ref().map(Sink::health) {
        let rows = prometheus::IntCounter::new(
            "headsup_clickhouse_rows_total",
            "Rows loaded into ClickHouse by this process.",
        )?;
        rows.inc_by(health.rows);
        registry.register(Box::new(rows))?;
        let failures = prometheus::IntCounter::new(
            "headsup_clickhouse_failures_total",
            "Attempts to load rows into ClickHouse that failed.",
        )?;
        failures.inc_by(health.failures);
        registry.register(Box::new(failures))?;
        for (name, help, value) in [
            (
                "headsup_clickhouse_behind_files",
                "Stored files that are not in ClickHouse yet.",
                health.behind_files as f64,
            ),
            (
                "headsup_clickhouse_behind_bytes",
                "Size of the stored files that are not in ClickHouse yet.",
                health.behind_bytes as f64,
            ),
            (
                "headsup_clickhouse_failing_seconds",
                "How long nothing has been loaded into ClickHouse because attempts fail; 0 if the last did not.",
                health.failing.map_or(0.0, |(since, _)| since.as_secs_f64()),
            ),
        ] {
            let gauge = Gauge::new(name, help)?;
            gauge.set(value);
            registry.register(Box::new(gauge))?;
        }
    }
    let firing = IntGaugeVec::new(
        Opts::new("headsup_alerts_firing", "Alerts that fire, by rule."),
        &["alert", "severity"],
    )?;
    registry.register(Box::new(firing.clone()))?;
    for (rule, _) in state.alerts.firing.values() {
        firing.with_label_values(&[rule.name.as_str(), rule.severity.name()]).inc();
    }
    let changes = counter(
        "headsup_alert_changes_total",
        "What has become of alerts since the process began: firing, amended, resolved, withdrawn.",
        &["alert", "change"],
    )?;
    let left_out = counter(
        "headsup_alert_rows_left_out_total",
        "Rows of series that a rule does not look at because there are more than its series_max.",
        &["alert"],
    )?;
    let late = counter(
        "headsup_alert_rows_late_total",
        "Rows that came when the alerts of their window could no longer change.",
        &["alert"],
    )?;
    for (rule, rows_left_out, rows_late) in &state.alerts.left_out {
        left_out.with_label_values(&[rule.as_str()]).inc_by(*rows_left_out);
        late.with_label_values(&[rule.as_str()]).inc_by(*rows_late);
    }
    for ((rule, kind), count) in &state.alerts.counts {
        changes.with_label_values(&[rule.as_str(), *kind]).inc_by(*count);
    }
    let over = Gauge::new(
        "headsup_kpi_series_left_out",
        "KPI series that are not in the metrics because there are more than metrics.series_max.",
    )?;
    over.set(state.kpis.iter().map(|kpi| kpi.series_over).sum::<u64>() as f64);
    registry.register(Box::new(over))?;

    for kpi in &state.kpis {
        rows.with_label_values(&[kpi.name.as_str()]).inc_by(kpi.rows);
        refused.with_label_values(&[kpi.name.as_str()]).inc_by(kpi.refused);
        let mut labels: Vec<&str> = vec!["grouped_by"];
        labels.extend(kpi.keys.iter().map(String::as_str));
        for (place, value) in kpi.values.iter().enumerate() {
            let title = kpi.title.split('|').next().unwrap_or_default().trim();
            let help = format!("{title}: {value} of the newest window.");
            let gauge = GaugeVec::new(Opts::new(format!("headsup_kpi_{}_{value}", kpi.name), help), &labels)?;
            for (series, point) in &kpi.series {
                if let Some(value) = point.values[place] {
                    let mut labels: Vec<&str> = vec![&series.grouped_by];
                    labels.extend(series.keys.iter().map(String::as_str));
                    gauge.with_label_values(&labels).set(value);
                }
            }
            registry.register(Box::new(gauge))?;
        }
    }
    let mut out = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut out)?;
    let mut out = String::from_utf8_lossy(&out).into_owned();
    let (count, sum, buckets) = &state.batches;
    out += "# HELP headsup_batch_seconds How long the operators took for a batch.\n# TYPE headsup_batch_seconds histogram\n";
    for (bound, count) in BATCH_SECONDS.iter().zip(buckets) {
        out += &format!("headsup_batch_seconds_bucket{{le=\"{bound}\"}} {count}\n");
    }
    out += &format!(
        "headsup_batch_seconds_bucket{{le=\"+Inf\"}} {count}\nheadsup_batch_seconds_sum {sum}\nheadsup_batch_seconds_count {count}\n"
    );
    Ok(out)
}
