//! SHARED: who is together, who waits for whom, and that each shared holder stands for itself alone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use support::{
    args, assert_all_over, assert_nothing_unread, exec, mode_and_holders, release_all, say, until, wait, Client,
    Server, Value,
};

/// Takes `k`, shared: the fence.
#[track_caller]
fn share(server: &Server, owner: &str) -> i64 {
    say(server, &format!("LOCK.ACQUIRE k {owner} SHARED")).int()
}

#[test]
fn shared_holders_are_together_and_a_writer_waits_for_the_last_of_them() {
    let server = Server::start();
    let mut last = 0;
    for owner in ["a", "b", "c"] {
        let fence = share(&server, owner);
        assert!(fence > last, "{fence} after {last}");
        last = fence;
    }
    assert_eq!(mode_and_holders(&server), "shared a b c");
    assert_eq!(say(&server, "LOCK.ACQUIRE k w"), Value::NullBulk);
    assert_eq!(say(&server, "LOCK.ACQUIRE k w BLOCK 5"), Value::NullBulk);
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    release_all(&server, &["b"]);
    assert_eq!(mode_and_holders(&server), "shared a c");
    release_all(&server, &["a"]);
    assert_eq!(mode_and_holders(&server), "shared c");
    server.assert_waiting(&mut w);
    release_all(&server, &["c"]);
    assert!(w.read().int() > last);
    assert_eq!(mode_and_holders(&server), "exclusive w");
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

#[test]
fn nobody_shares_with_an_exclusive_holder() {
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k w").int();
    for options in ["SHARED", "SHARED LIMIT 1000000", "SHARED LIMIT 1", "SHARED BLOCK 5", "BLOCK 5 LIMIT 9 SHARED"] {
        assert_eq!(say(&server, &format!("LOCK.ACQUIRE k r {options}")), Value::NullBulk, "{options}");
    }
    assert_eq!(say(&server, "LOCK.ACQUIRE k * SHARED"), Value::NullBulk);
    let mut r = wait(&server, "LOCK.ACQUIRE k r SHARED BLOCK 0");
    assert_eq!(mode_and_holders(&server), "exclusive w");
    release_all(&server, &["w"]);
    assert!(r.read().int() > fence);
    release_all(&server, &["r"]);
    assert_all_over(&server);
}

#[test]
fn waiting_writer_is_not_passed_by_new_readers() {
    let server = Server::start();
    let fence = share(&server, "a");
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    // Neither a try nor a wait that would be over at once were the writer not there.
    assert_eq!(say(&server, "LOCK.ACQUIRE k new SHARED"), Value::NullBulk);
    assert_eq!(say(&server, "LOCK.ACQUIRE k new SHARED BLOCK 20"), Value::NullBulk);
    let mut b = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
    assert_eq!(mode_and_holders(&server), "shared a");

    // Not even in the very turn of the hand-off.
    let mut client = server.client();
    let turn = exec(&mut client, &["LOCK.RELEASE k a", "LOCK.ACQUIRE k new SHARED"]);
    assert_eq!(turn, [Value::Int(1), Value::NullBulk]);
    let second = w.read().int();
    assert!(second > fence);
    server.assert_waiting(&mut b);
    assert_eq!(mode_and_holders(&server), "exclusive w");
    release_all(&server, &["w"]);
    assert!(b.read().int() > second);
    release_all(&server, &["b"]);
    assert_all_over(&server);
}

#[test]
fn shared_waiters_at_the_head_are_let_in_together_in_the_order_in_which_they_came() {
    let server = Server::start();
    let mut fence = say(&server, "LOCK.ACQUIRE k x").int();
    // Neither the order of their names nor that of their connections.
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    let owners = ["c", "a", "b"];
    for (client, owner) in clients.iter_mut().rev().zip(owners) {
        server.send_to_wait(client, &["LOCK.ACQUIRE", "k", owner, "SHARED", "BLOCK", "0"]);
    }
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    let mut d = wait(&server, "LOCK.ACQUIRE k d SHARED BLOCK 0");

    let mut client = server.client();
    let turn = exec(&mut client, &["LOCK.RELEASE k x", "LOCK.INFO k"]);
    assert_eq!(turn[1].get("holders-count"), 3, "not all in one turn");
    for client in clients.iter_mut().rev() {
        let granted = client.read().int();
        assert!(granted > fence, "{granted} after {fence}");
        fence = granted;
    }
    assert_eq!(mode_and_holders(&server), "shared c a b");
    for owner in owners {
        server.assert_waiting(&mut w);
        release_all(&server, &[owner]);
    }
    w.read().int();
    server.assert_waiting(&mut d);
    release_all(&server, &["w"]);
    d.read().int();
    release_all(&server, &["d"]);
    assert_all_over(&server);
}

#[test]
fn readers_behind_a_writer_come_in_as_soon_as_it_gives_up() {
    let server = Server::start();
    // The wait runs out, is withdrawn, or ends with its connection.
    for way in ["runs out", "withdrawn", "closed", "reset"] {
        share(&server, "a");
        let mut w = server.client();
        let wait_ms = if way == "runs out" { "1200" } else { "0" };
        server.send_to_wait(&mut w, &["LOCK.ACQUIRE", "k", "w", "BLOCK", wait_ms]);
        let mut b = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 0");
        let mut c = wait(&server, "LOCK.ACQUIRE k c SHARED BLOCK 0");
        let mut v = wait(&server, "LOCK.ACQUIRE k v BLOCK 0");
        match way {
            "closed" => w.close(),
            "reset" => w.reset(),
            _ => {
                if way == "withdrawn" {
                    assert_eq!(say(&server, "LOCK.RELEASE k w"), 0);
                }
                assert_eq!(w.read(), Value::NullBulk, "{way}");
                assert_nothing_unread(&mut w);
            }
        }
        let fence = b.read().int();
        assert!(c.read().int() > fence, "{way}");
        server.assert_waiting(&mut v);
        assert_eq!(mode_and_holders(&server), "shared a b c", "{way}");
        for owner in ["a", "b", "c"] {
            release_all(&server, &[owner]);
        }
        v.read().int();
        release_all(&server, &["v"]);
    }
    assert_all_over(&server);
}

#[test]
fn shared_wait_that_ends_changes_nothing_for_the_others() {
    let server = Server::start();
    say(&server, "LOCK.ACQUIRE k x").int();
    let mut a = wait(&server, "LOCK.ACQUIRE k a SHARED BLOCK 0");
    let mut short = wait(&server, "LOCK.ACQUIRE k short SHARED BLOCK 300");
    let mut withdrawn = wait(&server, "LOCK.ACQUIRE k withdrawn SHARED BLOCK 0");
    let closed = wait(&server, "LOCK.ACQUIRE k closed SHARED BLOCK 0");
    let mut b = wait(&server, "LOCK.ACQUIRE k b SHARED BLOCK 60000");
    assert_eq!(say(&server, "LOCK.RELEASE k withdrawn"), 0);
    assert_eq!(withdrawn.read(), Value::NullBulk);
    closed.close();
    assert_eq!(short.read(), Value::NullBulk);
    server.until_blocked(2);
    release_all(&server, &["x"]);
    assert!(a.read().int() < b.read().int());
    assert_eq!(mode_and_holders(&server), "shared a b");
    for client in [&mut short, &mut withdrawn] {
        assert_nothing_unread(client);
    }
    release_all(&server, &["a"]);
    release_all(&server, &["b"]);
    assert_all_over(&server);
}

#[test]
fn each_shared_holder_has_a_lease_of_its_own() {
    let server = Server::start();
    let mut client = server.client();
    client.pipeline(&[
        &["LOCK.ACQUIRE", "k", "long", "SHARED", "PX", "600000"][..],
        &["LOCK.ACQUIRE", "k", "short", "SHARED", "PX", "300"],
        &["LOCK.ACQUIRE", "k", "extended", "SHARED", "PX", "300"],
        &["LOCK.EXTEND", "k", "extended", "PX", "500000"],
        &["LOCK.ACQUIRE", "k", "shortened", "SHARED", "PX", "600000"],
        &["LOCK.EXTEND", "k", "shortened", "PX", "300"],
    ]);
    assert_eq!(mode_and_holders(&server), "shared long short extended shortened");
    until("the short leases are over", || mode_and_holders(&server) == "shared long extended");
    for gone in ["short", "shortened"] {
        assert_eq!(say(&server, &format!("LOCK.EXTEND k {gone}")), 0);
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {gone}")), 0);
        assert_eq!(say(&server, &format!("LOCK.CHECK k {gone}")), Value::NullBulk);
    }
    let left = |owner: &str| say(&server, &format!("LOCK.CHECK k {owner}")).array()[1].int();
    assert!((500_001..=600_000).contains(&left("long")), "{}", left("long"));
    assert!((400_001..=500_000).contains(&left("extended")), "{}", left("extended"));

    // The last lease's end, and not an earlier one, lets the writer in.
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    assert_eq!(say(&server, "LOCK.EXTEND k long PX 50"), 1);
    until("one lease is over", || mode_and_holders(&server) == "shared extended");
    server.assert_waiting(&mut w);
    assert_eq!(say(&server, "LOCK.EXTEND k extended PX 50"), 1);
    w.read().int();
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

#[test]
fn release_and_fence_of_one_shared_holder_touch_no_other() {
    let server = Server::start();
    let (a, b, c) = (share(&server, "a"), share(&server, "b"), share(&server, "c"));
    // Another holder's fence is a wrong one.
    for (owner, wrong) in [("a", b), ("b", c), ("c", a), ("a", a - 1), ("c", c + 1), ("d", a)] {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner} FENCE {wrong}")), 0);
        assert_eq!(say(&server, &format!("LOCK.EXTEND k {owner} PX 1 FENCE {wrong} RAISE {wrong}")), 0);
    }
    assert_eq!(mode_and_holders(&server), "shared a b c");
    assert_eq!(say(&server, &format!("LOCK.RELEASE k b FENCE {b}")), 1);
    assert_eq!(say(&server, "LOCK.RELEASE k b"), 0);
    assert_eq!(mode_and_holders(&server), "shared a c");
    // It comes again, and the late duplicate of its release does not end that.
    let again = share(&server, "b");
    assert!(again > c);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k b FENCE {b}")), 0);
    for (owner, fence) in [("a", a), ("b", again), ("c", c)] {
        assert_eq!(say(&server, &format!("LOCK.CHECK k {owner}")).array()[0], fence);
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner} FENCE {fence}")), 1);
    }
    assert_all_over(&server);
}

