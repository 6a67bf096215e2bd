//! `headsup clickhouse`: the tables in ClickHouse, and what is in them.

use clap::{Args, Subcommand};

use crate::{Failure, Place};

/// Make the tables in ClickHouse, and look what is in them. The configuration's section
/// [clickhouse] says where it is; `headsup run` loads stored tables into it.
#[derive(Debug, Args)]
pub struct ClickhouseArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the database and its tables, or bring them up to date: those of sql/clickhouse/,
    /// and one for each KPI
    Migrate {
        #[command(flatten)]
        place: Place,
        /// The KPI folder of the run, if it is not the built-in one
        #[arg(long, value_name = "DIR")]
        kpis: Option<std::path::PathBuf>,
    },
    /// Whether it answers, its version, the rows of each table, and how far the data folder
    /// has been loaded
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Remove the rows that nobody sees any more: those of generations before the newest
    Prune {
        #[command(flatten)]
        place: Place,
    },
    /// Hide the rows of a share of the input that no process has any more, such as "all"
    /// after the work was divided
    Forget {
        #[command(flatten)]
        place: Place,
        /// As `status` names it
        share: String,
    },
}

pub fn clickhouse(args: &ClickhouseArgs) -> Result<(), Failure> {
    match &args.what {
        What::Migrate { place, kpis } => with::migrate(place, kpis.as_deref()),
        What::Status { place } => with::status(place),
        What::Prune { place } => with::prune(place),
        What::Forget { place, share } => with::forget(place, share),
    }
}

#[cfg(not(feature = "clickhouse"))]
mod with {
    use std::path::Path;

    use crate::{Failure, Place};

    fn not_built() -> Result<(), Failure> {
        Err(Failure::new("this headsup was built without ClickHouse; build it with --features clickhouse"))
    }

    pub fn migrate(_place: &Place, _kpis: Option<&Path>) -> Result<(), Failure> {
        not_built()
    }

    pub fn status(_place: &Place) -> Result<(), Failure> {
        not_built()
    }

    pub fn prune(_place: &Place) -> Result<(), Failure> {
        not_built()
    }

    pub fn forget(_place: &Place, _share: &str) -> Result<(), Failure> {
        not_built()
    }
}

#[cfg(feature = "clickhouse")]
pub use with::server;

#[cfg(feature = "clickhouse")]
mod with {
    use std::path::Path;

    use headsup_clickhouse::{KpiTable, Server};

    use crate::output::thousands;
    use crate::{Failure, Place, kpis, output};

    /// The server that the configuration names.
    pub fn server(place: &Place) -> Result<Server, Failure> {
        let options = headsup_runtime::server_options(&place.config()?).map_err(Failure::from_error)?;
        let options = options.ok_or_else(|| Failure {
            code: 2,
            message: "the configuration names no ClickHouse; set clickhouse.url".to_owned(),
        })?;
        Server::new(options).map_err(Failure::from_error)
    }

    pub fn migrate(place: &Place, folder: Option<&Path>) -> Result<(), Failure> {
        let kpis: Vec<KpiTable> = kpis::load(folder, &place.config()?.kpis)?
            .iter()
            .map(|kpi| KpiTable { name: kpi.name.clone(), rows: kpi.rows.clone(), key_count: kpi.key_count })
            .collect();
        let server = server(place)?;
        let done = headsup_clickhouse::migrate(&server, &kpis).map_err(Failure::from_error)?;
        let mut out = String::new();
        for (what, names) in
            [("applied", &done.applied), ("made KPI", &done.made), ("added column", &done.added)]
        {
            names.iter().for_each(|name| out += &format!("{what} {name}\n"));
        }
        if out.is_empty() {
            out = "nothing to do\n".to_owned();
        }
        output::print(out)
    }

    pub fn status(place: &Place) -> Result<(), Failure> {
        let server = server(place)?;
        let status = headsup_clickhouse::status(&server, &place.data).map_err(Failure::from_error)?;
        let (applied, all) = status.migrations;
        let options = server.options();
        let mut out = format!(
            "ClickHouse {} at {}, database {}: {applied} of {all} migrations\n",
            status.version, options.url, options.database
        );
        for (share, generation, began) in &status.generations {
            out += &format!("share {share}: generation {generation}, since {began}\n");
        }
        for position in &status.positions {
            let now = status
                .generations
                .iter()
                .any(|(share, generation, _)| *share == position.share && *generation == position.generation);
            out += &format!(
                "{}: share {}, generation {}: files below {} are loaded{}\n",
                place.data.display(),
                position.share,
                position.generation,
                position.loaded,
                if now { "" } else { ", into another database or an older generation" }
            );
        }
        for (table, rows) in &status.rows {
            out += &format!("{:>14} rows  {table}\n", thousands(*rows));
        }
        output::print(out)
    }

    pub fn prune(place: &Place) -> Result<(), Failure> {
        let rows = headsup_clickhouse::prune(&server(place)?).map_err(Failure::from_error)?;
        output::print(format!("{} rows of older generations removed\n", thousands(rows)))
    }

    pub fn forget(place: &Place, share: &str) -> Result<(), Failure> {
        headsup_clickhouse::forget(&server(place)?, share).map_err(Failure::from_error)?;
        output::print(format!("rows of share {share} are no longer shown\n"))
    }
}
