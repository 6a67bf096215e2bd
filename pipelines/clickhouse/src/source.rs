//! The source: rows out of ClickHouse for batch jobs, and what is in it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use clickhouse::query::BytesCursor;

use crate::error::Error;
use crate::migrate::{places, state};
use crate::position::Position;
use crate::rowbinary::Decoder;
use crate::server::{Server, quoted};
use crate::tables::{current, rows_table};

/// Rows in a batch, about.
const BATCH_ROWS: usize = 65_536;

/// The rows of a table of the newest generation, as they are in the offline store: `folder` is
/// its folder there, `schema` that of its files. They come in the order of days, files and
/// rows.
///
/// # Errors
/// A server that does not answer, or a table without the columns of the schema.
pub fn read_table(server: Server, folder: &str, schema: SchemaRef) -> Result<Rows, Error> {
    let table = rows_table(folder);
    let nullable = places(&server, &table, &schema)?;
    // A day at a time, so that no server sorts the whole table at once, and each day's rows
    // can be counted.
    let newest = current(server.database());
    let counts = server.query(
        &format!("count the rows of {table}"),
        &format!(
            "SELECT dt, count() FROM `{}`.`{table}` FINAL WHERE {newest} GROUP BY dt ORDER BY dt",
            server.database()
        ),
    )?;
    let days = counts.into_iter().filter_map(|row| Some((row.first()?.clone(), row.get(1)?.parse().ok()?)));
    let columns = schema.fields().iter().zip(nullable).map(|(field, nullable)| {
        let name = field.name();
        // A byte says whether a value is NULL, of every column.
        if nullable { format!("`{name}`") } else { format!("toNullable(`{name}`)") }
    });
    let columns: Vec<String> = columns.collect();
    let columns = columns.join(", ");
    let failed = |problem| Error::Answer { table: table.clone(), problem };
    let decoder = Decoder::new(schema).map_err(failed)?;
    Ok(Rows { server, table, columns, days: days.collect(), day: None, decoder })
}

/// The batches of [`read_table`]. After an error there are no more.
pub struct Rows {
    server: Server,
    table: String,
    columns: String,
    /// Days to come and how many rows each has.
    days: VecDeque<(String, u64)>,
    day: Option<Day>,
    decoder: Decoder,
}

struct Day {
    cursor: BytesCursor,
    rows: u64,
    seen: u64,
    date: String,
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        let action = format!("read rows of {}", self.table);
        let failed = |table: &str, problem| Error::Answer { table: table.to_owned(), problem };
        loop {
            let Some(day) = &mut self.day else {
                let Some((date, rows)) = self.days.pop_front() else {
                    return Ok(None);
                };
                let database = self.server.database();
                let sql = format!(
                    "SELECT {} FROM `{database}`.`{}` FINAL WHERE dt = toDate({}) AND {} ORDER BY dt, share, generation, file, row",
                    self.columns,
                    self.table,
                    quoted(&date),
                    current(database)
                );
                let cursor = self.server.rows(&action, &sql)?;
                self.day = Some(Day { cursor, rows, seen: 0, date });
                continue;
            };
            let bytes = self.server.next(&action, &mut day.cursor)?;
            if let Some(bytes) = &bytes {
                self.decoder.push(bytes).map_err(|problem| failed(&self.table, problem))?;
            }
            let ended = bytes.is_none();
            if ended && self.decoder.is_cut_off() {
                return Err(failed(&self.table, "the answer ends within a row".to_owned()));
            }
            if self.decoder.rows() < BATCH_ROWS && !ended {
                continue;
            }
            let batch = self.decoder.take().map_err(|error| failed(&self.table, error.to_string()))?;
            day.seen += batch.num_rows() as u64;
            if ended {
                if day.seen != day.rows {
                    let problem = format!(
                        "{} has {} rows, and {} came; rows were loaded meanwhile, or the answer was cut off",
                        day.date, day.rows, day.seen
                    );
                    return Err(failed(&self.table, problem));
                }
                self.day = None;
            }
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batch();
        if batch.is_err() {
            self.days.clear();
            self.day = None;
        }
        batch.transpose()
    }
}

/// What is in a database, and how far a data folder has been loaded into it.
#[derive(Debug, Clone)]
pub struct Status {
    /// The server's version.
    pub version: String,
    /// Migrations applied, and how many there are.
    pub migrations: (usize, usize),
    /// Rows of each table, with older generations and what is there twice until it is merged.
    pub rows: BTreeMap<String, u64>,
    /// The newest generation of each share, and when it began (UTC).
    pub generations: Vec<(String, u64, String)>,
    /// What the data folder notes, for each share that is in it.
    pub positions: Vec<Position>,
}

/// Asks a server for it. `data` is the data folder.
///
/// # Errors
/// A server that does not answer, or a database that does not fit.
pub fn status(server: &Server, data: &Path) -> Result<Status, Error> {
    let version = server.version()?;
    let database = server.database();
    let databases = server.query(
        "look for the database",
        &format!("SELECT name FROM system.databases WHERE name = {}", quoted(database)),
    )?;
    if databases.is_empty() {
        let url = server.options().url.clone();
        return Err(Error::NoDatabase { url, database: database.to_owned() });
    }
    let migrations = state(server)?;
    let counts = server.query(
        "count rows",
        &format!(
            "SELECT table, sum(rows) FROM system.parts WHERE database = {} AND active AND table LIKE 'rows_%' GROUP BY table",
            quoted(database)
        ),
    )?;
    let mut rows = BTreeMap::new();
    for count in counts {
        if let [table, count] = count.as_slice()
            && let Ok(count) = count.parse()
        {
            rows.insert(table.clone(), count);
        }
    }
    let generations = match migrations {
        (0, _) => Vec::new(),
        _ => server.query(
            "read the generations",
            &format!(
                "SELECT share, max(generation), toString(argMax(began, generation)) FROM `{database}`.generations GROUP BY share ORDER BY share"
            ),
        )?,
    };
    let generations = generations.into_iter().filter_map(|row| {
        let mut cells = row.into_iter();
        Some((cells.next()?, cells.next()?.parse().ok()?, cells.next()?))
    });
    let generations = generations.collect();
    Ok(Status { version, migrations, rows, generations, positions: Position::all(data)? })
}
