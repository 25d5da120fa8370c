//! How locks and their commands look to the rest of Redis: COMMAND, ACL, TYPE, SCAN, MEMORY, MODULE.

use std::collections::BTreeSet;

use support::{acquire, args, digest, release, Client, Server, Value};

/// The commands for everybody that have one key.
const COMMANDS: [&str; 5] = ["lock.acquire", "lock.release", "lock.extend", "lock.check", "lock.info"];

/// Those of them that change nothing.
const READ_ONLY: [&str; 2] = ["lock.check", "lock.info"];

/// The commands for everybody that have several keys.
const MULTI_KEY: [&str; 3] = ["lock.macquire", "lock.mrelease", "lock.mextend"];

/// The commands for everybody that have none.
const KEYLESS: [&str; 2] = ["lock.list", "lock.top"];

/// The strings of an array, as a set.
#[track_caller]
fn words(value: &Value) -> BTreeSet<String> {
    value.array().iter().map(Value::text).collect()
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| item.to_string()).collect()
}

/// One command's entry of COMMAND INFO.
#[track_caller]
fn command_info(server: &Server, name: &str) -> Vec<Value> {
    let info = server.cmd(&["COMMAND", "INFO", name]);
    info.array()[0].array().to_vec()
}

#[test]
fn command_info_tells_arity_flags_and_where_the_key_stands() {
    let server = Server::start();
    for (name, arity, flags) in [
        ("LOCK.ACQUIRE", -3, &["write", "denyoom", "blocking", "fast", "module"][..]),
        ("LOCK.RELEASE", -3, &["write", "fast", "module"]),
        ("LOCK.EXTEND", -3, &["write", "fast", "module"]),
        ("LOCK.CHECK", -3, &["readonly", "fast", "module"]),
        ("LOCK.INFO", 2, &["readonly", "module"]),
    ] {
        let info = command_info(&server, name);
        assert_eq!(info[0], name.to_lowercase().as_str());
        assert_eq!(info[1], arity, "{name}: arity");
        assert_eq!(words(&info[2]), set(flags), "{name}: flags");
        let (first, last, step) = (&info[3], &info[4], &info[5]);
        assert_eq!((first.int(), last.int(), step.int()), (1, 1, 1), "{name}: first key, last key, step");
    }
    server.assert_clean();
}

#[test]
fn commands_of_several_keys_say_where_their_keys_are_counted() {
    let server = Server::start();
    for (name, flags) in [
        ("LOCK.MACQUIRE", &["write", "denyoom", "blocking", "movablekeys", "module"][..]),
        ("LOCK.MRELEASE", &["write", "movablekeys", "module"]),
        ("LOCK.MEXTEND", &["write", "movablekeys", "module"]),
    ] {
        let info = command_info(&server, name);
        assert_eq!(info[1], -4, "{name}: arity");
        assert_eq!(words(&info[2]), set(flags), "{name}: flags");
        assert_eq!([&info[3], &info[4], &info[5]].map(Value::int), [0, 0, 0], "{name}: the keys move");
        let [spec] = info[8].array() else { panic!("{name}: one key spec expected, got {:?}", info[8]) };
        assert_eq!(words(&spec.get("flags")), key_flags(name), "{name}");
        assert_eq!(spec.get("begin_search").get("spec").get("index"), 1, "{name}");
        let find = spec.get("find_keys");
        assert_eq!(find.get("type"), "keynum", "{name}");
        let bounds = ["keynumidx", "firstkey", "keystep"].map(|bound| find.get("spec").get(bound).int());
        assert_eq!(bounds, [0, 1, 1], "{name}: keynumidx, firstkey, keystep");
    }
    server.assert_clean();
}

#[test]
fn commands_without_a_key_go_to_any_node_of_a_cluster() {
    let server = Server::start();
    for (name, arity) in [("LOCK.LIST", -2), ("LOCK.TOP", -1)] {
        let info = command_info(&server, name);
        assert_eq!(info[1], arity, "{name}: arity");
        assert_eq!(words(&info[2]), set(&["readonly", "module"]), "{name}: flags");
        assert_eq!([&info[3], &info[4], &info[5]].map(Value::int), [0, 0, 0], "{name}: no key");
        assert!(info[8].array().is_empty(), "{name}: no key specs");
    }
    server.assert_clean();
}

/// What the key spec of this command says is done to the key.
fn key_flags(name: &str) -> BTreeSet<String> {
    let reads_only = READ_ONLY.contains(&name.to_lowercase().as_str());
    set(if reads_only { &["RO", "access"] } else { &["RW", "access", "update"] })
}

