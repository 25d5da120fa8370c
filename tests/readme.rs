//! Every example in the README and in the pages of docs/ is run as it stands there.
//!
//! * ` ```console `: `$ redis-cli ...` lines, run with the real redis-cli, one after the other;
//! * ` ```transcript `: `name> COMMAND` lines, each name with a connection of its own; `(waits)` says that no answer comes
//!   yet, and `name>` alone that it comes now. Answers look as in redis-cli;
//! * ` ```lua file `: a file beside them. `$ redis-cli ... < file` reads it; a library of functions is there for the
//!   conversations;
//! * ` ```transcript @lock `: run where the server lets modules have ACL categories.
//!
//! An answer ends before the next such line; `...` stands for the rest of a line or of the answer. What differs from run
//! to run is matched: fences one to one and in the same order, generated owners and client ids one to one, milliseconds
//! roughly. A page, block or line that looks like an example and is not run fails the tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{skip, Client, Server, Value};

/// A text with examples, and how many there are at least.
struct Page {
    name: &'static str,
    text: &'static str,
    commands: usize,
    exchanges: usize,
}

const PAGES: [Page; 6] = [
    Page { name: "README.md", text: include_str!("../README.md"), commands: 4, exchanges: 5 },
    Page { name: "docs/commands.md", text: include_str!("../docs/commands.md"), commands: 3, exchanges: 24 },
    Page {
        name: "docs/shared-and-session-locks.md",
        text: include_str!("../docs/shared-and-session-locks.md"),
        commands: 0,
        exchanges: 37,
    },
    Page { name: "docs/clients.md", text: include_str!("../docs/clients.md"), commands: 0, exchanges: 15 },
    Page {
        name: "docs/guarded-writes.md",
        text: include_str!("../docs/guarded-writes.md"),
        commands: 7,
        exchanges: 37,
    },
    Page { name: "docs/operations.md", text: include_str!("../docs/operations.md"), commands: 4, exchanges: 43 },
];

/// Milliseconds in an answer may differ by so many.
const ROUGHLY_MS: u64 = 20_000;

impl Page {
    /// The files that the page shows: their names and texts.
    fn files(&self) -> Vec<(&'static str, String)> {
        let blocks = self.text.split("\n```lua ").skip(1).map(|block| block.split_once('\n').unwrap());
        blocks.map(|(name, rest)| (name, rest.split("```").next().unwrap_or_default().to_owned())).collect()
    }

    /// The blocks of this kind that this server can run, in order.
    fn blocks(&self, kind: &str, server: &Server) -> Vec<Vec<&'static str>> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            let mut words = line.strip_prefix("```").unwrap_or_default().split(' ');
            if words.next() != Some(kind) {
                continue;
            }
            let block = lines.by_ref().take_while(|line| *line != "```").collect();
            match words.next() {
                Some("@lock") if !has_own_categories(server) => {
                    skip(format!("the part of {} about @lock: modules make no ACL categories here", self.name));
                }
                None | Some("@lock") => blocks.push(block),
                Some(other) => panic!("{}: a block with {other}", self.name),
            }
        }
        blocks
    }
}

fn has_own_categories(server: &Server) -> bool {
    let version = server.version();
    version.number >= if version.valkey { (8, 0, 0) } else { (7, 4, 0) }
}

/// A line that asks, and the lines up to the next one, which answer.
fn exchanges<T>(block: Vec<&'static str>, asks: impl Fn(&'static str) -> Option<T>) -> Vec<(T, Vec<&'static str>)> {
    let mut exchanges: Vec<(T, Vec<&str>)> = Vec::new();
    for line in block {
        match (asks(line), exchanges.last_mut()) {
            (Some(question), _) => exchanges.push((question, Vec::new())),
            (None, Some((_, answer))) => answer.push(line),
            (None, None) => panic!("a block begins with an answer: {line}"),
        }
    }
    exchanges
}

/// `name> COMMAND`.
fn said(line: &'static str) -> Option<(&'static str, &'static str)> {
    let (name, command) = line.split_once('>')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    is_name.then_some((name, command.trim()))
}

/// Pairs what stands in the text with what it is in this run.
#[derive(Default)]
struct Pairs {
    words: BTreeMap<String, String>,
    ids: BTreeMap<String, String>,
}

impl Pairs {
    /// The words of a command, as they are in this run.
    fn command(&self, text: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for word in split(text) {
            let known = if words.last().is_some_and(|before| before == "ID") { &self.ids } else { &self.words };
            words.push(known.get(&word).unwrap_or(&word).trim_matches('"').to_owned());
        }
        words
    }

    /// Panics unless the real answer is the expected one, but for what differs from run to run.
    fn assert_same(&mut self, page: &Page, expected: &[&str], real: &str) {
        let real: Vec<&str> = real.lines().map(str::trim_end).collect();
        let told = expected.iter().position(|line| *line == "...").unwrap_or(expected.len());
        let is_same = told <= real.len()
            && (told < expected.len() || told == real.len())
            && expected.iter().zip(&real).take(told).all(|(expected, real)| self.is_same(expected, real));
        assert!(is_same, "{}: expected {expected:#?}, got {real:#?}", page.name);
    }

