//! The settings: where they can be given, which values are refused, and which source wins. `limits.rs` tests what each
//! setting does.

use std::collections::BTreeMap;
use std::fs;

use support::{args, module_path, Server, ServerBuilder, Value};

/// Every setting: its name, default, minimum and maximum.
const SETTINGS: [(&str, i64, i64, i64); 8] = [
    ("start-quarantine", 0, 0, 31_536_000_000),
    ("max-hold", 0, 0, 31_536_000_000),
    ("default-lease", 30_000, 1, 31_536_000_000),
    ("max-lease", 31_536_000_000, 1, 31_536_000_000),
    ("max-holders", 10_000, 1, 1_000_000),
    ("max-waiters", 10_000, 1, 1_000_000),
    ("max-waiters-total", 100_000, 1, 10_000_000),
    ("deadlock-search-max", 1000, 0, 1_000_000),
];

/// The value of `redislock.<name>`.
#[track_caller]
fn setting(server: &Server, name: &str) -> i64 {
    let name = format!("redislock.{name}");
    server.cmd(&["CONFIG", "GET", &name]).get(&name).text().parse().unwrap()
}

#[track_caller]
fn set(server: &Server, name: &str, value: &str) -> Value {
    server.cmd(&args!["CONFIG", "SET", format!("redislock.{name}"), value])
}

/// The module's path as an argument in redis.conf.
fn quoted_path() -> String {
    format!("\"{}\"", module_path().display())
}

/// A server to be started that loads the module with these arguments.
fn with_arguments(arguments: &str) -> ServerBuilder {
    Server::builder().without_module().config(format!("loadmodule {} {arguments}", quoted_path()))
}

/// The module's own lines of a log.
fn own_lines(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("<redislock>")).collect()
}

#[test]
fn config_get_shows_every_setting_with_its_default() {
    let server = Server::start();
    let shown: BTreeMap<String, String> = server
        .cmd(&["CONFIG", "GET", "redislock.*"])
        .map()
        .into_iter()
        .map(|(name, value)| (name, value.text()))
        .collect();
    let expected: BTreeMap<String, String> =
        SETTINGS.iter().map(|(name, default, _, _)| (format!("redislock.{name}"), default.to_string())).collect();
    assert_eq!(shown, expected);
    server.assert_clean();
}

#[test]
fn config_set_takes_what_lies_in_the_range_and_refuses_the_rest_by_name() {
    let server = Server::start();
    for (name, default, min, max) in SETTINGS {
        for value in [min, max, min + 1, default] {
            assert_eq!(set(&server, name, &value.to_string()), "OK", "{name} {value}");
            assert_eq!(setting(&server, name), value, "{name}");
        }
        let bad = [(min - 1).to_string(), (max + 1).to_string(), "-5".into(), "many".into(), String::new()];
        for value in bad.iter().map(String::as_str).chain(["1.5", "10ms", "9223372036854775808", "0x10"]) {
            let answer = set(&server, name, value);
            assert!(answer.err_text().contains(name), "{name} {value:?}: {answer:?}");
            assert_eq!(setting(&server, name), default, "{name} after {value:?}");
        }
    }
    server.assert_clean();
}

/// The error of a number out of range tells what is allowed.
#[test]
fn config_set_out_of_range_tells_the_range() {
    let server = Server::start();
    for (name, _, min, max) in SETTINGS {
        let answer = set(&server, name, &(max + 1).to_string());
        let text = answer.err_text();
        assert!(text.contains(&min.to_string()) && text.contains(&max.to_string()), "{name}: {text}");
    }
    server.assert_clean();
}

/// Redis sets all or none of one CONFIG SET, also across modules' settings.
#[test]
fn config_set_of_several_is_all_or_nothing() {
    let server = Server::start();
    let both = |lease: &str| {
        let words = ["CONFIG", "SET", "redislock.max-holders", "7", "redislock.default-lease", lease];
        server.cmd(&words)
    };
    assert!(both("0").is_err());
    assert_eq!((setting(&server, "max-holders"), setting(&server, "default-lease")), (10_000, 30_000));
    assert_eq!(both("500"), "OK");
    assert_eq!((setting(&server, "max-holders"), setting(&server, "default-lease")), (7, 500));
    server.assert_clean();
}

#[test]
fn redis_conf_lines_set_every_setting() {
    let mut builder = Server::builder();
    for (number, (name, _, min, _)) in SETTINGS.iter().enumerate() {
        builder = builder.config(format!("redislock.{name} {}", min + 10 + number as i64));
    }
    let server = builder.start();
    for (number, (name, _, min, _)) in SETTINGS.iter().enumerate() {
        assert_eq!(setting(&server, name), min + 10 + number as i64, "{name}");
    }
    server.assert_clean();
}

