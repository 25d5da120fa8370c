//! Long random sequences: the rules beside the [`Model`], compared after every step. Few owners and tiny leases, so that
//! everything collides. A sequence that fails is shrunk and printed as rows; [`replay`] takes them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::model::{Fate, Model};
use super::Event::*;
use super::Lift::*;
use super::Tag::*;
use super::Who::*;
use super::*;

fn who() -> impl Strategy<Value = Who> {
    prop::sample::select(Who::ALL.to_vec())
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![2 => Just(Tag::Any), 2 => Just(Tag::Right), 1 => Just(Tag::Wrong)]
}

fn event() -> impl Strategy<Value = Event> {
    let lift = prop_oneof![2 => Just(Lift::No), 1 => Just(Lift::Low), 3 => Just(Lift::High)];
    prop_oneof![
        3 => (who(), 1..6u64).prop_map(|(who, lease)| Try(who, lease)),
        3 => (who(), 1..6u64).prop_map(|(who, lease)| Wait(who, lease, 0)),
        4 => (who(), 1..6u64, 1..6u64).prop_map(|(who, lease, patience)| Wait(who, lease, patience)),
        3 => (who(), tag()).prop_map(|(who, tag)| Release(who, tag)),
        4 => (who(), 0..6u64, tag(), lift).prop_map(|(who, lease, tag, lift)| Extend(who, lease, tag, lift)),
        1 => (0..3usize).prop_map(Leave),
        6 => (0..2usize).prop_map(Delivered),
        3 => (0..3usize).prop_map(Undelivered),
        5 => (1..6u64).prop_map(Pass),
        1 => (-10..10i64).prop_map(WallClock),
        2 => Just(Ring),
        2 => Just(Remove),
        2 => (who(), 1..6u64).prop_map(|(who, lease)| Put(who, lease)),
    ]
}

/// The rules and the model, side by side.
struct Pair {
    bench: Bench,
    model: Model,
    fates: BTreeMap<Ticket, Fate>,
}

impl Pair {
    fn new() -> Pair {
        Pair { bench: Bench::new(), model: Model::new(), fates: BTreeMap::new() }
    }

    fn step(&mut self, event: Event) {
        let ticket = match event {
            Wait(..) => Some(Ticket(self.bench.next_ticket)),
            Leave(n) => self.bench.nth(n),
            Delivered(n) | Undelivered(n) => self.bench.flying.get(n).map(|(ticket, _)| *ticket),
            _ => None,
        };
        let step = self.bench.step(event);
        let told = self.model.step(event, ticket);
        assert_eq!(step.told, told, "the rules say the left, the contract the right");
        match (event, step.told, ticket) {
            (Wait(..), Told::Acquired(Acquired::Waits), Some(ticket)) => self.fates.insert(ticket, Fate::Waits),
            (Leave(_), _, Some(ticket)) => self.fates.insert(ticket, Fate::Left),
            _ => None,
        };
        for effect in step.effects {
            if let Effect::Answer(ticket, answer) = effect {
                let fate = match answer {
                    Answer::Granted(fence) => Fate::Granted(fence),
                    Answer::Null => Fate::Null,
                };
                self.fates.insert(ticket, fate);
            }
        }
        self.compare(event);
    }

    fn compare(&self, event: Event) {
        let bench = &self.bench;
        let held = bench.hold().map(|hold| (Who::of(&hold.owner), hold.fence.get(), hold.end, hold.lease.0));
        assert_eq!(held, self.model.held(), "the rules hold the left, the contract the right");
        for (ticket, fate) in self.model.fates() {
            let there = self.fates[&ticket];
            // The contract says at once that a wait is over; the rules leave that to the timer, unless the one leaves first.
            let late = fate == Fate::Null
                && match there {
                    Fate::Waits => {
                        event != Ring && bench.record.open[&ticket].1.is_some_and(|end| end <= bench.now.steady)
                    }
                    Fate::Left => true,
                    Fate::Granted(_) | Fate::Null => false,
                };
            assert!(fate == there || late, "{ticket:?}: {there:?} by the rules, {fate:?} by the contract");
        }
    }
}

/// Runs a sequence; what it panics with ends in the rows that led there.
fn replay(events: &[Event]) {
    let mut pair = Pair::new();
    for (n, event) in events.iter().enumerate() {
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pair.step(*event)));
        assert!(walked.is_ok(), "went wrong (see above) with\n{}", rows(&events[..=n]));
    }
    pair.bench.drain();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn rules_and_contract_agree_on_every_sequence(events in prop::collection::vec(event(), 1..60)) {
        replay(&events);
    }
}

