//! What a definition's SQL becomes: columns computed once for each fact, expressions of facts and
//! `as_of` together, aggregates, and what is selected of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Aggregate as Grouping, Expr, ExprSchemable, LogicalPlan, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::prelude::{SessionConfig, SessionContext};
use headsup_kpi::sql;

use crate::aggregate::Aggregate;
use crate::functions;
use crate::tables::Past;
use crate::view::{Feature, View, ViewError};

/// Definitions, checked and ready to be evaluated: feature views over `past`, or a label over `future`.
#[derive(Debug)]
pub struct Definitions {
    pub(crate) kept: Vec<Kept>,
    pub(crate) plans: Vec<Plan>,
    pub(crate) combined: Vec<Combined>,
    /// What [`crate::History::evaluate`] gives.
    pub(crate) columns: Vec<(String, Feature, DataType)>,
    /// Over `future`.
    pub(crate) ahead: bool,
}

/// What is kept of a table's facts, for all views that read the same of them.
#[derive(Debug)]
pub(crate) struct Kept {
    pub past: Past,
    /// Facts for which this is not true are left out when they come in.
    pub condition: Option<Arc<dyn PhysicalExpr>>,
    /// What is stored of each fact.
    pub stored: Vec<Stored>,
}

/// A view over a table of facts.
#[derive(Debug)]
pub(crate) struct Plan {
    pub view: View,
    /// Which of [`Definitions::kept`] it reads.
    pub kept: usize,
    /// Of each stored column of `pairs`, the place in what is kept.
    pub columns: Vec<usize>,
    /// What `exprs` are over: the derived columns, then stored ones.
    pub pairs: SchemaRef,
    /// Evaluated for each fact and row of the spine.
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub aggregates: Vec<AggregateCall>,
    /// customer_id, as_of, and the aggregates.
    pub aggregated: SchemaRef,
    pub selected: Selected,
}

/// A column that is computed when a fact comes in.
#[derive(Debug)]
pub(crate) struct Stored {
    pub expr: Arc<dyn PhysicalExpr>,
    /// Instead of a text its hash, since it is only told from others.
    pub hashed: bool,
}

/// The places are those of `exprs`.
#[derive(Debug)]
pub(crate) struct AggregateCall {
    pub what: Aggregate,
    pub argument: Option<usize>,
    pub filter: Option<usize>,
}

/// A view over the columns of the other views.
#[derive(Debug)]
pub(crate) struct Combined {
    pub selected: Selected,
}

/// Names and what is computed for them.
pub(crate) type Selected = Vec<(String, Arc<dyn PhysicalExpr>)>;

pub(crate) type Mistake = (Option<u64>, String);

impl Definitions {
    /// Checks feature views.
    ///
    /// # Errors
    /// The first mistake of each file.
    pub fn features(views: Vec<View>) -> Result<Self, Vec<ViewError>> {
        Self::plan(views, false)
    }

