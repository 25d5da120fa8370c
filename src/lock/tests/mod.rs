//! The rules without Redis: a table of single steps, every short sequence of events, and random long ones against a
//! second model.
//!
//! Here: the events that can happen to a lock, and a bench that lets them happen to one and hands every step to
//! [`invariants`].

mod exhaustive;
mod invariants;
mod model;
mod random;
mod table;

use super::line::Waiter;
use super::rules::End;
use super::*;

/// An owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    A,
    B,
    C,
}

impl Who {
    const ALL: [Who; 3] = [Who::A, Who::B, Who::C];

    fn owner(self) -> Owner {
        let name: &[u8] = match self {
            Who::A => b"A",
            Who::B => b"B",
            Who::C => b"C",
        };
        OwnerRef::new(name).unwrap().to_owner()
    }

    fn of(owner: &Owner) -> Who {
        *Who::ALL.iter().find(|who| who.owner() == *owner).unwrap()
    }
}

/// The FENCE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Left out.
    Any,
    /// That of the hold there is.
    Right,
    /// One that nobody bears.
    Wrong,
}

/// The RAISE of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lift {
    /// Left out.
    No,
    /// To a number below every fence.
    Low,
    /// To a number above every fence.
    High,
}

/// What can happen to a lock. Lengths are in milliseconds. Printed as it is written in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// ACQUIRE: owner, lease.
    Try(Who, u64),
    /// ACQUIRE with BLOCK: owner, lease, patience (0: without limit).
    Wait(Who, u64, u64),
    /// RELEASE.
    Release(Who, Tag),
    /// EXTEND: owner, lease (0: left out).
    Extend(Who, u64, Tag, Lift),
    /// The n-th in line is gone.
    Leave(usize),
    /// The n-th of the answers on their way arrived.
    Delivered(usize),
    /// The n-th of the answers on their way found nobody.
    Undelivered(usize),
    /// Time passes, and the timer does not ring.
    Pass(u64),
    /// Somebody sets the wall clock, by that much.
    WallClock(i64),
    /// The timer rings.
    Ring,
    /// An operator removes the key.
    Remove,
    /// A lock held by this owner for that long is restored over the key.
    Put(Who, u64),
}

/// What a request was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Acquired(Acquired),
    Held(bool),
}

/// What one event led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    told: Told,
    effects: Vec<Effect>,
}

/// One lock, and what its surroundings know of it.
#[derive(Clone, Debug)]
pub struct Bench {
    holders: Holders,
    line: Line,
    fences: FenceClock,
    now: Now,
    next_ticket: u64,
    /// Answers "granted" that have not arrived yet.
    flying: Vec<(Ticket, Fence)>,
    record: invariants::Record,
}

const START: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };

impl Bench {
    /// A free lock.
    fn new() -> Bench {
        Bench {
            holders: Holders::Free,
            line: Line::default(),
            fences: FenceClock::new(),
            now: START,
            next_ticket: 1,
            flying: Vec::new(),
            record: invariants::Record::default(),
        }
    }

    fn hold(&self) -> Option<&Hold> {
        self.holders.iter().next()
    }

    /// The ticket of the n-th in line.
    fn nth(&self, n: usize) -> Option<Ticket> {
        self.line.iter().nth(n).map(|(ticket, _)| ticket)
    }

    fn fence(&self, tag: Tag) -> Option<Fence> {
        match tag {
            Tag::Any => None,
            Tag::Right => self.hold().map(|hold| hold.fence).or(Some(Fence::MAX)),
            Tag::Wrong => Some(Fence::MAX),
        }
    }

    fn lift(&self, lift: Lift) -> Option<Fence> {
        match lift {
            Lift::No => None,
            Lift::Low => Fence::new(1),
            Lift::High => Fence::new(self.fences.last().map_or(0, Fence::get).max(self.now.unix.0) + 1_000),
        }
    }

    /// Lets it happen, and checks every invariant.
    fn step(&mut self, event: Event) -> Step {
        let before = self.clone();
        let step = self.unchecked(event);
        invariants::check(&before, event, &step, self);
        step
    }

    /// Lets it happen.
    fn unchecked(&mut self, event: Event) -> Step {
        let mut effects = Vec::new();
        let told = self.happen(event, &mut effects);
        for effect in &effects {
            if let Effect::Answer(ticket, Answer::Granted(fence)) = effect {
                self.flying.push((*ticket, *fence));
            }
        }
        Step { told, effects }
    }

