//! One lock and its surroundings (clocks, connections, answers in flight), and a method that applies an event to them.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};

use super::*;

/// What the rules returned for an event at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The event was no request of a client.
    Nothing,
    /// The result of LOCK.ACQUIRE.
    Acquired(Acquired),
    /// The result of LOCK.RELEASE.
    Released(Released),
    /// The result of LOCK.EXTEND, or of LOCK.RELEASE with DOWNGRADE: whether the owner held the lock.
    Held(bool),
}

/// Everything that one event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The reply that its client received at once.
    pub returned: Returned,
    /// What the step wanted done.
    pub effects: Vec<Effect>,
}

/// An answer that tells a waiter of a grant, and that has not reached its client yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerInFlight {
    /// The waiter that it answers.
    pub ticket: Ticket,
    /// The hold that it tells of.
    pub hold: HoldId,
    /// The connection that it is sent on, if the request had SESSION.
    pub session: Option<Session>,
}

/// One lock and its surroundings.
#[derive(Clone, Debug)]
pub struct Harness {
    /// The saved part of the lock.
    pub holders: Holders,
    /// The part of the lock that is not saved.
    pub queue: WaitQueue,
    /// The server's fence clock.
    pub fences: FenceClock,
    /// The time of the next event.
    pub now: Now,
    /// The ticket of the next waiter.
    pub next_ticket: u64,
    /// The answers that were neither delivered nor lost yet, in the order in which they were given.
    pub in_flight: Vec<AnswerInFlight>,
    /// The open connections, [`CONNECTIONS`] of them.
    pub sessions: Vec<Session>,
    /// The users that may not acquire the lock now.
    pub denied: BTreeSet<User>,
    /// What [`invariants`] saw of the lock so far.
    pub record: invariants::Record,
}

/// The time at which every test begins, for the rules and for the model.
pub const START: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };
/// How many owners may hold the lock together: one fewer than there are.
pub const HOLDERS_MAX: usize = 3;
/// How many connections are open at any time.
pub const CONNECTIONS: usize = 2;

/// The connection with this number, which must not be 0.
pub fn session(number: u64) -> Session {
    Session(NonZeroU64::new(number).unwrap())
}

/// The user whose requests ask for this lease: each length of a lease stands for a user of its own.
pub fn user(lease: u64) -> Option<User> {
    NonZeroU32::new(1 + lease as u32).map(User)
}

/// A hold that this process did not grant, with this lease in milliseconds from now on.
pub fn inherited(client: Client, fence: Fence, lease: u64, now: Now) -> Hold {
    let (expires_at, since) = (now.steady + Millis(lease), now.steady);
    let terms = Terms::new(Millis(lease), Origin::Inherited);
    Hold { owner: client.owner(), fence, expires_at, since, terms, session: None }
}

/// Closes the n-th connection and opens another one in its place. No number is used twice.
pub fn reconnect(sessions: &mut [Session], n: usize) {
    let next = sessions.iter().map(|session| session.0.get()).max().unwrap() + 1;
    sessions[n] = session(next);
}

impl Harness {
    /// A free lock.
    pub fn new() -> Harness {
        Harness {
            holders: Holders::Free,
            queue: WaitQueue::default(),
            fences: FenceClock::new(),
            now: START,
            next_ticket: 1,
            in_flight: Vec::new(),
            sessions: (1..=CONNECTIONS as u64).map(session).collect(),
            denied: BTreeSet::new(),
            record: invariants::Record::default(),
        }
    }

    /// The hold of this client's owner, expired or not, with its id and its mode.
    pub fn held(&self, client: Client) -> Option<(HoldId, Mode, Hold)> {
        self.holders.of(client.owner().borrow()).map(|(id, mode, hold)| (id, mode, hold.clone()))
    }

    /// The ticket of the n-th waiter in the queue, counted from 0.
    pub fn nth(&self, n: usize) -> Option<Ticket> {
        self.queue.iter().nth(n).map(|(ticket, _)| ticket)
    }

    /// The connection that this option binds a hold to.
    pub fn session_of(&self, session_option: SessionOption) -> Option<Session> {
        match session_option {
            SessionOption::NoSession => None,
            SessionOption::OnConnection(n) => Some(self.sessions[n]),
        }
    }

    /// Whether this connection has closed.
    pub fn is_closed(&self, session: Session) -> bool {
        !self.sessions.contains(&session)
    }

    /// Whether the connection that the answer is sent on is open, as far as it is known.
    fn is_deliverable(&self, answer: &AnswerInFlight) -> bool {
        answer.session.is_none_or(|session| !self.is_closed(session))
    }