#[test]
fn key_specs_tell_what_every_command_does_to_its_one_key() {
    let server = Server::start();
    for name in COMMANDS {
        let info = command_info(&server, name);
        let [spec] = info[8].array() else { panic!("{name}: one key spec expected, got {:?}", info[8]) };
        assert_eq!(words(&spec.get("flags")), key_flags(name), "{name}");
        let begin = spec.get("begin_search");
        assert_eq!(begin.get("type"), "index");
        assert_eq!(begin.get("spec").get("index"), 1);
        let find = spec.get("find_keys");
        assert_eq!(find.get("type"), "range");
        let range = find.get("spec");
        let bounds = ["lastkey", "keystep", "limit"].map(|bound| range.get(bound).int());
        assert_eq!(bounds, [0, 1, 0], "{name}: lastkey, keystep, limit");
    }
    server.assert_clean();
}

/// An argument of COMMAND DOCS as a syntax line writes it: its token, the type of its value, what it is one of, and `[]`
/// round what may be left out.
fn syntax(doc: &Value) -> String {
    let entries = doc.map();
    let entry = |name: &str| entries.iter().find(|(entry, _)| entry == name).map(|(_, value)| value.clone());
    let parts = || entry("arguments").unwrap().array().iter().map(syntax).collect::<Vec<_>>();
    let value = match doc.get("type").text().as_str() {
        "pure-token" => None,
        "oneof" => Some(parts().join(" | ")),
        "block" => Some(parts().join(" ")),
        other => Some(other.to_owned()),
    };
    let token = entry("token").map(|token| token.text());
    let line = [token, value].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let is_optional = entry("flags").is_some_and(|flags| words(&flags).contains("optional"));
    if is_optional {
        format!("[{line}]")
    } else {
        line
    }
}

#[test]
fn command_docs_tell_what_every_command_does() {
    let server = Server::start();
    let listed = server.cmd(&["COMMAND", "LIST", "FILTERBY", "MODULE", "redislock"]);
    let listed = words(&listed);
    for known in [&COMMANDS[..], &MULTI_KEY, &KEYLESS] {
        assert!(set(known).is_subset(&listed), "{known:?} in {listed:?}");
    }
    for name in listed {
        let docs = server.cmd(&["COMMAND", "DOCS", &name]).get(&name);
        assert!(docs.get("summary").text().len() > 20, "{name}: {docs:?}");
        assert!(docs.get("complexity").text().starts_with("O("), "{name}: {docs:?}");
        assert_eq!(docs.get("since"), "0.1.0", "{name}");
        assert_eq!(docs.get("group"), "module", "{name}");
        assert_eq!(docs.get("module"), "redislock", "{name}");
    }
    server.assert_clean();
}

#[test]
fn command_docs_list_every_argument() {
    let server = Server::start();
    for (name, arguments) in [
        ("lock.acquire", "key string [PX integer | EX integer] [BLOCK integer] [SHARED [LIMIT integer [WEIGHT integer]]] [SESSION] [MAX integer] \
         [DELAY integer]"),
        ("lock.release", "key string [FENCE integer] [DOWNGRADE | COOL integer]"),
        ("lock.extend", "key string [PX integer | EX integer] [FENCE integer] [RAISE integer]"),
        ("lock.check", "key string [WAITERS]"),
        ("lock.info", "key"),
        ("lock.list", "integer [COUNT integer] [MATCH string] [OWNER string]"),
        ("lock.top", "[COUNT integer] [BY WAITERS | WAITED]"),
    ] {
        let docs = server.cmd(&["COMMAND", "DOCS", name]).get(name).get("arguments");
        let found: Vec<String> = docs.array().iter().map(syntax).collect();
        assert_eq!(found.join(" "), arguments, "{name}");
        assert!(docs.array().iter().all(|argument| !argument.get("name").text().is_empty()), "{docs:?}");
        if !KEYLESS.contains(&name) {
            assert_eq!(docs.array()[0].get("key_spec_index"), 0, "{name}: which key spec the key is of");
        }
    }
    server.assert_clean();
}

#[test]
fn command_getkeys_finds_the_key_and_what_is_done_to_it() {
    let server = Server::start();
    let requests: [&[&str]; 8] = [
        &["LOCK.ACQUIRE", "the key", "PX", "PX", "5000", "BLOCK", "0"],
        &["lock.acquire", "the key", "*"],
        &["LOCK.RELEASE", "the key", "me", "FENCE", "1"],
        &["LOCK.EXTEND", "the key", "me", "EX", "5", "FENCE", "1", "RAISE", "2"],
        &["LOCK.ACQUIRE", "the key", "me", "SESSION", "LIMIT", "3", "SHARED"],
        &["LOCK.RELEASE", "the key", "me", "DOWNGRADE"],
        &["LOCK.CHECK", "the key", "me", "WAITERS"],
        &["lock.info", "the key"],
    ];
    for request in requests {
        let ask = |how: &str| server.cmd(&[&["COMMAND", how], request].concat());
        assert_eq!(ask("GETKEYS"), Value::Array(vec![Value::Bulk(b"the key".to_vec())]), "{request:?}");
        let with_flags = ask("GETKEYSANDFLAGS");
        let [found] = with_flags.array() else { panic!("{request:?}: {with_flags:?}") };
        assert_eq!(found.array()[0], "the key");
        assert_eq!(words(&found.array()[1]), key_flags(request[0]), "{request:?}");
    }
    let short = server.cmd(&["COMMAND", "GETKEYS", "LOCK.ACQUIRE", "k"]);
    assert!(short.err_text().contains("number of arguments"), "{short:?}");
    server.assert_clean();
}

