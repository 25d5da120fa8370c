//! A TTL that somebody sets on a lock's key by hand (PEXPIRE, RESTORE with a TTL): it ends the hold when it fires, so whatever
//! tells how long a hold lasts tells of it, and whatever confirms a hold takes it off.

use support::{acquire, args, assert_same, exec, held, until, until_synced, waiter, Client, Server, Value};

/// What LOCK.CHECK says is left of a's hold on `k`, in milliseconds.
#[track_caller]
fn left(client: &mut Client) -> i64 {
    client.cmd(&["LOCK.CHECK", "k", "a"]).array()[1].int()
}

/// What LOCK.INFO says.
#[track_caller]
fn left_by_info(client: &mut Client) -> i64 {
    client.cmd(&["LOCK.INFO", "k"]).get("holders").array()[0].get("ttl").int()
}

/// Sets a TTL that is shorter than the lease.
#[track_caller]
fn set_ttl(client: &mut Client, ms: i64) {
    assert_eq!(client.cmd(&args!["PEXPIRE", "k", ms]), 1);
}

#[test]
fn check_and_info_tell_the_nearer_of_lease_and_ttl() {
    let server = Server::start();
    let mut client = server.client();
    acquire(&mut client, "k", "a");
    set_ttl(&mut client, 60_000);
    assert!((1..=60_000).contains(&left(&mut client)));
    assert!((1..=60_000).contains(&left_by_info(&mut client)));
    set_ttl(&mut client, 6_000_000);
    assert!((60_001..=600_000).contains(&left(&mut client)), "the lease ends first");
    assert_eq!(client.cmd(&["PERSIST", "k"]), 1);
    assert!((60_001..=600_000).contains(&left_by_info(&mut client)));
    server.assert_clean();
}

/// What is answered 1 holds, here and on the replica, and after a restart.
#[test]
fn whatever_confirms_a_hold_takes_the_ttl_off() {
    let confirmations: [(&str, &[&str]); 4] = [
        ("an extension", &["LOCK.EXTEND", "k", "a", "PX", "600000"]),
        ("reacquiring for longer", &["LOCK.ACQUIRE", "k", "a", "PX", "900000"]),
        ("reacquiring", &["LOCK.ACQUIRE", "k", "a", "PX", "1000"]),
        ("a downgrade", &["LOCK.RELEASE", "k", "a", "DOWNGRADE"]),
    ];
    for (what, confirm) in confirmations {
        let primary = Server::builder().aof().start();
        let replica = Server::builder().replica_of(&primary).start();
        until_synced(&primary, &replica);
        let mut client = primary.client();
        acquire(&mut client, "k", "a");
        set_ttl(&mut client, 60_000);
        let answer = client.cmd(confirm);
        assert!(answer.int() >= 1, "{what}");
        assert_eq!(client.cmd(&["PTTL", "k"]), -1, "{what}");
        assert!(left(&mut client) > 60_000, "{what}");
        until_synced(&primary, &replica);
        assert_eq!(replica.cmd(&["PTTL", "k"]), -1, "{what}: on the replica");
        assert_same(&primary, &replica);
        primary.restart();
        assert_eq!(primary.cmd(&["PTTL", "k"]), -1, "{what}: after a restart");
    }
}

#[test]
fn shared_holder_that_extends_takes_the_ttl_off_for_all() {
    let server = Server::start();
    let mut client = server.client();
    for owner in ["a", "b"] {
        client.cmd(&["LOCK.ACQUIRE", "k", owner, "PX", "600000", "SHARED"]).int();
    }
    set_ttl(&mut client, 60_000);
    assert!(left(&mut client) <= 60_000);
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "b"]), 1);
    assert!(left(&mut client) > 60_000);
    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    set_ttl(&mut client, 60_000);
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "b"]), 0, "one that does not hold changes nothing");
    assert!(left(&mut client) <= 60_000);
    server.assert_clean();
}

/// An extension that is refused, or is about another key, leaves the TTL: it ends the hold, and the next in the queue is served.
#[test]
fn ttl_that_nobody_took_off_ends_the_hold() {
    let (server, mut a, fence) = held();
    let mut b = waiter(&server, "k", "b");
    set_ttl(&mut a, 100);
    assert_eq!(a.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence + 1]), 0);
    assert!(b.read().int() > fence);
    assert!(a.cmd(&["LOCK.CHECK", "k", "a"]).is_nil());
    assert_eq!(a.cmd(&["PTTL", "k"]), -1, "it does not end the next hold");
    server.assert_clean();
}

#[test]
fn ttl_set_and_taken_off_in_one_transaction_ends_nothing() {
    let (server, mut a, _) = held();
    let answers = exec(&mut a, &["PEXPIRE k 50", "LOCK.EXTEND k a PX 600000", "PTTL k"]);
    assert_eq!(answers, [Value::Int(1), Value::Int(1), Value::Int(-1)]);
    let answers = exec(&mut a, &["LOCK.EXTEND k a PX 600000", "PEXPIRE k 50"]);
    assert_eq!(answers, [Value::Int(1), Value::Int(1)]);
    until("the TTL has ended it", || server.cmd(&["LOCK.CHECK", "k", "a"]).is_nil());
    server.assert_clean();
}
