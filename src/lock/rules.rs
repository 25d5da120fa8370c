//! One step of a lock: the only code that grants, and the only code that ends a hold.

use std::rc::Rc;

use super::fence::{Fence, FenceClock};
use super::hold::{Hold, Holders, Mode, Origin};
use super::line::{Line, Ticket, Waiter};
use super::owner::OwnerRef;
use super::time::{Millis, Now, Steady};

/// A request for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquire<'a> {
    /// For whom.
    pub owner: OwnerRef<'a>,
    /// How to hold.
    pub mode: Mode,
    /// For how long, from the grant.
    pub lease: Millis,
    /// What to do while it is busy.
    pub wait: Wait,
}

/// What a request does while the lock is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is refused.
    No,
    /// It joins the line under this ticket; `until` is `None` for a wait without limit.
    Join {
        /// Larger than every ticket before it.
        ticket: Ticket,
        /// When the wait runs out.
        until: Option<Steady>,
    },
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The owner holds the lock, under this fence.
    Granted(Fence),
    /// Somebody else holds it, or waits for it.
    Refused,
    /// The request stands in line.
    Waits,
}

/// A change of the lease or the fence of a running hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend<'a> {
    /// Whose hold.
    pub owner: OwnerRef<'a>,
    /// The lease from now on; `None`: as long as it was last given.
    pub lease: Option<Millis>,
    /// Only the hold with this fence.
    pub fence: Option<Fence>,
    /// The least that the fence is to be from now on.
    pub raise: Option<Fence>,
}

/// Why a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its owner released it.
    Released,
    /// Its lease ran out.
    Lapsed,
    /// Nobody could be told of the grant.
    Undelivered,
}

/// What is said to a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its owner holds the lock now, under this fence.
    Granted(Fence),
    /// Its wait ran out, or was withdrawn.
    Null,
}

/// What a step wants done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A hold began. Record it.
    Granted(Fence),
    /// A hold went on with another end or fence. Record it; nobody gained or lost the lock.
    Changed(Fence),
    /// A hold ended. Record it.
    Ended(Fence, End),
    /// Answer this waiter, which has left the line, once what came before is recorded.
    Answer(Ticket, Answer),
}

