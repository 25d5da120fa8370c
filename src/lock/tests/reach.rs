//! Random sequences come to every kind of state with every kind of request: what [`super::random`] compares, and the
//! invariants are checked on, is not a corner of what can happen.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::random::event;
use super::Event::*;
use super::*;

/// How a lock is held when something is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Free,
    Alone,
    AloneInherited,
    AloneExpired,
    /// Shared by one.
    One,
    /// By more.
    Several,
    /// By as many as their limits allow, or the server does.
    AllThatMay,
    /// By some whose lease has run out.
    SomeExpired,
    SomeInherited,
    /// By two that were raised to the same fence.
    SameFence,
}

const HOLDS: [Holds; 10] = [
    Holds::Free,
    Holds::Alone,
    Holds::AloneInherited,
    Holds::AloneExpired,
    Holds::One,
    Holds::Several,
    Holds::AllThatMay,
    Holds::SomeExpired,
    Holds::SomeInherited,
    Holds::SameFence,
];

/// Who waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waits {
    /// Nobody.
    No,
    /// Nobody, and an answer is on its way.
    NoButAnswers,
    /// Somebody, and an answer is on its way.
    Answers,
    HolderToo,
    FirstRanOut,
    FirstDenied,
    Writer,
    Reader,
    ReaderWithLimit,
    OneTwice,
}

const WAITS: [Waits; 10] = [
    Waits::No,
    Waits::NoButAnswers,
    Waits::Answers,
    Waits::HolderToo,
    Waits::FirstRanOut,
    Waits::FirstDenied,
    Waits::Writer,
    Waits::Reader,
    Waits::ReaderWithLimit,
    Waits::OneTwice,
];

fn holds(bench: &Bench) -> Holds {
    let all: Vec<(Mode, &Hold)> = bench.holders.iter().collect();
    let expired = all.iter().any(|(_, hold)| hold.is_expired(bench.now.steady));
    let inherited = all.iter().any(|(_, hold)| hold.origin == Origin::Inherited);
    match all[..] {
        [] => Holds::Free,
        [(Mode::Exclusive, _)] if expired => Holds::AloneExpired,
        [(Mode::Exclusive, _)] if inherited => Holds::AloneInherited,
        [(Mode::Exclusive, _)] => Holds::Alone,
        _ if expired => Holds::SomeExpired,
        _ if all.windows(2).any(|pair| pair[0].1.fence == pair[1].1.fence) => Holds::SameFence,
        _ if inherited => Holds::SomeInherited,
        _ if !bench.holders.admit(Mode::Shared(None)) || all.len() == bench::HOLDERS_MAX => Holds::AllThatMay,
        [_] => Holds::One,
        _ => Holds::Several,
    }
}

fn waits(bench: &Bench) -> Waits {
    let all: Vec<&Waiter> = bench.queue.iter().map(|(_, waiter)| waiter).collect();
    let owners: BTreeSet<Who> = all.iter().map(|waiter| Who::of(&waiter.request.owner)).collect();
    let answers = bench.flying.iter().any(|flight| bench.holders.get(flight.hold).is_some());
    match all[..] {
        [] if answers => Waits::NoButAnswers,
        [] => Waits::No,
        _ if answers => Waits::Answers,
        _ if owners.iter().any(|who| bench.held(*who).is_some()) => Waits::HolderToo,
        [first, ..] if first.has_timed_out(bench.now.steady) => Waits::FirstRanOut,
        [first, ..] if first.request.user.is_some_and(|user| bench.denied.contains(&user)) => Waits::FirstDenied,
        _ if owners.len() < all.len() => Waits::OneTwice,
        [first, ..] => match first.request.mode {
            Mode::Exclusive => Waits::Writer,
            Mode::Shared(None) => Waits::Reader,
            Mode::Shared(Some(_)) => Waits::ReaderWithLimit,
        },
    }
}

