//! Replicated effects: a second engine that applies them knows the same holders at all times.

use proptest::prelude::*;

use super::*;
use crate::wire::decode_effect;

/// So far apart are the steady clocks of the two servers.
const APART: i64 = 7_000_000_000;

/// More than a step ends.
const MANY: [&str; 9] = ["a", "n", "o", "p", "q", "r", "s", "t", "u"];

/// A primary and its replica.
struct Pair {
    primary: World,
    replica: World,
    fence_max: u64,
}

/// What a replica must know of a hold.
type Known = (String, u64, i64, [Option<Millis>; 3], Mode);

fn known(world: &World) -> Vec<(String, Vec<Known>)> {
    let now = world.fake.now.steady.0;
    let locks = world.fake.data.iter().filter_map(|((db, name), value)| match value {
        Value::Lock(stored) => Some((show(*db, name), &stored.holders)),
        Value::Other => None,
    });
    let hold = |(mode, hold): (Mode, &Hold)| {
        let owner = String::from_utf8_lossy(hold.owner.as_bytes()).into_owned();
        (
            owner,
            hold.fence.get(),
            hold.expires_at.0 - now,
            [Some(hold.terms.lease()), hold.terms.max(), hold.terms.delay()],
            mode,
        )
    };
    let sorted = |holders: &Holders| {
        let mut holds: Vec<Known> = holders.iter().map(hold).collect();
        // Those under one fence stand in any order.
        holds.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
        holds
    };
    locks.map(|(name, holders)| (name, sorted(holders))).collect()
}

fn seen_by_watch(done: &[Did]) -> Vec<&Did> {
    done.iter().filter(|did| matches!(did, Did::Signalled(_) | Did::ClearedTtl(_))).collect()
}

impl Pair {
    fn new() -> Pair {
        let (primary, mut replica) = (World::new(), World::new());
        replica.fake.state = ServerState::Replica;
        replica.fake.now.steady.0 += APART;
        Pair { primary, replica, fence_max: 0 }
    }

    /// Applies every effect to the replica, and checks that both know the same holders.
    fn follow(&mut self) {
        for (key, effect) in self.primary.fake.effects.take() {
            let (now, at) = (self.replica.fake.now, key.borrow());
            let news = decode_effect(&effect, now).unwrap();
            self.replica.engine.apply(at, &mut self.replica.fake.open(at).unwrap(), news);
        }
        self.replica.settle();
        assert_eq!(known(&self.replica), known(&self.primary));
        let (told, heard) = (self.primary.did(), self.replica.did());
        assert_eq!(seen_by_watch(&heard), seen_by_watch(&told), "what WATCH and the TTL see");
        self.replica.assert_deadlines();
        let fences = known(&self.primary).into_iter().flat_map(|(_, holds)| holds).map(|(_, fence, ..)| fence);
        self.fence_max = fences.chain([self.fence_max]).max().unwrap_or(0);
    }

    /// Applies an effect that comes from outside to both.
    fn both(&mut self, act: impl Fn(&mut World)) {
        act(&mut self.primary);
        act(&mut self.replica);
    }

    /// When the replica is promoted, each of its grants is above all that it applied, and its leases end.
    fn promote(mut self) {
        self.replica.change_role(ServerState::Writable);
        assert!(self.replica.grant((9, "fresh"), "a", 1).get() > self.fence_max);
        self.replica.pass(10_000);
        self.replica.settle();
        assert!(self.replica.fake.data.is_empty(), "a lease did not end");
        self.replica.assert_at_rest();
    }
}

