//! Slots that leave with the locks in them: the server reports the slots only, and no key.

use super::*;

/// More locks than one tick looks at.
fn many() -> Vec<Name> {
    (0..6000).map(|n| (0, &*Box::leak(format!("k{n}").into_boxed_str()))).collect()
}

fn cluster() -> World {
    let mut world = World::new();
    world.engine.join_cluster();
    world
}

#[test]
fn locks_that_left_are_held_here_no_more_and_end_nothing() {
    for (why, counted) in [(Leaving::Moved, 2), (Leaving::Dropped, 0)] {
        let mut world = cluster();
        world.grant(K, "a", 50);
        world.grant(OTHER_DB, "a", 50);
        world.grant(K2, "a", 100);
        world.did();
        world.slots_leave(&[K], why);
        assert_eq!((world.engine.locks_held(), world.engine.stats().moved_away), (1, counted), "at once");
        world.settle();
        world.pass(50);
        assert_eq!(world.settle(), Some(world.ms(100)), "the other one's end");
        assert_eq!(world.did(), []);
        world.pass(50);
        world.settle();
        assert_eq!((world.hold(K2), world.engine.stats().lease_ends), (None, 1));
    }
}

#[test]
fn lock_that_comes_back_at_once_keeps_what_it_brings() {
    let mut world = cluster();
    let keys = many();
    for key in &keys {
        world.grant(*key, "a", 100);
    }
    world.slots_leave(&keys, Leaving::Moved);
    assert!(world.engine.locks_held() > 0, "more than a portion");
    let last = *keys.last().unwrap();
    world.restore(last, "a", 50, 7_000_000);
    world.grant(keys[0], "b", 50);
    assert_eq!(world.settle(), Some(world.ms(50)));
    assert_eq!((world.engine.locks_held(), world.engine.stats().moved_away), (2, keys.len() as u64));
    world.assert_deadlines();
    world.pass(50);
    world.settle();
    assert_eq!(world.engine.stats().lease_ends, 2);
}

#[test]
fn departed_locks_are_forgotten_in_several_ticks_whatever_the_server_may_do() {
    for state in [ServerState::Writable, ServerState::Halted, ServerState::Replica] {
        let mut world = cluster();
        let keys = many();
        for (key, connection) in keys.iter().zip(1..) {
            world.grants(ask(*key, "a").lease(60_000).on(connection % 3));
        }
        world.fake.state = state;
        world.fake.open_cost_us = 2;
        world.slots_leave(&keys, Leaving::Moved);
        assert!(world.engine.locks_held() < keys.len(), "a portion at once");
        let mut runs = 0;
        while !world.engine.cluster.departures.is_empty() {
            let begin = world.fake.now.steady;
            let next = world.run();
            runs += 1;
            assert!(world.fake.now.steady <= begin + Millis(2) + Millis(1), "a slice took too long");
            let goes_on = next.is_some_and(|next| next <= world.fake.now.steady);
            assert!(world.engine.cluster.departures.is_empty() || goes_on, "there is more to do, at once: {next:?}");
        }
        assert!((6..12).contains(&runs), "{runs} slices for 12 ms of work");
        assert_eq!((world.engine.locks_held(), world.engine.stats().moved_away), (0, keys.len() as u64));
        assert_eq!(world.engine.sessions.with_holds(), []);
    }
}

#[test]
fn flush_counts_what_is_here_and_not_what_left_before() {
    for scope in [Scope::All, Scope::Db(0)] {
        let mut world = cluster();
        let keys = many();
        for key in &keys {
            world.grant(*key, "a", 100);
        }
        world.slots_leave(&keys[1..], Leaving::Moved);
        assert_eq!(world.flush(scope), 1);
        assert_eq!((world.engine.locks_held(), world.engine.stats().moved_away), (0, keys.len() as u64 - 1));
        world.settle();
    }
}

#[test]
fn waiters_of_a_departed_slot_are_redirected_at_once() {
    for state in [ServerState::Writable, ServerState::Halted] {
        let mut world = cluster();
        let held = [K, K2].map(|key| {
            world.grant(key, "a", 60_000);
            world.wait(key, "b", 50, Patience::Endless)
        });
        world.settle();
        world.fake.state = state;
        world.fake.foreign.push(K);
        world.slots_leave(&[K], Leaving::Moved);
        world.run();
        assert_eq!(world.answers(), [(held[0], Reply::TryAgain)]);
    }
}

#[test]
fn waiters_are_served_if_the_slot_is_back_before_they_are_redirected() {
    let mut world = cluster();
    world.grant(K, "a", 60_000);
    let client = world.wait(K, "b", 50, Patience::Endless);
    world.slots_leave(&[K], Leaving::Moved);
    world.settle();
    assert_eq!(world.granted(), [client], "its lock came back free");
}

#[test]
fn connection_loses_the_holds_that_left_and_keeps_those_that_are_bound_to_it() {
    let mut world = cluster();
    for key in [K, K2, OTHER_DB] {
        world.grants(ask(key, "a").lease(60_000).on(1));
    }
    world.slots_leave(&[K], Leaving::Moved);
    world.settle();
    assert!(world.engine.sessions.with_holds().len() == 1);
    // One is back, and held by another connection's doing; the other was taken anew before anybody looked.
    world.restore(K, "a", 60_000, 7_000_000);
    world.slots_leave(&[OTHER_DB, K2], Leaving::Moved);
    world.grants(ask(K2, "a").lease(60_000).on(1));
    world.settle();
    world.hang_up_at_rest(1);
    world.settle();
    assert_eq!((world.hold(K2), world.engine.stats().session_ends), (None, 1));
    world.assert_at_rest();
}

/// The server has its locks before it has the slot, for as long as the move takes.
#[test]
fn lock_that_comes_before_its_slot_is_indexed_once() {
    let mut world = cluster();
    world.fake.foreign.push(K);
    world.restore(K, "a", 50, 7_000_000);
    assert_eq!(world.settle(), Some(world.ms(50)), "nothing but its end to come back for");
    assert_eq!(world.engine.locks_held(), 1);
    world.pass(60);
    assert_eq!(world.settle(), Some(world.ms(80)), "the slot is still another server's");
    assert_eq!(world.hold(K).unwrap().0, "a");
    world.fake.foreign.clear();
    world.pass(20);
    world.settle();
    assert_eq!((world.hold(K), world.engine.stats().lease_ends), (None, 1));
}

/// Its queue was kept, and the engine came back to it fifty times a second for ever.
#[test]
fn undelivered_grant_is_forgotten_when_its_slot_has_left() {
    let mut world = cluster();
    world.grant(K, "a", 60_000);
    let client = world.wait(K, "b", 60_000, Patience::Endless);
    world.did();
    world.release(K, "a").unwrap();
    let answers = world.answers();
    assert_eq!(answers[0].0, client);
    world.fake.foreign.push(K);
    world.slots_leave(&[K], Leaving::Moved);
    world.settle();
    world.lose(K, &answers[0].1);
    world.rest();
    assert!(!world.engine.agenda.has_retries() && world.engine.waited_for().is_empty());
    assert_eq!(world.engine.stats().undelivered_grants, 0);
}
