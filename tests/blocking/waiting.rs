//! Waiting for a lock: order, hand-off, time-outs, withdrawn and lost waits, and what a waiter is told.

use support::{args, assert_all_over, assert_nothing_unread, exec, held, holds, release, wait, Client, Server, Value};

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let (server, mut a, mut fence) = held();
    let owners: Vec<String> = (0..12).map(|n| format!("w{n}")).collect();
    // Alphabetical order, connection order and order of arrival differ.
    let mut clients: Vec<Client> = owners.iter().map(|_| server.client()).collect();
    let arrival = [7, 3, 11, 0, 9, 1, 10, 2, 8, 4, 6, 5];
    for n in arrival {
        server.send_to_wait(&mut clients[n], &["LOCK.ACQUIRE", "k", &owners[n], "BLOCK", "0"]);
    }
    release(&mut a, "k", "a");
    for (served, n) in arrival.into_iter().enumerate() {
        let granted = clients[n].read().int();
        assert!(granted > fence, "fence {granted} after {fence}");
        fence = granted;
        server.until_blocked(11 - served as i64);
        release(&mut clients[n], "k", &owners[n]);
    }
    assert_all_over(&server);
}

#[test]
fn waiter_leaving_from_the_middle_changes_nothing_for_the_others() {
    let (server, mut a, _) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    let c = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
    let mut d = wait(&server, "LOCK.ACQUIRE k d BLOCK 0");
    c.close();
    server.until_blocked(2);
    release(&mut a, "k", "a");
    b.read().int();
    server.assert_waiting(&mut d);
    release(&mut b, "k", "b");
    d.read().int();
    release(&mut d, "k", "d");
    assert_all_over(&server);
}

#[test]
fn newcomer_never_passes_a_waiter() {
    let (server, mut a, _) = held();
    let mut fresh = server.client();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");

    // In the very turn of the release, before the waiter can have read its answer.
    assert_eq!(exec(&mut a, &["LOCK.RELEASE k a", "LOCK.ACQUIRE k new"]), [Value::Int(1), Value::NullBulk]);
    b.read().int();
    // The holder that releases and asks again stands behind the waiter too.
    let mut c = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
    b.send_many(&[&["LOCK.RELEASE", "k", "b"][..], &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]]);
    assert_eq!(b.read(), 1);
    c.read().int();
    server.until_waiting(&b);
    assert_eq!(fresh.cmd(&["LOCK.ACQUIRE", "k", "new"]), Value::NullBulk);
    release(&mut c, "k", "c");
    b.read().int();
    release(&mut b, "k", "b");
    assert_all_over(&server);
}

#[test]
fn newcomer_never_passes_a_waiter_when_the_lock_vanishes_or_its_lease_ends() {
    for end in ["DEL k", "UNLINK k", "FLUSHALL", "FLUSHDB SYNC", "PEXPIREAT k 1"] {
        let (server, mut a, _) = held();
        let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
        let answers = exec(&mut a, &[end, "LOCK.ACQUIRE k new"]);
        assert_eq!(answers[1], Value::NullBulk, "after {end}");
        b.read().int();
        release(&mut b, "k", "b");
        assert_all_over(&server);
    }

    let server = Server::start();
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "300"]).int();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    // The lease ends while the server is busy, so nothing but this request can notice it.
    a.send_many(&[&["DEBUG", "SLEEP", "0.4"][..], &["LOCK.ACQUIRE", "k", "new"]]);
    assert_eq!(a.read(), "OK");
    assert_eq!(a.read(), Value::NullBulk);
    b.read().int();
    release(&mut b, "k", "b");
    assert_all_over(&server);
}

#[test]
fn waiter_is_granted_when_the_lease_before_it_ends() {
    let server = Server::start();
    let mut a = server.client();
    let mut fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "300"]).int();
    let mut b = wait(&server, "LOCK.ACQUIRE k b PX 200 BLOCK 0");
    let mut c = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
    for waiter in [&mut b, &mut c] {
        let granted = waiter.read().int();
        assert!(granted > fence);
        fence = granted;
    }
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    release(&mut c, "k", "c");
    assert_all_over(&server);
}

#[test]
fn lease_of_a_waiter_begins_with_its_grant() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "2000"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "1000", "BLOCK", "0"]);
    // Longer than b's lease passes before the grant; c's wait ends within the lease that begins with it.
    b.read().int();
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "c", "BLOCK", "50"]), Value::NullBulk);
    assert!(holds(&mut b, "k", "b"));
    release(&mut b, "k", "b");
    assert_all_over(&server);
}

