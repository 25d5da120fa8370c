//! The setting `start-quarantine`: nothing is granted for a while after the start, and everything else goes on.

use super::*;

/// A server that grants nothing for 100 ms.
fn quarantined() -> World {
    let mut world = World::new();
    world.set_to("start-quarantine", 100);
    world.settle();
    world
}

#[test]
fn a_request_that_does_not_wait_is_told_how_long_the_server_grants_nothing() {
    let mut world = quarantined();
    world.pass(30);
    let refused = world.send(ask(K, "a")).unwrap();
    assert_eq!(refused.clone(), Outcome::Refused(crate::wire::errors::Refused::Quarantine(Millis(70))));
    world.pass(70);
    world.grant(K, "a", 5);
}

#[test]
fn queues_are_served_by_themselves_when_it_is_over() {
    let mut world = quarantined();
    let (first, second) = (world.wait(K, "a", 600, Patience::Endless), world.wait(K2, "b", 600, Patience::Endless));
    world.pass(99);
    world.settle();
    assert!(world.answers().is_empty());
    assert!(world.engine.first_deadline().is_some(), "the timer is to ring when it is over");
    world.pass(1);
    world.settle();
    let mut answered: Vec<u64> = world.answers().iter().map(|(client, _)| *client).collect();
    answered.sort_unstable();
    assert_eq!(answered, [first, second]);
    world.assert_at_rest();
}

#[test]
fn holds_of_before_go_on_and_are_handed_to_nobody() {
    let mut world = quarantined();
    world.restore(K, "a", 600, 7);
    world.settle();
    let waiter = world.wait(K, "b", 600, Patience::Endless);
    assert_eq!(world.extend(K, "a", 700), Ok(true));
    assert!(world.grant(K, "a", 700).get() > 7, "its owner reacquires it, with a new fence");
    assert_eq!(world.release(K, "a"), Ok(true));
    world.settle();
    assert_eq!((world.hold(K), world.answers().len()), (None, 0));
    world.set_to("start-quarantine", 0);
    world.settle();
    assert!(matches!(world.answers()[..], [(client, Reply::Granted(..))] if client == waiter));
}
