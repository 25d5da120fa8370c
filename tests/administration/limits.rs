//! What the settings do: leases, and the limits of holders and waiters. A limit that is lowered throws nobody out.

use support::{acquire, args, exec, held, release, waiter, waiter_in, Client, Server, Value};

#[track_caller]
fn set(server: &Server, name: &str, value: u64) {
    assert_eq!(server.cmd(&args!["CONFIG", "SET", format!("redislock.{name}"), value]), "OK");
}

/// The ms left of a hold.
#[track_caller]
fn ttl(client: &mut Client, key: &str, owner: &str) -> i64 {
    client.cmd(&["LOCK.CHECK", key, owner]).array()[1].int()
}

/// Panics unless that is an error that names the setting and no other.
#[track_caller]
fn assert_beyond(answer: &Value, setting: &str) {
    let text = answer.err_text();
    let names: Vec<&str> = text.split(|c: char| c != '.' && c != '-' && !c.is_alphanumeric()).collect();
    assert!(text.starts_with("ERR "), "{text}");
    assert!(names.iter().any(|name| name.trim_end_matches('.') == format!("redislock.{setting}")), "{text}");
}

/// A shared hold for longer than any test.
#[track_caller]
fn share(client: &mut Client, owner: &str) -> Value {
    client.cmd(&["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"])
}

/// A new client that waits for a shared hold of `k`.
#[track_caller]
fn shared_waiter(server: &Server, owner: &str) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000", "BLOCK", "0"]);
    client
}

#[test]
fn default_lease_is_what_a_request_without_a_lease_gets() {
    let server = Server::start();
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    let left = ttl(&mut c, "k", "a");
    assert!((20_000..=30_000).contains(&left), "{left}");
    set(&server, "default-lease", 120_000);
    assert!(ttl(&mut c, "k", "a") <= 30_000, "the hold keeps the lease that it has");
    c.cmd(&["LOCK.ACQUIRE", "k2", "a", "SHARED"]).int();
    let left = ttl(&mut c, "k2", "a");
    assert!((100_000..=120_000).contains(&left), "{left}");
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a"]), 1);
    assert!(ttl(&mut c, "k", "a") <= 30_000, "extended by the length last given");
    // It ends holds, too: a waiter is served by it.
    set(&server, "default-lease", 40);
    c.cmd(&["LOCK.ACQUIRE", "k3", "a"]).int();
    c.cmd(&["LOCK.ACQUIRE", "k3", "b", "BLOCK", "0"]).int();
    server.assert_clean();
}

/// The lease counts from the grant, with the default as it was when the request came or as it is now.
#[test]
fn waiter_without_a_lease_is_granted_a_default_lease_too() {
    let (server, mut a, _) = held();
    let mut b = server.client();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    release(&mut a, "k", "a");
    b.read().int();
    let left = ttl(&mut b, "k", "b");
    assert!((20_000..=30_000).contains(&left), "{left}");
    server.assert_clean();
}

#[test]
fn lease_above_max_lease_is_an_error_that_names_the_range() {
    let server = Server::start();
    let mut c = server.client();
    set(&server, "max-lease", 10_000);
    c.cmd(&["SET", "string", "x"]);
    for request in ["LOCK.ACQUIRE k a", "LOCK.ACQUIRE string a", "LOCK.EXTEND k a"] {
        let words: Vec<&str> = request.split(' ').collect();
        for (option, value, max) in [("PX", "10001", "10000"), ("PX", "31536000000", "10000"), ("EX", "11", "10")] {
            let answer = c.cmd(&[&words[..], &[option, value]].concat());
            let text = answer.err_text();
            assert!(text.starts_with("ERR ") && text.contains(option), "{request} {option} {value}: {text}");
            assert!(text.contains("from 1 to") && text.ends_with(max), "{request} {option} {value}: {text}");
        }
    }
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "10000"]).int();
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a", "EX", "10"]), 1);
    server.assert_clean();
}

/// MAX is there to be longer than a lease: with short leases a hold goes on as long as it is renewed, up to MAX.
#[test]
fn max_may_be_longer_than_max_lease() {
    let server = Server::start();
    set(&server, "max-lease", 10_000);
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "10000", "MAX", "31536000000"]).int();
    assert!(server.cmd(&["LOCK.INFO", "k"]).get("holders").array()[0].get("max").int() > 10_000);
    assert!(c.cmd(&["LOCK.ACQUIRE", "k2", "a", "MAX", "31536000001"]).is_err());
    server.assert_clean();
}

