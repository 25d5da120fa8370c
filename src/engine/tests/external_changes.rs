//! What others do to the data set: every lock keeps its one deadline, every waiter is served, and no deadline of a lock
//! that is gone touches another's.

use super::*;

/// Trap 11.
#[test]
fn a_removed_lock_goes_to_the_one_who_waits() {
    let mut world = World::new();
    let first = world.grant(K, "a", 100).get();
    let client = world.wait(K, "b", 100, Patience::Endless);
    world.did();
    world.unlink(K);
    assert_eq!(world.did(), [], "nothing in the midst of the removal");
    world.settle();
    assert_eq!(world.granted(), [client]);
    assert!(world.hold(K).unwrap().1 > first);
    world.assert_ends();
}

/// Trap 14.
#[test]
fn a_renamed_lock_is_held_on_and_ends_under_its_new_name() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let client = world.wait(K, "b", 500, Patience::Endless);
    world.did();
    world.rename(K, K2);
    world.settle();
    assert_eq!(world.granted(), [client], "the old name is free");
    assert_eq!(world.hold(K2).unwrap().0, "a");
    world.assert_deadlines();
    world.pass(100);
    world.settle();
    assert_eq!(world.hold(K2), None);
    assert_eq!(world.hold(K).unwrap().0, "b");
    world.assert_ends();
}

/// Trap 15.
#[test]
fn a_lock_that_overwrites_another_takes_its_waiters() {
    let mut world = World::new();
    world.grant(K, "a", 1000);
    let client = world.wait(K, "b", 500, Patience::Endless);
    world.did();
    world.restore(K, "x", 50, 7_000_000);
    world.settle();
    assert_eq!(world.did(), [], "they wait behind its holder");
    world.assert_deadlines();
    world.pass(50);
    assert_eq!(world.settle(), Some(world.ms(550)));
    assert_eq!(world.granted(), [client]);
    assert!(world.hold(K).unwrap().1 > 7_000_000, "the restored fence is outgrown");
    world.assert_ends();
}

#[test]
fn an_owner_that_finds_itself_the_holder_stops_waiting() {
    let mut world = World::new();
    world.grant(K, "a", 1000);
    let client = world.wait(K, "b", 500, Patience::Endless);
    world.did();
    world.restore(K, "b", 50, 7_000_000);
    world.settle();
    let fence = world.hold(K).unwrap().1;
    assert!(fence > 7_000_000, "an inherited hold gets a new fence");
    let done = world.did();
    assert_eq!(done[0], Did::ClearedTtl("0:k".into()));
    assert_eq!(done[1], Did::Replicated("0:k".into(), format!("changed b {fence}")));
    let [Did::Answered(told, Reply::Granted(hold, ..))] = done[2..] else { panic!("{done:?}") };
    assert_eq!((told, hold.fence.get()), (client, fence));
    world.assert_ends();
}

/// Trap 16.
#[test]
fn swapped_databases_take_their_leases_along_and_leave_the_waiters() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.grant(OTHER_DB, "z", 300);
    let (here, there) = (world.wait(K, "b", 900, Patience::Endless), world.wait(OTHER_DB, "y", 900, Patience::Endless));
    world.did();
    world.swap(0, 1);
    world.settle();
    assert_eq!(world.did(), [], "both are held still");
    world.assert_deadlines();
    world.pass(100);
    world.settle();
    assert_eq!(world.granted(), [there], "the short lease is in the other database now");
    world.pass(200);
    world.settle();
    assert_eq!(world.granted(), [here]);
    world.assert_ends();
}

/// Trap 17.
#[test]
fn flushed_databases_leave_no_deadline_and_free_the_waiters() {
    for scope in [Scope::All, Scope::Db(0)] {
        let mut world = World::new();
        world.grant(K, "a", 100);
        world.grant(K2, "a", 100);
        world.grant(OTHER_DB, "z", 100);
        let client = world.wait(K, "b", 900, Patience::Endless);
        world.did();
        world.flush(scope);
        assert_eq!(world.engine.leases.len(), usize::from(scope == Scope::Db(0)));
        world.settle();
        assert_eq!(world.granted(), [client], "{scope:?}");
        assert_eq!(world.hold(OTHER_DB).is_some(), scope == Scope::Db(0));
        world.assert_ends();
    }
}

/// The id of an entry that is gone does not match the entry that took its place: notes come late, and out of order.
#[test]
fn a_stale_note_never_touches_the_deadline_of_another_lock() {
    type Act = fn(&mut World);
    let gone: [(&str, Act); 6] = [
        ("flush", |world| done(world.flush(Scope::All))),
        ("unlink", |world| done(world.unlink(K))),
        ("overwrite", |world| world.set(K)),
        ("move", |world| world.rename(K, (3, "far"))),
        ("swap and flush", |world| {
            world.swap(0, 1);
            world.flush(Scope::Db(1));
        }),
        ("restore", |world| world.restore(K, "r", 5000, 7_000_000)),
    ];
    for (name, act) in gone {
        let mut world = World::new();
        world.grant(K, "a", 100);
        let old = world.fake.lock(K).unwrap().lease;
        act(&mut world);
        world.settle();
        // What comes now takes the place of the one that is gone.
        world.grant((5, "n1"), "b", 700);
        world.grant((5, "n2"), "b", 800);
        world.inbox.unlinked.push((at(K).to_id(), old));
        world.settle();
        assert_eq!(world.hold((5, "n1")).unwrap().0, "b", "{name}");
        world.assert_deadlines();
        world.pass(750);
        world.settle();
        assert_eq!(world.hold((5, "n1")), None, "{name}");
        assert_eq!(world.hold((5, "n2")).unwrap().0, "b", "{name}");
        world.assert_ends();
    }
}