#[test]
fn server_does_not_start_with_a_bad_redis_conf_line() {
    for line in ["max-holders 0", "max-holders 1000001", "default-lease soon", "deadlock-search-max -1", "nonsense 1"] {
        let story = Server::builder().config(format!("redislock.{line}")).try_start().err();
        assert!(story.is_some(), "redislock.{line} was taken");
    }
}

#[test]
fn loadmodule_arguments_set_every_setting_with_and_without_prefix() {
    for prefix in ["", "redislock."] {
        let words: Vec<String> = SETTINGS
            .iter()
            .enumerate()
            .map(|(number, (name, _, min, _))| format!("{prefix}{name} {}", min + 10 + number as i64))
            .collect();
        let server = with_arguments(&words.join(" ")).start();
        for (number, (name, _, min, _)) in SETTINGS.iter().enumerate() {
            assert_eq!(setting(&server, name), min + 10 + number as i64, "{prefix}{name}");
        }
        server.assert_clean();
    }
}

#[test]
fn loadmodule_arguments_take_the_ends_of_the_ranges() {
    for end in [0, 1] {
        let words: Vec<String> =
            SETTINGS.iter().map(|(name, _, min, max)| format!("{name} {}", [min, max][end])).collect();
        let server = with_arguments(&words.join(" ")).start();
        for (name, _, min, max) in SETTINGS {
            assert_eq!(setting(&server, name), [min, max][end], "{name}");
        }
        server.assert_clean();
    }
}

/// Bad arguments: the whole of them, and the word that the log must name.
const BAD_ARGUMENTS: [(&str, &str); 10] = [
    ("nonsense 1", "nonsense"),
    ("default-lease 5000 max-holder 5", "max-holder"),
    ("max-holders", "max-holders"),
    ("default-lease 5000 max-waiters", "max-waiters"),
    ("max-holders many", "max-holders"),
    ("max-holders 0", "max-holders"),
    ("max-holders 1000001", "max-holders"),
    ("default-lease 31536000001", "default-lease"),
    ("redislock.deadlock-search-max -1", "deadlock-search-max"),
    ("max-waiters-total 99999999999999999999", "max-waiters-total"),
];

#[test]
fn server_does_not_start_with_a_bad_loadmodule_argument_and_logs_which() {
    for (arguments, named) in BAD_ARGUMENTS {
        let Err(story) = with_arguments(arguments).try_start() else { panic!("{arguments} was taken") };
        let lines = own_lines(&story);
        assert!(lines.iter().any(|line| line.contains(named)), "{arguments}: the log does not name it: {story}");
    }
}

#[test]
fn module_load_with_a_bad_argument_fails_and_harms_nothing() {
    let server = Server::builder().without_module().start();
    let path = module_path().display().to_string();
    for (arguments, named) in BAD_ARGUMENTS {
        let words: Vec<&str> = ["MODULE", "LOAD", &path].into_iter().chain(arguments.split(' ')).collect();
        let logged = server.log().len();
        assert!(server.cmd(&words).is_err(), "{arguments} was taken");
        let log = server.log();
        assert!(own_lines(&log[logged..]).iter().any(|line| line.contains(named)), "{arguments}: {log}");
        assert!(server.cmd(&["LOCK.ACQUIRE", "k", "a"]).is_err(), "{arguments}: the module is there");
    }
    assert!(server.cmd(&["MODULE", "LIST"]).array().iter().all(|module| module.get("name") != "redislock"));
    // None of those tries left anything behind that stands in the way of a good one.
    assert_eq!(server.cmd(&["MODULE", "LOAD", &path, "max-holders", "5"]), "OK");
    assert_eq!((setting(&server, "max-holders"), setting(&server, "max-waiters")), (5, 10_000));
    server.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    server.assert_clean();
}

#[test]
fn module_loadex_takes_settings_and_arguments() {
    let server = Server::builder().without_module().start();
    let path = module_path().display().to_string();
    let load = ["MODULE", "LOADEX", &path, "CONFIG", "redislock.max-holders", "7"];
    let bad = [&load[..5], &["0"]].concat();
    assert!(server.cmd(&bad).is_err());
    assert_eq!(server.cmd(&[&load[..], &["ARGS", "max-waiters", "9", "max-holders", "8"]].concat()), "OK");
    assert_eq!((setting(&server, "max-holders"), setting(&server, "max-waiters")), (7, 9), "CONFIG wins");
    server.assert_clean();
}

