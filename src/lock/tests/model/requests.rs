//! The model's LOCK.RELEASE and LOCK.EXTEND, deliveries, closed connections, restored locks and the timer.

use super::super::harness::inherited;
use super::*;

impl Model {
    /// LOCK.RELEASE or LOCK.EXTEND. Yes if the owner holds the lock, with the fence of the request if it has one.
    pub(super) fn request(&mut self, event: Event) -> Released {
        // The fences that the request names are those before the step.
        let fences = || self.holding.iter().map(|holding| holding.id.fence);
        let (first, last) = (fences().min(), fences().max());
        let above_all = self.last_fence.max(self.now.unix.0) + 1_000;
        let (client, fence_option) = match event {
            Event::Release(client, fence_option)
            | Event::Cool(client, fence_option, _)
            | Event::Downgrade(client, fence_option)
            | Event::Extend(client, _, fence_option, _) => (client, fence_option),
            _ => unreachable!(),
        };
        let fence = match fence_option {
            FenceOption::NoFence => None,
            FenceOption::Right => {
                index_of(&self.holding, client).map(|n| self.holding[n].id.fence).or(first).or(Some(Fence::MAX))
            }
            FenceOption::Wrong => Some(Fence::MAX),
        };
        self.serve();
        let held = index_of(&self.holding, client);
        let matching = held.filter(|n| fence.is_none_or(|fence| fence == self.holding[*n].id.fence));
        match (event, matching) {
            (Event::Release(..) | Event::Cool(..), None) if fence.is_some() => return Released::NotHeld,
            (Event::Release(..), _) => self.release(client, None),
            (Event::Cool(..), Some(n)) if self.holding[n].mode != Mode::Exclusive => return Released::IsShared,
            (Event::Cool(_, _, length), n) => self.release(client, n.map(|_| Millis(length))),
            (_, None) => return Released::NotHeld,
            (Event::Downgrade(..), Some(n)) => self.downgrade(n),
            (Event::Extend(_, lease, _, raise_option), Some(n)) => {
                let raise = match raise_option {
                    RaiseOption::NoRaise => None,
                    RaiseOption::RaiseBelow => Some(Fence::new(1).unwrap()),
                    RaiseOption::RaiseToLargest => last,
                    RaiseOption::RaiseAbove => Fence::new(above_all),
                };
                self.extend(n, lease, raise);
            }
            _ => unreachable!(),
        }
        if matching.is_some() {
            Released::Yes
        } else {
            Released::NotHeld
        }
    }

    /// Withdraws the client's requests and ends its hold. With COOL the lock is cooling afterwards.
    fn release(&mut self, client: Client, cool: Option<Millis>) {
        for (ticket, _) in self.take_all_of(client) {
            self.effects.push(Effect::Answer(ticket, Answer::Withdrawn));
        }
        self.end(client, End::Released);
        self.cool(cool, self.now.steady);
        self.serve();
    }

    /// Makes the n-th hold shared.
    fn downgrade(&mut self, n: usize) {
        let Holding { id, mode, sent, hold, .. } = &mut self.holding[n];
        sent.clear();
        if *mode == Mode::Exclusive {
            hold.terms = hold.terms.with(hold.terms.max(), None);
            *mode = Mode::Shared(None);
            self.effects.push(Effect::Changed(*id, HoldChange::Downgraded));
            self.serve();
        }
    }

    /// Extends the n-th hold by this lease in milliseconds (0: the last one again), and raises its fence.
    fn extend(&mut self, n: usize, lease: u64, raise: Option<Fence>) {
        let fence = raise.filter(|raise| *raise > self.holding[n].id.fence);
        if let Some(fence) = fence {
            let others = self.holding.iter().filter(|holding| holding.id.fence == fence);
            let nth = others.map(|holding| holding.id.nth + 1).max().unwrap_or(0);
            self.holding[n].id = HoldId { fence, nth };
            self.holding[n].hold.fence = fence;
            self.last_fence = self.last_fence.max(fence.get());
        }
        let Holding { id, hold, sent, .. } = &mut self.holding[n];
        // The reply tells the owner that it holds the lock.
        sent.clear();
        let lease = if lease > 0 { Millis(lease) } else { hold.terms.lease() };
        set_lease(hold, self.now.steady, lease);
        self.effects.push(Effect::Changed(*id, HoldChange::Extended));
    }

