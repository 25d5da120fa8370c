//! Shared holders, in a list and in trees, beside a plain list that is searched for everything.

use std::cell::Cell;

use proptest::prelude::*;

use super::super::shared::SharedHolders;
use super::bench::inherited;
use super::*;

/// What is done to shared holders.
#[derive(Clone, Debug)]
enum Act {
    /// Lets an owner in who is not: with this fence, lease, limit.
    Insert(Who, u64, u64, Option<u64>),
    /// Takes the n-th out.
    Remove(usize),
    /// Gives the n-th another fence and another end.
    Update(usize, u64, u64),
    /// Leases that end so many milliseconds after the start are over.
    Expire(u64),
    /// Takes somebody out who is not in.
    Stranger(u64, u32),
}

fn act() -> impl Strategy<Value = Act> {
    let who = prop::sample::select(Who::ALL.to_vec());
    prop_oneof![
        4 => (who, 10..13u64, 1..4u64, prop::option::of(1..4u64))
            .prop_map(|(who, fence, lease, limit)| Act::Insert(who, fence, lease, limit)),
        2 => (0..4usize).prop_map(Act::Remove),
        3 => (0..4usize, 10..13u64, 1..4u64).prop_map(|(n, fence, lease)| Act::Update(n, fence, lease)),
        1 => (0..4u64).prop_map(Act::Expire),
        1 => (9..13u64, 0..3u32).prop_map(|(fence, nth)| Act::Stranger(fence, nth)),
    ]
}

type Plain = Vec<(HoldId, Hold, Option<Limit>)>;

/// One above the largest there is with this fence.
fn name(plain: &Plain, fence: Fence) -> HoldId {
    let nth = plain.iter().filter(|(id, ..)| id.fence == fence).map(|(id, ..)| id.nth + 1).max();
    HoldId { fence, nth: nth.unwrap_or(0) }
}

fn apply(shared: &mut SharedHolders, plain: &mut Plain, act: &Act) {
    let fence = |number: u64| Fence::new(number).unwrap();
    match *act {
        Act::Insert(who, ..) if plain.iter().any(|(_, hold, _)| Who::of(&hold.owner) == who) => {}
        Act::Insert(who, number, lease, limit) => {
            let (hold, limit) = (inherited(who, fence(number), lease, bench::START), limit.and_then(Limit::new));
            let id = name(plain, fence(number));
            assert_eq!(shared.insert(hold.clone(), limit), id);
            plain.push((id, hold, limit));
        }
        Act::Remove(n) if n < plain.len() => {
            let (id, hold, limit) = plain.remove(n);
            let removed = shared.remove(id).unwrap();
            assert_eq!((removed.id(), removed.hold, removed.limit), (id, hold, limit));
        }
        Act::Update(n, number, lease) if n < plain.len() => {
            let (before, mut hold, limit) = plain.remove(n);
            hold.fence = fence(number);
            hold.expires_at = bench::START.steady + Millis(lease);
            let id = if hold.fence == before.fence { before } else { name(plain, hold.fence) };
            let changed =
                shared.update(before, |theirs| (theirs.fence, theirs.expires_at) = (hold.fence, hold.expires_at));
            assert_eq!(changed, Some(id));
            plain.insert(n, (id, hold, limit));
        }
        Act::Remove(_) | Act::Update(..) => {}
        Act::Expire(ms) => shared.exclude_expired(bench::START.steady + Millis(ms)),
        Act::Stranger(number, nth) => {
            let id = HoldId { fence: fence(number), nth };
            if plain.iter().all(|(theirs, ..)| *theirs != id) {
                let called = Cell::new(false);
                assert_eq!((shared.update(id, |_| called.set(true)), called.get()), (None, false));
                assert_eq!(shared.remove(id), None);
            }
        }
    }
    plain.sort_by_key(|(id, ..)| *id);
}

