//! Shared holders, which are kept in a list or in trees, compared with a plain list that is searched for everything.

use std::cell::Cell;

use proptest::prelude::*;

use super::super::shared::SharedHolders;
use super::harness::inherited;
use super::*;

/// An operation on shared holders. Leases are in milliseconds from the start.
#[derive(Clone, Debug)]
enum Operation {
    /// Adds the hold of an owner that has none: fence, lease, limit.
    Insert(Client, u64, u64, Option<u64>),
    /// Removes the n-th hold.
    Remove(usize),
    /// Gives the n-th hold this fence and this lease.
    Update(usize, u64, u64),
    /// Excludes the holds that have expired so many milliseconds after the start.
    Expire(u64),
    /// Changes and removes a hold that does not exist: fence, and number among the holds with this fence.
    NotHeld(u64, u32),
}

/// Generates any operation.
fn operation() -> impl Strategy<Value = Operation> {
    let client = prop::sample::select(Client::ALL.to_vec());
    prop_oneof![
        4 => (client, 10..13u64, 1..4u64, prop::option::of(1..4u64))
            .prop_map(|(client, fence, lease, limit)| Operation::Insert(client, fence, lease, limit)),
        2 => (0..4usize).prop_map(Operation::Remove),
        3 => (0..4usize, 10..13u64, 1..4u64).prop_map(|(n, fence, lease)| Operation::Update(n, fence, lease)),
        1 => (0..4u64).prop_map(Operation::Expire),
        1 => (9..13u64, 0..3u32).prop_map(|(fence, nth)| Operation::NotHeld(fence, nth)),
    ]
}

/// Holds with their ids and limits, in the order of their ids.
type PlainList = Vec<(HoldId, Hold, Option<Limit>)>;

/// The id that the next hold with this fence gets.
fn next_id(plain: &PlainList, fence: Fence) -> HoldId {
    let nth = plain.iter().filter(|(id, ..)| id.fence == fence).map(|(id, ..)| id.nth + 1).max();
    HoldId { fence, nth: nth.unwrap_or(0) }
}