    /// An operator restores a lock over the key.
    pub(super) fn restore(&mut self, client: Client, mode_option: ModeOption, lease: u64) {
        self.last_fence += 5;
        if !(self.may_join(mode_option.mode()) && self.holding.len() < HOLDERS_MAX) {
            self.holding.clear();
        }
        self.cooling = None;
        self.holding.retain(|holding| holding.client != client);
        let fence = Fence::new(self.last_fence).unwrap();
        let (id, hold) = (HoldId { fence, nth: 0 }, inherited(client, fence, lease, self.now));
        self.holding.push(Holding { client, id, mode: mode_option.mode(), hold, sent: Vec::new() });
    }

    /// The index of the hold that this waiter was answered with, while the delivery matters.
    fn answered_with(&self, ticket: Option<Ticket>) -> Option<usize> {
        self.holding.iter().position(|holding| holding.sent.iter().any(|answer| Some(answer.ticket) == ticket))
    }

    /// The answer to this waiter was delivered.
    pub(super) fn delivered(&mut self, ticket: Option<Ticket>) {
        let Some(n) = self.answered_with(ticket) else { return };
        let sent = &mut self.holding[n].sent;
        let Some(answer) = sent.iter_mut().find(|answer| Some(answer.ticket) == ticket) else { return };
        if answer.session.is_none_or(|session| self.sessions.contains(&session)) {
            answer.has_arrived = true;
        }
        if sent.iter().all(|answer| answer.has_arrived) {
            sent.clear();
        }
    }

    /// The answer to this waiter is lost. The hold ends if no other answer told its owner of it or still can, and the
    /// owner has not learned of it in another way.
    pub(super) fn undelivered(&mut self, ticket: Option<Ticket>) {
        self.serve();
        if let Some(n) = self.answered_with(ticket) {
            self.holding[n].sent.retain(|answer| Some(answer.ticket) != ticket);
            let sent = self.holding[n].sent.clone();
            match sent.last() {
                None => self.end(self.holding[n].client, End::Undelivered),
                // The last request whose answer arrived, or can still arrive, decides about the session.
                Some(last) => self.rebind(n, last.session),
            }
            if sent.iter().all(|answer| answer.has_arrived) {
                if let Some(holding) = self.holding.get_mut(n).filter(|_| !sent.is_empty()) {
                    holding.sent.clear();
                }
            }
        }
        self.serve();
    }

    /// The connection closed. The client's hold ends if it is bound to the connection, unless an answer with it is
    /// still in flight there. Then the fate of that answer decides.
    pub(super) fn close(&mut self, client: Client, closed: Session) {
        self.serve();
        let Some(n) = index_of(&self.holding, client) else { return };
        if self.holding[n].hold.session == Some(closed) && !self.holding[n].has_answer_in_flight(closed) {
            self.end(client, End::Closed);
            self.serve();
        }
    }

    /// Times waits out. Then answers waiters whose owner holds the lock now, because it was restored in the meantime.
    pub(super) fn run_timer(&mut self) {
        let now = self.now.steady;
        let timed_out: Vec<_> =
            self.waiting.iter().filter(|(_, waiter)| waiter.has_timed_out(now)).map(|(t, _)| *t).collect();
        self.waiting.retain(|(ticket, _)| !timed_out.contains(ticket));
        self.effects.extend(timed_out.into_iter().map(|ticket| Effect::Answer(ticket, Answer::TimedOut)));
        self.serve();
        // The contract promises no order among different owners here. The rules go through the shorter list, and so
        // does this.
        let owners: Vec<Client> = if self.holding.len() < self.waiting.len() {
            let mut by_fence: Vec<_> = self.holding.iter().map(|holding| (holding.id, holding.client)).collect();
            by_fence.sort();
            by_fence.into_iter().map(|(_, client)| client).collect()
        } else {
            self.waiting.iter().map(|(_, waiter)| Client::of(&waiter.request.owner)).collect()
        };
        for client in owners {
            if let Some(n) = index_of(&self.holding, client) {
                let theirs = self.take_all_of(client);
                self.answer_holder(n, theirs);
            }
        }
        self.serve();
    }
}