#[test]
fn two_shared_holders_raised_to_one_number_are_two_holds() {
    let server = Server::start();
    let (a, b) = (share(&server, "a"), share(&server, "b"));
    let raised = b + 1000;
    for (owner, before) in [("a", a), ("b", b)] {
        // At first it may lie further ahead of the clock than RAISE may go.
        let raise = format!("LOCK.EXTEND k {owner} FENCE {before} RAISE {raised}");
        until("the fence is raised", || say(&server, &raise) == 1);
        assert_eq!(say(&server, &format!("LOCK.CHECK k {owner}")).array()[0], raised);
        assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner} FENCE {before}")), 0);
    }
    assert!(["shared a b", "shared b a"].contains(&mode_and_holders(&server).as_str()));
    let c = share(&server, "c");
    assert!(c > raised);

    // Each is extended, ended and released by itself, though the number is the same.
    assert_eq!(say(&server, &format!("LOCK.EXTEND k a FENCE {raised} PX 600000")), 1);
    assert_eq!(say(&server, &format!("LOCK.EXTEND k b FENCE {raised} PX 50")), 1);
    until("the lease of b is over", || mode_and_holders(&server) == "shared a c");
    let d = share(&server, "b");
    assert!(d > c);
    assert_eq!(say(&server, &format!("LOCK.EXTEND k b RAISE {}", d + 5)), 1);
    assert_eq!(say(&server, &format!("LOCK.EXTEND k c RAISE {}", d + 5)), 1);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k c FENCE {}", d + 5)), 1);
    assert_eq!(mode_and_holders(&server), "shared a b");
    assert_eq!(say(&server, &format!("LOCK.RELEASE k a FENCE {raised}")), 1);
    assert_eq!(say(&server, &format!("LOCK.RELEASE k b FENCE {}", d + 5)), 1);
    assert_all_over(&server);
}