/// Trap 49. (What the test above prints is pasted like this.)
#[test]
fn a_hold_that_one_of_two_requests_was_told_of_is_not_taken_away() {
    replay(&[
        Try(A, 9),
        Wait(B, 5, 0),
        Wait(B, 9, 0),
        Wait(C, 5, 0),
        Release(A, Any),
        Undelivered(0),
        Delivered(0),
        Ring,
        Extend(B, 0, Right, No),
        Pass(9),
        Ring,
    ]);
}

/// What state a lock is in when something is asked of it, in words.
fn state(bench: &Bench) -> (&'static str, &'static str) {
    let now = bench.now.steady;
    let hold = match bench.hold() {
        None => "free",
        Some(hold) if hold.is_over(now) => "lapsed",
        Some(hold) if hold.origin == Origin::Inherited => "inherited",
        Some(_) => "held",
    };
    let waiters: Vec<&Waiter> = bench.line.iter().map(|(_, waiter)| waiter).collect();
    let owners: BTreeSet<Who> = waiters.iter().map(|waiter| Who::of(&waiter.owner)).collect();
    let holder = bench.hold().map(|hold| Who::of(&hold.owner));
    let line = match waiters[..] {
        _ if bench.hold().is_some_and(|hold| !bench.flying.iter().all(|(_, fence)| *fence != hold.fence)) => "handed",
        [] => "nobody waits",
        _ if holder.is_some_and(|holder| owners.contains(&holder)) => "holder waits",
        [first, ..] if first.is_over(now) => "first ran out",
        [_] => "one waits",
        _ if owners.len() < waiters.len() => "one waits twice",
        _ => "two wait",
    };
    (hold, line)
}

/// What is asked: the event without its numbers, and whether the holder asks.
fn request(bench: &Bench, event: Event) -> Option<(&'static str, bool)> {
    let (name, who) = match event {
        Try(who, _) => ("try", Some(who)),
        Wait(who, _, 0) => ("wait without limit", Some(who)),
        Wait(who, ..) => ("wait", Some(who)),
        Release(who, Tag::Any) => ("release", Some(who)),
        Release(who, Tag::Right) => ("release, right fence", Some(who)),
        Release(who, Tag::Wrong) => ("release, wrong fence", Some(who)),
        Extend(who, _, Tag::Wrong, _) => ("extend, wrong fence", Some(who)),
        Extend(who, .., Lift::High) => ("extend, raised", Some(who)),
        Extend(who, ..) => ("extend", Some(who)),
        Ring => ("ring", None),
        Leave(n) => bench.nth(n).map(|_| ("leave", None))?,
        Delivered(n) => bench.flying.get(n).map(|_| ("delivered", None))?,
        Undelivered(n) => bench.flying.get(n).map(|_| ("undelivered", None))?,
        Remove => ("remove", None),
        Put(who, _) => ("put", Some(who)),
        Pass(_) | WallClock(_) => return None,
    };
    Some((name, bench.hold().is_some_and(|hold| Some(Who::of(&hold.owner)) == who)))
}

/// Whether this can be asked in this state at all.
fn possible((hold, line): (&str, &str), (name, by_holder): (&str, bool)) -> bool {
    let has_owner = !["ring", "leave", "delivered", "undelivered", "remove"].contains(&name);
    let nobody = line == "nobody waits";
    let held = hold != "free";
    let state_exists =
        !(line == "handed" && (hold == "free" || hold == "inherited")) && (line != "holder waits" || held);
    state_exists && !(by_holder && !(has_owner && held)) && !(name == "leave" && nobody)
}

#[test]
fn random_sequences_reach_every_kind_of_state_and_request() {
    const HOLDS: [&str; 4] = ["free", "held", "inherited", "lapsed"];
    const LINES: [&str; 7] =
        ["handed", "nobody waits", "holder waits", "first ran out", "one waits", "one waits twice", "two wait"];
    let states: Vec<_> = HOLDS.into_iter().flat_map(|hold| LINES.map(|line| (hold, line))).collect();
    let (mut reached, mut requests, mut missed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut runner = TestRunner::deterministic();
    let sequences = prop::collection::vec(event(), 60);
    for n in 1..=5_000 {
        let mut bench = Bench::new();
        for event in sequences.new_tree(&mut runner).unwrap().current() {
            if let Some(request) = request(&bench, event) {
                reached.insert((state(&bench), request));
                requests.insert(request);
            }
            bench.unchecked(event);
        }
        if n % 200 == 0 {
            let all = states.iter().flat_map(|state| requests.iter().map(|request| (*state, *request)));
            missed = all.filter(|pair| possible(pair.0, pair.1) && !reached.contains(pair)).collect();
            if missed.is_empty() {
                break;
            }
        }
    }
    assert!(missed.is_empty(), "never asked of a lock in that state: {missed:?}");
    assert_eq!(requests.len(), 15 + 10, "every request, by the holder and by others: {requests:?}");
}
