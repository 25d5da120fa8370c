//! One lock, what its surroundings know of it, and everything that can happen to it.

use std::collections::BTreeSet;
use std::num::{NonZeroU32, NonZeroU64};

use super::*;

/// What a request was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    Nothing,
    Acquired(Acquired),
    Held(bool),
}

/// What one event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub returned: Returned,
    pub effects: Vec<Effect>,
}

/// An answer "granted" that has not arrived yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    pub ticket: Ticket,
    pub hold: HoldId,
    /// The connection it goes to, if the hold was to end with it.
    pub session: Option<Session>,
}

/// One lock, and what its surroundings know of it.
#[derive(Clone, Debug)]
pub struct Bench {
    pub holders: Holders,
    pub queue: WaitQueue,
    pub fences: FenceClock,
    pub now: Now,
    pub next_ticket: u64,
    pub flying: Vec<Flight>,
    /// The connections that are open.
    pub sessions: Vec<Session>,
    /// Who may not ask any more.
    pub denied: BTreeSet<User>,
    pub record: invariants::Record,
}

/// What both the rules and the model begin with.
pub const START: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };
/// One fewer than there are owners.
pub const HOLDERS_MAX: usize = 3;
/// How many connections are open at any time.
pub const CONNECTIONS: usize = 2;

pub fn session(number: u64) -> Session {
    Session(NonZeroU64::new(number).unwrap())
}

/// Requests for different leases come from different users.
pub fn user(lease: u64) -> Option<User> {
    NonZeroU32::new(1 + lease as u32).map(User)
}

/// A hold that this process did not grant.
pub fn inherited(who: Who, fence: Fence, lease: u64, now: Now) -> Hold {
    let (expires_at, since) = (now.steady + Millis(lease), now.steady);
    let (origin, session, user) = (Origin::Inherited, None, None);
    Hold { owner: who.owner(), fence, expires_at, lease: Millis(lease), since, origin, session, user }
}

/// The connections that are open after the n-th closed: a number is given once.
pub fn reconnect(sessions: &mut [Session], n: usize) {
    let next = sessions.iter().map(|session| session.0.get()).max().unwrap() + 1;
    sessions[n] = session(next);
}

impl Bench {
    /// A free lock.
    pub fn new() -> Bench {
        Bench {
            holders: Holders::Free,
            queue: WaitQueue::default(),
            fences: FenceClock::new(),
            now: START,
            next_ticket: 1,
            flying: Vec::new(),
            sessions: (1..=CONNECTIONS as u64).map(session).collect(),
            denied: BTreeSet::new(),
            record: invariants::Record::default(),
        }
    }

    /// The hold of an owner, and what it is called.
    pub fn held(&self, who: Who) -> Option<(HoldId, Mode, Hold)> {
        self.holders.of(who.owner().borrow()).map(|(id, mode, hold)| (id, mode, hold.clone()))
    }

    /// The ticket of the n-th in the queue.
    pub fn nth(&self, n: usize) -> Option<Ticket> {
        self.queue.iter().nth(n).map(|(ticket, _)| ticket)
    }

    pub fn session_of(&self, bound: Bound) -> Option<Session> {
        match bound {
            Bound::Loose => None,
            Bound::To(n) => Some(self.sessions[n]),
        }
    }

    pub fn is_closed(&self, session: Session) -> bool {
        !self.sessions.contains(&session)
    }

    fn is_reached(&self, flight: &Flight) -> bool {
        flight.session.is_none_or(|session| !self.is_closed(session))
    }

    pub fn has_servable_waiter(&self) -> bool {
        let (mut holders, mut queue, mut fences) = (self.holders.clone(), self.queue.clone(), self.fences.clone());
        let (mut denied, mut effects) = (self.denied.clone(), Vec::new());
        let (holders, queue, fences) = (&mut holders, &mut queue, &mut fences);
        let (rights, effects) = (&mut denied, &mut effects);
        Step { holders, queue, fences, holders_max: HOLDERS_MAX, now: self.now, rights, effects }.has_servable_waiter()
    }

