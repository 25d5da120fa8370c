//! The setting `start-quarantine`: for some time after its start a server grants nothing.

use support::{acquire, say, until_synced, wait, Server, ServerBuilder};

/// How long the server still grants nothing, in milliseconds, as INFO says.
fn left(server: &Server) -> i64 {
    server.info_field("redislock", "redislock_start_quarantine_left_ms").parse().unwrap()
}

/// Settings of a server that grants nothing for this long after its start.
fn quarantined(ms: u64) -> ServerBuilder {
    Server::builder().config(format!("redislock.start-quarantine {ms}"))
}

#[track_caller]
fn assert_refused(server: &Server, command: &str) {
    let reply = say(server, command);
    let text = reply.err_text();
    let ms = text
        .strip_prefix("TRYAGAIN this server has just started and grants no locks for ")
        .and_then(|rest| rest.strip_suffix(" ms (redislock.start-quarantine)"))
        .unwrap_or_else(|| panic!("{command}: {text}"));
    assert!((1..=600_000).contains(&ms.parse::<u64>().unwrap()), "{text}");
}

#[test]
fn nothing_is_granted_until_it_is_over_and_holds_go_on() {
    let server = quarantined(0).aof().start();
    acquire(&mut server.client(), "k", "a");
    server.reconfigure(|builder| builder.config("redislock.start-quarantine 600000"));
    server.restart();
    assert!((1..=600_000).contains(&left(&server)));
    for command in ["LOCK.ACQUIRE free b", "LOCK.ACQUIRE free b SHARED", "LOCK.ACQUIRE free *", "LOCK.ACQUIRE k b"] {
        assert_refused(&server, command);
    }
    // A hold from before goes on: it is extended, reacquired and released.
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 600000"), 1);
    let fence = say(&server, "LOCK.ACQUIRE k a PX 600000").int();
    assert_eq!(say(&server, "LOCK.CHECK k a").array()[0], fence);
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE free c PX 600000 BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE k a"), 1);
    assert!(say(&server, "LOCK.ACQUIRE free d BLOCK 20").is_nil(), "a wait times out as ever");
    server.assert_waiting(&mut b);
    server.assert_waiting(&mut c);
    // Its end counts from the start, also if it is set later.
    assert_eq!(say(&server, "CONFIG SET redislock.start-quarantine 1"), "OK");
    assert!(b.read().int() > fence);
    assert!(c.read().int() > fence);
    assert!(say(&server, "LOCK.ACQUIRE other d").opt_int().is_some());
    assert_eq!(left(&server), 0);
    assert_eq!(say(&server, "CONFIG SET redislock.start-quarantine 600000"), "OK");
    assert_refused(&server, "LOCK.ACQUIRE free d");
}

#[test]
fn waiters_are_granted_in_order_by_themselves_when_it_is_over() {
    let server = quarantined(1500).start();
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE k c PX 600000 BLOCK 0");
    let first = b.read().int();
    assert_eq!(left(&server), 0, "not before");
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 1);
    assert!(c.read().int() > first);
}

#[test]
fn replica_that_is_promoted_soon_after_its_start_grants_nothing_either() {
    let primary = Server::start();
    let replica = quarantined(600_000).replica_of(&primary).start();
    acquire(&mut primary.client(), "k", "a");
    until_synced(&primary, &replica);
    assert_eq!(say(&replica, "REPLICAOF NO ONE"), "OK");
    assert_refused(&replica, "LOCK.ACQUIRE k b");
    assert_refused(&replica, "LOCK.ACQUIRE free b");
    assert_eq!(say(&replica, "LOCK.EXTEND k a PX 600000"), 1);
}
