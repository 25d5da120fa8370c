//! The documents agree with the server (commands, INFO, settings, events), with the benchmarks, and with one another:
//! every link and anchor resolves, and lines are short.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use support::{args, Server, Value};

const OPERATIONS: &str = include_str!("../docs/operations.md");
const REDIS_CONF: &str = include_str!("../redis.conf");

/// The rows of the table whose head begins with this, cell by cell.
#[track_caller]
fn table(head: &str) -> Vec<Vec<&'static str>> {
    let mut lines = OPERATIONS.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "no table {head}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1).collect()).collect()
}

/// All settings and what they are.
fn settings(server: &Server) -> BTreeMap<String, String> {
    let answer = server.cmd(&["CONFIG", "GET", "redislock.*"]);
    answer.array().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}

#[track_caller]
fn assert_set(server: &Server, name: &str, value: &str) {
    assert_eq!(server.cmd(&["CONFIG", "SET", name, value]), "OK", "{name} {value}");
}

#[test]
fn every_field_of_info_is_explained_in_its_order() {
    let server = Server::start();
    let answer = server.cmd(&["INFO", "redislock"]).text();
    let told: Vec<&str> =
        answer.lines().filter_map(|line| line.strip_prefix("redislock_")?.split(':').next()).collect();
    let explained: Vec<&str> = table("| field ").iter().map(|row| row[0]).collect();
    assert_eq!(explained, told);
}

#[test]
fn settings_have_the_defaults_and_the_range_that_the_table_says() {
    let server = Server::start();
    let defaults = settings(&server);
    let rows = table("| setting (`redislock.`");
    assert_eq!(rows.len(), defaults.len());
    for row in rows {
        let name = format!("redislock.{}", row[0]);
        let (default, min, max) = (row[1], row[2].parse::<u64>().unwrap(), row[3].parse::<u64>().unwrap());
        assert_eq!(defaults.get(&name).map(String::as_str), Some(default), "{name}");
        assert_set(&server, &name, row[2]);
        assert_set(&server, &name, row[3]);
        let below = min.checked_sub(1).map_or("-1".to_owned(), |number| number.to_string());
        for outside in [below, (max + 1).to_string()] {
            let answer = server.cmd(&args!["CONFIG", "SET", name, outside]);
            assert!(matches!(answer, Value::Error(_)), "{name} {outside}: {answer:?}");
        }
    }
}

#[test]
fn redis_conf_has_a_line_for_each_setting_with_its_default() {
    let lines = REDIS_CONF.lines().filter_map(|line| line.strip_prefix("# redislock."));
    let lines: Vec<String> = lines.map(|line| format!("redislock.{line}")).collect();
    let server = Server::start();
    let defaults: Vec<String> = settings(&server).iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut sorted = lines.clone();
    sorted.sort();
    assert_eq!(sorted, defaults);
    let configured = lines.into_iter().fold(Server::builder(), |builder, line| builder.config(line)).start();
    assert_eq!(settings(&configured), settings(&server));
}

#[test]
fn each_event_of_a_lock_is_in_the_table() {
    let explained: BTreeSet<String> = table("| event ").iter().map(|row| row[0].to_owned()).collect();
    let server = Server::start();
    let mut listener = server.client();
    listener.cmd(&["PSUBSCRIBE", "__keyevent@*__:lock.*"]);
    assert_set(&server, "notify-keyspace-events", "Ed");
    let mut session = server.client();
    for command in [
        "LOCK.ACQUIRE k a PX 600000",
        "LOCK.EXTEND k a",
        "LOCK.RELEASE k a DOWNGRADE",
        "LOCK.RELEASE k a",
        "LOCK.ACQUIRE k a",
        "LOCK.RELEASE k a COOL 1",
        "LOCK.ACQUIRE k a PX 1 BLOCK 0",
        "LOCK.ACQUIRE k b PX 600000 SESSION BLOCK 0",
    ] {
        session.cmd(&command.split(' ').collect::<Vec<_>>());
    }
    let mut waiting = support::waiter(&server, "k", "c");
    session.close();
    waiting.read().int();
    support::release(&mut waiting, "k", "c");
    let mut seen = BTreeSet::new();
    while !seen.contains("lock.session") {
        let channel = listener.read().array()[2].text();
        seen.insert(channel.trim_start_matches("__keyevent@0__:").to_owned());
    }
    assert_eq!(seen, explained);
    server.assert_no_keys();
    server.assert_clean();
}

/// The words of all options in a description of arguments by COMMAND DOCS, however deep they stand.
fn tokens(arguments: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for argument in arguments.array() {
        for (name, value) in argument.map() {
            match name.as_str() {
                "token" => found.extend([value.text()]),
                "arguments" => found.extend(tokens(&value)),
                _ => {}
            }
        }
    }
    found
}

