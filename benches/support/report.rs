//! Tables for people (Markdown) and for programs (JSON).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::callgrind::Callgrind;

/// The longest line of a report's prose, in characters.
const WIDTH: usize = 120;

/// A number that was measured several times, and how far it strays.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub median: f64,
    low: f64,
    high: f64,
}

impl Cell {
    /// Median, least and most of at least one number.
    pub fn of(numbers: Vec<f64>) -> Cell {
        Cell::within(numbers, 0.0)
    }

    /// Median and quartiles: for times, which a busy machine may stretch to anything.
    pub fn quartiles(numbers: Vec<f64>) -> Cell {
        Cell::within(numbers, 0.25)
    }

    fn within(mut numbers: Vec<f64>, tail: f64) -> Cell {
        numbers.sort_by(f64::total_cmp);
        let [low, median, high] = [tail, 0.5, 1.0 - tail].map(|q| quantile(&numbers, q));
        Cell { median, low, high }
    }

    fn shown(&self, digits: usize) -> [String; 3] {
        [self.median, self.low, self.high].map(|number| format!("{number:.digits$}"))
    }

    /// Of one number.
    pub fn one(number: f64) -> Cell {
        Cell { median: number, low: number, high: number }
    }
}

/// The share `q` of a sorted list.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// What stands in a table.
#[derive(Clone, Debug)]
pub enum Entry {
    Text(String),
    /// A number and how many digits behind the point matter.
    Number(Cell, usize),
}

impl From<&str> for Entry {
    fn from(text: &str) -> Entry {
        Entry::Text(text.to_owned())
    }
}

impl From<usize> for Entry {
    fn from(number: usize) -> Entry {
        Entry::Number(Cell::one(number as f64), 0)
    }
}

impl Entry {
    /// `median (low - high)`, or the number alone where there is no spread.
    fn markdown(&self) -> String {
        match self {
            Entry::Text(text) => text.clone(),
            Entry::Number(cell, digits) => {
                let [median, low, high] = cell.shown(*digits);
                if low == high {
                    return median;
                }
                format!("{median} ({low} - {high})")
            }
        }
    }

    fn json(&self) -> String {
        match self {
            Entry::Text(text) => quoted(text),
            Entry::Number(cell, digits) => {
                let [median, low, high] = cell.shown(*digits);
                format!("{{\"median\": {median}, \"low\": {low}, \"high\": {high}}}")
            }
        }
    }
}

/// A table.
#[derive(Debug)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Entry>>,
}

impl Table {
    pub fn new(title: &str, columns: &[&str]) -> Table {
        Table {
            title: title.to_owned(),
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, entries: Vec<Entry>) {
        assert_eq!(entries.len(), self.columns.len());
        self.rows.push(entries);
    }
}

/// Where a figure has to lie.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure and its bound.
#[derive(Debug)]
struct Goal {
    name: String,
    measured: f64,
    bound: Bound,
}

impl Goal {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(most) => self.measured <= most,
            Bound::AtLeast(least) => self.measured >= least,
        }
    }
}