/// A connection of a new user with these rules, and no others.
#[track_caller]
fn user(server: &Server, name: &str, rules: &str) -> Client {
    let mut command = vec!["ACL", "SETUSER", name, "reset", "on", ">secret"];
    command.extend(rules.split(' '));
    assert_eq!(server.cmd(&command), "OK", "{rules}");
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", name, "secret"]), "OK");
    client
}

#[track_caller]
fn assert_no_permission(client: &mut Client, command: &[&str]) {
    let answer = client.cmd(command);
    assert!(answer.err_text().starts_with("NOPERM "), "{command:?}: {answer:?}");
}

#[test]
fn acl_key_patterns_bound_which_locks_a_user_can_touch() {
    let server = Server::start();
    server.cmd(&["LOCK.ACQUIRE", "other", "op", "PX", "600000"]).int();
    let before = digest(&server);
    for rules in ["~app:* +lock.acquire +lock.release +lock.extend", "%RW~app:* +@all", "%R~app:* %W~app:* +@all"] {
        let mut c = user(&server, "app", rules);
        c.cmd(&["LOCK.ACQUIRE", "app:x", "me", "BLOCK", "0"]).int();
        assert_eq!(c.cmd(&["LOCK.EXTEND", "app:x", "me"]), 1);
        release(&mut c, "app:x", "me");
        for key in ["other", "free", "app", ""] {
            assert_no_permission(&mut c, &["LOCK.ACQUIRE", key, "op"]);
            assert_no_permission(&mut c, &["LOCK.ACQUIRE", key, "op", "BLOCK", "0"]);
            assert_no_permission(&mut c, &["LOCK.EXTEND", key, "op", "PX", "1"]);
            assert_no_permission(&mut c, &["LOCK.RELEASE", key, "op"]);
        }
    }
    assert_eq!(digest(&server), before);
    server.assert_clean();
}

