//! What LOCK.ACQUIRE, LOCK.RELEASE and LOCK.EXTEND answer, and what they do to the hold.
//! (The default lease of 30 seconds is tested in `exclusion.rs`, where waiting for it costs nothing.)

use std::collections::HashSet;

use support::{args, until, Client, Server, Value};

const FREE: i64 = 0;
const HELD: i64 = 1;
/// Fences stay below this, so that a double holds them.
const FENCE_END: i64 = 1 << 53;
/// What a start leaps ahead of the clock, and how far RAISE may go.
const LEAP_US: i64 = 60_000_000;

/// Acquires `key` for `owner` for a minute; panics when it is busy.
#[track_caller]
fn acquire(client: &mut Client, key: &str, owner: &str) -> i64 {
    client.cmd(&["LOCK.ACQUIRE", key, owner, "PX", "60000"]).int()
}

/// Panics when the lock `k` comes free within so many milliseconds: a rival waits for it inside the server, in vain.
#[track_caller]
fn assert_outlasts(server: &Server, ms: u32) {
    let answer = server.client().cmd(&args!["LOCK.ACQUIRE", "k", "rival", "BLOCK", ms]);
    assert_eq!(answer, Value::NullBulk, "the hold ended early");
}

/// Panics unless the hold on `k` ends by itself long before a lease that was not cut short would.
#[track_caller]
fn assert_ends_soon(server: &Server) {
    let mut rival = server.client();
    rival.cmd(&["LOCK.ACQUIRE", "k", "rival", "BLOCK", "15000"]).int();
    assert_eq!(rival.cmd(&["LOCK.RELEASE", "k", "rival"]), HELD);
}

/// The end of every test here: `k` is given up and nothing is left.
#[track_caller]
fn assert_released(server: &Server, owner: &str) {
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", owner]), HELD);
    server.assert_no_keys();
    server.assert_clean();
}

/// The server's clock in microseconds.
fn clock_us(client: &mut Client) -> i64 {
    let time = client.cmd(&["TIME"]);
    let part = |at: usize| time.array()[at].text().parse::<i64>().unwrap();
    part(0) * 1_000_000 + part(1)
}

#[test]
fn grant_answers_the_fence_and_refusal_answers_null_in_both_protocols() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    assert!(matches!(a.cmd(&["LOCK.ACQUIRE", "k", "a"]), Value::Int(1..)));
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b"]), Value::NullBulk);
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "1"]), Value::NullBulk);
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "*"]), Value::NullBulk);
    b.resp3();
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b"]), Value::Null);
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "1"]), Value::Null);
    assert!(matches!(b.cmd(&["LOCK.ACQUIRE", "k", "a"]), Value::Int(1..)));
    assert_released(&server, "a");
}

#[test]
fn only_its_owner_releases_and_extends_a_hold() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    acquire(&mut a, "k", "a");
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), FREE);
    assert_eq!(b.cmd(&["LOCK.EXTEND", "k", "b", "PX", "1"]), FREE);
    assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "A"]), FREE, "owners differ by case");
    assert_outlasts(&server, 500);
    assert_eq!(b.cmd(&["LOCK.EXTEND", "k", "a"]), HELD, "an owner is a name, not a connection");
    assert_released(&server, "a");
}

#[test]
fn release_and_extend_of_a_free_lock_answer_0_and_create_nothing() {
    let server = Server::start();
    let mut c = server.client();
    for _ in 0..2 {
        assert_eq!(c.cmd(&["LOCK.RELEASE", "k", "a"]), FREE);
        assert_eq!(c.cmd(&["LOCK.RELEASE", "k", "a", "FENCE", "1"]), FREE);
        assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a"]), FREE);
        assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a", "PX", "1000", "FENCE", "1", "RAISE", "1"]), FREE);
        server.assert_no_keys();
        // The second round: the same after a hold that is over.
        acquire(&mut c, "k", "a");
        assert_eq!(c.cmd(&["LOCK.RELEASE", "k", "a"]), HELD);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn reacquiring_answers_the_same_fence() {
    let server = Server::start();
    let mut c = server.client();
    let fence = acquire(&mut c, "k", "a");
    for again in ["LOCK.ACQUIRE k a", "LOCK.ACQUIRE k a PX 1", "LOCK.ACQUIRE k a EX 90 BLOCK 0"] {
        let words: Vec<&str> = again.split(' ').collect();
        assert_eq!(c.cmd(&words), fence, "{again}");
        assert_eq!(server.client().cmd(&words), fence, "{again} from another connection");
    }
    acquire(&mut c, "other", "a");
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "a"]), fence);
    assert_eq!(c.cmd(&["LOCK.RELEASE", "other", "a"]), HELD);
    assert_released(&server, "a");
}

