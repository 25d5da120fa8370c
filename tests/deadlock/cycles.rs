//! -DEADLOCK: a request that would wait for itself, over any number of owners and locks, is refused.
//! `false_alarms.rs` tests the requests that must not be refused.

use super::{asking, refused};
use support::{acquire, args, release, waiter, Client, Server, Value};

/// Grants that lock with these options.
#[track_caller]
fn grant(client: &mut Client, key: &str, owner: &str, options: &[&str]) {
    client.cmd(&asking(key, owner, options)).int();
}

/// How many wait for that lock.
#[track_caller]
fn waiters(server: &Server, key: &str) -> i64 {
    server.cmd(&["LOCK.INFO", key]).get("waiters").int()
}

/// Clients of which number i holds `key<i>` as `owner<i>` and waits for the key of the next. The last only holds.
#[track_caller]
fn chain(server: &Server, length: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..length).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        acquire(client, &format!("key{number}"), &format!("owner{number}"));
    }
    for (number, client) in clients.iter_mut().enumerate().take(length - 1) {
        server.send_to_wait(client, &asking(&format!("key{}", number + 1), &format!("owner{number}"), &[]));
    }
    clients
}

/// Ends a [`chain`] from its end: each is granted what it waits for when the next one gives it up.
#[track_caller]
fn unwind(server: &Server, mut clients: Vec<Client>) {
    let last = clients.len() - 1;
    for number in (0..=last).rev() {
        let (key, owner) = (format!("key{number}"), format!("owner{number}"));
        release(&mut clients[number], &key, &owner);
        if number > 0 {
            clients[number - 1].read().int();
            release(&mut clients[number - 1], &key, &format!("owner{}", number - 1));
        }
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[track_caller]
fn assert_cycle_is_refused(length: usize) {
    let server = Server::start();
    let mut clients = chain(&server, length);
    let last = length - 1;
    let text = refused(&mut clients[last], "key0", &format!("owner{last}"), &[]);
    for number in 0..length {
        assert!(text.contains(&format!("key{number}")), "key{number} is not named: {text}");
        assert!(text.contains(&format!("owner{number}")), "owner{number} is not named: {text}");
    }
    unwind(&server, clients);
}

#[test]
fn request_that_closes_a_cycle_of_two_is_refused_and_told_keys_and_owners() {
    assert_cycle_is_refused(2);
}

#[test]
fn request_that_closes_a_cycle_of_three_is_refused_and_told_keys_and_owners() {
    assert_cycle_is_refused(3);
}

#[test]
fn request_that_closes_a_cycle_of_ten_is_refused_and_told_keys_and_owners() {
    assert_cycle_is_refused(10);
}

/// It holds nothing it asked for, stands in no line, and a second try is refused as well.
#[test]
fn refused_request_does_not_stay_in_the_queue_and_its_owner_goes_on() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    server.send_to_wait(&mut b, &asking("k1", "b", &[]));
    for _ in 0..3 {
        refused(&mut a, "k2", "a", &[]);
        assert_eq!(waiters(&server, "k2"), 0);
    }
    // A time to wait ends the cycle by itself, and is refused all the same: waiting for nothing helps nobody.
    let answer = a.cmd(&["LOCK.ACQUIRE", "k2", "a", "BLOCK", "60000"]);
    assert!(answer.err_text().starts_with("DEADLOCK "), "{answer:?}");
    // Its connection and its hold are what they were.
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k1", "a"]), 1);
    acquire(&mut a, "k3", "a");
    release(&mut a, "k3", "a");
    release(&mut a, "k1", "a");
    b.read().int();
    // Now the way is free: b holds both and waits for nobody.
    server.send_to_wait(&mut a, &asking("k2", "a", &[]));
    release(&mut b, "k2", "b");
    a.read().int();
    release(&mut a, "k2", "a");
    release(&mut b, "k1", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// One of many holders is enough: the exclusive waiter needs them all gone.
#[test]
fn cycle_through_one_of_several_shared_holders_is_found() {
    for closing in ["reader-x", "reader-y", "reader-z"] {
        let server = Server::start();
        let (mut b, mut c) = (server.client(), server.client());
        for owner in ["reader-x", "reader-y", "reader-z"] {
            grant(&mut c, "k", owner, &["SHARED"]);
        }
        acquire(&mut b, "m", "b");
        server.send_to_wait(&mut b, &asking("k", "b", &[]));
        let text = refused(&mut c, "m", closing, &[]);
        assert!(text.contains(closing), "{text}");
        for owner in ["reader-x", "reader-y", "reader-z"] {
            release(&mut c, "k", owner);
        }
        b.read().int();
        release(&mut b, "k", "b");
        release(&mut b, "m", "b");
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// a holds k shared, w waits for it alone, and so c waits behind w although a shared hold would not be in its way.
#[test]
fn cycle_through_the_waiter_just_before_is_found() {
    let server = Server::start();
    let (mut a, mut c) = (server.client(), server.client());
    grant(&mut a, "k", "a", &["SHARED"]);
    let mut w = waiter(&server, "k", "w");
    acquire(&mut c, "m", "c");
    server.send_to_wait(&mut c, &asking("k", "c", &["SHARED"]));
    refused(&mut a, "m", "a", &[]);
    release(&mut a, "k", "a");
    w.read().int();
    release(&mut w, "k", "w");
    c.read().int();
    release(&mut c, "k", "c");
    release(&mut c, "m", "c");
    server.assert_no_keys();
    server.assert_clean();
}

/// The same the other way round: the request that joins the queue behind w is the one that closes the cycle.
#[test]
fn request_that_would_close_a_cycle_by_standing_behind_a_waiter_is_refused() {
    let server = Server::start();
    let (mut a, mut c) = (server.client(), server.client());
    grant(&mut a, "k", "a", &["SHARED"]);
    acquire(&mut c, "m", "c");
    let mut w = waiter(&server, "k", "w");
    server.send_to_wait(&mut a, &asking("m", "a", &[]));
    refused(&mut c, "k", "c", &["SHARED"]);
    assert_eq!(waiters(&server, "k"), 1, "w alone");
    release(&mut c, "m", "c");
    a.read().int();
    release(&mut a, "m", "a");
    release(&mut a, "k", "a");
    w.read().int();
    release(&mut w, "k", "w");
    server.assert_no_keys();
    server.assert_clean();
}

/// Along a whole line, waiter by waiter, to one in it that waits elsewhere as well.
#[test]
fn cycle_through_a_queue_of_waiters_is_found() {
    let server = Server::start();
    let (mut h, mut x, mut c) = (server.client(), server.client(), server.client());
    acquire(&mut h, "k", "h");
    acquire(&mut x, "n", "x");
    acquire(&mut c, "m", "c");
    let mut first = waiter(&server, "k", "w0");
    let mut elsewhere = waiter(&server, "n", "w0");
    let mut line: Vec<Client> = (1..5).map(|number| waiter(&server, "k", &format!("w{number}"))).collect();
    server.send_to_wait(&mut c, &asking("k", "c", &[]));
    // x waits for c, which waits behind w4, w3, w2, w1 and w0, and that one waits for x.
    let text = refused(&mut x, "m", "x", &[]);
    assert!(text.contains("w0"), "{text}");
    release(&mut h, "k", "h");
    first.read().int();
    release(&mut first, "k", "w0");
    for (number, w) in line.iter_mut().enumerate() {
        w.read().int();
        release(w, "k", &format!("w{}", number + 1));
    }
    c.read().int();
    release(&mut x, "n", "x");
    elsewhere.read().int();
    for (key, owner) in [("k", "c"), ("m", "c"), ("n", "w0")] {
        release(&mut c, key, owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// The same key in two databases is two locks.
#[test]
fn cycle_across_databases_is_found() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k", "a");
    b.select(1);
    acquire(&mut b, "k", "b");
    a.select(1);
    server.send_to_wait(&mut a, &asking("k", "a", &[]));
    b.select(0);
    refused(&mut b, "k", "b", &[]);
    b.select(1);
    release(&mut b, "k", "b");
    a.read().int();
    release(&mut a, "k", "a");
    a.select(0);
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// A semaphore of one is an exclusive lock by another name.
#[test]
fn request_with_a_limit_of_one_takes_part() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let one = ["SHARED", "LIMIT", "1"];
    grant(&mut a, "k", "a", &one);
    grant(&mut b, "m", "b", &one);
    server.send_to_wait(&mut b, &asking("k", "b", &one));
    refused(&mut a, "m", "a", &one);
    release(&mut a, "k", "a");
    b.read().int();
    release(&mut b, "k", "b");
    release(&mut b, "m", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// The one with the LIMIT above 1 is passed over; the exclusive request behind it still waits for the holders.
#[test]
fn exclusive_request_behind_one_with_a_limit_above_one_takes_part() {
    let server = Server::start();
    let (mut a, mut b, mut l) = (server.client(), server.client(), server.client());
    let two = ["SHARED", "LIMIT", "2"];
    grant(&mut a, "k", "a", &["SHARED"]);
    grant(&mut l, "k", "other", &["SHARED"]);
    server.send_to_wait(&mut l, &asking("k", "l", &two));
    acquire(&mut b, "m", "b");
    server.send_to_wait(&mut b, &asking("k", "b", &[]));
    refused(&mut a, "m", "a", &[]);
    release(&mut a, "k", "other");
    l.read().int();
    for owner in ["a", "l"] {
        release(&mut a, "k", owner);
    }
    b.read().int();
    release(&mut b, "k", "b");
    release(&mut b, "m", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Bytes that would end the line, ring a bell or be no UTF-8 are escaped: the reply stays one line of text.
#[test]
fn refusal_escapes_binary_keys_and_owners() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let (k1, k2) = (b"k1\r\n+OK\r\n\xff".as_slice(), b"k2\0\x07\xfe".as_slice());
    let (owner_a, owner_b) = (b"a\r\n\xfd".as_slice(), b"b\n\xfc".as_slice());
    a.cmd(&args!["LOCK.ACQUIRE", k1, owner_a, "PX", 600_000]).int();
    b.cmd(&args!["LOCK.ACQUIRE", k2, owner_b, "PX", 600_000]).int();
    server.send_to_wait(&mut b, &args!["LOCK.ACQUIRE", k1, owner_b, "BLOCK", 0]);
    let answer = a.cmd(&args!["LOCK.ACQUIRE", k2, owner_a, "BLOCK", 0]);
    let text = answer.err_text();
    assert!(text.starts_with("DEADLOCK "), "{text}");
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
    for escaped in ["\\xff", "\\xfe", "\\xfd", "\\xfc", "k1\\r\\n+OK\\r\\n", "\\x07"] {
        assert!(text.contains(escaped), "{escaped} is missing: {text}");
    }
    assert_eq!(a.cmd(&["PING"]), "PONG", "nothing of it was taken for another reply");
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", k1, owner_a]), 1);
    b.read().int();
    for key in [k1, k2] {
        assert_eq!(b.cmd(&args!["LOCK.RELEASE", key, owner_b]), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn names_of_any_length_leave_the_refusal_an_error_of_one_reply() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let (k1, k2) = (vec![b'x'; 100_000], vec![0xff; 100_000]);
    let (owner_a, owner_b) = (vec![b'a'; 1024], vec![0xfe; 1024]);
    a.cmd(&args!["LOCK.ACQUIRE", k1, owner_a, "PX", 600_000]).int();
    b.cmd(&args!["LOCK.ACQUIRE", k2, owner_b, "PX", 600_000]).int();
    server.send_to_wait(&mut b, &args!["LOCK.ACQUIRE", k1, owner_b, "BLOCK", 0]);
    let answer = a.cmd(&args!["LOCK.ACQUIRE", k2, owner_a, "BLOCK", 0]);
    assert!(answer.err_text().starts_with("DEADLOCK "), "{answer:?}");
    assert_eq!(a.cmd(&["PING"]), "PONG");
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", k1, owner_a]), 1);
    b.read().int();
    server.assert_clean();
}

/// An extension and a repeated request leave a hold what it is, and its end out of the way is no way out.
#[test]
fn hold_that_was_extended_raised_or_reacquired_still_takes_part() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let fence = acquire(&mut a, "k1", "a");
    acquire(&mut b, "k2", "b");
    assert_eq!(a.cmd(&args!["LOCK.EXTEND", "k1", "a", "PX", 900_000, "RAISE", fence + 10]), 1);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k1", "a"]), fence + 10);
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k2", "b", "DOWNGRADE"]), 1);
    server.send_to_wait(&mut b, &asking("k1", "b", &["SHARED"]));
    refused(&mut a, "k2", "a", &[]);
    // The shared hold of b lets another shared one in at once, so there is nothing to wait for.
    grant(&mut a, "k2", "a", &["SHARED"]);
    release(&mut a, "k1", "a");
    b.read().int();
    for (key, owner) in [("k1", "b"), ("k2", "a"), ("k2", "b")] {
        release(&mut a, key, owner);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Renamed, a hold is under another name what it was.
#[test]
fn hold_under_a_new_name_still_takes_part() {
    let server = Server::start();
    if !server.hears_of_moved_keys() {
        return;
    }
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "old", "a");
    acquire(&mut b, "k2", "b");
    assert_eq!(a.cmd(&["RENAME", "old", "k1"]), Value::Simple("OK".into()));
    server.send_to_wait(&mut b, &asking("k1", "b", &[]));
    refused(&mut a, "k2", "a", &[]);
    release(&mut a, "k1", "a");
    b.read().int();
    server.assert_clean();
}
