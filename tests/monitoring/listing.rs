//! LOCK.LIST: the locks of a database, page by page.

use std::collections::BTreeSet;

use support::{
    acquire, args, assert_both_clean, caller_module_path, exec, held, release, run, until, until_synced, waiter,
    Chance, Client, Server, Value,
};

/// One page: the next cursor, and the entries.
#[track_caller]
fn page(client: &mut Client, cursor: &str, options: &[&str]) -> (String, Vec<Value>) {
    let answer = client.cmd(&[&["LOCK.LIST", cursor], options].concat());
    let [next, entries] = answer.array() else { panic!("a page expected: {answer:?}") };
    (next.text(), entries.array().to_vec())
}

/// The entries of all pages.
#[track_caller]
fn list(client: &mut Client, options: &[&str]) -> Vec<Value> {
    let (mut cursor, mut entries) = ("0".to_owned(), Vec::new());
    loop {
        let (next, found) = page(client, &cursor, options);
        entries.extend(found);
        if next == "0" {
            return entries;
        }
        cursor = next;
    }
}

/// The keys of these entries, sorted.
fn keys(entries: &[Value]) -> Vec<String> {
    let mut keys: Vec<String> =
        entries.iter().map(|entry| entry.get("key").bytes().escape_ascii().to_string()).collect();
    keys.sort();
    keys
}

/// The keys that LOCK.LIST tells of.
#[track_caller]
fn listed(client: &mut Client, options: &[&str]) -> Vec<String> {
    keys(&list(client, options))
}