#[test]
fn operator_who_removes_the_key_ends_every_shared_hold() {
    for removal in ["DEL k", "FLUSHALL", "PEXPIRE k 30"] {
        let server = Server::start();
        share(&server, "a");
        let fence = share(&server, "b");
        let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
        let mut c = wait(&server, "LOCK.ACQUIRE k c SHARED BLOCK 0");
        assert!(!say(&server, removal).is_err());
        assert!(w.read().int() > fence, "{removal}");
        assert_eq!(mode_and_holders(&server), "exclusive w", "{removal}");
        release_all(&server, &["w"]);
        c.read().int();
        release_all(&server, &["c"]);
        assert_all_over(&server);
    }
}

#[test]
fn shared_requests_without_a_name_are_told_owner_and_fence() {
    let server = Server::start();
    let mut seen = HashSet::new();
    say(&server, "LOCK.ACQUIRE j x").int();
    let mut waiting = wait(&server, "LOCK.ACQUIRE j * SHARED BLOCK 0");
    assert_eq!(say(&server, "LOCK.RELEASE j x"), 1);
    for (key, granted) in [
        ("k", say(&server, "LOCK.ACQUIRE k * SHARED")),
        ("k", say(&server, "LOCK.ACQUIRE k * SHARED LIMIT 5")),
        ("j", waiting.read()),
    ] {
        let [owner, fence] = granted.array() else { panic!("expected [owner, fence], got {granted:?}") };
        assert!(seen.insert(owner.text()));
        assert_eq!(server.cmd(&args!["LOCK.RELEASE", key, owner.text(), "FENCE", fence.int()]), 1);
    }
    assert_all_over(&server);
}