    fn is_same(&mut self, expected: &str, real: &str) -> bool {
        let (expected, mut real): (Vec<&str>, Vec<&str>) = (expected.split(' ').collect(), real.split(' ').collect());
        let expected = match expected.strip_suffix(&["..."]) {
            Some(told) => {
                real.truncate(told.len());
                told.to_vec()
            }
            None => expected,
        };
        let is_id = ["\"session\"", "\"client\""].iter().any(|name| expected.contains(name));
        let is_time = ["\"ttl\"", "\"held\"", "\"waited\""].iter().any(|name| expected.contains(name));
        expected.len() == real.len()
            && expected.iter().zip(real).all(|(word, now)| self.fits(word, now, is_id, is_time))
    }

    fn fits(&mut self, word: &str, now: &str, is_id: bool, is_time: bool) -> bool {
        let (name, made) = (word.trim_matches('"'), now.trim_matches('"'));
        if is_fence(name) && is_fence(made) {
            return paired(&mut self.words, name, made) && self.fences_rise();
        }
        if is_made_owner(name) && is_made_owner(made) {
            return paired(&mut self.words, name, made);
        }
        match (word.parse::<u64>(), now.parse::<u64>()) {
            (Ok(written), Ok(given)) if is_id => (written == 0) == (given == 0) && paired(&mut self.ids, word, now),
            (Ok(written), Ok(given)) if is_time || written >= 1000 => written.abs_diff(given) < ROUGHLY_MS,
            _ => word == now,
        }
    }

    fn fences_rise(&self) -> bool {
        let given: Vec<&String> = self.words.iter().filter(|(name, _)| is_fence(name)).map(|(_, now)| now).collect();
        given.windows(2).all(|pair| pair[0] < pair[1])
    }
}