    fn happen(&mut self, event: Event, effects: &mut Vec<Effect>) -> Told {
        let ticket = Ticket(self.next_ticket);
        match event {
            Event::Try(who, lease) => self.acquire(who, lease, Wait::No, effects),
            Event::Wait(who, lease, patience) => {
                let until = (patience > 0).then(|| self.now.steady + Millis(patience));
                let told = self.acquire(who, lease, Wait::Join { ticket, until }, effects);
                if told == Told::Acquired(Acquired::Waits) {
                    self.next_ticket += 1;
                }
                told
            }
            Event::Release(who, tag) => {
                let fence = self.fence(tag);
                Told::Held(self.turn(effects).release(who.owner().borrow(), fence))
            }
            Event::Extend(who, lease, tag, lift) => {
                let (fence, raise) = (self.fence(tag), self.lift(lift));
                let (owner, lease) = (who.owner(), (lease > 0).then_some(Millis(lease)));
                Told::Held(self.turn(effects).extend(Extend { owner: owner.borrow(), lease, fence, raise }))
            }
            Event::Undelivered(n) if n < self.flying.len() => {
                let (_, fence) = self.flying.remove(n);
                self.turn(effects).undelivered(fence);
                Told::Nothing
            }
            Event::Delivered(n) if n < self.flying.len() => {
                let (_, fence) = self.flying.remove(n);
                self.line.settle(fence);
                Told::Nothing
            }
            Event::Undelivered(_) | Event::Delivered(_) => Told::Nothing,
            Event::Leave(n) => {
                self.nth(n).map(|ticket| self.line.leave(ticket));
                Told::Nothing
            }
            Event::Ring => {
                self.run_out(effects);
                self.turn(effects).reconcile();
                Told::Nothing
            }
            Event::Pass(_) | Event::WallClock(_) | Event::Remove | Event::Put(..) => self.happen_outside(event),
        }
    }

    /// What neither comes to the rules nor asks them.
    fn happen_outside(&mut self, event: Event) -> Told {
        match event {
            Event::Pass(ms) => {
                self.now.steady = self.now.steady + Millis(ms);
                self.now.unix.0 += ms * 1000;
            }
            Event::WallClock(ms) => self.now.unix.0 = self.now.unix.0.saturating_add_signed(ms * 1000),
            Event::Remove => self.holders = Holders::Free,
            Event::Put(who, lease) => {
                let fence = Fence::new(self.fences.last().map_or(0, Fence::get) + 5).unwrap();
                self.fences.learn(fence);
                self.holders.put(Mode::Exclusive, inherited(who, fence, lease, self.now));
            }
            _ => unreachable!("{event:?} is for the rules"),
        }
        Told::Nothing
    }

    fn acquire(&mut self, who: Who, lease: u64, wait: Wait, effects: &mut Vec<Effect>) -> Told {
        let owner = who.owner();
        let asked = Acquire { owner: owner.borrow(), mode: Mode::Exclusive, lease: Millis(lease), wait };
        Told::Acquired(self.turn(effects).acquire(asked))
    }

    /// Waits that ran out, as the engine's timer sees to them.
    fn run_out(&mut self, effects: &mut Vec<Effect>) {
        let steady = self.now.steady;
        let over: Vec<_> = self.line.iter().filter(|(_, waiter)| waiter.is_over(steady)).map(|(t, _)| t).collect();
        for ticket in over {
            self.line.leave(ticket);
            effects.push(Effect::Answer(ticket, Answer::Null));
        }
    }

    fn turn<'a>(&'a mut self, effects: &'a mut Vec<Effect>) -> Turn<'a> {
        let Bench { holders, line, fences, now, .. } = self;
        Turn { holders, line, fences, now: *now, effects }
    }

    /// Waits until everything is over: then everybody has been answered, and nothing is remembered.
    fn drain(&mut self) {
        while self.line.len() > 0 || self.hold().is_some() {
            self.step(Event::Pass(1_000_000));
            self.step(Event::Ring);
        }
        while !self.flying.is_empty() {
            self.step(Event::Undelivered(0));
        }
        assert!(self.record.open.is_empty(), "never answered: {:?}", self.record.open);
        assert!(self.line.is_idle());
    }
}

fn inherited(who: Who, fence: Fence, lease: u64, now: Now) -> Hold {
    let (end, since) = (now.steady + Millis(lease), now.steady);
    Hold { owner: who.owner(), fence, end, lease: Millis(lease), since, origin: Origin::Inherited }
}

/// A sequence as rows to paste into a test.
fn rows(events: &[Event]) -> String {
    events.iter().map(|event| format!("        {event:?},\n")).collect()
}
