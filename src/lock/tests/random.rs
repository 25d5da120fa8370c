//! Long random sequences of events, in which the rules are compared with the [`Model`] after every step.
//!
//! There are few owners, few connections and short leases, so that requests collide often. A sequence that fails is
//! shrunk and printed as rows of Rust code, which can be passed to [`replay`].

use proptest::prelude::*;

use super::model::Model;
use super::Client::*;
use super::Event::*;
use super::FenceOption::*;
use super::ModeOption::*;
use super::RaiseOption::*;
use super::SessionOption::*;
use super::*;

fn client() -> impl Strategy<Value = Client> {
    prop::sample::select(Client::ALL.to_vec())
}

fn mode_option() -> impl Strategy<Value = ModeOption> {
    prop_oneof![
        3 => Just(Exclusive),
        3 => Just(Shared),
        3 => (1..4u64).prop_map(SharedLimit),
        2 => (1..4u64, 1..4u64).prop_map(|(one, other)| SharedWeight(one.max(other), one.min(other))),
        1 => (1..8u64).prop_map(ExclusiveMax),
        1 => (1..8u64).prop_map(SharedMax),
        1 => (1..8u64).prop_map(ExclusiveDelay),
    ]
}

fn session_option() -> impl Strategy<Value = SessionOption> {
    prop_oneof![3 => Just(NoSession), 2 => (0..harness::CONNECTIONS).prop_map(OnConnection)]
}

fn fence_option() -> impl Strategy<Value = FenceOption> {
    prop_oneof![3 => Just(NoFence), 3 => Just(Right), 2 => Just(Wrong)]
}

fn raise_option() -> impl Strategy<Value = RaiseOption> {
    prop_oneof![2 => Just(NoRaise), 1 => Just(RaiseBelow), 3 => Just(RaiseToLargest), 2 => Just(RaiseAbove)]
}

/// The arguments of a LOCK.ACQUIRE: client, mode, lease in milliseconds, session.
fn acquire() -> impl Strategy<Value = (Client, ModeOption, u64, SessionOption)> {
    (client(), mode_option(), 1..6u64, session_option())
}

/// Generates any event. Those that matter most are the most frequent ones.
pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => acquire().prop_map(|(client, mode, lease, session)| Try(client, mode, lease, session)),
        4 => acquire().prop_map(|(client, mode, lease, session)| Wait(client, mode, lease, session, 0)),
        6 => (acquire(), 1..6u64)
            .prop_map(|((client, mode, lease, session), timeout)| Wait(client, mode, lease, session, timeout)),
        4 => (client(), fence_option()).prop_map(|(client, fence)| Release(client, fence)),
        2 => (client(), fence_option(), 1..6u64).prop_map(|(client, fence, length)| Cool(client, fence, length)),
        3 => (client(), fence_option()).prop_map(|(client, fence)| Downgrade(client, fence)),
        5 => (client(), 0..6u64, fence_option(), raise_option())
            .prop_map(|(client, lease, fence, raise)| Extend(client, lease, fence, raise)),
        2 => (0..3usize).prop_map(Leave),
        5 => (0..3usize).prop_map(Delivered),
        4 => (0..3usize).prop_map(Undelivered),
        2 => (0..harness::CONNECTIONS).prop_map(Close),
        4 => (1..6u64).prop_map(PassTime),
        1 => (-10..10i64).prop_map(SetWallClock),
        2 => (1..6u64).prop_map(Deny),
        2 => (1..6u64).prop_map(Allow),
        2 => Just(Advance),
        2 => Just(RunTimer),
        1 => Just(Remove),
        2 => (client(), mode_option(), 1..6u64).prop_map(|(client, mode, lease)| Restore(client, mode, lease)),
    ]
}

/// The rules and the model, which are given the same events.
pub struct Pair {
    /// The lock that follows the rules.
    pub harness: Harness,
    /// The lock that follows the model.
    model: Model,
}

impl Pair {
    /// Two free locks.
    pub fn new() -> Pair {
        Pair { harness: Harness::new(), model: Model::new() }
    }

