//! The tables of the documentation, and the settings in redis.conf, are those of the server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

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
        "LOCK.ACQUIRE k a PX 1",
        "LOCK.ACQUIRE k b PX 600000 SESSION BLOCK 0",
    ] {
        session.cmd(&command.split(' ').collect::<Vec<_>>());
    }
    session.close();
    let mut seen = BTreeSet::new();
    while !seen.contains("lock.session") {
        let channel = listener.read().array()[2].text();
        seen.insert(channel.trim_start_matches("__keyevent@0__:").to_owned());
    }
    assert_eq!(seen, explained);
    server.assert_no_keys();
    server.assert_clean();
}

/// README shows what the benchmark of peers says in short, to the letter.
#[test]
fn readme_has_the_short_table_of_the_benchmark() {
    let report = include_str!("../docs/benchmarks/peers.md");
    let short = report.lines().skip_while(|line| !line.starts_with("## In short: "));
    let table: Vec<&str> =
        short.skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).collect();
    assert!(table.len() > 10, "{table:#?}");
    assert!(include_str!("../README.md").contains(&table.join("\n")), "README does not have\n{}", table.join("\n"));
}
