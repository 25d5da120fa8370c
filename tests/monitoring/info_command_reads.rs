//! LOCK.INFO is a read: what it answers where nothing is held, on a replica and in RESP3, and that it changes nothing.

use support::{
    acquire, aof_commands, args, assert_both_clean, digest, exec, held, release, until, until_synced, waiter, Server,
    Value,
};

#[test]
fn info_is_null_when_the_lock_is_free() {
    let (server, mut a, _) = held();
    assert_eq!(server.cmd(&["LOCK.INFO", "free"]), Value::NullBulk);
    let mut c = server.client();
    c.resp3();
    assert_eq!(c.cmd(&["LOCK.INFO", "free"]), Value::Null);
    c.select(1);
    assert_eq!(c.cmd(&["LOCK.INFO", "k"]), Value::Null);
    release(&mut a, "k", "a");
    assert_eq!(server.cmd(&["LOCK.INFO", "k"]), Value::NullBulk);
    server.assert_no_keys();
    server.assert_clean();
}

/// Holders whose lease has run out are left out while nobody may remove them; and nothing is left when all have.
#[test]
fn info_leaves_out_holders_whose_lease_has_run_out() {
    let server = Server::start();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "2000"]).int();
    a.cmd(&["LOCK.ACQUIRE", "shared", "a", "PX", "600000", "SHARED"]).int();
    a.cmd(&["LOCK.ACQUIRE", "shared", "b", "PX", "2000", "SHARED"]).int();
    a.cmd(&["LOCK.ACQUIRE", "shared", "c", "PX", "600000", "SHARED"]).int();
    let mut b = waiter(&server, "k", "b");
    assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
    until("the lease runs out", || server.cmd(&["LOCK.INFO", "k"]).get("mode").text() == "free");
    until("the shared one, too", || server.cmd(&["LOCK.INFO", "shared"]).get("holders-count") == 2);
    assert_eq!(server.cmd(&["EXISTS", "k", "shared"]), 2);
    server.assert_waiting(&mut b);
    let holders = server.cmd(&["LOCK.INFO", "shared"]).get("holders");
    let owners: Vec<String> = holders.array().iter().map(|holder| holder.get("owner").text()).collect();
    assert_eq!(owners, ["a", "c"]);
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
    b.read().int();
    release(&mut b, "k", "b");
    release(&mut a, "shared", "a");
    release(&mut a, "shared", "c");
    until("nothing is left", || server.cmd(&["DBSIZE"]) == 0);
    server.assert_clean();
}

