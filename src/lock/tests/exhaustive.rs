//! Every sequence of events up to a small depth, from a free lock, with two or three owners.
//!
//! Sequences that lead to the same lock go on as one: what a lock does depends only on what [`look`] sees of it, and
//! the invariants are checked on every step before that. So this looks at all sequences and walks few of them.

use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::bench::Flight;
use super::Bound::*;
use super::Event::*;
use super::How::*;
use super::Who::*;
use super::*;

const SHORT: u64 = 5;
const LONG: u64 = 9;

/// What may happen when so many owners are known. They are interchangeable: a new one comes in the order A, B, C.
type Events = fn(usize) -> Vec<Event>;

/// Modes, limits, leases, waits that run out, operators.
fn of_modes(owners: usize) -> Vec<Event> {
    let mut events = vec![Leave(0), Undelivered(0), Pass(SHORT), Ring, Remove];
    for who in [A, B, C].into_iter().take(owners + 1) {
        events.extend([
            Try(who, Alone, SHORT, Loose),
            Try(who, Together, LONG, Loose),
            Try(who, UpTo(2), SHORT, Loose),
        ]);
        events.extend([Wait(who, Alone, SHORT, Loose, 0), Wait(who, Together, LONG, Loose, SHORT)]);
        events.extend([Wait(who, UpTo(1), SHORT, Loose, 0), Wait(who, UpTo(2), SHORT, Loose, 0)]);
        events.extend([Release(who, Tag::Any), Downgrade(who, Tag::Any), Extend(who, LONG, Tag::Right, Lift::Same)]);
    }
    events.extend([Put(A, Together, LONG), Put(B, Alone, LONG)].into_iter().take(owners));
    events
}

/// Connections that close, and answers on their way.
fn of_connections(owners: usize) -> Vec<Event> {
    let mut events = vec![Delivered(0), Delivered(1), Undelivered(0), Undelivered(1), Close(0), Close(1), Pass(SHORT)];
    for who in [A, B].into_iter().take(owners + 1) {
        events.extend([Try(who, Alone, SHORT, Loose), Try(who, Together, LONG, To(0))]);
        events.extend([Wait(who, Alone, SHORT, To(0), 0), Wait(who, Alone, SHORT, To(1), 0)]);
        events.extend([Wait(who, Together, LONG, Loose, SHORT), Wait(who, Together, SHORT, To(0), 0)]);
        events.extend([Release(who, Tag::Any), Downgrade(who, Tag::Right), Extend(who, SHORT, Tag::Any, Lift::No)]);
    }
    events
}

/// Users who lose the right to ask while they wait, and get it back.
fn of_rights(owners: usize) -> Vec<Event> {
    let mut events = vec![Deny(SHORT), Deny(LONG), Allow(SHORT), Leave(0), Undelivered(0), Pass(SHORT), Ring, Remove];
    for who in [A, B, C].into_iter().take(owners + 1) {
        events.extend([Try(who, Alone, SHORT, Loose), Release(who, Tag::Any)]);
        events.extend([Wait(who, Alone, SHORT, Loose, 0), Wait(who, Together, LONG, Loose, SHORT)]);
        events.extend([Wait(who, Together, SHORT, Loose, 0), Downgrade(who, Tag::Any)]);
    }
    events.extend([Put(A, Together, LONG), Put(B, Alone, LONG)].into_iter().take(owners));
    events
}

/// How many owners an event needs.
fn owners(event: Event) -> usize {
    match event {
        Try(who, ..) | Wait(who, ..) | Put(who, ..) => who as usize + 1,
        Release(who, _) | Downgrade(who, _) | Extend(who, ..) => who as usize + 1,
        Leave(_) | Delivered(_) | Undelivered(_) | Close(_) => 0,
        Pass(_) | WallClock(_) | Serve | Ring | Remove | Deny(_) | Allow(_) => 0,
    }
}

/// Numbers by first appearance: what is the same and what is not, in the order in which it is looked at.
struct Names<T>(Vec<T>);

impl<T: PartialEq> Names<T> {
    fn of(&mut self, thing: T) -> i64 {
        let known = self.0.iter().position(|known| *known == thing);
        known.unwrap_or_else(|| {
            self.0.push(thing);
            self.0.len() - 1
        }) as i64
    }
}

fn mode(mode: Mode) -> i64 {
    match mode {
        Mode::Exclusive => -1,
        Mode::Shared(limit) => limit.map_or(0, |limit| i64::from(limit.get())),
    }
}

