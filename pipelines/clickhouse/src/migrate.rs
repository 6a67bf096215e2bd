//! Making and changing the tables: numbered migrations, then the KPIs' tables.
//!
//! A migration is applied once and noted with its hash in `headsup_migrations`. Each of its
//! statements can be repeated, so one that was interrupted is applied again from its start.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Error;
use crate::server::{Dialect, Server, quoted};
use crate::tables::{IDENTITY, KpiTable, holds, kind_of};

/// The files of `sql/clickhouse/`, in order; the first is number 1.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_facts", include_str!("../../../sql/clickhouse/0001_facts.sql")),
    ("0002_quarantine", include_str!("../../../sql/clickhouse/0002_quarantine.sql")),
    ("0003_outputs", include_str!("../../../sql/clickhouse/0003_outputs.sql")),
    ("0004_followed", include_str!("../../../sql/clickhouse/0004_followed.sql")),
    ("0005_scores", include_str!("../../../sql/clickhouse/0005_scores.sql")),
    ("0006_tasks", include_str!("../../../sql/clickhouse/0006_tasks.sql")),
];

const NOTES: &str = "headsup_migrations";

/// What was done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// Migrations applied now.
    pub applied: Vec<String>,
    /// KPIs whose tables were made now.
    pub made: Vec<String>,
    /// Columns added to tables of KPIs, as `kpi.column`.
    pub added: Vec<String>,
}

/// Brings a database up to date: makes it, applies the migrations that it does not have, and
/// makes or widens the tables of `kpis`.
///
/// # Errors
/// A server that does not do it; a database that this program does not fit.
pub fn migrate(server: &Server, kpis: &[KpiTable]) -> Result<Migrated, Error> {
    migrate_by(server, MIGRATIONS, kpis)
}

/// The same with other migrations.
///
/// # Errors
/// As [`migrate`].
pub fn migrate_by(
    server: &Server,
    migrations: &[(&str, &str)],
    kpis: &[KpiTable],
) -> Result<Migrated, Error> {
    let dialect = server.dialect()?;
    let database = server.database();
    server.command("make the database", &format!("CREATE DATABASE IF NOT EXISTS `{database}`"))?;
    server.command(
        "make the table of migrations",
        &format!(
            "CREATE TABLE IF NOT EXISTS `{database}`.{NOTES} (number UInt32, name String, hash String, at DateTime) \
             ENGINE = ReplacingMergeTree ORDER BY (number, hash)"
        ),
    )?;
    let mut done = Migrated::default();
    let applied = check(server, migrations, &applied(server)?)?;
    for (number, (name, text)) in (1_u32..).zip(migrations).skip(applied) {
        for statement in statements(text, database, dialect) {
            // What old servers have no words for.
            let statement = match statement.split_once(" ADD COLUMN IF NOT EXISTS `") {
                Some((table, column)) => {
                    let table_name = table.rsplit('.').next().unwrap_or(table);
                    let column_name = column.split('`').next().unwrap_or(column);
                    if columns(server, table_name)?.iter().any(|(name, _)| name == column_name) {
                        continue;
                    }
                    format!("{table} ADD COLUMN `{column}")
                }
                None => statement,
            };
            server.command(&format!("apply migration {name}"), &statement)?;
        }
        server.command(
            &format!("note that migration {name} is applied"),
            &format!(
                "INSERT INTO `{database}`.{NOTES} SELECT toUInt32({number}), {}, {}, now()",
                quoted(name),
                quoted(&hash(text))
            ),
        )?;
        done.applied.push((*name).to_owned());
    }
    for kpi in kpis {
        fit(server, dialect, kpi, &mut done)?;
    }
    Ok(done)
}