#[test]
fn thousand_shared_waiters_are_let_in_by_one_release() {
    const WAITERS: i64 = 1000;
    let server = Server::start();
    let fence = say(&server, "LOCK.ACQUIRE k x PX 600000").int();
    let mut clients: Vec<Client> = (0..WAITERS).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&args!["LOCK.ACQUIRE", "k", format!("r{number}"), "SHARED", "PX", 600_000, "BLOCK", 0]);
    }
    server.until_blocked(WAITERS);
    let mut w = wait(&server, "LOCK.ACQUIRE k w BLOCK 0");
    release_all(&server, &["x"]);
    let fences: HashSet<i64> = clients.iter_mut().map(|client| client.read().int()).collect();
    assert_eq!(fences.len() as i64, WAITERS, "every grant has its own fence");
    assert!(fences.iter().all(|granted| *granted > fence));
    let info = say(&server, "LOCK.INFO k");
    assert_eq!((info.get("holders-count"), info.get("waiters")), (Value::Int(WAITERS), Value::Int(1)));
    for number in 1..WAITERS {
        release_all(&server, &[&format!("r{number}")]);
    }
    assert_eq!(mode_and_holders(&server), "shared r0");
    server.assert_waiting(&mut w);
    release_all(&server, &["r0"]);
    assert!(w.read().int() > fence);
    release_all(&server, &["w"]);
    assert_all_over(&server);
}

/// Who is inside is counted by the clients themselves, between the grant they were told of and their release.
#[test]
fn writer_is_never_beside_anybody_under_traffic() {
    const WRITER: i64 = 1000;
    let server = Server::start();
    let inside = AtomicI64::new(0);
    thread::scope(|scope| {
        for number in 0..6_usize {
            let (server, inside) = (&server, &inside);
            scope.spawn(move || {
                let (mut client, owner) = (server.client(), format!("o{number}"));
                for round in 0..120 {
                    let writes = (round * 7 + number * 3) % 4 == 0;
                    let ask = ["LOCK.ACQUIRE", "k", &owner, "PX", "600000", "BLOCK", "0", "SHARED"];
                    client.cmd(&ask[..if writes { 7 } else { 8 }]).int();
                    let weight = if writes { WRITER } else { 1 };
                    let found = inside.fetch_add(weight, Ordering::SeqCst);
                    assert!(found == 0 || !writes && found < WRITER, "{found} were inside");
                    client.cmd(&["PING"]);
                    inside.fetch_sub(weight, Ordering::SeqCst);
                    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", &owner]), 1);
                }
            });
        }
    });
    assert_all_over(&server);
}
