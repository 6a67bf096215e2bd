//! `headsup recompute`: heals facts and KPIs with what came too late.

use clap::Args;
use headsup_runtime::{Healed, Job, Range, Role, heal};

use crate::output::{self, thousands};
use crate::{Failure, Place, kpis, rules};

#[derive(Debug, Args)]
pub struct RecomputeArgs {
    #[command(flatten)]
    place: Place,
    /// From this day or time (2026-03-01, or RFC 3339) [default: the beginning]
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,
    /// Before this day or time [default: the end]. Days that are not over are left to the run
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,
    /// The KPI folder of the run, if it was not the built-in one
    #[arg(long, value_name = "DIR")]
    kpis: Option<std::path::PathBuf>,
    /// Only say what would be healed
    #[arg(long)]
    dry_run: bool,
}

/// A day or a time, in ms.
pub fn time(text: &str) -> Result<i64, String> {
    let day = format!("{text}T00:00:00Z");
    let ms = headsup_events::parse_rfc3339_ms(text).or_else(|| headsup_events::parse_rfc3339_ms(&day));
    ms.ok_or_else(|| "expected a day such as 2026-03-01, or a time such as 2026-03-01T08:00:00Z".to_owned())
}

pub fn recompute(args: &RecomputeArgs) -> Result<(), Failure> {
    args.place.must_exist()?;
    let range = Range { from_ms: args.from.unwrap_or(i64::MIN), to_ms: args.to.unwrap_or(i64::MAX) };
    if range.from_ms >= range.to_ms {
        return Err(Failure { code: 2, message: "--from is not before --to".to_owned() });
    }
    let log = args.place.log()?;
    let config = args.place.config()?;
    let kpis = kpis::load(args.kpis.as_deref(), &config.kpis)?;
    let job = Job {
        role: Role::All,
        alerts: rules::load(None, args.kpis.as_deref(), &kpis)?,
        kpis,
        config,
        data: args.place.data.clone(),
        from_start: false,
        until_end: false,
        profile: false,
        scores: None,
    };
    let healed = heal(&job, &log, range, args.dry_run).map_err(Failure::from_error)?;
    output::print(text(&healed, args.dry_run))
}

fn text(healed: &Healed, dry_run: bool) -> String {
    let mut text = format!("{} events had come late\n", thousands(healed.late));
    if healed.facts.is_empty() && healed.rows.is_empty() {
        return text + "everything is as if they had not\n";
    }
    for (table, date, before, after) in &healed.facts {
        let (before, after) = (thousands(*before), thousands(*after));
        text += &format!("{after:>14} rows  {} of {date}, where there were {before}\n", table.name());
    }
    for (kpi, rows) in &healed.rows {
        text += &format!("{:>14} rows  kpi.{kpi}, with a higher revision\n", thousands(*rows));
    }
    if dry_run {
        text += "nothing was changed\n";
    }
    text
}
