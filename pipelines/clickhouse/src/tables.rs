//! The tables in ClickHouse: their names, and the columns that follow from Arrow schemas.

use arrow::datatypes::{Field, SchemaRef};

use crate::error::Error;
use crate::rowbinary::Kind;
use crate::server::Dialect;

/// Columns in front of a row's own, that say where it came from.
pub(crate) const IDENTITY: [&str; 5] = ["share", "generation", "file", "row", "dt"];

/// What shows the newest generation of each share alone.
pub(crate) fn current(database: &str) -> String {
    format!(
        "(share, generation) IN (SELECT share, max(generation) FROM `{database}`.generations GROUP BY share)"
    )
}

/// The table of rows for a folder of the offline store: `facts/contacts` is `rows_contacts`,
/// `kpi_history/aht` is `rows_kpi_aht`.
pub fn rows_table(folder: &str) -> String {
    match folder.split_once('/') {
        Some(("kpi_history", kpi)) => format!("rows_kpi_{kpi}"),
        Some((_, table)) => format!("rows_{table}"),
        None => format!("rows_{folder}"),
    }
}

/// A KPI as far as its table goes.
#[derive(Debug, Clone)]
pub struct KpiTable {
    /// The KPI's name; its view is `kpi_<name>`.
    pub name: String,
    /// The schema of its rows: `window_start`, `window_end`, `grouped_by`, keys, values,
    /// `revision`, `final`, `at`.
    pub rows: SchemaRef,
    /// How many columns after `grouped_by` are keys.
    pub key_count: usize,
}

/// A column to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
}

impl Column {
    fn of(table: &str, field: &Field) -> Result<Self, Error> {
        let kind = kind_of(table, field)?;
        Ok(Self { name: field.name().clone(), kind, nullable: field.is_nullable() })
    }

    /// Its type in SQL.
    pub(crate) fn sql(&self, dialect: Dialect) -> String {
        let name = match self.kind {
            Kind::Text => "String",
            Kind::Integer => "Int64",
            Kind::Unsigned => "UInt64",
            Kind::Double => "Float64",
            Kind::Boolean => "UInt8",
            Kind::Time => dialect.time(),
        };
        if self.nullable { format!("Nullable({name})") } else { name.to_owned() }
    }
}

/// How a column is kept. Of rows with the same keys ClickHouse keeps the one with the highest
/// revision, and for that it must be unsigned.
pub(crate) fn kind_of(table: &str, field: &Field) -> Result<Kind, Error> {
    match Kind::of(field.data_type()) {
        Some(Kind::Integer) if field.name() == "revision" => Ok(Kind::Unsigned),
        Some(kind) => Ok(kind),
        None => Err(Error::Column {
            table: table.to_owned(),
            column: field.name().clone(),
            problem: format!("there is no place for type {}", field.data_type()),
        }),
    }
}

/// Whether `found`, a type as ClickHouse calls it, holds the bytes of `kind`; and whether it
/// may be NULL.
pub(crate) fn holds(found: &str, kind: Kind) -> Option<bool> {
    let inner = found.strip_prefix("Nullable(").and_then(|rest| rest.strip_suffix(')'));
    let name = inner.unwrap_or(found);
    let fits = match kind {
        Kind::Text => name == "String",
        Kind::Integer => name == "Int64",
        Kind::Unsigned => name == "UInt64",
        Kind::Double => name == "Float64",
        Kind::Boolean => name == "UInt8" || name == "Bool",
        Kind::Time => name == "Int64" || name.starts_with("DateTime64(6"),
    };
    fits.then_some(inner.is_some())
}

impl KpiTable {
    /// The table of its rows.
    pub(crate) fn table(&self) -> String {
        format!("rows_kpi_{}", self.name)
    }

    /// What people query.
    pub(crate) fn view(&self) -> String {
        format!("kpi_{}", self.name)
    }

    pub(crate) fn columns(&self) -> Result<Vec<Column>, Error> {
        if let Some(taken) = self.rows.fields().iter().find(|f| IDENTITY.contains(&f.name().as_str())) {
            return Err(Error::Column {
                table: self.view(),
                column: taken.name().clone(),
                problem: "the name is taken by where rows come from; give it another with AS".to_owned(),
            });
        }
        self.rows.fields().iter().map(|field| Column::of(&self.view(), field)).collect()
    }

    /// The names of its keys.
    pub(crate) fn keys(&self) -> Vec<String> {
        let fields = self.rows.fields().iter().skip(3).take(self.key_count);
        fields.map(|field| field.name().clone()).collect()
    }

    /// The statement that makes its table. A key may be NULL, which no server takes in a
    /// sorting key, so each is split in two: whether it is NULL, and what it is if not.
    pub(crate) fn create(&self, database: &str, dialect: Dialect) -> Result<String, Error> {
        let columns = self.columns()?;
        let mut order = vec!["`window_start`".to_owned(), "`grouped_by`".to_owned()];
        for column in columns.iter().skip(3).take(self.key_count) {
            let name = &column.name;
            let instead = if column.kind == Kind::Text { "''" } else { "0" };
            let instead = if column.kind == Kind::Time { dialect.epoch() } else { instead };
            order.push(format!("isNull(`{name}`)"));
            order.push(format!("ifNull(`{name}`, {instead})"));
        }
        order.extend(["`generation`".to_owned(), "`share`".to_owned()]);
        let columns: Vec<String> =
            columns.iter().map(|column| format!(", `{}` {}", column.name, column.sql(dialect))).collect();
        Ok(format!(
            "CREATE TABLE IF NOT EXISTS `{database}`.`{}` (`share` String, `generation` UInt64, `file` UInt64, \
             `row` UInt64, `dt` Date{}) ENGINE = ReplacingMergeTree(revision) \
             PARTITION BY (share, generation, toYYYYMM(dt)) ORDER BY ({}){}",
            self.table(),
            columns.concat(),
            order.join(", "),
            dialect.table_settings(),
        ))
    }

    /// The statement that makes its view.
    pub(crate) fn create_view(&self, database: &str) -> String {
        let names: Vec<String> =
            self.rows.fields().iter().map(|field| format!("`{}`", field.name())).collect();
        format!(
            "CREATE VIEW `{database}`.`{}` AS SELECT {}, `dt` FROM `{database}`.`{}` FINAL WHERE {}",
            self.view(),
            names.join(", "),
            self.table(),
            current(database)
        )
    }
}
