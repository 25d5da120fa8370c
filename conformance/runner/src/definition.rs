//! A kind of step: how it is written, what it is given, and what it does.

use std::time::Duration;

use crate::outcome::{fail, Outcome};
use crate::world::World;

/// What a step is given: the parameters in the order of its expression, and its table.
pub struct Args<'a> {
    words: Vec<&'a str>,
    /// The rows of the table below the step.
    pub table: &'a [Vec<String>],
}

impl<'a> Args<'a> {
    /// The arguments of a step.
    pub fn new(words: Vec<&'a str>, table: &'a [Vec<String>]) -> Args<'a> {
        Args { words, table }
    }

    /// A parameter as it stands, without the quotes of a string.
    pub fn text(&self, n: usize) -> &str {
        self.words.get(n).copied().unwrap_or_default()
    }

    /// A parameter `{int}`.
    pub fn number(&self, n: usize) -> Outcome<usize> {
        self.text(n).parse().map_err(|_| format!("'{}' is not a number from 0 on", self.text(n)))
    }

    /// A parameter `{duration}`.
    pub fn duration(&self, n: usize) -> Outcome<Duration> {
        duration(self.text(n))
    }

    /// A parameter `{keys}` or `{apps}`.
    pub fn list(&self, n: usize) -> Vec<String> {
        let items = self.text(n).split(" and ").flat_map(|part| part.split(", "));
        items.map(|item| item.trim_matches('"').to_owned()).collect()
    }
}

/// A span of time such as `300 ms`, `1.5 s`, `2 min`, `1 h` or `30 days`.
pub fn duration(text: &str) -> Outcome<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "day" | "days" => 86400.0,
        _ => return fail(format!("'{text}' is no duration")),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{text}' is no duration"))?;
    Ok(Duration::from_secs_f64(number * seconds))
}

/// What a step does.
pub type Action = fn(&mut World, &Args) -> Outcome<()>;

/// A kind of step.
pub struct Definition {
    /// How it is written.
    pub expression: &'static str,
    /// What it does, in a sentence for the README.
    pub help: &'static str,
    /// What it does.
    pub action: Action,
}

/// One kind of step.
pub fn step(expression: &'static str, help: &'static str, action: Action) -> Definition {
    Definition { expression, help, action }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("300 ms").unwrap(), Duration::from_millis(300));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("30 days").unwrap(), Duration::from_secs(30 * 86400));
        assert!(duration("7").is_err() && duration("x ms").is_err());
    }
}