/// What is asked: the event without its numbers, and whether one asks who holds.
fn request(bench: &Bench, event: Event) -> Option<(&'static str, bool)> {
    let (name, who) = match event {
        Try(who, How::Alone, ..) => ("try", Some(who)),
        Try(who, ..) => ("try shared", Some(who)),
        Wait(who, How::Alone, ..) => ("wait", Some(who)),
        Wait(who, How::Together, ..) => ("wait shared", Some(who)),
        Wait(who, How::UpTo(_), ..) => ("wait shared limit", Some(who)),
        Release(who, Tag::Wrong) | Downgrade(who, Tag::Wrong) | Extend(who, _, Tag::Wrong, _) => {
            ("wrong fence", Some(who))
        }
        Release(who, _) => ("release", Some(who)),
        Downgrade(who, _) => ("downgrade", Some(who)),
        Extend(who, .., Lift::High | Lift::Same) => ("raise", Some(who)),
        Extend(who, ..) => ("extend", Some(who)),
        Close(n) => {
            let gone = Some(bench.sessions[n]);
            ("close", bench.holders.iter().find(|(_, hold)| hold.session == gone).map(|(_, hold)| Who::of(&hold.owner)))
        }
        Serve => ("serve", None),
        Ring => ("ring", None),
        Leave(n) => bench.nth(n).map(|_| ("leave", None))?,
        Delivered(n) => bench.flying.get(n).map(|_| ("delivered", None))?,
        Undelivered(n) => bench.flying.get(n).map(|_| ("undelivered", None))?,
        Remove => ("remove", None),
        Put(who, ..) => ("put", Some(who)),
        Pass(_) | WallClock(_) | Deny(_) | Allow(_) => return None,
    };
    Some((name, who.is_some_and(|who| bench.held(who).is_some())))
}

/// Whether this can be asked in this state at all.
fn possible(holds: Holds, waits: Waits, (name, by_holder): (&str, bool)) -> bool {
    let nobody_waits = waits == Waits::No || waits == Waits::NoButAnswers;
    let state_exists = match holds {
        Holds::Free => !matches!(waits, Waits::NoButAnswers | Waits::Answers | Waits::HolderToo),
        // Nobody was ever told of these.
        Holds::AloneInherited => !matches!(waits, Waits::NoButAnswers | Waits::Answers),
        _ => true,
    };
    let lone_inheritor = holds == Holds::AloneInherited && name == "close";
    let answered = name == "delivered" || name == "undelivered";
    let answers = waits == Waits::NoButAnswers || waits == Waits::Answers;
    // An answer may also be on its way with a hold that is over; what becomes of it then is all the same.
    state_exists
        && (answers || !answered)
        && !(by_holder && (holds == Holds::Free || lone_inheritor))
        && !(name == "leave" && nobody_waits)
}

/// States that do not last: it is enough that something was asked then.
fn is_seldom(holds: Holds, waits: Waits) -> bool {
    match (holds, waits) {
        // Somebody left from the head of the queue, and no turn was taken since.
        (Holds::One | Holds::Several, Waits::Reader | Waits::ReaderWithLimit) => true,
        // The timer has not come to it yet.
        (Holds::Alone | Holds::AloneExpired | Holds::SomeExpired | Holds::Free, Waits::FirstRanOut) => false,
        (_, Waits::FirstRanOut | Waits::FirstDenied) => true,
        // Something outside the rules happened, and the lock has not been looked at yet.
        (Holds::Several | Holds::AloneExpired, Waits::HolderToo) => true,
        (Holds::SameFence, waits) => waits != Waits::No,
        _ => false,
    }
}

#[test]
fn random_sequences_reach_every_kind_of_state_and_request() {
    let states: Vec<_> = HOLDS.into_iter().flat_map(|holds| WAITS.map(|waits| (holds, waits))).collect();
    let (mut reached, mut requests, mut missed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut runner = TestRunner::deterministic();
    // Many sequences of few events: to draw an event from the strategy takes longer than to let it happen.
    let events: Vec<Event> = (0..5_000).map(|_| event().new_tree(&mut runner).unwrap().current()).collect();
    for n in 1..=20_000 {
        let mut bench = Bench::new();
        for _ in 0..60 {
            let event = events[runner.rng().next_u32() as usize % events.len()];
            if let Some(request) = request(&bench, event) {
                reached.insert((holds(&bench), waits(&bench), request));
                requests.insert(request);
            }
            bench.unchecked(event);
        }
        if n % 500 == 0 {
            let all =
                states.iter().flat_map(|(holds, waits)| requests.iter().map(|request| (*holds, *waits, *request)));
            let was_reached = |row: &(Holds, Waits, (&str, bool))| match is_seldom(row.0, row.1) {
                true => reached.iter().any(|there| (there.0, there.1) == (row.0, row.1)),
                false => reached.contains(row),
            };
            missed = all.filter(|row| possible(row.0, row.1, row.2) && !was_reached(row)).collect();
            if missed.is_empty() {
                break;
            }
        }
    }
    assert!(missed.is_empty(), "{} never asked of a lock in that state: {missed:?}", missed.len());
    assert_eq!(requests.len(), 18 + 12, "every request, by a holder and by others: {requests:?}");
}
