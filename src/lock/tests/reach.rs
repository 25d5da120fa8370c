//! Random sequences reach every kind of state, and meet every kind of request there. This shows that the comparison in
//! [`super::random`] covers all that can happen to a lock, and not only a part of it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::random::event;
use super::Event::*;
use super::*;

/// How a lock is held when a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HoldState {
    /// Nobody holds it.
    Free,
    /// Nobody holds it, and it is cooling.
    Cooling,
    /// Nobody holds it, and its cooling is over.
    Cooled,
    /// One owner holds it alone.
    Exclusive,
    /// One owner holds it alone, by a hold that this process did not grant.
    ExclusiveInherited,
    /// One owner holds it alone, and the lease has expired.
    ExclusiveExpired,
    /// One owner holds it shared.
    OneShared,
    /// Several owners hold it, and another one could join them.
    SeveralShared,
    /// As many owners hold it as their limits or the server's settings allow.
    SharedFull,
    /// Owners hold it shared, and the lease of at least one has expired.
    SharedExpired,
    /// Owners hold it shared, at least one of them by a hold that this process did not grant.
    SharedInherited,
    /// Owners hold it shared, and at least two of the holds have the same fence.
    SharedSameFence,
}

/// Every [`HoldState`].
const HOLD_STATES: [HoldState; 12] = [
    HoldState::Free,
    HoldState::Cooling,
    HoldState::Cooled,
    HoldState::Exclusive,
    HoldState::ExclusiveInherited,
    HoldState::ExclusiveExpired,
    HoldState::OneShared,
    HoldState::SeveralShared,
    HoldState::SharedFull,
    HoldState::SharedExpired,
    HoldState::SharedInherited,
    HoldState::SharedSameFence,
];

/// What the wait queue looks like when a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QueueState {
    /// Nobody waits.
    Empty,
    /// Nobody waits, and an answer with a hold is in flight.
    EmptyInFlight,
    /// There are waiters, and an answer with a hold is in flight.
    InFlight,
    /// An owner waits that holds the lock.
    HolderWaits,
    /// The wait of the first waiter has timed out.
    FirstTimedOut,
    /// The user of the first waiter may no longer acquire the lock.
    FirstDenied,
    /// The first waiter asks for an exclusive hold.
    FirstExclusive,
    /// The first waiter asks for a shared hold without a limit.
    FirstShared,
    /// The first waiter asks for a shared hold with a limit.
    FirstSharedLimit,
    /// An owner waits with two requests.
    OwnerTwice,
}

/// Every [`QueueState`].
const QUEUE_STATES: [QueueState; 10] = [
    QueueState::Empty,
    QueueState::EmptyInFlight,
    QueueState::InFlight,
    QueueState::HolderWaits,
    QueueState::FirstTimedOut,
    QueueState::FirstDenied,
    QueueState::FirstExclusive,
    QueueState::FirstShared,
    QueueState::FirstSharedLimit,
    QueueState::OwnerTwice,
];

/// How this lock is held.
fn hold_state(harness: &Harness) -> HoldState {
    let all: Vec<(Mode, &Hold)> = harness.holders.iter().collect();
    let expired = all.iter().any(|(_, hold)| hold.is_expired(harness.now.steady));
    let inherited = all.iter().any(|(_, hold)| hold.terms.origin() == Origin::Inherited);
    match all[..] {
        [] => match harness.holders {
            Holders::Cooling(cooling) if cooling.until <= harness.now.steady => HoldState::Cooled,
            Holders::Cooling(_) => HoldState::Cooling,
            _ => HoldState::Free,
        },
        [(Mode::Exclusive, _)] if expired => HoldState::ExclusiveExpired,
        [(Mode::Exclusive, _)] if inherited => HoldState::ExclusiveInherited,
        [(Mode::Exclusive, _)] => HoldState::Exclusive,
        _ if expired => HoldState::SharedExpired,
        _ if all.windows(2).any(|pair| pair[0].1.fence == pair[1].1.fence) => HoldState::SharedSameFence,
        _ if inherited => HoldState::SharedInherited,
        _ if !harness.holders.admit(Mode::Shared(None)) || all.len() == harness::HOLDERS_MAX => HoldState::SharedFull,
        [_] => HoldState::OneShared,
        _ => HoldState::SeveralShared,
    }
}

