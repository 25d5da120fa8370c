//! Values from outside: the effects that a replica or an AOF applies, and values that somebody restores.
//! Target `effects` of the fuzzer.

use super::*;
use crate::fuzz::{assert_inherited, assert_sound, Choices, ALL_OVER, NOW};
use crate::lock::Owner;
use crate::wire::{decode_effect, Change, EffectWriter, LEASE_MAX_MS};

const KEYS: [Name; 2] = [K, OTHER_DB];
/// Beside effects, what a first byte can mean.
const PASS: u8 = 250;
const RING: u8 = 251;
const REMOVE: u8 = 252;
const SET: u8 = 253;

/// A replica applies effects one by one, and is promoted. `bytes`: key, length, effect; again and again.
pub fn apply(bytes: &[u8]) {
    let mut world = World::new();
    world.fake.now = NOW;
    world.change_role(ServerState::Replica);
    let mut kind = Choices::new(bytes);
    let mut highest = 0;
    while !kind.is_done() {
        let what = kind.byte();
        let key = KEYS[usize::from(what) % KEYS.len()];
        match what {
            PASS => world.pass(kind.byte().into()),
            RING => done(world.run()),
            REMOVE => done(world.unlink(K)),
            SET => world.set(K),
            _ => {
                let len = kind.byte().into();
                // The last one may be longer.
                let effect = kind.take(if len == 255 { usize::MAX } else { len });
                highest = highest.max(tell(&mut world, key, effect));
            }
        }
        assert_kept(&mut world);
    }
    let wrote = |did: &Did| matches!(did, Did::Replicated(..) | Did::Answered(..) | Did::ReplicatedFence(_));
    assert!(!world.did().iter().any(wrote), "a replica decides nothing");
    assert_promoted(world, highest);
}

/// The largest fence in it.
fn tell(world: &mut World, key: Name, effect: &[u8]) -> u64 {
    let now = world.fake.now;
    let Ok(news) = decode_effect(effect, now) else { return 0 };
    assert!(!news.is_empty());
    assert_comes_back(&news, now);
    let runs = news.iter().filter_map(|news| match news {
        Change::Held(_, mode, hold) => Some((*mode, hold.clone())),
        Change::Ended(_) | Change::Cooling(_) | Change::Freed => None,
    });
    let highest = runs.clone().map(|(_, hold)| hold.fence.get()).max().unwrap_or(0);
    runs.for_each(|(_, hold)| assert_inherited(&hold));
    let last = news.last().cloned();
    world.engine.apply(at(key), &mut world.fake.open(at(key)).unwrap(), news);
    // The last word counts.
    let held = world.fake.lock(key).map(|stored| &stored.holders);
    match last.expect("it is not empty") {
        Change::Held(_, mode, hold) => {
            let (_, held_mode, held) = held.and_then(|held| held.of(hold.owner.borrow())).expect("it holds now");
            assert_eq!((held_mode, held), (mode, &hold));
        }
        Change::Ended(owner) => assert!(held.is_none_or(|held| held.of(owner.borrow()).is_none())),
        Change::Cooling(cooling) => assert_eq!(held, Some(&Holders::Cooling(cooling))),
        Change::Freed => assert!(held.is_none() && !world.fake.data.contains_key(&(key.0, key.1.as_bytes().to_vec()))),
    }
    highest
}

/// What was read is written and read again as the same.
fn assert_comes_back(news: &[Change], now: Now) {
    let write = |news: &[Change]| {
        let mut bytes = Vec::new();
        let mut writer = EffectWriter::begin(&mut bytes, now);
        for news in news {
            match news {
                Change::Held(kind, mode, hold) => writer.held(*kind, *mode, hold),
                Change::Ended(owner) => writer.ended(owner.borrow()),
                Change::Cooling(cooling) => writer.cooling(*cooling),
                Change::Freed => writer.freed(),
            }
        }
        bytes
    };
    let bytes = write(news);
    let again = decode_effect(&bytes, now).expect("what is written can be read");
    assert_eq!(write(&again), bytes, "equal news have equal bytes");
    let forget_begin = |news: &Change| match news {
        Change::Held(kind, mode, hold) => Change::Held(*kind, *mode, Hold { since: hold.expires_at, ..hold.clone() }),
        Change::Ended(_) | Change::Cooling(_) | Change::Freed => news.clone(),
    };
    let forget_begins = |news: &[Change]| news.iter().map(forget_begin).collect::<Vec<_>>();
    assert_eq!(forget_begins(&again), forget_begins(news));
}

