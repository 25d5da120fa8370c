//! SHARED LIMIT n: a semaphore whose permits each have an owner. The smallest limit among the holders and the asker
//! counts, and one line serves everybody in turn.

use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use support::{assert_all_over, exec, holders, release_all, say, Client, Server, Value};

/// Asks for `k`, shared: whether it was granted. `limit` 0 = without LIMIT.
#[track_caller]
fn enters(server: &Server, owner: &str, limit: u32) -> bool {
    say(server, &format!("LOCK.ACQUIRE k {owner} SHARED{}", option(limit))).opt_int().is_some()
}

/// A new client that waits for `k`, shared, without end.
#[track_caller]
fn wait(server: &Server, owner: &str, limit: u32) -> Client {
    let mut client = server.client();
    let command = format!("LOCK.ACQUIRE k {owner} SHARED{} BLOCK 0", option(limit));
    server.send_to_wait(&mut client, &command.split(' ').collect::<Vec<_>>());
    client
}

fn option(limit: u32) -> String {
    match limit {
        0 => String::new(),
        limit => format!(" LIMIT {limit}"),
    }
}

#[test]
fn as_many_hold_together_as_the_limit_says_and_no_more() {
    let server = Server::start();
    for (owner, granted) in [("a", true), ("b", true), ("c", true), ("d", false)] {
        assert_eq!(enters(&server, owner, 3), granted, "{owner}");
    }
    assert_eq!(say(&server, "LOCK.ACQUIRE k d SHARED LIMIT 3 BLOCK 5"), Value::NullBulk);
    // A permit given back is there for anybody, once.
    release_all(&server, &["b"]);
    assert!(enters(&server, "d", 3));
    assert!(!enters(&server, "e", 3));
    assert_eq!(holders(&server), ["a", "c", "d"]);
    release_all(&server, &["a", "c", "d"]);
    assert_all_over(&server);
}

#[test]
fn smallest_limit_among_holders_and_asker_counts() {
    let server = Server::start();
    // Who holds, each with a limit (0 = none), the asker's limit, and whether it gets in.
    let cases: [(&[u32], u32, bool); 16] = [
        (&[], 1, true),
        (&[0], 1, false),
        (&[0], 2, true),
        (&[1], 0, false),
        (&[1], 100, false),
        (&[2], 0, true),
        (&[0, 0], 2, false),
        (&[0, 0], 3, true),
        (&[0, 0, 0], 0, true),
        (&[2, 2], 0, false),
        (&[2, 0], 100, false),
        (&[0, 2], 100, false),
        (&[100, 3], 100, true),
        (&[100, 3, 100], 100, false),
        (&[0, 100, 0], 4, true),
        (&[1_000_000, 0, 5], 1_000_000, true),
    ];
    for (held, asked, granted) in cases {
        let owners: Vec<String> = (0..held.len()).map(|number| format!("h{number}")).collect();
        for (owner, limit) in owners.iter().zip(held) {
            assert!(enters(&server, owner, *limit), "{held:?}");
        }
        assert_eq!(enters(&server, "asker", asked), granted, "{held:?} and {asked}");
        for owner in &owners {
            release_all(&server, &[owner]);
        }
        assert_eq!(say(&server, "LOCK.RELEASE k asker"), i64::from(granted));
        server.assert_no_keys();
    }
    assert_all_over(&server);
}

#[test]
fn limit_goes_with_the_holder_that_brought_it() {
    let server = Server::start();
    assert!(enters(&server, "free", 0) && enters(&server, "strict", 2));
    let mut waiting = ["a", "b", "c"].map(|owner| wait(&server, owner, 0));
    assert_eq!(holders(&server), ["free", "strict"]);
    // Nobody else limits anything: all come in at once.
    let mut client = server.client();
    let turn = exec(&mut client, &["LOCK.RELEASE k strict", "LOCK.INFO k"]);
    assert_eq!(turn[1].get("holders-count"), 4);
    for client in &mut waiting {
        client.read().int();
    }
    assert_eq!(holders(&server), ["free", "a", "b", "c"]);
    release_all(&server, &["free", "a", "b", "c"]);
    assert_all_over(&server);
}

#[test]
fn lease_end_of_the_strictest_holder_lets_the_others_in() {
    let server = Server::start();
    assert!(enters(&server, "free", 0));
    assert!(enters(&server, "strict", 2));
    let mut waiting = [("a", 3), ("b", 0), ("c", 5)].map(|(owner, limit)| wait(&server, owner, limit));
    assert_eq!(say(&server, "LOCK.EXTEND k strict PX 50"), 1);
    // After it ended: a (1 is in), b (2 are in, a's 3 counts), and then three are in.
    waiting[0].read().int();
    waiting[1].read().int();
    server.assert_waiting(&mut waiting[2]);
    assert_eq!(holders(&server), ["free", "a", "b"]);
    release_all(&server, &["free"]);
    waiting[2].read().int();
    release_all(&server, &["a", "b", "c"]);
    assert_all_over(&server);
}

