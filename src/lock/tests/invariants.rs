//! I1 to I7 of [`crate::lock`], and what is said of sessions, as one function that looks at a step from outside.

use std::collections::BTreeMap;

use super::bench::{user, Flight, HOLDERS_MAX};
use super::*;

/// How many waiters a step serves before it may say that there are more.
const SERVED_MAX: usize = 2;

/// Who waits and was not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub who: Who,
    mode: Mode,
    pub until: Option<Steady>,
    since: Steady,
    session: Option<Session>,
    user: Option<User>,
}

impl Open {
    fn has_timed_out(&self, now: Steady) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Who holds, as far as the effects tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    id: HoldId,
    mode: Mode,
    /// The session of the last request that was or can still be answered with it.
    session: Option<Session>,
    /// Requests that were told of it, and may be all that its owner knows.
    pub returned: Vec<(Ticket, Option<Session>)>,
}

/// What an onlooker remembers of a lock.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub open: BTreeMap<Ticket, Open>,
    pub held: BTreeMap<Who, Held>,
    /// The largest fence seen.
    highest: u64,
    /// Whether something outside the rules changed the lock, and the timer has not rung since.
    disturbed: bool,
}

/// One step, as it is seen: `record` walks along its effects.
struct Watch<'a> {
    before: &'a Bench,
    event: Event,
    step: &'a Outcome,
    now: Steady,
    after: &'a Bench,
    record: Record,
    /// Who has to do with the step; nothing happens to anybody else.
    concerned: Vec<Who>,
}

/// Panics unless the step kept all invariants; `after` takes note of it.
pub fn check(before: &Bench, event: Event, step: &Outcome, after: &mut Bench) {
    let (now, record) = (after.now.steady, before.record.clone());
    let mut watch = Watch { before, event, step, now, after, record, concerned: Vec::new() };
    watch.take_note();
    for (n, effect) in step.effects.iter().enumerate() {
        watch.follow(effect, &step.effects[n + 1..]);
    }
    watch.holders();
    watch.waiters();
    after.record = watch.record;
}

/// Whether one who asks for `asked` may come to these holders: I1, spelt out.
fn may_enter(holders: &[Mode], asked: Mode) -> bool {
    let all: Vec<Mode> = holders.iter().copied().chain([asked]).collect();
    let fits = |mode: &Mode| match mode {
        Mode::Exclusive => all.len() == 1,
        Mode::Shared(limit) => limit.is_none_or(|limit| all.len() <= limit.get() as usize),
    };
    all.len() <= HOLDERS_MAX && all.iter().all(fits)
}