    /// Checks a label. It selects `label`, a truth value: true if what is foretold happens, NULL if
    /// the row is to be left out; and `event_in_ms`, when.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn label(view: View) -> Result<Self, Vec<ViewError>> {
        let label = Self::plan(vec![view], true)?;
        let plan = &label.plans[0];
        let kinds: Vec<_> =
            label.columns.iter().map(|(_, column, kind)| (column.name.as_str(), kind)).collect();
        match kinds.as_slice() {
            [("label", DataType::Boolean), ("event_in_ms", DataType::Int64)] => Ok(label),
            found => {
                let found: Vec<String> =
                    found.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
                let message = format!(
                    "a label selects label (true or false) and event_in_ms (a whole number), in this order; found {}",
                    found.join(", ")
                );
                Err(vec![plan.view.wrong(None, message)])
            }
        }
    }

    fn plan(views: Vec<View>, ahead: bool) -> Result<Self, Vec<ViewError>> {
        let mut mistakes = Vec::new();
        let mut all =
            Self { kept: Vec::new(), plans: Vec::new(), combined: Vec::new(), columns: Vec::new(), ahead };
        let (combined, views): (Vec<View>, Vec<View>) =
            views.into_iter().partition(|view| sql::line_of(&view.sql, "from features").is_some());
        for view in views {
            match Planner::new(&view, ahead, None).and_then(|planner| planner.plan()) {
                Ok((mut plan, kept)) => {
                    if let Err(mistake) = all.add(&view, &plan.selected, &plan.aggregated) {
                        mistakes.push(mistake);
                    }
                    (plan.kept, plan.columns) = all.keep(kept);
                    all.plans.push(plan);
                }
                Err((line, message)) => mistakes.push(view.wrong(line, message)),
            }
        }
        let mut schema = vec![Field::new("as_of", crate::tables::DERIVED[0].1.clone(), false)];
        schema
            .extend(all.columns.iter().map(|(_, column, kind)| Field::new(&column.name, kind.clone(), true)));
        let schema = Arc::new(Schema::new(schema));
        for view in combined {
            // What a mistake elsewhere has left out would be missing here.
            if !mistakes.is_empty() {
                break;
            }
            let planned = Planner::new(&view, ahead, Some(&schema)).and_then(|planner| planner.combined());
            match planned {
                Ok(selected) => {
                    if let Err(mistake) = all.add(&view, &selected, &schema) {
                        mistakes.push(mistake);
                    }
                    all.combined.push(Combined { selected });
                }
                Err((line, message)) => mistakes.push(view.wrong(line, message)),
            }
        }
        if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
    }

    /// What the columns are: the view's name, the column, its type.
    pub fn columns(&self) -> &[(String, Feature, DataType)] {
        &self.columns
    }

    /// The tables of facts that are read.
    pub fn tables(&self) -> Vec<headsup_operators::facts::Table> {
        let mut tables: Vec<_> = self.kept.iter().map(|kept| kept.past.source()).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// Bytes that [`crate::History`] takes at most for a fact of a table; of an order with two lines.
    pub fn bytes_of(&self, table: headsup_operators::facts::Table) -> u64 {
        let of = |kept: &Kept| {
            let rows = if kept.past == Past::Lines { 2 } else { 1 };
            rows * (24 + 8 * kept.stored.len() as u64)
        };
        self.kept.iter().filter(|kept| kept.past.source() == table).map(of).sum()
    }

    /// The schema of [`crate::History::evaluate`]'s rows.
    pub fn schema(&self) -> SchemaRef {
        let fields =
            self.columns.iter().map(|(_, column, kind)| Field::new(&column.name, kind.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Keeps what a view reads, beside what others do: the place in `kept`, and those of its columns.
    fn keep(&mut self, of_view: Kept) -> (usize, Vec<usize>) {
        let same = |kept: &Kept| (kept.past, &kept.condition) == (of_view.past, &of_view.condition);
        let place = self.kept.iter().position(same).unwrap_or_else(|| {
            let (past, condition) = (of_view.past, of_view.condition.clone());
            self.kept.push(Kept { past, condition, stored: Vec::new() });
            self.kept.len() - 1
        });
        let all = &mut self.kept[place].stored;
        let mut column = |stored: Stored| {
            let same = |known: &Stored| (&known.expr, known.hashed) == (&stored.expr, stored.hashed);
            all.iter().position(same).unwrap_or_else(|| {
                all.push(stored);
                all.len() - 1
            })
        };
        let columns = of_view.stored.into_iter().map(&mut column).collect();
        (place, columns)
    }

    fn add(
        &mut self,
        view: &View,
        selected: &[(String, Arc<dyn PhysicalExpr>)],
        input: &Schema,
    ) -> Result<(), ViewError> {
        for (name, expr) in selected {
            let line = sql::line_of(&view.sql, &format!(" {name}"));
            let Some(feature) = view.features.iter().find(|feature| feature.name == *name) else {
                let message =
                    format!("{name} has no name of its own; write … AS name, -- English | 中文 on a line");
                return Err(view.wrong(line, message));
            };
            if let Some((other, ..)) = self.columns.iter().find(|(_, column, _)| column.name == *name) {
                return Err(view.wrong(line, format!("there is a {name} already, in {other}")));
            }
            let kind = expr.data_type(input).map_err(|error| view.wrong(line, error.to_string()))?;
            if !matches!(kind, DataType::Int64 | DataType::Float64 | DataType::Boolean) {
                let message =
                    format!("{name} is {kind}; a feature is a whole number, a double or a truth value");
                return Err(view.wrong(line, message));
            }
            self.columns.push((view.name.clone(), feature.clone(), kind));
        }
        Ok(())
    }
}

struct Planner<'v> {
    view: &'v View,
    ahead: bool,
    tables: Vec<String>,
    state: SessionState,
    plan: LogicalPlan,
}

impl<'v> Planner<'v> {
    /// The logical plan after type coercion and before any optimisation, so that it has the
    /// shape of the text.
    fn new(view: &'v View, ahead: bool, features: Option<&SchemaRef>) -> Result<Self, Mistake> {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.collect_spans = true;
        let context = SessionContext::new_with_config(config);
        let internal = |error: DataFusionError| (None, error.to_string());
        let mut tables = Vec::new();
        match features {
            Some(schema) => {
                let table = Arc::new(EmptyTable::new(schema.clone()));
                context.register_table("features", table).map_err(internal)?;
                tables.push("features".to_owned());
            }
            None => {
                let name = if ahead { "future" } else { "past" };
                let provider = MemorySchemaProvider::new();
                for past in Past::ALL {
                    let table = Arc::new(EmptyTable::new(past.schema(ahead)));
                    provider.register_table(past.name().to_owned(), table).map_err(internal)?;
                    tables.push(format!("{name}.{}", past.name()));
                }
                if let Some(catalog) = context.catalog("datafusion") {
                    catalog.register_schema(name, Arc::new(provider)).map_err(internal)?;
                }
            }
        }
        let mut state = context.state();
        functions::register(&mut state).map_err(internal)?;
        let explain = |error: &DataFusionError| {
            let names: Vec<&str> = tables.iter().map(String::as_str).collect();
            sql::explain(error, &view.sql, &names)
        };
        let plan = sql::poll(state.create_logical_plan(&view.sql)).map_err(|error| explain(&error))?;
        let plan = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|error| explain(&error))?;
        Ok(Self { view, ahead, tables, state, plan })
    }

    fn explain(&self, error: &DataFusionError) -> Mistake {
        let names: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        sql::explain(error, &self.view.sql, &names)
    }

    fn line_of(&self, word: &str) -> Option<u64> {
        sql::line_of(&self.view.sql, word)
    }

    fn physical(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, Mistake> {
        let mut of_the_moment = None;
        let _ = expr.apply(|part| {
            if let Expr::ScalarFunction(call) = part
                && call.func.signature().volatility != Volatility::Immutable
            {
                of_the_moment = Some(call.name().to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if let Some(name) = of_the_moment {
            let message = format!("{name}() differs from call to call; the time that counts is as_of");
            return Err((self.line_of(&format!("{name}(")), message));
        }
        let simplify = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.state.config_options().clone())
            .build();
        let context = PhysicalPlanningContext::default();
        let planned = ExprSimplifier::new(simplify)
            .simplify(expr.clone())
            .and_then(|expr| create_physical_expr(&expr, schema, self.state.execution_props(), &context));
        planned.map_err(|error| self.explain(&error))
    }

    fn selected(&self, exprs: &[Expr], input: &DFSchema) -> Result<Selected, Mistake> {
        let each = exprs.iter().map(|expr| {
            let name = expr.schema_name().to_string();
            Ok((name, self.physical(&expr.clone().unalias_nested().data, input)?))
        });
        each.collect()
    }

    fn combined(&self) -> Result<Selected, Mistake> {
        match &self.plan {
            LogicalPlan::Projection(top) if matches!(top.input.as_ref(), LogicalPlan::TableScan(_)) => {
                self.selected(&top.expr, top.input.schema())
            }
            _ => Err((None, "expected SELECT … FROM features and no more".to_owned())),
        }
    }

    /// The plan, whose places in what is kept are still to be filled in, and what it keeps.
    fn plan(&self) -> Result<(Plan, Kept), Mistake> {
        let form = "expected one SELECT … FROM … WHERE … GROUP BY customer_id, as_of";
        let LogicalPlan::Projection(top) = &self.plan else {
            return Err((None, form.to_owned()));
        };
        let LogicalPlan::Aggregate(grouping) = top.input.as_ref() else {
            return Err((None, format!("there is no aggregate; {form}")));
        };
        let grouped: Vec<&str> = grouping
            .group_expr
            .iter()
            .filter_map(|expr| match expr {
                Expr::Column(column) => Some(column.name.as_str()),
                _ => None,
            })
            .collect();
        if grouped != ["customer_id", "as_of"] || grouping.group_expr.len() != 2 {
            return Err((self.line_of("group by"), "expected GROUP BY customer_id, as_of".to_owned()));
        }
        let mut conditions = Vec::new();
        let mut input = grouping.input.as_ref();
        let past = loop {
            match input {
                LogicalPlan::Filter(filter) => {
                    conditions.push(filter.predicate.clone());
                    input = filter.input.as_ref();
                }
                LogicalPlan::SubqueryAlias(alias) => input = alias.input.as_ref(),
                LogicalPlan::TableScan(scan) => {
                    let name = scan.table_name.table();
                    match Past::ALL.into_iter().find(|past| past.name() == name) {
                        Some(past) => break past,
                        None => return Err((None, format!("no table {name}"))),
                    }
                }
                LogicalPlan::Join(_) => {
                    let message = "joins are not supported; put what comes of two tables together in a view FROM features";
                    return Err((self.line_of("join"), message.to_owned()));
                }
                _ => return Err((None, format!("subqueries are not supported; {form}"))),
            }
        };
        self.build(past, conditions, grouping, &top.expr)
    }

    fn build(
        &self,
        past: Past,
        conditions: Vec<Expr>,
        grouping: &Grouping,
        selected: &[Expr],
    ) -> Result<(Plan, Kept), Mistake> {
        let base = DFSchema::try_from(past.base_schema()).map_err(|error| self.explain(&error))?;
        let mut columns = Columns {
            planner: self,
            base: &base,
            derived: past.derived(self.ahead).map(|(name, _)| name).collect(),
            stored: Vec::new(),
            fields: past.derived(self.ahead).map(|(name, kind)| Field::new(name, kind, true)).collect(),
            known: Vec::new(),
        };
        // What is asked of facts alone is asked when they come in.
        let (facts, pairs): (Vec<Expr>, Vec<Expr>) =
            conditions.into_iter().flat_map(conjuncts).partition(|condition| columns.is_of_facts(condition));
        let condition = match facts.into_iter().reduce(Expr::and) {
            Some(condition) => Some(self.physical(&unqualified(condition)?, &base)?),
            None => None,
        };
        let always = pairs.into_iter().reduce(Expr::and);

        let mut exprs: Vec<Expr> = Vec::new();
        let mut place = |expr: Expr| match exprs.iter().position(|known| *known == expr) {
            Some(place) => place,
            None => {
                exprs.push(expr);
                exprs.len() - 1
            }
        };
        let mut aggregates = Vec::new();
        for expr in &grouping.aggr_expr {
            let Expr::AggregateFunction(call) = expr.clone().unalias() else {
                return Err((None, format!("{expr} is no aggregate")));
            };
            let (name, params) = (call.func.name().to_owned(), call.params);
            let line = self.line_of(&format!("{name}("));
            let Some(what) = Aggregate::parse(&name, params.distinct) else {
                return Err((
                    line,
                    format!(
                        "{name}{} is no aggregate of features, which must be exact in any order; there are count, count(DISTINCT …), sum, min, max, mean, stddev, median, gap_mean, gap_stddev, last, first, bool_or, bool_and",
                        if params.distinct { "(DISTINCT …)" } else { "" }
                    ),
                ));
            };
            if !params.order_by.is_empty() {
                return Err((line, format!("{name}(… ORDER BY …) is not supported")));
            }
            let mut filter = params.filter.map(|filter| *filter);
            if let Some(always) = &always {
                filter = Some(match filter {
                    Some(filter) => always.clone().and(filter),
                    None => always.clone(),
                });
            }
            let argument = match params.args.into_iter().next() {
                None => None,
                Some(Expr::Literal(value, _)) if what == Aggregate::Count && !value.is_null() => None,
                Some(argument) if what == Aggregate::Count => {
                    let there = argument.is_not_null();
                    filter = Some(match filter {
                        Some(filter) => filter.and(there),
                        None => there,
                    });
                    None
                }
                Some(argument) if what == Aggregate::CountDistinct => Some(columns.hashed(argument)?),
                Some(argument) => {
                    let kind =
                        argument.get_type(grouping.input.schema()).map_err(|error| self.explain(&error))?;
                    if !matches!(kind, DataType::Int64 | DataType::Boolean | DataType::Timestamp(..)) {
                        let instead = "of whole numbers and times only, so that features are exact; divide last, as in ratio(sum(x), 100)";
                        return Err((line, format!("{name} of {kind}: aggregates are {instead}")));
                    }
                    Some(columns.take(argument)?)
                }
            };
            let filter = filter.map(|filter| columns.take(filter)).transpose()?;
            aggregates.push(AggregateCall {
                what,
                argument: argument.map(&mut place),
                filter: filter.map(&mut place),
            });
        }
        let pairs = Arc::new(Schema::new(columns.fields));
        let kept = Kept { past, condition, stored: columns.stored };
        let over = DFSchema::try_from(pairs.clone()).map_err(|error| self.explain(&error))?;
        let exprs = exprs.iter().map(|expr| self.physical(expr, &over)).collect::<Result<_, _>>()?;
        let plan = Plan {
            view: self.view.clone(),
            kept: 0,
            columns: Vec::new(),
            pairs,
            exprs,
            aggregates,
            aggregated: Arc::new(grouping.schema.as_arrow().clone()),
            selected: self.selected(selected, &grouping.schema)?,
        };
        Ok((plan, kept))
    }
}

/// What is stored of facts, gathered from expressions.
struct Columns<'a> {
    planner: &'a Planner<'a>,
    base: &'a DFSchema,
    derived: Vec<&'static str>,
    stored: Vec<Stored>,
    fields: Vec<Field>,
    /// The expressions of `stored`.
    known: Vec<(Expr, bool)>,
}

impl Columns<'_> {
    /// Whether `as_of` does not matter for it.
    fn is_of_facts(&self, expr: &Expr) -> bool {
        let mut of_facts = true;
        let _ = expr.apply(|part| {
            if let Expr::Column(column) = part {
                of_facts &= !self.derived.contains(&column.name.as_str());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        of_facts
    }

    /// The expression with the largest parts that are of facts alone replaced by stored columns.
    fn take(&mut self, expr: Expr) -> Result<Expr, Mistake> {
        let mut mistake = None;
        let taken = expr.transform_down(|part| {
            let has_column = part.column_refs().into_iter().next().is_some();
            if !has_column || !self.is_of_facts(&part) {
                return Ok(match part {
                    Expr::Column(column) => Transformed::no(Expr::Column(Column::from_name(column.name))),
                    other => Transformed::no(other),
                });
            }
            match self.store(part.clone(), false) {
                Ok(column) => Ok(Transformed::new(column, true, TreeNodeRecursion::Jump)),
                Err(found) => {
                    mistake.get_or_insert(found);
                    Ok(Transformed::new(part, false, TreeNodeRecursion::Stop))
                }
            }
        });
        match (mistake, taken) {
            (Some(mistake), _) => Err(mistake),
            (None, Ok(taken)) => Ok(taken.data),
            (None, Err(error)) => Err(self.planner.explain(&error)),
        }
    }

    /// A column that tells the expression's values apart.
    fn hashed(&mut self, expr: Expr) -> Result<Expr, Mistake> {
        if !self.is_of_facts(&expr) {
            return Err((
                self.planner.line_of("distinct"),
                "count(DISTINCT …) is of columns that do not depend on as_of".to_owned(),
            ));
        }
        self.store(expr, true)
    }

    fn store(&mut self, expr: Expr, hashed: bool) -> Result<Expr, Mistake> {
        let expr = unqualified(expr)?;
        let named = |place: usize| Expr::Column(Column::from_name(format!("stored {place}")));
        if let Some(place) = self.known.iter().position(|known| known.0 == expr && known.1 == hashed) {
            return Ok(named(place));
        }
        let physical = self.planner.physical(&expr, self.base)?;
        let kind = expr.get_type(self.base).map_err(|error| self.planner.explain(&error))?;
        let kind = if hashed { DataType::Int64 } else { kind };
        let whole = matches!(kind, DataType::Int64 | DataType::Boolean | DataType::Timestamp(..));
        if !whole && kind != DataType::Float64 {
            let message = format!("{expr} is {kind}, which cannot be computed with what depends on as_of");
            return Err((None, message));
        }
        self.fields.push(Field::new(format!("stored {}", self.stored.len()), kind, true));
        self.stored.push(Stored { expr: physical, hashed });
        self.known.push((expr, hashed));
        Ok(named(self.stored.len() - 1))
    }
}

/// What a view over rows with these columns, called `features`, selects.
pub(crate) fn selected_of(view: &View, rows: &SchemaRef) -> Result<Selected, Mistake> {
    Planner::new(view, false, Some(rows)).and_then(|planner| planner.combined())
}

/// The parts of a condition that must all be true.
fn conjuncts(condition: Expr) -> Vec<Expr> {
    datafusion::logical_expr::utils::split_conjunction_owned(condition)
}

/// The same with the columns' names alone.
fn unqualified(expr: Expr) -> Result<Expr, Mistake> {
    let plain = expr.transform(|part| match part {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::from_name(column.name)))),
        other => Ok(Transformed::no(other)),
    });
    plain.map(|plain| plain.data).map_err(|error| (None, error.to_string()))
}
