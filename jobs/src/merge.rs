//! `headsup merge`: the KPIs of all shares, from their partial aggregates.

use std::path::PathBuf;

use clap::Args;
use headsup_runtime::{Input, Job, PARTIALS, Role};

use crate::run::{execute, make_topic, make_topics, partitions};
use crate::{Failure, Place, kpis, rules};

#[derive(Debug, Args)]
pub struct MergeArgs {
    #[command(flatten)]
    place: Place,
    /// Stop when everything that the shares have said so far is merged
    #[arg(long)]
    until_end: bool,
    /// Merge everything again from the beginning, instead of going on where the last run has
    /// ended
    #[arg(long)]
    from_start: bool,
    /// The folder of KPI files that the shares compute, instead of those built in
    #[arg(long, value_name = "DIR")]
    kpis: Option<PathBuf>,
    /// Rules of alerts instead of those built in; by default alerts.toml in the folder of
    /// --kpis, if it is there
    #[arg(long, value_name = "FILE")]
    alerts: Option<PathBuf>,
    /// Serve the page and /metrics even with --until-end, where they are off
    #[arg(long)]
    serve: bool,
}

pub fn merge(args: &MergeArgs) -> Result<(), Failure> {
    let config = args.place.config()?;
    let kpis = kpis::load(args.kpis.as_deref(), &config.kpis)?;
    let log = args.place.log()?;
    make_topics(log.as_ref(), config.log_partitions)?;
    make_topic(log.as_ref(), PARTIALS, partitions(log.as_ref())?)?;
    let job = Job {
        role: Role::Merge,
        config,
        alerts: rules::load(args.alerts.as_deref(), args.kpis.as_deref(), &kpis)?,
        kpis,
        data: args.place.data.clone(),
        from_start: args.from_start,
        until_end: args.until_end,
        profile: false,
        scores: None,
    };
    execute(job, Input::Log(log, Vec::new()), args.serve, &args.place, None)
}
