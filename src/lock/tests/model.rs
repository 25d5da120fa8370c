//! A second implementation of the rules, which the first is compared with. It was written from the contract alone, as
//! plainly as possible: a list of holds and a list of waiters, both searched from the front.

use super::harness::{reconnect, session, user, CONNECTIONS, HOLDERS_MAX, START};
use super::*;

mod requests;

/// How many waiters one step serves at most.
const SERVED_MAX: usize = 2;

/// An answer with a hold that was given to a waiter, and that may have been lost.
#[derive(Clone, Debug)]
struct SentAnswer {
    /// The waiter that it answers.
    ticket: Ticket,
    /// The connection that it is sent on, if the request had SESSION.
    session: Option<Session>,
    /// Whether it is known to have reached the client.
    has_arrived: bool,
}

/// One hold on the lock.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The client whose owner holds the lock.
    pub client: Client,
    /// The present id of the hold.
    pub id: HoldId,
    /// The present mode of the hold.
    pub mode: Mode,
    /// The hold itself.
    pub hold: Hold,
    /// The answers that told of the hold. Empty once the owner is known to have learned of it.
    sent: Vec<SentAnswer>,
}

impl Holding {
    /// Whether an answer with this hold is still in flight on this connection.
    fn has_answer_in_flight(&self, session: Session) -> bool {
        self.sent.iter().any(|sent| sent.session == Some(session) && !sent.has_arrived)
    }
}

/// The model of one lock and its surroundings.
#[derive(Clone, Debug)]
pub struct Model {
    /// The holds, in the order in which they began.
    pub holding: Vec<Holding>,
    /// While nobody may be granted the lock: when that is over, and how long it was to last.
    pub cooling: Option<Cooling>,
    /// The waiters, first come first.
    pub waiting: Vec<(Ticket, Waiter)>,
    /// The largest fence so far.
    last_fence: u64,
    /// The time of the next event.
    now: Now,
    /// The open connections.
    sessions: Vec<Session>,
    /// The users that may not acquire the lock now.
    denied: Vec<User>,
    /// The effects of the present step.
    effects: Vec<Effect>,
}

/// The index of this client's hold.
fn index_of(holding: &[Holding], client: Client) -> Option<usize> {
    holding.iter().position(|holding| holding.client == client)
}

/// When the hold ends if its lease were to end then: MAX counts from the grant.
fn ends_by_lease(hold: &Hold, lease_end: Steady) -> Steady {
    hold.terms.max().map_or(lease_end, |max| lease_end.min(hold.since + max))
}

/// Gives the hold a new lease. It is as long as the hold may last.
fn set_lease(hold: &mut Hold, now: Steady, lease: Millis) {
    hold.expires_at = ends_by_lease(hold, now + lease);
    let us = (hold.expires_at.0 - now.0) as u64;
    hold.terms.set_lease(Millis(us.div_ceil(1000)));
}

impl Model {
    /// A free lock.
    pub fn new() -> Model {
        let sessions = (1..=CONNECTIONS as u64).map(session).collect();
        let (holding, waiting, effects) = (Vec::new(), Vec::new(), Vec::new());
        Model { holding, cooling: None, waiting, last_fence: 0, now: START, sessions, denied: Vec::new(), effects }
    }

