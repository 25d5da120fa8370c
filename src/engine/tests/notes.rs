//! What others do to the data set: every lock keeps its one deadline, every waiter is served, and no deadline of a lock
//! that is gone touches another's.

use super::*;

const K: Name = (0, "k");
const K2: Name = (0, "k2");
const OTHER_DB: Name = (1, "k");

fn granted(answers: &[(u64, Reply)]) -> Vec<u64> {
    answers.iter().filter(|(_, reply)| matches!(reply, Reply::Granted(..))).map(|(client, _)| *client).collect()
}

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
    assert_eq!(granted(&world.answers()), [client]);
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
    assert_eq!(granted(&world.answers()), [client], "the old name is free");
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
fn a_lock_that_is_put_over_another_takes_its_waiters() {
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
    assert_eq!(granted(&world.answers()), [client]);
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
    assert_eq!(done[0], Did::Replicated("0:k".into(), "b".into(), fence));
    assert!(
        matches!(&done[1], Did::Answered(answered, Reply::Granted(told, _)) if *answered == client && told.get() == fence)
    );
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
    assert_eq!(granted(&world.answers()), [there], "the short lease is in the other database now");
    world.pass(200);
    world.settle();
    assert_eq!(granted(&world.answers()), [here]);
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
        assert_eq!(granted(&world.answers()), [client], "{scope:?}");
        assert_eq!(world.hold(OTHER_DB).is_some(), scope == Scope::Db(0));
        world.assert_ends();
    }
}

/// A slot that was given back is told apart from the one that took its place: notes come late, and out of order.
#[test]
fn a_stale_note_never_touches_the_deadline_of_another_lock() {
    type Act = fn(&mut World);
    let gone: [(&str, Act); 6] = [
        ("flush", |world| world.flush(Scope::All)),
        ("unlink", |world| drop(world.unlink(K))),
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
        let Some(Value::Lock(stored)) = world.fake.data.get(&(0, b"k".to_vec())) else { panic!() };
        let old = stored.lease;
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
fn a_lease_put_off_by_the_server_ends_in_the_database_it_was_swapped_to() {
    let mut world = World::new();
    world.grant(K, "a", 5);
    world.fake.verdict = Verdict::Halted;
    world.pass(5);
    world.run();
    world.swap(0, 1);
    world.fake.verdict = Verdict::Accepts;
    world.pass(20);
    world.settle();
    assert!(world.fake.data.is_empty());
    world.assert_ends();
}

#[test]
fn one_who_waits_for_a_lock_that_nobody_looked_at_yet_is_served_when_its_lease_ends() {
    let mut world = World::new();
    world.restore(K, "a", 50, 7_000_000);
    let client = world.wait(K, "b", 500, Patience::Endless);
    assert_eq!(world.engine.first_deadline(), Some(world.ms(50)));
    world.inbox.changed.clear();
    world.pass(50);
    world.settle();
    assert_eq!(granted(&world.answers()), [client]);
    world.assert_ends();
}

/// Traps 24 and 55: what a replica is told, it keeps the time of, and acts on only when it is promoted.
#[test]
fn a_promoted_replica_takes_over_the_leases_it_was_told_of() {
    let mut world = World::new();
    world.fake.standing = Standing::Replica;
    let now = world.fake.now;
    for (key, lease) in [(K, 50), (K2, 500)] {
        let lease = Millis(lease);
        let (owner, fence) = (owner("a").to_owner(), Fence::new(9_000_000).unwrap());
        let (since, origin) = (now.steady, Origin::Inherited);
        let hold = Hold { owner, fence, end: since + lease, lease, since, origin };
        world.engine.apply(
            at(key),
            &mut world.fake.open(at(key)).unwrap(),
            News::Runs(Told::Granted, Mode::Exclusive, hold),
        );
    }
    world.rename(K2, (4, "k4"));
    world.pass(60);
    world.settle();
    assert_eq!(world.fake.data.len(), 2, "a replica ends nothing");
    world.assert_deadlines();
    world.did();
    world.fake.standing = Standing::Writable;
    world.settle();
    assert_eq!(world.did(), [Did::Removed("0:k".into()), Did::Signalled("0:k".into())]);
    assert!(world.grant((4, "k4"), "a", 1).get() > 9_000_000, "an inherited hold gets a new fence");
    world.assert_ends();
}

/// What a demoted server could not hand over is its primary's affair; nothing of it is kept.
#[test]
fn a_replica_forgets_grants_that_found_nobody() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.wait(K, "b", 500, Patience::Endless);
    world.release(K, "a").unwrap();
    let fence = Fence::new(world.hold(K).unwrap().1).unwrap();
    world.fake.standing = Standing::Replica;
    world.inbox.undelivered.push((at(K).to_id(), fence));
    world.settle();
    assert_eq!(world.hold(K), Some(("b".into(), fence.get())));
    assert_eq!(world.engine.waited_for(), [], "a line of nobody is kept");
}

/// After a panic the notes of a turn are lost.
#[test]
fn a_lock_whose_notes_were_lost_is_put_right_by_the_next_command() {
    let mut world = World::new();
    world.grant(K, "a", 50);
    world.rename(K, K2);
    world.inbox = Inbox::new();
    assert_eq!(world.extend(K2, "a", 70), Ok(true));
    world.assert_deadlines();
    world.pass(70);
    world.settle();
    assert!(world.fake.data.is_empty());
    world.assert_ends();
}
