//! A server that follows a primary, is promoted, and is demoted again.

use super::fake::DATABASES;
use super::*;
use crate::wire::{Change, ChangeKind};

fn hold(who: &str, fence: u64, now: Now, lease: u64) -> Hold {
    let (owner, fence, lease) = (owner(who).to_owner(), Fence::new(fence).unwrap(), Millis(lease));
    let (since, terms) = (now.steady, Terms::new(lease, Origin::Inherited));
    Hold { owner, fence, expires_at: since + lease, since, terms, session: None }
}

fn apply(world: &mut World, key: Name, news: Vec<Change>) {
    world.engine.apply(at(key), &mut world.fake.open(at(key)).unwrap(), news);
}

fn held(kind: ChangeKind, hold: Hold) -> Change {
    Change::Held(kind, Mode::Exclusive, hold)
}

/// Traps 24 and 55: a replica keeps the deadlines of what it applied, and acts on them only when it is promoted.
#[test]
fn a_promoted_replica_takes_over_the_leases_that_it_applied() {
    let mut world = World::new();
    world.fake.state = ServerState::Replica;
    let now = world.fake.now;
    for (key, lease) in [(K, 50), (K2, 500)] {
        apply(&mut world, key, vec![held(ChangeKind::Granted, hold("a", 9_000_000, now, lease))]);
    }
    world.rename(K2, (4, "k4"));
    world.pass(60);
    world.settle();
    assert_eq!(world.fake.data.len(), 2, "a replica ends nothing");
    world.assert_deadlines();
    world.did();
    world.fake.state = ServerState::Writable;
    world.settle();
    assert_eq!(world.did()[..2], [Did::Replicated("0:k".into(), "freed".into()), Did::Signalled("0:k".into())]);
    assert!(world.grant((4, "k4"), "a", 1).get() > 9_000_000, "an inherited hold gets a new fence");
    world.assert_ends();
}

/// Trap 51, on a replica: WATCH and CLIENT TRACKING see what they see on the primary.
#[test]
fn a_replica_signals_grants_ends_and_mode_changes_only() {
    let mut world = World::new();
    let now = world.fake.now;
    let signalled = |world: &mut World, news| {
        apply(world, K, news);
        world.did().contains(&Did::Signalled("0:k".into()))
    };
    let shared = |kind, who| Change::Held(kind, Mode::Shared(None), hold(who, 9, now, 70));
    assert!(signalled(&mut world, vec![held(ChangeKind::Granted, hold("a", 7, now, 50))]));
    assert!(!signalled(&mut world, vec![held(ChangeKind::Changed, hold("a", 8, now, 90))]), "extended");
    assert!(signalled(&mut world, vec![shared(ChangeKind::Changed, "a")]), "downgraded");
    assert!(signalled(&mut world, vec![shared(ChangeKind::Granted, "b")]));
    assert!(!signalled(&mut world, vec![shared(ChangeKind::Changed, "b")]));
    assert!(signalled(&mut world, vec![Change::Ended(owner("b").to_owner())]));
    assert_eq!(world.holders(K), ["a"]);
    assert!(signalled(&mut world, vec![Change::Freed]));
    assert!(world.fake.data.is_empty());
    world.assert_deadlines();
}

#[test]
fn whatever_confirms_a_hold_clears_the_ttl_on_a_replica() {
    let mut world = World::new();
    let now = world.fake.now;
    apply(&mut world, K, vec![held(ChangeKind::Granted, hold("a", 7, now, 50))]);
    world.did();
    apply(&mut world, K, vec![held(ChangeKind::Changed, hold("a", 7, now, 90))]);
    assert_eq!(world.did(), [Did::ClearedTtl("0:k".into())]);
    apply(&mut world, K, vec![held(ChangeKind::Granted, hold("b", 8, now, 90))]);
    assert_eq!(world.did(), [Did::ClearedTtl("0:k".into()), Did::Signalled("0:k".into())]);
}

#[test]
fn a_value_of_another_type_gives_way_to_what_the_primary_says() {
    let mut world = World::new();
    world.set(K);
    let now = world.fake.now;
    apply(&mut world, K, vec![held(ChangeKind::Granted, hold("a", 7, now, 50))]);
    assert_eq!(world.hold(K), Some(("a".into(), 7)));
    world.set(K);
    apply(&mut world, K, vec![Change::Freed]);
    assert!(world.fake.data.is_empty());
    world.assert_deadlines();
}

#[test]
fn every_fence_that_a_replica_observed_is_exceeded_when_it_is_promoted() {
    let mut world = World::new();
    let now = world.fake.now;
    apply(&mut world, K, vec![held(ChangeKind::Granted, hold("a", 900_000_000, now, 50))]);
    apply(&mut world, K, vec![Change::Freed]);
    assert!(world.grant(K2, "b", 10).get() > 900_000_000);
    let _ = world.unlink(K2);
    world.restore(K2, "c", 10, 950_000_000);
    assert!(world.grant(K, "b", 10).get() > 950_000_000, "also of those that RESTORE brought");
}

/// Two shared holders expire, or an exclusive one: the deadline is that of the first end, also after a change.
#[test]
fn a_replica_keeps_the_deadline_of_the_first_end() {
    let mut world = World::new();
    world.fake.state = ServerState::Replica;
    let now = world.fake.now;
    let shared =
        |who, fence, lease| Change::Held(ChangeKind::Changed, Mode::Shared(None), hold(who, fence, now, lease));
    apply(&mut world, K, vec![shared("a", 5, 50), shared("b", 6, 70)]);
    assert_eq!(world.engine.leases.first(), Some(world.ms(50)));
    apply(&mut world, K, vec![shared("a", 5, 90)]);
    assert_eq!(world.engine.leases.first(), Some(world.ms(70)));
    apply(&mut world, K, vec![Change::Ended(owner("b").to_owner())]);
    assert_eq!(world.engine.leases.first(), Some(world.ms(90)));
    world.assert_ends();
}

/// Redis 7.0 and 7.2 do not tell the database of a key that they load beside the data set that they serve.
#[test]
fn locks_that_were_loaded_into_an_unknown_database_end_by_their_leases() {
    let mut world = World::new();
    world.fake.state = ServerState::Loading;
    for db in [0, 3, DATABASES - 1] {
        world.restore((db, "k"), "a", 50, 9);
    }
    world.inbox.changed.clear();
    world.inbox.unplaced.extend(["k", "k", "k", "gone"].map(|name| name.as_bytes().into()));
    world.fake.state = ServerState::Replica;
    world.settle();
    world.assert_deadlines();
    assert_eq!(world.engine.locks_held(), 3);
    world.fake.state = ServerState::Writable;
    world.pass(60);
    world.settle();
    assert!(world.fake.data.is_empty());
    world.assert_ends();
}