/// Whatever a replica applies: its locks are sound, and each has its deadline.
fn assert_kept(world: &mut World) {
    world.assert_deadlines();
    for value in world.fake.data.values() {
        match value {
            Value::Lock(stored) => {
                assert!(stored.holders != Holders::Free, "a free lock is no key");
                assert_sound(&stored.holders, world.fake.now);
            }
            Value::Other => {}
        }
    }
}

/// A promoted replica goes on where its primary stopped: it ends expired holds, and gives larger fences.
fn assert_promoted(mut world: World, highest: u64) {
    world.change_role(ServerState::Writable);
    world.rest();
    world.assert_at_rest();
    world.pass(ALL_OVER.0);
    world.rest();
    world.assert_at_rest();
    assert!(world.fake.data.values().all(|value| matches!(value, Value::Other)), "every lease ends");
    let fence = world.grant(K2, "next", 1).get();
    assert!(fence > highest || highest == Fence::MAX.get(), "{fence} is not above {highest}");
}

/// Works with a lock that somebody restored: its owners reacquire, extend and release it, strangers wait, and it ends.
pub fn live(holders: Holders) {
    let mut world = World::new();
    world.fake.now = NOW;
    let owners: Vec<Owner> = holders.iter().map(|(_, hold)| hold.owner.clone()).collect();
    let highest = holders.iter().map(|(_, hold)| hold.fence.get()).max().unwrap_or(0);
    world.engine.loaded(&holders);
    world.place(K, Value::Lock(Stored { holders, lease: EntryId::NONE }));
    world.rest();
    world.assert_at_rest();
    let mut stranger = b"stranger".to_vec();
    while owners.iter().any(|owner| owner.as_bytes() == stranger) {
        stranger.push(b'!');
    }
    let stranger = OwnerRef::new(&stranger).unwrap();
    if let Outcome::Granted(fence) = ask_for(&mut world, stranger, Patience::Endless) {
        assert!(fence.get() > highest, "{fence:?} is not above {highest}");
    }
    for owner in owners.iter().take(4).map(Owner::borrow) {
        let held = |world: &World| world.fake.lock(K).is_some_and(|stored| stored.holders.of(owner).is_some());
        if let Outcome::Granted(fence) = ask_for(&mut world, owner, Patience::None) {
            assert!(fence.get() > highest, "{fence:?} is not above {highest}");
        }
        let was_held = held(&world);
        let extend = ExtendRequest { owner, lease: Some(Millis(LEASE_MAX_MS)), fence: None, raise: None };
        assert_eq!(world.extend_with(K, extend), Ok(was_held));
        assert_eq!(
            world.release_with(K, ReleaseRequest { owner, fence: None, is_downgrade: true, cool: None }),
            Ok(was_held)
        );
        assert_eq!(
            world.release_with(K, ReleaseRequest { owner, fence: None, is_downgrade: false, cool: None }),
            Ok(was_held)
        );
        assert!(!held(&world));
        world.rest();
        world.assert_at_rest();
    }
    // The stranger's lease begins when the last of the others ends.
    for _ in 0..2 {
        world.pass(ALL_OVER.0);
        world.rest();
    }
    assert!(world.fake.data.is_empty(), "every lease ends");
    assert_eq!(world.engine.waiters(), 0);
    world.assert_ends();
}

/// LOCK.ACQUIRE, shared, for a year. An owner that holds the lock has what it asks for.
fn ask_for(world: &mut World, owner: OwnerRef, patience: Patience) -> Outcome {
    let (lease, mode) = (Millis(LEASE_MAX_MS), Mode::Shared(None));
    let asked = Request { owner, mode, lease, max: None, delay: None, session: None, user: None };
    let (now, mut seen) = (world.fake.now, world.fake.seen());
    let mut open = world.fake.open(at(K)).unwrap();
    let outcome = world.engine.acquire(at(K), &mut open, now, asked, patience, &mut seen).unwrap();
    if let Outcome::Waits(ticket) = outcome {
        world.clients += 1;
        world.engine.park(ticket, Client { id: world.clients, log: world.fake.log.clone() }, at(K), false);
    }
    outcome
}
