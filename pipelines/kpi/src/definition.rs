//! A KPI file: its header, its query, and everything that can be wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::{enumerate_grouping_sets, grouping_set_to_exprlist};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, GroupingSet, LogicalPlan};
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::{CastExpr, Column as PhysicalColumn};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::prelude::{SessionConfig, SessionContext};
use headsup_stream::{Windowing, gcd, parse_duration_ms};

use crate::calendar::Calendar;
use crate::functions;
use crate::settings::Settings;
use crate::sql::{self, did_you_mean, poll};
use headsup_operators::facts::Table;

/// One KPI, checked and ready to run.
#[derive(Debug)]
pub struct Kpi {
    /// The file's name without `.sql`; its table is `kpi.<name>`.
    pub name: String,
    /// From the header, English and Chinese separated by `|`.
    pub title: String,
    /// Unit of the values.
    pub unit: String,
    /// The other comments of the header.
    pub description: String,
    /// The file's text, with the values of its parameters.
    pub sql: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// Its windows.
    pub windowing: Windowing,
    /// How long after its end a window takes late facts, in ms.
    pub corrections_ms: i64,
    /// How often the window that ends next shows its value so far, in ms of event
    /// time; `None`: only at its end.
    pub early_ms: Option<i64>,
    /// No window begins before this, in ms.
    pub from_ms: i64,
    pub(super) branches: Vec<Branch>,
    pub(super) time: Arc<dyn PhysicalExpr>,
    /// The group keys besides the window.
    pub(super) keys: Vec<Key>,
    /// Each grouping set as places in `keys`.
    pub(super) sets: Vec<Vec<usize>>,
    /// The names of each, separated by commas.
    pub(super) grouped_by: Vec<String>,
    pub(super) aggregates: Vec<LoweredAggregate>,
    /// What the aggregation gives, in order.
    pub(super) cells: Vec<Cell>,
    pub(super) aggregated: SchemaRef,
    pub(super) having: Option<Arc<dyn PhysicalExpr>>,
    pub(super) values: Vec<(String, Arc<dyn PhysicalExpr>)>,
    /// Schema of the rows that come out.
    pub rows: SchemaRef,
    /// How many columns after `grouped_by` are keys.
    pub key_count: usize,
}

/// A value that a file gives a name: `-- parameter: within = 30 seconds`, and `$within` in the
/// query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is: a duration, or a whole number.
    pub value: String,
    /// In ms, or the number.
    number: i64,
}

/// A way from a facts table to the aggregation.
#[derive(Debug)]
pub(super) struct Branch {
    pub table: Table,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Step {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

#[derive(Debug)]
pub(super) struct Key {
    pub name: String,
    pub expr: Arc<dyn PhysicalExpr>,
    pub data_type: DataType,
}

impl Key {
    pub(super) fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), true)
    }
}

/// A column of what the aggregation gives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    Window,
    Key(usize),
    GroupingId,
    Aggregate(usize),
}

/// What is wrong with a KPI file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KpiError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, if it is known.
    pub line: Option<u64>,
    /// What was found and what to do.
    pub message: String,
}

impl fmt::Display for KpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for KpiError {}

/// Aggregates that give the same bits in whatever order facts are merged.
const EXACT: [&str; 13] = [
    "count",
    "sum",
    "min",
    "max",
    "avg_ms",
    "quantile",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "approx_distinct",
    "grouping",
];

type Mistake = (Option<u64>, String);

impl Kpi {
    /// Reads a KPI. `file` is how messages call it, `name` what its table is
    /// called after.
    ///
    /// # Errors
    /// The first mistake in it.
    pub fn parse(file: &str, name: &str, sql: &str) -> Result<Self, KpiError> {
        Self::parse_with(file, name, sql, &Settings::default())
    }

    /// The same with settings.
    ///
    /// # Errors
    /// The first mistake in the file, or in the parameters that the settings give it.
    pub fn parse_with(file: &str, name: &str, sql: &str, settings: &Settings) -> Result<Self, KpiError> {
        let set = settings.parameters.get(name);
        let parse = |(parameters, sql): (Vec<Parameter>, String)| {
            let kpi = Parser { name, sql: &sql, calendar: &settings.calendar, parameters }.parse()?;
            Ok(Self { from_ms: settings.from_ms.unwrap_or(i64::MIN), ..kpi })
        };
        with_parameters(sql, set).and_then(parse).map_err(|(line, message)| KpiError {
            file: file.to_owned(),
            line,
            message,
        })
    }