#[derive(Clone, Debug)]
enum Event {
    Acquire(Name, &'static str, How),
    Release(Name, &'static str, After),
    Extend(Name, &'static str, Option<u64>, Option<u64>),
    Leave(u64),
    HangUp(u64),
    Pass(u64),
    Ring,
    Unlink(Name),
    Restore(Name, &'static str, bool, u64),
    Rename(Name, Name),
    /// More than a step ends ask for a shared hold.
    Many(Name, u64),
}

fn event() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(vec![K, K2]);
    let who = || prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    prop_oneof![
        12 => (name(), who(), how()).prop_map(|(key, who, how)| Event::Acquire(key, who, how)),
        4 => (name(), who(), after()).prop_map(|(key, who, after)| Event::Release(key, who, after)),
        3 => (name(), who(), prop::option::of(1..9u64), prop::option::of(0..3u64))
            .prop_map(|(key, who, lease, raise)| Event::Extend(key, who, lease, raise)),
        1 => (1..20u64).prop_map(Event::Leave),
        1 => (0..3u64).prop_map(Event::HangUp),
        4 => (1..4u64).prop_map(Event::Pass),
        4 => Just(Event::Ring),
        1 => name().prop_map(Event::Unlink),
        1 => (name(), who(), any::<bool>(), 1..9u64).prop_map(|(key, who, shared, lease)| Event::Restore(key, who, shared, lease)),
        1 => (name(), name()).prop_map(|(from, to)| Event::Rename(from, to)),
        2 => (name(), 1..4u64).prop_map(|(key, lease)| Event::Many(key, lease)),
    ]
}

impl Pair {
    fn happen(&mut self, event: &Event) {
        let world = &mut self.primary;
        match *event {
            Event::Acquire(key, who, how) => done(world.send_with(key, who, how)),
            Event::Release(key, who, after) => done(world.release_with(key, after.request(who))),
            Event::Extend(key, who, lease, above) => {
                // Often the same number for several holders, so that they share a fence.
                let raise = above.and_then(|above| Fence::new(self.fence_max / 4 * 4 + 4 * above));
                let lease = lease.map(Millis);
                let _ = world.extend_with(key, ExtendRequest { owner: owner(who), lease, fence: None, raise });
            }
            Event::Leave(client) => done(world.engine.leave(client)),
            Event::HangUp(connection) => world.hang_up(connection),
            Event::Pass(ms) => self.both(|world| world.pass(ms)),
            Event::Ring => done(world.run()),
            Event::Unlink(key) => self.both(|world| done(world.unlink(key))),
            Event::Restore(key, who, shared, lease) => {
                let mode = if shared { Mode::Shared(None) } else { Mode::Exclusive };
                let fence = self.fence_max.max(1);
                self.both(|world| {
                    world.restore_all(key, &[(who, mode), ("z", mode)][..1 + usize::from(shared)], lease, fence)
                });
            }
            Event::Rename(from, to) if from != to => self.both(|world| world.rename(from, to)),
            Event::Rename(..) => {}
            Event::Many(key, lease) => {
                MANY.iter().for_each(|who| done(world.send(ask(key, who).shared().lease(lease))));
            }
        }
        self.follow();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_replica_that_applies_every_effect_knows_the_same_holders(events in prop::collection::vec(event(), 1..60)) {
        let mut pair = Pair::new();
        for event in &events {
            pair.happen(event);
        }
        pair.promote();
    }
}

fn effects_of(act: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = World::new();
    world.grants(ask(K, "a").shared().lease(10));
    world.grants(ask(K, "b").shared().lease(100).on(7));
    world.waits(ask(K, "c").block(0));
    world.waits(ask(K, "d").shared().block(0));
    world.did();
    act(&mut world);
    world.settle();
    let effect = |did| match did {
        Did::Replicated(_, effect) => Some(effect),
        _ => None,
    };
    world.did().into_iter().filter_map(effect).collect()
}

/// The first fence is 1000000; a and b were granted under it and the next.
#[test]
fn each_step_replicates_what_it_changed() {
    type Act = fn(&mut World);
    let acts: [(&str, Act, &[&str]); 9] = [
        ("nothing", |_| {}, &[]),
        ("a release", |world| done(world.release(K, "a")), &["ended a"]),
        ("a lease's end", |world| world.pass(10), &["ended a"]),
        ("a session's end", |world| world.hang_up(7), &["ended b"]),
        ("reacquiring", |world| done(world.grants(ask(K, "a").shared().lease(50))), &["changed a 1000000 shared"]),
        ("an extension", |world| done(world.extend(K, "b", 5)), &["changed b 1000001 shared"]),
        ("a raise", |world| done(world.raise(K, "b", 1_000_009)), &["changed b 1000009 shared"]),
        (
            "both ends in one step",
            |world| {
                world.pass(10);
                world.release(K, "b").unwrap();
            },
            // An exclusive hold takes the place of all that was.
            &["granted c 1010000"],
        ),
        ("a head that leaves", |world| done(world.engine.leave(1)), &["granted d 1000002 shared"]),
    ];
    for (name, act, expected) in acts {
        assert_eq!(effects_of(act), expected, "{name}");
    }
    let downgraded = effects_of(|world| {
        world.engine.leave(1);
        world.settle();
        for who in ["a", "b", "d"] {
            world.release(K, who).unwrap();
        }
        world.grants(ask(K, "e"));
        world.waits(ask(K, "f").shared().block(0));
        world.did();
        world.downgrade(K, "e").unwrap();
    });
    assert_eq!(downgraded, ["changed e 1000003 shared, granted f 1000004 shared"]);
}

/// Guarantee 10: what one grant, extension or end costs replicas does not grow with the number of holders.
#[test]
fn an_effect_is_as_long_as_what_changed_however_many_hold() {
    let lengths = |others: usize| {
        let mut world = World::new();
        world.set_to("max-holders", 1_000_000);
        for n in 0..others {
            world.grants(ask(K, &format!("other{n}")).shared().lease(60_000));
        }
        world.fake.effects.take();
        world.grants(ask(K, "me").shared().lease(10_000));
        world.grants(ask(K, "me").shared().lease(11_000));
        world.extend(K, "me", 12_000).unwrap();
        world.release(K, "me").unwrap();
        world.fake.effects.take().into_iter().map(|(_, effect)| effect.len()).collect::<Vec<_>>()
    };
    assert_eq!(lengths(1).len(), 4);
    assert_eq!(lengths(1), lengths(3000));
}

/// A waiter is granted, and its hold ends, within the same step.
#[test]
fn a_ttl_set_by_hand_is_cleared_everywhere_or_nowhere() {
    let mut pair = Pair::new();
    pair.primary.grant(K, "x", 1000);
    pair.primary.waits(ask(K, "d").shared().block(0));
    pair.follow();
    pair.both(|world| world.restore_all(K, &[("a", Mode::Shared(None)), ("b", Mode::Shared(None))], 1000, 9_000_000));
    pair.primary.release(K, "d").unwrap();
    pair.follow();
}

/// A waiter finds itself among the holders of a lock that was renamed, so its hold is extended; and it releases it in the same
/// step.
#[test]
fn a_hold_that_is_confirmed_and_ends_in_one_step_clears_no_ttl() {
    let mut pair = Pair::new();
    pair.primary.grant(K, "x", 1000);
    pair.primary.waits(ask(K, "a").shared().block(0));
    for who in ["a", "b"] {
        pair.primary.grants(ask(K2, who).shared().lease(10));
    }
    pair.follow();
    pair.both(|world| world.rename(K2, K));
    pair.primary.release(K, "a").unwrap();
    assert_eq!(pair.primary.holders(K), ["b"]);
    assert!(!pair.primary.fake.log.borrow().contains(&Did::ClearedTtl("0:k".into())), "no hold was confirmed");
    pair.follow();
}

/// Its queue lets somebody in alone, whose release or downgrade in the same step lets in readers: that the shared holders were cleared out
/// of the way between shows in nothing that is there afterwards.
#[test]
fn expired_holders_that_made_room_for_one_who_left_at_once_are_gone_everywhere() {
    for is_downgrade in [false, true] {
        let mut pair = Pair::new();
        MANY.iter().for_each(|who| done(pair.primary.grants(ask(K, who).shared().lease(5))));
        pair.primary.waits(ask(K, "x").block(0));
        pair.primary.waits(ask(K, "y").shared().block(0));
        pair.both(|world| world.pass(5));
        pair.primary
            .release_with(K, ReleaseRequest { owner: owner("x"), fence: None, is_downgrade, cool: None })
            .unwrap();
        assert_eq!(pair.primary.holders(K), if is_downgrade { vec!["x", "y"] } else { vec!["y"] });
        pair.follow();
        pair.primary.settle();
        pair.follow();
        pair.promote();
    }
}
