//! A definition's file: its header, and what it says of each of its columns.

use std::fmt;

/// A column of a view, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Feature {
    /// The column.
    pub name: String,
    /// What it is, in English.
    pub en: String,
    /// What it is, in Chinese.
    pub zh: String,
}

/// A feature view or a label, read and not yet planned.
///
/// ```
/// let view = headsup_features::View::parse("orders.sql", "orders", "\
/// -- title: Orders | 订单
/// -- each: w = 7, 30
/// SELECT
///   count(*) FILTER (WHERE age_ms <= days({w})) AS orders_{w}d, -- Orders in {w} days | {w} 天内订单
/// FROM past.orders GROUP BY customer_id, as_of", &[]).unwrap();
/// assert_eq!(view.features[1].name, "orders_30d");
/// assert_eq!(view.features[1].zh, "30 天内订单");
/// ```
#[derive(Debug, Clone)]
pub struct View {
    /// How messages call the file.
    pub file: String,
    /// The file's name without `.sql`.
    pub name: String,
    /// From the header, English and Chinese separated by `|`.
    pub title: String,
    /// The other comments of the header.
    pub description: String,
    /// Its columns, in order.
    pub features: Vec<Feature>,
    /// The query to plan. Its lines may be more than the file's.
    pub(crate) sql: String,
    /// The line in the file of each line of `sql`, from 1.
    lines: Vec<u64>,
}

/// What is wrong with a view's file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, if it is known.
    pub line: Option<u64>,
    /// What was found and what to do.
    pub message: String,
}

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ViewError {}

impl View {
    /// Reads a file. A line that has `{w}` stands for as many lines as the header's
    /// `-- each: w = …` has values. `parameters` are put in the place of `$name`.
    ///
    /// # Errors
    /// The first mistake: no title, a column without description, an unknown parameter.
    pub fn parse(file: &str, name: &str, text: &str, parameters: &[(&str, i64)]) -> Result<Self, ViewError> {
        let wrong = |line: Option<u64>, message: String| ViewError { file: file.to_owned(), line, message };
        let mut view = Self {
            file: file.to_owned(),
            name: name.to_owned(),
            title: String::new(),
            description: String::new(),
            features: Vec::new(),
            sql: String::new(),
            lines: Vec::new(),
        };
        let mut each: Option<(String, Vec<String>)> = None;
        let mut in_header = true;
        for (index, line) in text.lines().enumerate() {
            let number = index as u64 + 1;
            let comment = line.trim().strip_prefix("--").map(str::trim);
            in_header &= comment.is_some() || line.trim().is_empty();
            if in_header {
                match comment.and_then(|comment| comment.split_once(':')).map(|(k, v)| (k.trim(), v.trim())) {
                    Some(("title", title)) => view.title = title.to_owned(),
                    Some(("each", values)) => {
                        let (name, values) = values.split_once('=').ok_or_else(|| {
                            let form = "expected a name and its values, as in -- each: w = 7, 30, 90";
                            wrong(Some(number), form.to_owned())
                        })?;
                        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
                        each = Some((format!("{{{}}}", name.trim()), values));
                    }
                    _ => {
                        if !view.description.is_empty() {
                            view.description.push('\n');
                        }
                        view.description.push_str(comment.unwrap_or_default());
                    }
                }
                continue;
            }
            match &each {
                Some((name, values)) if line.contains(name) => {
                    for value in values {
                        view.line(&line.replace(name, value), number, parameters)?;
                    }
                }
                _ => view.line(line, number, parameters)?,
            }
        }
        view.description = view.description.trim().to_owned();
        if view.title.is_empty() {
            let message = "the header has no title; begin the file with -- title: English | 中文";
            return Err(wrong(Some(1), message.to_owned()));
        }
        // The last column may end with a comma, so that columns can be moved and repeated.
        if let Some(from) = find_word(&view.sql, "from")
            && let Some(comma) = view.sql[..from].rfind(',')
            && view.sql[comma + 1..from].lines().all(|line| code(line).trim().is_empty())
        {
            view.sql.replace_range(comma..=comma, " ");
        }
        Ok(view)
    }

    /// Takes in a line of the query, with the description in its comment.
    fn line(&mut self, line: &str, number: u64, parameters: &[(&str, i64)]) -> Result<(), ViewError> {
        let wrong = |message: String| ViewError { file: self.file.clone(), line: Some(number), message };
        let query = code(line);
        let mut out = String::new();
        let mut rest = query;
        while let Some((before, after)) = rest.split_once('$') {
            let end = after.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let Some((_, value)) = parameters.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = parameters.iter().map(|(known, _)| *known).collect();
                let there = match known.as_slice() {
                    [] => "features have none".to_owned(),
                    known => format!("there are {}", known.join(", ")),
                };
                return Err(wrong(format!("there is no parameter ${name}; {there}")));
            };
            out.push_str(before);
            out.push_str(&value.to_string());
            rest = after;
        }
        out.push_str(rest);
        let comment = line[query.len()..].trim_start_matches('-').trim();
        if let Some(name) = named(&out) {
            let Some((en, zh)) = comment.split_once('|') else {
                return Err(wrong(format!("{name} has no description; end its line with -- English | 中文")));
            };
            let (en, zh) = (en.trim().to_owned(), zh.trim().to_owned());
            self.features.push(Feature { name, en, zh });
        }
        self.sql.push_str(out.trim_end());
        self.sql.push('\n');
        self.lines.push(number);
        Ok(())
    }

    /// A mistake in the query, by the line of the query.
    pub(crate) fn wrong(&self, line: Option<u64>, message: String) -> ViewError {
        let in_file = line.and_then(|line| self.lines.get(line as usize - 1).copied());
        ViewError { file: self.file.clone(), line: in_file, message }
    }
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("--").next().unwrap_or(line)
}

/// The name after the last AS, if the line ends a column with it.
fn named(line: &str) -> Option<String> {
    let line = line.trim().trim_end_matches(',').trim_end();
    let (before, name) = line.rsplit_once(char::is_whitespace)?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (is_name && before.trim_end().to_ascii_lowercase().ends_with(" as")).then(|| name.to_owned())
}

/// Where a keyword stands by itself, the first time outside of parentheses.
fn find_word(sql: &str, word: &str) -> Option<usize> {
    let mut depth = 0;
    let mut begins = true;
    for (at, c) in sql.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && begins && !c.is_whitespace() => {
                let found =
                    sql.get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
                if found && sql[at + word.len()..].starts_with(char::is_whitespace) {
                    return Some(at);
                }
            }
            _ => {}
        }
        begins = c.is_whitespace();
    }
    None
}
