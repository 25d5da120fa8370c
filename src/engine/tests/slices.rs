//! How much one ring of the timer does.

use super::*;

fn names(count: usize) -> Vec<Name> {
    (0..count).map(|n| (0, &*Box::leak(format!("k{n}").into_boxed_str()))).collect()
}

#[test]
fn a_slice_ends_after_two_milliseconds_and_later_ones_do_the_rest() {
    let mut world = World::new();
    let keys = names(1000);
    for key in &keys {
        world.grant(*key, "a", 5);
    }
    world.did();
    world.fake.cost_us = 10;
    world.pass(5);
    let mut runs = 0;
    while !world.fake.data.is_empty() {
        let (before, begin) = (world.fake.data.len(), world.fake.now.steady);
        let next = world.run();
        runs += 1;
        let took = world.fake.now.steady.0 - begin.0;
        assert!(took <= 2_200, "a slice took {took} us");
        let left = world.fake.data.len();
        assert!(left < before, "a slice did nothing");
        assert!(left == 0 || next == Some(world.fake.now.steady), "there is more to do, at once");
    }
    assert!((4..=6).contains(&runs), "{runs} slices for 10 ms of work");
    assert_eq!(world.settle(), None);
    assert_eq!(world.did().len(), 2000, "each was removed and signalled once");
    world.assert_deadlines();
}

#[test]
fn waits_that_run_out_together_are_answered_in_slices_too() {
    let mut world = World::new();
    world.grant((0, "k"), "a", 60_000);
    for n in 0..500 {
        world.wait((0, "k"), &format!("w{n}"), 5, Patience::For(Millis(3)));
    }
    world.pass(3);
    world.did();
    world.settle();
    let answers = world.answers();
    assert!(answers.iter().all(|(_, reply)| *reply == Reply::Null));
    assert_eq!(answers.len(), 500);
    assert_eq!(world.engine.waiters.len(), 0);
    world.assert_deadlines();
}

#[test]
fn keys_of_foreign_slots_wait_until_they_are_home_again() {
    let (mut world, foreign, own) = (World::new(), (0, "foreign"), (0, "own"));
    world.grant(foreign, "a", 5);
    world.grant(own, "a", 5);
    let client = world.wait(foreign, "b", 50, Patience::Endless);
    world.fake.foreign.push(foreign);
    world.pass(5);
    world.did();
    let next = world.settle();
    assert_eq!(world.did(), [Did::Removed("0:own".into()), Did::Signalled("0:own".into())]);
    assert_eq!(world.hold(foreign).unwrap().0, "a", "nothing is written to a foreign slot");
    assert_eq!(next, Some(world.ms(25)), "tried again in 20 ms");
    world.fake.foreign.clear();
    world.pass(20);
    world.settle();
    assert!(matches!(world.answers()[..], [(granted, Reply::Granted(..))] if granted == client));
    world.assert_deadlines();
}

/// A slot that moved away takes its keys with it, and nobody waits for them here.
#[test]
fn foreign_keys_that_are_gone_are_forgotten() {
    let mut world = World::new();
    for key in names(100) {
        world.grant(key, "a", 50);
        world.fake.foreign.push(key);
        world.unlink(key);
    }
    assert_eq!(world.settle(), None, "nothing to come back for");
    world.fake.asked = 0;
    world.pass(100);
    world.settle();
    assert_eq!(world.fake.asked, 0);
    world.assert_deadlines();
}

#[test]
fn more_foreign_keys_than_a_slice_can_look_at_hold_up_nothing_else() {
    let (mut world, own) = (World::new(), (0, "own"));
    for key in names(400) {
        world.grant(key, "a", 5);
        world.fake.foreign.push(key);
    }
    world.fake.cost_us = 100;
    world.pass(5);
    world.run();
    world.grant(own, "a", 5);
    let client = world.wait(own, "b", 50_000, Patience::Endless);
    world.did();
    let due = world.fake.now.steady + Millis(5);
    let mut answers = Vec::new();
    for _ in 0..100 {
        if answers.is_empty() {
            let next = world.run().unwrap_or(world.fake.now.steady);
            let us = (next.0 - world.fake.now.steady.0).max(0);
            world.fake.pass_us(us as u64);
            answers = world.answers();
        }
    }
    assert!(matches!(answers[..], [(granted, Reply::Granted(..))] if granted == client));
    assert!(world.fake.now.steady <= due + Millis(100), "served late, at {:?}", world.fake.now.steady);
}

#[test]
fn too_many_waiters_are_refused_and_a_holder_is_not() {
    let (mut world, key) = (World::new(), (0, "k"));
    world.grant(key, "a", 60_000);
    for n in 0..WAITERS_MAX {
        world.wait(key, &format!("w{n}"), 5, Patience::Endless);
    }
    assert_eq!(world.ask(key, "late", 5, Patience::Endless), Ok(Outcome::LineFull));
    assert_eq!(world.ask(key, "late", 5, Patience::None), Ok(Outcome::Refused));
    assert!(matches!(world.ask(key, "a", 5, Patience::Endless), Ok(Outcome::Granted(_))));
    assert!(world.engine.leave(1));
    assert!(matches!(world.ask(key, "late", 5, Patience::Endless), Ok(Outcome::Waits(_))));
}
