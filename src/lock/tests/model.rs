//! A second lock, written from the contract alone and in the plainest way: one list of everybody who ever asked to wait,
//! searched from the front. The rules are compared with it.

use std::collections::BTreeMap;

use super::*;

/// What became of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Waits,
    Granted(Fence),
    Null,
    Left,
}

#[derive(Clone, Debug)]
struct Asked {
    ticket: Ticket,
    who: Who,
    lease_ms: u64,
    until: Option<Steady>,
    fate: Fate,
}

/// What runs now. The waiters that were told of it and may be gone are `told`; `known` once the owner has it for sure.
#[derive(Clone, Debug)]
struct Running {
    who: Who,
    fence: u64,
    end: Steady,
    lease_ms: u64,
    inherited: bool,
    told: Vec<Ticket>,
    known: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    running: Option<Running>,
    asked: Vec<Asked>,
    last_fence: u64,
    now: Now,
}

impl Model {
    pub fn new() -> Model {
        Model { running: None, asked: Vec::new(), last_fence: 0, now: START }
    }

    /// Owner, fence, end, lease.
    pub fn held(&self) -> Option<(Who, u64, Steady, u64)> {
        self.running.as_ref().map(|hold| (hold.who, hold.fence, hold.end, hold.lease_ms))
    }

    pub fn fates(&self) -> BTreeMap<Ticket, Fate> {
        self.asked.iter().map(|asked| (asked.ticket, asked.fate)).collect()
    }

    /// Lets it happen. `ticket` is whom the event is about: the one who would wait, left, or was (not) reached.
    pub fn step(&mut self, event: Event, ticket: Option<Ticket>) -> Told {
        match event {
            Event::Pass(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
                return Told::Nothing;
            }
            Event::WallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Remove => self.running = None,
            Event::Put(who, lease_ms) => {
                self.last_fence += 5;
                let (fence, end) = (self.last_fence, self.now.steady + Millis(lease_ms));
                let (told, known) = (Vec::new(), true);
                self.running = Some(Running { who, fence, end, lease_ms, inherited: true, told, known });
            }
            Event::Leave(_) => self.put_fate(ticket, Fate::Left),
            Event::Delivered(_) => {
                if let Some(hold) = self.told_of(ticket) {
                    hold.known = true;
                }
            }
            _ => return self.request(event, ticket),
        }
        Told::Nothing
    }

    fn request(&mut self, event: Event, ticket: Option<Ticket>) -> Told {
        if ticket.is_none() && matches!(event, Event::Undelivered(_)) {
            return Told::Nothing;
        }
        // What the request names, it names before anything changes.
        let right = self.running.as_ref().map(|hold| hold.fence);
        let above_all = self.last_fence.max(self.now.unix.0) + 1_000;
        self.serve();
        let names_hold = |hold: &Running, tag: Tag| match tag {
            Tag::Any => true,
            Tag::Right => Some(hold.fence) == right,
            Tag::Wrong => false,
        };
        match event {
            Event::Try(who, lease_ms) => Told::Acquired(self.acquire(who, lease_ms, None)),
            Event::Wait(who, lease_ms, patience) => {
                let until = (patience > 0).then(|| self.now.steady + Millis(patience));
                Told::Acquired(self.acquire(who, lease_ms, ticket.map(|ticket| (ticket, until))))
            }
            Event::Release(who, tag) => {
                let held = self.running.as_ref().is_some_and(|hold| hold.who == who && names_hold(hold, tag));
                Told::Held(if held || tag == Tag::Any { self.release(who) } else { false })
            }
            Event::Extend(who, lease_ms, tag, lift) => {
                let held = self.running.as_ref().is_some_and(|hold| hold.who == who && names_hold(hold, tag));
                Told::Held(held && self.extend(lease_ms, (lift == Lift::High).then_some(above_all)))
            }
            Event::Undelivered(_) => {
                self.undelivered(ticket);
                Told::Nothing
            }
            Event::Ring => {
                self.stop_waiting_for_oneself();
                Told::Nothing
            }
            _ => unreachable!("{event:?} is no request"),
        }
    }

