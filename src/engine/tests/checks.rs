//! What must hold of the engine's tables whenever the timer has come to rest.

use std::collections::BTreeSet;

use super::*;
use crate::engine::sessions::HoldName;

impl World {
    fn locks(&self) -> impl Iterator<Item = (KeyRef<'_>, &Stored)> {
        self.fake.data.iter().filter_map(|((db, name), value)| match value {
            Value::Lock(stored) => Some((KeyRef { db: *db, name }, stored)),
            Value::Other => None,
        })
    }

    /// Panics unless every lock there is has one deadline, under its own name, and nothing else has.
    pub fn assert_deadlines(&mut self) {
        let locks: Vec<_> = self.locks().map(|(key, stored)| (key.to_id(), stored.lease)).collect();
        let ends: Vec<_> = self.locks().filter_map(|(_, stored)| stored.holders.first_expiry()).collect();
        for (key, lease) in &locks {
            let there = self.engine.leases.get_mut(*lease).cloned();
            assert_eq!(there.as_ref(), Some(key), "the deadline of {key:?}");
        }
        assert_eq!(self.engine.leases.len(), locks.len(), "deadlines of locks that are no more");
        assert_eq!(self.engine.leases.first(), ends.into_iter().min());
    }

    /// The same, and that each stands at the lock's end. Takes the deadlines apart.
    pub fn assert_ends(mut self) {
        self.assert_deadlines();
        let mut ends: Vec<_> =
            self.locks().map(|(key, stored)| (stored.holders.first_expiry().unwrap(), key.to_id())).collect();
        let mut deadlines = Vec::new();
        while let Some(end) = self.engine.leases.first() {
            deadlines.push((end, self.engine.leases.take_due(end).unwrap()));
        }
        ends.sort();
        deadlines.sort();
        assert_eq!(deadlines, ends);
    }

    /// Panics if a hold follows a connection that has closed.
    pub fn assert_sessions(&self) {
        for (key, stored) in self.locks() {
            for (_, hold) in stored.holders.iter() {
                let is_closed = hold.session.is_some_and(|session| self.closed.contains(&session));
                assert!(!is_closed, "{hold:?} of {key:?} follows a connection that has closed");
            }
        }
    }

    /// A connection closes while the timer is at rest. Panics unless the holds that follow it are found, and no others.
    pub fn hang_up_at_rest(&mut self, connection: u64) {
        let session = self.engine.session(connection);
        let holds = self.locks().flat_map(|(key, stored)| stored.holders.iter().map(move |(_, hold)| (key, hold)));
        let bound: BTreeSet<HoldName> = holds
            .filter(|(_, hold)| hold.session == Some(session))
            .map(|(key, hold)| (key.to_id(), hold.owner.clone()))
            .collect();
        self.hang_up(connection);
        assert_eq!(self.inbox.closed.last() == Some(&session), !bound.is_empty());
        let noted: BTreeSet<HoldName> = self.engine.sessions.holds_of(session).collect();
        assert_eq!(noted, bound, "what is found from connection {connection}, and what follows it");
    }

    /// Panics if anybody is first in the queue who need not wait. The server may write.
    pub fn assert_served(&mut self) {
        for key in self.engine.waited_for() {
            let Some((_, first)) = self.engine.waits.queue(key.borrow()).and_then(WaitQueue::first) else { continue };
            let (mode, now) = (first.request.mode, self.fake.now.steady);
            assert!(!first.has_timed_out(now), "{first:?} of {key:?} waits too long");
            let Some(Value::Lock(stored)) = self.fake.data.get(&(key.db(), key.name().to_vec())) else {
                panic!("{key:?} is free and waited for");
            };
            assert!(stored.holders.first_expired(now).is_none(), "{:?} of {key:?} is over", stored.holders);
            let is_full = stored.holders.len() >= self.engine.settings.holders_max();
            assert!(is_full || !stored.holders.admit(mode), "{key:?} keeps out {first:?}");
        }
    }

    /// Panics unless nothing is left to be done.
    pub fn assert_at_rest(&mut self) {
        assert!(self.inbox.is_empty() && !self.engine.has_ready_work() && !self.engine.agenda.has_retries());
        let now = self.fake.now.steady;
        assert!(self.engine.first_deadline().is_none_or(|first| first > now), "something is over");
        self.assert_deadlines();
        self.assert_sessions();
        self.assert_served();
    }
}
