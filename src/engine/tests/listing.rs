//! LOCK.LIST and LOCK.TOP.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::engine::listing::{ContendedLock, Listed, Page, Readable};
use crate::wire::{ListRequest, Order, TopRequest};

/// The keys of one database of the fake server.
struct Keys<'a> {
    db: i32,
    data: &'a BTreeMap<(i32, Vec<u8>), Value>,
    /// The caller may not read these.
    hidden: &'a [&'a str],
}

impl Readable for Keys<'_> {
    fn may_read(&mut self, name: &[u8]) -> bool {
        !self.hidden.iter().any(|hidden| hidden.as_bytes() == name)
    }

    fn with_lock(&mut self, name: &[u8], look: &mut dyn FnMut(&Stored, Option<u64>)) {
        if let Some(Value::Lock(stored)) = self.data.get(&(self.db, name.to_vec())) {
            look(stored, None);
        }
    }
}

impl World {
    /// LOCK.LIST as the edge runs it.
    fn page(&mut self, db: i32, request: &ListRequest, hidden: &[&str]) -> Page {
        let is_complete = request.from > 0 || self.engine.place_noted(&mut self.fake, &mut self.inbox);
        self.check();
        let mut keys = Keys { db, data: &self.fake.data, hidden };
        if is_complete {
            self.engine.list(db, request, self.fake.now, &mut keys)
        } else {
            Page::not_yet()
        }
    }

    /// All pages.
    fn list_with(&mut self, db: i32, request: ListRequest, hidden: &[&str]) -> Vec<Listed> {
        let (mut locks, mut from) = (Vec::new(), 0);
        for _ in 0..10_000 {
            let page = self.page(db, &ListRequest { from, ..request }, hidden);
            locks.extend(page.locks);
            if page.next == 0 {
                return locks;
            }
            from = u32::try_from(page.next - 1).unwrap();
        }
        panic!("the walk never ends");
    }

    fn list(&mut self, db: i32, count: usize) -> Vec<String> {
        names(&self.list_with(db, ListRequest { from: 0, count, pattern: None, owner: None }, &[]))
    }

    fn top(&mut self, db: i32, count: usize, order: Order, hidden: &[&str]) -> Vec<ContendedLock> {
        let mut keys = Keys { db, data: &self.fake.data, hidden };
        self.engine.top(db, &TopRequest { count, order }, self.fake.now, &mut keys)
    }
}