#[test]
fn each_permit_given_back_goes_to_the_longest_waiter() {
    let server = Server::start();
    assert!(enters(&server, "x", 2) && enters(&server, "y", 2));
    let owners = ["d", "a", "c", "b"];
    let mut waiting = owners.map(|owner| wait(&server, owner, 2));
    for (served, holder) in ["y", "x", "d", "a"].into_iter().enumerate() {
        assert!(!enters(&server, "new", 2), "a newcomer passed the line");
        assert_eq!(server.blocked(), 4 - served as i64);
        release_all(&server, &[holder]);
        waiting[served].read().int();
        if let Some(next) = waiting.get_mut(served + 1) {
            server.assert_waiting(next);
        }
    }
    assert_eq!(holders(&server), ["c", "b"]);
    release_all(&server, &["c", "b"]);
    assert_all_over(&server);
}

#[test]
fn permit_of_an_ended_lease_goes_to_the_longest_waiter() {
    let server = Server::start();
    assert!(enters(&server, "x", 2) && enters(&server, "short", 2));
    let [mut a, mut b] = ["a", "b"].map(|owner| wait(&server, owner, 2));
    assert_eq!(say(&server, "LOCK.EXTEND k short PX 50"), 1);
    a.read().int();
    assert_eq!(holders(&server), ["x", "a"]);
    server.assert_waiting(&mut b);
    assert_eq!(say(&server, "LOCK.EXTEND k a PX 50"), 1);
    b.read().int();
    release_all(&server, &["x", "b"]);
    assert_all_over(&server);
}

#[test]
fn waiters_at_the_head_come_in_together_as_far_as_their_limits_allow() {
    let server = Server::start();
    // The limits of those who wait, in order, and how many are let in at once.
    let cases: [(&[u32], usize); 8] = [
        (&[3, 3, 3, 3], 3),
        (&[5, 2, 5, 5], 2),
        (&[1, 0, 0], 1),
        (&[0, 1, 0], 1),
        (&[0, 0, 0], 3),
        (&[0, 0, 2, 0], 2),
        (&[4, 0, 0, 0, 0], 4),
        (&[10, 3, 4, 0], 3),
    ];
    for (limits, together) in cases {
        let mut client = server.client();
        say(&server, "LOCK.ACQUIRE k x").int();
        let owners: Vec<String> = (0..limits.len()).map(|number| format!("o{number}")).collect();
        let mut waiting: Vec<_> =
            owners.iter().zip(limits).map(|(owner, limit)| wait(&server, owner, *limit)).collect();
        let turn = exec(&mut client, &["LOCK.RELEASE k x", "LOCK.INFO k"]);
        assert_eq!(turn[1].get("holders-count"), together as i64, "{limits:?}");
        assert_eq!(holders(&server), owners[..together], "{limits:?}");
        for client in &mut waiting[together..] {
            server.assert_waiting(client);
        }
        // Whoever leaves makes room for the next ones: all are served in the end, in order.
        let mut last = 0;
        for (owner, client) in owners.iter().zip(&mut waiting) {
            let fence = client.read().int();
            assert!(fence > last, "{limits:?}");
            last = fence;
            release_all(&server, &[owner]);
        }
        server.assert_no_keys();
    }
    assert_all_over(&server);
}

#[test]
fn small_limit_at_the_head_holds_back_those_behind_it() {
    let server = Server::start();
    assert!(["a", "b", "c"].iter().all(|owner| enters(&server, owner, 0)));
    let mut strict = wait(&server, "strict", 2);
    assert!(!enters(&server, "new", 0) && !enters(&server, "new", 100));
    let mut free = wait(&server, "free", 0);
    release_all(&server, &["a"]);
    server.assert_waiting(&mut strict);
    release_all(&server, &["b"]);
    strict.read().int();
    // Now its limit counts among the holders, and nobody else comes in.
    server.assert_waiting(&mut free);
    assert_eq!(holders(&server), ["c", "strict"]);
    release_all(&server, &["c"]);
    free.read().int();
    release_all(&server, &["strict", "free"]);
    assert_all_over(&server);
}

#[test]
fn small_limit_that_gives_up_lets_those_behind_it_in() {
    let server = Server::start();
    for way in ["runs out", "withdrawn", "closed"] {
        assert!(enters(&server, "a", 0) && enters(&server, "b", 0));
        let mut strict = server.client();
        let wait_ms = if way == "runs out" { "1200" } else { "0" };
        server.send_to_wait(&mut strict, &["LOCK.ACQUIRE", "k", "s", "SHARED", "LIMIT", "1", "BLOCK", wait_ms]);
        let mut behind = [("c", 0), ("d", 4), ("e", 0)].map(|(owner, limit)| wait(&server, owner, limit));
        if way == "withdrawn" {
            assert_eq!(say(&server, "LOCK.RELEASE k s"), 0);
        }
        if way == "closed" {
            strict.close();
        } else {
            assert_eq!(strict.read(), Value::NullBulk, "{way}");
        }
        behind[0].read().int();
        behind[1].read().int();
        server.assert_waiting(&mut behind[2]);
        assert_eq!(holders(&server), ["a", "b", "c", "d"], "{way}");
        release_all(&server, &["a"]);
        behind[2].read().int();
        release_all(&server, &["b", "c", "d", "e"]);
    }
    assert_all_over(&server);
}

