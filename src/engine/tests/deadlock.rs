//! Which requests are refused because waiting would close a cycle, and which are not.

use super::*;
use crate::wire::errors::{Link, Refused};

pub const LOCKS: [Name; 12] = [
    (0, "l0"),
    (0, "l1"),
    (0, "l2"),
    (0, "l3"),
    (0, "l4"),
    (0, "l5"),
    (0, "l6"),
    (0, "l7"),
    (0, "l8"),
    (0, "l9"),
    (0, "l10"),
    (0, "l11"),
];
pub const OWNERS: [&str; 12] = ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8", "o9", "o10", "o11"];
const ENDLESS: u64 = 600_000;

pub fn hold(key: Name, who: &str) -> Ask<'_> {
    ask(key, who).lease(ENDLESS)
}

pub fn wait(key: Name, who: &str) -> Ask<'_> {
    hold(key, who).block(0)
}

/// `(the owner that waits, the lock, the owner that it waits for)`
pub type Steps<'a> = Vec<(&'a str, &'a str, &'a str)>;

pub fn cycle(world: &mut World, ask: Ask) -> Option<Vec<Link>> {
    let before = (world.engine.waiters(), world.engine.stats().deadlocks_refused);
    match world.send(ask) {
        Ok(Outcome::Refused(Refused::Deadlock(links))) => {
            assert_eq!((world.engine.waiters(), world.engine.stats().deadlocks_refused), (before.0, before.1 + 1));
            Some(links)
        }
        Ok(Outcome::Waits(_)) => None,
        other => panic!("{other:?}: {ask:?}"),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub fn steps(links: &[Link]) -> Steps<'_> {
    links.iter().map(|link| (text(&link.waits), text(&link.key), text(&link.holds))).collect()
}

/// Owner n holds lock n, and all but the first wait for the lock of the one before. The first's request would close it.
pub fn chain(world: &mut World, length: usize) -> Ask<'static> {
    for n in 0..length {
        world.grants(hold(LOCKS[n], OWNERS[n]));
    }
    for n in 1..length {
        world.waits(wait(LOCKS[n - 1], OWNERS[n]));
    }
    wait(LOCKS[length - 1], OWNERS[0])
}

#[test]
fn the_request_that_would_close_a_cycle_is_refused_with_the_links_in_order() {
    for length in [2, 3, 10] {
        let mut world = World::new();
        let last = chain(&mut world, length);
        let links = cycle(&mut world, last).unwrap();
        // From the first, each to the one that holds the lock it waits for, down to the first again.
        let (mut expected, mut waits) = (Steps::new(), 0);
        for holds in (0..length).rev() {
            expected.push((OWNERS[waits], LOCKS[holds].1, OWNERS[holds]));
            waits = holds;
        }
        assert_eq!(steps(&links), expected);
        world.did();
        assert!(world.engine.waits.queue(at(LOCKS[length - 1])).is_none(), "it left no queue behind");
        world.release(LOCKS[length - 1], OWNERS[length - 1]).unwrap();
        assert_eq!(world.granted(), [0; 0], "and waits for nothing");
        world.settle();
        world.assert_at_rest();
    }
}

#[test]
fn a_chain_that_does_not_close_waits() {
    let mut world = World::new();
    chain(&mut world, 5);
    assert_eq!(cycle(&mut world, wait(LOCKS[4], "somebody else")), None);
    assert_eq!(world.engine.stats().deadlocks_refused, 0);
}

#[test]
fn the_shortest_of_two_cycles_is_reported() {
    let mut world = World::new();
    let last = chain(&mut world, 5);
    // A second way: the one that o0 would wait for also waits for o0 itself.
    world.waits(wait(LOCKS[0], OWNERS[4]));
    let links = cycle(&mut world, last).unwrap();
    assert_eq!(steps(&links), [("o0", "l4", "o4"), ("o4", "l0", "o0")]);
}

/// A waits for k, B waits behind A and holds j: A's request for j would close a cycle, though A holds nothing.
#[test]
fn a_waiter_waits_for_the_one_just_before_it() {
    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "b"));
    world.waits(wait(LOCKS[0], "a"));
    world.waits(wait(LOCKS[0], "b"));
    let links = cycle(&mut world, wait(LOCKS[1], "a")).unwrap();
    assert_eq!(steps(&links), [("a", "l1", "b"), ("b", "l0", "a")]);
}

