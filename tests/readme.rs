//! Every example in the README is run as it stands there.
//!
//! * ` ```console `: `$ redis-cli ...` lines, run with the real redis-cli, one after the other;
//! * ` ```transcript `: `name> COMMAND` lines, each name with a connection of its own; `(waits)` says that no answer comes
//!   yet, and `name>` alone that it comes now.
//!
//! Fences differ from run to run: those in the text are matched to real ones, one to one and in the same order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Client, Server, Value};

const README: &str = include_str!("../README.md");

/// The lines of every block of this kind, in order.
fn blocks(kind: &str) -> Vec<Vec<&'static str>> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(kind) {
            blocks.push(lines.by_ref().take_while(|line| *line != "```").collect());
        }
    }
    blocks
}

/// Pairs the text's fences with real ones.
#[derive(Default)]
struct Fences(BTreeMap<u64, u64>);

impl Fences {
    /// Panics unless the real line is the expected one, but for its fence.
    fn assert_same(&mut self, expected: &str, real: &str) {
        match (fence(expected), fence(real)) {
            (Some(written), Some(given)) => {
                assert_eq!(*self.0.entry(written).or_insert(given), given, "{expected}: another fence than before");
                let given: Vec<u64> = self.0.values().copied().collect();
                assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "{expected}: fences not in the README's order");
            }
            _ => assert_eq!(real, expected),
        }
    }
}

fn fence(line: &str) -> Option<u64> {
    line.strip_prefix("(integer) ").filter(|digits| digits.len() == 16)?.parse().ok()
}

/// As redis-cli shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Int(number) => format!("(integer) {number}"),
        Value::Error(text) => format!("(error) {text}"),
        Value::Simple(text) => text.clone(),
        nil if nil.is_nil() => "(nil)".into(),
        other => panic!("no example answers {other:?}"),
    }
}

#[test]
fn the_shell_examples_print_what_the_readme_says() {
    let server = Server::start();
    let mut fences = Fences::default();
    let mut commands = 0;
    for block in blocks("console") {
        let mut lines = block.into_iter();
        while let Some(line) = lines.next() {
            let command =
                line.strip_prefix("$ redis-cli ").expect("a block of redis-cli lines, each with one line of answer");
            let run = Command::new("redis-cli")
                .args(["-p", &server.port().to_string(), "--no-raw"])
                .args(command.split(' '))
                .output()
                .unwrap();
            fences.assert_same(lines.next().unwrap(), String::from_utf8(run.stdout).unwrap().trim_end());
            commands += 1;
        }
    }
    assert!(commands >= 4);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn the_conversations_go_as_the_readme_says() {
    let server = Server::start();
    let mut fences = Fences::default();
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    let mut exchanges = 0;
    for block in blocks("transcript") {
        let mut lines = block.into_iter();
        while let Some(line) = lines.next() {
            let (name, command) = line.split_once('>').expect("a name and a command");
            let client = clients.entry(name).or_insert_with(|| server.client());
            let words: Vec<&str> = command.split_whitespace().collect();
            let expected = lines.next().expect("an answer");
            exchanges += 1;
            if expected == "(waits)" {
                server.send_to_wait(client, &words);
                continue;
            }
            let value = if words.is_empty() { client.read() } else { client.cmd(&words) };
            fences.assert_same(expected, &shown(&value));
        }
    }
    assert!(exchanges >= 15);
    server.cmd(&["DEL", "name"]);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn the_tests_that_the_list_of_traps_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let traps = fs::read_to_string(root.join("docs/traps.md")).unwrap();
    let mut named = 0;
    for (file, test) in traps.split('`').filter_map(|quoted| quoted.split_once("::")) {
        let source = fs::read_to_string(root.join(format!("tests/{file}.rs"))).unwrap();
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "{file}::{test}");
        named += 1;
    }
    assert!(named > 40);
}