#[test]
fn redis_conf_line_wins_over_a_loadmodule_argument() {
    for line_first in [true, false] {
        let line = "redislock.max-holders 50";
        let loaded = format!("loadmodule {} max-holders 5 max-waiters 6", quoted_path());
        let lines = if line_first { [line, &loaded] } else { [&loaded, line] };
        let builder = Server::builder().without_module();
        let server = lines.into_iter().fold(builder, |builder, line| builder.config(line)).start();
        assert_eq!((setting(&server, "max-holders"), setting(&server, "max-waiters")), (50, 6), "{lines:?}");
        server.assert_clean();
    }
}

/// A server started with the redis.conf that this one's CONFIG REWRITE writes.
#[track_caller]
fn rewritten(server: &Server) -> Server {
    assert_eq!(server.cmd(&["CONFIG", "REWRITE"]), "OK");
    let conf = fs::read_to_string(server.dir().join("redis.conf")).unwrap();
    let own = ["port ", "dir ", "bind ", "#"];
    conf.lines()
        .filter(|line| !line.is_empty() && !own.iter().any(|word| line.starts_with(word)))
        .fold(Server::builder().without_module(), ServerBuilder::config)
        .start()
}

#[test]
fn config_rewrite_keeps_what_was_set() {
    let first = Server::builder().config("redislock.max-waiters 20").start();
    for (name, value) in [("default-lease", "12345"), ("max-lease", "23456"), ("deadlock-search-max", "0")] {
        assert_eq!(set(&first, name, value), "OK");
    }
    let second = rewritten(&first);
    let third = rewritten(&second);
    for server in [&first, &second, &third] {
        let names = ["default-lease", "max-lease", "deadlock-search-max", "max-waiters", "max-holders"];
        assert_eq!(names.map(|name| setting(server, name)), [12_345, 23_456, 0, 20, 10_000]);
        server.assert_clean();
    }
}

#[test]
fn config_rewrite_keeps_loadmodule_arguments() {
    let first = with_arguments("max-holders 5 default-lease 700").start();
    let second = rewritten(&first);
    assert_eq!((setting(&second, "max-holders"), setting(&second, "default-lease")), (5, 700));
    second.assert_clean();
}

/// What was set last is what a restart brings back, also when that is the default and the argument says otherwise.
#[test]
fn config_rewrite_keeps_what_was_set_over_a_loadmodule_argument() {
    let first = with_arguments("max-holders 5 default-lease 700 max-waiters 9").start();
    assert_eq!(set(&first, "max-holders", "10000"), "OK");
    assert_eq!(set(&first, "default-lease", "800"), "OK");
    let second = rewritten(&first);
    let names = ["max-holders", "default-lease", "max-waiters"];
    assert_eq!(names.map(|name| setting(&second, name)), [10_000, 800, 9]);
    second.assert_clean();
}

#[test]
fn settings_of_a_running_server_are_forgotten_without_rewrite() {
    let server = Server::start();
    assert_eq!(set(&server, "max-holders", "5"), "OK");
    server.restart();
    assert_eq!(setting(&server, "max-holders"), 10_000);
    server.assert_clean();
}

/// The lines of the log about the eviction policy.
fn policy_warnings(server: &Server) -> usize {
    let log = server.log();
    own_lines(&log).iter().filter(|line| line.contains("maxmemory-policy") && line.contains("allkeys")).count()
}

/// allkeys-* may evict a held lock, which nobody would expect of it.
#[test]
fn load_under_an_allkeys_policy_logs_a_warning() {
    let later = Server::builder().without_module().start();
    for policy in later.policies(&["allkeys-lru", "allkeys-lfu", "allkeys-random", "allkeys-lrm"]) {
        let server = Server::builder().config(format!("maxmemory-policy {policy}")).start();
        assert_eq!(policy_warnings(&server), 1, "{policy}: {}", server.log());
        let log = server.log();
        let line = own_lines(&log).into_iter().find(|line| line.contains("allkeys")).unwrap();
        assert!(line.contains(" # "), "a warning: {line}");
        server.assert_clean();
    }
    assert_eq!(later.cmd(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]), "OK");
    assert_eq!(later.cmd(&args!["MODULE", "LOAD", module_path().display().to_string()]), "OK");
    assert_eq!(policy_warnings(&later), 1, "{}", later.log());
}

#[test]
fn load_under_other_policies_logs_no_warning() {
    for policy in ["noeviction", "volatile-lru", "volatile-ttl", "volatile-random"] {
        let server = Server::builder().config(format!("maxmemory-policy {policy}")).start();
        assert_eq!(policy_warnings(&server), 0, "{policy}: {}", server.log());
        server.assert_clean();
    }
}