#[test]
fn an_entry_tells_who_holds_the_lock_and_for_how_long() {
    let (server, mut a, fence) = held();
    let mut w = waiter(&server, "k", "w");
    let found = list(&mut a, &[]).remove(0);
    let names: Vec<String> = found.map().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["key", "mode", "owner", "holders-count", "fence", "ttl", "held", "waiters"]);
    assert_eq!((found.get("key").text(), found.get("mode").text()), ("k".into(), "exclusive".into()));
    assert_eq!((found.get("owner").text(), found.get("fence")), ("a".into(), Value::Int(fence)));
    assert_eq!((found.get("holders-count"), found.get("waiters")), (Value::Int(1), Value::Int(1)));
    assert!(found.get("ttl").int() > 1000 && (0..20_000).contains(&found.get("held").int()), "{found:?}");
    // A map in RESP3, a flat array in RESP2.
    assert!(matches!(&found, Value::Array(items) if items.len() == 16), "{found:?}");
    let mut three = server.client();
    three.resp3();
    assert!(matches!(&list(&mut three, &[])[0], Value::Map(entries) if entries.len() == 8));
    release(&mut a, "k", "a");
    w.read().int();
    assert_eq!(list(&mut a, &[])[0].get("owner"), "w");
    release(&mut w, "k", "w");
    assert_eq!(a.cmd(&["LOCK.LIST", "0"]), Value::Array(vec![Value::Bulk(b"0".to_vec()), Value::Array(Vec::new())]));
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn only_locks_of_the_selected_database_are_listed() {
    let (server, mut a, _) = held();
    assert_eq!(a.cmd(&["SET", "text", "x"]), "OK");
    a.select(3);
    assert_eq!(listed(&mut a, &[]), [""; 0]);
    acquire(&mut a, "three", "a");
    assert_eq!(listed(&mut a, &[]), ["three"]);
    assert_eq!(a.cmd(&["SWAPDB", "0", "3"]), "OK");
    assert_eq!(listed(&mut a, &[]), ["k"]);
    a.select(0);
    assert_eq!(listed(&mut a, &[]), ["three"]);
    assert_eq!(a.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

#[test]
fn owner_tells_that_owners_own_holds() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "one", "a");
    acquire(&mut c, "two", "b");
    c.cmd(&["LOCK.ACQUIRE", "shared", "b", "SHARED", "PX", "600000"]).int();
    let fence = c.cmd(&["LOCK.ACQUIRE", "shared", "a", "SHARED", "PX", "90000"]).int();
    assert_eq!(listed(&mut c, &["OWNER", "a"]), ["one", "shared"]);
    assert_eq!(listed(&mut c, &["OWNER", "b", "MATCH", "s*"]), ["shared"]);
    assert_eq!(listed(&mut c, &["OWNER", "A"]), [""; 0]);
    let shared = list(&mut c, &["OWNER", "a", "MATCH", "shared"]).remove(0);
    assert_eq!((shared.get("owner").text(), shared.get("fence")), ("a".into(), Value::Int(fence)));
    assert_eq!((shared.get("mode").text(), shared.get("holders-count")), ("shared".into(), Value::Int(2)));
    assert!(shared.get("ttl").int() <= 90_000, "{shared:?}");
    assert_eq!(list(&mut c, &["MATCH", "shared"])[0].get("owner"), "b", "the first holder");
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// The timer has had no time yet to look at them.
#[test]
fn locks_that_were_moved_or_restored_are_listed_at_once() {
    let (server, mut a, _) = held();
    if !server.hears_of_moved_keys() {
        return;
    }
    let dump = a.cmd(&["DUMP", "k"]);
    let came = exec(&mut a, &["RENAME k renamed", "LOCK.LIST 0"]);
    assert_eq!(keys(came[1].array()[1].array()), ["renamed"]);
    a.cmd(&["MULTI"]);
    a.cmd(&args!["RESTORE", "restored", "0", dump.bytes().to_vec()]);
    a.cmd(&["LOCK.LIST", "0"]);
    assert_eq!(keys(a.cmd(&["EXEC"]).array()[1].array()[1].array()), ["renamed", "restored"]);
    // While the server is paused the timer may not act on what came.
    let mut b = server.client();
    acquire(&mut b, "moves", "a");
    exec(&mut b, &["MOVE moves 1", "CLIENT PAUSE 100000 WRITE"]);
    b.select(1);
    assert_eq!(listed(&mut b, &["COUNT", "1"]), ["moves"]);
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    assert_eq!(b.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

#[test]
fn a_restart_lists_every_lock_that_was_saved() {
    let server = Server::builder().aof().start();
    let mut c = server.client();
    let names: BTreeSet<String> = (0..3000).map(|n| format!("lock:{n}")).collect();
    for name in &names {
        c.send(&["LOCK.ACQUIRE", name, "me", "PX", "600000"]);
    }
    for _ in &names {
        c.read().int();
    }
    assert_eq!(server.cmd(&["DEBUG", "RELOAD"]), "OK");
    let found: BTreeSet<String> = listed(&mut c, &["COUNT", "100"]).into_iter().collect();
    assert_eq!(found, names);
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// A lease that ran out holds nothing, even if nobody may remove it; the other holders of the lock are told of.
#[test]
fn a_paused_server_lists_what_is_held() {
    let server = Server::start();
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "gone", "a", "PX", "300"]).int();
    c.cmd(&["LOCK.ACQUIRE", "shared", "a", "SHARED", "PX", "300"]).int();
    c.cmd(&["LOCK.ACQUIRE", "shared", "b", "SHARED", "PX", "600000"]).int();
    assert_eq!(c.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    until("the lease runs out", || listed(&mut c, &[]) == ["shared"]);
    until("the shared one, too", || list(&mut c, &[])[0].get("holders-count") == 1);
    assert_eq!(list(&mut c, &[])[0].get("owner"), "b");
    assert_eq!(c.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    release(&mut c, "shared", "b");
    server.assert_clean();
}

#[test]
fn a_replica_lists_the_locks_of_its_primary_without_their_waiters() {
    let (primary, mut a, fence) = held();
    let replica = Server::builder().replica_of(&primary).start();
    let mut w = waiter(&primary, "k", "w");
    until_synced(&primary, &replica);
    let found = list(&mut replica.client(), &["OWNER", "a"]).remove(0);
    assert_eq!((found.get("fence"), found.get("waiters")), (Value::Int(fence), Value::Int(0)));
    release(&mut a, "k", "a");
    w.read().int();
    release(&mut w, "k", "w");
    until_synced(&primary, &replica);
    assert_eq!(listed(&mut replica.client(), &[]), [""; 0]);
    assert_both_clean(&primary, &replica);
}

#[test]
fn match_means_what_it_means_to_keys() {
    let server = Server::start();
    let mut c = server.client();
    let mut chance = Chance::new(15);
    let mut word = |bytes: &[u8], most: usize| -> String {
        (0..=chance.below(most)).map(|_| char::from(bytes[chance.below(bytes.len())])).collect()
    };
    for _ in 0..60 {
        let name = word(b"abc-^]", 5);
        assert!(matches!(c.cmd(&args!["LOCK.ACQUIRE", name, "me", "PX", "600000"]), Value::Int(_)));
    }
    for _ in 0..2000 {
        let pattern = word(b"abc***?[[]]^-\\", 7);
        let found = listed(&mut c, &["COUNT", "1000", "MATCH", &pattern]);
        let answer = c.cmd(&["KEYS", &pattern]);
        let mut expected: Vec<String> = answer.array().iter().map(Value::text).collect();
        expected.sort();
        assert_eq!(found, expected, "{pattern}");
    }
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

#[test]
fn requests_that_make_no_sense_are_told_what_is_allowed() {
    let server = Server::start();
    for (request, expected) in [
        ("LOCK.LIST", "ERR wrong number of arguments"),
        ("LOCK.LIST x", "ERR cursor must be 0 or the number that the last call returned, at most 4294967295"),
        ("LOCK.LIST -1", "ERR cursor must"),
        ("LOCK.LIST 4294967296", "ERR cursor must"),
        ("LOCK.LIST 0 COUNT 0", "ERR COUNT must be a number from 1 to 1000"),
        ("LOCK.LIST 0 COUNT 1001", "ERR COUNT must be a number from 1 to 1000"),
        ("LOCK.LIST 0 COUNT", "ERR COUNT needs a value"),
        ("LOCK.LIST 0 MATCH a MATCH b", "ERR MATCH is given twice"),
        ("LOCK.LIST 0 MATCH ", "ERR MATCH must be a pattern of 1 to 1024 bytes, not 0"),
        ("LOCK.LIST 0 OWNER *", "ERR owner '*' is for LOCK.ACQUIRE and LOCK.MACQUIRE only"),
        ("LOCK.LIST 0 OWNER ", "ERR owner must be 1 to 1024 bytes, not 0"),
        ("LOCK.LIST 0 TYPE redislock", "ERR unknown option 'TYPE', expected one of COUNT, MATCH, OWNER"),
    ] {
        let answer = run(&mut server.client(), request);
        assert!(answer.err_text().starts_with(expected), "{request}: {answer:?}");
    }
    // A cursor that no call returned is beyond the end.
    assert_eq!(page(&mut server.client(), "4294967295", &[]), ("0".into(), Vec::new()));
    server.assert_clean();
}

/// A connection of a user who may read these keys, and run these commands.
fn reader(server: &Server, rules: &str) -> Client {
    let mut command =
        vec!["ACL", "SETUSER", "reader", "reset", "on", ">secret", "+lock.list", "+eval", "+multi", "+exec"];
    command.extend(rules.split(' '));
    assert_eq!(server.cmd(&command), "OK");
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", "reader", "secret"]), "OK");
    client
}

#[test]
fn only_keys_that_the_user_may_read_are_listed() {
    let server = Server::start();
    let mut c = server.client();
    for key in ["app:1", "app:2", "other", "write"] {
        acquire(&mut c, key, "me");
    }
    let mut user = reader(&server, "~app:* %W~write");
    let script = "return redis.call('LOCK.LIST', '0')";
    for _ in 0..2 {
        assert_eq!(listed(&mut user, &[]), ["app:1", "app:2"]);
        assert_eq!(keys(user.cmd(&["EVAL", script, "0"]).array()[1].array()), ["app:1", "app:2"]);
        assert_eq!(keys(exec(&mut user, &["LOCK.LIST 0 OWNER me"])[0].array()[1].array()), ["app:1", "app:2"]);
    }
    let mut user = reader(&server, "%R~other");
    assert_eq!(listed(&mut user, &[]), ["other"]);
    assert_eq!(server.cmd(&["ACL", "SETUSER", "reader", "resetkeys"]), "OK");
    assert_eq!(listed(&mut user, &[]), [""; 0]);
    assert_eq!(server.cmd(&["ACL", "SETUSER", "reader", "-lock.list"]), "OK");
    assert!(user.cmd(&["LOCK.LIST", "0"]).err_text().starts_with("NOPERM "));
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// A module that calls without a user may read everything; one that calls as its client's user reads what that one may.
#[test]
fn a_call_from_a_module_lists_what_its_user_may_read() {
    let server = Server::builder().config(format!("loadmodule {}", caller_module_path().display())).start();
    let mut c = server.client();
    acquire(&mut c, "app:1", "me");
    acquire(&mut c, "other", "me");
    let mut user = reader(&server, "~app:* +caller.do");
    for place in ["command", "bound", "detached", "timer"] {
        let answer = run(&mut user, &format!("CALLER.DO {place} E - LOCK.LIST 0"));
        assert_eq!(keys(answer.array()[1].array()), ["app:1", "other"], "{place}");
    }
    let answer = run(&mut user, "CALLER.DO command EC reader LOCK.LIST 0");
    assert_eq!(keys(answer.array()[1].array()), ["app:1"]);
    assert_eq!(listed(&mut user, &[]), ["app:1"]);
    let script = "return redis.call('LOCK.LIST', '0')";
    assert_eq!(keys(user.cmd(&["EVAL", script, "0"]).array()[1].array()), ["app:1"]);
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

/// While others acquire and release, and while some of the leases end.
#[test]
fn a_hundred_thousand_locks_and_two_thousand_waiters_are_all_told_of() {
    const LOCKS: usize = 100_000;
    const WAITERS: usize = 2000;
    if !support::can_open(WAITERS) {
        return;
    }
    let server = Server::builder().config("maxclients 5000").start();
    let (mut c, mut other) = (server.client(), server.client());
    let names: Vec<String> = (0..LOCKS).map(|n| format!("lock:{n}")).collect();
    for part in names.chunks(1000) {
        let commands: Vec<[&str; 5]> = part.iter().map(|name| ["LOCK.ACQUIRE", name, "me", "PX", "6000000"]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(|command| &command[..]).collect();
        assert!(c.pipeline(&commands).iter().all(|answer| matches!(answer, Value::Int(_))));
    }
    let waiting: Vec<Client> = (0..WAITERS)
        .map(|n| {
            let mut client = server.client();
            client.send(&["LOCK.ACQUIRE", &names[n * 50], &format!("w{n}"), "BLOCK", "0"]);
            client
        })
        .collect();
    server.until_many_blocked(WAITERS);
    let (mut cursor, mut seen, mut waiters, mut pages) = ("0".to_owned(), BTreeSet::new(), 0, 0);
    loop {
        let (next, entries) = page(&mut c, &cursor, &["COUNT", "500"]);
        for entry in &entries {
            if seen.insert(entry.get("key").text()) {
                waiters += entry.get("waiters").int();
            }
        }
        let passing = format!("passing:{pages}");
        other.cmd(&["LOCK.ACQUIRE", &passing, "me", "PX", "5"]).int();
        acquire(&mut other, "released", "me");
        release(&mut other, "released", "me");
        pages += 1;
        if next == "0" {
            break;
        }
        cursor = next;
    }
    assert!(names.iter().all(|name| seen.contains(name)), "{} of {LOCKS} in {pages} pages", seen.len());
    assert_eq!(waiters, i64::try_from(WAITERS).unwrap());
    let top = c.cmd(&["LOCK.TOP", "COUNT", "1000"]);
    assert_eq!(top.array().len(), 1000);
    drop(waiting);
    server.until_many_blocked(0);
    assert_eq!(c.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}

#[test]
fn cooling_lock_is_told_of_as_nobodys() {
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "k", "a");
    assert_eq!(run(&mut client, "LOCK.RELEASE k a COOL 600000"), 1);
    let mut waits = waiter(&server, "k", "b");
    let entries = list(&mut client, &[]);
    let top = client.cmd(&["LOCK.TOP"]).array().to_vec();
    for entry in [&entries[..], &top[..]].into_iter().map(|found| found[0].clone()) {
        assert_eq!((entry.get("key").text(), entry.get("mode").text()), ("k".into(), "cooling".into()));
        assert_eq!((entry.get("owner").text(), entry.get("holders-count")), (String::new(), Value::Int(0)));
        assert!((1..=600_000).contains(&entry.get("ttl").int()), "{entry:?}");
        assert_eq!(entry.get("waiters"), Value::Int(1));
    }
    assert!(list(&mut client, &["OWNER", "a"]).is_empty(), "nobody holds it");
    assert_eq!(client.cmd(&["DEL", "k"]), 1);
    waits.read().int();
    release(&mut client, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}