#[test]
fn reacquiring_never_brings_the_end_nearer() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "1"]).int();
    assert_outlasts(&server, 500);
    assert_released(&server, "a");
}

#[test]
fn reacquiring_for_longer_moves_the_end_away() {
    let server = Server::start();
    let mut c = server.client();
    let answers = c.pipeline(&[
        &["LOCK.ACQUIRE", "k", "a", "PX", "2000"],
        &["LOCK.ACQUIRE", "k", "a", "PX", "60000"],
        // Left out: the length last given, which is the 60 s.
        &["LOCK.EXTEND", "k", "a"],
    ]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[2], HELD);
    assert_outlasts(&server, 2100);
    assert_released(&server, "a");
}

#[test]
fn extend_shortens_a_lease() {
    let server = Server::start();
    let mut c = server.client();
    acquire(&mut c, "k", "a");
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), HELD);
    assert_ends_soon(&server);
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a"]), FREE);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn extend_lengthens_a_lease_and_keeps_that_length() {
    let server = Server::start();
    let mut c = server.client();
    let answers = c.pipeline(&[
        &["LOCK.ACQUIRE", "k", "a", "PX", "2000"],
        &["LOCK.EXTEND", "k", "a", "EX", "60"],
        &["LOCK.EXTEND", "k", "a"],
    ]);
    assert_eq!((&answers[1], &answers[2]), (&Value::Int(HELD), &Value::Int(HELD)));
    assert_outlasts(&server, 2100);
    assert_released(&server, "a");
}

#[test]
fn extend_without_a_length_takes_the_one_last_given() {
    let server = Server::start();
    let mut c = server.client();
    // 500 ms: neither the 60 s of the grant nor the default of 30 s.
    let answers = c.pipeline(&[
        &["LOCK.ACQUIRE", "k", "a", "PX", "60000"],
        &["LOCK.EXTEND", "k", "a", "PX", "500"],
        &["LOCK.EXTEND", "k", "a"],
    ]);
    assert_eq!((&answers[1], &answers[2]), (&Value::Int(HELD), &Value::Int(HELD)));
    assert_ends_soon(&server);
    // The length of the grant, when no other was given since.
    c.pipeline(&[&["LOCK.ACQUIRE", "k", "a", "PX", "500"], &["LOCK.EXTEND", "k", "a"]]);
    assert_ends_soon(&server);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn px_counts_milliseconds_and_ex_seconds() {
    let server = Server::start();
    let mut c = server.client();
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "50"]).int();
    assert_ends_soon(&server);
    c.cmd(&["LOCK.ACQUIRE", "k", "a", "EX", "3"]).int();
    assert_outlasts(&server, 500);
    assert_ends_soon(&server);
    acquire(&mut c, "k", "a");
    assert_eq!(c.cmd(&["LOCK.EXTEND", "k", "a", "EX", "3"]), HELD);
    assert_outlasts(&server, 500);
    assert_ends_soon(&server);
    server.assert_clean();
}

#[test]
fn a_lease_starts_at_the_grant_and_not_at_the_request() {
    let server = Server::start();
    let (mut a, mut b) = (server.client(), server.client());
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "1500"]).int();
    // 1000 ms from the request would be over when the lock comes free.
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "1000", "BLOCK", "0"]);
    b.read().int();
    assert_eq!(b.cmd(&["LOCK.EXTEND", "k", "b", "PX", "60000"]), HELD);
    assert_released(&server, "b");
}