    /// The names of the keys of each grouping set, as in `grouped_by`.
    pub fn sets(&self) -> Vec<Vec<String>> {
        let names = |set: &Vec<usize>| set.iter().map(|&key| self.keys[key].name.clone()).collect();
        self.sets.iter().map(names).collect()
    }

    /// Every how many ms of event time it has something to do at most: a divisor
    /// of all times at which its windows show something.
    pub fn tick_ms(&self) -> i64 {
        let boundary = gcd(self.windowing.pane_ms(), self.corrections_ms);
        let boundary = gcd(boundary, self.windowing.offset_ms());
        gcd(boundary, self.early_ms.unwrap_or(0))
    }

    /// Whether all facts of a table are certainly of before the first window: an economy, where years are read that
    /// nobody wants KPIs of.
    pub(super) fn is_before_all(&self, branch: &Branch, facts: &RecordBatch) -> bool {
        let times = self.time_column(branch).filter(|_| self.from_ms > i64::MIN);
        let times =
            times.and_then(|column| facts.column(column).as_primitive_opt::<TimestampMicrosecondType>());
        times.is_some_and(|times| {
            let latest_us = arrow::compute::max(times);
            latest_us.is_none_or(|latest_us| latest_us.div_euclid(1_000) < self.from_ms)
        })
    }

    /// The column of the table that the windows' time is, as it is.
    fn time_column(&self, branch: &Branch) -> Option<usize> {
        let mut column = column_of(&self.time)?;
        for step in branch.steps.iter().rev() {
            if let Step::Project(exprs, _) = step {
                column = column_of(exprs.get(column)?)?;
            }
        }
        Some(column)
    }

    /// The facts tables it reads.
    pub fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = self.branches.iter().map(|branch| branch.table).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The columns of a table that it reads, by their places.
    pub fn columns(&self, table: Table) -> BTreeSet<usize> {
        let mut columns = BTreeSet::new();
        for branch in self.branches.iter().filter(|branch| branch.table == table) {
            let mut read = |expr: &Arc<dyn PhysicalExpr>| {
                columns.extend(collect_columns(expr).iter().map(|column| column.index()));
            };
            let mut is_table = true;
            for step in &branch.steps {
                match step {
                    Step::Filter(predicate) => read(predicate),
                    Step::Project(exprs, _) => {
                        exprs.iter().for_each(&mut read);
                        is_table = false;
                        break;
                    }
                }
            }
            if is_table {
                read(&self.time);
                self.keys.iter().for_each(|key| read(&key.expr));
                for aggregate in &self.aggregates {
                    aggregate.aggregate.expressions().iter().for_each(&mut read);
                    aggregate.filter.iter().for_each(&mut read);
                }
            }
        }
        columns
    }
}

/// Which column an expression is, as it is or cast.
fn column_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) => column_of(cast.expr()),
        None => expr.downcast_ref::<PhysicalColumn>().map(PhysicalColumn::index),
    }
}

struct Parser<'a> {
    name: &'a str,
    sql: &'a str,
    calendar: &'a Arc<Calendar>,
    parameters: Vec<Parameter>,
}