impl Watch<'_> {
    /// What the event itself says, before any effect.
    fn take_note(&mut self) {
        let (before, now, after, record) = (self.before, self.now, self.after, &mut self.record);
        match self.event {
            Event::Wait(who, how, lease, bound, patience)
                if self.step.returned == Returned::Acquired(Acquired::Waits) =>
            {
                let until = (patience > 0).then(|| now + Millis(patience));
                let (session, user) = (before.session_of(bound), user(lease));
                let open = Open { who, mode: how.mode(), until, since: now, session, user };
                record.open.insert(Ticket(before.next_ticket), open);
            }
            Event::Leave(n) => {
                before.nth(n).map(|ticket| record.open.remove(&ticket));
            }
            Event::Close(n) => record.open.retain(|_, open| open.session != Some(before.sessions[n])),
            Event::Undelivered(n) => self.lose(n),
            Event::Remove => record.held.clear(),
            Event::Put(who, ..) => {
                let (id, mode, _) = after.held(who).unwrap();
                record.held.retain(|who, _| after.held(*who).is_some());
                record.held.insert(who, Held { id, mode, session: None, returned: Vec::new() });
                self.concerned.push(who);
            }
            _ => {}
        }
        self.record.disturbed = match self.event {
            Event::Remove | Event::Put(..) => true,
            Event::Ring => false,
            _ => self.record.disturbed,
        };
    }

    /// An answer found nobody: the last request that was or can still be answered decides about the session.
    fn lose(&mut self, n: usize) {
        let Some(Flight { ticket, hold, .. }) = self.before.flying.get(n) else { return };
        let holds =
            self.record.held.iter_mut().find(|(_, held)| held.returned.iter().any(|(returned, _)| returned == ticket));
        let Some((who, held)) = holds else { return };
        assert_eq!(held.id, *hold);
        if self.before.held(*who).is_some_and(|(.., hold)| hold.is_expired(self.now)) {
            return;
        }
        held.returned.retain(|(returned, _)| returned != ticket);
        if let Some((_, session)) = held.returned.last() {
            held.session = *session;
        }
        self.concerned.push(*who);
    }

    /// The effects, one by one, must lead from the lock before to the lock after.
    fn follow(&mut self, effect: &Effect, rest: &[Effect]) {
        match effect {
            Effect::Granted(id, waited_since) => self.granted(*id, *waited_since, rest),
            Effect::Changed(id, change) => self.changed(*id, *change, rest),
            Effect::Rebound(id, owner, before) => {
                let who = self.named(*id);
                assert_eq!(who, Who::of(owner));
                let asked = self.asked(*id, rest);
                let held = self.record.held.get_mut(&who).unwrap();
                if let Some(session) = asked {
                    held.session = session;
                }
                assert_ne!(*before, held.session, "bound to what it was bound to");
                self.concerned.push(who);
            }
            Effect::Ended(hold, why) => self.ended(hold, *why),
            Effect::Expired(_) => panic!("a step ends more than hold together here"),
            Effect::Answer(ticket, answer) => self.answered(*ticket, *answer),
        }
    }

    /// The owner of the hold of this name.
    fn named(&self, id: HoldId) -> Who {
        let named = self.record.held.iter().find(|(_, held)| held.id == id);
        *named.unwrap_or_else(|| panic!("nobody's hold is called {id:?}")).0
    }

    /// The session of the request that is answered with this hold: one in the queue, or the one that is made now.
    fn asked(&self, id: HoldId, rest: &[Effect]) -> Option<Option<Session>> {
        match (self.next_told(id, rest), self.event) {
            (Some(ticket), _) => Some(self.record.open[&ticket].session),
            (None, Event::Try(who, _, _, bound) | Event::Wait(who, _, _, bound, _)) => {
                (self.named(id) == who).then(|| self.before.session_of(bound))
            }
            (None, _) => None,
        }
    }

    fn next_told(&self, id: HoldId, rest: &[Effect]) -> Option<Ticket> {
        rest.iter().find_map(|effect| match effect {
            Effect::Answer(ticket, Answer::Granted(returned)) if *returned == id => Some(*ticket),
            _ => None,
        })
    }

    fn granted(&mut self, id: HoldId, waited_since: Option<Steady>, rest: &[Effect]) {
        let record = &self.record;
        assert!(id.fence.get() > record.highest, "I3: {id:?} is not above {}", record.highest);
        assert_eq!(id.nth, 0);
        let returned: Vec<_> = rest
            .iter()
            .filter_map(|effect| match effect {
                Effect::Answer(ticket, Answer::Granted(returned)) if *returned == id => Some(*ticket),
                _ => None,
            })
            .map(|ticket| (ticket, record.open[&ticket].session))
            .collect();
        // Requests of the same owner that are answered otherwise stand between a grant and its answers.
        let (who, mode, session) = match (returned.first(), self.event) {
            (Some((first, _)), _) => {
                let live =
                    record.open.iter().find(|(_, open)| !open.has_timed_out(self.now)).map(|(ticket, _)| *ticket);
                assert_eq!(live, Some(*first), "I4: not the first in the queue was granted");
                let open = &record.open[first];
                assert_eq!(waited_since, Some(open.since));
                (open.who, open.mode, returned.last().unwrap().1)
            }
            (None, Event::Try(who, how, _, bound) | Event::Wait(who, how, _, bound, _)) => {
                assert!(record.open.is_empty(), "I4: a newcomer passed {:?}", record.open);
                assert_eq!(waited_since, None);
                (who, how.mode(), self.before.session_of(bound))
            }
            (None, _) => panic!("I4: a grant to nobody"),
        };
        let modes: Vec<Mode> = record.held.values().map(|held| held.mode).collect();
        assert!(may_enter(&modes, mode), "I1: {mode:?} beside {modes:?}");
        self.record.highest = id.fence.get();
        let twice = self.record.held.insert(who, Held { id, mode, session, returned });
        assert_eq!(twice, None, "granted to one who holds");
        self.concerned.push(who);
    }

    fn changed(&mut self, id: HoldId, change: HoldChange, rest: &[Effect]) {
        let who = match (self.next_told(id, rest), self.event) {
            (Some(ticket), _) => self.record.open[&ticket].who,
            (None, Event::Try(who, ..) | Event::Wait(who, ..) | Event::Extend(who, ..) | Event::Downgrade(who, _)) => {
                who
            }
            (None, event) => panic!("{event:?} changed a hold"),
        };
        let inherited = self.before.held(who).is_some_and(|(.., hold)| hold.origin == Origin::Inherited);
        let held = self.record.held.get_mut(&who).expect("a change of a hold");
        let raised = match (change, self.event) {
            (HoldChange::Reacquired, _) => inherited,
            (HoldChange::Extended, Event::Extend(.., lift)) => lift == Lift::High || lift == Lift::Same,
            (HoldChange::Extended, event) => panic!("{event:?} extended a hold"),
            (HoldChange::Downgraded, event) => {
                assert!(matches!(event, Event::Downgrade(..)));
                assert_eq!(held.mode, Mode::Exclusive);
                held.mode = Mode::Shared(None);
                false
            }
        };
        if id != held.id {
            assert!(raised, "I3: the fence moved from {:?} to {id:?}", held.id);
            assert!(id.fence > held.id.fence, "I3: the fence fell");
            assert!(change == HoldChange::Extended || id.fence.get() > self.record.highest, "I3");
        }
        held.id = id;
        self.record.highest = self.record.highest.max(id.fence.get());
        self.concerned.push(who);
    }

    fn ended(&mut self, hold: &Hold, why: End) {
        let who = Who::of(&hold.owner);
        let held = self.record.held.remove(&who).expect("an end of a hold");
        assert_eq!((held.id.fence, held.session), (hold.fence, hold.session));
        match why {
            End::Released => assert!(matches!(self.event, Event::Release(of, _) if of == who), "ended by another"),
            End::Expired => assert!(hold.expires_at <= self.now, "ended early"),
            End::Undelivered => {
                assert!(matches!(self.event, Event::Undelivered(_)), "taken away");
                assert!(held.returned.is_empty() && self.concerned.contains(&who), "somebody knows of it");
            }
            End::Closed => {
                let bound_to = hold.session.expect("ended with a connection that it is not bound to");
                assert!(self.after.is_closed(bound_to), "the connection is open");
                let returned = |flight: &&Flight| held.returned.iter().any(|(ticket, _)| *ticket == flight.ticket);
                let mut flying = self.after.flying.iter().filter(returned);
                let decides = flying.any(|flight| flight.session == Some(bound_to));
                assert!(!decides || self.spoke() == Some(who), "its answer was on its way");
            }
        }
        self.concerned.push(who);
    }

    /// Who learnt by this step's reply that it holds.
    fn spoke(&self) -> Option<Who> {
        match (self.step.returned, self.event) {
            (Returned::Held(true), Event::Extend(who, ..) | Event::Downgrade(who, _)) => Some(who),
            (Returned::Acquired(Acquired::Granted(_)), Event::Try(who, ..) | Event::Wait(who, ..)) => Some(who),
            _ => None,
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let open = self.record.open.remove(&ticket).expect("I5: an answer to one who does not wait");
        let held = self.record.held.get(&open.who);
        let is_denied = open.user.is_some_and(|user| self.after.denied.contains(&user));
        match answer {
            Answer::Granted(id) => {
                assert!(!is_denied, "I8: {ticket:?} was granted");
                assert!(!open.has_timed_out(self.now), "I6: {ticket:?} was granted after its wait");
                let held = held.expect("returned of a hold that is none");
                assert_eq!(held.id, id, "{ticket:?} was returned of a hold that is not its own");
                assert!(held.mode.satisfies(open.mode), "{ticket:?} got less than it asked for");
            }
            Answer::TimedOut => assert!(open.has_timed_out(self.now), "I5: {ticket:?} was sent away"),
            Answer::NoPermission => assert!(is_denied && !open.has_timed_out(self.now), "I8: {ticket:?} was sent away"),
            Answer::Withdrawn => assert!(matches!(self.event, Event::Release(who, _) if who == open.who), "I5"),
            // Answered before its owner's shared hold begins, or while it runs.
            Answer::MustRelease => assert_eq!(open.mode, Mode::Exclusive),
        }
    }
}

