//! A check of one step from outside: the invariants I1 to I10 of [`crate::lock`], and the rules about sessions.
//!
//! The check knows the event, the effects, and the lock before and after the step. It keeps a [`Record`] of its own.

use std::collections::BTreeMap;

use super::harness::{user, AnswerInFlight, HOLDERS_MAX};
use super::*;

/// How many waiters a step must serve before it may leave others that could be served.
const SERVED_MAX: usize = 2;

/// A request that waits and was not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The client that waits.
    pub client: Client,
    /// The mode that it asked for.
    mode: Mode,
    /// When its wait times out; `None` if it has no limit.
    pub until: Option<Steady>,
    /// When it joined the queue.
    since: Steady,
    /// Its connection, if it asked for SESSION.
    session: Option<Session>,
    /// Its ACL user.
    user: Option<User>,
}

impl Pending {
    /// Whether its wait has timed out.
    fn has_timed_out(&self, now: Steady) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A hold, as far as the effects tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its present id.
    id: HoldId,
    /// Its present mode.
    mode: Mode,
    /// The session of the last request whose answer with this hold arrived, or can still arrive.
    session: Option<Session>,
    /// The waiters that were answered with this hold, and their sessions. Empty once the owner is known to have learned
    /// of the hold by a reply.
    pub answered: Vec<(Ticket, Option<Session>)>,
}

/// What the check remembers of a lock between steps.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The requests that wait and were not answered yet.
    pub waiting: BTreeMap<Ticket, Pending>,
    /// The holds.
    pub held: BTreeMap<Client, Held>,
    /// While the lock is cooling: when that is over.
    cooling: Option<Steady>,
    /// The largest fence seen so far.
    highest: u64,
    /// Whether something outside the rules changed the lock, and the timer has not run since.
    changed_externally: bool,
}

/// The check of one step. It applies the effects to `record` one by one.
struct Observer<'a> {
    /// The lock before the step.
    before: &'a Harness,
    /// What happened.
    event: Event,
    /// The reply and the effects.
    step: &'a Outcome,
    /// The time after the event.
    now: Steady,
    /// The lock after the step.
    after: &'a Harness,
    /// The record before the step, and once all effects are applied, the one after it.
    record: Record,
    /// The clients whose holds the step changed. The holds of all others must stay as they were.
    affected: Vec<Client>,
}

/// Panics unless the step kept all invariants. The new record is stored in `after`.
pub fn check(before: &Harness, event: Event, step: &Outcome, after: &mut Harness) {
    let (now, record) = (after.now.steady, before.record.clone());
    let mut observer = Observer { before, event, step, now, after, record, affected: Vec::new() };
    observer.apply_event();
    for (n, effect) in step.effects.iter().enumerate() {
        observer.apply_effect(effect, &step.effects[n + 1..]);
    }
    observer.holders();
    observer.waiters();
    after.record = observer.record;
}

/// How many units a holder in this mode takes.
fn units(mode: &Mode) -> u32 {
    match mode {
        Mode::Exclusive | Mode::Shared(None) => 1,
        Mode::Shared(Some(limit)) => limit.weight(),
    }
}

/// Whether a request for `asked` may join these holders: I1 spelt out.
fn may_join(holders: &[Mode], asked: Mode) -> bool {
    let all: Vec<Mode> = holders.iter().copied().chain([asked]).collect();
    let fits = |mode: &Mode| match mode {
        Mode::Exclusive => all.len() == 1,
        Mode::Shared(limit) => limit.is_none_or(|limit| all.iter().map(units).sum::<u32>() <= limit.units()),
    };
    all.len() <= HOLDERS_MAX && all.iter().all(fits)
}