/// A limit in milliseconds that is no whole second leaves EX the seconds below it.
#[test]
fn max_lease_below_a_second_leaves_ex_nothing() {
    let server = Server::start();
    let mut c = server.client();
    set(&server, "max-lease", 1999);
    assert!(c.cmd(&["LOCK.ACQUIRE", "k", "a", "EX", "2"]).is_err());
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "EX", "1"]).int();
    release(&mut c, "k", "a");
    set(&server, "max-lease", 999);
    assert!(c.cmd(&["LOCK.ACQUIRE", "k", "a", "EX", "1"]).err_text().starts_with("ERR "));
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn request_without_a_lease_gets_the_smaller_of_default_lease_and_max_lease() {
    let server = Server::start();
    let mut c = server.client();
    set(&server, "max-lease", 5000);
    c.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    let left = ttl(&mut c, "k", "a");
    assert!((1..=5000).contains(&left), "{left}");
    release(&mut c, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn lowering_max_lease_shortens_no_hold() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    set(&server, "max-lease", 1000);
    assert!(ttl(&mut c, "k", "a") > 300_000);
    // Nor does a save, a restart and a load, which know no settings of old.
    server.save();
    server.reconfigure(|builder| builder.config("redislock.max-lease 1000"));
    server.restart();
    let mut c = server.client();
    assert!(ttl(&mut c, "k", "a") > 300_000);
    release(&mut c, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// Without a lease of its own an EXTEND repeats the length last given, and that may be more than is allowed now.
#[test]
fn extend_without_a_lease_gives_no_more_than_max_lease() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    set(&server, "max-lease", 5000);
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a"]), 1);
    let left = ttl(&mut c, "k", "a");
    assert!((1..=5000).contains(&left), "{left}");
    server.assert_clean();
}

#[test]
fn shared_request_beyond_max_holders_is_refused_by_name() {
    let server = Server::start();
    let mut c = server.client();
    set(&server, "max-holders", 2);
    let first = share(&mut c, "a").int();
    share(&mut c, "b").int();
    assert_beyond(&share(&mut c, "c"), "max-holders");
    let blocking = c.cmd(&["LOCK.ACQUIRE", "k", "c", "SHARED", "BLOCK", "0"]);
    assert_beyond(&blocking, "max-holders");
    assert_eq!(server.cmd(&["LOCK.INFO", "k"]).get("waiters"), 0);
    // What is busy anyway is null, what is held is answered, and another lock has room.
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "c"]), Value::NullBulk);
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "c", "SHARED", "LIMIT", "2"]), Value::NullBulk);
    assert_eq!(share(&mut c, "a"), first);
    c.cmd(&["LOCK.ACQUIRE", "k2", "c", "SHARED"]).int();
    release(&mut c, "k", "b");
    share(&mut c, "c").int();
    server.assert_clean();
}

