//! The steps that scenarios are written in.
//!
//! An expression is a [Cucumber expression](https://github.com/cucumber/cucumber-expressions) with the parameters of
//! [`PARAMETERS`] besides `{int}` and `{string}`.

use std::collections::HashMap;

use cucumber_expressions::Expression;
use regex::Regex;

use crate::definition::{Action, Args, Definition};
use crate::outcome::{fail, Outcome};
use crate::scenario::Step;
use crate::steps;

/// The names of parameters and what they match. None has a group of its own.
const PARAMETERS: [(&str, &str); 9] = [
    ("app", "[A-Z][A-Za-z0-9]*"),
    ("apps", "[A-Z][A-Za-z0-9]*(?:(?:, | and )[A-Z][A-Za-z0-9]*)+"),
    ("hold", "[a-z][a-z0-9]*"),
    ("kind", "[a-z-]+(?: or [a-z-]+)*"),
    ("duration", r"\d+(?:\.\d+)? ?(?:ms|s|min|h|days?)"),
    ("keys", r#""[^"]*"(?: and "[^"]*")*"#),
    ("options", r"(?:, [a-z]+(?: [0-9a-z.]+(?: (?:ms|s|min|h|days?))?)?)*"),
    ("who", "[a-z][a-z-]*"),
    ("way", "to the server|to the client"),
];

/// All kinds of steps.
pub struct Vocabulary {
    known: Vec<(Regex, Definition)>,
}

impl Vocabulary {
    /// The vocabulary of the suite.
    pub fn new() -> Outcome<Vocabulary> {
        Vocabulary::of(steps::all())
    }

    fn of(definitions: Vec<Definition>) -> Outcome<Vocabulary> {
        let parameters: HashMap<&str, &str> = PARAMETERS.into();
        let mut known = Vec::with_capacity(definitions.len());
        for definition in definitions {
            let regex = Expression::regex_with_parameters(definition.expression, &parameters)
                .map_err(|error| format!("the step '{}': {error}", definition.expression))?;
            known.push((regex, definition));
        }
        Ok(Vocabulary { known })
    }

    /// What this step means: the one definition that matches.
    pub fn find<'a>(&'a self, step: &'a Step) -> Outcome<(Action, Args<'a>)> {
        let matching: Vec<_> =
            self.known.iter().filter_map(|(regex, it)| Some((regex.captures(&step.text)?, it))).collect();
        match matching.as_slice() {
            [(captures, definition)] => {
                let words = captures.iter().skip(1).flatten().map(|found| found.as_str()).collect();
                Ok((definition.action, Args::new(words, &step.table)))
            }
            [] => fail(format!("line {}: no step is written '{}'", step.line, step.text)),
            several => {
                let all: Vec<&str> = several.iter().map(|(_, it)| it.expression).collect();
                fail(format!("line {}: '{}' can mean {}", step.line, step.text, all.join(" or ")))
            }
        }
    }

    /// The table of all steps, in Markdown.
    pub fn table(&self) -> String {
        let rows = self.known.iter().map(|(_, it)| format!("| `{}` | {} |\n", it.expression, it.help));
        format!("| step | what it does |\n|---|---|\n{}", rows.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read_all;
    use crate::world::World;
    use std::path::Path;

    fn step(text: &str) -> Step {
        Step { text: text.to_owned(), table: Vec::new(), line: 1 }
    }

    fn nothing(_: &mut World, _: &Args) -> Outcome<()> {
        Ok(())
    }

    fn vocabulary(expressions: &[&'static str]) -> Vocabulary {
        let define = |expression: &&'static str| Definition { expression, help: "", action: nothing };
        Vocabulary::of(expressions.iter().map(define).collect()).unwrap()
    }

    #[test]
    fn parameters_arrive_in_order() {
        let words = vocabulary(&["{app} acquires {keys} as {hold}{options}", "{int} client(s) wait for {string}"]);
        let request = step("A acquires \"k\" and \"l\" as h1, lease 1.5 s, shared");
        let (_, args) = words.find(&request).unwrap();
        assert_eq!((args.text(0), args.text(2), args.text(3)), ("A", "h1", ", lease 1.5 s, shared"));
        assert_eq!(args.list(1), ["k", "l"]);
        let count = step("12 clients wait for \"k\"");
        let (_, args) = words.find(&count).unwrap();
        assert_eq!((args.number(0).unwrap(), args.text(1)), (12, "k"));
    }

    #[test]
    fn a_step_that_nobody_knows_or_that_two_take_is_an_error() {
        let words = vocabulary(&["{app} waits", "A {hold}"]);
        assert!(words.find(&step("nobody knows")).err().unwrap().contains("no step is written"));
        assert!(words.find(&step("A waits")).err().unwrap().contains("can mean"));
        assert!(words.find(&step("B waits")).is_ok());
    }

    #[test]
    fn every_step_of_every_scenario_is_known() {
        let words = Vocabulary::new().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let scenarios = read_all(&folder).unwrap();
        assert!(!scenarios.is_empty());
        for scenario in &scenarios {
            for step in &scenario.steps {
                if let Err(error) = words.find(step) {
                    panic!("{}: {}: {error}", scenario.path.display(), scenario.name);
                }
            }
        }
    }

    #[test]
    fn the_readme_lists_the_vocabulary() {
        let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../VOCABULARY.md")).unwrap();
        let table = Vocabulary::new().unwrap().table();
        assert!(readme.contains(&table), "VOCABULARY.md must hold the output of --vocabulary");
    }
}