#[test]
fn wait_that_runs_out_is_answered_null_and_is_never_granted() {
    let (server, mut a, _) = held();
    let mut head = wait(&server, "LOCK.ACQUIRE k head BLOCK 600");
    let mut tail = wait(&server, "LOCK.ACQUIRE k tail BLOCK 0");
    let mut short = server.client();
    // Waits end by their length, not by their place in the line.
    assert_eq!(short.cmd(&["LOCK.ACQUIRE", "k", "short", "BLOCK", "1"]), Value::NullBulk);
    assert_eq!(head.read(), Value::NullBulk);
    server.assert_waiting(&mut tail);
    server.until_blocked(1);
    assert!(holds(&mut a, "k", "a"), "a wait that ran out took the lock from its holder");

    release(&mut a, "k", "a");
    tail.read().int();
    for (client, owner) in [(&mut head, "head"), (&mut short, "short")] {
        assert_nothing_unread(client);
        assert_eq!(client.cmd(&["LOCK.RELEASE", "k", owner]), 0);
    }
    release(&mut tail, "k", "tail");
    assert_all_over(&server);
}

#[test]
fn the_longest_block_of_all_is_no_shorter_than_another() {
    let (server, mut a, _) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 9223372036854775807");
    let mut c = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "d", "BLOCK", "30"]), Value::NullBulk);
    server.assert_waiting(&mut b);
    server.assert_waiting(&mut c);
    release(&mut a, "k", "a");
    b.read().int();
    release(&mut b, "k", "b");
    c.read().int();
    release(&mut c, "k", "c");
    assert_all_over(&server);
}

#[test]
fn refused_and_unfinished_waits_are_null_in_both_protocols() {
    for resp3 in [false, true] {
        let (server, mut a, _) = held();
        let mut client = server.client();
        if resp3 {
            client.resp3();
        }
        let null = if resp3 { Value::Null } else { Value::NullBulk };
        for owner in ["b", "*"] {
            assert_eq!(client.cmd(&["LOCK.ACQUIRE", "k", owner]), null);
            assert_eq!(client.cmd(&["LOCK.ACQUIRE", "k", owner, "BLOCK", "1"]), null);
        }
        server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
        assert_eq!(client.read(), null);
        assert_nothing_unread(&mut client);
        release(&mut a, "k", "a");
        assert_all_over(&server);
    }
}

#[test]
fn waiter_without_a_name_is_told_its_owner_and_its_fence() {
    let (server, mut a, mut fence) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k * BLOCK 0");
    let mut c = server.client();
    c.resp3();
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "*", "BLOCK", "0"]);
    release(&mut a, "k", "a");

    let mut owners = Vec::new();
    for client in [&mut b, &mut c] {
        let answer = client.read();
        let [owner, granted] = answer.array() else { panic!("expected [owner, fence], got {answer:?}") };
        let owner = owner.text();
        assert!(owner.len() == 32 && owner.bytes().all(|digit| digit.is_ascii_hexdigit()), "owner {owner:?}");
        assert!(granted.int() > fence);
        fence = granted.int();
        assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", owner, "FENCE", fence]), 1);
        owners.push(owner);
    }
    assert_ne!(owners[0], owners[1]);
    assert_all_over(&server);
}

#[test]
fn release_withdraws_the_waits_of_its_owner_and_of_nobody_else() {
    let (server, mut a, _) = held();
    let mut first = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    let mut other = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
    let mut second = wait(&server, "LOCK.ACQUIRE k b BLOCK 60000");
    let mut elsewhere = server.client();
    elsewhere.cmd(&["LOCK.ACQUIRE", "j", "a"]).int();
    let mut wait_elsewhere = wait(&server, "LOCK.ACQUIRE j b BLOCK 0");

    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert_eq!(first.read(), Value::NullBulk);
    assert_eq!(second.read(), Value::NullBulk);
    server.assert_waiting(&mut other);
    server.assert_waiting(&mut wait_elsewhere);
    assert!(holds(&mut a, "k", "a"));

    release(&mut a, "k", "a");
    other.read().int();
    release(&mut other, "k", "c");
    release(&mut elsewhere, "j", "a");
    wait_elsewhere.read().int();
    release(&mut elsewhere, "j", "b");
    for client in [&mut first, &mut second] {
        assert_nothing_unread(client);
    }
    assert_all_over(&server);
}