    /// Asks the rules whether the first waiter need not wait any longer.
    pub fn has_servable_waiter(&self) -> bool {
        let (mut holders, mut queue, mut fences) = (self.holders.clone(), self.queue.clone(), self.fences.clone());
        let (mut denied, mut effects) = (self.denied.clone(), Vec::new());
        let (holders, queue, fences) = (&mut holders, &mut queue, &mut fences);
        let (rights, effects) = (&mut denied, &mut effects);
        Step { holders, queue, fences, holders_max: HOLDERS_MAX, may_grant: true, now: self.now, rights, effects }
            .has_servable_waiter()
    }

    /// The value of the option FENCE.
    fn fence(&self, client: Client, fence_option: FenceOption) -> Option<Fence> {
        let first = || self.holders.iter().next().map(|(_, hold)| hold.fence);
        match fence_option {
            FenceOption::NoFence => None,
            FenceOption::Right => self.held(client).map(|(id, ..)| id.fence).or_else(first).or(Some(Fence::MAX)),
            FenceOption::Wrong => Some(Fence::MAX),
        }
    }

    /// The value of the option RAISE.
    fn raise(&self, raise_option: RaiseOption) -> Option<Fence> {
        match raise_option {
            RaiseOption::NoRaise => None,
            RaiseOption::RaiseBelow => Fence::new(1),
            RaiseOption::RaiseToLargest => self.holders.iter().last().map(|(_, hold)| hold.fence),
            RaiseOption::RaiseAbove => {
                Fence::new(self.fences.last().map_or(0, Fence::get).max(self.now.unix.0) + 1_000)
            }
        }
    }

    /// Applies an event, and panics unless every invariant holds afterwards.
    pub fn step(&mut self, event: Event) -> Outcome {
        let before = self.clone();
        let step = self.step_unchecked(event);
        invariants::check(&before, event, &step, self);
        step
    }

    /// Applies an event without checking anything.
    pub fn step_unchecked(&mut self, event: Event) -> Outcome {
        let mut effects = Vec::new();
        let sessions: Vec<_> = self.queue.iter().map(|(ticket, waiter)| (ticket, waiter.request.session)).collect();
        let returned = self.apply(event, &mut effects);
        self.end_holds_of_closed_sessions(&mut effects);
        for effect in &effects {
            if let Effect::Answer(ticket, Answer::Granted(hold)) = effect {
                let session = sessions.iter().find(|(theirs, _)| theirs == ticket).and_then(|(_, session)| *session);
                self.in_flight.push(AnswerInFlight { ticket: *ticket, hold: *hold, session });
            }
        }
        Outcome { returned, effects }
    }

    /// Applies an event. Its effects are appended to `effects`.
    fn apply(&mut self, event: Event, effects: &mut Vec<Effect>) -> Returned {
        match event {
            Event::Try(client, mode_option, lease, session_option) => {
                self.acquire((client, mode_option, lease, session_option), Wait::No, effects)
            }
            Event::Wait(client, mode_option, lease, session_option, timeout) => {
                let until = (timeout > 0).then(|| self.now.steady + Millis(timeout));
                let wait = Wait::Join { ticket: Ticket(self.next_ticket), until };
                let returned = self.acquire((client, mode_option, lease, session_option), wait, effects);
                self.next_ticket += u64::from(returned == Returned::Acquired(Acquired::Waits));
                returned
            }
            Event::Release(client, fence_option) => {
                let fence = self.fence(client, fence_option);
                Returned::Released(self.rules(effects).release(client.owner().borrow(), fence, None))
            }
            Event::Cool(client, fence_option, length) => {
                let (fence, length) = (self.fence(client, fence_option), Some(Millis(length)));
                Returned::Released(self.rules(effects).release(client.owner().borrow(), fence, length))
            }
            Event::Downgrade(client, fence_option) => {
                let fence = self.fence(client, fence_option);
                Returned::Held(self.rules(effects).downgrade(client.owner().borrow(), fence))
            }
            Event::Extend(client, lease, fence_option, raise_option) => {
                let (fence, raise) = (self.fence(client, fence_option), self.raise(raise_option));
                let (owner, lease) = (client.owner(), (lease > 0).then_some(Millis(lease)));
                Returned::Held(self.rules(effects).extend(Extend { owner: owner.borrow(), lease, fence, raise }))
            }
            Event::Undelivered(n) if n < self.in_flight.len() => {
                let AnswerInFlight { ticket, hold, .. } = self.in_flight.remove(n);
                self.rules(effects).undelivered(hold, ticket);
                Returned::Nothing
            }
            Event::Undelivered(_) => Returned::Nothing,
            Event::Close(n) => {
                self.close(n, effects);
                Returned::Nothing
            }
            Event::Advance => {
                self.rules(effects).advance();
                Returned::Nothing
            }
            Event::RunTimer => {
                self.time_out_waiters(effects);
                self.rules(effects).reconcile();
                Returned::Nothing
            }
            Event::Leave(_) | Event::Delivered(_) | Event::PassTime(_) | Event::SetWallClock(_) | Event::Remove => {
                self.apply_without_step(event)
            }
            Event::Restore(..) | Event::Deny(_) | Event::Allow(_) => self.apply_without_step(event),
        }
    }