/// Through the one just before it waits for all before it.
#[test]
fn a_waiter_waits_for_the_whole_queue_before_it() {
    for which in 0..3 {
        let mut world = World::new();
        world.grants(hold(LOCKS[0], "h"));
        world.grants(hold(LOCKS[1], "d"));
        let queue = ["a", "b", "c", "d"];
        for who in queue {
            world.waits(wait(LOCKS[0], who));
        }
        let links = cycle(&mut world, wait(LOCKS[1], queue[which])).unwrap();
        assert_eq!(steps(&links), [(queue[which], "l1", "d"), ("d", "l0", queue[which])]);
    }
}

/// Where somebody in the middle of a queue waits for something else too, at another connection.
#[test]
fn what_those_before_it_wait_for_elsewhere_is_followed() {
    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "a"));
    world.grants(hold(LOCKS[2], "d"));
    for who in ["b", "c", "d"] {
        world.waits(wait(LOCKS[0], who));
    }
    world.waits(wait(LOCKS[1], "b"));
    let links = cycle(&mut world, wait(LOCKS[2], "a")).unwrap();
    assert_eq!(steps(&links), [("a", "l2", "d"), ("d", "l0", "b"), ("b", "l1", "a")]);
}

#[test]
fn every_shared_holder_is_in_the_way_of_an_exclusive_request() {
    for which in &OWNERS[..4] {
        let mut world = World::new();
        for who in &OWNERS[..4] {
            world.grants(hold(K, who).shared());
        }
        world.grants(hold(K2, "a"));
        world.waits(wait(K2, which));
        let links = cycle(&mut world, wait(K, "a")).unwrap();
        assert_eq!(steps(&links), [("a", "k", *which), (*which, "k2", "a")]);
    }
}

#[test]
fn a_cycle_may_go_through_a_waiter_and_the_holders_it_waits_for() {
    let mut world = World::new();
    world.grants(hold(K, "s").shared());
    world.grants(hold(K2, "a"));
    world.waits(wait(K2, "s"));
    world.waits(wait(K, "x"));
    let links = cycle(&mut world, wait(K, "a").shared()).unwrap();
    assert_eq!(steps(&links), [("a", "k", "s"), ("s", "k2", "a")], "x, which waits for s, is stepped through");
}

#[test]
fn shared_holders_are_not_in_the_way_of_a_shared_waiter() {
    let mut world = World::new();
    world.grants(hold(K, "s").shared());
    world.grants(hold(K2, "a"));
    world.waits(wait(K2, "s"));
    world.waits(wait(K, "x").user(2));
    assert_eq!(cycle(&mut world, wait(K, "a").shared()), None, "it waits for another user's request alone");
}

#[test]
fn an_exclusive_waiter_is_in_the_way_of_the_shared_ones_behind_it() {
    let mut world = World::new();
    world.grants(hold(K, "s").shared());
    world.grants(hold(K2, "a"));
    world.waits(wait(K, "x"));
    world.waits(wait(K2, "x"));
    let links = cycle(&mut world, wait(K, "a").shared()).unwrap();
    assert_eq!(steps(&links), [("a", "k", "x"), ("x", "k2", "a")]);
}

/// With LIMIT 1 each waits for the other; above it any of several may make room.
#[test]
fn only_a_limit_of_one_takes_part() {
    for (limit, is_refused) in [(1, true), (2, false), (3, false)] {
        for mine in [true, false] {
            let mut world = World::new();
            let (one, other) = if mine {
                (hold(K, "b").shared(), ask(K, "a").limit(limit))
            } else {
                (hold(K, "b").limit(limit), ask(K, "a").shared())
            };
            world.grants(one);
            if limit > 1 {
                // So many that one more has no room.
                for who in (1..limit).map(|n| OWNERS[n as usize]) {
                    world.grants(hold(K, who).shared());
                }
            }
            world.grants(hold(K2, "a"));
            world.waits(wait(K2, "b"));
            let found = cycle(&mut world, other.lease(ENDLESS).block(0));
            assert_eq!(found.is_some(), is_refused, "LIMIT {limit}, the asker's own: {mine}");
        }
    }
}

/// Also as a step in the middle, and as the one just before.
#[test]
fn requests_with_a_limit_above_one_are_no_step_of_a_cycle() {
    let mut world = World::new();
    world.grants(hold(K, "b"));
    world.grants(hold(K2, "a"));
    world.waits(wait(K2, "b").limit(2));
    assert_eq!(cycle(&mut world, wait(K, "a")), None);

    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "c"));
    world.waits(wait(LOCKS[0], "a"));
    world.waits(wait(LOCKS[0], "b").limit(2));
    world.waits(wait(LOCKS[0], "c"));
    let links = cycle(&mut world, wait(LOCKS[1], "a")).unwrap();
    assert_eq!(steps(&links), [("a", "l1", "c"), ("c", "l0", "a")], "b is stepped over");
}