/// What the wait queue of this lock looks like.
fn queue_state(harness: &Harness) -> QueueState {
    let all: Vec<&Waiter> = harness.queue.iter().map(|(_, waiter)| waiter).collect();
    let owners: BTreeSet<Client> = all.iter().map(|waiter| Client::of(&waiter.request.owner)).collect();
    let answers = harness.in_flight.iter().any(|answer| harness.holders.get(answer.hold).is_some());
    match all[..] {
        [] if answers => QueueState::EmptyInFlight,
        [] => QueueState::Empty,
        _ if answers => QueueState::InFlight,
        _ if owners.iter().any(|client| harness.held(*client).is_some()) => QueueState::HolderWaits,
        [first, ..] if first.has_timed_out(harness.now.steady) => QueueState::FirstTimedOut,
        [first, ..] if first.request.user.is_some_and(|user| harness.denied.contains(&user)) => QueueState::FirstDenied,
        _ if owners.len() < all.len() => QueueState::OwnerTwice,
        [first, ..] => match first.request.mode {
            Mode::Exclusive => QueueState::FirstExclusive,
            Mode::Shared(None) => QueueState::FirstShared,
            Mode::Shared(Some(_)) => QueueState::FirstSharedLimit,
        },
    }
}

/// The kind of request that an event is, and whether its client holds the lock. `None` if it is no request.
fn request(harness: &Harness, event: Event) -> Option<(&'static str, bool)> {
    let (name, client) = match event {
        Try(client, ModeOption::Exclusive, ..) => ("try", Some(client)),
        Try(client, ModeOption::ExclusiveMax(_) | ModeOption::ExclusiveDelay(_), ..) => {
            ("try max or delay", Some(client))
        }
        Try(client, ..) => ("try shared", Some(client)),
        Wait(client, ModeOption::Exclusive, ..) => ("wait", Some(client)),
        Wait(client, ModeOption::ExclusiveMax(_) | ModeOption::ExclusiveDelay(_), ..) => {
            ("wait max or delay", Some(client))
        }
        Wait(client, ModeOption::Shared | ModeOption::SharedMax(_), ..) => ("wait shared", Some(client)),
        Wait(client, ModeOption::SharedLimit(_), ..) => ("wait shared limit", Some(client)),
        Wait(client, ModeOption::SharedWeight(..), ..) => ("wait shared weight", Some(client)),
        Release(client, FenceOption::Wrong)
        | Cool(client, FenceOption::Wrong, _)
        | Downgrade(client, FenceOption::Wrong)
        | Extend(client, _, FenceOption::Wrong, _) => ("wrong fence", Some(client)),
        Release(client, _) => ("release", Some(client)),
        Cool(client, ..) => ("cool", Some(client)),
        Downgrade(client, _) => ("downgrade", Some(client)),
        Extend(client, .., RaiseOption::RaiseAbove | RaiseOption::RaiseToLargest) => ("raise", Some(client)),
        Extend(client, ..) => ("extend", Some(client)),
        Close(n) => {
            let closed = Some(harness.sessions[n]);
            (
                "close",
                harness
                    .holders
                    .iter()
                    .find(|(_, hold)| hold.session == closed)
                    .map(|(_, hold)| Client::of(&hold.owner)),
            )
        }
        Advance => ("advance", None),
        RunTimer => ("timer", None),
        Leave(n) => harness.nth(n).map(|_| ("leave", None))?,
        Delivered(n) => harness.in_flight.get(n).map(|_| ("delivered", None))?,
        Undelivered(n) => harness.in_flight.get(n).map(|_| ("undelivered", None))?,
        Remove => ("remove", None),
        Restore(client, ..) => ("restore", Some(client)),
        PassTime(_) | SetWallClock(_) | Deny(_) | Allow(_) => return None,
    };
    Some((name, client.is_some_and(|client| harness.held(client).is_some())))
}

