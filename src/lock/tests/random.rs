//! Long random sequences: the rules beside the [`Model`], compared after every step. Few owners, few connections and
//! tiny leases, so that everything collides. A sequence that fails is shrunk and printed as rows, which [`replay`]
//! takes.

use proptest::prelude::*;

use super::model::Model;
use super::Bound::*;
use super::Event::*;
use super::How::*;
use super::Lift::*;
use super::Tag::*;
use super::Who::*;
use super::*;

fn who() -> impl Strategy<Value = Who> {
    prop::sample::select(Who::ALL.to_vec())
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![3 => Just(Alone), 3 => Just(Together), 3 => (1..4u64).prop_map(UpTo)]
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![3 => Just(Loose), 2 => (0..bench::CONNECTIONS).prop_map(To)]
}

fn tag() -> impl Strategy<Value = Tag> {
    prop_oneof![3 => Just(Any), 3 => Just(Right), 2 => Just(Wrong)]
}

fn lift() -> impl Strategy<Value = Lift> {
    prop_oneof![2 => Just(No), 1 => Just(Low), 3 => Just(Same), 2 => Just(High)]
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (who(), how(), 1..6u64, bound()).prop_map(|(who, how, lease, bound)| Try(who, how, lease, bound)),
        4 => (who(), how(), 1..6u64, bound()).prop_map(|(who, how, lease, bound)| Wait(who, how, lease, bound, 0)),
        6 => (who(), how(), 1..6u64, bound(), 1..6u64)
            .prop_map(|(who, how, lease, bound, patience)| Wait(who, how, lease, bound, patience)),
        4 => (who(), tag()).prop_map(|(who, tag)| Release(who, tag)),
        3 => (who(), tag()).prop_map(|(who, tag)| Downgrade(who, tag)),
        5 => (who(), 0..6u64, tag(), lift()).prop_map(|(who, lease, tag, lift)| Extend(who, lease, tag, lift)),
        2 => (0..3usize).prop_map(Leave),
        5 => (0..3usize).prop_map(Delivered),
        4 => (0..3usize).prop_map(Undelivered),
        2 => (0..bench::CONNECTIONS).prop_map(Close),
        4 => (1..6u64).prop_map(Pass),
        1 => (-10..10i64).prop_map(WallClock),
        2 => (1..6u64).prop_map(Deny),
        2 => (1..6u64).prop_map(Allow),
        2 => Just(Serve),
        2 => Just(Ring),
        1 => Just(Remove),
        2 => (who(), how(), 1..6u64).prop_map(|(who, how, lease)| Put(who, how, lease)),
    ]
}

/// The rules and the model, side by side.
pub struct Pair {
    pub bench: Bench,
    model: Model,
}

impl Pair {
    pub fn new() -> Pair {
        Pair { bench: Bench::new(), model: Model::new() }
    }

    pub fn step(&mut self, event: Event) {
        let ticket = match event {
            Wait(..) => Some(Ticket(self.bench.next_ticket)),
            Leave(n) => self.bench.nth(n),
            Delivered(n) | Undelivered(n) => self.bench.flying.get(n).map(|flight| flight.ticket),
            _ => None,
        };
        let step = self.bench.step(event);
        let (returned, effects) = self.model.step(event, ticket);
        assert_eq!(step.returned, returned, "the rules say the left, the contract the right");
        assert_eq!(step.effects, effects, "the rules want the left, the contract the right");
        self.compare();
    }

    fn compare(&self) {
        let Pair { bench, model } = self;
        let mut holding = model.holding.clone();
        holding.sort_by_key(|holding| holding.id);
        let expected: Vec<_> = holding.into_iter().map(|holding| (holding.id, holding.mode, holding.hold)).collect();
        let held = bench.holders.iter().map(|(_, hold)| bench.held(Who::of(&hold.owner)).unwrap());
        assert_eq!(held.collect::<Vec<_>>(), expected, "the rules hold the left, the contract the right");
        let waiting: Vec<_> = bench.queue.iter().map(|(ticket, waiter)| (ticket, waiter.clone())).collect();
        assert_eq!(waiting, model.waiting, "the rules let wait the left, the contract the right");
        // Answers with a hold that an operator removed are remembered until it is known what became of them.
        if bench.flying.iter().all(|flight| bench.holders.get(flight.hold).is_some()) {
            assert_eq!(bench.queue.is_idle(), model.is_idle(), "whether an answer on its way still matters");
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
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn rules_and_contract_agree_on_every_sequence(events in prop::collection::vec(event(), 1..60)) {
        replay(&events);
    }
}

/// Trap 49. (What the test above prints is pasted like this.)
#[test]
fn a_hold_that_one_of_two_requests_was_told_of_is_not_taken_away() {
    replay(&[
        Try(A, Alone, 9, Loose),
        Wait(B, Alone, 5, Loose, 0),
        Wait(B, Alone, 9, Loose, 0),
        Wait(C, Alone, 5, Loose, 0),
        Release(A, Any),
        Undelivered(0),
        Delivered(0),
        Ring,
        Extend(B, 0, Right, No),
        Pass(9),
        Ring,
    ]);
}

/// A lock was restored over the key, and its first waiter was granted a second hold over the one that it had by that.
/// Its end could come nearer, and nobody heard that the first had ended.
#[test]
fn one_who_waits_for_a_lock_that_is_restored_as_its_own_asks_again() {
    replay(&[Try(A, Alone, 5, Loose), Wait(C, Together, 1, Loose, 0), Put(C, Together, 5), Try(B, Alone, 1, Loose)]);
    replay(&[
        Try(A, Alone, 5, Loose),
        Wait(C, Together, 1, To(0), 0),
        Put(C, UpTo(2), 5),
        Ring,
        Undelivered(0),
        Close(0),
    ]);
}

/// Of two requests that were answered with one hold, the later was lost with its connection: the earlier decides.
#[test]
fn a_hold_follows_the_last_request_that_could_be_answered() {
    let told_twice = [
        Try(A, Alone, 9, Loose),
        Wait(B, Together, 5, To(0), 0),
        Wait(B, Together, 5, To(1), 0),
        Release(A, Any),
        Delivered(0),
        Close(1),
        Undelivered(0),
    ];
    let mut pair = Pair::new();
    told_twice.into_iter().for_each(|event| pair.step(event));
    assert_eq!(pair.bench.held(B).unwrap().2.session, pair.bench.session_of(To(0)));
    pair.step(Close(0));
    assert_eq!(pair.bench.held(B), None);
}
