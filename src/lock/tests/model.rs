//! A second lock, written from the contract alone and in the plainest way: a list of those who hold, a list of those
//! who wait, both searched from the front. The rules are compared with it.

use super::bench::{reconnect, session, user, CONNECTIONS, HOLDERS_MAX, START};
use super::*;

mod requests;

/// How many waiters a step serves.
const SERVED_MAX: usize = 2;

/// A request that was told of a hold, and may still turn out to be gone.
#[derive(Clone, Debug)]
struct Reached {
    ticket: Ticket,
    session: Option<Session>,
    for_sure: bool,
}

/// One who holds.
#[derive(Clone, Debug)]
pub struct Holding {
    pub who: Who,
    pub id: HoldId,
    pub mode: Mode,
    pub hold: Hold,
    /// Empty once it is for sure that the owner knows.
    reached: Vec<Reached>,
}

impl Holding {
    fn is_on_its_way_to(&self, session: Session) -> bool {
        self.reached.iter().any(|reached| reached.session == Some(session) && !reached.for_sure)
    }
}

#[derive(Clone, Debug)]
pub struct Model {
    pub holding: Vec<Holding>,
    pub waiting: Vec<(Ticket, Waiter)>,
    last_fence: u64,
    now: Now,
    sessions: Vec<Session>,
    denied: Vec<User>,
    effects: Vec<Effect>,
}

/// Who holds, by owner: in the order of their names.
fn place(holding: &[Holding], who: Who) -> Option<usize> {
    holding.iter().position(|holding| holding.who == who)
}

impl Model {
    pub fn new() -> Model {
        let sessions = (1..=CONNECTIONS as u64).map(session).collect();
        let (holding, waiting, effects) = (Vec::new(), Vec::new(), Vec::new());
        Model { holding, waiting, last_fence: 0, now: START, sessions, denied: Vec::new(), effects }
    }