    fn fence(&self, who: Who, tag: Tag) -> Option<Fence> {
        let first = || self.holders.iter().next().map(|(_, hold)| hold.fence);
        match tag {
            Tag::Any => None,
            Tag::Right => self.held(who).map(|(id, ..)| id.fence).or_else(first).or(Some(Fence::MAX)),
            Tag::Wrong => Some(Fence::MAX),
        }
    }

    fn lift(&self, lift: Lift) -> Option<Fence> {
        match lift {
            Lift::No => None,
            Lift::Low => Fence::new(1),
            Lift::Same => self.holders.iter().last().map(|(_, hold)| hold.fence),
            Lift::High => Fence::new(self.fences.last().map_or(0, Fence::get).max(self.now.unix.0) + 1_000),
        }
    }

    /// Lets it happen, and checks every invariant.
    pub fn step(&mut self, event: Event) -> Outcome {
        let before = self.clone();
        let step = self.unchecked(event);
        invariants::check(&before, event, &step, self);
        step
    }

    /// Lets it happen.
    pub fn unchecked(&mut self, event: Event) -> Outcome {
        let mut effects = Vec::new();
        let sessions: Vec<_> = self.queue.iter().map(|(ticket, waiter)| (ticket, waiter.request.session)).collect();
        let returned = self.happen(event, &mut effects);
        self.close_gone(&mut effects);
        for effect in &effects {
            if let Effect::Answer(ticket, Answer::Granted(hold)) = effect {
                let session = sessions.iter().find(|(theirs, _)| theirs == ticket).and_then(|(_, session)| *session);
                self.flying.push(Flight { ticket: *ticket, hold: *hold, session });
            }
        }
        Outcome { returned, effects }
    }

    fn happen(&mut self, event: Event, effects: &mut Vec<Effect>) -> Returned {
        match event {
            Event::Try(who, how, lease, bound) => self.acquire((who, how, lease, bound), Wait::No, effects),
            Event::Wait(who, how, lease, bound, patience) => {
                let until = (patience > 0).then(|| self.now.steady + Millis(patience));
                let wait = Wait::Join { ticket: Ticket(self.next_ticket), until };
                let returned = self.acquire((who, how, lease, bound), wait, effects);
                self.next_ticket += u64::from(returned == Returned::Acquired(Acquired::Waits));
                returned
            }
            Event::Release(who, tag) => {
                let fence = self.fence(who, tag);
                Returned::Held(self.rules(effects).release(who.owner().borrow(), fence))
            }
            Event::Downgrade(who, tag) => {
                let fence = self.fence(who, tag);
                Returned::Held(self.rules(effects).downgrade(who.owner().borrow(), fence))
            }
            Event::Extend(who, lease, tag, lift) => {
                let (fence, raise) = (self.fence(who, tag), self.lift(lift));
                let (owner, lease) = (who.owner(), (lease > 0).then_some(Millis(lease)));
                Returned::Held(self.rules(effects).extend(Extend { owner: owner.borrow(), lease, fence, raise }))
            }
            Event::Undelivered(n) if n < self.flying.len() => {
                let Flight { ticket, hold, .. } = self.flying.remove(n);
                self.rules(effects).undelivered(hold, ticket);
                Returned::Nothing
            }
            Event::Undelivered(_) => Returned::Nothing,
            Event::Close(n) => {
                self.close(n, effects);
                Returned::Nothing
            }
            Event::Serve => {
                self.rules(effects).advance();
                Returned::Nothing
            }
            Event::Ring => {
                self.run_out(effects);
                self.rules(effects).reconcile();
                Returned::Nothing
            }
            Event::Leave(_) | Event::Delivered(_) | Event::Pass(_) | Event::WallClock(_) | Event::Remove => {
                self.happen_outside(event)
            }
            Event::Put(..) | Event::Deny(_) | Event::Allow(_) => self.happen_outside(event),
        }
    }