/// The parameters in a file's header, with the values that are `set`, and the file with the
/// values in the place of the names.
fn with_parameters(
    sql: &str,
    set: Option<&BTreeMap<String, String>>,
) -> Result<(Vec<Parameter>, String), Mistake> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for (index, line) in sql.lines().enumerate() {
        let Some(text) = line.trim().strip_prefix("--").and_then(|comment| {
            let (key, text) = comment.split_once(':')?;
            (key.trim() == "parameter").then_some(text)
        }) else {
            continue;
        };
        let place = Some(index as u64 + 1);
        let wrong = |problem: String| (place, problem);
        let form = "expected a name and a duration or whole number, as in -- parameter: within = 30 seconds";
        let (name, value) = text.split_once('=').ok_or_else(|| wrong(form.to_owned()))?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            return Err(wrong(format!("\"{name}\" cannot be the name of a parameter; use a-z and _")));
        }
        if parameters.iter().any(|other| other.name == name) {
            return Err(wrong(format!("there are two parameters {name}")));
        }
        let number = |value: &str| parse_duration_ms(value).or_else(|| value.parse().ok());
        let of_file = number(value).ok_or_else(|| wrong(format!("{form}; found \"{value}\"")))?;
        let (value, number) = match set.and_then(|set| set.get(name)) {
            None => (value.to_owned(), of_file),
            Some(value) => {
                let problem = || {
                    format!("parameter {name} is set to \"{value}\", which is no duration or whole number")
                };
                (value.clone(), number(value).ok_or_else(|| wrong(problem()))?)
            }
        };
        parameters.push(Parameter { name: name.to_owned(), value, number });
    }
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    for name in set.into_iter().flat_map(BTreeMap::keys) {
        if !known.contains(&name.as_str()) {
            let nearest = did_you_mean(name, &known);
            return Err((None, format!("it has no parameter {name}, which is set{nearest}")));
        }
    }
    let mut out = String::with_capacity(sql.len());
    for (index, line) in sql.split_inclusive('\n').enumerate() {
        let is_comment = line.trim().starts_with("--");
        let parameter = line.trim().strip_prefix("--").and_then(|comment| {
            let (name, _) = comment.trim().strip_prefix("parameter:")?.split_once('=')?;
            parameters.iter().find(|parameter| parameter.name == name.trim())
        });
        if let Some(Parameter { name, value, .. }) = parameter {
            // What is set is what counts, and what a checkpoint is held against.
            out.push_str(&format!("-- parameter: {name} = {value}\n"));
            continue;
        }
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('$') {
            let end = after.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            out.push_str(before);
            match parameters.iter().find(|parameter| parameter.name == name) {
                Some(parameter) if is_comment => out.push_str(&parameter.value),
                Some(parameter) => out.push_str(&parameter.number.to_string()),
                // A price, say.
                None if is_comment || name.is_empty() => {
                    out.push('$');
                    out.push_str(name);
                }
                None => {
                    let nearest = did_you_mean(name, &known);
                    let problem =
                        format!("there is no parameter ${name}; say what it is in the header{nearest}");
                    return Err((Some(index as u64 + 1), problem));
                }
            }
            rest = after;
        }
        out.push_str(rest);
    }
    Ok((parameters, out))
}

struct Header {
    title: String,
    unit: String,
    description: String,
    corrections_ms: i64,
    early_ms: Option<i64>,
}

