//! What else is asked of the model than the lock itself, and what else happens to it.

use super::super::bench::inherited;
use super::*;

impl Model {
    pub(super) fn request(&mut self, event: Event) -> bool {
        // What the request names, it names before anything changes.
        let fences = || self.holding.iter().map(|holding| holding.id.fence);
        let (first, last) = (fences().min(), fences().max());
        let above_all = self.last_fence.max(self.now.unix.0) + 1_000;
        let (who, tag) = match event {
            Event::Release(who, tag) | Event::Downgrade(who, tag) | Event::Extend(who, _, tag, _) => (who, tag),
            _ => unreachable!(),
        };
        let fence = match tag {
            Tag::Any => None,
            Tag::Right => place(&self.holding, who).map(|n| self.holding[n].id.fence).or(first).or(Some(Fence::MAX)),
            Tag::Wrong => Some(Fence::MAX),
        };
        self.serve();
        let held = place(&self.holding, who);
        let named = held.filter(|n| fence.is_none_or(|fence| fence == self.holding[*n].id.fence));
        match (event, named) {
            (Event::Release(..), None) if fence.is_some() => return false,
            (Event::Release(..), _) => self.release(who),
            (_, None) => return false,
            (Event::Downgrade(..), Some(n)) => self.downgrade(n),
            (Event::Extend(_, lease, _, lift), Some(n)) => {
                let raise = match lift {
                    Lift::No => None,
                    Lift::Low => Some(Fence::new(1).unwrap()),
                    Lift::Same => last,
                    Lift::High => Fence::new(above_all),
                };
                self.extend(n, lease, raise);
            }
            _ => unreachable!(),
        }
        named.is_some()
    }

    fn release(&mut self, who: Who) {
        for (ticket, _) in self.take_of(who) {
            self.effects.push(Effect::Answer(ticket, Answer::Withdrawn));
        }
        self.end(who, End::Released);
        self.serve();
    }

    fn downgrade(&mut self, n: usize) {
        let Holding { id, mode, reached, .. } = &mut self.holding[n];
        reached.clear();
        if *mode == Mode::Exclusive {
            *mode = Mode::Shared(None);
            self.effects.push(Effect::Changed(*id, HoldChange::Downgraded));
            self.serve();
        }
    }

    fn extend(&mut self, n: usize, lease: u64, raise: Option<Fence>) {
        let fence = raise.filter(|raise| *raise > self.holding[n].id.fence);
        if let Some(fence) = fence {
            let others = self.holding.iter().filter(|holding| holding.id.fence == fence);
            let nth = others.map(|holding| holding.id.nth + 1).max().unwrap_or(0);
            self.holding[n].id = HoldId { fence, nth };
            self.holding[n].hold.fence = fence;
            self.last_fence = self.last_fence.max(fence.get());
        }
        let Holding { id, hold, reached, .. } = &mut self.holding[n];
        // Its owner knows of the hold, it has just been told so.
        reached.clear();
        if lease > 0 {
            hold.lease = Millis(lease);
        }
        hold.expires_at = self.now.steady + hold.lease;
        self.effects.push(Effect::Changed(*id, HoldChange::Extended));
    }

    pub(super) fn put_back(&mut self, who: Who, how: How, lease: u64) {
        self.last_fence += 5;
        if !(self.may_enter(how.mode()) && self.holding.len() < HOLDERS_MAX) {
            self.holding.clear();
        }
        self.holding.retain(|holding| holding.who != who);
        let fence = Fence::new(self.last_fence).unwrap();
        let (id, hold) = (HoldId { fence, nth: 0 }, inherited(who, fence, lease, self.now));
        self.holding.push(Holding { who, id, mode: how.mode(), hold, reached: Vec::new() });
    }

    /// The hold of which this request was told, while that matters.
    fn returned(&self, ticket: Option<Ticket>) -> Option<usize> {
        self.holding.iter().position(|holding| holding.reached.iter().any(|returned| Some(returned.ticket) == ticket))
    }

    pub(super) fn delivered(&mut self, ticket: Option<Ticket>) {
        let Some(n) = self.returned(ticket) else { return };
        let reached = &mut self.holding[n].reached;
        let Some(returned) = reached.iter_mut().find(|returned| Some(returned.ticket) == ticket) else { return };
        if returned.session.is_none_or(|session| self.sessions.contains(&session)) {
            returned.for_sure = true;
        }
        if reached.iter().all(|returned| returned.for_sure) {
            reached.clear();
        }
    }

    /// The hold goes to the next one when none of those who were told of it could be reached, and its owner never
    /// spoke.
    pub(super) fn undelivered(&mut self, ticket: Option<Ticket>) {
        self.serve();
        if let Some(n) = self.returned(ticket) {
            self.holding[n].reached.retain(|returned| Some(returned.ticket) != ticket);
            let reached = self.holding[n].reached.clone();
            match reached.last() {
                None => self.end(self.holding[n].who, End::Undelivered),
                // The last request that was or can still be answered decides about the session.
                Some(last) => self.rebind(n, last.session),
            }
            if reached.iter().all(|returned| returned.for_sure) {
                if let Some(holding) = self.holding.get_mut(n).filter(|_| !reached.is_empty()) {
                    holding.reached.clear();
                }
            }
        }
        self.serve();
    }

    /// A hold ends with its connection, unless an answer on it is on its way: then that decides.
    pub(super) fn close(&mut self, who: Who, gone: Session) {
        self.serve();
        let Some(n) = place(&self.holding, who) else { return };
        if self.holding[n].hold.session == Some(gone) && !self.holding[n].is_on_its_way_to(gone) {
            self.end(who, End::Closed);
            self.serve();
        }
    }

    /// Waits run out; and a lock that somebody put there may be held by one who waits for it.
    pub(super) fn ring(&mut self) {
        let now = self.now.steady;
        let over: Vec<_> =
            self.waiting.iter().filter(|(_, waiter)| waiter.has_timed_out(now)).map(|(t, _)| *t).collect();
        self.waiting.retain(|(ticket, _)| !over.contains(ticket));
        self.effects.extend(over.into_iter().map(|ticket| Effect::Answer(ticket, Answer::TimedOut)));
        self.serve();
        // Nobody is promised an order among different owners here; it is that of the fewer.
        let owners: Vec<Who> = if self.holding.len() < self.waiting.len() {
            let mut by_fence: Vec<_> = self.holding.iter().map(|holding| (holding.id, holding.who)).collect();
            by_fence.sort();
            by_fence.into_iter().map(|(_, who)| who).collect()
        } else {
            self.waiting.iter().map(|(_, waiter)| Who::of(&waiter.request.owner)).collect()
        };
        for who in owners {
            if let Some(n) = place(&self.holding, who) {
                let theirs = self.take_of(who);
                self.answer_with(n, theirs);
            }
        }
        self.serve();
    }
}