    /// Whether nothing is left to remember.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.holding.iter().all(|holding| holding.reached.is_empty())
    }

    /// Lets it happen. `ticket` is whom the event is about: the one who would wait, left, or was (not) reached.
    pub fn step(&mut self, event: Event, ticket: Option<Ticket>) -> (Returned, Vec<Effect>) {
        let returned = self.happen(event, ticket);
        for who in Who::ALL {
            let bound_to = place(&self.holding, who).and_then(|n| self.holding[n].hold.session);
            if let Some(gone) = bound_to.filter(|session| !self.sessions.contains(session)) {
                self.close(who, gone);
            }
        }
        (returned, std::mem::take(&mut self.effects))
    }

    fn happen(&mut self, event: Event, ticket: Option<Ticket>) -> Returned {
        match event {
            Event::Pass(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
            }
            Event::WallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Remove => self.holding.clear(),
            Event::Deny(lease) => self.denied.extend(user(lease)),
            Event::Allow(lease) => self.denied.retain(|denied| user(lease) != Some(*denied)),
            Event::Put(who, how, lease_ms) => self.put_back(who, how, lease_ms),
            Event::Leave(_) => self.waiting.retain(|(theirs, _)| Some(*theirs) != ticket),
            Event::Delivered(_) => self.delivered(ticket),
            Event::Undelivered(_) if ticket.is_none() => {}
            Event::Undelivered(_) => self.undelivered(ticket),
            Event::Close(n) => {
                let gone = self.sessions[n];
                reconnect(&mut self.sessions, n);
                self.waiting.retain(|(_, waiter)| waiter.request.session != Some(gone));
                Who::ALL.into_iter().for_each(|who| self.close(who, gone));
            }
            Event::Serve => self.serve(),
            Event::Ring => self.ring(),
            Event::Try(..) | Event::Wait(..) => return Returned::Acquired(self.acquire(event, ticket)),
            Event::Release(..) | Event::Downgrade(..) | Event::Extend(..) => {
                return Returned::Held(self.request(event))
            }
        }
        Returned::Nothing
    }

    /// Whatever is over is over, the first end first. Then the queue is served: nobody before the one who came before.
    fn serve(&mut self) {
        let now = self.now.steady;
        while let Some(over) =
            self.holding.iter().filter(|h| h.hold.expires_at <= now).min_by_key(|h| (h.hold.expires_at, h.id))
        {
            self.end(over.who, End::Expired);
        }
        for _ in 0..SERVED_MAX {
            let Some((ticket, first)) = self.waiting.first().cloned() else { return };
            if first.has_timed_out(now) {
                self.waiting.remove(0);
                self.effects.push(Effect::Answer(ticket, Answer::TimedOut));
            } else if self.may_enter(first.request.mode) && self.holding.len() < HOLDERS_MAX {
                self.let_in(&first);
            } else {
                return;
            }
        }
    }

    /// Grants what `first` asks for, and with it what else its owner asked for; what this does not satisfy is refused.
    fn let_in(&mut self, first: &Waiter) {
        let who = Who::of(&first.request.owner);
        if let Some(n) = place(&self.holding, who) {
            let theirs = self.take_of(who);
            return self.answer_with(n, theirs);
        }
        if self.is_denied(first) {
            let (ticket, _) = self.waiting.remove(0);
            return self.effects.push(Effect::Answer(ticket, Answer::NoPermission));
        }
        let theirs = self.take_of(who);
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
        let id = self.grant(who, first.request.mode, lease, session, first.request.user, Some(first.since));
        let reached = served.iter().map(|(t, w)| Reached { ticket: *t, session: w.request.session, for_sure: false });
        self.holding.last_mut().unwrap().reached = reached.collect();
        for (ticket, _) in served {
            self.effects.push(Effect::Answer(ticket, Answer::Granted(id)));
        }
    }

    /// Answers the requests of one who holds.
    fn answer_with(&mut self, n: usize, theirs: Vec<(Ticket, Waiter)>) {
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

    /// A user that may not ask any more is granted nothing that it asked for before.
    fn is_denied(&self, waiter: &Waiter) -> bool {
        waiter.request.user.is_some_and(|user| self.denied.contains(&user))
    }

    fn take_of(&mut self, who: Who) -> Vec<(Ticket, Waiter)> {
        let waiting = std::mem::take(&mut self.waiting);
        let (theirs, others) = waiting.into_iter().partition(|(_, waiter)| Who::of(&waiter.request.owner) == who);
        self.waiting = others;
        theirs
    }

    /// One exclusive holder, or fewer shared ones than the smallest limit of theirs and the asker's.
    fn may_enter(&self, asked: Mode) -> bool {
        let mut modes = self.holding.iter().map(|holding| holding.mode).chain([asked]);
        if self.holding.is_empty() {
            return true;
        }
        modes.all(|mode| match mode {
            Mode::Exclusive => false,
            Mode::Shared(limit) => limit.is_none_or(|limit| self.holding.len() < limit.get() as usize),
        })
    }

    fn grant(
        &mut self,
        who: Who,
        mode: Mode,
        lease: Millis,
        session: Option<Session>,
        user: Option<User>,
        waited_since: Option<Steady>,
    ) -> HoldId {
        let (fence, since, origin) = (self.draw(), self.now.steady, Origin::Granted);
        let hold = Hold { owner: who.owner(), fence, expires_at: since + lease, lease, since, origin, session, user };
        let id = HoldId { fence, nth: 0 };
        self.holding.push(Holding { who, id, mode, hold, reached: Vec::new() });
        self.effects.push(Effect::Granted(id, waited_since));
        id
    }

    /// `last = max(last + 1, unix time in microseconds)`
    fn draw(&mut self) -> Fence {
        self.last_fence = (self.last_fence + 1).max(self.now.unix.0);
        Fence::new(self.last_fence).unwrap()
    }

    fn acquire(&mut self, event: Event, ticket: Option<Ticket>) -> Acquired {
        let (who, how, lease, bound, patience) = match event {
            Event::Try(who, how, lease, bound) => (who, how, lease, bound, None),
            Event::Wait(who, how, lease, bound, patience) => (who, how, lease, bound, Some(patience)),
            _ => unreachable!(),
        };
        self.serve();
        let (mode, lease, user) = (how.mode(), Millis(lease), user(lease));
        let session = match bound {
            Bound::Loose => None,
            Bound::To(n) => Some(self.sessions[n]),
        };
        if let Some(n) = place(&self.holding, who) {
            if mode == Mode::Exclusive && self.holding[n].mode != Mode::Exclusive {
                return Acquired::MustRelease;
            }
            return Acquired::Granted(self.reacquire(n, lease, session, user).fence);
        }
        if self.waiting.is_empty() && self.may_enter(mode) {
            if self.holding.len() >= HOLDERS_MAX {
                return Acquired::Full;
            }
            return Acquired::Granted(self.grant(who, mode, lease, session, user, None).fence);
        }
        let Some(patience) = patience else { return Acquired::Refused };
        let since = self.now.steady;
        let until = (patience > 0).then(|| since + Millis(patience));
        let waiter =
            Waiter { request: Request { owner: who.owner().into(), mode, lease, session, user }, since, until };
        self.waiting.push((ticket.unwrap(), waiter));
        Acquired::Waits
    }

    /// The same fence, unless it was taken over; the later end; the session of the last who asked.
    fn reacquire(&mut self, n: usize, lease: Millis, session: Option<Session>, user: Option<User>) -> HoldId {
        let (end, mut changed) = (self.now.steady + lease, false);
        if self.holding[n].hold.origin == Origin::Inherited {
            let fence = self.draw();
            (self.holding[n].hold.fence, self.holding[n].hold.origin, changed) = (fence, Origin::Granted, true);
            self.holding[n].id = HoldId { fence, nth: 0 };
        }
        let Holding { id, hold, reached, .. } = &mut self.holding[n];
        reached.clear();
        if end > hold.expires_at {
            (hold.expires_at, hold.lease, changed) = (end, lease, true);
        }
        if hold.user.is_none() {
            hold.user = user;
        }
        let id = *id;
        self.effects.extend(changed.then_some(Effect::Changed(id, HoldChange::Reacquired)));
        self.rebind(n, session);
        id
    }

    fn rebind(&mut self, n: usize, session: Option<Session>) {
        let Holding { id, hold, .. } = &mut self.holding[n];
        let before = std::mem::replace(&mut hold.session, session);
        self.effects.extend((before != session).then(|| Effect::Rebound(*id, hold.owner.clone(), before)));
    }

    fn end(&mut self, who: Who, why: End) {
        if let Some(n) = place(&self.holding, who) {
            self.effects.push(Effect::Ended(self.holding.remove(n).hold, why));
        }
    }
}