impl Observer<'_> {
    /// Applies to the record what follows from the event itself, before any effect.
    fn apply_event(&mut self) {
        let (before, now, after, record) = (self.before, self.now, self.after, &mut self.record);
        match self.event {
            Event::Wait(client, mode_option, lease, session_option, timeout)
                if self.step.returned == Returned::Acquired(Acquired::Waits) =>
            {
                let until = (timeout > 0).then(|| now + Millis(timeout));
                let (session, user) = (before.session_of(session_option), user(lease));
                let pending = Pending { client, mode: mode_option.mode(), until, since: now, session, user };
                record.waiting.insert(Ticket(before.next_ticket), pending);
            }
            Event::Leave(n) => {
                before.nth(n).map(|ticket| record.waiting.remove(&ticket));
            }
            Event::Close(n) => record.waiting.retain(|_, pending| pending.session != Some(before.sessions[n])),
            Event::Undelivered(n) => self.note_lost_answer(n),
            Event::Remove => (record.held, record.cooling) = (BTreeMap::new(), None),
            Event::Restore(client, ..) => {
                record.cooling = None;
                let (id, mode, _) = after.held(client).unwrap();
                record.held.retain(|client, _| after.held(*client).is_some());
                record.held.insert(client, Held { id, mode, session: None, answered: Vec::new() });
                self.affected.push(client);
            }
            _ => {}
        }
        self.record.changed_externally = match self.event {
            Event::Remove | Event::Restore(..) => true,
            Event::RunTimer => false,
            _ => self.record.changed_externally,
        };
    }

    /// Takes note that the n-th answer in flight is lost. Of the other answers with the same hold, the last one decides
    /// about its session.
    fn note_lost_answer(&mut self, n: usize) {
        let Some(AnswerInFlight { ticket, hold, .. }) = self.before.in_flight.get(n) else { return };
        let holds =
            self.record.held.iter_mut().find(|(_, held)| held.answered.iter().any(|(returned, _)| returned == ticket));
        let Some((client, held)) = holds else { return };
        assert_eq!(held.id, *hold);
        if self.before.held(*client).is_some_and(|(.., hold)| hold.is_expired(self.now)) {
            return;
        }
        held.answered.retain(|(returned, _)| returned != ticket);
        if let Some((_, session)) = held.answered.last() {
            held.session = *session;
        }
        self.affected.push(*client);
    }

    /// Applies one effect to the record. `rest` are the effects after it.
    fn apply_effect(&mut self, effect: &Effect, rest: &[Effect]) {
        match effect {
            Effect::Granted(id, waited_since) => self.granted(*id, *waited_since, rest),
            Effect::Changed(id, change) => self.changed(*id, *change, rest),
            Effect::Rebound(id, owner, before) => {
                let client = self.holder_of(*id);
                assert_eq!(client, Client::of(owner));
                let requested_session = self.requested_session(*id, rest);
                let held = self.record.held.get_mut(&client).unwrap();
                if let Some(session) = requested_session {
                    held.session = session;
                }
                assert_ne!(*before, held.session, "bound to the session that it was bound to before");
                self.affected.push(client);
            }
            Effect::Ended(hold, why) => {
                self.ended(hold, *why);
                let until = self.cools_until(hold, *why).filter(|until| *until > self.now);
                assert_eq!(until.is_some(), rest.first() == Some(&Effect::Cools), "I9: after {hold:?} ended: {why:?}");
                self.record.cooling = until;
            }
            Effect::Cools => {
                assert!(self.record.cooling.is_some() && self.record.held.is_empty(), "I9: no reason to cool")
            }
            Effect::Cooled => {
                let until = self.record.cooling.take().expect("I9: the lock was cooling");
                assert!(until <= self.now, "I9: cooling ended too early");
            }
            Effect::Ready(_) => panic!("nobody waits for several locks here"),
            Effect::Expired(_) => panic!("a step ends more holds than a lock can have here"),
            Effect::Answer(ticket, answer) => self.answered(*ticket, *answer),
        }
    }

    /// The client that has the hold with this id.
    fn holder_of(&self, id: HoldId) -> Client {
        let found = self.record.held.iter().find(|(_, held)| held.id == id);
        *found.unwrap_or_else(|| panic!("there is no hold with the id {id:?}")).0
    }

    /// The session of the request that is answered with this hold: that of a waiter, or of the request of this step.
    /// `None` if there is no such request.
    fn requested_session(&self, id: HoldId, rest: &[Effect]) -> Option<Option<Session>> {
        match (self.next_granted(id, rest), self.event) {
            (Some(ticket), _) => Some(self.record.waiting[&ticket].session),
            (None, Event::Try(client, _, _, session_option) | Event::Wait(client, _, _, session_option, _)) => {
                (self.holder_of(id) == client).then(|| self.before.session_of(session_option))
            }
            (None, _) => None,
        }
    }

    /// The next waiter that is answered with this hold.
    fn next_granted(&self, id: HoldId, rest: &[Effect]) -> Option<Ticket> {
        rest.iter().find_map(|effect| match effect {
            Effect::Answer(ticket, Answer::Granted(returned)) if *returned == id => Some(*ticket),
            _ => None,
        })
    }

    /// A hold began.
    fn granted(&mut self, id: HoldId, waited_since: Option<Steady>, rest: &[Effect]) {
        let record = &self.record;
        assert!(id.fence.get() > record.highest, "I3: {id:?} is not above {}", record.highest);
        assert_eq!(id.nth, 0);
        let answered: Vec<_> = rest
            .iter()
            .filter_map(|effect| match effect {
                Effect::Answer(ticket, Answer::Granted(returned)) if *returned == id => Some(*ticket),
                _ => None,
            })
            .map(|ticket| (ticket, record.waiting[&ticket].session))
            .collect();
        // Between a grant and its answers, other requests of the same owner may be answered in another way.
        let (client, mode, session) = match (answered.first(), self.event) {
            (Some((first, _)), _) => {
                let first_live = record
                    .waiting
                    .iter()
                    .find(|(_, pending)| !pending.has_timed_out(self.now))
                    .map(|(ticket, _)| *ticket);
                assert_eq!(first_live, Some(*first), "I4: a waiter was granted that is not the first in the queue");
                let pending = &record.waiting[first];
                assert_eq!(waited_since, Some(pending.since));
                (pending.client, pending.mode, answered.last().unwrap().1)
            }
            (
                None,
                Event::Try(client, mode_option, _, session_option)
                | Event::Wait(client, mode_option, _, session_option, _),
            ) => {
                assert!(record.waiting.is_empty(), "I4: a newcomer passed {:?}", record.waiting);
                assert_eq!(waited_since, None);
                (client, mode_option.mode(), self.before.session_of(session_option))
            }
            (None, _) => panic!("I4: a grant without a request"),
        };
        assert_eq!(record.cooling, None, "I9: a grant while the lock is cooling");
        let modes: Vec<Mode> = record.held.values().map(|held| held.mode).collect();
        assert!(may_join(&modes, mode), "I1: {mode:?} beside {modes:?}");
        self.record.highest = id.fence.get();
        let twice = self.record.held.insert(client, Held { id, mode, session, answered });
        assert_eq!(twice, None, "a grant to an owner that holds the lock already");
        self.affected.push(client);
    }

    /// A hold changed, and goes on.
    fn changed(&mut self, id: HoldId, change: HoldChange, rest: &[Effect]) {
        let client = match (self.next_granted(id, rest), self.event) {
            (Some(ticket), _) => self.record.waiting[&ticket].client,
            (
                None,
                Event::Try(client, ..)
                | Event::Wait(client, ..)
                | Event::Extend(client, ..)
                | Event::Downgrade(client, _),
            ) => client,
            (None, event) => panic!("{event:?} changed a hold"),
        };
        let inherited = self.before.held(client).is_some_and(|(.., hold)| hold.terms.origin() == Origin::Inherited);
        let held = self.record.held.get_mut(&client).expect("a change of a hold that exists");
        let raised = match (change, self.event) {
            (HoldChange::Reacquired, _) => inherited,
            (HoldChange::Extended, Event::Extend(.., raise_option)) => {
                raise_option == RaiseOption::RaiseAbove || raise_option == RaiseOption::RaiseToLargest
            }
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
        self.affected.push(client);
    }

    /// Until when the lock must be cooling after this hold ended.
    fn cools_until(&self, hold: &Hold, why: End) -> Option<Steady> {
        match (why, self.event) {
            (End::Expired, _) => hold.terms.delay().map(|delay| hold.expires_at + delay),
            (End::Closed, _) => hold.terms.delay().map(|delay| self.now + delay),
            (End::Released, Event::Cool(_, _, length)) => Some(self.now + Millis(length)),
            (End::Released | End::Undelivered, _) => None,
        }
    }

    /// A hold ended.
    fn ended(&mut self, hold: &Hold, why: End) {
        let client = Client::of(&hold.owner);
        let held = self.record.held.remove(&client).expect("the end of a hold that exists");
        assert_eq!((held.id.fence, held.session), (hold.fence, hold.session));
        match why {
            End::Released => {
                let by_owner = matches!(self.event, Event::Release(of, _) | Event::Cool(of, ..) if of == client);
                assert!(by_owner, "released by another owner")
            }
            End::Expired => assert!(hold.expires_at <= self.now, "ended before its lease expired"),
            End::Undelivered => {
                assert!(
                    matches!(self.event, Event::Undelivered(_)),
                    "ended as undelivered although no answer was lost"
                );
                assert!(
                    held.answered.is_empty() && self.affected.contains(&client),
                    "the owner knows of the hold, or can still learn of it"
                );
            }
            End::Closed => {
                let bound_to = hold.session.expect("a hold that ends with its connection is bound to one");
                assert!(self.after.is_closed(bound_to), "the connection is still open");
                let tells_of_it =
                    |answer: &&AnswerInFlight| held.answered.iter().any(|(ticket, _)| *ticket == answer.ticket);
                let mut in_flight = self.after.in_flight.iter().filter(tells_of_it);
                let decides = in_flight.any(|answer| answer.session == Some(bound_to));
                assert!(!decides || self.owner_told_by_reply() == Some(client), "its answer is still in flight");
            }
        }
        self.affected.push(client);
    }

    /// The client that learned by the reply of this step that it holds the lock.
    fn owner_told_by_reply(&self) -> Option<Client> {
        match (self.step.returned, self.event) {
            (Returned::Held(true), Event::Extend(client, ..) | Event::Downgrade(client, _)) => Some(client),
            (Returned::Acquired(Acquired::Granted(_)), Event::Try(client, ..) | Event::Wait(client, ..)) => {
                Some(client)
            }
            _ => None,
        }
    }

    /// A waiter was answered.
    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let pending = self.record.waiting.remove(&ticket).expect("I5: the request waits when it is answered");
        let held = self.record.held.get(&pending.client);
        let is_denied = pending.user.is_some_and(|user| self.after.denied.contains(&user));
        match answer {
            Answer::Granted(id) => {
                assert!(!is_denied, "I8: {ticket:?} was granted");
                assert!(!pending.has_timed_out(self.now), "I6: {ticket:?} was granted after its wait had timed out");
                let held = held.expect("the hold of the answer exists");
                assert_eq!(held.id, id, "{ticket:?} was answered with a hold of another owner");
                assert!(held.mode.satisfies(pending.mode), "{ticket:?} got less than it asked for");
            }
            Answer::TimedOut => assert!(pending.has_timed_out(self.now), "I5: {ticket:?} timed out too early"),
            Answer::NoPermission => {
                assert!(
                    is_denied && !pending.has_timed_out(self.now),
                    "I8: {ticket:?} was denied although its user may acquire the lock"
                )
            }
            Answer::Withdrawn => {
                assert!(matches!(self.event, Event::Release(of, _) | Event::Cool(of, ..) if of == pending.client), "I5")
            }
            // The owner's shared hold begins right after this answer, or runs already.
            Answer::MustRelease => assert_eq!(pending.mode, Mode::Exclusive),
        }
    }
}