    /// Whatever is over is over, and a free lock goes to the first who still waits, together with all that its owner
    /// asked for; the longest lease counts.
    fn serve(&mut self) {
        let now = self.now.steady;
        self.running.take_if(|hold| hold.end <= now);
        for asked in &mut self.asked {
            if asked.fate == Fate::Waits && asked.until.is_some_and(|until| until <= now) {
                asked.fate = Fate::Null;
            }
        }
        if self.running.is_some() {
            return;
        }
        let Some(first) = self.asked.iter().find(|asked| asked.fate == Fate::Waits) else { return };
        let who = first.who;
        let theirs = |asked: &&mut Asked| asked.fate == Fate::Waits && asked.who == who;
        let lease_ms = self.asked.iter_mut().filter(theirs).map(|asked| asked.lease_ms).max().unwrap();
        let fence = self.grant(who, lease_ms);
        let mut told = Vec::new();
        for asked in self.asked.iter_mut().filter(theirs) {
            asked.fate = Fate::Granted(fence);
            told.push(asked.ticket);
        }
        let hold = self.running.as_mut().unwrap();
        (hold.told, hold.known) = (told, false);
    }

    fn grant(&mut self, who: Who, lease_ms: u64) -> Fence {
        let fence = self.draw();
        let end = self.now.steady + Millis(lease_ms);
        let (told, known) = (Vec::new(), true);
        self.running = Some(Running { who, fence, end, lease_ms, inherited: false, told, known });
        Fence::new(fence).unwrap()
    }

    /// `last = max(last + 1, unix time in microseconds)`
    fn draw(&mut self) -> u64 {
        self.last_fence = (self.last_fence + 1).max(self.now.unix.0);
        self.last_fence
    }

    fn acquire(&mut self, who: Who, lease_ms: u64, wait: Option<(Ticket, Option<Steady>)>) -> Acquired {
        if self.running.as_ref().is_some_and(|hold| hold.who == who) {
            return Acquired::Granted(self.ask_again(lease_ms));
        }
        match wait {
            _ if self.running.is_none() => Acquired::Granted(self.grant(who, lease_ms)),
            None => Acquired::Refused,
            Some((ticket, until)) => {
                self.asked.push(Asked { ticket, who, lease_ms, until, fate: Fate::Waits });
                Acquired::Waits
            }
        }
    }

    fn ask_again(&mut self, lease_ms: u64) -> Fence {
        let end = self.now.steady + Millis(lease_ms);
        let new_fence = self.running.as_ref().unwrap().inherited.then(|| self.draw());
        let hold = self.running.as_mut().unwrap();
        hold.known = true;
        if end > hold.end {
            (hold.end, hold.lease_ms) = (end, lease_ms);
        }
        if let Some(new_fence) = new_fence {
            (hold.fence, hold.inherited) = (new_fence, false);
        }
        Fence::new(hold.fence).unwrap()
    }

    fn release(&mut self, who: Who) -> bool {
        for asked in &mut self.asked {
            if asked.fate == Fate::Waits && asked.who == who {
                asked.fate = Fate::Null;
            }
        }
        let held = self.running.take_if(|hold| hold.who == who).is_some();
        self.serve();
        held
    }

    fn extend(&mut self, lease_ms: u64, raise: Option<u64>) -> bool {
        let hold = self.running.as_mut().unwrap();
        if lease_ms > 0 {
            hold.lease_ms = lease_ms;
        }
        hold.end = self.now.steady + Millis(hold.lease_ms);
        hold.known = true;
        if let Some(raise) = raise {
            hold.fence = raise;
            self.last_fence = raise;
        }
        true
    }

    /// The hold goes to the next one when none of those who were told of it could be reached, and its owner never spoke.
    fn undelivered(&mut self, ticket: Option<Ticket>) {
        if let Some(hold) = self.told_of(ticket) {
            hold.told.retain(|told| Some(*told) != ticket);
            if hold.told.is_empty() && !hold.known {
                self.running = None;
                self.serve();
            }
        }
    }

    /// A lock that was put there by somebody may be held by one who waits for it.
    fn stop_waiting_for_oneself(&mut self) {
        let Some(who) = self.running.as_ref().map(|hold| hold.who) else { return };
        for n in 0..self.asked.len() {
            let Asked { who: asker, fate, lease_ms, .. } = self.asked[n];
            if fate == Fate::Waits && asker == who {
                self.asked[n].fate = Fate::Granted(self.ask_again(lease_ms));
            }
        }
    }

    fn told_of(&mut self, ticket: Option<Ticket>) -> Option<&mut Running> {
        self.running.as_mut().filter(|hold| ticket.is_some_and(|ticket| hold.told.contains(&ticket)))
    }

    fn put_fate(&mut self, ticket: Option<Ticket>, fate: Fate) {
        for asked in self.asked.iter_mut().filter(|asked| Some(asked.ticket) == ticket && asked.fate == Fate::Waits) {
            asked.fate = fate;
        }
    }
}
