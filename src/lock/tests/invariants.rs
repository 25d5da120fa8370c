//! I1 to I7 of [`crate::lock`], as one function that looks at a step from outside.

use std::collections::BTreeMap;

use super::*;

/// What an onlooker remembers of a lock.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Who waits and was not answered yet, and until when.
    pub open: BTreeMap<Ticket, (Who, Option<Steady>)>,
    /// The largest fence seen.
    highest: u64,
    /// Whether something outside the rules changed the lock, and the timer has not rung since.
    disturbed: bool,
}

impl Record {
    /// The tickets that may still be granted, first come first.
    fn live(&self, now: Steady) -> impl Iterator<Item = Ticket> + '_ {
        self.open.iter().filter(move |(_, (_, until))| until.is_none_or(|until| until > now)).map(|(ticket, _)| *ticket)
    }
}

/// Panics unless the step kept all invariants; `after` takes note of it.
pub fn check(before: &Bench, event: Event, step: &Step, after: &mut Bench) {
    let now = after.now.steady;
    let mut record = before.record.clone();
    if let (Event::Wait(who, _, patience), Told::Acquired(Acquired::Waits)) = (event, step.told) {
        let until = (patience > 0).then(|| now + Millis(patience));
        record.open.insert(Ticket(before.next_ticket), (who, until));
    }
    if let Event::Leave(n) = event {
        before.nth(n).map(|ticket| record.open.remove(&ticket));
    }

    // The effects, one by one, must lead from the lock before to the lock after.
    let mut held = before.hold().map(|hold| (hold.fence, Who::of(&hold.owner)));
    for (n, effect) in step.effects.iter().enumerate() {
        match *effect {
            Effect::Granted(fence) => {
                assert_eq!(held, None, "I1: a grant beside a holder");
                assert!(fence.get() > record.highest, "I3: {fence:?} is not above {}", record.highest);
                record.highest = fence.get();
                held = Some((fence, grantee(&record, event, &step.effects[n + 1..], fence, now)));
            }
            Effect::Changed(fence) => {
                let (was, who) = held.expect("a change of a hold");
                if fence != was {
                    assert!(fence.get() > record.highest, "I3: {fence:?} is not above {}", record.highest);
                    assert!(may_refence(before, event), "I3: the fence moved from {was:?} to {fence:?}");
                    record.highest = fence.get();
                }
                held = Some((fence, who));
            }
            Effect::Ended(fence, why) => {
                let (was, who) = held.take().expect("an end of a hold");
                assert_eq!(fence, was);
                check_end(before, event, who, why);
            }
            Effect::Answer(ticket, answer) => {
                let (who, until) = record.open.remove(&ticket).expect("I5: an answer to one who does not wait");
                let over = until.is_some_and(|until| until <= now);
                match answer {
                    Answer::Granted(fence) => {
                        assert!(!over, "I6: {ticket:?} was granted after its wait");
                        assert_eq!(held, Some((fence, who)), "{ticket:?} was told of a hold that is not its own");
                    }
                    Answer::Null => assert!(over || withdraws(event, who), "I5: {ticket:?} was sent away"),
                }
            }
        }
    }
    match event {
        Event::Remove => held = None,
        Event::Put(who, _) => held = after.hold().map(|hold| (hold.fence, who)),
        _ => {}
    }
    assert_eq!(held, after.hold().map(|hold| (hold.fence, Who::of(&hold.owner))), "I1: the effects tell all");
    record.highest = record.highest.max(held.map_or(0, |(fence, _)| fence.get()));
    record.disturbed = match event {
        Event::Remove | Event::Put(..) => true,
        Event::Ring => false,
        _ => record.disturbed,
    };
    check_rest(before, event, &record, after);
    after.record = record;
}

/// Who was granted: the first of those who wait, or, if nobody does, the one who asks now.
fn grantee(record: &Record, event: Event, rest: &[Effect], fence: Fence, now: Steady) -> Who {
    let told = rest.iter().find_map(|effect| match effect {
        Effect::Answer(ticket, Answer::Granted(told)) if *told == fence => Some(*ticket),
        _ => None,
    });
    // Requests of the same owner that ran out are answered between a grant and its answers; they are not live.
    assert_eq!(told, record.live(now).next(), "I4: not the first in line was granted");
    match (told, event) {
        (Some(ticket), _) => record.open[&ticket].0,
        (None, Event::Try(who, _) | Event::Wait(who, ..)) => who,
        (None, _) => panic!("I4: a grant to nobody"),
    }
}

/// Whether a running hold may get another fence by this.
fn may_refence(before: &Bench, event: Event) -> bool {
    let inherited = before.hold().is_some_and(|hold| hold.origin == Origin::Inherited);
    match event {
        Event::Try(..) | Event::Wait(..) | Event::Ring => inherited,
        Event::Extend(_, _, _, lift) => lift == Lift::High,
        _ => false,
    }
}

fn check_end(before: &Bench, event: Event, holder: Who, why: End) {
    match why {
        End::Released => assert!(matches!(event, Event::Release(who, _) if who == holder), "ended by another"),
        End::Lapsed => assert!(before.hold().is_some_and(|hold| hold.is_over(before.now.steady)), "ended early"),
        End::Undelivered => assert!(matches!(event, Event::Undelivered(_)), "taken away"),
    }
}

fn withdraws(event: Event, owner: Who) -> bool {
    matches!(event, Event::Release(who, _) if who == owner)
}

/// What can be seen of the lock itself.
fn check_rest(before: &Bench, event: Event, record: &Record, after: &Bench) {
    after.line.assert_sound();
    assert!(after.holders.iter().count() <= 1, "I1");
    let waiting: Vec<_> = after.line.iter().map(|(ticket, waiter)| (ticket, Who::of(&waiter.owner))).collect();
    let open: Vec<_> = record.open.iter().map(|(ticket, (who, _))| (*ticket, *who)).collect();
    assert_eq!(waiting, open, "I5: who is in line, and who was not answered");
    let took_a_turn = match event {
        Event::Undelivered(n) => n < before.flying.len(),
        Event::Try(..) | Event::Wait(..) | Event::Release(..) | Event::Extend(..) | Event::Ring => true,
        Event::Leave(_) | Event::Delivered(_) | Event::Pass(_) => false,
        Event::WallClock(_) | Event::Remove | Event::Put(..) => false,
    };
    if took_a_turn {
        assert!(after.hold().is_some() || waiting.is_empty(), "I2: a free lock with somebody in line");
        assert!(!after.hold().is_some_and(|hold| hold.is_over(after.now.steady)), "a hold outlived its lease");
    }
    if let (Some(hold), false) = (after.hold(), record.disturbed) {
        let holder = Who::of(&hold.owner);
        assert!(waiting.iter().all(|(_, who)| *who != holder), "I7: {holder:?} waits for itself");
        assert!(hold.end <= after.now.steady + hold.lease, "more is left than the lease");
    }
    let drawn = before.record.highest != record.highest || matches!(event, Event::Put(..));
    assert_eq!(before.fences.last() != after.fences.last(), drawn, "I3: a fence was drawn for nothing");
    if waiting.is_empty() && after.flying.is_empty() {
        assert!(after.line.is_idle(), "an answer is waited for that nobody gave");
    }
}