#[test]
fn info_is_a_map_in_resp3_and_a_flat_array_in_resp2() {
    let (server, mut a, fence) = held();
    let b = waiter(&server, "k", "b");
    let mut three = server.client();
    three.resp3();
    let three = three.cmd(&["LOCK.INFO", "k"]);
    let two = server.cmd(&["LOCK.INFO", "k"]);
    assert!(matches!(&three, Value::Map(entries) if entries.len() == 6), "{three:?}");
    assert!(matches!(&two, Value::Array(items) if items.len() == 12), "{two:?}");
    for list in ["holders", "queue"] {
        let (entries_3, entries_2) = (three.get(list), two.get(list));
        assert!(matches!(&entries_3, Value::Array(entries) if matches!(entries[..], [Value::Map(_)])), "{entries_3:?}");
        assert!(
            matches!(&entries_2, Value::Array(entries) if matches!(entries[..], [Value::Array(_)])),
            "{entries_2:?}"
        );
        assert_eq!(entries_3.array()[0].get("owner"), entries_2.array()[0].get("owner"));
    }
    for info in [&two, &three] {
        assert_eq!((info.get("mode"), info.get("waiters")), (Value::Bulk(b"exclusive".to_vec()), Value::Int(1)));
        assert_eq!(info.get("holders").array()[0].get("fence"), fence);
        assert_eq!(info.get("queue").array()[0].get("mode"), "exclusive");
    }
    b.close();
    server.until_blocked(0);
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_answers_on_a_replica_without_waiters_and_sessions() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut a = primary.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "SHARED", "LIMIT", "5", "SESSION", "PX", "600000"]).int();
    a.cmd(&["LOCK.ACQUIRE", "k", "b", "SHARED", "PX", "600000"]).int();
    let mut x = waiter(&primary, "k", "x");
    until_synced(&primary, &replica);
    let (above, below) = (primary.cmd(&["LOCK.INFO", "k"]), replica.cmd(&["LOCK.INFO", "k"]));
    for same in ["mode", "holders-count"] {
        assert_eq!(above.get(same), below.get(same), "{same}");
    }
    let both =
        above.get("holders").array().iter().cloned().zip(below.get("holders").array().to_vec()).collect::<Vec<_>>();
    assert_eq!(both.len(), 2);
    for (above, below) in both {
        for same in ["owner", "fence", "limit"] {
            assert_eq!(above.get(same), below.get(same), "{same}");
        }
        assert_eq!(below.get("session"), 0);
        let (ttl, held) = (below.get("ttl").int(), below.get("held").int());
        assert!((1..=601_000).contains(&ttl) && (0..30_000).contains(&held), "ttl {ttl}, held {held}");
    }
    assert_eq!((above.get("waiters"), below.get("waiters")), (Value::Int(1), Value::Int(0)));
    assert_eq!(below.get("queue"), Value::Array(Vec::new()));
    assert_eq!(replica.cmd(&["LOCK.INFO", "free"]), Value::NullBulk);
    // Its primary is silent, so the key stays; the lease has run out all the same.
    a.cmd(&["LOCK.ACQUIRE", "short", "a", "PX", "1500"]).int();
    until_synced(&primary, &replica);
    primary.sigstop();
    assert_eq!(replica.cmd(&["LOCK.INFO", "short"]).get("holders-count"), 1);
    until("the lease runs out", || replica.cmd(&["LOCK.INFO", "short"]).is_nil());
    assert_eq!(replica.cmd(&["EXISTS", "short"]), 1);
    primary.sigcont();
    release(&mut a, "k", "a");
    release(&mut a, "k", "b");
    x.read().int();
    release(&mut x, "k", "x");
    until("the lease was ended", || primary.cmd(&["DBSIZE"]) == 0);
    assert_both_clean(&primary, &replica);
}

#[test]
fn info_answers_bad_requests_with_errors() {
    let server = Server::start();
    assert_eq!(server.cmd(&["SET", "text", "x"]), "OK");
    assert!(server.cmd(&["LOCK.INFO", "text"]).err_text().starts_with("WRONGTYPE "));
    for command in [&["LOCK.INFO"][..], &["LOCK.INFO", "k", "k2"]] {
        let answer = server.cmd(command);
        assert!(answer.err_text().starts_with("ERR wrong number of arguments"), "{command:?}: {answer:?}");
    }
    assert_eq!(server.cmd(&["DEL", "text"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn info_changes_nothing_and_disturbs_nobody() {
    let server = Server::builder().aof().start();
    let [mut a, mut watcher, mut tracker] = [(); 3].map(|()| server.client());
    let fence = acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    tracker.resp3();
    assert_eq!(tracker.cmd(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "k"]), "OK");
    assert_eq!(watcher.cmd(&["WATCH", "k", "free"]), "OK");
    let dirty = || server.info_number("persistence", "rdb_changes_since_last_save");
    let before = (aof_commands(&server).len(), digest(&server), dirty());
    for key in ["k", "free", "k"] {
        server.cmd(&["LOCK.INFO", key]);
    }
    assert_eq!((aof_commands(&server).len(), digest(&server), dirty()), before);
    assert_eq!(exec(&mut watcher, &["LOCK.INFO k"])[0].get("mode"), "exclusive");
    assert!(tracker.pushes().is_empty());
    server.assert_waiting(&mut b);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), 1);
    b.read().int();
    assert!(!tracker.pushes().is_empty());
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Under tracking LOCK.INFO is a read like LOCK.CHECK: who looked is told of the next change.
#[test]
fn tracking_tells_of_changes_after_info() {
    let (server, mut a, _) = held();
    let mut tracker = server.client();
    tracker.resp3();
    assert_eq!(tracker.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    assert!(!tracker.cmd(&["LOCK.INFO", "k"]).is_nil());
    release(&mut a, "k", "a");
    assert_eq!(tracker.read_push().array()[0], "invalidate");
    server.assert_no_keys();
    server.assert_clean();
}