impl Parser<'_> {
    fn parse(&self) -> Result<Kpi, Mistake> {
        let well_named = self.name.starts_with(|c: char| c.is_ascii_lowercase())
            && self.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !well_named {
            return Err((
                None,
                format!(
                    "\"{}\" cannot be the name of a table; name the file with a-z, 0-9 and _, a letter first",
                    self.name
                ),
            ));
        }
        let header = self.header()?;
        let (state, plan) = self.plan()?;
        let LogicalPlan::Projection(top) = &plan else {
            return Err((
                None,
                "expected one SELECT … GROUP BY …, without ORDER BY, LIMIT or DISTINCT".to_owned(),
            ));
        };
        let (having, aggregate) = match top.input.as_ref() {
            LogicalPlan::Filter(filter) => (Some(&filter.predicate), filter.input.as_ref()),
            other => (None, other),
        };
        let LogicalPlan::Aggregate(aggregate) = aggregate else {
            return Err((
                None,
                "there is no aggregate: a KPI counts, sums or averages facts, GROUP BY tumble(…) or hop(…)"
                    .to_owned(),
            ));
        };
        self.build(header, &state, top.expr.as_slice(), having, aggregate)
    }

    fn header(&self) -> Result<Header, Mistake> {
        let mut header = Header {
            title: String::new(),
            unit: String::new(),
            description: String::new(),
            corrections_ms: 0,
            early_ms: Some(10_000),
        };
        for (index, line) in self.sql.lines().enumerate() {
            let Some(comment) = line.trim().strip_prefix("--") else {
                if line.trim().is_empty() {
                    continue;
                }
                break;
            };
            let text = comment.strip_prefix(' ').unwrap_or(comment).trim_end();
            let comment = comment.trim();
            let number = Some(index as u64 + 1);
            let duration = |value: &str| {
                // A sum, so that a parameter can be in it.
                let mut parts = value.split('+').map(|part| parse_duration_ms(part.trim()));
                let sum = parts.try_fold(0i64, |sum, part| sum.checked_add(part?));
                sum.ok_or_else(|| {
                    (number, format!("expected a duration such as 10 minutes, found \"{value}\""))
                })
            };
            match comment.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("title", value)) => header.title = value.to_owned(),
                Some(("parameter", _)) => {}
                Some(("unit", value)) => header.unit = value.to_owned(),
                Some(("corrections", "none")) => header.corrections_ms = 0,
                Some(("corrections", value)) => header.corrections_ms = duration(value)?,
                Some(("early", "none")) => header.early_ms = None,
                Some(("early", value)) => {
                    header.early_ms = Some(duration(value)?);
                    if header.early_ms == Some(0) {
                        return Err((number, "early values every 0 ms: say none, or how often".to_owned()));
                    }
                }
                _ => {
                    if !header.description.is_empty() {
                        header.description.push('\n');
                    }
                    header.description.push_str(text);
                }
            }
        }
        if header.title.is_empty() {
            return Err((
                Some(1),
                "the header has no title; begin the file with -- title: English | 中文".to_owned(),
            ));
        }
        Ok(header)
    }

    /// The logical plan after type coercion and before any optimisation, so that
    /// it has the shape of the text.
    fn plan(&self) -> Result<(SessionState, LogicalPlan), Mistake> {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.collect_spans = true;
        let context = SessionContext::new_with_config(config);
        let internal = |error: DataFusionError| (None, error.to_string());
        for table in Table::ALL {
            context
                .register_table(table.name(), Arc::new(EmptyTable::new(table.schema())))
                .map_err(internal)?;
        }
        let mut state = context.state();
        functions::register(&mut state, self.calendar).map_err(internal)?;
        let plan = poll(state.create_logical_plan(self.sql)).map_err(|error| self.explain(&error))?;
        if let LogicalPlan::Projection(_) = &plan {
        } else if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return Err((
                None,
                "expected one SELECT … GROUP BY …, without ORDER BY, LIMIT or DISTINCT".to_owned(),
            ));
        }
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|error| self.explain(&error))?;
        Ok((state, plan))
    }

    fn build(
        &self,
        header: Header,
        state: &SessionState,
        projection: &[Expr],
        having: Option<&Expr>,
        aggregate: &Aggregate,
    ) -> Result<Kpi, Mistake> {
        let props = state.execution_props();
        let context = PhysicalPlanningContext::default();
        let physical = |expr: &Expr, schema: &DFSchemaRef| {
            create_physical_expr(expr, schema, props, &context).map_err(|error| self.explain(&error))
        };

        // The window and the keys.
        let sets = grouping_sets(&aggregate.group_expr).map_err(|error| self.explain(&error))?;
        let distinct =
            grouping_set_to_exprlist(&aggregate.group_expr).map_err(|error| self.explain(&error))?;
        let windows: Vec<&Expr> =
            distinct.iter().copied().filter(|expr| window_call(expr).is_some()).collect();
        let window = match windows.as_slice() {
            [window] => *window,
            [] => {
                return Err((
                    self.line_of("group by"),
                    "there is no window: GROUP BY tumble(time, size) or hop(time, slide, size)".to_owned(),
                ));
            }
            _ => {
                return Err((
                    self.line_of("group by"),
                    "there is more than one window; a KPI has one tumble or hop".to_owned(),
                ));
            }
        };
        if sets.iter().any(|set| !set.contains(window)) {
            return Err((self.line_of("grouping sets").or(self.line_of("group by")), "a grouping set is without the window; add it to each, as in GROUPING SETS ((period), (period, shop))".to_owned()));
        }
        let input = aggregate.input.schema();
        let (windowing, time) = self.windowing(window)?;
        let time_type = time.to_field(input).map_err(|error| self.explain(&error))?.1;
        if !matches!(time_type.data_type(), DataType::Timestamp(_, _)) {
            return Err((
                self.line_of(&time.to_string()),
                format!("the window's time {time} is no time but {}", time_type.data_type()),
            ));
        }
        let microseconds = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let time = physical(
            &datafusion::logical_expr::cast(
                datafusion::logical_expr::cast(time.clone(), microseconds),
                DataType::Int64,
            ),
            input,
        )?;
        let key_exprs: Vec<&Expr> = distinct.iter().copied().filter(|expr| *expr != window).collect();

        // What the aggregation gives, in the order of its schema.
        let mut cells = Vec::new();
        for expr in &distinct {
            cells.push(match key_exprs.iter().position(|key| key == expr) {
                Some(place) => Cell::Key(place),
                None => Cell::Window,
            });
        }
        if aggregate.schema.fields().len() > distinct.len() + aggregate.aggr_expr.len() {
            cells.push(Cell::GroupingId);
        }
        cells.extend((0..aggregate.aggr_expr.len()).map(Cell::Aggregate));
        let aggregated: SchemaRef = nullable(&aggregate.schema);

        let mut aggregates = Vec::new();
        for expr in &aggregate.aggr_expr {
            self.check_aggregate(expr, input)?;
            aggregates.push(
                LoweredAggregateBuilder::new(expr, input, input.as_arrow(), props, &context)
                    .build()
                    .map_err(|error| self.explain(&error))?,
            );
        }

        // What comes out.
        let window_column = Column::from_name(window.schema_name().to_string());
        let mut names: Vec<Option<String>> = vec![None; key_exprs.len()];
        let mut values = Vec::new();
        for expr in projection {
            let (name, inner) = match expr {
                Expr::Alias(alias) => (alias.name.clone(), alias.expr.as_ref()),
                Expr::Column(column) => (column.name.clone(), expr),
                other => (other.schema_name().to_string(), other),
            };
            if let Expr::Column(column) = inner {
                if column.name == window_column.name {
                    continue;
                }
                let key = key_exprs.iter().position(|key| match key {
                    Expr::Column(key) => key == column,
                    other => other.schema_name().to_string() == column.name,
                });
                if let Some(key) = key {
                    names[key] = Some(name);
                    continue;
                }
            }
            let mut uses_window = false;
            let _ = inner.apply(|part| {
                uses_window |= matches!(part, Expr::Column(column) if column.name == window_column.name);
                Ok(TreeNodeRecursion::Continue)
            });
            if uses_window {
                return Err((
                    self.line_of("select"),
                    format!(
                        "{name} computes with the window; its start and end come as window_start and window_end"
                    ),
                ));
            }
            values.push((name, physical(inner, &aggregate.schema)?));
        }
        if values.is_empty() {
            return Err((
                self.line_of("select"),
                "no value is selected, only the window and the keys".to_owned(),
            ));
        }
        let mut keys = Vec::new();
        for (expr, name) in key_exprs.iter().zip(names) {
            let expr = *expr;
            let name = name.unwrap_or_else(|| match expr {
                Expr::Column(column) => column.name.clone(),
                other => other.schema_name().to_string(),
            });
            let data_type = expr.to_field(input).map_err(|error| self.explain(&error))?.1.data_type().clone();
            keys.push(Key { name, expr: physical(expr, input)?, data_type });
        }
        let sets: Vec<Vec<usize>> = sets
            .iter()
            .map(|set| set.iter().filter_map(|expr| key_exprs.iter().position(|key| *key == expr)).collect())
            .collect();
        let names = |set: &Vec<usize>| set.iter().map(|&key| keys[key].name.as_str()).collect::<Vec<_>>();
        let grouped_by = sets.iter().map(|set| names(set).join(",")).collect();
        let rows = row_schema(&keys, &values, &aggregated).map_err(|error| self.explain(&error))?;
        for (place, field) in rows.fields().iter().enumerate() {
            if rows.fields()[..place].iter().any(|other| other.name() == field.name()) {
                return Err((
                    None,
                    format!("two columns are called {}; give one another name with AS", field.name()),
                ));
            }
        }
        Ok(Kpi {
            name: self.name.to_owned(),
            title: header.title,
            unit: header.unit,
            description: header.description,
            sql: self.sql.to_owned(),
            parameters: self.parameters.clone(),
            windowing,
            corrections_ms: header.corrections_ms,
            early_ms: header.early_ms,
            from_ms: i64::MIN,
            branches: self.branches(&aggregate.input, state)?,
            time,
            key_count: keys.len(),
            keys,
            sets,
            grouped_by,
            aggregates,
            cells,
            aggregated,
            having: having.map(|expr| physical(expr, &aggregate.schema)).transpose()?,
            values,
            rows,
        })
    }

    fn windowing<'e>(&self, window: &'e Expr) -> Result<(Windowing, &'e Expr), Mistake> {
        let Some((name, args)) = window_call(window) else {
            unreachable!("the caller has found a window");
        };
        let line = self.line_of(name);
        let mut lengths = Vec::new();
        for arg in &args[1..] {
            let ms = match arg {
                Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(interval)), _)
                    if interval.months == 0 && interval.nanoseconds % 1_000_000 == 0 =>
                {
                    i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000
                }
                other => {
                    return Err((
                        line,
                        format!(
                            "{name}: expected INTERVAL '10 seconds' or the like (whole milliseconds, no months), found {other}"
                        ),
                    ));
                }
            };
            lengths.push(ms);
        }
        let (windowing, offset) = match (name, lengths.as_slice()) {
            ("tumble", [size]) => (Windowing::tumble(*size), 0),
            ("tumble", [size, offset]) => (Windowing::tumble(*size), *offset),
            ("hop", [slide, size]) => (Windowing::hop(*slide, *size), 0),
            ("hop", [slide, size, offset]) => (Windowing::hop(*slide, *size), *offset),
            _ => {
                let form = "expected tumble(time, size) or hop(time, slide, size), and an offset if need be";
                return Err((line, format!("{name}: {form}")));
            }
        };
        let windowing = windowing.map_err(|error| (line, format!("{name}: {error}")))?;
        Ok((windowing.offset(offset), &args[0]))
    }

    fn check_aggregate(&self, expr: &Expr, input: &DFSchemaRef) -> Result<(), Mistake> {
        let Expr::AggregateFunction(call) = expr.clone().unalias() else {
            return Err((None, format!("{expr} is no aggregate")));
        };
        let name = call.func.name().to_owned();
        let line = self.line_of(&format!("{name}("));
        if !EXACT.contains(&name.as_str()) {
            let instead = match name.as_str() {
                "avg" | "mean" => "use avg_ms(x), or ratio(sum(x), count(x))",
                "approx_percentile_cont" | "median" | "percentile_cont" | "approx_median" => {
                    "use quantile(x, 0.5)"
                }
                _ => "use count, sum, min, max, avg_ms, quantile, bool_and, bool_or, approx_distinct",
            };
            return Err((
                line,
                format!(
                    "{name} depends on the order of the facts, so live and batch would differ in the last bits; {instead}"
                ),
            ));
        }
        if call.params.distinct && name != "count" {
            return Err((line, format!("{name}(DISTINCT …) is not supported; count(DISTINCT …) is")));
        }
        if !call.params.order_by.is_empty() {
            return Err((line, format!("{name}(… ORDER BY …) is not supported")));
        }
        if name == "quantile"
            && !matches!(call.params.args.get(1), Some(Expr::Literal(ScalarValue::Float64(Some(q)), _)) if (0.0..=1.0).contains(q))
        {
            return Err((line, "quantile(x, q) takes a number from 0 to 1 as q, such as 0.9".to_owned()));
        }
        if name == "sum" {
            let data_type = call.params.args[0]
                .to_field(input)
                .map_err(|error| self.explain(&error))?
                .1
                .data_type()
                .clone();
            if data_type.is_floating() {
                return Err((
                    line,
                    "a sum of fractions depends on the order of the facts; sum whole numbers and divide last"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }

    /// All ways from facts tables to the aggregation.
    fn branches(&self, plan: &LogicalPlan, state: &SessionState) -> Result<Vec<Branch>, Mistake> {
        let context = PhysicalPlanningContext::default();
        let props = state.execution_props();
        let physical = |expr: &Expr, schema: &DFSchema| {
            create_physical_expr(expr, schema, props, &context).map_err(|error| self.explain(&error))
        };
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let table = Table::parse(name).ok_or_else(|| (None, format!("no facts table {name}")))?;
                Ok(vec![Branch { table, steps: Vec::new() }])
            }
            LogicalPlan::SubqueryAlias(alias) => self.branches(&alias.input, state),
            LogicalPlan::Filter(filter) => {
                let mut branches = self.branches(&filter.input, state)?;
                for branch in &mut branches {
                    branch.steps.push(Step::Filter(physical(&filter.predicate, filter.input.schema())?));
                }
                Ok(branches)
            }
            LogicalPlan::Projection(projection) => {
                let schema: SchemaRef = nullable(&projection.schema);
                let mut branches = self.branches(&projection.input, state)?;
                for branch in &mut branches {
                    let exprs = projection
                        .expr
                        .iter()
                        .map(|expr| physical(expr, projection.input.schema()))
                        .collect::<Result<_, _>>()?;
                    branch.steps.push(Step::Project(exprs, schema.clone()));
                }
                Ok(branches)
            }
            LogicalPlan::Union(union) => {
                let mut all = Vec::new();
                for input in &union.inputs {
                    all.extend(self.branches(input, state)?);
                }
                Ok(all)
            }
            LogicalPlan::Join(_) => Err((
                self.line_of("join"),
                "joins are not supported; put tables under each other with UNION ALL".to_owned(),
            )),
            LogicalPlan::Aggregate(_) => Err((
                None,
                "an aggregate of aggregates cannot be kept up to date; select from the facts".to_owned(),
            )),
            other => Err((
                None,
                format!(
                    "{} is not supported between the facts and the aggregates; WHERE, UNION ALL and subqueries of those are",
                    kind_of(other)
                ),
            )),
        }
    }

    /// A planner's error in our words, with its line.
    fn explain(&self, error: &DataFusionError) -> Mistake {
        sql::explain(error, self.sql, &Table::ALL.map(Table::name))
    }

    /// The first line of the query, comments left out, that has this word.
    fn line_of(&self, word: &str) -> Option<u64> {
        sql::line_of(self.sql, word)
    }
}

fn window_call(expr: &Expr) -> Option<(&str, &[Expr])> {
    match expr {
        Expr::Alias(alias) => window_call(&alias.expr),
        Expr::ScalarFunction(call) if matches!(call.name(), "tumble" | "hop") => {
            Some((call.name(), &call.args))
        }
        _ => None,
    }
}

/// The columns of `schema`, any of which may be NULL.
fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn grouping_sets(group: &[Expr]) -> Result<Vec<Vec<Expr>>, DataFusionError> {
    match enumerate_grouping_sets(group.to_vec())?.as_slice() {
        [Expr::GroupingSet(GroupingSet::GroupingSets(sets))] => Ok(sets.clone()),
        plain => Ok(vec![plain.to_vec()]),
    }
}

fn kind_of(plan: &LogicalPlan) -> String {
    plan.display().to_string().split([':', ' ']).next().unwrap_or_default().to_owned()
}

fn row_schema(
    keys: &[Key],
    values: &[(String, Arc<dyn PhysicalExpr>)],
    aggregated: &Schema,
) -> Result<SchemaRef, DataFusionError> {
    use arrow::datatypes::TimeUnit;
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("window_start", time(), false),
        Field::new("window_end", time(), false),
        Field::new("grouped_by", DataType::Utf8, false),
    ];
    fields.extend(keys.iter().map(|key| Field::new(&key.name, key.data_type.clone(), true)));
    for (name, expr) in values {
        fields.push(Field::new(name, expr.data_type(aggregated)?, true));
    }
    fields.push(Field::new("revision", DataType::Int64, false));
    fields.push(Field::new("final", DataType::Boolean, false));
    fields.push(Field::new("at", time(), false));
    Ok(Arc::new(Schema::new(fields)))
}
