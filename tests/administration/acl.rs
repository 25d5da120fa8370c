//! ACL: which users may use which lock commands on which locks: categories, read and write permissions, and commands that
//! nobody may use. The key permissions of ACQUIRE, RELEASE and EXTEND are tested in `monitoring/introspection.rs`.

use std::collections::BTreeSet;

use support::{acquire, aof_commands, digest, release, run, skip, until, Client, Server, Value};

/// The commands for everybody.
const COMMANDS: [&str; 10] = [
    "lock.acquire",
    "lock.release",
    "lock.extend",
    "lock.macquire",
    "lock.mrelease",
    "lock.mextend",
    "lock.check",
    "lock.info",
    "lock.list",
    "lock.top",
];

/// Those of them that change locks.
const WRITES: [&str; 6] =
    ["lock.acquire", "lock.release", "lock.extend", "lock.macquire", "lock.mrelease", "lock.mextend"];

/// A connection of a new user with these rules, and no others.
#[track_caller]
fn user(server: &Server, rules: &str) -> Client {
    let mut command = vec!["ACL", "SETUSER", "app", "reset", "on", ">secret"];
    command.extend(rules.split(' '));
    assert_eq!(server.cmd(&command), "OK", "{rules}");
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", "app", "secret"]), "OK");
    client
}

#[track_caller]
fn assert_allowed(client: &mut Client, request: &str) {
    let answer = run(client, request);
    assert!(!answer.is_err(), "{request}: {answer:?}");
}

#[track_caller]
fn assert_denied(client: &mut Client, request: &str) {
    let answer = run(client, request);
    assert!(answer.err_text().starts_with("NOPERM "), "{request}: {answer:?}");
}

/// Whether the server lets a module make a category; the skip is said when not.
fn has_own_categories(server: &Server) -> bool {
    let version = server.version();
    let has = version.number >= if version.valkey { (8, 0, 0) } else { (7, 4, 0) };
    if !has {
        skip("below Redis 7.4 and Valkey 8 modules make no ACL categories");
    }
    has
}

/// Whether the server puts a module's commands into its own categories; the skip is said when not.
fn has_categories_for_modules(server: &Server) -> bool {
    let has = server.version().number >= (7, 2, 0);
    if !has {
        skip("below Redis 7.2 commands of modules are in no ACL category");
    }
    has
}

