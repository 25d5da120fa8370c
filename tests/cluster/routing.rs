//! What a cluster client must know to find the node of a lock: where the key stands, whatever the options and their order.

use std::process::Command;

use support::{acquire, key_in_slot, until, waiter, Cluster, Server, Value};

/// The commands, the words behind the key, and the options that may follow in any order.
const COMMANDS: [(&str, &[&str], &[&str]); 7] = [
    ("LOCK.ACQUIRE", &["a"], &["PX 5000", "BLOCK 0", "SHARED", "LIMIT 3", "SESSION"]),
    ("LOCK.ACQUIRE", &["*"], &["EX 5", "BLOCK 1000", "SHARED", "LIMIT 3", "SESSION"]),
    ("LOCK.RELEASE", &["a"], &["FENCE 1", "DOWNGRADE"]),
    ("LOCK.EXTEND", &["a"], &["PX 5000", "FENCE 1", "RAISE 2"]),
    ("LOCK.EXTEND", &["a"], &["EX 5", "FENCE 1", "RAISE 2"]),
    ("LOCK.CHECK", &["a"], &["WAITERS"]),
    ("LOCK.INFO", &[], &[]),
];

/// All choices out of these, each in every order.
fn arrangements<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut all = vec![Vec::new()];
    for (n, first) in of.iter().enumerate() {
        let rest = [&of[..n], &of[n + 1..]].concat();
        all.extend(arrangements(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

#[test]
fn the_key_is_found_whatever_the_order_of_the_options() {
    let server = Server::start();
    let mut client = server.client();
    for (name, words, options) in COMMANDS {
        let requests = arrangements(options);
        println!("{name}: {} orders", requests.len());
        for options in requests {
            let options = options.iter().flat_map(|option| option.split(' '));
            let request: Vec<&str> = [name, "k"].into_iter().chain(words.iter().copied()).chain(options).collect();
            let asked = |how| [&["COMMAND", how], &request[..]].concat();
            let answers = client.pipeline(&[&asked("GETKEYS")[..], &asked("GETKEYSANDFLAGS")[..]]);
            assert_eq!(answers[0], Value::Array(vec![Value::Bulk(b"k".to_vec())]), "{request:?}");
            let [found] = answers[1].array() else { panic!("{request:?}: {:?}", answers[1]) };
            let flags: Vec<String> = found.array()[1].array().iter().map(Value::text).collect();
            let is_read = matches!(name, "LOCK.CHECK" | "LOCK.INFO");
            let expected: &[&str] = if is_read { &["RO", "access"] } else { &["RW", "access", "update"] };
            assert_eq!(
                (found.array()[0].text(), flags),
                ("k".to_owned(), expected.iter().map(|flag| (*flag).to_owned()).collect()),
                "{request:?}"
            );
        }
    }
}

/// `redis-cli -c` knows no slots; it follows the redirects that it gets for these commands as for any other.
#[test]
fn redis_cli_follows_redirects_of_lock_commands() {
    let cluster = Cluster::start(3, 0);
    let home = cluster.first_home("k");
    let elsewhere = cluster.node((home + 1) % 3).port().to_string();
    let run = |command: &str| {
        let options = ["-c", "-h", "127.0.0.1", "-p", &elsewhere];
        let output = Command::new("redis-cli").args(options).args(command.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let fence = run("LOCK.ACQUIRE k a");
    assert!(run("LOCK.CHECK k a").starts_with(&fence), "{fence}");
    assert!(run("LOCK.INFO k").contains("exclusive"));
    assert_eq!(run("LOCK.EXTEND k a"), "1");
    assert_eq!(run("LOCK.RELEASE k a"), "1");
    cluster.node(home).assert_clean();
}

/// LOCK.LIST and LOCK.TOP have no key, so each node answers for itself; a lock that moves is listed where it is.
#[test]
fn each_node_lists_its_own_locks() {
    let cluster = Cluster::start(2, 0);
    let keys = [key_in_slot(10), key_in_slot(16_000)];
    let homes = keys.each_ref().map(|key| cluster.first_home(key));
    assert_ne!(homes[0], homes[1]);
    for (key, home) in keys.iter().zip(homes) {
        acquire(&mut cluster.node(home).client(), key, "a");
    }
    let listed = |node: usize| {
        let answer = cluster.node(node).cmd(&["LOCK.LIST", "0", "COUNT", "1000"]);
        answer.array()[1].array().iter().map(|entry| entry.get("key").text()).collect::<Vec<_>>()
    };
    let w = waiter(cluster.node(homes[1]), &keys[1], "w");
    for (key, home) in keys.iter().zip(homes) {
        assert_eq!(listed(home), [key.as_str()]);
    }
    assert_eq!(cluster.node(homes[0]).cmd(&["LOCK.TOP"]), Value::Array(Vec::new()));
    assert_eq!(cluster.node(homes[1]).cmd(&["LOCK.TOP"]).array().len(), 1);
    drop(w);
    cluster.move_slot(&keys[0], homes[0], homes[1]);
    assert_eq!(listed(homes[0]), [""; 0]);
    let mut found = listed(homes[1]);
    found.sort();
    let mut both = keys.to_vec();
    both.sort();
    assert_eq!(found, both);
    until("nobody waits", || cluster.node(homes[1]).cmd(&["LOCK.TOP"]).array().is_empty());
    for key in &keys {
        assert_eq!(cluster.node(homes[1]).cmd(&["LOCK.RELEASE", key, "a"]), 1);
    }
    for node in 0..2 {
        cluster.node(node).assert_clean();
    }
}

/// docs/guarded-writes.md: a function or a transaction works on the lock and the data if they have the same hash tag.
#[test]
fn lock_and_data_with_one_hash_tag_are_checked_and_written_in_one_step() {
    let page = include_str!("../../docs/guarded-writes.md");
    let library = page.split("```lua guarded.lua\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let cluster = Cluster::start(3, 0);
    let [lock, data, untagged] = ["{order:7}:lock", "{order:7}:state", "order:7:state"];
    let node = cluster.node(cluster.first_home(lock));
    assert_eq!(cluster.first_home(data), cluster.first_home(lock));
    node.cmd(&["FUNCTION", "LOAD", library]).text();
    node.cmd(&["LOCK.ACQUIRE", lock, "a", "PX", "600000"]).int();
    let write = |data: &str, owner: &str| node.cmd(&["FCALL", "set_if_held", "2", lock, data, owner, "paid"]);
    assert_eq!(write(data, "a"), "OK");
    assert!(write(data, "b").err_text().starts_with("NOTHELD "));
    assert!(write(untagged, "a").err_text().starts_with("CROSSSLOT "));

    let mut a = node.client();
    assert_eq!(a.cmd(&["WATCH", lock]), "OK");
    assert_eq!(a.cmd(&["LOCK.CHECK", lock, "a"]).array().len(), 2);
    node.cmd(&["LOCK.RELEASE", lock, "a"]);
    node.cmd(&["LOCK.ACQUIRE", lock, "b", "PX", "600000"]).int();
    assert_eq!(a.cmd(&["MULTI"]), "OK");
    assert_eq!(a.cmd(&["SET", data, "shipped"]), "QUEUED");
    assert_eq!(a.cmd(&["EXEC"]), Value::NullArray);
    assert_eq!(node.cmd(&["GET", data]), "paid");
    node.assert_clean();
}