#[test]
fn limit_1_is_a_mutex_among_counted_holders() {
    let server = Server::start();
    assert!(enters(&server, "a", 1));
    for limit in [1, 2, 1_000_000, 0] {
        assert!(!enters(&server, "b", limit), "beside LIMIT 1 with {limit}");
    }
    assert_eq!(say(&server, "LOCK.ACQUIRE k b"), Value::NullBulk);
    let owners = ["b", "c", "d"];
    let mut waiting = owners.map(|owner| wait(&server, owner, 1));
    let mut before = "a";
    for (owner, client) in owners.into_iter().zip(&mut waiting) {
        assert_eq!(holders(&server), [before]);
        release_all(&server, &[before]);
        client.read().int();
        before = owner;
    }
    release_all(&server, &["d"]);
    assert_all_over(&server);
}

#[test]
fn writer_waits_for_every_permit_and_permits_wait_for_the_writer() {
    let server = Server::start();
    assert!(enters(&server, "a", 3) && enters(&server, "b", 3));
    let mut w = server.client();
    server.send_to_wait(&mut w, &["LOCK.ACQUIRE", "k", "w", "BLOCK", "0"]);
    assert!(!enters(&server, "c", 3), "a permit was free, but the writer stands first");
    let mut c = wait(&server, "c", 3);
    release_all(&server, &["a"]);
    server.assert_waiting(&mut w);
    release_all(&server, &["b"]);
    w.read().int();
    assert!(!enters(&server, "d", 3));
    server.assert_waiting(&mut c);
    release_all(&server, &["w"]);
    c.read().int();
    release_all(&server, &["c"]);
    assert_all_over(&server);
}

#[test]
fn limit_needs_shared_and_a_number_in_range() {
    let server = Server::start();
    for options in ["LIMIT 3", "LIMIT 3 BLOCK 0", "BLOCK 5 LIMIT 1"] {
        let refused = say(&server, &format!("LOCK.ACQUIRE k a {options}"));
        assert_eq!(refused.err_text(), "ERR LIMIT needs SHARED", "{options}");
    }
    for number in ["0", "-1", "1000001", "99999999999999999999", "many", "1.5", ""] {
        for command in [["SHARED", "LIMIT", number], ["LIMIT", number, "SHARED"]] {
            let refused = server.cmd(&[&["LOCK.ACQUIRE", "k", "a"][..], &command].concat());
            assert_eq!(refused.err_text(), "ERR LIMIT must be a number from 1 to 1000000", "{number}");
        }
    }
    assert!(say(&server, "LOCK.ACQUIRE k a SHARED LIMIT").is_err());
    assert!(say(&server, "LOCK.ACQUIRE k a SHARED LIMIT 2 LIMIT 2").is_err());
    assert!(say(&server, "LOCK.ACQUIRE k a SHARED SHARED").is_err());
    server.assert_no_keys();
    for (owner, options) in [("a", "limit 1000000 shared"), ("b", "Shared px 60000 Limit 2")] {
        say(&server, &format!("lock.acquire k {owner} {options}")).int();
    }
    let info = say(&server, "LOCK.INFO k").get("holders");
    assert_eq!((info.array()[0].get("limit"), info.array()[1].get("limit")), (Value::Int(1_000_000), Value::Int(2)));
    release_all(&server, &["a", "b"]);
    assert_all_over(&server);
}

/// How many are inside is counted by the clients themselves, between the grant they were told of and their release.
#[test]
fn no_more_than_the_limit_are_ever_inside_under_traffic() {
    const PERMITS: i64 = 3;
    let server = Server::start();
    let (inside, most) = (AtomicI64::new(0), AtomicI64::new(0));
    thread::scope(|scope| {
        for number in 0..7 {
            let (server, inside, most) = (&server, &inside, &most);
            scope.spawn(move || {
                let (mut client, owner) = (server.client(), format!("o{number}"));
                // Some ask for more than there is: the others' limit counts, as soon as one of them is in.
                let limit = if number < 2 { "7" } else { "3" };
                for _ in 0..100 {
                    let ask = ["LOCK.ACQUIRE", "k", &owner, "PX", "600000", "SHARED", "LIMIT", limit, "BLOCK", "0"];
                    client.cmd(&ask).int();
                    let found = inside.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(found + 1, Ordering::SeqCst);
                    client.cmd(&["PING"]);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", &owner]), 1);
                }
            });
        }
    });
    // Two strangers to the limit are never enough to pass it.
    assert!(most.load(Ordering::SeqCst) <= PERMITS, "{most:?}");
    assert_all_over(&server);
}