#[test]
fn fence_option_touches_only_the_hold_with_that_fence() {
    let server = Server::start();
    let mut c = server.client();
    let old = acquire(&mut c, "k", "a");
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", old]), HELD);
    let fence = acquire(&mut c, "k", "a");
    for wrong in [old, fence - 1, fence + 1, 1, FENCE_END - 1] {
        assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", wrong]), FREE, "FENCE {wrong}, not {fence}");
        assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "PX", 1, "FENCE", wrong]), FREE, "FENCE {wrong}, not {fence}");
    }
    assert_outlasts(&server, 500);
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence]), HELD);
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "rival", "FENCE", fence]), FREE);
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), HELD);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn raise_lifts_this_hold_and_all_later_fences_of_the_server() {
    let server = Server::start();
    let mut c = server.client();
    let fence = acquire(&mut c, "k", "a");
    let raised = clock_us(&mut c) + LEAP_US;
    assert!(raised > fence, "a start leaps no further than RAISE may go");
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "PX", 60_000, "RAISE", raised]), HELD);
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "a"]), raised);
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence]), FREE, "the old fence is no longer its");
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), FREE);

    let mut elsewhere = server.client();
    elsewhere.select(3);
    let next = acquire(&mut elsewhere, "other", "b");
    assert!(next > raised, "{next} after {raised}");
    assert_eq!(elsewhere.cmd(&["LOCK.RELEASE", "other", "b"]), HELD);
    assert_eq!(c.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", raised]), HELD);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn raise_to_no_more_than_the_fence_changes_no_fence() {
    let server = Server::start();
    let mut c = server.client();
    let fence = acquire(&mut c, "k", "a");
    for lower in [1, fence - 1, fence] {
        assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "RAISE", lower]), HELD);
        assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "a"]), fence, "RAISE {lower}");
    }
    // And where nothing is raised because nothing is held, later fences stay where they were.
    let high = clock_us(&mut c) + LEAP_US;
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "b", "RAISE", high]), FREE);
    assert_eq!(c.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence + 1, "RAISE", high]), FREE);
    assert!(acquire(&mut c, "other", "b") < high);
    assert_eq!(c.cmd(&["LOCK.RELEASE", "other", "b"]), HELD);
    assert_released(&server, "a");
}

#[test]
fn raise_beyond_sixty_seconds_is_refused_and_within_is_allowed() {
    let server = Server::start();
    let mut c = server.client();
    let fence = acquire(&mut c, "k", "a");
    let beyond = clock_us(&mut c) + LEAP_US + 3_000_000;
    let answer = c.cmd(&args!["LOCK.EXTEND", "k", "a", "PX", 1, "RAISE", beyond]);
    assert!(answer.err_text().starts_with("ERR RAISE "), "{answer:?}");
    assert_outlasts(&server, 500);
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "a"]), fence);
    // The same number, once the clock has come near enough.
    until("the number lies within 60 s", || !c.cmd(&args!["LOCK.EXTEND", "k", "a", "RAISE", beyond]).is_err());
    assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "a"]), beyond);
    assert_released(&server, "a");
}