/// The words in capital letters.
fn capitals(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase()));
    words.map(str::to_owned).collect()
}

/// The server says which commands and options there are. The reference has a section for each command. Its syntax line
/// and its table show exactly the options of the command.
#[test]
fn every_command_and_option_is_in_the_reference() {
    let reference = include_str!("../docs/commands.md");
    let server = Server::start();
    let names = server.cmd(&["COMMAND", "LIST", "FILTERBY", "MODULE", "redislock"]);
    let names = names.array().iter().map(|name| name.text().to_uppercase());
    let names: Vec<String> = names.filter(|name| !name.starts_with("LOCK.__")).collect();
    assert!(names.len() >= 5, "{names:?}");
    let mut count = 0;
    for name in names {
        let section = reference.split(&format!("\n## {name}\n")).nth(1).unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n## ").next().unwrap();
        // It may go on in a second line.
        let syntax = section.split(&format!("\n{name}")).nth(1).and_then(|rest| rest.split("```").next());
        let shown = capitals(syntax.unwrap_or_else(|| panic!("{name}: no syntax")));
        let rows = section.lines().skip_while(|line| !line.starts_with("| option ")).skip(2);
        let explained = rows.take_while(|row| row.starts_with('|')).filter_map(|row| row.split('|').nth(1));
        let explained: BTreeSet<String> = explained.flat_map(capitals).collect();
        let docs = server.cmd(&["COMMAND", "DOCS", &name]).get(&name.to_lowercase());
        let options = tokens(&docs.get("arguments"));
        assert_eq!(shown, options, "{name}: the syntax line, and the options that the server tells");
        assert_eq!(explained, options, "{name}: the table of options, and the options that the server tells");
        count += options.len();
    }
    assert!(count > 0, "COMMAND DOCS tells no options");
}

/// The page of measurements shows what the benchmark of peers says in short, to the letter.
#[test]
fn measurements_have_the_short_table_of_the_benchmark() {
    let report = include_str!("../docs/benchmarks/peers.md");
    let short = report.lines().skip_while(|line| !line.starts_with("## In short: "));
    let table: Vec<&str> =
        short.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).collect();
    assert!(table.len() > 10, "{table:#?}");
    let page = include_str!("../docs/benchmarks/README.md");
    assert!(page.contains(&table.join("\n")), "docs/benchmarks/README.md does not have\n{}", table.join("\n"));
}

/// The bytes that the page on the design takes apart are those of a recorded stream.
#[test]
fn the_example_of_an_effect_was_recorded() {
    let design = include_str!("../docs/design.md");
    let block = design.split("```text\n").find(|block| block.contains(" version 1\n")).unwrap();
    let lines = block.lines().take_while(|line| !line.starts_with("```"));
    let words = lines.flat_map(|line| line.split("  ").next().unwrap_or_default().split(' '));
    let bytes: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
    let stream = include_bytes!("golden/v1/sync.stream");
    assert!(bytes.len() == 25 && stream.windows(25).any(|window| window == bytes), "{bytes:02x?}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

/// The lines of a text that are not in a block of code, each with its number.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !(is_code || is_fence)
    });
    lines.map(|(n, line)| (n + 1, line)).collect()
}

/// The anchors of a page, made of its headings as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    let anchors = headings.map(|(_, line)| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(anchor.clone()).and_modify(|count| *count += 1).or_insert(0);
        if *count > 0 {
            format!("{anchor}-{count}")
        } else {
            anchor
        }
    });
    anchors.collect()
}

#[test]
fn every_link_and_anchor_resolves() {
    let (mut followed, mut anchored) = (0, 0);
    for page in pages(root()) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let to = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(to.exists(), "{}: {link}", page.display());
            if let Some(anchor) = anchor {
                assert!(anchors(&fs::read_to_string(&to).unwrap()).contains(anchor), "{}: {link}", page.display());
                anchored += 1;
            }
            followed += 1;
        }
    }
    assert!(followed > 60, "{followed}");
    assert!(anchored > 30, "{anchored}");
}

/// Outside tables and code.
#[test]
fn lines_are_at_most_120_characters_long() {
    const MAX: usize = 120;
    let mut long = Vec::new();
    for page in pages(root()) {
        if NOT_YET_SHORT.iter().any(|name| page.ends_with(name)) {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let lines = prose(&text).into_iter().filter(|(_, line)| !line.trim_start().starts_with('|'));
        let lines = lines.filter(|(_, line)| line.chars().count() > MAX);
        long.extend(lines.map(|(n, _)| format!("{}:{n}", page.strip_prefix(root()).unwrap().display())));
    }
    assert!(long.is_empty(), "lines longer than {MAX} characters: {long:#?}");
}

/// Pages whose lines are still to be wrapped.
const NOT_YET_SHORT: [&str; 2] = ["clients/rust/README.md", "benches/peers/README.md"];
