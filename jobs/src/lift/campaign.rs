//! The customers of a campaign, from what a run has stored.

use headsup_stream::parse_duration_ms;

use super::LiftArgs;
use crate::rules::read;
use crate::{Failure, policy};

/// What campaigns of a model are to avert: its name, and the file.
const BUILT_IN: [(&str, &str); 2] = [
    ("order_return", include_str!("../../../sql/outcomes/order_return.sql")),
    ("churn", include_str!("../../../sql/outcomes/churn.sql")),
];

/// How to get at them.
pub struct OfRun {
    /// Gives a row for each.
    pub query: String,
    /// The share that is left alone.
    pub control_share: f64,
    /// From the assignment until the outcome is known.
    pub horizon_ms: i64,
}

/// The campaign of this name.
///
/// # Errors
/// There is none, or nothing says what it is to avert.
pub fn find(args: &LiftArgs, name: &str) -> Result<OfRun, Failure> {
    let usage = |message: String| Failure { code: 2, message };
    let rules = policy::load(args.policy.as_deref())?;
    let Some(campaign) = rules.campaign(name) else {
        let names: Vec<&str> = rules.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
        return Err(usage(format!(
            "the policy has no campaign {name:?}, only {}; name the run's policy with --policy",
            names.join(", ")
        )));
    };
    let built_in = BUILT_IN.iter().find(|(model, _)| *model == campaign.model);
    let (file, text) = match (&args.outcome, built_in) {
        (Some(file), _) => (file.display().to_string(), read(file)?),
        (None, Some((model, text))) => (format!("sql/outcomes/{model}.sql"), (*text).to_owned()),
        (None, None) => {
            return Err(usage(format!(
                "nothing says what campaigns of model {} are to avert; write it as sql/outcomes/order_return.sql is, and \
                 name the file with --outcome",
                campaign.model
            )));
        }
    };
    let said = |key: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("--")?.trim().strip_prefix(key));
        lines.map(str::trim).next()
    };
    let happens = match said("outcome:") {
        Some("there is one") => true,
        Some("there is none") => false,
        _ => {
            return Err(usage(format!(
                "{file}: a line `-- outcome: there is one` or `-- outcome: there is none` has to say what is to be \
                 averted, that there is such an event or that there is none"
            )));
        }
    };
    let horizon_ms = match (args.horizon, said("horizon:")) {
        (Some(ms), _) => ms,
        (None, Some(text)) => parse_duration_ms(text)
            .ok_or_else(|| usage(format!("{file}: horizon: {text}: expected a duration such as 10d")))?,
        (None, None) => {
            return Err(usage(format!("{file}: add a line `-- horizon: 10d`, or give --horizon")));
        }
    };
    let query = QUERY
        .replace("{events}", text.trim().trim_end_matches(';'))
        .replace("{campaign}", &name.replace('\'', "''"))
        .replace("{horizon_us}", &horizon_ms.saturating_mul(1_000).to_string())
        .replace("{happens}", if happens { "true" } else { "false" });
    Ok(OfRun { query, control_share: campaign.control_share, horizon_ms })
}

/// A customer counts with the first assignment, since the arm is always the same, and from when all that could happen
/// within the horizon is known.
const QUERY: &str = "
WITH assigned AS (
    SELECT customer_id, assignment_id, arm, arrow_cast(at, 'Int64') AS at_us, probability, cost_minor, value_minor,
        row_number() OVER (PARTITION BY customer_id ORDER BY at, assignment_id) AS place
    FROM tasks WHERE event = 'task.assigned' AND campaign = '{campaign}'
), happened AS (
    SELECT customer_id, arrow_cast(at, 'Int64') AS at_us FROM (
{events}
    )
), known AS (
    SELECT max(arrow_cast(at, 'Int64')) AS until_us FROM orders
), contacted AS (
    SELECT DISTINCT created.customer_id FROM tasks created JOIN tasks completed ON completed.task_id = created.task_id
    WHERE created.event = 'task.created' AND completed.event = 'task.completed' AND created.campaign = '{campaign}'
)
SELECT assigned.arm = 'treated' AS treated,
    (count(happened.at_us) > 0) = {happens} AS outcome,
    count(contacted.customer_id) > 0 AS contacted,
    min(assigned.probability) AS score,
    min(assigned.cost_minor) AS cost_minor,
    min(assigned.value_minor) AS gain_minor
FROM assigned CROSS JOIN known
LEFT JOIN happened ON happened.customer_id = assigned.customer_id
    AND happened.at_us > assigned.at_us AND happened.at_us <= assigned.at_us + {horizon_us}
LEFT JOIN contacted ON contacted.customer_id = assigned.customer_id
WHERE assigned.place = 1 AND assigned.at_us + {horizon_us} <= known.until_us
GROUP BY assigned.customer_id, assigned.arm
ORDER BY assigned.customer_id
";