/// The commands of a category. (ACL CAT does not list those of modules on Valkey 8.0.)
#[track_caller]
fn category(server: &Server, name: &str) -> BTreeSet<String> {
    let listed = server.cmd(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", name]);
    listed.array().iter().map(Value::text).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn category_lock_holds_the_commands_for_everybody_and_no_others() {
    let server = Server::start();
    if !has_own_categories(&server) {
        return;
    }
    let categories = server.cmd(&["ACL", "CAT"]);
    assert_eq!(categories.array().iter().filter(|name| **name == "lock").count(), 1, "{categories:?}");
    assert_eq!(category(&server, "lock"), set(&COMMANDS));
    let version = server.version();
    if !version.valkey || version.number >= (8, 1, 0) {
        let listed = server.cmd(&["ACL", "CAT", "lock"]);
        assert_eq!(listed.array().iter().map(Value::text).collect::<BTreeSet<_>>(), set(&COMMANDS));
    }
    server.assert_clean();
}

/// Valkey 9.1 may keep a user to some databases. Lock commands keep to them as well, of a connection that was in another
/// database before.
#[test]
fn user_of_one_database_may_not_use_locks_of_another() {
    let server = Server::start();
    let mut c = user(&server, "~* +@all");
    assert_allowed(&mut c, "SELECT 1");
    assert_allowed(&mut c, "LOCK.ACQUIRE k me");
    if server.cmd(&["ACL", "SETUSER", "app", "resetdbs", "db=0"]).is_err() {
        return skip("below Valkey 9.1 rights hold in every database");
    }
    for request in ["LOCK.ACQUIRE k me", "LOCK.EXTEND k me", "LOCK.CHECK k me", "LOCK.INFO k", "LOCK.RELEASE k me"] {
        assert_denied(&mut c, request);
    }
    assert_allowed(&mut c, "SELECT 0");
    assert_allowed(&mut c, "LOCK.ACQUIRE k me");
    server.assert_clean();
}

#[test]
fn user_of_category_lock_may_use_locks_that_match_and_nothing_else() {
    let server = Server::start();
    if !has_own_categories(&server) {
        return;
    }
    let mut c = user(&server, "~app:* +@lock");
    for request in [
        "LOCK.ACQUIRE app:x me",
        "LOCK.CHECK app:x me",
        "LOCK.INFO app:x",
        "LOCK.EXTEND app:x me",
        "LOCK.RELEASE app:x me DOWNGRADE",
        "LOCK.RELEASE app:x me",
        "LOCK.ACQUIRE app:s me SHARED LIMIT 2 BLOCK 0 SESSION",
    ] {
        assert_allowed(&mut c, request);
    }
    for request in [
        "LOCK.ACQUIRE other me",
        "LOCK.CHECK other me",
        "LOCK.INFO other",
        "LOCK.EXTEND other me",
        "LOCK.RELEASE other me",
        "GET app:x",
        "DEL app:x",
        "RENAME app:s app:y",
        "DUMP app:s",
        "LOCK.__APPLY app:x x",
    ] {
        assert_denied(&mut c, request);
    }
    let mut without = user(&server, "~* +@all -@lock");
    assert_denied(&mut without, "LOCK.ACQUIRE k me");
    assert_denied(&mut without, "LOCK.INFO k");
    assert_allowed(&mut without, "SET k x");
    server.assert_clean();
}

/// On every server: name them one by one.
#[test]
fn user_of_single_commands_may_use_those() {
    let server = Server::start();
    let mut c = user(&server, "~app:* +lock.acquire +lock.release +lock.extend +lock.check +lock.info");
    acquire(&mut c, "app:x", "me");
    for request in ["LOCK.CHECK app:x me", "LOCK.INFO app:x", "LOCK.EXTEND app:x me"] {
        assert_allowed(&mut c, request);
    }
    release(&mut c, "app:x", "me");
    let mut reader = user(&server, "~app:* +lock.check");
    assert_allowed(&mut reader, "LOCK.CHECK app:x me");
    for request in ["LOCK.INFO app:x", "LOCK.ACQUIRE app:x me", "LOCK.EXTEND app:x me", "LOCK.RELEASE app:x me"] {
        assert_denied(&mut reader, request);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// CHECK and INFO look, the others look and change.
#[test]
fn key_permissions_ask_for_reading_where_a_command_reads_and_for_both_where_it_changes() {
    let server = Server::start();
    acquire(&mut server.client(), "app:x", "me");
    let before = digest(&server);
    let reads = ["LOCK.CHECK app:x me", "LOCK.INFO app:x", "LOCK.CHECK app:free me", "LOCK.INFO app:free"];
    let changes =
        ["LOCK.ACQUIRE app:free me", "LOCK.ACQUIRE app:x me", "LOCK.EXTEND app:x me", "LOCK.RELEASE app:x me"];
    let mut reader = user(&server, "%R~app:* +@all");
    reads.iter().for_each(|request| assert_allowed(&mut reader, request));
    changes.iter().for_each(|request| assert_denied(&mut reader, request));
    assert_denied(&mut reader, "LOCK.CHECK other me");
    let mut writer = user(&server, "%W~app:* +@all");
    reads.iter().chain(&changes).for_each(|request| assert_denied(&mut writer, request));
    let mut nobody = user(&server, "~elsewhere:* +@all");
    reads.iter().chain(&changes).for_each(|request| assert_denied(&mut nobody, request));
    assert_eq!(digest(&server), before);
    for rules in ["~app:* +@all", "%RW~app:* +@all", "%R~app:* %W~app:* +@all"] {
        let mut both = user(&server, rules);
        reads.iter().for_each(|request| assert_allowed(&mut both, request));
        let again = ["LOCK.ACQUIRE app:x me", "LOCK.EXTEND app:x me"];
        again.iter().for_each(|request| assert_allowed(&mut both, request));
    }
    assert_eq!(server.cmd(&["LOCK.RELEASE", "app:x", "me"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// The server's own categories, as for commands of its own that do the like.
#[test]
fn commands_are_in_the_servers_own_categories() {
    let server = Server::start();
    if !has_categories_for_modules(&server) {
        return;
    }
    let lock_commands = |name: &str| -> BTreeSet<String> {
        category(&server, name).into_iter().filter(|command| COMMANDS.contains(&command.as_str())).collect()
    };
    assert_eq!(lock_commands("write"), set(&WRITES));
    assert_eq!(lock_commands("read"), set(&["lock.check", "lock.info", "lock.list", "lock.top"]));
    assert_eq!(lock_commands("blocking"), set(&["lock.acquire", "lock.macquire"]));
    assert!(lock_commands("fast").is_superset(&set(&["lock.acquire", "lock.release", "lock.extend", "lock.check"])));
    for none in ["dangerous", "admin", "string", "keyspace", "connection", "transaction", "scripting"] {
        assert_eq!(lock_commands(none), BTreeSet::new(), "@{none}");
    }
    let mut reader = user(&server, "~* +@read");
    assert_allowed(&mut reader, "LOCK.INFO k");
    assert_allowed(&mut reader, "LOCK.CHECK k me");
    assert_denied(&mut reader, "LOCK.ACQUIRE k me");
    let mut without_writes = user(&server, "~* +@all -@write");
    for request in ["LOCK.ACQUIRE k me", "LOCK.RELEASE k me", "LOCK.EXTEND k me"] {
        assert_denied(&mut without_writes, request);
    }
    server.assert_clean();
}

/// A rule about a lock in a script counts for the user who calls it.
#[test]
fn scripts_and_transactions_may_no_more_than_their_user() {
    let server = Server::start();
    let mut c = user(&server, "%R~app:* ~own:* +@all");
    assert_eq!(run(&mut c, "MULTI"), "OK");
    assert_denied(&mut c, "LOCK.ACQUIRE app:x me");
    assert!(run(&mut c, "EXEC").err_text().starts_with("EXECABORT "));
    let script = "return redis.pcall('LOCK.ACQUIRE', 'app:x', 'me')";
    assert!(c.cmd(&["EVAL", script, "0"]).is_err());
    let reading = "return redis.pcall('LOCK.INFO', 'app:x')";
    assert!(c.cmd(&["EVAL", reading, "0"]).is_nil());
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 35: what a primary tells its replicas is not for people, whatever they are allowed.
#[test]
fn internal_commands_are_refused_to_everybody() {
    let server = Server::builder().aof().start();
    acquire(&mut server.client(), "k", "a");
    let commands = aof_commands(&server);
    let effect = commands.iter().find(|command| command[0] == b"LOCK.__APPLY").unwrap();
    let fence = [b"LOCK.__FENCE".to_vec(), b"9000000000000000".to_vec()];
    let before = digest(&server);
    let mut all = user(&server, "~* +@all");
    let mut named = server.client();
    for client in [&mut named, &mut all] {
        for command in [&effect[..], &fence] {
            assert!(client.cmd(command).is_err(), "{:?}", command[0].escape_ascii().to_string());
            assert_eq!(client.cmd(&["MULTI"]), "OK");
            client.cmd(command);
            let answer = client.cmd(&["EXEC"]);
            let refused = answer.is_err() || answer.array()[0].is_err();
            assert!(refused, "in a transaction: {answer:?}");
        }
        let script = b"return redis.call(ARGV[1], unpack(ARGV, 2))".to_vec();
        for command in [&effect[..], &fence] {
            let call = [&[b"EVAL".to_vec(), script.clone(), b"0".to_vec()], command].concat();
            assert!(client.cmd(&call).is_err(), "in a script");
        }
    }
    assert_eq!(digest(&server), before);
    server.assert_clean();
}

#[test]
fn internal_commands_are_in_no_category_that_applications_get() {
    let server = Server::start();
    if !has_own_categories(&server) {
        return;
    }
    for name in ["read", "write", "fast", "lock", "blocking"] {
        assert!(category(&server, name).iter().all(|command| !command.starts_with("lock.__")), "@{name}");
    }
    server.assert_clean();
}

/// A user who may do nothing else can still not be kept waiting for what is not his: rules are looked at first.
#[test]
fn denied_request_does_not_wait_and_is_logged_by_the_server() {
    let server = Server::start();
    acquire(&mut server.client(), "other", "op");
    let mut c = user(&server, "~app:* +@all");
    assert_denied(&mut c, "LOCK.ACQUIRE other me BLOCK 0");
    assert_eq!(server.cmd(&["LOCK.INFO", "other"]).get("waiters"), 0);
    until("the refusal is in ACL LOG", || {
        let log = server.cmd(&["ACL", "LOG"]);
        log.array().iter().any(|entry| entry.get("reason") == "key" && entry.get("object") == "other")
    });
    server.assert_clean();
}

/// A waiter whose user is deleted is disconnected by the server, and leaves the line.
#[test]
fn waiter_whose_user_is_deleted_leaves_the_queue() {
    let server = Server::start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let mut w = user(&server, "~* +@all");
    server.send_to_wait(&mut w, &["LOCK.ACQUIRE", "k", "w", "BLOCK", "0"]);
    assert_eq!(server.cmd(&["ACL", "DELUSER", "app"]), 1);
    w.expect_closed();
    server.until_blocked(0);
    assert_eq!(server.cmd(&["LOCK.INFO", "k"]).get("waiters"), 0);
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}