/// All that a lock's further life depends on: owners, modes, times counted from now, sessions, answers on their way,
/// and which fences are the same. Fences and tickets only ever rise, so their numbers do not matter.
fn look(bench: &Bench, owners: usize) -> Vec<i64> {
    let now = bench.now.steady.0;
    let mut seen = vec![owners as i64, i64::from(bench.record.open.is_empty()), bench.queue.len() as i64];
    seen.extend(bench.denied.iter().map(|user| i64::from(user.0.get())));
    let mut fences = Names(Vec::new());
    let session = |session: Option<Session>| match session {
        None => 0,
        Some(session) => 1 + i64::from(bench.is_closed(session)),
    };
    for (how, hold) in bench.holders.iter() {
        let who = Who::of(&hold.owner);
        let (left, origin) = ((hold.expires_at.0 - now).max(0), i64::from(hold.origin == Origin::Granted));
        let nth = i64::from(bench.held(who).unwrap().0.nth);
        seen.extend([-1, who as i64, mode(how), left, hold.lease.0 as i64, origin, session(hold.session), nth]);
        seen.extend([fences.of(hold.fence), i64::from(hold.user.is_none())]);
    }
    for (_, waiter) in bench.queue.iter() {
        let left = waiter.until.map_or(-1, |until| (until.0 - now).max(0));
        let who = Who::of(&waiter.request.owner) as i64;
        seen.extend([
            -2,
            who,
            mode(waiter.request.mode),
            waiter.request.lease.0 as i64,
            left,
            session(waiter.request.session),
        ]);
    }
    for Flight { ticket, hold, session: on } in &bench.flying {
        // What the queue remembers of it: what its loss would mean, now and once all before it are lost.
        let mut probe = bench.queue.clone();
        let alone = format!("{:?}", probe.clone().undelivered(*hold, *ticket));
        for before in bench.flying.iter().take_while(|flight| flight.ticket < *ticket) {
            probe.undelivered(before.hold, before.ticket);
        }
        let last = format!("{:?}", probe.undelivered(*hold, *ticket));
        let kind = |loss: String| loss.len() as i64 * 2 + i64::from(loss.contains("Session"));
        seen.extend([-3, fences.of(hold.fence), session(*on), kind(alone), kind(last)]);
    }
    seen
}

/// Walks on from every lock in `from`; each comes with the sequence that led to it.
fn walk_on(events: Events, from: Vec<Walked>, known: &mut HashSet<Vec<i64>>, is_last: bool) -> Vec<Walked> {
    let mut reached = Vec::new();
    for (bench, path) in from {
        let so_far = path.iter().map(|event| owners(*event)).max().unwrap_or(0);
        for event in events(so_far) {
            let mut next = bench.clone();
            let path: Vec<Event> = path.iter().copied().chain([event]).collect();
            let walked = catch_unwind(AssertUnwindSafe(|| next.step(event)));
            assert!(walked.is_ok(), "an invariant was broken (see above) by\n{}", rows(&path));
            if known.insert(look(&next, so_far.max(owners(event)))) {
                let drained = catch_unwind(AssertUnwindSafe(|| next.clone().drain()));
                assert!(drained.is_ok(), "somebody was not answered (see above) after\n{}", rows(&path));
                reached.extend((!is_last).then_some((next, path)));
            }
        }
    }
    reached
}

/// A lock, and the sequence that led to it.
type Walked = (Bench, Vec<Event>);

/// How many different locks the sequences up to this length lead to.
fn walk(events: Events, depth: usize) -> usize {
    let mut known = HashSet::new();
    let mut locks = vec![(Bench::new(), Vec::new())];
    for length in 1..=depth {
        locks = walk_on(events, locks, &mut known, length == depth);
    }
    known.len()
}

/// How many events the walks of every test run are long. Without optimization they are a step shorter.
const MODES: usize = if cfg!(debug_assertions) { 5 } else { 6 };
const RIGHTS: usize = if cfg!(debug_assertions) { 5 } else { 6 };
const CONNECTIONS: usize = if cfg!(debug_assertions) { 7 } else { 8 };

/// Walks would find nothing wrong either if they went nowhere, so how far they got is checked too.
fn walk_far(events: Events, depth: usize) {
    let locks = walk(events, depth);
    println!("counted: {locks} different locks, by all sequences of up to {depth} events");
    assert!(locks > 10_000, "only {locks} different locks");
}

#[test]
fn every_short_sequence_of_modes_keeps_the_invariants_and_answers_every_waiter_once() {
    walk_far(of_modes, MODES);
}

#[test]
fn every_short_sequence_of_connections_keeps_the_invariants_and_answers_every_waiter_once() {
    walk_far(of_connections, CONNECTIONS);
}

#[test]
fn every_short_sequence_of_rights_keeps_the_invariants_and_answers_every_waiter_once() {
    walk_far(of_rights, RIGHTS);
}

#[test]
#[ignore = "minutes: make nightly"]
fn every_longer_sequence_of_modes_does_too() {
    walk_far(of_modes, MODES + 1);
}

#[test]
#[ignore = "minutes: make nightly"]
fn every_longer_sequence_of_rights_does_too() {
    walk_far(of_rights, RIGHTS + 1);
}

#[test]
#[ignore = "minutes: make nightly"]
fn every_longer_sequence_of_connections_does_too() {
    walk_far(of_connections, CONNECTIONS + 1);
}