/// Applies an operation to both, and panics unless they do the same.
fn apply(shared: &mut SharedHolders, plain: &mut PlainList, operation: &Operation) {
    let fence = |number: u64| Fence::new(number).unwrap();
    match *operation {
        Operation::Insert(client, ..) if plain.iter().any(|(_, hold, _)| Client::of(&hold.owner) == client) => {}
        Operation::Insert(client, number, lease, limit) => {
            let (hold, limit) = (inherited(client, fence(number), lease, harness::START), limit.and_then(Limit::new));
            let id = next_id(plain, fence(number));
            assert_eq!(shared.insert(hold.clone(), limit), id);
            plain.push((id, hold, limit));
        }
        Operation::Remove(n) if n < plain.len() => {
            let (id, hold, limit) = plain.remove(n);
            let removed = shared.remove(id).unwrap();
            assert_eq!((removed.id(), removed.limit(), removed.hold), (id, limit, hold));
        }
        Operation::Update(n, number, lease) if n < plain.len() => {
            let (before, mut hold, limit) = plain.remove(n);
            hold.fence = fence(number);
            hold.expires_at = harness::START.steady + Millis(lease);
            let id = if hold.fence == before.fence { before } else { next_id(plain, hold.fence) };
            let changed =
                shared.update(before, |theirs| (theirs.fence, theirs.expires_at) = (hold.fence, hold.expires_at));
            assert_eq!(changed, Some(id));
            plain.insert(n, (id, hold, limit));
        }
        Operation::Remove(_) | Operation::Update(..) => {}
        Operation::Expire(ms) => shared.exclude_expired(harness::START.steady + Millis(ms)),
        Operation::NotHeld(number, nth) => {
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

/// Panics unless both give the same answer to every question.
fn compare(shared: &SharedHolders, plain: &PlainList) {
    let all: Vec<_> = shared.iter().map(|shared| (shared.id(), shared.hold.clone(), shared.limit())).collect();
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
        let now = harness::START.steady + Millis(ms);
        assert_eq!(shared.count_expired(now), plain.iter().filter(|(_, hold, _)| hold.expires_at <= now).count());
    }
    for client in Client::ALL {
        let theirs = plain.iter().find(|(_, hold, _)| Client::of(&hold.owner) == client);
        assert_eq!(shared.of(client.owner().borrow()).map(|shared| shared.id()), theirs.map(|(id, ..)| *id));
    }
    for id in (9..14).flat_map(|fence| (0..4).map(move |nth| HoldId { fence: Fence::new(fence).unwrap(), nth })) {
        let theirs = plain.iter().find(|(theirs, ..)| *theirs == id);
        assert_eq!(shared.get(id).map(|shared| &shared.hold), theirs.map(|(_, hold, _)| hold));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shared_holders_behave_like_a_plain_list(operations in prop::collection::vec(operation(), 1..40)) {
        let (mut shared, mut plain) = (SharedHolders::new(), PlainList::new());
        for operation in &operations {
            apply(&mut shared, &mut plain, operation);
            compare(&shared, &plain);
        }
    }

    /// Shared holders that were once kept in trees stay there. Equality must not depend on that.
    #[test]
    fn shared_holders_with_the_same_holds_are_equal(operations in prop::collection::vec(operation(), 1..40)) {
        let (mut shared, mut plain) = (SharedHolders::new(), PlainList::new());
        for operation in &operations {
            apply(&mut shared, &mut plain, operation);
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
    assert_eq!([1, 1_000_000].map(|limit| Limit::new(limit).map(Limit::units)), [Some(1), Some(1_000_000)]);
}

#[test]
fn holds_in_the_way_are_those_that_must_all_end_first() {
    let blockers = |holders: &Holders, asked: ModeOption| -> Vec<Client> {
        holders.in_the_way(asked.mode()).map(|hold| Client::of(&hold.owner)).collect()
    };
    let put = |holders: &mut Holders, client, mode_option: ModeOption, fence| {
        holders.put(mode_option.mode(), inherited(client, Fence::new(fence).unwrap(), 5, harness::START));
    };
    use Client::*;
    use ModeOption::*;
    let mut holders = Holders::Free;
    assert_eq!(blockers(&holders, Exclusive), []);
    put(&mut holders, A, Exclusive, 10);
    assert_eq!(
        [Exclusive, Shared, SharedLimit(1), SharedLimit(2)].map(|mode_option| blockers(&holders, mode_option)),
        [[A]; 4].map(Vec::from)
    );
    holders = Holders::Free;
    put(&mut holders, A, Shared, 10);
    put(&mut holders, B, Shared, 11);
    assert_eq!(
        [Exclusive, SharedLimit(1)].map(|mode_option| blockers(&holders, mode_option)),
        [[A, B]; 2].map(Vec::from)
    );
    // It is enough that any one of the two ends.
    assert_eq!([Shared, SharedLimit(2)].map(|mode_option| blockers(&holders, mode_option)), [vec![], vec![]]);
    holders = Holders::Free;
    put(&mut holders, A, SharedLimit(1), 10);
    assert_eq!(
        [Exclusive, Shared, SharedLimit(2)].map(|mode_option| blockers(&holders, mode_option)),
        [[A]; 3].map(Vec::from)
    );
}

#[test]
fn running_holds_are_those_whose_lease_has_not_expired() {
    let (now, mut holders) = (harness::START, Holders::Free);
    let count = |holders: &Holders, ms| holders.count_running(now.steady + Millis(ms));
    assert_eq!(count(&holders, 0), 0);
    holders.put(Mode::Exclusive, inherited(Client::A, Fence::MAX, 2, now));
    assert_eq!([0, 1, 2, 3].map(|ms| count(&holders, ms)), [1, 1, 0, 0]);
    holders = Holders::Free;
    for (n, client) in Client::ALL.into_iter().enumerate() {
        holders.put(Mode::Shared(None), inherited(client, Fence::MAX, n as u64 + 1, now));
    }
    assert_eq!([0, 1, 2, 3, 4].map(|ms| count(&holders, ms)), [4, 3, 2, 1, 0]);
    assert_eq!(holders.first_expiry(), Some(now.steady + Millis(1)));
}
