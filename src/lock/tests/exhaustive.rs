//! Every sequence of events up to a small length, from a free lock, with two or three owners.
//!
//! If two sequences lead to locks with the same [`fingerprint`], only one of them is continued, because the two locks
//! behave alike from then on. The invariants are checked at every step before that. So all sequences are covered,
//! though few of them are carried out.

use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::harness::AnswerInFlight;
use super::Client::*;
use super::Event::*;
use super::ModeOption::*;
use super::SessionOption::*;
use super::*;

/// A short lease or wait, in milliseconds.
const SHORT: u64 = 5;
/// A long lease, in milliseconds.
const LONG: u64 = 9;

/// The events to try after a sequence in which so many owners appeared. Owners are interchangeable, so they first
/// appear in the order A, B, C.
type EventsFor = fn(usize) -> Vec<Event>;

/// Events about modes, limits, leases, waits that time out, and operators.
fn mode_events(owners: usize) -> Vec<Event> {
    let mut events = vec![Leave(0), Undelivered(0), PassTime(SHORT), RunTimer, Remove];
    for client in [A, B, C].into_iter().take(owners + 1) {
        events.extend([
            Try(client, Exclusive, SHORT, NoSession),
            Try(client, Shared, LONG, NoSession),
            Try(client, SharedLimit(2), SHORT, NoSession),
        ]);
        events.extend([Wait(client, Exclusive, SHORT, NoSession, 0), Wait(client, Shared, LONG, NoSession, SHORT)]);
        events.extend([
            Wait(client, SharedLimit(1), SHORT, NoSession, 0),
            Wait(client, SharedLimit(2), SHORT, NoSession, 0),
        ]);
        events.extend([
            Release(client, FenceOption::NoFence),
            Downgrade(client, FenceOption::NoFence),
            Extend(client, LONG, FenceOption::Right, RaiseOption::RaiseToLargest),
        ]);
    }
    events.extend([Restore(A, Shared, LONG), Restore(B, Exclusive, LONG)].into_iter().take(owners));
    events
}

/// Events about connections that close, and answers in flight.
fn connection_events(owners: usize) -> Vec<Event> {
    let mut events =
        vec![Delivered(0), Delivered(1), Undelivered(0), Undelivered(1), Close(0), Close(1), PassTime(SHORT)];
    for client in [A, B].into_iter().take(owners + 1) {
        events.extend([Try(client, Exclusive, SHORT, NoSession), Try(client, Shared, LONG, OnConnection(0))]);
        events.extend([
            Wait(client, Exclusive, SHORT, OnConnection(0), 0),
            Wait(client, Exclusive, SHORT, OnConnection(1), 0),
        ]);
        events.extend([Wait(client, Shared, LONG, NoSession, SHORT), Wait(client, Shared, SHORT, OnConnection(0), 0)]);
        events.extend([
            Release(client, FenceOption::NoFence),
            Downgrade(client, FenceOption::Right),
            Extend(client, SHORT, FenceOption::NoFence, RaiseOption::NoRaise),
        ]);
    }
    events
}

/// Events about users that lose the right to acquire the lock while they wait, and get it back.
fn rights_events(owners: usize) -> Vec<Event> {
    let mut events =
        vec![Deny(SHORT), Deny(LONG), Allow(SHORT), Leave(0), Undelivered(0), PassTime(SHORT), RunTimer, Remove];
    for client in [A, B, C].into_iter().take(owners + 1) {
        events.extend([Try(client, Exclusive, SHORT, NoSession), Release(client, FenceOption::NoFence)]);
        events.extend([Wait(client, Exclusive, SHORT, NoSession, 0), Wait(client, Shared, LONG, NoSession, SHORT)]);
        events.extend([Wait(client, Shared, SHORT, NoSession, 0), Downgrade(client, FenceOption::NoFence)]);
    }
    events.extend([Restore(A, Shared, LONG), Restore(B, Exclusive, LONG)].into_iter().take(owners));
    events
}