#[test]
fn late_release_with_an_old_fence_leaves_the_newer_wait_alone() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    let old = b.cmd(&["LOCK.ACQUIRE", "k", "b"]).int();
    assert_eq!(b.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", old]), 1);
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);

    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", old]), 0);
    server.assert_waiting(&mut b);
    release(&mut a, "k", "a");
    let new = b.read().int();
    assert!(new > old);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", old]), 0);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", new]), 1);
    assert_all_over(&server);
}

#[test]
fn owner_that_waits_twice_is_answered_twice_with_one_hold_of_the_longest_lease() {
    // Whichever of the two asked for the longer lease.
    for (one, two) in [("200", "60000"), ("60000", "200")] {
        let (server, mut a, _) = held();
        let mut first = wait(&server, &format!("LOCK.ACQUIRE k b PX {one} BLOCK 0"));
        let mut other = wait(&server, "LOCK.ACQUIRE k c BLOCK 0");
        let mut second = wait(&server, &format!("LOCK.ACQUIRE k b PX {two} BLOCK 0"));
        release(&mut a, "k", "a");
        let fence = first.read().int();
        assert_eq!(second.read(), fence);
        // Were it the shorter one, the waiters behind would be served before this wait runs out.
        assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "d", "BLOCK", "500"]), Value::NullBulk);
        server.assert_waiting(&mut other);

        release(&mut second, "k", "b");
        assert!(other.read().int() > fence);
        assert_eq!(first.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
        release(&mut other, "k", "c");
        assert_all_over(&server);
    }
}

#[test]
fn holder_that_reacquires_never_waits_for_itself() {
    let (server, mut a, fence) = held();
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");
    let mut elsewhere = server.client();
    assert_eq!(elsewhere.cmd(&["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]), fence);
    server.assert_waiting(&mut b);
    release(&mut a, "k", "a");
    b.read().int();
    release(&mut b, "k", "b");
    assert_all_over(&server);
}

#[test]
fn waiter_whose_connection_closed_is_never_granted() {
    let (server, mut a, fence) = held();
    let closed = wait(&server, "LOCK.ACQUIRE k closed BLOCK 0");
    let reset = wait(&server, "LOCK.ACQUIRE k reset BLOCK 0");
    let mut last = wait(&server, "LOCK.ACQUIRE k last BLOCK 0");
    closed.close();
    reset.reset();
    server.until_blocked(1);
    release(&mut a, "k", "a");
    assert!(last.read().int() > fence);
    for owner in ["closed", "reset"] {
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", owner]), 0);
    }
    release(&mut last, "k", "last");

    // Nobody is left: the lock is free, not stuck with a ghost.
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    wait(&server, "LOCK.ACQUIRE k ghost BLOCK 0").close();
    server.until_blocked(0);
    release(&mut a, "k", "a");
    assert_all_over(&server);
}

#[test]
fn one_name_in_two_databases_is_two_locks_with_two_lines() {
    let (server, mut a, _) = held();
    let (mut holder, mut waiter) = (server.client(), server.client());
    holder.select(1);
    waiter.select(1);
    holder.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    server.send_to_wait(&mut waiter, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    let mut b = wait(&server, "LOCK.ACQUIRE k b BLOCK 0");

    release(&mut a, "k", "a");
    b.read().int();
    server.assert_waiting(&mut waiter);
    release(&mut holder, "k", "a");
    waiter.read().int();
    release(&mut waiter, "k", "b");
    release(&mut b, "k", "b");
    assert_all_over(&server);
}

#[test]
fn block_where_blocking_is_not_allowed_answers_at_once() {
    let server = Server::start();
    let mut a = server.client();
    // Free: granted as without BLOCK.
    let fence = exec(&mut a, &["LOCK.ACQUIRE k a BLOCK 0"])[0].int();
    let script = "return redis.call('LOCK.ACQUIRE', KEYS[1], ARGV[1], 'BLOCK', '0')";
    let mut b = server.client();
    assert_eq!(b.cmd(&["EVAL", script, "1", "k", "a"]), fence);
    // Busy: refused as without BLOCK.
    assert_eq!(exec(&mut b, &["LOCK.ACQUIRE k b BLOCK 0"]), [Value::NullBulk]);
    assert_eq!(b.cmd(&["EVAL", script, "1", "k", "b"]), Value::NullBulk);
    assert_eq!(server.blocked(), 0);
    release(&mut a, "k", "a");
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert_all_over(&server);
}
