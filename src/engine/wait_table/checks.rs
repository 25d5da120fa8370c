//! Checks of the wait table, for builds with debug assertions and for tests.

use super::WaitTable;
use crate::engine::names::KeyRef;
use crate::engine::server::Waiting;
#[cfg(debug_assertions)]
use crate::lock::Holders;
use crate::lock::Ticket;

impl<W: Waiting> WaitTable<W> {
    /// Panics if the queue of this lock, the first of its clients, or its holders, are not in step with one another. The cost
    /// does not grow with the queue.
    #[cfg(debug_assertions)]
    pub fn check_queue(&self, at: KeyRef, holders: Option<&Holders>) {
        let Some(queue) = self.queues.get(at) else {
            return assert!(self.contended.agrees(at, None), "E4: {at:?} has no queue, and is contended");
        };
        assert!(!queue.is_idle(), "E3: the queue of {at:?} is kept for nothing");
        assert!(self.contended.agrees(at, holders), "E4: how {at:?} is held: {holders:?}");
        if let Some((ticket, _)) = queue.first() {
            self.check_waiter(at, ticket);
        }
    }

    /// Panics if the client behind this ticket does not wait for this lock. The request with the last ticket may be about to
    /// be parked.
    fn check_waiter(&self, at: KeyRef, ticket: Ticket) {
        let mut keys = self.clients.keys_of(ticket).peekable();
        let (is_new, is_parked) = (ticket.0 + 1 >= self.next_ticket, keys.peek().is_some());
        assert!(is_parked || is_new, "E2: nobody waits behind {ticket:?} for {at:?}");
        assert!(!is_parked || keys.any(|key| key == at), "E2: {ticket:?} does not wait for {at:?}");
        assert!(ticket.0 <= self.next_ticket, "E5: {ticket:?} was not given out");
    }

    /// Panics unless queues, clients and contended locks are in step. Linear in all of them.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self) {
        let mut waiters = 0;
        for (at, queue) in self.queues() {
            assert!(!queue.is_idle(), "E3: the queue of {at:?} is kept for nothing");
            for (ticket, waiter) in queue.iter() {
                self.check_waiter(at, ticket);
                let owner = self.clients.owner(ticket);
                assert!(owner == Some(&*waiter.request.owner), "E2: {ticket:?} is parked for another owner");
                waiters += 1;
            }
            queue.assert_sound();
        }
        assert_eq!(waiters, self.clients.places(), "E2: clients wait in as many places as requests stand in queues");
        self.clients.check_all();
        for key in self.contended.keys() {
            assert!(self.has_queue(key.borrow()), "E4: {key:?} has no queue, and is contended");
        }
    }
}