/// Events about holds that end by MAX, cooling after a release or an expired hold, and units.
fn option_events(owners: usize) -> Vec<Event> {
    let mut events = vec![Leave(0), Undelivered(0), PassTime(SHORT), PassTime(LONG), RunTimer, Remove];
    for client in [A, B, C].into_iter().take(owners + 1) {
        events.extend([
            Try(client, ExclusiveMax(LONG), SHORT, NoSession),
            Try(client, ExclusiveDelay(SHORT), SHORT, OnConnection(0)),
            Try(client, SharedWeight(3, 2), LONG, NoSession),
            Wait(client, ExclusiveDelay(LONG), SHORT, NoSession, 0),
            Wait(client, SharedWeight(2, 1), SHORT, NoSession, SHORT),
            Wait(client, SharedMax(SHORT), LONG, NoSession, 0),
        ]);
        events.extend([
            Release(client, FenceOption::NoFence),
            Cool(client, FenceOption::NoFence, SHORT),
            Downgrade(client, FenceOption::NoFence),
            Extend(client, LONG, FenceOption::NoFence, RaiseOption::NoRaise),
        ]);
    }
    events.extend([Close(0), Restore(A, ExclusiveDelay(SHORT), SHORT)]);
    events
}

/// How many owners must be known for this event: 1 if it is about A, 2 if it is about B, and so on.
fn owners_of(event: Event) -> usize {
    match event {
        Try(client, ..) | Wait(client, ..) | Restore(client, ..) => client as usize + 1,
        Release(client, _) | Cool(client, ..) | Downgrade(client, _) | Extend(client, ..) => client as usize + 1,
        Leave(_) | Delivered(_) | Undelivered(_) | Close(_) => 0,
        PassTime(_) | SetWallClock(_) | Advance | RunTimer | Remove | Deny(_) | Allow(_) => 0,
    }
}

/// Numbers things in the order in which they first appear. It shows which of them are equal, and nothing else about
/// them.
struct Numbering<T>(Vec<T>);

impl<T: PartialEq> Numbering<T> {
    /// The number of this thing, from 0 on.
    fn of(&mut self, thing: T) -> i64 {
        let known = self.0.iter().position(|known| *known == thing);
        known.unwrap_or_else(|| {
            self.0.push(thing);
            self.0.len() - 1
        }) as i64
    }
}

/// The mode as a number: -1 if it is exclusive, else the limit (0: none).
fn mode_number(mode: Mode) -> i64 {
    match mode {
        Mode::Exclusive => -1,
        Mode::Shared(limit) => limit.map_or(0, |limit| i64::from(limit.units()) + 1000 * i64::from(limit.weight())),
    }
}

/// Everything that the further behaviour of a lock depends on: owners, modes, times counted from now, sessions, answers
/// in flight, and which fences are equal. Fences and tickets only ever rise, so their values do not matter.
fn fingerprint(harness: &Harness, owners: usize) -> Vec<i64> {
    let now = harness.now.steady.0;
    let mut numbers = vec![owners as i64, i64::from(harness.record.waiting.is_empty()), harness.queue.len() as i64];
    numbers.extend(harness.denied.iter().map(|user| i64::from(user.0.get())));
    let mut fences = Numbering(Vec::new());
    let session = |session: Option<Session>| match session {
        None => 0,
        Some(session) => 1 + i64::from(harness.is_closed(session)),
    };
    for (mode, hold) in harness.holders.iter() {
        let client = Client::of(&hold.owner);
        let (left, origin) = ((hold.expires_at.0 - now).max(0), i64::from(hold.terms.origin() == Origin::Granted));
        let nth = i64::from(harness.held(client).unwrap().0.nth);
        numbers.extend([
            -1,
            client as i64,
            mode_number(mode),
            left,
            hold.terms.lease().0 as i64,
            hold.max_end().map_or(-1, |end| (end.0 - now).max(0)),
            hold.terms.delay().map_or(0, |delay| delay.0 as i64),
            origin,
            session(hold.session),
            nth,
        ]);
        numbers.extend([fences.of(hold.fence), i64::from(hold.terms.user().is_none())]);
    }
    if let Holders::Cooling(cooling) = &harness.holders {
        numbers.extend([-4, (cooling.until.0 - now).max(0)]);
    }
    for (_, waiter) in harness.queue.iter() {
        let left = waiter.until.map_or(-1, |until| (until.0 - now).max(0));
        let client = Client::of(&waiter.request.owner) as i64;
        numbers.extend([
            -2,
            client,
            mode_number(waiter.request.mode),
            waiter.request.lease.0 as i64,
            waiter.request.max.map_or(-1, |max| max.0 as i64),
            waiter.request.delay.map_or(0, |delay| delay.0 as i64),
            left,
            session(waiter.request.session),
        ]);
    }
    for AnswerInFlight { ticket, hold, session: sent_on } in &harness.in_flight {
        // What the loss of this answer would mean now, and what it would mean if all earlier answers were lost too.
        let mut probe = harness.queue.clone();
        let alone = format!("{:?}", probe.clone().undelivered(*hold, *ticket));
        for before in harness.in_flight.iter().take_while(|answer| answer.ticket < *ticket) {
            probe.undelivered(before.hold, before.ticket);
        }
        let last = format!("{:?}", probe.undelivered(*hold, *ticket));
        let kind = |loss: String| loss.len() as i64 * 2 + i64::from(loss.contains("Session"));
        numbers.extend([-3, fences.of(hold.fence), session(*sent_on), kind(alone), kind(last)]);
    }
    numbers
}

