//! Queues at the wrong server: in a cluster a slot may leave with its keys, or the cluster may go down, and nobody tells a
//! client that is blocked without keys, as a module's clients are.
//!
//! So once a second every queue is asked about, and at once when a turn finds its key gone elsewhere. Whoever waits there is
//! answered so that a cluster client asks again and is sent to the right server.

use super::names::{KeyId, KeyRef};
use super::server::{Reply, Server, SlotOwner, Waiting};
use super::settled_slots::SettledSlots;
use super::tick::Budget;
use super::Engine;
use crate::lock::{Millis, Steady};

/// How often every queue is asked about, in milliseconds. Redis looks at clients blocked on keys as often.
const EVERY: Millis = Millis(1000);
/// How many queues a slice asks about at most: what is due is not held up by many queues.
const PROBES_MAX: usize = 256;

/// The queues that are still to be asked about, and when all are.
#[derive(Debug, Default)]
pub struct QueueCheck {
    in_cluster: bool,
    due: Option<Steady>,
    left: Vec<KeyId>,
}

impl<W: Waiting> Engine<W> {
    /// The server is part of a cluster: queues may find themselves at the wrong server, and slots come and go.
    pub fn join_cluster(&mut self) {
        self.queue_check.in_cluster = true;
        self.settled_slots = Some(Box::new(SettledSlots::new()));
    }

    /// When the next queue is to be asked about; the beginning of time if one is now.
    pub(super) fn next_queue_check(&self) -> Option<Steady> {
        let is_needed = self.queue_check.in_cluster && self.waiters.len() > 0;
        let due = if self.queue_check.left.is_empty() { self.queue_check.due } else { None };
        is_needed.then(|| due.unwrap_or(Steady(i64::MIN)))
    }

    /// These queues are asked about first.
    pub(super) fn check_queues_first(&mut self, queues: &[KeyId]) {
        if self.queue_check.in_cluster {
            self.queue_check.left.extend_from_slice(queues);
        }
    }

    /// This key was found to be elsewhere: its queue is asked about first.
    pub(super) fn check_queue_first(&mut self, key: &KeyId) {
        if self.queues.get(key.borrow()).is_some() {
            self.check_queues_first(std::slice::from_ref(key));
        }
    }

    /// Asks about queues that are due for it, a slice at most, and sends away who waits in vain.
    pub(super) fn check_queues<S: Server>(&mut self, server: &mut S, budget: &mut Budget) {
        let Some(due) = self.next_queue_check() else {
            self.queue_check.left.clear();
            return;
        };
        let now = server.now().steady;
        if due > now {
            return;
        }
        if self.queue_check.left.is_empty() {
            self.queue_check.due = Some(now + EVERY);
            self.queue_check.left = self.queues.keys(None);
        }
        for _ in 0..PROBES_MAX {
            if budget.is_spent(server, &mut self.spent) {
                return;
            }
            let Some(key) = self.queue_check.left.pop() else { return };
            let reply = match server.slot_owner(key.borrow()) {
                SlotOwner::Here => continue,
                SlotOwner::Elsewhere => Reply::TryAgain,
                SlotOwner::Down => Reply::ClusterDown,
            };
            if !self.send_away(server, key.borrow(), &reply, budget) {
                self.queue_check.left.push(key);
                return;
            }
        }
    }

    /// Answers everybody in this queue with that. False if the slice was over before.
    fn send_away<S: Server>(&mut self, server: &S, at: KeyRef, reply: &Reply, budget: &mut Budget) -> bool {
        while let Some(first) = self.queues.get(at).and_then(|queue| queue.first()).map(|(ticket, _)| ticket) {
            if budget.is_spent(server, &mut self.spent) {
                return false;
            }
            self.leave_queue(at, first);
            self.stats.waits_redirected += 1;
            self.spent.answers += 1;
            self.waiters.answer(first, |_| reply.clone());
        }
        true
    }
}