#[test]
fn fences_rise_over_keys_databases_releases_and_removals() {
    let server = Server::start();
    let mut c = server.client();
    let mut last = 0;
    let mut assert_rises = |fence: i64, when: &str| {
        assert!(fence > last, "{fence} after {last}: {when}");
        assert!(fence < FENCE_END, "{fence}");
        last = fence;
    };
    for database in [0, 15, 3] {
        c.select(database);
        for key in ["k", "other", "k"] {
            assert_rises(acquire(&mut c, key, "a"), "another key or database");
            assert_eq!(c.cmd(&["LOCK.RELEASE", key, "a"]), HELD);
        }
    }
    for removal in ["DEL k", "UNLINK k", "FLUSHDB", "FLUSHALL", "SET k x", "RENAME k other", "MOVE k 0", "FLUSHALL"] {
        assert_rises(acquire(&mut c, "k", "a"), removal);
        let words: Vec<&str> = removal.split(' ').collect();
        assert!(!c.cmd(&words).is_err(), "{removal}");
        c.cmd(&["DEL", "k"]);
    }
    assert_rises(c.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "1"]).int(), "after FLUSHALL");
    assert_rises(c.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]).int(), "a lease that ended");
    assert_eq!(c.cmd(&["LOCK.RELEASE", "k", "b"]), HELD);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn fences_follow_the_clock_within_the_leap_of_a_start() {
    let server = Server::start();
    let mut c = server.client();
    let before = clock_us(&mut c);
    let fence = acquire(&mut c, "k", "a");
    let after = clock_us(&mut c);
    // At most the leap ahead of the clock, and one more for the grant itself.
    assert!(before <= fence && fence <= after + LEAP_US + 1, "{fence} between {before} and {after} (+ 60 s)");
    assert_released(&server, "a");
}

#[test]
fn owner_star_is_made_by_the_server_and_returned() {
    let server = Server::start();
    let (mut c, mut waiter) = (server.client(), server.client());
    let mut seen = HashSet::new();
    let mut last = 0;
    let mut assert_new = |granted: &Value| {
        let [owner, fence] = granted.array() else { panic!("expected [owner, fence], got {granted:?}") };
        assert!(matches!(owner, Value::Bulk(_)));
        let owner = owner.text();
        assert!(owner.len() == 32 && owner.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{owner}");
        assert!(seen.insert(owner.clone()), "{owner} came twice");
        assert!(fence.int() > last);
        last = fence.int();
        owner
    };
    for _ in 0..50 {
        let owner = assert_new(&c.cmd(&["LOCK.ACQUIRE", "k", "*", "PX", "60000"]));
        assert_eq!(c.cmd(&["LOCK.ACQUIRE", "k", "*"]), Value::NullBulk, "* is another owner each time");
        server.send_to_wait(&mut waiter, &["LOCK.ACQUIRE", "k", "*", "BLOCK", "0"]);
        assert_eq!(c.cmd(&["LOCK.EXTEND", "k", &owner]), HELD);
        assert_eq!(c.cmd(&["LOCK.RELEASE", "k", &owner]), HELD);
        let next = assert_new(&waiter.read());
        assert_eq!(waiter.cmd(&["LOCK.RELEASE", "k", &next]), HELD);
    }
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn databases_do_not_share_locks() {
    let server = Server::start();
    let (mut zero, mut one) = (server.client(), server.client());
    one.select(1);
    acquire(&mut zero, "k", "a");
    acquire(&mut one, "k", "b");
    assert_eq!(one.cmd(&["LOCK.RELEASE", "k", "a"]), FREE);
    let mut waiter = server.client();
    waiter.select(1);
    server.send_to_wait(&mut waiter, &["LOCK.ACQUIRE", "k", "w", "BLOCK", "0"]);
    assert_eq!(zero.cmd(&["LOCK.RELEASE", "k", "a"]), HELD);
    acquire(&mut zero, "k", "a");
    server.assert_waiting(&mut waiter);
    assert_eq!(one.cmd(&["LOCK.RELEASE", "k", "b"]), HELD);
    waiter.read().int();
    assert_eq!(waiter.cmd(&["LOCK.RELEASE", "k", "w"]), HELD);
    assert_released(&server, "a");
}

#[test]
fn names_and_options_stand_in_any_case_and_order() {
    let server = Server::start();
    let mut c = server.client();
    for line in [
        "lock.acquire k a px 60000 block 5",
        "Lock.Acquire k a Block 5 Ex 60",
        "lock.extend k a raise 1 px 60000",
        "LOCK.EXTEND k a Raise 1 eX 60",
        "lOCK.rELEASE k a fence 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(matches!(c.cmd(&words), Value::Int(_)), "{line}");
    }
    assert_released(&server, "a");
}
