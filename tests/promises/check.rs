//! LOCK.CHECK: do I still hold it, for how long? And how CLIENT TRACKING and WATCH carry that on.

use support::{
    acquire, aof_commands, args, assert_all_over, assert_both_clean, digest, exec, held, release, say, until,
    until_synced, wait, waiter, Client, Server, Value,
};

/// Fence and ms left of a hold, as LOCK.CHECK tells them.
#[track_caller]
fn check(server: &Server, key: &str, owner: &str) -> (i64, i64) {
    let answer = server.cmd(&["LOCK.CHECK", key, owner]);
    let [fence, ttl] = answer.array() else { panic!("two numbers expected: {answer:?}") };
    (fence.int(), ttl.int())
}

#[track_caller]
fn assert_not_held(server: &Server, key: &str, owner: &str) {
    assert_eq!(server.cmd(&["LOCK.CHECK", key, owner]), Value::NullBulk, "{owner} should not hold {key}");
}

#[test]
fn check_tells_the_holder_its_fence_and_what_is_left_of_the_lease() {
    let server = Server::start();
    let mut a = server.client();
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "60000"]).int();
    let (found, ttl) = check(&server, "k", "a");
    assert_eq!(found, fence);
    assert!((40_000..=60_000).contains(&ttl), "{ttl}");
    until("time passes", || check(&server, "k", "a").1 < ttl);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "600000"]), 1);
    let (found, ttl) = check(&server, "k", "a");
    assert_eq!(found, fence);
    assert!((580_000..=600_000).contains(&ttl), "{ttl}");
    assert_eq!(a.cmd(&args!["LOCK.EXTEND", "k", "a", "EX", 50, "RAISE", fence + 5]), 1);
    assert_eq!(check(&server, "k", "a").0, fence + 5);
    release(&mut a, "k", "a");
    assert_not_held(&server, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn check_is_null_for_everybody_else() {
    let (server, mut a, _) = held();
    let mut w = waiter(&server, "k", "waiter");
    for owner in ["b", "A", "a ", "waiter"] {
        assert_not_held(&server, "k", owner);
    }
    assert_not_held(&server, "free", "a");
    let mut c = server.client();
    c.resp3();
    assert_eq!(c.cmd(&["LOCK.CHECK", "k", "b"]), Value::Null);
    assert_eq!(c.cmd(&["LOCK.CHECK", "free", "a"]), Value::Null);
    assert!(matches!(c.cmd(&["LOCK.CHECK", "k", "a"]), Value::Array(items) if items.len() == 2));
    c.select(1);
    assert_eq!(c.cmd(&["LOCK.CHECK", "k", "a"]), Value::Null);
    release(&mut a, "k", "a");
    w.read().int();
    assert_not_held(&server, "k", "a");
    release(&mut w, "k", "waiter");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn check_tells_every_shared_holder_its_own() {
    let server = Server::start();
    let mut client = server.client();
    let owners = ["a", "b", "c"];
    let fences = owners.map(|owner| client.cmd(&["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"]).int());
    assert_eq!(owners.map(|owner| check(&server, "k", owner).0), fences);
    assert_not_held(&server, "k", "d");
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "b", "PX", "50"]), 1);
    until("one lease ended", || server.cmd(&["LOCK.CHECK", "k", "b"]).is_nil());
    assert_eq!((check(&server, "k", "a").0, check(&server, "k", "c").0), (fences[0], fences[2]));
    release(&mut client, "k", "a");
    assert_not_held(&server, "k", "a");
    assert_eq!(check(&server, "k", "c").0, fences[2]);
    release(&mut client, "k", "c");
    // A downgraded hold is the same hold.
    let fence = acquire(&mut client, "k", "a");
    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    assert_eq!(check(&server, "k", "a").0, fence);
    release(&mut client, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn check_does_not_count_a_lease_that_has_run_out_as_held() {
    let server = Server::start();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "2000"]).int();
    a.cmd(&["LOCK.ACQUIRE", "shared", "a", "PX", "2000", "SHARED"]).int();
    a.cmd(&["LOCK.ACQUIRE", "shared", "b", "PX", "600000", "SHARED"]).int();
    // Nothing can be removed meanwhile.
    assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    for key in ["k", "shared"] {
        until("the lease runs out", || server.cmd(&["LOCK.CHECK", key, "a"]) == Value::NullBulk);
    }
    assert_eq!(server.cmd(&["EXISTS", "k", "shared"]), 2);
    check(&server, "shared", "b");
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    release(&mut a, "shared", "b");
    until("the lease was ended", || server.cmd(&["DBSIZE"]) == 0);
    server.assert_clean();
}

