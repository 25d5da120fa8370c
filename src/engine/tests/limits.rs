//! What the settings allow, and what happens when they are changed.

use super::*;
use crate::wire::errors::Refused;

#[test]
fn too_many_waiters_are_refused_and_a_holder_is_not() {
    let mut world = World::new();
    world.set_to("max-waiters", 10);
    world.grant(K, "a", 60_000);
    for n in 0..10 {
        world.waits(ask(K, &format!("w{n}")).block(0));
    }
    assert_eq!(world.send(ask(K, "late").block(0)), Ok(Outcome::Refused(Refused::Waiters(10))));
    assert_eq!(world.send(ask(K, "late")), Ok(Outcome::Busy), "one that does not wait is merely refused");
    assert!(matches!(world.send(ask(K, "a").block(0)), Ok(Outcome::Granted(_))));
    world.grant(K2, "a", 60_000);
    world.waits(ask(K2, "late").block(0));
    assert!(world.engine.leave(1));
    world.waits(ask(K, "late").block(0));
    assert_eq!(world.send(ask(K, "later").block(0)), Ok(Outcome::Refused(Refused::Waiters(10))));
}

#[test]
fn all_waiters_together_have_a_limit_too() {
    let mut world = World::new();
    world.set_to("max-waiters-total", 2);
    for key in [K, K2, OTHER_DB] {
        world.grant(key, "a", 60_000);
    }
    world.waits(ask(K, "b").block(0));
    world.waits(ask(K2, "b").block(5));
    assert_eq!(world.send(ask(OTHER_DB, "b").block(0)), Ok(Outcome::Refused(Refused::WaitersTotal(2))));
    let free = (0, "free");
    assert!(matches!(world.send(ask(free, "b").block(0)), Ok(Outcome::Granted(_))), "it need not wait");
    world.pass(5);
    world.settle();
    world.waits(ask(OTHER_DB, "b").block(0));
}

#[test]
fn one_holder_more_than_may_hold_together_is_an_error() {
    let mut world = World::new();
    world.set_to("max-holders", 2);
    world.grants(ask(K, "a").shared());
    world.grants(ask(K, "b").shared());
    let full = Ok(Outcome::Refused(Refused::Holders(2)));
    assert_eq!(world.send(ask(K, "c").shared()), full);
    assert_eq!(world.send(ask(K, "c").shared().block(0)), full, "also when it would wait");
    assert_eq!(world.engine.waiters(), 0);
    assert!(matches!(world.send(ask(K, "a").shared()), Ok(Outcome::Granted(_))), "reacquiring");
    assert_eq!(world.send(ask(K, "d").limit(2)), Ok(Outcome::Busy), "its own limit kept it out");
}

/// Waiters at the head wait, and come in when there is room: by an end, or by the operator.
#[test]
fn waiters_kept_out_by_a_setting_come_in_when_it_is_raised() {
    let mut world = World::new();
    world.set_to("max-holders", 2);
    world.grant(K, "x", 60_000);
    let clients: Vec<u64> = (0..5).map(|n| world.waits(ask(K, &format!("w{n}")).shared().block(0))).collect();
    world.release(K, "x").unwrap();
    world.settle();
    assert_eq!(world.granted(), clients[..2]);
    world.release(K, "w0").unwrap();
    world.settle();
    assert_eq!(world.granted(), clients[2..3], "one went, one came");
    world.set_to("max-holders", 4);
    assert!(world.engine.has_ready_work(), "the timer rings at once");
    world.settle();
    assert_eq!(world.granted(), clients[3..]);
    world.assert_at_rest();
}

#[test]
fn a_limit_that_is_lowered_ends_nothing_that_is_there() {
    let mut world = World::new();
    for who in ["a", "b", "c"] {
        world.grants(ask(K, who).shared());
    }
    world.set_to("max-holders", 1);
    world.settle();
    assert_eq!(world.holders(K), ["a", "b", "c"]);
    for who in ["a", "b"] {
        assert_eq!(world.send(ask(K, "d").shared()), Ok(Outcome::Refused(Refused::Holders(1))));
        world.release(K, who).unwrap();
    }
    assert_eq!(world.send(ask(K, "d").shared()), Ok(Outcome::Refused(Refused::Holders(1))));
    world.release(K, "c").unwrap();
    world.grants(ask(K, "d").shared());
}

#[test]
fn a_shared_holder_that_asks_for_the_exclusive_hold_is_told_to_release_first() {
    let mut world = World::new();
    world.grants(ask(K, "a").shared());
    assert_eq!(world.send(ask(K, "a").block(0)), Ok(Outcome::Refused(Refused::MustRelease)));
    assert_eq!(world.engine.waiters(), 0);
    world.grant(K2, "a", 100);
    assert!(matches!(world.send(ask(K2, "a").shared()), Ok(Outcome::Granted(_))), "an exclusive hold satisfies both");
    world.grant(OTHER_DB, "x", 100);
    let (shared, alone) = (ask(OTHER_DB, "a").shared().block(0), ask(OTHER_DB, "a").block(0));
    let (first, second) = (world.waits(shared), world.waits(alone));
    world.release(OTHER_DB, "x").unwrap();
    let answers = world.answers();
    assert!(answers.contains(&(second, Reply::MustRelease)), "{answers:?}");
    assert!(answers.iter().any(|(client, reply)| *client == first && matches!(reply, Reply::Granted(..))));
    world.settle();
    world.assert_at_rest();
}