/// What a run found.
pub struct Report {
    /// The files' name in docs/benchmarks/, without what follows the dot.
    file: &'static str,
    heading: &'static str,
    environment: Vec<(&'static str, String)>,
    quick: bool,
    goals: Vec<Goal>,
    /// Markdown, in order.
    body: String,
    tables: Vec<Table>,
    skipped: Vec<String>,
    /// What there is to tell beside figures, below the bounds.
    remarks: Vec<String>,
    /// More members of the JSON object: a name, and a JSON value.
    raw: Vec<(&'static str, String)>,
    /// Files to be written beside the report: the name, and what is in it.
    figures: Vec<(String, String)>,
}

impl Report {
    pub fn new(file: &'static str, heading: &'static str, callgrind: Option<&Callgrind>) -> Report {
        let (goals, body, tables, skipped) = Default::default();
        let (remarks, raw, figures) = Default::default();
        let (environment, quick) = (super::environment(callgrind), super::is_quick());
        Report { file, heading, environment, quick, goals, body, tables, skipped, remarks, raw, figures }
    }

    /// One more line of what a reader must know to compare numbers.
    pub fn know(&mut self, name: &'static str, value: String) {
        self.environment.push((name, value));
    }

    /// A figure, and how large it may be.
    pub fn goal(&mut self, name: &str, measured: f64, most: f64) {
        self.goals.push(Goal { name: name.to_owned(), measured, bound: Bound::AtMost(most) });
    }

    /// A figure, and how large it must be.
    pub fn goal_at_least(&mut self, name: &str, measured: f64, least: f64) {
        self.goals.push(Goal { name: name.to_owned(), measured, bound: Bound::AtLeast(least) });
    }

    /// A line above the tables: what is not in them, and why. Unlike [`Report::skip`] it does not make the run a part of one.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// A member of the JSON file that people do not read.
    pub fn raw(&mut self, name: &'static str, json: String) {
        self.raw.push((name, json));
    }

    /// A picture below the last table; its file gets the report's name and this one.
    pub fn picture(&mut self, name: &str, title: &str, svg: String) {
        let file = format!("{}-{name}.svg", self.file);
        self.body.push_str(&format!("\n![{title}]({file})\n"));
        self.figures.push((file, svg));
    }

    pub fn table(&mut self, table: Table) {
        self.body.push_str(&format!("\n## {}\n\n", table.title));
        put_row(&mut self.body, &table.columns);
        put_row(&mut self.body, &vec!["---".to_owned(); table.columns.len()]);
        for row in &table.rows {
            put_row(&mut self.body, &row.iter().map(Entry::markdown).collect::<Vec<String>>());
        }
        self.tables.push(table);
    }

    /// A line below the last table.
    pub fn note(&mut self, text: &str) {
        self.body.push_str(&format!("\n{text}\n"));
    }

    /// A measurement that could not be made.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped.push(format!("skipped: {name} ({why})"));
    }

    /// Prints the report, and unless the run was a quick one or a part writes it into docs/benchmarks/.
    pub fn finish(self) {
        let markdown = self.markdown();
        println!("{markdown}");
        let dir = match std::env::var_os("BENCH_OUT") {
            Some(dir) => dir.into(),
            None if self.quick || !self.skipped.is_empty() => {
                println!("Not written to docs/benchmarks/: that takes a full run.");
                return;
            }
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks"),
        };
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{}.md", self.file)), markdown).unwrap();
        fs::write(dir.join(format!("{}.json", self.file)), self.json()).unwrap();
        for (file, svg) in &self.figures {
            fs::write(dir.join(file), svg).unwrap();
        }
        println!("Written to {1}/{0}.md and {0}.json.", self.file, dir.display());
    }

    fn markdown(&self) -> String {
        let mut text = format!("# {}\n\nMade by `make bench`.\n\n", self.heading);
        for (name, value) in &self.environment {
            writeln!(text, "* {name}: {value}").unwrap();
        }
        if self.quick {
            text.push_str("* QUICK=1: a short run\n");
        }
        if !self.goals.is_empty() {
            text.push_str("\n| figure | measured | bound | |\n| --- | --- | --- | --- |\n");
        }
        for goal in &self.goals {
            let met = if goal.is_met() { "met" } else { "**not met**" };
            let bound = match goal.bound {
                Bound::AtMost(most) => format!("at most {}", shown(most)),
                Bound::AtLeast(least) => format!("at least {}", shown(least)),
            };
            writeln!(text, "| {} | {} | {bound} | {met} |", goal.name, shown(goal.measured)).unwrap();
        }
        for remark in &self.remarks {
            writeln!(text, "\n{remark}").unwrap();
        }
        for skipped in &self.skipped {
            writeln!(text, "\n{skipped}").unwrap();
        }
        text.push_str(&self.body);
        text.lines().map(|line| wrapped(line) + "\n").collect()
    }

    fn json(&self) -> String {
        let environment = self.environment.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)));
        let goals = self.goals.iter().map(|Goal { name, measured, bound }| {
            let (word, bound) = match bound {
                Bound::AtMost(most) => ("at_most", most),
                Bound::AtLeast(least) => ("at_least", least),
            };
            let (name, measured, bound) = (quoted(name), shown(*measured), shown(*bound));
            format!("{{\"name\": {name}, \"measured\": {measured}, \"{word}\": {bound}}}")
        });
        let raw = joined(self.raw.iter().map(|(name, json)| format!(",\n  {}: {json}", quoted(name))), "");
        let tables = self.tables.iter().map(|table| {
            let rows = table.rows.iter().map(|row| format!("[{}]", joined(row.iter().map(Entry::json), ", ")));
            let columns = joined(table.columns.iter().map(|name| quoted(name)), ", ");
            let title = quoted(&table.title);
            format!(
                "{{\"title\": {title}, \"columns\": [{columns}], \"rows\": [\n    {}\n  ]}}",
                joined(rows, ",\n    ")
            )
        });
        format!(
            "{{\n  \"environment\": {{{}}},\n  \"bounds\": [{}],\n  \"tables\": [{}]{raw}\n}}\n",
            joined(environment, ", "),
            joined(goals, ", "),
            joined(tables, ", ")
        )
    }
}

/// Breaks a paragraph or an item of a list into lines. Headings, rows of tables and pictures stay one line each.
fn wrapped(line: &str) -> String {
    if line.starts_with(['#', '|', '!']) {
        return line.to_owned();
    }
    let indent = if line.starts_with("* ") { "  " } else { "" };
    let (mut text, mut column) = (String::new(), 0);
    let mut words = line.split(' ').peekable();
    while let Some(word) = words.next() {
        // A dash at the beginning of a line would begin a list.
        let dash = if words.peek() == Some(&"-") { 2 } else { 0 };
        let length = word.chars().count();
        if column == 0 {
            column = length;
        } else if column + 1 + length + dash <= WIDTH || word == "-" {
            text.push(' ');
            column += 1 + length;
        } else {
            text.push('\n');
            text.push_str(indent);
            column = indent.len() + length;
        }
        text.push_str(word);
    }
    text
}

/// Three digits behind the point, less zeros at the end.
fn shown(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn joined(parts: impl Iterator<Item = String>, by: &str) -> String {
    parts.collect::<Vec<String>>().join(by)
}

/// A JSON string; our texts hold no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn put_row(text: &mut String, cells: &[String]) {
    text.push_str(&format!("| {} |\n", cells.join(" | ")));
}