/// A holder that yields to those who wait must not yield to itself.
#[test]
fn check_does_not_count_requests_of_the_holder_itself_as_waiters() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE mine a").int();
    say(&server, "LOCK.ACQUIRE theirs b").int();
    let mut own = wait(&server, "LOCK.MACQUIRE 2 mine theirs a BLOCK 0");
    let counted = || say(&server, "LOCK.CHECK mine a WAITERS").array()[2].int();
    assert_eq!(counted(), 0);
    let mut other = wait(&server, "LOCK.ACQUIRE mine c BLOCK 0");
    assert_eq!(counted(), 1);
    assert_eq!(say(&server, "LOCK.RELEASE theirs b"), 1);
    assert_eq!(own.read().array().len(), 2);
    assert_eq!(say(&server, "LOCK.MRELEASE 2 mine theirs a"), 2);
    other.read().int();
    assert_eq!(say(&server, "LOCK.RELEASE mine c"), 1);
    assert_all_over(&server);
}

#[test]
fn check_answers_bad_requests_with_errors() {
    let (server, mut a, _) = held();
    assert_eq!(server.cmd(&["SET", "text", "x"]), "OK");
    assert_eq!(server.cmd(&["RPUSH", "list", "x"]), 1);
    for key in ["text", "list"] {
        assert!(server.cmd(&["LOCK.CHECK", key, "a"]).err_text().starts_with("WRONGTYPE "));
    }
    for command in [&["LOCK.CHECK"][..], &["LOCK.CHECK", "k"]] {
        let answer = server.cmd(command);
        assert!(answer.err_text().starts_with("ERR wrong number of arguments"), "{command:?}: {answer:?}");
    }
    for (option, expected) in [
        (&["b"][..], "ERR unknown option 'b', expected WAITERS"),
        (&["WAITERS", "waiters"], "ERR WAITERS is given twice"),
    ] {
        let answer = server.cmd(&[&["LOCK.CHECK", "k", "a"], option].concat());
        assert_eq!(answer.err_text(), expected, "{option:?}");
    }
    // Found before the key is opened.
    let long = "o".repeat(1025);
    for key in ["k", "free", "text"] {
        for owner in ["*", "", &long] {
            let answer = server.cmd(&["LOCK.CHECK", key, owner]);
            let text = answer.err_text();
            assert!(text.starts_with("ERR ") && text.contains("owner"), "{owner}: {text}");
        }
    }
    assert_not_held(&server, "k", &"o".repeat(1024));
    release(&mut a, "k", "a");
    assert_eq!(server.cmd(&["DEL", "text", "list"]), 2);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn check_changes_nothing() {
    let server = Server::builder().aof().start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let (recorded, before) = (aof_commands(&server).len(), digest(&server));
    let dirty = || server.info_number("persistence", "rdb_changes_since_last_save");
    let changes = dirty();
    let mut watcher = server.client();
    assert_eq!(watcher.cmd(&["WATCH", "k", "free"]), "OK");
    for (key, owner) in [("k", "a"), ("k", "b"), ("free", "a")] {
        server.cmd(&["LOCK.CHECK", key, owner]);
    }
    assert_eq!((aof_commands(&server).len(), digest(&server), dirty()), (recorded, before, changes));
    assert!(!exec(&mut watcher, &["PING"]).is_empty());
    // It is a read, and may stand where only reads may.
    for call in ["LOCK.CHECK", "LOCK.INFO"] {
        let script = format!("return redis.call('{call}', KEYS[1], unpack(ARGV))");
        let owner: &[&str] = if call == "LOCK.CHECK" { &["a"] } else { &[] };
        let answer = server.cmd(&[&["EVAL_RO", &script, "1", "k"], owner].concat());
        assert!(matches!(answer, Value::Array(_)), "{call}: {answer:?}");
    }
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn check_answers_on_a_replica() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut a = primary.client();
    let fence = acquire(&mut a, "k", "a");
    until_synced(&primary, &replica);
    let (found, ttl) = check(&replica, "k", "a");
    assert_eq!(found, fence);
    assert!((1..=601_000).contains(&ttl), "{ttl}");
    assert_not_held(&replica, "k", "b");
    assert_not_held(&replica, "free", "a");
    // Its primary is silent, so the key stays; the lease has run out all the same.
    a.cmd(&["LOCK.ACQUIRE", "short", "a", "PX", "1500"]).int();
    until_synced(&primary, &replica);
    primary.sigstop();
    check(&replica, "short", "a");
    until("the lease runs out", || replica.cmd(&["LOCK.CHECK", "short", "a"]).is_nil());
    assert_eq!(replica.cmd(&["EXISTS", "short"]), 1);
    primary.sigcont();
    release(&mut a, "k", "a");
    until("the lease was ended", || primary.cmd(&["DBSIZE"]) == 0);
    until_synced(&primary, &replica);
    assert_not_held(&replica, "k", "a");
    assert_both_clean(&primary, &replica);
}

#[test]
fn reading_permission_is_enough_to_check_and_to_look_and_for_nothing_else() {
    let (server, mut a, fence) = held();
    for (rules, readable) in [("%R~k", true), ("~k", true), ("%W~k", false), ("~other", false)] {
        assert_eq!(server.cmd(&["ACL", "SETUSER", "u", "reset", "on", "nopass", "+@all", rules]), "OK");
        let mut u = server.client();
        assert_eq!(u.cmd(&["AUTH", "u", "x"]), "OK");
        let (check, info) = (u.cmd(&["LOCK.CHECK", "k", "a"]), u.cmd(&["LOCK.INFO", "k"]));
        if readable {
            assert_eq!(check.array()[0], fence, "{rules}");
            assert_eq!(info.get("mode"), "exclusive", "{rules}");
        } else {
            assert!(check.err_text().starts_with("NOPERM "), "{rules}: {check:?}");
            assert!(info.err_text().starts_with("NOPERM "), "{rules}: {info:?}");
        }
        if rules != "~k" {
            for name in ["LOCK.ACQUIRE", "LOCK.EXTEND", "LOCK.RELEASE"] {
                let answer = u.cmd(&[name, "k", "a"]);
                assert!(answer.err_text().starts_with("NOPERM "), "{rules}, {name}: {answer:?}");
            }
        }
    }
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// The recipe of the contract: writes that take effect only if the hold did not change.
#[test]
fn watch_check_and_exec_write_only_while_the_hold_lasts() {
    let server = Server::start();
    let others: [(&str, &[&[&str]], bool); 7] = [
        ("nothing", &[], true),
        ("an extension", &[&["LOCK.EXTEND", "k", "a", "PX", "700000"]], true),
        ("a repeated request", &[&["LOCK.ACQUIRE", "k", "a", "PX", "800000"]], true),
        ("a refused request", &[&["LOCK.ACQUIRE", "k", "b"], &["LOCK.RELEASE", "k", "b"]], true),
        ("a release", &[&["LOCK.RELEASE", "k", "a"]], false),
        ("a release and a new hold", &[&["LOCK.RELEASE", "k", "a"], &["LOCK.ACQUIRE", "k", "a"]], false),
        ("a removal", &[&["DEL", "k"]], false),
    ];
    for (what, commands, takes_effect) in others {
        let mut a = server.client();
        let fence = acquire(&mut a, "k", "a");
        assert_eq!(a.cmd(&["WATCH", "k"]), "OK");
        assert_eq!(a.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
        for command in commands {
            server.cmd(command);
        }
        let answers = a.pipeline(&[&["MULTI"][..], &["SET", "data", what], &["LOCK.CHECK", "k", "a"], &["EXEC"]]);
        assert_eq!(!answers[3].is_nil(), takes_effect, "{what}");
        if takes_effect {
            assert_eq!(answers[3].array()[1].array()[0], fence);
        }
        assert_eq!(server.cmd(&["GETDEL", "data"]).is_nil(), !takes_effect, "{what}");
        server.cmd(&["LOCK.RELEASE", "k", "a"]).int();
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// A lease that ended by itself, and a hand-off, abort as well.
#[test]
fn watch_check_and_exec_write_nothing_after_the_hold_has_gone_on_to_another() {
    let server = Server::start();
    let mut a = server.client();
    for px in ["600000", "150"] {
        a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", px]).int();
        assert_eq!(a.cmd(&["WATCH", "k"]), "OK");
        assert!(!a.cmd(&["LOCK.CHECK", "k", "a"]).is_nil());
        let mut b: Client = waiter(&server, "k", "b");
        if px == "600000" {
            assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
        }
        b.read().int();
        let answers = a.pipeline(&[&["MULTI"][..], &["SET", "data", "x"], &["EXEC"]]);
        assert!(answers[2].is_nil(), "{px}");
        release(&mut b, "k", "b");
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// A polite holder sees that others want the lock.
#[test]
fn check_counts_the_waiters_for_its_holder() {
    let (server, mut a, fence) = held();
    let count = |client: &mut Client, owner: &str| {
        let answer = client.cmd(&["LOCK.CHECK", "k", owner, "WAITERS"]);
        let [found, _, waiters] = answer.array() else { panic!("three numbers expected: {answer:?}") };
        (found.int(), waiters.int())
    };
    assert_eq!(count(&mut a, "a"), (fence, 0));
    let mut w = waiter(&server, "k", "w");
    let other = waiter(&server, "k", "other");
    assert_eq!(count(&mut a, "a"), (fence, 2));
    assert_eq!(a.cmd(&["LOCK.CHECK", "k", "w", "WAITERS"]), Value::NullBulk, "it waits and does not hold");
    let inside = exec(&mut a, &["LOCK.CHECK k a waiters"]);
    assert_eq!(inside[0].array()[2], 2);
    other.close();
    until("one has left", || count(&mut a, "a").1 == 1);
    release(&mut a, "k", "a");
    let granted = w.read().int();
    assert_eq!(count(&mut w, "w"), (granted, 0));
    release(&mut w, "k", "w");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn a_replica_checks_holds_and_counts_no_waiters() {
    let (primary, mut a, fence) = held();
    let replica = Server::builder().replica_of(&primary).start();
    let mut w = waiter(&primary, "k", "w");
    until_synced(&primary, &replica);
    let answer = replica.cmd(&["LOCK.CHECK", "k", "a", "WAITERS"]);
    assert_eq!((&answer.array()[0], &answer.array()[2]), (&Value::Int(fence), &Value::Int(0)));
    release(&mut a, "k", "a");
    w.read().int();
    release(&mut w, "k", "w");
    assert_both_clean(&primary, &replica);
}