/// The statements of a migration for a server.
fn statements(text: &str, database: &str, dialect: Dialect) -> Vec<String> {
    let text: String = text.lines().filter(|line| !line.trim_start().starts_with("--")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    );
    let text = text
        .replace("{database}", database)
        .replace("{time}", dialect.time())
        .replace("{settings}", dialect.table_settings());
    text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

fn hash(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

/// Number, name and hash of what the database has.
type Applied = BTreeMap<u32, (String, String)>;

fn applied(server: &Server) -> Result<Applied, Error> {
    let rows = server.query(
        "read which migrations are applied",
        &format!("SELECT number, name, hash FROM `{}`.{NOTES} FINAL ORDER BY number, at", server.database()),
    )?;
    let mut applied = Applied::new();
    for row in rows {
        if let [number, name, hash] = row.as_slice()
            && let Ok(number) = number.parse()
        {
            applied.insert(number, (name.clone(), hash.clone()));
        }
    }
    Ok(applied)
}

/// How many of the migrations the database has, if they are the same and none is missing.
fn check(server: &Server, migrations: &[(&str, &str)], applied: &Applied) -> Result<usize, Error> {
    let failed = |found: String| Error::Migration { database: server.database().to_owned(), found };
    for (expected, (&number, (name, found))) in (1_u32..).zip(applied) {
        if number != expected {
            return Err(failed(format!(
                "migration {expected} is not noted, but {number} ({name}) is; restore the rows of table {NOTES}"
            )));
        }
        let Some((known, text)) = migrations.get(number as usize - 1) else {
            return Err(failed(format!(
                "it has migration {number} ({name}), which this headsup does not know; use the newer headsup that applied it"
            )));
        };
        if name != known || *found != hash(text) {
            return Err(failed(format!(
                "migration {number} was applied as {name} with hash {found}, and is now {known} with hash {}; \
                 undo the change of sql/clickhouse/{known}.sql and put it into a new migration",
                hash(text)
            )));
        }
    }
    Ok(applied.len())
}

/// How many migrations a database has, and how many there are.
///
/// # Errors
/// A server that does not answer, or a database that does not fit.
pub fn state(server: &Server) -> Result<(usize, usize), Error> {
    let applied = match applied(server) {
        Ok(applied) => applied,
        Err(Error::Outdated { .. }) => Applied::new(),
        Err(error) => return Err(error),
    };
    Ok((check(server, MIGRATIONS, &applied)?, MIGRATIONS.len()))
}

/// That all migrations are applied.
pub(crate) fn require(server: &Server) -> Result<(), Error> {
    match state(server)? {
        (applied, all) if applied == all => Ok(()),
        (applied, all) => Err(Error::Outdated {
            found: format!("database {} has {applied} of {all} migrations", server.database()),
        }),
    }
}

/// Name and type of a table's columns; none if there is no such table.
pub(crate) fn columns(server: &Server, table: &str) -> Result<Vec<(String, String)>, Error> {
    let rows = server.query(
        &format!("read the columns of {table}"),
        &format!(
            "SELECT name, type FROM system.columns WHERE database = {} AND table = {}",
            quoted(server.database()),
            quoted(table)
        ),
    )?;
    let pairs = rows.into_iter().filter_map(|row| {
        let mut cells = row.into_iter();
        cells.next().zip(cells.next())
    });
    Ok(pairs.collect())
}

/// Makes the table and the view of a KPI, or adds the columns that they lack.
fn fit(server: &Server, dialect: Dialect, kpi: &KpiTable, done: &mut Migrated) -> Result<(), Error> {
    let database = server.database();
    let (table, view) = (kpi.table(), kpi.view());
    let action = format!("make table {table}");
    let wanted = kpi.columns()?;
    let found = columns(server, &table)?;
    if found.is_empty() {
        server.command(&action, &kpi.create(database, dialect)?)?;
        done.made.push(kpi.name.clone());
    } else {
        let refused = |found: String| Error::Migration {
            database: database.to_owned(),
            found: format!(
                "{found}; rename or drop {database}.{table} and call this again: `headsup run --from-start` \
                 then fills it"
            ),
        };
        let keys = kpi.keys();
        let sorted = sorting_key(server, &table)?;
        let others = ["window_start", "grouped_by", "generation", "share"];
        if let Some(gone) = sorted.iter().find(|key| !keys.contains(key) && !others.contains(&key.as_str())) {
            return Err(refused(format!("KPI {} is no longer grouped by {gone}", kpi.name)));
        }
        for column in wanted {
            let name = &column.name;
            match found.iter().find(|(found, _)| found == name) {
                Some((_, data_type)) if holds(data_type, column.kind).is_none() => {
                    let wanted = column.sql(dialect);
                    return Err(refused(format!(
                        "column {name} of {table} is {data_type}, and now {wanted}"
                    )));
                }
                Some(_) if !keys.contains(name) || sorted.contains(name) => {}
                None if !keys.contains(name) => {
                    let sql = column.sql(dialect);
                    let add = format!("ALTER TABLE `{database}`.`{table}` ADD COLUMN `{name}` {sql}");
                    server.command(&format!("add column {name} to {table}"), &add)?;
                    done.added.push(format!("{}.{name}", kpi.name));
                }
                _ => return Err(refused(format!("KPI {} is now also grouped by {name}", kpi.name))),
            }
        }
    }
    // A view keeps the columns that it was made with, so it is made again when they differ.
    let mut shown: Vec<String> = columns(server, &view)?.into_iter().map(|(name, _)| name).collect();
    shown.retain(|name| name != "dt");
    let wanted: Vec<&String> = kpi.rows.fields().iter().map(|field| field.name()).collect();
    if !shown.iter().eq(wanted) {
        let action = format!("make view {view}");
        server.command(&action, &format!("DROP TABLE IF EXISTS `{database}`.`{view}`"))?;
        server.command(&action, &kpi.create_view(database))?;
    }
    Ok(())
}

/// The columns that rows are sorted by.
fn sorting_key(server: &Server, table: &str) -> Result<Vec<String>, Error> {
    let rows = server.query(
        &format!("read the sorting key of {table}"),
        &format!(
            "SELECT name FROM system.columns WHERE database = {} AND table = {} AND is_in_sorting_key",
            quoted(server.database()),
            quoted(table)
        ),
    )?;
    Ok(rows.into_iter().flatten().collect())
}

/// The columns of ClickHouse that the columns of an Arrow schema go to: whether each may be
/// NULL, in the order of the schema.
pub(crate) fn places(
    server: &Server,
    table: &str,
    schema: &arrow::datatypes::Schema,
) -> Result<Vec<bool>, Error> {
    let found = columns(server, table)?;
    if found.is_empty() {
        let found = format!("database {} has no table {table}", server.database());
        return Err(Error::Outdated { found });
    }
    if let Some(missing) = IDENTITY.iter().find(|name| !found.iter().any(|(found, _)| found == *name)) {
        return Err(Error::Outdated { found: format!("table {table} has no column {missing}") });
    }
    let place = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let kind = kind_of(table, field)?;
        let Some((name, data_type)) = found.iter().find(|(name, _)| name == field.name()) else {
            return Err(Error::Outdated { found: format!("table {table} has no column {}", field.name()) });
        };
        holds(data_type, kind).ok_or_else(|| Error::Column {
            table: table.to_owned(),
            column: name.clone(),
            problem: format!("it is {data_type} in ClickHouse, and {} in the file", field.data_type()),
        })
    };
    schema.fields().iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_are_listed_and_numbered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql/clickhouse");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("part of the source")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let listed: Vec<String> = MIGRATIONS.iter().map(|(name, _)| format!("{name}.sql")).collect();
        assert_eq!(names, listed);
        for (number, name) in (1..).zip(listed) {
            assert!(name.starts_with(&format!("{number:04}_")), "{name}");
        }
    }
}