/// `MULTI; RENAME k k2 (or RESTORE k2); SWAPDB 0 1; EXEC`: the timer cannot ring in between.
#[test]
fn databases_swapped_before_the_notes_are_read_still_keep_every_deadline() {
    type Act = fn(&mut World);
    let before: [(&str, Act); 3] = [
        ("renamed", |world| world.rename(K, K2)),
        ("restored", |world| world.restore(K2, "a", 100, 7_000_000)),
        ("moved", |world| world.rename(K, (1, "k2"))),
    ];
    for (name, act) in before {
        let mut world = World::new();
        world.grant(K, "a", 100);
        act(&mut world);
        world.swap(0, 1);
        world.settle();
        world.assert_deadlines();
        world.pass(100);
        world.settle();
        assert!(world.fake.data.is_empty(), "{name}: a lease did not end");
        world.assert_ends();
    }
}

#[test]
fn a_lease_end_that_the_server_refused_comes_in_the_database_it_was_swapped_to() {
    let mut world = World::new();
    world.grant(K, "a", 5);
    world.fake.write_check = WriteCheck::Halted;
    world.pass(5);
    world.run();
    world.swap(0, 1);
    world.fake.write_check = WriteCheck::Accepts;
    world.pass(20);
    world.settle();
    assert!(world.fake.data.is_empty());
    world.assert_ends();
}

#[test]
fn a_waiter_of_a_lock_that_is_not_indexed_yet_is_served_when_its_lease_ends() {
    let mut world = World::new();
    world.restore(K, "a", 50, 7_000_000);
    let client = world.wait(K, "b", 500, Patience::Endless);
    assert_eq!(world.engine.first_deadline(), Some(world.ms(50)));
    world.inbox.changed.clear();
    world.pass(50);
    world.settle();
    assert_eq!(world.granted(), [client]);
    world.assert_ends();
}

/// After a panic the notes of a tick are lost.
#[test]
fn a_lock_whose_notes_were_lost_is_put_right_by_the_next_command() {
    let mut world = World::new();
    world.grant(K, "a", 50);
    let value = world.unlink_unseen(K).unwrap();
    world.place(K2, value);
    world.inbox = Inbox::new();
    assert_eq!(world.extend(K2, "a", 70), Ok(true));
    world.assert_deadlines();
    world.pass(70);
    world.settle();
    assert!(world.fake.data.is_empty());
    world.assert_ends();
}

/// A value leaves its key while the engine works and cannot be called, so the note carries the deadline.
#[test]
fn a_lock_that_vanished_unseen_leaves_no_deadline() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.grant(K2, "a", 50);
    let client = world.wait(K, "b", 500, Patience::Endless);
    world.did();
    world.unlink_unseen(K);
    world.unlink_unseen(K2);
    world.settle();
    assert_eq!(world.granted(), [client]);
    world.assert_ends();
}

/// RENAME and MOVE are distinguished from DEL and RESTORE, which the counter of removals needs.
#[test]
fn only_a_lock_that_was_taken_out_of_another_key_has_moved() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let has_moved = |world: &mut World, key: Name| {
        let Some(Value::Lock(stored)) = world.fake.data.get(&(key.0, key.1.as_bytes().to_vec())) else { panic!() };
        world.engine.moved_here(at(key), stored)
    };
    assert!(!has_moved(&mut world, K), "it is where it was");
    world.rename(K, K2);
    assert!(has_moved(&mut world, K2));
    world.settle();
    assert!(!has_moved(&mut world, K2), "it was looked at");
    world.restore(K, "a", 100, 7_000_000);
    assert!(!has_moved(&mut world, K));
}

/// An owner that holds by the restored value reacquires the lock with a request that waits. Nothing of its hold is lost.
#[test]
fn a_waiter_that_finds_itself_among_the_holders_keeps_its_hold() {
    let mut world = World::new();
    world.grant(K, "x", 5000);
    let (one, both) = (world.waits(ask(K, "a").shared().block(0)), world.waits(ask(K, "b").block(0)));
    world.did();
    let (limit, two) = (Mode::Shared(Limit::new(2)), Mode::Shared(None));
    world.restore_all(K, &[("a", limit), ("b", two)], 600_000, 7_000_000);
    world.settle();
    let answers = world.answers();
    assert!(answers.iter().any(|(client, reply)| *client == one && matches!(reply, Reply::Granted(..))), "{answers:?}");
    assert!(answers.contains(&(both, Reply::MustRelease)), "{answers:?}");
    assert_eq!(world.holders(K), ["a", "b"]);
    let stored = world.fake.lock(K).unwrap();
    let (_, mode, hold) = stored.holders.of(owner("a")).unwrap();
    assert_eq!((mode, hold.expires_at), (limit, world.ms(600_000)), "the limit in force and the later end stay");
    assert_eq!(world.engine.stats().grants_after_waiting, 0);
    world.assert_at_rest();
}