/// What must be true of the lock after the step.
impl Observer<'_> {
    /// The holders are those of the record, and no hold changed without an effect.
    fn holders(&mut self) {
        let Observer { before, event, now, after, .. } = *self;
        if let Some(held) = self.owner_told_by_reply().and_then(|client| self.record.held.get_mut(&client)) {
            held.answered.clear();
            if let (Returned::Acquired(acquired), Event::Try(.., session_option) | Event::Wait(.., session_option, _)) =
                (self.step.returned, event)
            {
                assert_eq!(acquired, Acquired::Granted(held.id.fence), "the reply has another fence than the hold");
                // The last successful LOCK.ACQUIRE decides about the session.
                held.session = before.session_of(session_option);
            }
        }
        let cooling = if let Holders::Cooling(cooling) = after.holders { Some(cooling.until) } else { None };
        assert_eq!(self.record.cooling, cooling, "I9: the effects tell of cooling");
        let clients: Vec<_> = after.holders.iter().map(|(_, hold)| Client::of(&hold.owner)).collect();
        let all: Vec<_> = after.holders.iter().map(|(mode, _)| mode).collect();
        assert!(after.holders.are_within_limits(now) && (all.is_empty() || may_join(&all[1..], all[0])), "I1: {all:?}");
        assert_eq!(
            (clients.len(), clients.len()),
            (self.record.held.len(), after.holders.len()),
            "I1: the effects tell of every hold"
        );
        for client in clients {
            let (id, mode, hold) = after.held(client).unwrap();
            let expected = &self.record.held[&client];
            assert_eq!(
                (id, mode, hold.session),
                (expected.id, expected.mode, expected.session),
                "the effects tell of every change"
            );
            assert!(hold.expires_at <= now + hold.terms.lease(), "more time is left than the lease");
            assert!(hold.max_end().is_none_or(|end| hold.expires_at <= end), "I10: the hold outlasts MAX");
            let sets_its_expiry = matches!(event, Event::Extend(of, ..) | Event::Restore(of, ..) if of == client);
            // A hold that was granted anew in the moment in which the old one ended is another hold.
            let is_new = self.step.effects.iter().any(|effect| matches!(effect, Effect::Granted(new, _) if *new == id));
            let was = before.held(client).filter(|(.., was)| was.since == hold.since && !sets_its_expiry && !is_new);
            assert!(
                was.is_none_or(|(.., was)| was.expires_at <= hold.expires_at),
                "its lease expires earlier than before"
            );
            if !self.affected.contains(&client) {
                assert_eq!(
                    before.held(client),
                    Some((id, mode, hold.clone())),
                    "the hold of {client:?} changed without an effect"
                );
            }
            if let Some(closed) = hold.session.filter(|session| after.is_closed(*session)) {
                let decides = |answer: &AnswerInFlight| answer.hold == id && answer.session == Some(closed);
                assert!(after.in_flight.iter().any(decides), "the hold of {client:?} outlived its connection");
            }
        }
    }

    /// The queue has the waiters of the record, and no waiter in it could be served unless the step reached its limit.
    fn waiters(&mut self) {
        let Observer { before, event, now, after, ref mut record, .. } = *self;
        after.queue.assert_sound();
        let waiting: Vec<_> =
            after.queue.iter().map(|(ticket, waiter)| (ticket, Client::of(&waiter.request.owner))).collect();
        let pending: Vec<_> = record.waiting.iter().map(|(ticket, pending)| (*ticket, pending.client)).collect();
        assert_eq!(waiting, pending, "I5: the queue (left) must have the requests that were not answered (right)");
        let modes: Vec<Mode> = after.holders.iter().map(|(mode, _)| mode).collect();
        let first = record.waiting.values().next();
        let is_cooling = record.cooling.is_some();
        let may_enter = |first: &Pending| !is_cooling && may_join(&modes, first.mode);
        let unserved = first.is_some_and(|first| first.has_timed_out(now) || may_enter(first));
        assert_eq!(after.has_servable_waiter(), unserved, "I2: whether {first:?} need not wait any longer");
        let made_a_step = match event {
            Event::Undelivered(n) => n < before.in_flight.len(),
            Event::Try(..) | Event::Wait(..) | Event::Release(..) | Event::Cool(..) => true,
            Event::Extend(..) | Event::Downgrade(..) => true,
            Event::Close(_) | Event::Advance | Event::RunTimer => true,
            Event::Leave(_) | Event::Delivered(_) | Event::PassTime(_) => false,
            Event::SetWallClock(_) | Event::Remove | Event::Restore(..) | Event::Deny(_) | Event::Allow(_) => false,
        };
        if made_a_step {
            let served = self.step.effects.iter().filter(|effect| match effect {
                Effect::Granted(_, waited_since) => waited_since.is_some(),
                Effect::Answer(_, answer) => {
                    matches!(answer, Answer::TimedOut | Answer::NoPermission | Answer::Granted(_))
                }
                Effect::Changed(..) | Effect::Rebound(..) | Effect::Ended(..) | Effect::Expired(_) => false,
                Effect::Cools | Effect::Cooled | Effect::Ready(_) => false,
            });
            assert!(
                !unserved || served.count() >= SERVED_MAX,
                "I2: {first:?} could be served, and the step did not reach its limit"
            );
            let expired = after.holders.iter().find(|(_, hold)| hold.is_expired(now));
            assert_eq!(expired, None, "a hold outlived its lease");
            assert!(record.cooling.is_none_or(|until| until > now), "I9: cooling outlasted its end");
        }
        if !record.changed_externally {
            let own = waiting.iter().find(|(_, client)| after.held(*client).is_some());
            assert_eq!(own, None, "I7: an owner waits for a lock that it holds");
        }
        let is_restore = matches!(event, Event::Restore(..));
        let highest = after.holders.iter().map(|(_, hold)| hold.fence.get()).max().unwrap_or(0).max(record.highest);
        assert!(is_restore || highest == record.highest, "I3: a fence that no effect told of");
        let was_taken = before.record.highest != highest;
        record.highest = highest;
        assert_eq!(
            before.fences.last() != after.fences.last(),
            was_taken,
            "I3: the clock moves exactly if a fence was given"
        );
        if waiting.is_empty() && after.in_flight.is_empty() {
            assert!(after.queue.is_idle(), "the queue remembers an answer that was never given");
        }
    }
}