/// Applies every event to each of these locks. Returns the locks whose fingerprint was not known yet; none in the last
/// round.
fn extend_all(events: EventsFor, from: Vec<Reached>, known: &mut HashSet<Vec<i64>>, is_last: bool) -> Vec<Reached> {
    let mut reached = Vec::new();
    for (harness, path) in from {
        let so_far = path.iter().map(|event| owners_of(*event)).max().unwrap_or(0);
        for event in events(so_far) {
            let mut next = harness.clone();
            let path: Vec<Event> = path.iter().copied().chain([event]).collect();
            let result = catch_unwind(AssertUnwindSafe(|| next.step(event)));
            assert!(result.is_ok(), "the last of these events broke an invariant (see above):\n{}", rows(&path));
            if known.insert(fingerprint(&next, so_far.max(owners_of(event)))) {
                let result = catch_unwind(AssertUnwindSafe(|| next.clone().drain()));
                assert!(
                    result.is_ok(),
                    "a waiter was never answered, or something was left over (see above), after\n{}",
                    rows(&path)
                );
                reached.extend((!is_last).then_some((next, path)));
            }
        }
    }
    reached
}

/// A lock and the sequence of events that led to it.
type Reached = (Harness, Vec<Event>);

/// Tries every sequence up to this length. Returns the number of different locks that they lead to.
fn explore(events: EventsFor, length_max: usize) -> usize {
    let mut known = HashSet::new();
    let mut locks = vec![(Harness::new(), Vec::new())];
    for length in 1..=length_max {
        locks = extend_all(events, locks, &mut known, length == length_max);
    }
    known.len()
}

/// The length of the sequences with modes in every test run. Without optimization it is one event shorter.
const MODES_LENGTH: usize = if cfg!(debug_assertions) { 5 } else { 6 };
/// The length of the sequences with the other options in every test run.
const OPTIONS_LENGTH: usize = if cfg!(debug_assertions) { 5 } else { 6 };
/// The length of the sequences with rights in every test run.
const RIGHTS_LENGTH: usize = if cfg!(debug_assertions) { 5 } else { 6 };
/// The length of the sequences with connections in every test run.
const CONNECTIONS_LENGTH: usize = if cfg!(debug_assertions) { 7 } else { 8 };

/// How many different locks each of these walks reaches at least. Walks that are an event shorter reach fewer.
const FEWEST_LOCKS: usize = if cfg!(debug_assertions) { 5_000 } else { 10_000 };

/// Tries every sequence up to this length, and panics if they lead to few different locks: such a test would show
/// nothing.
fn explore_far(events: EventsFor, length_max: usize) {
    let locks = explore(events, length_max);
    println!("counted: {locks} different locks, by all sequences of up to {length_max} events");
    assert!(locks > FEWEST_LOCKS, "only {locks} different locks");
}

#[test]
fn every_short_sequence_with_modes_and_limits_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(mode_events, MODES_LENGTH);
}

#[test]
fn every_short_sequence_with_connections_that_close_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(connection_events, CONNECTIONS_LENGTH);
}

#[test]
fn every_short_sequence_with_rights_that_change_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(rights_events, RIGHTS_LENGTH);
}

#[test]
fn every_short_sequence_with_units_cooling_and_bounded_holds_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(option_events, OPTIONS_LENGTH);
}

#[test]
#[ignore = "takes minutes: run by make nightly"]
fn every_longer_sequence_with_units_cooling_and_bounded_holds_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(option_events, OPTIONS_LENGTH + 1);
}

#[test]
#[ignore = "takes minutes: run by make nightly"]
fn every_longer_sequence_with_modes_and_limits_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(mode_events, MODES_LENGTH + 1);
}

#[test]
#[ignore = "takes minutes: run by make nightly"]
fn every_longer_sequence_with_rights_that_change_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(rights_events, RIGHTS_LENGTH + 1);
}

#[test]
#[ignore = "takes minutes: run by make nightly"]
fn every_longer_sequence_with_connections_that_close_keeps_the_invariants_and_answers_every_waiter_once() {
    explore_far(connection_events, CONNECTIONS_LENGTH + 1);
}
