//! What the search for a cycle costs, and that what it knows beforehand is never out of date.

use super::deadlock::{chain, cycle, hold, steps, wait};
use super::*;

#[test]
fn the_search_follows_as_many_edges_as_it_is_set_to_and_no_more() {
    for length in [2, 3, 10] {
        for (max, is_refused) in [(length, true), (length - 1, false), (length + 1, true), (0, false)] {
            let mut world = World::new();
            world.set_to("deadlock-search-max", max as i64);
            let last = chain(&mut world, length);
            assert_eq!(cycle(&mut world, last).is_some(), is_refused, "{length} edges, {max} followed");
        }
    }
}

#[test]
fn no_search_looks_at_no_lock() {
    let mut world = World::new();
    world.set_to("deadlock-search-max", 0);
    let last = chain(&mut world, 10);
    world.looks = 0;
    assert_eq!(cycle(&mut world, last), None);
    assert!(world.looks <= 1, "{}", world.looks);
}

fn name(n: usize) -> Name {
    (0, &*Box::leak(format!("n{n}").into_boxed_str()))
}

/// Somebody waits for a lock that this owner holds: only then there is anything to search.
fn make_wanted(world: &mut World, who: &str) {
    world.grants(hold((3, "wanted"), who));
    world.waits(wait((3, "wanted"), "somebody"));
}

#[test]
fn nothing_is_searched_for_an_owner_that_nobody_waits_for() {
    let mut world = World::new();
    for n in 0..100 {
        world.grants(hold(name(n), "b"));
        world.waits(wait(name(n), "c"));
    }
    world.grants(hold(K2, "a"));
    world.looks = 0;
    assert_eq!(cycle(&mut world, wait(name(0), "a")), None);
    assert_eq!(world.looks, 0);
}

/// The contended locks follow every change of their holders.
#[test]
fn a_cycle_is_found_however_the_owner_that_asks_came_to_its_hold() {
    type Act = fn(&mut World);
    let ways: [(&str, Act); 8] = [
        ("grant", |world| {
            world.grants(hold(K2, "a"));
        }),
        ("shared", |world| {
            world.grants(hold(K2, "s").shared());
            world.grants(hold(K2, "a").shared());
        }),
        ("hand-off", |world| {
            world.grants(hold(K2, "x"));
            world.waits(wait(K2, "a"));
            world.release(K2, "x").unwrap();
        }),
        ("hand-off with others behind", |world| {
            world.grants(hold(K2, "x"));
            world.waits(wait(K2, "a"));
            world.waits(wait(K2, "y"));
            world.release(K2, "x").unwrap();
        }),
        ("lease", |world| {
            world.grants(ask(K2, "x").lease(5));
            world.waits(wait(K2, "a"));
            world.pass(5);
            world.settle();
        }),
        ("rename", |world| {
            world.grants(hold(OTHER_DB, "a"));
            world.grants(hold(K2, "x"));
            world.waits(wait(K2, "y"));
            world.rename(OTHER_DB, K2);
            world.settle();
        }),
        ("swap", |world| {
            world.grants(hold((1, "k2"), "a"));
            world.swap(0, 1);
        }),
        ("downgrade", |world| {
            world.grants(hold(K2, "a"));
            world.waits(wait(K2, "y"));
            world.downgrade(K2, "a").unwrap();
        }),
    ];
    for (name, act) in ways {
        let mut world = World::new();
        act(&mut world);
        world.grants(hold(K, "b"));
        world.waits(wait(K2, "b"));
        let links = cycle(&mut world, wait(K, "a")).unwrap_or_else(|| panic!("not found: {name}"));
        assert_eq!(steps(&links), [("a", "k", "b"), ("b", "k2", "a")], "{name}");
    }
}

/// One owner waits for hundreds of locks, whose owners wait for hundreds more.
#[test]
fn a_big_graph_costs_no_more_than_the_limit() {
    for max in [1, 10, 100] {
        let mut world = World::new();
        world.set_to("deadlock-search-max", 0);
        world.grants(hold(K, "hub"));
        for n in 0..300 {
            let (key, who) = (name(n), format!("w{n}"));
            world.grants(hold(key, &who));
            world.waits(wait(key, "hub"));
            world.waits(wait(name(n / 2), &format!("w{}", n + 1)));
        }
        make_wanted(&mut world, "a");
        world.set_to("deadlock-search-max", max);
        world.looks = 0;
        assert_eq!(cycle(&mut world, wait(K, "a")), None);
        assert!(world.looks > 0 && world.looks <= max as usize, "{max} edges, {} locks looked at", world.looks);
    }
}

/// A big graph whose locks have no edges costs no more than the limit: their queues wait for room, and no owner is in the way.
#[test]
fn requests_without_an_edge_cost_no_more_than_the_limit_either() {
    let mut world = World::new();
    (world.fake.state, world.fake.write_check) = (ServerState::Halted, WriteCheck::Halted);
    world.set_to("max-holders", 1);
    world.grants(hold(K, "hub"));
    for n in 0..200 {
        world.grants(hold(name(n), "other").shared());
        world.grants(hold((1, name(n).1), "other").shared());
        // An exclusive one stands first, and leaves the queue without the timer having rung.
        let head = world.waits(wait(name(n), "head"));
        world.waits(wait(name(n), "hub").shared());
        world.engine.leave(head);
    }
    make_wanted(&mut world, "a");
    world.set_to("deadlock-search-max", 10);
    world.looks = 0;
    assert_eq!(cycle(&mut world, wait(K, "a")), None);
    assert!(world.looks > 0 && world.looks <= 11, "{} locks looked at", world.looks);
}

/// Holders are looked at as far as the limit of the search goes.
#[test]
fn search_looks_at_no_more_holders_than_its_limit() {
    for (max, is_refused) in [(201, true), (200, false)] {
        let mut world = World::new();
        world.set_to("deadlock-search-max", max);
        for n in 0..200 {
            world.grants(hold(K, &format!("s{n}")).shared());
        }
        world.grants(hold(K2, "a"));
        // The holder with the last fence waits for the owner that asks.
        world.waits(wait(K2, "s199"));
        assert_eq!(cycle(&mut world, wait(K, "a")).is_some(), is_refused, "{max}");
    }
}
