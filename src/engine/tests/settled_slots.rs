//! Slots of a cluster that come and go, and the fences of their free locks.

use super::*;

use crate::wire::{key_slot, OwnSlots, SlotSet};

/// How far a server may be ahead of the wall clock, in microseconds.
const LEAP_US: u64 = 60_000_000;

fn slots_of(keys: &[Name]) -> SlotSet {
    let mut slots = SlotSet::new();
    keys.iter().for_each(|(_, name)| slots.insert(key_slot(name.as_bytes())));
    slots
}

/// What a node says that has these keys' slots.
fn own(keys: &[Name]) -> OwnSlots {
    OwnSlots { slots: slots_of(keys), epoch: 1 }
}

/// A node that has these keys' slots and whose clock leapt long ago.
fn node_of(keys: &[Name]) -> World {
    let mut world = World::new();
    world.engine.join_cluster();
    world.engine.begin_term(world.fake.now);
    world.fake.own_slots = Some(own(keys));
    world.pass(600_000);
    world
}

/// Takes the lock and releases it: how far its fence lies ahead of the wall clock.
fn ahead_us(world: &mut World, key: Name) -> u64 {
    let fence = world.grant(key, "a", 1000).get();
    world.release(key, "a").unwrap();
    fence - world.fake.now.unix.0
}

/// Another server may have given a number up to 60 s ahead of the clock.
#[test]
fn first_fence_of_a_slot_that_came_is_above_all_that_its_last_server_gave() {
    let mut world = node_of(&[K]);
    world.grant(K, "a", 1000);
    world.settle();
    world.pass(600_000);
    assert_eq!(ahead_us(&mut world, K), 0, "the clock follows the wall clock");
    world.fake.own_slots = Some(own(&[K, K2]));
    let least = world.fake.now.unix.0 + LEAP_US;
    assert!(world.grant(K2, "a", 1000).get() > least);
}

/// So that not each first grant of thousands of slots makes the clock leap.
#[test]
fn all_own_slots_are_settled_at_once() {
    let mut world = node_of(&[K, K2]);
    world.grant(K, "a", 1000);
    world.settle();
    world.pass(600_000);
    assert_eq!(ahead_us(&mut world, K2), 0);
}

/// Its replica may have been promoted meanwhile, and its clock must stay above.
#[test]
fn server_that_granted_nothing_since_its_start_leaps_no_more() {
    let mut world = node_of(&[K]);
    world.settle();
    world.pass(600_000);
    assert_eq!(ahead_us(&mut world, K), 0);
}

#[test]
fn slot_that_left_and_came_back_is_noticed_by_asking_the_server() {
    let mut world = node_of(&[K, K2]);
    world.grant(K, "a", 1000);
    world.settle();
    world.fake.own_slots = Some(own(&[K2]));
    world.pass(1000);
    world.settle();
    world.pass(600_000);
    world.fake.own_slots = Some(own(&[K, K2]));
    assert_eq!(ahead_us(&mut world, K2), 0);
    assert!(ahead_us(&mut world, K) > LEAP_US);
}

/// A slot that is being imported: clients that say ASKING are granted here, and the other server goes on granting as well.
#[test]
fn slot_that_is_being_imported_never_stays_settled() {
    let mut world = node_of(&[K]);
    for _ in 0..3 {
        assert!(ahead_us(&mut world, K2) > LEAP_US);
        world.settle();
        world.pass(600_000);
        world.settle();
    }
}

/// A running hold keeps its fence when its owner reacquires the lock: nothing was lost.
#[test]
fn leap_for_a_slot_leaves_running_holds_alone() {
    let mut world = node_of(&[K, K2]);
    let fence = world.grant(K, "a", 600_000);
    world.settle();
    world.fake.own_slots = Some(OwnSlots { epoch: 2, ..own(&[K, K2]) });
    world.engine.recheck_slots(&mut world.fake);
    world.grant(K2, "b", 1000);
    assert_eq!(world.grant(K, "a", 600_000), fence);
}

#[test]
fn server_outside_a_cluster_asks_for_no_slots() {
    let mut world = World::new();
    world.grant(K, "a", 1000);
    world.release(K, "a").unwrap();
    assert_eq!(world.settle(), None);
}

/// A server that does not say which slots are its own (it is starting, or somebody took the command away) is asked again.
#[test]
fn without_an_answer_single_slots_are_settled() {
    let mut world = node_of(&[]);
    world.fake.own_slots = None;
    assert!(ahead_us(&mut world, K) > LEAP_US);
    world.settle();
    world.pass(600_000);
    world.settle();
    assert_eq!(ahead_us(&mut world, K), 0);
    assert!(ahead_us(&mut world, K2) > LEAP_US);
}

#[test]
fn promoted_server_knows_of_no_settled_slot() {
    let mut world = node_of(&[K]);
    world.grant(K, "a", 1000);
    world.settle();
    world.engine.begin_term(world.fake.now);
    world.pass(600_000);
    world.release(K, "a").unwrap();
    assert!(ahead_us(&mut world, K) > LEAP_US);
}

/// Nothing else may have been heard of the slot's journey.
#[test]
fn slot_that_left_and_came_back_at_once_is_noticed_by_the_risen_epoch() {
    let mut world = node_of(&[K, K2]);
    world.grant(K2, "a", 1000);
    world.settle();
    world.pass(600_000);
    world.settle();
    world.engine.recheck_slots(&mut world.fake);
    assert_eq!(ahead_us(&mut world, K), 0, "the same slots under the same epoch");
    world.fake.own_slots = Some(OwnSlots { epoch: 2, ..own(&[K, K2]) });
    world.engine.recheck_slots(&mut world.fake);
    assert!(ahead_us(&mut world, K) > LEAP_US);
}