/// One step: a lock, the clocks, and where the effects go.
#[derive(Debug)]
pub struct Turn<'a> {
    /// What is saved. `Free` where there is no key.
    pub holders: &'a mut Holders,
    /// What is not.
    pub line: &'a mut Line,
    /// The server's fence clock.
    pub fences: &'a mut FenceClock,
    /// The clocks' reading, the same for the whole step.
    pub now: Now,
    /// Appended to.
    pub effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    /// Asks for the lock.
    pub fn acquire(&mut self, asked: Acquire) -> Acquired {
        self.advance();
        if self.holders.of(asked.owner).is_some() {
            return self.ask_again(asked.owner, asked.lease).map_or(Acquired::Refused, Acquired::Granted);
        }
        match (&*self.holders, asked.wait) {
            // I4: the line is empty here, because `advance` leaves nobody waiting for a free lock.
            (Holders::Free, _) => Acquired::Granted(self.grant(asked.owner, asked.mode, asked.lease)),
            (Holders::Exclusive(_), Wait::No) => Acquired::Refused,
            (Holders::Exclusive(_), Wait::Join { ticket, until }) => {
                let owner = Rc::new(asked.owner.to_owner());
                self.line.join(ticket, Waiter { owner, mode: asked.mode, lease: asked.lease, until });
                Acquired::Waits
            }
        }
    }

    /// Ends the owner's hold and withdraws what else it asked for here; with a fence, only if its hold bears it: a late
    /// duplicate must touch neither a newer hold nor a newer wait of the same owner. True if it held.
    pub fn release(&mut self, owner: OwnerRef, fence: Option<Fence>) -> bool {
        self.advance();
        let held = self.holders.of(owner).map(|hold| hold.fence);
        if fence.is_some() && held != fence {
            return false;
        }
        for (ticket, _) in self.line.take_of(owner) {
            self.effects.push(Effect::Answer(ticket, Answer::Null));
        }
        if let Some(fence) = held {
            self.end(fence, End::Released);
            self.advance();
        }
        held.is_some()
    }

    /// Sets the lease, counted from now, and raises the fence. True if the owner held (under that fence).
    pub fn extend(&mut self, asked: Extend) -> bool {
        self.advance();
        let Some(hold) = self.holders.of_mut(asked.owner) else { return false };
        if asked.fence.is_some_and(|fence| fence != hold.fence) {
            return false;
        }
        hold.lease = asked.lease.unwrap_or(hold.lease);
        hold.end = self.now.steady + hold.lease;
        // The owner knows that it holds, whatever became of the answers to its requests.
        self.line.settle(hold.fence);
        if let Some(raised) = asked.raise.filter(|raised| *raised > hold.fence) {
            hold.fence = raised;
            self.fences.learn(raised);
        }
        self.effects.push(Effect::Changed(hold.fence));
        true
    }

    /// Ends what is over and serves the line. Every step begins with it, so nothing depends on a timer having run.
    pub fn advance(&mut self) {
        let over = self.holders.iter().find(|hold| hold.is_over(self.now.steady)).map(|hold| hold.fence);
        if let Some(fence) = over {
            self.end(fence, End::Lapsed);
        }
        while matches!(self.holders, Holders::Free) {
            let Some((ticket, waiter)) = self.line.take_first() else { break };
            self.serve(ticket, waiter);
        }
    }

    /// After something outside the rules changed the lock (it was removed, replaced, loaded): owners that hold now stop
    /// waiting for themselves (I7), then the line is served.
    pub fn reconcile(&mut self) {
        self.advance();
        let owners: Vec<_> = self.holders.iter().map(|hold| hold.owner.clone()).collect();
        for owner in owners {
            for (ticket, waiter) in self.line.take_of(owner.borrow()) {
                let answer = if waiter.is_over(self.now.steady) {
                    Answer::Null
                } else {
                    self.ask_again(owner.borrow(), waiter.lease).map_or(Answer::Null, Answer::Granted)
                };
                self.effects.push(Effect::Answer(ticket, answer));
            }
        }
    }

    /// The answer with this fence found nobody. Unless the owner was or can still be told, the next one is granted.
    pub fn undelivered(&mut self, fence: Fence) {
        if self.line.undelivered(fence) {
            self.end(fence, End::Undelivered);
        }
        self.advance();
    }

    /// An owner that holds asks again: the same fence, unless the hold is inherited; the later of the two ends.
    fn ask_again(&mut self, owner: OwnerRef, lease: Millis) -> Option<Fence> {
        let hold = self.holders.of_mut(owner)?;
        let end = self.now.steady + lease;
        let later = end > hold.end;
        if later {
            hold.end = end;
            hold.lease = lease;
        }
        self.line.settle(hold.fence);
        let inherited = hold.origin == Origin::Inherited;
        if inherited {
            // I3: numbers above the inherited one may have been given and lost.
            hold.fence = self.fences.draw(self.now.unix);
            hold.origin = Origin::Granted;
        }
        if later || inherited {
            self.effects.push(Effect::Changed(hold.fence));
        }
        Some(hold.fence)
    }

    /// Grants to the waiter that was taken from the head, and answers its owner's other requests with the same hold; the
    /// longest lease among them counts. If its wait has run out it is told so instead.
    fn serve(&mut self, ticket: Ticket, waiter: Waiter) {
        if waiter.is_over(self.now.steady) {
            self.effects.push(Effect::Answer(ticket, Answer::Null));
            return;
        }
        let (running, over): (Vec<_>, Vec<_>) = self
            .line
            .take_of(waiter.owner.borrow())
            .into_iter()
            .partition(|(_, other)| !other.is_over(self.now.steady));
        for (ticket, _) in over {
            self.effects.push(Effect::Answer(ticket, Answer::Null));
        }
        let lease = running.iter().map(|(_, other)| other.lease).fold(waiter.lease, Millis::max);
        let fence = self.grant(waiter.owner.borrow(), waiter.mode, lease);
        self.line.hand(fence, 1 + running.len());
        for ticket in std::iter::once(ticket).chain(running.into_iter().map(|(ticket, _)| ticket)) {
            self.effects.push(Effect::Answer(ticket, Answer::Granted(fence)));
        }
    }

    /// Makes every grant there is, and alone draws a new hold's fence.
    fn grant(&mut self, owner: OwnerRef, mode: Mode, lease: Millis) -> Fence {
        let fence = self.fences.draw(self.now.unix);
        let since = self.now.steady;
        let hold = Hold { owner: owner.to_owner(), fence, end: since + lease, lease, since, origin: Origin::Granted };
        self.holders.put(mode, hold);
        self.effects.push(Effect::Granted(fence));
        fence
    }

    /// Ends the hold with this fence, if there is one.
    fn end(&mut self, fence: Fence, why: End) {
        self.line.settle(fence);
        if self.holders.remove(fence).is_some() {
            self.effects.push(Effect::Ended(fence, why));
        }
    }
}
