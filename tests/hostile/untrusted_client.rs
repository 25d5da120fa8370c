//! What a client that may use LOCK.* on keys of its own, and nothing else, can and cannot do to others (SECURITY.md).

use std::time::{SystemTime, UNIX_EPOCH};

use support::{acquire, args, waiter, Client, Server, Value};

/// A connection of a user that may lock below `own:`.
fn stranger(server: &Server) -> Client {
    let commands = ["acquire", "release", "extend", "check", "info"].map(|name| format!("+lock.{name}"));
    let mut rules = args!["ACL", "SETUSER", "stranger", "reset", "on", ">x", "~own:*", "-@all"].to_vec();
    rules.extend(commands.map(String::into_bytes));
    assert_eq!(server.cmd(&rules), "OK");
    let mut client = server.client();
    assert_eq!(client.cmd(&["AUTH", "stranger", "x"]), "OK");
    client
}

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Fences of others follow its RAISE, never beyond a minute ahead, and rise over a restart without data all the same.
#[test]
fn stranger_lifts_all_fences_by_a_minute_at_most_and_they_still_rise() {
    const MINUTE_US: i64 = 60_000_000;
    let server = Server::start();
    let mut stranger = stranger(&server);
    let mut last = acquire(&mut server.client(), "k", "a");
    acquire(&mut stranger, "own:k", "x");
    for n in 0..50 {
        let highest = now_us() + MINUTE_US;
        assert_eq!(stranger.cmd(&args!["LOCK.EXTEND", "own:k", "x", "RAISE", highest - 1000]), 1);
        let beyond = stranger.cmd(&args!["LOCK.EXTEND", "own:k", "x", "RAISE", highest + 3_600_000_000]);
        assert!(beyond.err_text().starts_with("ERR "), "{beyond:?}");
        let fence = acquire(&mut server.client(), &format!("k{n}"), "a");
        assert!(fence > last && fence < now_us() + MINUTE_US + 1000, "{fence} after {last}");
        last = fence;
    }
    server.kill9();
    server.restart();
    assert!(acquire(&mut server.client(), "k", "a") > last);
}

/// The limit of one key's line is its own; that of all lines together is everybody's. Whoever may open so many connections
/// can use it up: then others may not wait, but ask, hold and release as before.
#[test]
fn stranger_can_fill_the_room_for_waiters_and_nothing_else() {
    let server = Server::builder().config("redislock.max-waiters 10").config("redislock.max-waiters-total 15").start();
    let mut stranger_ = stranger(&server);
    acquire(&mut stranger_, "own:k", "x");
    let mut crowd = Vec::new();
    let mut wait = |key: &str, owner: usize| {
        let mut client = stranger(&server);
        client.send(&args!["LOCK.ACQUIRE", key, owner, "BLOCK", 0]);
        crowd.push(client);
    };
    for n in 0..10 {
        wait("own:k", n);
    }
    server.until_blocked(10);
    let refused = stranger_.cmd(&["LOCK.ACQUIRE", "own:k", "y", "BLOCK", "0"]);
    assert!(refused.err_text().contains("redislock.max-waiters"), "{refused:?}");

    // Others have lines of their own.
    let fence = acquire(&mut server.client(), "k", "a");
    let mut b = waiter(&server, "k", "b");
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);

    acquire(&mut stranger_, "own:l", "x");
    for n in 0..5 {
        wait("own:l", n);
    }
    server.until_blocked(15);
    let refused = server.cmd(&["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]);
    assert!(refused.err_text().contains("redislock.max-waiters-total"), "{refused:?}");
    assert_eq!(server.cmd(&["LOCK.ACQUIRE", "k", "a"]), Value::NullBulk);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    acquire(&mut server.client(), "k", "a");
    // Its connections close, and there is room again.
    drop(crowd);
    server.until_blocked(0);
    let _c = waiter(&server, "k", "c");
}

/// Wherever a key is named, one that is not its own is refused before anything is looked at.
#[test]
fn stranger_sees_and_changes_nothing_of_others() {
    let server = Server::start();
    let mut stranger = stranger(&server);
    let fence = acquire(&mut server.client(), "k", "a");
    for command in [
        "LOCK.ACQUIRE k a",
        "LOCK.ACQUIRE k x BLOCK 0",
        "LOCK.RELEASE k a",
        "LOCK.EXTEND k a PX 1",
        "LOCK.CHECK k a",
        "LOCK.INFO k",
        "LOCK.__APPLY own:k x",
        "DEL own:k",
        "RESTORE own:k 0 x",
        "RENAME own:k k",
        "INFO redislock",
        "CONFIG SET redislock.max-lease 1",
        "CLIENT UNBLOCK 1",
        "DEBUG JMAP",
    ] {
        let answer = stranger.cmd(&command.split(' ').collect::<Vec<_>>());
        assert!(answer.is_err() && !answer.err_text().contains("'a'"), "{command}: {answer:?}");
    }
    assert_eq!(server.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
    assert_eq!(server.info_field("redislock", "redislock_waiters"), "0");
}