    /// Applies an event to both. Panics unless the invariants hold and both locks agree.
    pub fn step(&mut self, event: Event) {
        let ticket = match event {
            Wait(..) => Some(Ticket(self.harness.next_ticket)),
            Leave(n) => self.harness.nth(n),
            Delivered(n) | Undelivered(n) => self.harness.in_flight.get(n).map(|answer| answer.ticket),
            _ => None,
        };
        let step = self.harness.step(event);
        let (returned, effects) = self.model.step(event, ticket);
        assert_eq!(step.returned, returned, "the replies differ: rules (left), model (right)");
        assert_eq!(step.effects, effects, "the effects differ: rules (left), model (right)");
        self.compare();
    }

    /// Panics unless both locks have the same holds, waiters and answers in flight.
    fn compare(&self) {
        let Pair { harness, model } = self;
        let mut holding = model.holding.clone();
        holding.sort_by_key(|holding| holding.id);
        let expected: Vec<_> = holding.into_iter().map(|holding| (holding.id, holding.mode, holding.hold)).collect();
        let held = harness.holders.iter().map(|(_, hold)| harness.held(Client::of(&hold.owner)).unwrap());
        assert_eq!(held.collect::<Vec<_>>(), expected, "the holds differ: rules (left), model (right)");
        let waiting: Vec<_> = harness.queue.iter().map(|(ticket, waiter)| (ticket, waiter.clone())).collect();
        assert_eq!(waiting, model.waiting, "the waiters differ: rules (left), model (right)");
        // If an operator removed a hold, the rules remember the answers with it until they are delivered or lost.
        if harness.in_flight.iter().all(|answer| harness.holders.get(answer.hold).is_some()) {
            assert_eq!(
                harness.queue.is_idle(),
                model.is_idle(),
                "whether an answer in flight still matters differs: rules (left), model (right)"
            );
        }
    }
}

/// Applies a sequence of events to a [`Pair`]. If that panics, it prints the events that led there.
fn replay(events: &[Event]) {
    let mut pair = Pair::new();
    for (n, event) in events.iter().enumerate() {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.step(*event)));
        assert!(result.is_ok(), "the last of these events failed (see above):\n{}", rows(&events[..=n]));
    }
    pair.harness.drain();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_and_the_model_agree_on_every_sequence(events in prop::collection::vec(event(), 1..60)) {
        replay(&events);
    }
}

/// Trap 49. The events were printed by the test above and pasted here.
#[test]
fn a_hold_that_one_of_two_requests_learned_of_does_not_end() {
    replay(&[
        Try(A, Exclusive, 9, NoSession),
        Wait(B, Exclusive, 5, NoSession, 0),
        Wait(B, Exclusive, 9, NoSession, 0),
        Wait(C, Exclusive, 5, NoSession, 0),
        Release(A, NoFence),
        Undelivered(0),
        Delivered(0),
        RunTimer,
        Extend(B, 0, Right, NoRaise),
        PassTime(9),
        RunTimer,
    ]);
}

/// If a lock is restored over the key, its first waiter may hold the lock by that. It must not be granted a second hold
/// in place of the first: the lease could expire earlier then, and no effect would tell that the first hold ended.
#[test]
fn a_waiter_reacquires_the_lock_if_it_is_restored_as_its_own() {
    replay(&[
        Try(A, Exclusive, 5, NoSession),
        Wait(C, Shared, 1, NoSession, 0),
        Restore(C, Shared, 5),
        Try(B, Exclusive, 1, NoSession),
    ]);
    replay(&[
        Try(A, Exclusive, 5, NoSession),
        Wait(C, Shared, 1, OnConnection(0), 0),
        Restore(C, SharedLimit(2), 5),
        RunTimer,
        Undelivered(0),
        Close(0),
    ]);
}

/// Two requests are answered with one hold, and the later answer is lost with its connection. Then the earlier request
/// decides about the session.
#[test]
fn a_hold_is_bound_to_the_session_of_the_last_request_whose_answer_arrived() {
    let events = [
        Try(A, Exclusive, 9, NoSession),
        Wait(B, Shared, 5, OnConnection(0), 0),
        Wait(B, Shared, 5, OnConnection(1), 0),
        Release(A, NoFence),
        Delivered(0),
        Close(1),
        Undelivered(0),
    ];
    let mut pair = Pair::new();
    events.into_iter().for_each(|event| pair.step(event));
    assert_eq!(pair.harness.held(B).unwrap().2.session, pair.harness.session_of(OnConnection(0)));
    pair.step(Close(0));
    assert_eq!(pair.harness.held(B), None);
}