/// What can be seen of the lock afterwards.
impl Watch<'_> {
    fn holders(&mut self) {
        let Watch { before, event, now, after, .. } = *self;
        if let Some(held) = self.spoke().and_then(|who| self.record.held.get_mut(&who)) {
            held.returned.clear();
            if let (Returned::Acquired(acquired), Event::Try(.., bound) | Event::Wait(.., bound, _)) =
                (self.step.returned, event)
            {
                assert_eq!(acquired, Acquired::Granted(held.id.fence), "returned of another fence");
                // The last successful ACQUIRE decides.
                held.session = before.session_of(bound);
            }
        }
        let is: Vec<_> = after.holders.iter().map(|(_, hold)| Who::of(&hold.owner)).collect();
        let all: Vec<_> = after.holders.iter().map(|(mode, _)| mode).collect();
        assert!(
            after.holders.are_within_limits(now) && (all.is_empty() || may_enter(&all[1..], all[0])),
            "I1: {all:?}"
        );
        assert_eq!((is.len(), is.len()), (self.record.held.len(), after.holders.len()), "I1: the effects tell all");
        for who in is {
            let (id, mode, hold) = after.held(who).unwrap();
            let expected = &self.record.held[&who];
            assert_eq!(
                (id, mode, hold.session),
                (expected.id, expected.mode, expected.session),
                "the effects tell all"
            );
            assert!(hold.expires_at <= now + hold.lease, "more is left than the lease");
            let sets_its_end = matches!(event, Event::Extend(of, ..) | Event::Put(of, ..) if of == who);
            // One that ended and was granted anew within the same moment is another hold.
            let is_new = self.step.effects.iter().any(|effect| matches!(effect, Effect::Granted(new, _) if *new == id));
            let was = before.held(who).filter(|(.., was)| was.since == hold.since && !sets_its_end && !is_new);
            assert!(was.is_none_or(|(.., was)| was.expires_at <= hold.expires_at), "its end came nearer");
            if !self.concerned.contains(&who) {
                assert_eq!(before.held(who), Some((id, mode, hold.clone())), "{who:?} has nothing to do with it");
            }
            if let Some(gone) = hold.session.filter(|session| after.is_closed(*session)) {
                let decides = |flight: &Flight| flight.hold == id && flight.session == Some(gone);
                assert!(after.flying.iter().any(decides), "{who:?} outlived its connection");
            }
        }
    }

    fn waiters(&mut self) {
        let Watch { before, event, now, after, ref mut record, .. } = *self;
        after.queue.assert_sound();
        let waiting: Vec<_> =
            after.queue.iter().map(|(ticket, waiter)| (ticket, Who::of(&waiter.request.owner))).collect();
        let open: Vec<_> = record.open.iter().map(|(ticket, open)| (*ticket, open.who)).collect();
        assert_eq!(waiting, open, "I5: who is in the queue, and who was not answered");
        let modes: Vec<Mode> = after.holders.iter().map(|(mode, _)| mode).collect();
        let first = record.open.values().next();
        let unserved = first.is_some_and(|first| first.has_timed_out(now) || may_enter(&modes, first.mode));
        assert_eq!(after.has_servable_waiter(), unserved, "I2: whether {first:?} need not wait any longer");
        let took_a_turn = match event {
            Event::Undelivered(n) => n < before.flying.len(),
            Event::Try(..) | Event::Wait(..) | Event::Release(..) | Event::Extend(..) | Event::Downgrade(..) => true,
            Event::Close(_) | Event::Serve | Event::Ring => true,
            Event::Leave(_) | Event::Delivered(_) | Event::Pass(_) => false,
            Event::WallClock(_) | Event::Remove | Event::Put(..) | Event::Deny(_) | Event::Allow(_) => false,
        };
        if took_a_turn {
            let served = self.step.effects.iter().filter(|effect| match effect {
                Effect::Granted(_, waited_since) => waited_since.is_some(),
                Effect::Answer(_, answer) => {
                    matches!(answer, Answer::TimedOut | Answer::NoPermission | Answer::Granted(_))
                }
                Effect::Changed(..) | Effect::Rebound(..) | Effect::Ended(..) | Effect::Expired(_) => false,
            });
            assert!(!unserved || served.count() >= SERVED_MAX, "I2: {first:?} waits for nothing");
            let over = after.holders.iter().find(|(_, hold)| hold.is_expired(now));
            assert_eq!(over, None, "a hold outlived its lease");
        }
        if !record.disturbed {
            let own = waiting.iter().find(|(_, who)| after.held(*who).is_some());
            assert_eq!(own, None, "I7: one waits for itself");
        }
        let put = matches!(event, Event::Put(..));
        let highest = after.holders.iter().map(|(_, hold)| hold.fence.get()).max().unwrap_or(0).max(record.highest);
        assert!(put || highest == record.highest, "I3: a fence from nowhere");
        let drawn = before.record.highest != highest;
        record.highest = highest;
        assert_eq!(before.fences.last() != after.fences.last(), drawn, "I3: a fence was drawn for nothing");
        if waiting.is_empty() && after.flying.is_empty() {
            assert!(after.queue.is_idle(), "an answer is waited for that nobody gave");
        }
    }
}
