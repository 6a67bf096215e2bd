//! SQL over the tables of a data folder, and KPIs over its stored facts.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::{SessionConfig, SessionContext};
use headsup_connectors::store;
use headsup_kpi::{Calendar, Kpi, KpiWindows};
use headsup_operators::Windows;
use headsup_operators::facts::Table;

use crate::rows::read_as;

/// A session over `data`: facts, `quarantine`, `alerts`, `scores` and `served` by name, KPIs as `kpi.<name>`
/// (the highest revision of each row) and `kpi_history.<name>` (all). Tables of
/// `kpis` that have no rows yet are there and empty. `calendar` is for `business_ms`.
///
/// # Errors
/// A file that is no Parquet file, or cannot be read.
pub async fn session(data: &Path, kpis: &[Arc<Kpi>], calendar: &Arc<Calendar>) -> Result<SessionContext> {
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config(config);
    let mut state = context.state();
    headsup_kpi::register(&mut state, calendar)?;
    let context = SessionContext::new_with_state(state);
    for table in Table::ALL {
        let folder = format!("facts/{}", table.name());
        register(&context, data, &folder, table.name(), Some(table.schema())).await?;
    }
    register(&context, data, "quarantine", "quarantine", None).await?;
    for table in ["scores", "served", "tasks"] {
        register(&context, data, table, table, None).await?;
    }
    let alerts = crate::alerting::rows(&[])?.schema();
    register(&context, data, "alerts", "alerts", Some(alerts)).await?;
    if let Some(catalog) = context.catalog("datafusion") {
        for schema in ["kpi", "kpi_history"] {
            let provider: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(schema, provider)?;
        }
    }
    let mut names: Vec<String> = kpis.iter().map(|kpi| kpi.name.clone()).collect();
    let folders = std::fs::read_dir(data.join("kpi_history")).into_iter().flatten().flatten();
    names.extend(folders.filter_map(|entry| entry.file_name().into_string().ok()));
    names.sort();
    names.dedup();
    for name in names {
        let known = kpis.iter().find(|kpi| kpi.name == name);
        let schema = match known {
            // The stored rows count, should the file have changed since.
            Some(kpi) if store_files(data, &format!("kpi_history/{name}"))?.is_empty() => {
                Some(kpi.rows.clone())
            }
            _ => None,
        };
        let table = format!("kpi_history.\"{name}\"");
        if !register(&context, data, &format!("kpi_history/{name}"), &table, schema).await? {
            continue;
        }
        let columns = context.table(table.as_str()).await?;
        let fields = columns.schema().fields().iter().map(|field| field.name().clone());
        let fields: Vec<String> = fields.filter(|name| name != "dt").collect();
        // Keys stand between grouped_by and the values; those of the window and
        // grouping sets identify a row, and a value never tells rows apart.
        let keys = key_columns(&columns, known);
        let quoted =
            |names: &[String]| names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        context
            .sql(&format!(
                "CREATE VIEW kpi.\"{name}\" AS SELECT {} FROM (SELECT *, row_number() OVER (PARTITION BY {} ORDER BY revision DESC) AS newest FROM {table}) WHERE newest = 1",
                quoted(&fields),
                quoted(&keys),
            ))
            .await?;
    }
    Ok(context)
}

/// The columns that identify a row of a KPI: window, grouping, and keys.
fn key_columns(table: &datafusion::dataframe::DataFrame, known: Option<&Arc<Kpi>>) -> Vec<String> {
    let mut keys = vec!["window_start".to_owned(), "grouped_by".to_owned()];
    let fields = table.schema().fields();
    match known {
        Some(kpi) => {
            keys.extend(kpi.rows.fields()[3..3 + kpi.key_count].iter().map(|field| field.name().clone()))
        }
        // Without the definition: texts are keys.
        None => keys.extend(
            fields
                .iter()
                .filter(|field| {
                    field.name() != "grouped_by" && field.name() != "dt" && field.data_type().is_string()
                })
                .map(|field| field.name().clone()),
        ),
    }
    keys.retain(|key| fields.iter().any(|field| field.name() == key));
    keys
}

fn store_files(data: &Path, folder: &str) -> Result<Vec<std::path::PathBuf>> {
    store::table_files(data, folder).map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Registers the Parquet files below `folder`; without any, an empty table of
/// `schema`, if that is known. Whether the table is there.
async fn register(
    context: &SessionContext,
    data: &Path,
    folder: &str,
    name: &str,
    schema: Option<SchemaRef>,
) -> Result<bool> {
    let files = store_files(data, folder)?;
    let Some(first) = files.first() else {
        if let Some(schema) = &schema {
            context.register_table(name, Arc::new(EmptyTable::new(schema.clone())))?;
        }
        return Ok(schema.is_some());
    };
    let schema = match schema {
        Some(schema) => schema,
        None => {
            let first = std::fs::File::open(first)?;
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(first)?;
            let schema: &Schema = reader.schema();
            Arc::new(schema.clone())
        }
    };
    let urls = files
        .iter()
        .map(|file| {
            let path = std::fs::canonicalize(file)?;
            ListingTableUrl::parse(path.to_string_lossy())
        })
        .collect::<Result<Vec<_>>>()?;
    let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config =
        ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options).with_schema(schema);
    context.register_table(name, Arc::new(ListingTable::try_new(config)?))?;
    Ok(true)
}

/// Computes KPIs from the stored facts: the final rows of every window, in the
/// order of the KPIs given.
///
/// # Errors
/// A file that cannot be read, or a KPI expression that cannot be evaluated.
pub fn recompute(data: &Path, kpis: &[Arc<Kpi>]) -> Result<Vec<Vec<RecordBatch>>> {
    recompute_from(kpis, |table| {
        let files = store_files(data, &format!("facts/{}", table.name()))?;
        let batches = read_as(table.schema(), files);
        Ok(batches.map(|batch| batch.map_err(|error| DataFusionError::External(Box::new(error)))))
    })
}

/// The same from facts that are read from wherever they are.
///
/// # Errors
/// What `facts` says, or a KPI expression that cannot be evaluated.
pub fn recompute_from<F: Iterator<Item = Result<RecordBatch>>>(
    kpis: &[Arc<Kpi>],
    facts: impl Fn(Table) -> Result<F>,
) -> Result<Vec<Vec<RecordBatch>>> {
    let mut windows: Vec<KpiWindows> = kpis.iter().cloned().map(KpiWindows::new).collect();
    for table in Table::ALL {
        if !kpis.iter().any(|kpi| kpi.tables().contains(&table)) {
            continue;
        }
        for batch in facts(table)? {
            let batch = batch?;
            for windows in &mut windows {
                windows.absorb(i64::MIN, table, &batch)?;
            }
        }
    }
    windows
        .into_iter()
        .map(|windows| {
            let mut rows = Vec::new();
            windows.finish(&mut rows)?;
            Ok(rows)
        })
        .collect()
}

/// A table in memory, for comparing rows by SQL.
///
/// # Errors
/// Batches of different schemas.
pub fn register_rows(
    context: &SessionContext,
    name: &str,
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
) -> Result<()> {
    context.register_table(name, Arc::new(MemTable::try_new(schema, vec![rows])?))?;
    Ok(())
}