fn names(locks: &[Listed]) -> Vec<String> {
    let mut names: Vec<_> = locks.iter().map(|lock| String::from_utf8(lock.key.clone()).unwrap()).collect();
    names.sort();
    names
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

#[test]
fn every_lock_of_the_database_is_listed_once() {
    let mut world = World::new();
    for name in NAMES {
        world.grant((0, name), "me", 1000);
        world.grant((1, name), "me", 1000);
    }
    for count in [1, 2, 5, 100] {
        assert_eq!(world.list(0, count), NAMES);
    }
    world.release((0, "c"), "me").unwrap();
    assert_eq!(world.list(0, 3).len(), NAMES.len() - 1);
    assert_eq!(world.list(1, 3), NAMES);
    assert_eq!(world.list(2, 3), [""; 0]);
}

#[test]
fn a_listed_lock_tells_its_first_holder_or_the_one_that_is_asked_for() {
    let mut world = World::new();
    world.grants(ask((0, "k"), "one").shared().lease(100));
    world.pass(10);
    world.grants(ask((0, "k"), "two").limit(5).lease(300));
    world.wait((0, "k"), "waits", 100, Patience::Endless);
    world.grant((0, "x"), "one", 50);
    let all = ListRequest { from: 0, count: 10, pattern: None, owner: None };
    let by_owner = |owner_name: &'static str| ListRequest { owner: Some(owner(owner_name)), ..all };
    let shared = world.list_with(0, all, &["x"]).remove(0);
    assert_eq!((shared.owner.as_slice(), shared.holders_count, shared.waiters), (b"one".as_slice(), 2, 1));
    assert_eq!((shared.mode, shared.ttl_ms, shared.held_ms), (Some(HeldAs::Shared), 90, 10));
    let two = world.list_with(0, by_owner("two"), &[]).remove(0);
    assert_eq!((two.owner.as_slice(), two.ttl_ms, two.held_ms, two.holders_count), (b"two".as_slice(), 300, 0, 2));
    assert!(two.fence > shared.fence);
    assert_eq!(names(&world.list_with(0, by_owner("one"), &[])), ["k", "x"]);
    assert_eq!(names(&world.list_with(0, by_owner("waits"), &[])), [""; 0]);
    // The server is paused: the first lease has run out, and nobody has ended it yet.
    world.pass(95);
    assert_eq!(world.list_with(0, all, &[])[0].owner, b"two");
    assert_eq!(names(&world.list_with(0, by_owner("one"), &[])), [""; 0]);
}

/// Before the next tick.
#[test]
fn a_lock_that_has_just_come_to_its_key_is_listed_at_once() {
    let mut world = World::new();
    world.grant((0, "old"), "me", 1000);
    world.rename((0, "old"), (0, "new"));
    world.restore((0, "restored"), "me", 1000, 7);
    world.inbox.unplaced.push(b"unplaced".as_slice().into());
    let holders = Holders::Exclusive(match &world.fake.lock((0, "restored")).unwrap().holders {
        Holders::Exclusive(hold) => hold.clone(),
        other => panic!("{other:?}"),
    });
    world.fake.data.insert((0, b"unplaced".to_vec()), Value::Lock(Stored { holders, lease: EntryId::NONE }));
    assert_eq!(world.list(0, 1), ["new", "restored", "unplaced"]);
    world.rest();
    assert_eq!(world.list(0, 1), ["new", "restored", "unplaced"]);
    world.assert_at_rest();
}

/// With many notes a walk begins only when the deadlines of all of them are in place: a lock could be given a place that the walk
/// has passed.
#[test]
fn locks_that_were_loaded_are_listed_however_many_they_are() {
    for state in [ServerState::Writable, ServerState::Halted, ServerState::Replica] {
        let mut world = World::new();
        world.fake.state = state;
        let all: Vec<String> = (0..1000).map(|n| format!("n{n:04}")).collect();
        for name in &all {
            world.restore((0, name.clone().leak()), "me", 100_000, 7);
        }
        assert_eq!(world.page(0, &ListRequest { from: 0, count: 1000, pattern: None, owner: None }, &[]).next, 1);
        assert_eq!(world.list(0, 100), all, "{state:?}");
        world.settle();
        assert_eq!(world.list(0, 100), all, "{state:?}");
    }
}

/// The server refuses writes, so that a lease that ended cannot be acted on. The lock keeps its place all the same.
#[test]
fn a_lock_is_listed_while_nobody_may_end_one_of_its_leases() {
    for (state, write_check) in
        [(ServerState::Halted, WriteCheck::Accepts), (ServerState::Writable, WriteCheck::Halted)]
    {
        let mut world = World::new();
        world.grants(ask((0, "k"), "one").shared().lease(10));
        world.grants(ask((0, "k"), "two").shared().lease(1000));
        world.grant((0, "gone"), "me", 10);
        (world.fake.state, world.fake.write_check) = (state, write_check);
        for _ in 0..20 {
            world.pass(20);
            world.run();
            assert_eq!(world.list(0, 1), ["k"], "{state:?}");
        }
        assert_eq!(world.engine.locks_held(), 2, "each still has its deadline");
        (world.fake.state, world.fake.write_check) = (ServerState::Writable, WriteCheck::Accepts);
        world.pass(20);
        world.rest();
        assert_eq!(world.list(0, 1), ["k"]);
        world.assert_at_rest();
    }
}

/// A key that left with its slot leaves no deadline behind, although it was due and is not here any more.
#[test]
fn a_deadline_of_a_lock_that_left_unseen_is_dropped() {
    let mut world = World::new();
    world.grant((0, "left"), "me", 10);
    world.fake.data.clear();
    for write_check in [WriteCheck::Halted, WriteCheck::Foreign] {
        world.fake.write_check = write_check;
        world.pass(30);
        world.settle();
    }
    assert_eq!(world.engine.locks_held(), 0);
    world.grant((0, "left"), "me", 10);
    world.fake.data.clear();
    world.fake.write_check = WriteCheck::Accepts;
    world.pass(30);
    world.settle();
    assert_eq!(world.engine.locks_held(), 0);
}

#[test]
fn top_orders_by_waiters_or_by_the_longest_wait() {
    let mut world = World::new();
    for (name, waiters) in [("a", 2), ("b", 3), ("c", 1), ("d", 3)] {
        world.grant((0, name), "holder", 100_000);
        for n in 0..waiters {
            world.wait((0, name), &format!("{name}{n}"), 1000, Patience::Endless);
        }
        world.pass(10);
    }
    world.grant((0, "free"), "holder", 100_000);
    let names = |top: Vec<ContendedLock>| names_in_order(&top);
    assert_eq!(names(world.top(0, 10, Order::Waiters, &[])), ["b", "d", "a", "c"]);
    assert_eq!(names(world.top(0, 2, Order::Waiters, &["b"])), ["d", "a"]);
    assert_eq!(names(world.top(0, 3, Order::Waited, &[])), ["a", "b", "c"]);
    assert_eq!(names(world.top(1, 3, Order::Waited, &[])), [""; 0]);
    let top = world.top(0, 1, Order::Waiters, &[]).remove(0);
    assert_eq!((top.waited_ms, top.lock.waiters, top.lock.owner.as_slice()), (30, 3, b"holder".as_slice()));
    let queue: Vec<_> = top.queue.iter().map(|waiter| (waiter.owner.clone(), waiter.client)).collect();
    assert_eq!(queue, [(b"b0".to_vec(), 1003), (b"b1".to_vec(), 1004), (b"b2".to_vec(), 1005)]);
    world.wait((0, "b"), "b3", 1000, Patience::Endless);
    assert_eq!(world.top(0, 1, Order::Waiters, &[])[0].queue.len(), 3, "the first three");
}

/// The server is paused: the lease has run out, and the queue is not served yet.
#[test]
fn top_tells_of_a_lock_without_a_holder_too() {
    let mut world = World::new();
    world.grant((0, "k"), "holder", 10);
    world.wait((0, "k"), "waits", 1000, Patience::Endless);
    world.fake.state = ServerState::Halted;
    world.pass(30);
    world.run();
    let top = world.top(0, 10, Order::Waited, &[]).remove(0);
    assert_eq!((top.lock.mode, top.lock.holders_count, top.lock.waiters, top.waited_ms), (None, 0, 1, 30));
    assert_eq!(world.list(0, 10), [""; 0], "nobody holds it");
}

fn names_in_order(top: &[ContendedLock]) -> Vec<String> {
    top.iter().map(|contended| String::from_utf8(contended.lock.key.clone()).unwrap()).collect()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Grant(usize, u64),
    Extend(usize, u64),
    Release(usize),
    Rename(usize, usize),
    Restore(usize),
    Halt(bool),
    Pass(u64),
    Run,
    Page(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    prop_oneof![
        8 => (name(), 1..60u64).prop_map(|(name, lease)| Step::Grant(name, lease)),
        2 => (name(), 1..60u64).prop_map(|(name, lease)| Step::Extend(name, lease)),
        3 => name().prop_map(Step::Release),
        3 => (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name().prop_map(Step::Restore),
        1 => any::<bool>().prop_map(Step::Halt),
        3 => (1..30u64).prop_map(Step::Pass),
        4 => Just(Step::Run),
        6 => (1..4usize).prop_map(Step::Page),
    ]
}

proptest! {
    /// Whatever happens between two pages, a lock that somebody holds from the first page to the last is told of.
    #[test]
    fn a_walk_never_loses_a_lock_that_stays(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        let mut cursor = 0;
        let mut told: BTreeSet<String> = BTreeSet::new();
        // The locks that stay: there since the walk began.
        let mut stay: Option<BTreeSet<String>> = None;
        // A lock whose lease has run out is held by nobody, even if the key is still there.
        let held = |world: &World| -> BTreeSet<String> {
            let now = world.fake.now.steady;
            let runs = |name: &&&'static str| world.fake.lock((0, name)).is_some_and(|lock| lock.holders.count_running(now) > 0);
            NAMES.iter().filter(runs).map(|name| name.to_string()).collect()
        };
        for step in steps {
            let mut moved = Vec::new();
            match step {
                Step::Grant(name, lease) => {
                    let _ = world.send(ask((0, NAMES[name]), "me").lease(lease));
                }
                Step::Extend(name, lease) => {
                    let _ = world.extend((0, NAMES[name]), "me", lease);
                }
                Step::Release(name) => {
                    let _ = world.release((0, NAMES[name]), "me");
                }
                Step::Rename(from, to) if from != to => {
                    moved = vec![NAMES[from], NAMES[to]];
                    world.rename((0, NAMES[from]), (0, NAMES[to]));
                }
                Step::Restore(name) => {
                    moved = vec![NAMES[name]];
                    world.restore((0, NAMES[name]), "me", 40, 7);
                }
                Step::Halt(is_halted) => {
                    world.fake.write_check = if is_halted { WriteCheck::Halted } else { WriteCheck::Accepts };
                }
                Step::Pass(ms) => world.pass(ms),
                Step::Run => {
                    world.run();
                }
                Step::Rename(..) => {}
                Step::Page(count) => {
                    stay.get_or_insert_with(|| held(&world));
                    let from = u32::try_from(u64::saturating_sub(cursor, 1)).unwrap();
                    let page = world.page(0, &ListRequest { from, count, pattern: None, owner: None }, &[]);
                    cursor = page.next;
                    told.extend(names(&page.locks));
                    if cursor == 0 {
                        for name in stay.take().unwrap() {
                            prop_assert!(told.contains(&name), "{} was not told of, only {:?}", name, told);
                        }
                        told.clear();
                    }
                }
            }
            if let Some(stay) = &mut stay {
                let there = held(&world);
                stay.retain(|name| there.contains(name) && !moved.contains(&name.as_str()));
            }
        }
    }
}