/// Whether such a request is possible in this state.
fn can_happen(hold_state: HoldState, queue_state: QueueState, (name, by_holder): (&str, bool)) -> bool {
    let is_empty = queue_state == QueueState::Empty || queue_state == QueueState::EmptyInFlight;
    let state_exists = match hold_state {
        HoldState::Free | HoldState::Cooling | HoldState::Cooled => {
            !matches!(queue_state, QueueState::EmptyInFlight | QueueState::InFlight | QueueState::HolderWaits)
        }
        // No answer ever told a client of an inherited hold.
        HoldState::ExclusiveInherited => !matches!(queue_state, QueueState::EmptyInFlight | QueueState::InFlight),
        _ => true,
    };
    let is_unheld = matches!(hold_state, HoldState::Free | HoldState::Cooling | HoldState::Cooled);
    let inherited_without_session = hold_state == HoldState::ExclusiveInherited && name == "close";
    let is_about_answer = name == "delivered" || name == "undelivered";
    let has_answers = queue_state == QueueState::EmptyInFlight || queue_state == QueueState::InFlight;
    // An answer can also be in flight with a hold that has ended. Then it makes no difference whether it arrives.
    state_exists
        && (has_answers || !is_about_answer)
        && !(by_holder && (is_unheld || inherited_without_session))
        && !(name == "leave" && is_empty)
}

/// Whether a state passes so quickly that it is enough if any request meets it.
fn is_rare(hold_state: HoldState, queue_state: QueueState) -> bool {
    match (hold_state, queue_state) {
        // The first waiter left the queue, and the lock has made no step since.
        (HoldState::OneShared | HoldState::SeveralShared, QueueState::FirstShared | QueueState::FirstSharedLimit) => {
            true
        }
        // The timer has not run yet, and cooling is short.
        (HoldState::Cooled | HoldState::Cooling, queue_state) if queue_state != QueueState::Empty => true,
        // The timer has not run yet.
        (
            HoldState::Exclusive | HoldState::ExclusiveExpired | HoldState::SharedExpired | HoldState::Free,
            QueueState::FirstTimedOut,
        ) => false,
        (_, QueueState::FirstTimedOut | QueueState::FirstDenied) => true,
        // Something outside the rules changed the lock, and it has not been reconciled yet.
        (HoldState::SeveralShared | HoldState::ExclusiveExpired, QueueState::HolderWaits) => true,
        (HoldState::SharedSameFence, queue_state) => queue_state != QueueState::Empty,
        _ => false,
    }
}

#[test]
fn random_sequences_reach_every_kind_of_state_and_request() {
    let states: Vec<_> = HOLD_STATES
        .into_iter()
        .flat_map(|hold_state| QUEUE_STATES.map(|queue_state| (hold_state, queue_state)))
        .collect();
    let (mut reached, mut requests, mut missed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut runner = TestRunner::deterministic();
    // To generate an event takes longer than to apply it, so many sequences are made of few events.
    let events: Vec<Event> = (0..5_000).map(|_| event().new_tree(&mut runner).unwrap().current()).collect();
    for n in 1..=30_000 {
        let mut harness = Harness::new();
        for _ in 0..60 {
            let event = events[runner.rng().next_u32() as usize % events.len()];
            if let Some(request) = request(&harness, event) {
                reached.insert((hold_state(&harness), queue_state(&harness), request));
                requests.insert(request);
            }
            harness.step_unchecked(event);
        }
        if n % 500 == 0 {
            let all = states.iter().flat_map(|(hold_state, queue_state)| {
                requests.iter().map(|request| (*hold_state, *queue_state, *request))
            });
            let was_reached = |row: &(HoldState, QueueState, (&str, bool))| match is_rare(row.0, row.1) {
                true => reached.iter().any(|there| (there.0, there.1) == (row.0, row.1)),
                false => reached.contains(row),
            };
            missed = all.filter(|row| can_happen(row.0, row.1, row.2) && !was_reached(row)).collect();
            if missed.is_empty() {
                break;
            }
        }
    }
    assert!(missed.is_empty(), "{} combinations of state and request were never reached: {missed:?}", missed.len());
    assert_eq!(
        requests.len(),
        22 + 16,
        "every kind of request, those of clients both from a holder and from others: {requests:?}"
    );
}