#[test]
fn waiters_at_the_head_wait_for_a_place_among_max_holders() {
    let server = Server::start();
    let mut a = server.client();
    set(&server, "max-holders", 2);
    acquire(&mut a, "k", "a");
    let [mut b, mut c, mut d] = ["b", "c", "d"].map(|owner| shared_waiter(&server, owner));
    release(&mut a, "k", "a");
    b.read().int();
    c.read().int();
    server.assert_waiting(&mut d);
    release(&mut a, "k", "c");
    d.read().int();
    for owner in ["b", "d"] {
        release(&mut a, "k", owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn lowering_max_holders_throws_nobody_out() {
    let server = Server::start();
    let mut c = server.client();
    let fences = ["a", "b", "d"].map(|owner| share(&mut c, owner).int());
    set(&server, "max-holders", 1);
    for (owner, fence) in ["a", "b", "d"].into_iter().zip(fences) {
        assert_eq!(share(&mut c, owner), fence, "{owner} reacquires");
        assert_eq!(c.cmd(&["LOCK.EXTEND", "k", owner]), 1);
    }
    assert_beyond(&share(&mut c, "new"), "max-holders");
    for owner in ["a", "b"] {
        release(&mut c, "k", owner);
        assert_beyond(&share(&mut c, "new"), "max-holders");
    }
    release(&mut c, "k", "d");
    share(&mut c, "new").int();
    server.assert_clean();
}

/// Raised, a limit lets in those that wait at the head, at the latest when the lock next moves.
#[test]
fn raising_max_holders_serves_those_that_wait() {
    let server = Server::start();
    let mut a = server.client();
    set(&server, "max-holders", 1);
    acquire(&mut a, "k", "a");
    let [mut b, mut c, mut d] = ["b", "c", "d"].map(|owner| shared_waiter(&server, owner));
    release(&mut a, "k", "a");
    b.read().int();
    set(&server, "max-holders", 10);
    release(&mut a, "k", "b");
    c.read().int();
    d.read().int();
    server.assert_clean();
}

#[test]
fn waiter_beyond_max_waiters_of_its_key_is_refused_by_name() {
    let (server, mut a, _) = held();
    set(&server, "max-waiters", 2);
    let mut b = waiter(&server, "k", "b");
    let c = waiter(&server, "k", "c");
    for options in [&["BLOCK", "0"][..], &["BLOCK", "50"], &["BLOCK", "0", "SHARED"]] {
        assert_beyond(&a.cmd(&[&["LOCK.ACQUIRE", "k", "d"], options].concat()), "max-waiters");
    }
    // Who does not wait is not counted, the holder is answered, and other locks have lines of their own.
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "d"]), Value::NullBulk);
    assert_eq!(exec(&mut a, &["LOCK.ACQUIRE k d BLOCK 0"]), [Value::NullBulk]);
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]).int();
    acquire(&mut a, "k2", "a");
    let elsewhere = waiter(&server, "k2", "d");
    let in_another_database = {
        let mut e = server.client();
        e.select(1);
        acquire(&mut e, "k", "e");
        waiter_in(&server, 1, "k", "f")
    };
    // One that leaves makes room.
    c.close();
    server.until_blocked(3);
    let mut d = waiter(&server, "k", "d");
    release(&mut a, "k", "a");
    b.read().int();
    release(&mut b, "k", "b");
    d.read().int();
    elsewhere.close();
    in_another_database.close();
    server.assert_clean();
}

#[test]
fn waiter_beyond_max_waiters_total_is_refused_by_name_on_any_key() {
    let server = Server::start();
    let mut a = server.client();
    set(&server, "max-waiters-total", 2);
    for key in ["k1", "k2", "k3"] {
        acquire(&mut a, key, "a");
    }
    let mut b = waiter(&server, "k1", "b");
    let mut c = waiter(&server, "k2", "c");
    for key in ["k1", "k2", "k3"] {
        assert_beyond(&a.cmd(&["LOCK.ACQUIRE", key, "d", "BLOCK", "0"]), "max-waiters-total");
    }
    let mut other = server.client();
    other.select(1);
    acquire(&mut other, "k1", "a");
    assert_beyond(&other.cmd(&["LOCK.ACQUIRE", "k1", "d", "BLOCK", "0"]), "max-waiters-total");
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k3", "d"]), Value::NullBulk);
    release(&mut a, "k1", "a");
    b.read().int();
    let mut d = waiter(&server, "k3", "d");
    for (key, client) in [("k2", &mut c), ("k3", &mut d)] {
        release(&mut a, key, "a");
        client.read().int();
    }
    server.assert_clean();
}

#[test]
fn lowering_the_limits_of_waiters_throws_nobody_out() {
    for setting in ["max-waiters", "max-waiters-total"] {
        let (server, mut a, _) = held();
        let mut line = ["b", "c", "d"].map(|owner| waiter(&server, "k", owner));
        set(&server, setting, 1);
        assert_beyond(&a.cmd(&["LOCK.ACQUIRE", "k", "e", "BLOCK", "0"]), setting);
        for client in &mut line {
            server.assert_waiting(client);
        }
        release(&mut a, "k", "a");
        for (client, owner) in line.iter_mut().zip(["b", "c", "d"]) {
            client.read().int();
            release(client, "k", owner);
        }
        let mut last = server.client();
        acquire(&mut last, "k", "x");
        waiter(&server, "k", "y").close();
        release(&mut last, "k", "x");
        server.assert_clean();
    }
}
