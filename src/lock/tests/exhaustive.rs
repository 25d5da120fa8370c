//! Every sequence of events up to a small depth, from a free lock, with three owners.
//!
//! Sequences that lead to the same lock go on as one: what a lock does depends only on what [`look`] sees of it, and the
//! invariants are checked on every step before that. So this looks at all sequences and walks few of them.

use std::collections::HashSet;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::Event::*;
use super::*;

/// How many events a sequence has.
const DEPTH: usize = 7;
const SHORT: u64 = 5;
const LONG: u64 = 9;

/// Everything that may happen next. Owners are interchangeable, so one that is new comes in the order A, B, C.
fn events(owners: usize) -> Vec<Event> {
    let mut events = vec![Leave(0), Leave(1), Delivered(0), Undelivered(0), Undelivered(1), Pass(SHORT), Ring, Remove];
    for who in Who::ALL.into_iter().take(owners + 1) {
        events.extend([Try(who, SHORT), Try(who, LONG), Wait(who, SHORT, 0), Wait(who, LONG, SHORT), Put(who, SHORT)]);
        events.extend([Release(who, Tag::Any), Release(who, Tag::Wrong)]);
        events.extend([Extend(who, LONG, Tag::Any, Lift::No), Extend(who, 0, Tag::Right, Lift::High)]);
    }
    events
}

/// How many owners an event needs.
fn owners(event: Event) -> usize {
    match event {
        Try(who, _) | Wait(who, ..) | Put(who, _) | Release(who, _) | Extend(who, ..) => who as usize + 1,
        Leave(_) | Delivered(_) | Undelivered(_) | Pass(_) | WallClock(_) | Ring | Remove => 0,
    }
}

/// All that a lock's further life depends on: owners, times counted from now, and which fences are the same. Fences and
/// tickets only ever rise, so their numbers do not matter.
fn look(bench: &Bench, owners: usize) -> Vec<i64> {
    let now = bench.now.steady.0;
    let mut seen = vec![owners as i64, i64::from(bench.record.open.is_empty()), bench.line.len() as i64];
    let mut fences: Vec<Fence> = Vec::new();
    let mut same = |fence: Fence| {
        fences.iter().position(|known| *known == fence).unwrap_or_else(|| {
            fences.push(fence);
            fences.len() - 1
        }) as i64
    };
    for hold in bench.holders.iter() {
        let left = (hold.end.0 - now).max(0);
        let origin = i64::from(hold.origin == Origin::Granted);
        seen.extend([-1, Who::of(&hold.owner) as i64, left, hold.lease.0 as i64, origin, same(hold.fence)]);
    }
    for (_, waiter) in bench.line.iter() {
        let left = waiter.until.map_or(-1, |until| (until.0 - now).max(0));
        seen.extend([-2, Who::of(&waiter.owner) as i64, waiter.lease.0 as i64, left]);
    }
    for (_, fence) in &bench.flying {
        // How many answers must fail before the grant is lost; none if it cannot be any more.
        let mut probe = bench.line.clone();
        let hopes = (1..=DEPTH).find(|_| probe.undelivered(*fence)).unwrap_or(0);
        seen.extend([-3, same(*fence), hopes as i64]);
    }
    seen
}

/// Walks on from every lock in `from`; each comes with the sequence that led to it.
fn walk_on(from: Vec<(Bench, Vec<Event>)>, known: &mut HashSet<Vec<i64>>) -> Vec<(Bench, Vec<Event>)> {
    let mut reached = Vec::new();
    for (bench, path) in from {
        let so_far = path.iter().map(|event| owners(*event)).max().unwrap_or(0);
        for event in events(so_far) {
            let mut next = bench.clone();
            let path: Vec<Event> = path.iter().copied().chain([event]).collect();
            let walked = catch_unwind(AssertUnwindSafe(|| next.step(event)));
            assert!(walked.is_ok(), "an invariant was broken (see above) by\n{}", rows(&path));
            let all = so_far.max(owners(event));
            if known.insert(look(&next, all)) {
                reached.push((next, path));
            }
        }
    }
    reached
}

#[test]
fn every_short_sequence_keeps_the_invariants_and_answers_every_waiter_once() {
    let mut known = HashSet::new();
    let mut locks = vec![(Bench::new(), Vec::new())];
    for _ in 0..DEPTH {
        locks = walk_on(locks, &mut known);
        for (bench, path) in &locks {
            let drained = catch_unwind(AssertUnwindSafe(|| bench.clone().drain()));
            assert!(drained.is_ok(), "somebody was not answered (see above) after\n{}", rows(path));
        }
    }
    // The walk would find nothing wrong either if it went nowhere.
    assert!(known.len() > 30_000, "only {} different locks", known.len());
}