#[test]
fn acl_rules_for_reading_or_writing_alone_allow_no_lock_command() {
    let server = Server::start();
    server.cmd(&["LOCK.ACQUIRE", "app:x", "me", "PX", "600000"]).int();
    for rules in ["%R~app:* +@all", "%W~app:* +@all"] {
        let mut c = user(&server, "half", rules);
        assert_no_permission(&mut c, &["LOCK.ACQUIRE", "app:x", "me"]);
        assert_no_permission(&mut c, &["LOCK.ACQUIRE", "app:free", "me"]);
        assert_no_permission(&mut c, &["LOCK.EXTEND", "app:x", "me"]);
        assert_no_permission(&mut c, &["LOCK.RELEASE", "app:x", "me"]);
    }
    assert_eq!(server.cmd(&["LOCK.RELEASE", "app:x", "me"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn acl_command_rules_hold_for_each_command_by_itself() {
    let server = Server::start();
    let mut only_acquire = user(&server, "one", "~* +lock.acquire");
    let mut all_but_acquire = user(&server, "two", "~* +@all -lock.acquire");
    let mut only_data = user(&server, "three", "~* +@string +@list +@hash +@transaction");
    only_acquire.cmd(&["LOCK.ACQUIRE", "k", "me"]).int();
    for refused in [&["LOCK.EXTEND", "k", "me"], &["LOCK.RELEASE", "k", "me"]] {
        assert_no_permission(&mut only_acquire, refused);
    }
    for client in [&mut all_but_acquire, &mut only_data] {
        assert_no_permission(client, &["LOCK.ACQUIRE", "k", "me"]);
    }
    assert_no_permission(&mut only_data, &["LOCK.EXTEND", "k", "me"]);
    assert_no_permission(&mut only_data, &["LOCK.RELEASE", "k", "me"]);
    assert_eq!(all_but_acquire.cmd(&["LOCK.EXTEND", "k", "me"]), 1);
    release(&mut all_but_acquire, "k", "me");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn module_list_names_the_module() {
    let server = Server::start();
    let modules = server.cmd(&["MODULE", "LIST"]);
    let ours: Vec<&Value> = modules.array().iter().filter(|module| module.get("name") == "redislock").collect();
    assert_eq!(ours.len(), 1, "{modules:?}");
    assert!(ours[0].get("ver").int() > 0);
    server.assert_clean();
}

/// Trap 39: MODULE UNLOAD is refused with a clear error, and nothing is the worse for it.
#[test]
fn module_unload_is_refused_and_harms_nothing() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let unload = || {
        let answer = server.cmd(&["MODULE", "UNLOAD", "redislock"]);
        assert!(answer.err_text().contains("data types"), "{answer:?}");
    };
    unload();
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "100", "BLOCK", "0"]);
    unload();
    release(&mut a, "k", "a");
    assert!(b.read().int() > fence);
    unload();
    // Timers still run: the lease ends by itself.
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]).int();
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn type_exists_and_scan_know_a_lock() {
    let server = Server::start();
    let mut c = server.client();
    assert_eq!(c.cmd(&["SET", "string", "x"]), "OK");
    let mut locks = BTreeSet::new();
    for number in 0..50 {
        let key = format!("lock{number}");
        c.cmd(&args!["LOCK.ACQUIRE", key, "me", "PX", 600_000]).int();
        locks.insert(key);
    }
    assert_eq!(c.cmd(&["TYPE", "lock0"]), "redislock");
    assert_eq!(c.cmd(&["EXISTS", "lock0", "lock1", "free"]), 2);
    assert_eq!(c.cmd(&["DBSIZE"]), 51);

    let found = c.cmd(&["SCAN", "0", "TYPE", "redislock", "COUNT", "1000"]);
    assert_eq!(found.array()[0], "0", "one call sees all");
    assert_eq!(words(&found.array()[1]), locks);
    let strings = c.cmd(&["SCAN", "0", "TYPE", "string", "COUNT", "1000"]);
    assert_eq!(words(&strings.array()[1]), set(&["string"]));

    release(&mut c, "lock0", "me");
    assert_eq!((c.cmd(&["TYPE", "lock0"]), c.cmd(&["EXISTS", "lock0"])), (Value::Simple("none".into()), Value::Int(0)));
    server.assert_clean();
}

#[test]
fn memory_usage_counts_the_owner_and_object_answers() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "s", "o");
    c.cmd(&args!["LOCK.ACQUIRE", "l", vec![b'o'; 1024], "PX", 600_000]).int();
    let (small, large) = (c.cmd(&["MEMORY", "USAGE", "s"]).int(), c.cmd(&["MEMORY", "USAGE", "l"]).int());
    assert!(small > 0 && small < 1024, "{small}");
    assert!((1000..2000).contains(&(large - small)), "{small} and {large}");
    assert!(c.cmd(&["MEMORY", "USAGE", "free"]).is_nil());

    assert_eq!(c.cmd(&["OBJECT", "REFCOUNT", "s"]), 1);
    assert!(c.cmd(&["OBJECT", "IDLETIME", "s"]).int() >= 0);
    assert!(!c.cmd(&["OBJECT", "ENCODING", "s"]).text().is_empty());
    assert!(!c.cmd(&["DEBUG", "OBJECT", "s"]).is_err());
    server.assert_clean();
}

#[test]
fn the_lease_is_no_ttl() {
    let server = Server::start();
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "k", "me", "PX", "60000"]).int();
    assert_eq!(c.cmd(&["TTL", "k"]), -1);
    assert_eq!(c.cmd(&["PTTL", "k"]), -1);
    assert_eq!(c.cmd(&["PERSIST", "k"]), 0);
    release(&mut c, "k", "me");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn commands_of_other_types_and_copy_are_refused_on_a_lock() {
    let server = Server::start();
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "k", "me", "PX", "60000"]).int();
    let before = digest(&server);
    for line in ["GET k", "APPEND k x", "INCR k", "LPUSH k x", "HSET k x y", "SADD k x", "ZADD k 1 x", "XLEN k"] {
        let command: Vec<&str> = line.split(' ').collect();
        let answer = c.cmd(&command);
        assert!(answer.err_text().starts_with("WRONGTYPE "), "{line}: {answer:?}");
    }
    assert!(c.cmd(&["COPY", "k", "k2"]).is_err());
    assert_eq!(digest(&server), before);
    release(&mut c, "k", "me");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn digest_tells_holds_apart_by_owner_and_fence() {
    let server = Server::start();
    let mut c = server.client();
    let mut seen = BTreeSet::from([digest(&server)]);
    for owner in ["a", "b", "a"] {
        c.cmd(&["LOCK.ACQUIRE", "k", owner, "PX", "60000"]).int();
        assert!(seen.insert(digest(&server)), "{owner}");
        assert_eq!(c.cmd(&["LOCK.EXTEND", "k", owner]), 1);
        assert!(!seen.insert(digest(&server)), "an extension changes neither owner nor fence");
        release(&mut c, "k", owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}