/// Nor does one that stands before it in the queue, with what it waits for: it may be let in when any one of them leaves.
#[test]
fn a_queue_is_not_followed_through_a_limit_above_one() {
    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "c"));
    world.waits(wait(LOCKS[0], "a").limit(2));
    world.waits(wait(LOCKS[0], "c"));
    assert_eq!(cycle(&mut world, wait(LOCKS[1], "a")), None);

    let mut world = World::new();
    for who in ["s", "t"] {
        world.grants(hold(K, who).shared());
    }
    world.grants(hold(K2, "a"));
    world.waits(wait(K2, "s"));
    world.waits(wait(K, "x").limit(2));
    assert_eq!(cycle(&mut world, wait(K, "a").shared()), None);
}

/// No user can build a cycle round another one.
#[test]
fn only_requests_and_holds_of_the_user_that_asks_are_looked_at() {
    for (holder, waiter, asker) in
        [(1, 1, 2), (1, 2, 1), (2, 1, 1), (2, 2, 1), (2, 1, 2), (0, 1, 1), (1, 0, 1), (0, 0, 0)]
    {
        let mut world = World::new();
        world.grants(hold(K, "b").user(holder));
        world.grants(hold(K2, "a").user(asker));
        world.waits(wait(K2, "b").user(waiter));
        assert_eq!(cycle(&mut world, wait(K, "a").user(asker)), None, "{holder} {waiter} {asker}");
    }
    let mut world = World::new();
    world.grants(hold(K, "b").user(2));
    world.grants(hold(K2, "a").user(2));
    world.waits(wait(K2, "b").user(2));
    assert!(cycle(&mut world, wait(K, "a").user(2)).is_some());
}

/// The one just before it in the queue is another user's: the next one of its own counts.
#[test]
fn waiters_of_others_are_stepped_over() {
    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "c"));
    world.waits(wait(LOCKS[0], "a"));
    world.waits(wait(LOCKS[0], "b").user(2));
    world.waits(wait(LOCKS[0], "c"));
    let links = cycle(&mut world, wait(LOCKS[1], "a")).unwrap();
    assert_eq!(steps(&links), [("a", "l1", "c"), ("c", "l0", "a")]);
}

/// A lease or a wait that has ended does not count, even if the timer has not come to it.
#[test]
fn expired_leases_and_waits_close_no_cycle() {
    let mut world = World::new();
    world.grants(ask(K, "b").lease(5));
    world.grants(hold(K, "b"));
    world.grants(ask(K2, "a").lease(5));
    world.waits(wait(K2, "b"));
    world.pass(5);
    assert_eq!(cycle(&mut world, wait(K, "a")), None, "a's hold is over");

    let mut world = World::new();
    for who in ["b", "c"] {
        world.grants(ask(K, who).shared().lease(if who == "b" { 5 } else { ENDLESS }));
    }
    world.grants(hold(K2, "a"));
    world.waits(wait(K2, "b"));
    world.waits(wait(K, "d"));
    world.pass(5);
    assert_eq!(cycle(&mut world, wait(K, "a")), None, "b's hold is over");

    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "b"));
    world.waits(wait(LOCKS[0], "a").block(5));
    world.waits(wait(LOCKS[0], "b"));
    world.pass(5);
    assert_eq!(cycle(&mut world, wait(LOCKS[1], "a")), None, "a's own wait is over");
}

/// A client whose connection was lost sends its request again: it is answered when the first one is.
#[test]
fn an_owner_that_waits_twice_waits_for_nobody_new() {
    for between in 0..3 {
        let mut world = World::new();
        world.grants(hold(K, "h"));
        world.waits(wait(K, "a"));
        for who in &OWNERS[..between] {
            world.waits(wait(K, who));
        }
        assert_eq!(cycle(&mut world, wait(K, "a")), None, "{between} between them");
        world.release(K, "h").unwrap();
        assert_eq!(world.granted().len(), 2, "both are answered");
    }
}

/// Neither does another owner's second request close anything that its first one does not.
#[test]
fn the_second_request_of_another_owner_closes_nothing() {
    let mut world = World::new();
    world.grants(hold(LOCKS[0], "h"));
    world.grants(hold(LOCKS[1], "b"));
    for who in ["b", "a", "b"] {
        world.waits(wait(LOCKS[0], who));
    }
    assert_eq!(cycle(&mut world, wait(LOCKS[1], "a")), None, "b goes first, and its second request with it");
}