    /// Applies an event that makes the lock take no step.
    fn apply_without_step(&mut self, event: Event) -> Returned {
        match event {
            Event::PassTime(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
            }
            Event::SetWallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Leave(n) => {
                self.nth(n).map(|ticket| self.queue.leave(ticket));
            }
            // Nothing can be delivered on a closed connection.
            Event::Delivered(n) if self.in_flight.get(n).is_some_and(|answer| self.is_deliverable(answer)) => {
                let AnswerInFlight { ticket, hold, .. } = self.in_flight.remove(n);
                self.queue.delivered(hold, ticket);
            }
            Event::Delivered(_) => {}
            Event::Remove => self.holders = Holders::Free,
            Event::Deny(lease) => self.denied.extend(user(lease)),
            Event::Allow(lease) => self.denied.retain(|denied| Some(*denied) != user(lease)),
            Event::Restore(client, mode_option, lease) => {
                let fence = Fence::new(self.fences.last().map_or(0, Fence::get) + 5).unwrap();
                self.fences.observe(fence);
                if !(self.holders.admit(mode_option.mode()) && self.holders.len() < HOLDERS_MAX) {
                    self.holders = Holders::Free;
                }
                self.holders.put(mode_option.mode(), inherited(client, fence, lease, self.now));
            }
            _ => unreachable!("{event:?} is for the rules"),
        }
        Returned::Nothing
    }

    /// Asks for the lock.
    fn acquire(
        &mut self,
        asked: (Client, ModeOption, u64, SessionOption),
        wait: Wait,
        effects: &mut Vec<Effect>,
    ) -> Returned {
        let (client, mode_option, lease, session_option) = asked;
        let (owner, session) = (client.owner(), self.session_of(session_option));
        let (mode, lease, user) = (mode_option.mode(), Millis(lease), user(lease));
        let (max, delay) = (mode_option.max(), mode_option.delay());
        let asked = Request { owner: owner.borrow(), mode, lease, max, delay, session, user };
        Returned::Acquired(self.rules(effects).acquire(asked, wait))
    }

    /// Closes the n-th connection: its waiters leave the queue, and holds that are bound to it end.
    fn close(&mut self, n: usize, effects: &mut Vec<Effect>) {
        let closed = self.sessions[n];
        reconnect(&mut self.sessions, n);
        let theirs = |(_, waiter): &(Ticket, &Waiter)| waiter.request.session == Some(closed);
        let leaving: Vec<_> = self.queue.iter().filter(theirs).map(|(ticket, _)| ticket).collect();
        for ticket in leaving {
            self.queue.leave(ticket);
        }
        for client in Client::ALL {
            self.rules(effects).close(client.owner().borrow(), closed);
        }
    }

    /// Ends holds that were bound to a connection after it had closed, as the engine does after every step.
    fn end_holds_of_closed_sessions(&mut self, effects: &mut Vec<Effect>) {
        for client in Client::ALL {
            let session = self.held(client).and_then(|(.., hold)| hold.session);
            if let Some(closed) = session.filter(|session| self.is_closed(*session)) {
                self.rules(effects).close(client.owner().borrow(), closed);
            }
        }
    }

    /// Answers the waiters whose waits have timed out, as the engine's timer does.
    fn time_out_waiters(&mut self, effects: &mut Vec<Effect>) {
        let steady = self.now.steady;
        let timed_out: Vec<_> =
            self.queue.iter().filter(|(_, waiter)| waiter.has_timed_out(steady)).map(|(t, _)| t).collect();
        for ticket in timed_out {
            self.queue.leave(ticket);
            effects.push(Effect::Answer(ticket, Answer::TimedOut));
        }
    }

    /// A step of the lock at the present time.
    fn rules<'a>(&'a mut self, effects: &'a mut Vec<Effect>) -> Step<'a> {
        let Harness { holders, queue, fences, now, denied, .. } = self;
        Step { holders, queue, fences, holders_max: HOLDERS_MAX, may_grant: true, now: *now, rights: denied, effects }
    }

    /// Lets all waits and leases run out. Panics unless every waiter is answered by then and nothing of the lock is
    /// left.
    pub fn drain(&mut self) {
        while !(self.queue.is_empty() && self.holders == Holders::Free) {
            self.step(Event::PassTime(1_000_000));
            self.step(Event::RunTimer);
        }
        while !self.in_flight.is_empty() {
            self.step(Event::Undelivered(0));
        }
        assert!(self.record.waiting.is_empty(), "waiters that were never answered: {:?}", self.record.waiting);
        assert!(self.queue.is_idle());
    }
}