    /// Whether nobody waits, and no answer in flight matters.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.holding.iter().all(|holding| holding.sent.is_empty())
    }

    /// Applies an event. `ticket` is the waiter that it is about: the one that joins if the request has to wait, that
    /// leaves, or whose answer was delivered or lost.
    pub fn step(&mut self, event: Event, ticket: Option<Ticket>) -> (Returned, Vec<Effect>) {
        let returned = self.apply(event, ticket);
        for client in Client::ALL {
            let bound_to = index_of(&self.holding, client).and_then(|n| self.holding[n].hold.session);
            if let Some(closed) = bound_to.filter(|session| !self.sessions.contains(session)) {
                self.close(client, closed);
            }
        }
        (returned, std::mem::take(&mut self.effects))
    }

    /// Applies an event, without the end of holds that are bound to a closed connection.
    fn apply(&mut self, event: Event, ticket: Option<Ticket>) -> Returned {
        match event {
            Event::PassTime(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
            }
            Event::SetWallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Remove => (self.holding, self.cooling) = (Vec::new(), None),
            Event::Deny(lease) => self.denied.extend(user(lease)),
            Event::Allow(lease) => self.denied.retain(|denied| user(lease) != Some(*denied)),
            Event::Restore(client, mode_option, lease_ms) => self.restore(client, mode_option, lease_ms),
            Event::Leave(_) => self.waiting.retain(|(theirs, _)| Some(*theirs) != ticket),
            Event::Delivered(_) => self.delivered(ticket),
            Event::Undelivered(_) if ticket.is_none() => {}
            Event::Undelivered(_) => self.undelivered(ticket),
            Event::Close(n) => {
                let closed = self.sessions[n];
                reconnect(&mut self.sessions, n);
                self.waiting.retain(|(_, waiter)| waiter.request.session != Some(closed));
                Client::ALL.into_iter().for_each(|client| self.close(client, closed));
            }
            Event::Advance => self.serve(),
            Event::RunTimer => self.run_timer(),
            Event::Try(..) | Event::Wait(..) => return Returned::Acquired(self.acquire(event, ticket)),
            Event::Release(..) | Event::Cool(..) => return Returned::Released(self.request(event)),
            Event::Downgrade(..) | Event::Extend(..) => return Returned::Held(self.request(event) == Released::Yes),
        }
        Returned::Nothing
    }

    /// Ends the expired holds in the order of their expiry. Then serves the queue, first come first served.
    fn serve(&mut self) {
        let now = self.now.steady;
        while let Some(expired) =
            self.holding.iter().filter(|h| h.hold.expires_at <= now).min_by_key(|h| (h.hold.expires_at, h.id))
        {
            self.end(expired.client, End::Expired);
        }
        if self.cooling.is_some_and(|cooling| cooling.until <= now) {
            self.cooling = None;
            self.effects.push(Effect::Cooled);
        }
        for _ in 0..SERVED_MAX {
            let Some((ticket, first)) = self.waiting.first().cloned() else { return };
            if first.has_timed_out(now) {
                self.waiting.remove(0);
                self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            } else if self.may_join(first.request.mode) && self.holding.len() < HOLDERS_MAX {
                self.serve_first(&first);
            } else {
                return;
            }
        }
    }

    /// Grants the first waiter what it asks for, and answers all other requests of its owner: with the same hold if it
    /// satisfies them, else with a refusal.
    fn serve_first(&mut self, first: &Waiter) {
        let client = Client::of(&first.request.owner);
        if let Some(n) = index_of(&self.holding, client) {
            let theirs = self.take_all_of(client);
            return self.answer_holder(n, theirs);
        }
        if self.is_denied(first) {
            let (ticket, _) = self.waiting.remove(0);
            return self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
        }
        let theirs = self.take_all_of(client);
        let mut served = Vec::new();
        for (ticket, waiter) in theirs {
            if waiter.has_timed_out(self.now.steady) {
                self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            } else if waiter.request.mode == Mode::Exclusive && first.request.mode != Mode::Exclusive {
                self.effects.push(Effect::Answer(ticket, Answer::MustRelease));
            } else if self.is_denied(&waiter) {
                self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
            } else {
                served.push((ticket, waiter));
            }
        }
        let lease = served.iter().map(|(_, waiter)| waiter.request.lease).max().unwrap();
        let session = served.last().unwrap().1.request.session;
        let request = Request { lease, session, ..first.request.clone() };
        let id = self.grant(client, request, Some(first.since));
        let sent =
            served.iter().map(|(t, w)| SentAnswer { ticket: *t, session: w.request.session, has_arrived: false });
        self.holding.last_mut().unwrap().sent = sent.collect();
        for (ticket, _) in served {
            self.effects.push(Effect::Answer(ticket, Answer::Granted(id)));
        }
    }

    /// Answers these requests of the owner of the n-th hold.
    fn answer_holder(&mut self, n: usize, theirs: Vec<(Ticket, Waiter)>) {
        for (ticket, waiter) in theirs {
            let answer = if waiter.has_timed_out(self.now.steady) {
                Answer::TimedOut
            } else if waiter.request.mode == Mode::Exclusive && self.holding[n].mode != Mode::Exclusive {
                Answer::MustRelease
            } else if self.is_denied(&waiter) {
                Answer::NoPermission
            } else {
                Answer::Granted(self.reacquire(n, waiter.request.lease, waiter.request.session, waiter.request.user))
            };
            self.effects.push(Effect::Answer(ticket, answer));
        }
    }

    /// Whether the waiter's user may no longer acquire the lock. Then the waiter is not granted.
    fn is_denied(&self, waiter: &Waiter) -> bool {
        waiter.request.user.is_some_and(|user| self.denied.contains(&user))
    }

    /// Takes all waiters of a client out of the queue.
    fn take_all_of(&mut self, client: Client) -> Vec<(Ticket, Waiter)> {
        let waiting = std::mem::take(&mut self.waiting);
        let (theirs, others) = waiting.into_iter().partition(|(_, waiter)| Client::of(&waiter.request.owner) == client);
        self.waiting = others;
        theirs
    }

    /// Whether a request for this mode may join the holders. It may if the lock is free, or if all are shared and take,
    /// together with the request, no more units than the smallest limit among them all.
    fn may_join(&self, asked: Mode) -> bool {
        let modes = || self.holding.iter().map(|holding| holding.mode).chain([asked]);
        if self.holding.is_empty() {
            return self.cooling.is_none();
        }
        let units: u32 =
            modes().map(|mode| if let Mode::Shared(Some(limit)) = mode { limit.weight() } else { 1 }).sum();
        modes().all(|mode| match mode {
            Mode::Exclusive => false,
            Mode::Shared(limit) => limit.is_none_or(|limit| units <= limit.units()),
        })
    }

    /// Makes a hold.
    fn grant<O>(&mut self, client: Client, request: Request<O>, waited_since: Option<Steady>) -> HoldId {
        let Request { mode, lease, max, delay, session, user, .. } = request;
        let (fence, since, origin) = (self.next_fence(), self.now.steady, Origin::Granted);
        let lease = lease.min(max.unwrap_or(lease));
        let terms = Terms::new(lease, origin).with(max, delay).by(user);
        let hold = Hold { owner: client.owner(), fence, expires_at: since + lease, since, terms, session };
        let id = HoldId { fence, nth: 0 };
        self.holding.push(Holding { client, id, mode, hold, sent: Vec::new() });
        self.effects.push(Effect::Granted(id, waited_since));
        id
    }

    /// The fence of the next grant: `max(last fence + 1, unix time in microseconds)`.
    fn next_fence(&mut self) -> Fence {
        self.last_fence = (self.last_fence + 1).max(self.now.unix.0);
        Fence::new(self.last_fence).unwrap()
    }

    /// Asks for the lock. `ticket` is given if the request may wait.
    fn acquire(&mut self, event: Event, ticket: Option<Ticket>) -> Acquired {
        let (client, mode_option, lease, session_option, timeout) = match event {
            Event::Try(client, mode_option, lease, session_option) => {
                (client, mode_option, lease, session_option, None)
            }
            Event::Wait(client, mode_option, lease, session_option, timeout) => {
                (client, mode_option, lease, session_option, Some(timeout))
            }
            _ => unreachable!(),
        };
        self.serve();
        let (mode, lease, user) = (mode_option.mode(), Millis(lease), user(lease));
        let session = match session_option {
            SessionOption::NoSession => None,
            SessionOption::OnConnection(n) => Some(self.sessions[n]),
        };
        let (max, delay) = (mode_option.max(), mode_option.delay());
        let request = Request { owner: client.owner().into(), mode, lease, max, delay, session, user };
        if let Some(n) = index_of(&self.holding, client) {
            if mode == Mode::Exclusive && self.holding[n].mode != Mode::Exclusive {
                return Acquired::MustRelease;
            }
            return Acquired::Granted(self.reacquire(n, lease, session, user).fence);
        }
        if self.waiting.is_empty() && self.may_join(mode) {
            if self.holding.len() >= HOLDERS_MAX {
                return Acquired::Full;
            }
            return Acquired::Granted(self.grant(client, request, None).fence);
        }
        let Some(timeout) = timeout else { return Acquired::Refused };
        let since = self.now.steady;
        let until = (timeout > 0).then(|| since + Millis(timeout));
        let waiter = Waiter { request, since, until, is_multi_key: false };
        self.waiting.push((ticket.unwrap(), waiter));
        Acquired::Waits
    }

    /// Grants the lock again to the owner of the n-th hold. The fence stays, unless the hold is inherited. The lease
    /// ends at the later of the two moments. The hold is bound to the session of this request.
    fn reacquire(&mut self, n: usize, lease: Millis, session: Option<Session>, user: Option<User>) -> HoldId {
        let (now, mut changed) = (self.now.steady, false);
        if self.holding[n].hold.terms.origin() == Origin::Inherited {
            let fence = self.next_fence();
            self.holding[n].hold.terms.set_origin(Origin::Granted);
            (self.holding[n].hold.fence, changed) = (fence, true);
            self.holding[n].id = HoldId { fence, nth: 0 };
        }
        let Holding { id, hold, sent, .. } = &mut self.holding[n];
        sent.clear();
        if ends_by_lease(hold, now + lease) > hold.expires_at {
            set_lease(hold, now, lease);
            changed = true;
        }
        if hold.terms.user().is_none() {
            hold.terms = hold.terms.by(user);
        }
        let id = *id;
        self.effects.extend(changed.then_some(Effect::Changed(id, HoldChange::Reacquired)));
        self.rebind(n, session);
        id
    }

    /// Binds the n-th hold to another connection, or to none.
    fn rebind(&mut self, n: usize, session: Option<Session>) {
        let Holding { id, hold, .. } = &mut self.holding[n];
        let before = std::mem::replace(&mut hold.session, session);
        self.effects.extend((before != session).then(|| Effect::Rebound(*id, hold.owner.clone(), before)));
    }

    /// Ends this client's hold, if it has one.
    fn end(&mut self, client: Client, why: End) {
        if let Some(n) = index_of(&self.holding, client) {
            let hold = self.holding.remove(n).hold;
            let (delay, end) = (hold.terms.delay(), hold.expires_at);
            self.effects.push(Effect::Ended(hold, why));
            match why {
                End::Expired => self.cool(delay, end),
                End::Closed => self.cool(delay, self.now.steady),
                End::Released | End::Undelivered => {}
            }
        }
    }

    /// Nobody may be granted the lock for this long from `from` on.
    fn cool(&mut self, length: Option<Millis>, from: Steady) {
        let Some(length) = length.filter(|length| from + *length > self.now.steady) else { return };
        self.cooling = Some(Cooling { until: from + length, length });
        self.effects.push(Effect::Cools);
    }
}
