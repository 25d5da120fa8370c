//! The check for queues at the wrong server. In a cluster a slot may leave with its keys, or the cluster may go down, and no
//! server tells a client that is blocked without keys, as a module's clients are.
//!
//! So the engine asks the server about every queue once a second, and about one queue at once when a task finds its key
//! gone elsewhere. The clients in a queue at the wrong server are redirected: they get an error that makes a cluster client
//! ask again and find the right server.

use super::names::{KeyId, KeyRef};
use super::server::{Reply, Server, Waiting};
use super::state::Engine;
use crate::lock::{Millis, Steady};
use crate::policy::slot_owner::SlotOwner;

/// How often every queue is asked about, in milliseconds. Redis looks at clients blocked on keys as often.
const EVERY: Millis = Millis(1000);
/// The number of queues that one tick asks about at most. So many queues do not hold up what is due.
const PROBES_MAX: usize = 256;

impl<W: Waiting> Engine<W> {
    /// When the next queue is to be asked about; the beginning of time if one is now. `None` if nobody waits, or outside a
    /// cluster.
    pub(super) fn next_queue_check(&self) -> Option<Steady> {
        let is_needed = self.cluster.is_joined() && self.waits.len() > 0;
        let check = &self.cluster.queue_check;
        let due = if check.left.is_empty() { check.due } else { None };
        is_needed.then(|| due.unwrap_or(Steady(i64::MIN)))
    }

    /// The next check asks about these queues first.
    pub(super) fn check_queues_first(&mut self, queues: &[KeyId]) {
        if self.cluster.is_joined() {
            self.cluster.queue_check.left.extend_from_slice(queues);
        }
    }

    /// This key was found to be elsewhere. The next check asks about its queue first, if it has one.
    pub(super) fn check_queue_first(&mut self, key: &KeyId) {
        if self.waits.has_queue(key.borrow()) {
            self.check_queues_first(std::slice::from_ref(key));
        }
    }

    /// Asks about the queues that are due for it, as far as one tick may, and redirects the clients that wait in vain.
    pub(super) fn check_queues<S: Server>(&mut self, server: &mut S) {
        let Some(due) = self.next_queue_check() else {
            self.cluster.queue_check.left.clear();
            return;
        };
        let now = server.now().steady;
        if due > now {
            return;
        }
        if self.cluster.queue_check.left.is_empty() {
            self.cluster.queue_check.due = Some(now + EVERY);
            self.cluster.queue_check.left = self.waits.keys(None);
        }
        for _ in 0..PROBES_MAX {
            if self.agenda.budget.is_spent(server) {
                return;
            }
            let Some(key) = self.cluster.queue_check.left.pop() else { return };
            let reply = match server.slot_owner(key.borrow()) {
                SlotOwner::Here => continue,
                SlotOwner::Elsewhere => Reply::TryAgain,
                SlotOwner::Down => Reply::ClusterDown,
            };
            if !self.redirect_queue(server, key.borrow(), &reply) {
                self.cluster.queue_check.left.push(key);
                return;
            }
        }
    }

    /// Answers everybody in this queue with that reply. False if the budget was spent before.
    fn redirect_queue<S: Server>(&mut self, server: &S, at: KeyRef, reply: &Reply) -> bool {
        while let Some(first) = self.waits.queue(at).and_then(|queue| queue.first()).map(|(ticket, _)| ticket) {
            if self.agenda.budget.is_spent(server) {
                return false;
            }
            self.leave_queue(at, first);
            self.stats.waits_redirected += 1;
            self.agenda.budget.charge_answer();
            self.answer(first, |_| reply.clone());
        }
        true
    }
}
