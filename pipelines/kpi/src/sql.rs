//! What is wrong with a definition's SQL, in our words.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// A planner's error in our words, with the line of `sql` that it is about. `tables` is what
/// can be selected from.
pub fn explain(error: &DataFusionError, sql: &str, tables: &[&str]) -> (Option<u64>, String) {
    let spanned = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start.line);
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => {
            if let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() {
                let names: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
                let relations: Vec<String> = valid_fields
                    .iter()
                    .filter_map(|column| column.relation.as_ref().map(ToString::to_string))
                    .collect();
                let place = match relations.first() {
                    Some(first) if relations.iter().all(|table| table == first) => format!(" in {first}"),
                    _ => String::new(),
                };
                return (
                    spanned.or(line_of(sql, &field.name)),
                    format!("no column \"{}\"{place}{}", field.name, did_you_mean(&field.name, &names)),
                );
            }
            (spanned, schema.to_string())
        }
        DataFusionError::SQL(parse, _) => {
            let text = parse.to_string();
            let text = text.trim_start_matches("sql parser error: ");
            let line =
                text.rsplit("Line: ").next().and_then(|rest| rest.split(',').next()?.trim().parse().ok());
            let text = text.split(" at Line:").next().unwrap_or(text);
            let hint = if text.starts_with("Expected: end of statement") {
                "; is a comma missing before it?"
            } else {
                ""
            };
            (line, format!("{text}{hint}"))
        }
        DataFusionError::Plan(text) => {
            let text = text.lines().next().unwrap_or_default();
            if let Some(rest) = text.split_once("table '").map(|(_, rest)| rest)
                && text.contains("not found")
            {
                let table = rest.split('\'').next().unwrap_or(rest);
                let table = table.strip_prefix("datafusion.").unwrap_or(table);
                let table = table.strip_prefix("public.").unwrap_or(table);
                return (
                    line_of(sql, table),
                    format!(
                        "no facts table \"{table}\"{}; there are {}",
                        did_you_mean(table, tables),
                        tables.join(", ")
                    ),
                );
            }
            (spanned, text.to_owned())
        }
        other => (spanned, other.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// The first line of the query, comments left out, that has this word.
pub fn line_of(sql: &str, word: &str) -> Option<u64> {
    let word = word.to_lowercase();
    sql.lines()
        .position(|line| line.split("--").next().unwrap_or(line).to_lowercase().contains(&word))
        .map(|index| index as u64 + 1)
}

/// `; did you mean "x"?` if a known name is near.
pub fn did_you_mean(name: &str, known: &[&str]) -> String {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| format!("; did you mean \"{candidate}\"?"))
        .unwrap_or_default()
}

/// Runs a future that never waits: planning over tables that are in memory.
pub fn poll<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}