/// The words of a line. Spaces between double quotes belong to a word.
fn split(line: &str) -> Vec<String> {
    let mut is_quoted = false;
    let is_gap = |c: char| {
        is_quoted ^= c == '"';
        c == ' ' && !is_quoted
    };
    line.split(is_gap).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn paired(pairs: &mut BTreeMap<String, String>, written: &str, now: &str) -> bool {
    pairs.entry(written.to_owned()).or_insert_with(|| now.to_owned()) == now
}

fn is_fence(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_made_owner(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As redis-cli shows it, behind so many columns.
fn shown(value: &Value, columns: usize) -> String {
    let listed = |count: usize, line: &dyn Fn(usize, usize) -> String| {
        let width = count.to_string().len();
        let lines: Vec<String> =
            (0..count).map(|n| format!("{:>width$}{}", n + 1, line(n, columns + width + 2))).collect();
        if lines.is_empty() {
            "(empty array)".to_owned()
        } else {
            lines.join(&format!("\n{}", " ".repeat(columns)))
        }
    };
    match value {
        Value::Int(number) => format!("(integer) {number}"),
        Value::Error(text) => format!("(error) {text}"),
        Value::Simple(text) => text.clone(),
        Value::Bulk(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        Value::Array(items) => listed(items.len(), &|n, inner| format!(") {}", shown(&items[n], inner))),
        Value::Map(pairs) => listed(pairs.len(), &|n, inner| {
            let (name, value) = &pairs[n];
            let is_list = matches!(value, Value::Array(items) if !items.is_empty());
            let gap = if is_list { format!("\n{}", " ".repeat(inner)) } else { String::new() };
            format!("# {} => {gap}{}", shown(name, inner), shown(value, inner))
        }),
        Value::Push(items) if items[0].text() == "invalidate" => {
            let keys: Vec<String> = items[1].array().iter().map(|key| format!("'{}'", key.text())).collect();
            format!("-> invalidate: {}", keys.join(", "))
        }
        nil if nil.is_nil() => "(nil)".into(),
        other => panic!("no example answers {other:?}"),
    }
}

/// Runs the lines `$ redis-cli ...` of a page and returns how many.
fn run_commands(page: &Page, server: &Server) -> usize {
    let mut pairs = Pairs::default();
    for (name, text) in page.files() {
        fs::write(server.dir().join(name), text).unwrap();
    }
    let blocks = page.blocks("console", server).into_iter();
    let lines = blocks.flat_map(|block| exchanges(block, |line| line.strip_prefix("$ redis-cli ")));
    lines
        .map(|(command, answer)| {
            let (command, input) = command.split_once(" < ").unwrap_or((command, "/dev/null"));
            let run = Command::new("redis-cli")
                .args(["-p", &server.port().to_string(), "--no-raw"])
                .args(pairs.command(command))
                .current_dir(server.dir())
                .stdin(fs::File::open(server.dir().join(input)).unwrap())
                .output()
                .unwrap();
            pairs.assert_same(page, &answer, String::from_utf8(run.stdout).unwrap().trim_end());
        })
        .count()
}

/// Holds the conversations of a page and returns how many times somebody speaks.
fn run_conversations(page: &Page, server: &Server) -> usize {
    let mut pairs = Pairs::default();
    let mut clients: BTreeMap<&str, Client> = BTreeMap::new();
    for (_, library) in page.files().iter().filter(|(_, text)| text.starts_with("#!lua")) {
        server.cmd(&["FUNCTION", "LOAD", library]).text();
    }
    let blocks = page.blocks("transcript", server).into_iter();
    let lines = blocks.flat_map(|block| exchanges(block, said));
    lines
        .map(|((name, command), expected)| {
            let client = clients.entry(name).or_insert_with(|| server.client());
            let words = pairs.command(command);
            if expected == ["(waits)"] {
                server.send_to_wait(client, &words);
                return;
            }
            let value = match words.first().map(String::as_str) {
                Some(_) => client.cmd(&words),
                None if expected[0].starts_with("-> ") => client.read_push(),
                None => client.read(),
            };
            pairs.assert_same(page, &expected, &shown(&value, 0));
            if command == "QUIT" {
                clients.remove(name);
            }
        })
        .count()
}

#[test]
fn the_shell_examples_print_what_the_pages_say() {
    for page in PAGES {
        let server = Server::start();
        let commands = run_commands(&page, &server);
        assert!(commands >= page.commands, "{}: {commands} commands", page.name);
        server.assert_no_keys();
        server.assert_clean();
    }
}

#[test]
fn the_conversations_go_as_the_pages_say() {
    for page in PAGES {
        let server = Server::start();
        let exchanges = run_conversations(&page, &server);
        assert!(exchanges >= page.exchanges, "{}: {exchanges} exchanges", page.name);
        server.assert_no_keys();
        server.assert_clean();
    }
}

#[test]
fn the_tests_that_the_documentation_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (page, least) in [("docs/traps.md", 150), ("docs/guarantees.md", 45), ("SECURITY.md", 12)] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let mut named = 0;
        for (file, test) in text.split('`').filter_map(|quoted| quoted.rsplit_once("::")) {
            let source = fs::read_to_string(root.join(format!("tests/{}.rs", file.replace("::", "/")))).unwrap();
            let before = source.split(&format!("\nfn {test}()")).next().filter(|before| before.len() < source.len());
            let attributes = before.and_then(|before| before.rsplit("\n\n").next()).unwrap_or_default();
            assert!(attributes.contains("#[test]"), "{page}: {file}::{test}");
            named += 1;
        }
        assert!(named >= least, "{page}: {named}");
    }
}

/// Every example is on a page that is run, in a block that is run, and as a line that is run.
#[test]
fn no_example_is_left_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kinds =
        ["", "console", "transcript", "transcript @lock", "text", "sh", "crontab", "python", "go", "java", "js"];
    for path in pages(root) {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let is_run = PAGES.iter().any(|page| page.name == name);
        let mut inside: Option<&str> = None;
        for line in text.lines() {
            match (line.strip_prefix("```"), inside) {
                (Some(_), Some(_)) => inside = None,
                (Some(kind), None) => {
                    let is_example = kind.starts_with("console") || kind.starts_with("transcript");
                    assert!(is_run || !is_example, "{name}: its examples are not run");
                    let is_file = kind.strip_prefix("lua ").is_some_and(|file| file.ends_with(".lua"));
                    assert!(!is_run || is_file || kinds.contains(&kind), "{name}: a block of the kind '{kind}'");
                    inside = Some(kind);
                }
                (None, Some("console")) if line.starts_with('$') => {
                    assert!(line.starts_with("$ redis-cli "), "{name}: this line is not run: {line}");
                }
                (None, Some("text" | "sh" | "")) if is_run => {
                    let is_command = line.contains("> LOCK.") || line.contains("redis-cli LOCK.");
                    assert!(!is_command, "{name}: this line is not run: {line}");
                }
                (None, _) => {}
            }
        }
        assert!(inside.is_none(), "{name}: a block that does not end");
    }
}

/// Python and Go in the README are the functions that the tests of the examples run (`make clients`).
#[test]
fn readme_shows_functions_of_the_examples() {
    let readme = include_str!("../README.md");
    let shown = |kind: &str| {
        let head = format!("```{kind}\n");
        let blocks: Vec<&str> = readme.split(head.as_str()).skip(1).collect();
        assert_eq!(blocks.len(), 1, "README has one block of {kind}");
        let block = blocks[0].split("```").next().unwrap_or_default();
        assert!(block.lines().count() > 8, "{block}");
        block
    };
    for (kind, file, source) in [
        ("python", "examples/python/first_lock.py", include_str!("../examples/python/first_lock.py")),
        ("go", "examples/go/first/first.go", include_str!("../examples/go/first/first.go")),
    ] {
        assert!(source.ends_with(shown(kind)), "README.md does not show the end of {file}");
    }
}

/// Every page below this folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let left_out = ["target", "node_modules", "corpus", "venv"];
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let folders = folders.into_iter().filter(|path| {
        let name = name(path);
        !name.starts_with('.') && !left_out.contains(&name.as_str())
    });
    let here = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    folders.flat_map(|folder| pages(&folder)).chain(here).collect()
}