    /// What the lock takes no turn for.
    fn happen_outside(&mut self, event: Event) -> Returned {
        match event {
            Event::Pass(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
            }
            Event::WallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Leave(n) => {
                self.nth(n).map(|ticket| self.queue.leave(ticket));
            }
            // To a connection that has closed nothing is delivered.
            Event::Delivered(n) if self.flying.get(n).is_some_and(|flight| self.is_reached(flight)) => {
                let Flight { ticket, hold, .. } = self.flying.remove(n);
                self.queue.delivered(hold, ticket);
            }
            Event::Delivered(_) => {}
            Event::Remove => self.holders = Holders::Free,
            Event::Deny(lease) => self.denied.extend(user(lease)),
            Event::Allow(lease) => self.denied.retain(|denied| Some(*denied) != user(lease)),
            Event::Put(who, how, lease) => {
                let fence = Fence::new(self.fences.last().map_or(0, Fence::get) + 5).unwrap();
                self.fences.observe(fence);
                if !(self.holders.admit(how.mode()) && self.holders.len() < HOLDERS_MAX) {
                    self.holders = Holders::Free;
                }
                self.holders.put(how.mode(), inherited(who, fence, lease, self.now));
            }
            _ => unreachable!("{event:?} is for the rules"),
        }
        Returned::Nothing
    }

    fn acquire(&mut self, asked: (Who, How, u64, Bound), wait: Wait, effects: &mut Vec<Effect>) -> Returned {
        let (who, how, lease, bound) = asked;
        let (owner, session) = (who.owner(), self.session_of(bound));
        let (mode, lease, user) = (how.mode(), Millis(lease), user(lease));
        let asked = Request { owner: owner.borrow(), mode, lease, session, user };
        Returned::Acquired(self.rules(effects).acquire(asked, wait))
    }

    /// Who waits there is gone, and whoever holds is looked at.
    fn close(&mut self, n: usize, effects: &mut Vec<Effect>) {
        let gone = self.sessions[n];
        reconnect(&mut self.sessions, n);
        let theirs = |(_, waiter): &(Ticket, &Waiter)| waiter.request.session == Some(gone);
        let leaving: Vec<_> = self.queue.iter().filter(theirs).map(|(ticket, _)| ticket).collect();
        for ticket in leaving {
            self.queue.leave(ticket);
        }
        for who in Who::ALL {
            self.rules(effects).close(who.owner().borrow(), gone);
        }
    }

    /// Holds that came to follow a connection which has closed, as the engine sees to them.
    fn close_gone(&mut self, effects: &mut Vec<Effect>) {
        for who in Who::ALL {
            let session = self.held(who).and_then(|(.., hold)| hold.session);
            if let Some(gone) = session.filter(|session| self.is_closed(*session)) {
                self.rules(effects).close(who.owner().borrow(), gone);
            }
        }
    }

    /// Waits that ran out, as the engine's timer sees to them.
    fn run_out(&mut self, effects: &mut Vec<Effect>) {
        let steady = self.now.steady;
        let over: Vec<_> =
            self.queue.iter().filter(|(_, waiter)| waiter.has_timed_out(steady)).map(|(t, _)| t).collect();
        for ticket in over {
            self.queue.leave(ticket);
            effects.push(Effect::Answer(ticket, Answer::TimedOut));
        }
    }

    fn rules<'a>(&'a mut self, effects: &'a mut Vec<Effect>) -> Step<'a> {
        let Bench { holders, queue, fences, now, denied, .. } = self;
        Step { holders, queue, fences, holders_max: HOLDERS_MAX, now: *now, rights: denied, effects }
    }

    /// Waits until everything is over: then everybody has been answered, and nothing is remembered.
    pub fn drain(&mut self) {
        while !(self.queue.is_empty() && self.holders == Holders::Free) {
            self.step(Event::Pass(1_000_000));
            self.step(Event::Ring);
        }
        while !self.flying.is_empty() {
            self.step(Event::Undelivered(0));
        }
        assert!(self.record.open.is_empty(), "never answered: {:?}", self.record.open);
        assert!(self.queue.is_idle());
    }
}