/// Asks both everything that can be asked.
fn compare(shared: &SharedHolders, plain: &Plain) {
    let all: Vec<_> = shared.iter().map(|shared| (shared.id(), shared.hold.clone(), shared.limit)).collect();
    assert_eq!(&all, plain);
    assert_eq!(shared.len(), plain.len());
    let in_force = || plain.iter().filter(|(_, hold, _)| shared.is_in_force(hold.expires_at));
    assert_eq!(shared.in_force(), in_force().count());
    let mut those: Vec<HoldId> = shared.those_in_force().map(|shared| shared.id()).collect();
    those.sort_unstable();
    assert_eq!(those, in_force().map(|(id, ..)| *id).collect::<Vec<_>>());
    assert_eq!(shared.smallest_limit(), in_force().filter_map(|(.., limit)| *limit).min());
    assert_eq!(shared.first_expiry(), plain.iter().map(|(id, hold, _)| (hold.expires_at, *id)).min());
    for ms in 0..5 {
        let now = bench::START.steady + Millis(ms);
        assert_eq!(shared.count_expired(now), plain.iter().filter(|(_, hold, _)| hold.expires_at <= now).count());
    }
    for who in Who::ALL {
        let theirs = plain.iter().find(|(_, hold, _)| Who::of(&hold.owner) == who);
        assert_eq!(shared.of(who.owner().borrow()).map(|shared| shared.id()), theirs.map(|(id, ..)| *id));
    }
    for id in (9..14).flat_map(|fence| (0..4).map(move |nth| HoldId { fence: Fence::new(fence).unwrap(), nth })) {
        let theirs = plain.iter().find(|(theirs, ..)| *theirs == id);
        assert_eq!(shared.get(id).map(|shared| &shared.hold), theirs.map(|(_, hold, _)| hold));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shared_holders_do_what_a_plain_list_does(acts in prop::collection::vec(act(), 1..40)) {
        let (mut shared, mut plain) = (SharedHolders::new(), Plain::new());
        for act in &acts {
            apply(&mut shared, &mut plain, act);
            compare(&shared, &plain);
        }
    }

    /// Once shared holders are kept in trees they stay there; equality does not depend on it.
    #[test]
    fn shared_holders_with_the_same_holds_are_equal(acts in prop::collection::vec(act(), 1..40)) {
        let (mut shared, mut plain) = (SharedHolders::new(), Plain::new());
        for act in &acts {
            apply(&mut shared, &mut plain, act);
        }
        let mut few = SharedHolders::new();
        for (_, hold, limit) in plain.iter().filter(|(id, ..)| id.nth == 0) {
            few.insert(hold.clone(), *limit);
        }
        for (id, ..) in plain.iter().filter(|(id, ..)| id.nth > 0) {
            prop_assert!(shared != few);
            shared.remove(*id);
        }
        prop_assert_eq!(&shared, &few);
        if few.len() > 0 {
            few.remove(few.first_expiry().unwrap().1);
            prop_assert!(shared != few);
        }
    }
}

#[test]
fn a_limit_is_one_to_a_million() {
    assert_eq!([0, 1_000_001, u64::MAX].map(Limit::new), [None; 3]);
    assert_eq!([1, 1_000_000].map(|limit| Limit::new(limit).map(Limit::get)), [Some(1), Some(1_000_000)]);
}

#[test]
fn who_is_in_the_way_is_who_must_go_first() {
    let names = |holders: &Holders, asked: How| -> Vec<Who> {
        holders.in_the_way(asked.mode()).map(|hold| Who::of(&hold.owner)).collect()
    };
    let put = |holders: &mut Holders, who, how: How, fence| {
        holders.put(how.mode(), inherited(who, Fence::new(fence).unwrap(), 5, bench::START));
    };
    use How::*;
    use Who::*;
    let mut holders = Holders::Free;
    assert_eq!(names(&holders, Alone), []);
    put(&mut holders, A, Alone, 10);
    assert_eq!([Alone, Together, UpTo(1), UpTo(2)].map(|how| names(&holders, how)), [[A]; 4].map(Vec::from));
    holders = Holders::Free;
    put(&mut holders, A, Together, 10);
    put(&mut holders, B, Together, 11);
    assert_eq!([Alone, UpTo(1)].map(|how| names(&holders, how)), [[A, B]; 2].map(Vec::from));
    // Any one of the two may make room.
    assert_eq!([Together, UpTo(2)].map(|how| names(&holders, how)), [vec![], vec![]]);
    holders = Holders::Free;
    put(&mut holders, A, UpTo(1), 10);
    assert_eq!([Alone, Together, UpTo(2)].map(|how| names(&holders, how)), [[A]; 3].map(Vec::from));
}

#[test]
fn running_holds_are_those_whose_lease_has_not_run_out() {
    let (now, mut holders) = (bench::START, Holders::Free);
    let count = |holders: &Holders, ms| holders.count_running(now.steady + Millis(ms));
    assert_eq!(count(&holders, 0), 0);
    holders.put(Mode::Exclusive, inherited(Who::A, Fence::MAX, 2, now));
    assert_eq!([0, 1, 2, 3].map(|ms| count(&holders, ms)), [1, 1, 0, 0]);
    holders = Holders::Free;
    for (n, who) in Who::ALL.into_iter().enumerate() {
        holders.put(Mode::Shared(None), inherited(who, Fence::MAX, n as u64 + 1, now));
    }
    assert_eq!([0, 1, 2, 3, 4].map(|ms| count(&holders, ms)), [4, 3, 2, 1, 0]);
    assert_eq!(holders.first_expiry(), Some(now.steady + Millis(1)));
}
