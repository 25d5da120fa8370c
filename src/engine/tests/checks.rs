//! The engine's invariants E1 to E10, as the documentation of [`crate::engine`] numbers them. [`World::check`] is called
//! after each call of the engine, [`World::assert_at_rest`] when the timer has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::engine::sessions::HoldName;

/// A world with more locks and waiters than this is checked only now and then.
const SMALL: usize = 40;
const NOW_AND_THEN: usize = 1000;

impl World {
    fn locks(&self) -> impl Iterator<Item = (KeyRef<'_>, &Stored)> {
        self.fake.data.iter().filter_map(|((db, name), value)| match value {
            Value::Lock(stored) => Some((KeyRef { db: *db, name }, stored)),
            Value::Other => None,
        })
    }

    /// Whether a later step will see to this key.
    fn noted(&self) -> BTreeSet<KeyId> {
        self.inbox.keys().chain(self.engine.agenda.keys()).cloned().collect()
    }

    fn is_nothing_noted(&self) -> bool {
        self.inbox.is_empty() && !self.engine.has_ready_work() && !self.engine.agenda.has_retries()
    }

    /// Panics unless the invariants hold that hold at any time.
    pub fn check(&mut self) {
        self.checks += 1;
        let size = self.fake.data.len() + self.engine.waiters();
        if size > SMALL && !self.checks.is_multiple_of(NOW_AND_THEN) {
            return;
        }
        let noted = self.noted();
        self.check_e1_deadlines(&noted);
        // E2, E3, E5, and what E4 says of any lock.
        self.engine.waits.check_all();
        self.check_e4_contended(&noted);
        self.check_e6_nothing_lent();
        self.check_e7_sessions(&noted);
        self.check_e11_due_requests();
    }

    fn check_e11_due_requests(&self) {
        let clients = self.engine.waits.clients();
        let mut tasks: Vec<_> =
            self.engine.agenda.due_requests().filter(|ticket| clients.owner(*ticket).is_some()).collect();
        tasks.sort_unstable();
        assert_eq!(tasks, clients.due().collect::<Vec<_>>(), "E11: one task for each request that is due");
    }

    fn check_e1_deadlines(&mut self, noted: &BTreeSet<KeyId>) {
        let locks: Vec<_> =
            self.locks().map(|(key, stored)| (key.to_id(), stored.lease, stored.holders.due())).collect();
        for (key, lease, due) in locks {
            assert!(due.is_some(), "E1: {key:?} is free, and is a key");
            if !noted.contains(&key) && self.inbox.unplaced.is_empty() {
                let name = self.engine.leases.get_mut(lease).cloned();
                assert_eq!(name.as_ref(), Some(&key), "E1: the deadline of {key:?}");
                assert_eq!(self.engine.leases.moment(lease), due, "E1: the moment of the deadline of {key:?}");
            }
        }
    }

    fn check_e4_contended(&self, noted: &BTreeSet<KeyId>) {
        if self.fake.state == ServerState::Replica {
            return;
        }
        for (at, queue) in self.engine.waits.queues().filter(|(at, _)| !noted.contains(&at.to_id())) {
            let value = self.fake.data.get(&(at.db, at.name.to_vec()));
            let holders = match value {
                Some(Value::Lock(stored)) => Some(&stored.holders),
                Some(Value::Other) | None => None,
            };
            let agrees = queue.is_empty() || self.engine.waits.contended().agrees(at, holders);
            assert!(agrees, "E4: {at:?} is held by {holders:?}");
        }
    }

    fn check_e6_nothing_lent(&self) {
        let scratch = &self.engine.scratch;
        assert!(scratch.no_holders == Holders::Free && scratch.effects.is_empty(), "E6: something is left of a step");
        assert!(!self.engine.waits.is_spare_used(), "E6: a queue without a lock");
    }

    fn check_e7_sessions(&self, noted: &BTreeSet<KeyId>) {
        let known: BTreeSet<_> = self.engine.sessions.all().cloned().collect();
        for (at, stored) in self.locks() {
            let key = at.to_id();
            let bound = stored.holders.iter().filter_map(|(_, hold)| Some((hold, hold.session?)));
            for (hold, session) in bound.filter(|(_, session)| !self.engine.sessions.is_forgotten(*session)) {
                let is_known = known.contains(&(session, key.clone(), hold.owner.clone()));
                assert!(is_known || noted.contains(&key), "E7: {hold:?} of {key:?} is not found from its connection");
            }
        }
    }

    /// E8: Panics if an answer was given with a grant that had not been recorded. `before` is the last fence before the
    /// call of the engine, and `from` where its part of the log begins.
    pub fn check_e8_recorded_first(&self, before: Option<Fence>, from: usize) {
        let log = self.fake.log.borrow();
        let did = log.get(from..).unwrap_or_default();
        for (n, answer) in did.iter().enumerate() {
            let (client, holds) = match answer {
                Did::Answered(client, Reply::Granted(hold, ..)) => (client, vec![*hold]),
                Did::Answered(client, Reply::GrantedTogether(granted, ..)) => {
                    (client, granted.iter().map(|lock| lock.hold).collect())
                }
                _ => continue,
            };
            // A hold that came and went within one step leaves nothing to record.
            let is_there = |hold| self.locks().any(|(_, stored)| stored.holders.get(hold).is_some());
            let new = holds.iter().filter(|hold| Some(hold.fence) > before && is_there(**hold)).count();
            let is_record = |did: &&Did| matches!(did, Did::Replicated(..) | Did::Counted(_));
            let recorded = did[..n].iter().filter(is_record).count();
            assert!(recorded >= new, "E8: client {client} learns of {holds:?} too early");
        }
    }

    /// E1 when nothing is noted. Panics unless every lock has one deadline, under its own name, and nothing else has.
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

    /// E1 when nothing is noted, and that each deadline stands at its lock's end. Takes the deadlines apart.
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

    /// E7: panics if a hold is bound to a connection that has closed.
    pub fn assert_sessions(&self) {
        for (key, stored) in self.locks() {
            for (_, hold) in stored.holders.iter() {
                let is_closed = hold.session.is_some_and(|session| self.closed.contains(&session));
                assert!(!is_closed, "{hold:?} of {key:?} is bound to a connection that has closed");
            }
        }
    }

    /// E7: a connection closes while nothing is noted. Panics unless the engine finds the holds that are bound to it, and no
    /// others.
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
        assert_eq!(noted, bound, "the holds found from connection {connection}, and those bound to it");
    }

    /// E9: panics if the first in a queue need not wait. The server may write.
    pub fn assert_served(&mut self) {
        for key in self.engine.waited_for() {
            let Some((_, first)) = self.engine.waits.queue(key.borrow()).and_then(WaitQueue::first) else { continue };
            let (mode, now) = (first.request.mode, self.fake.now.steady);
            assert!(!first.has_timed_out(now), "{first:?} of {key:?} waits too long");
            if first.is_multi_key {
                continue;
            }
            let may_grant = self.engine.quarantine.may_grant(now);
            let Some(Value::Lock(stored)) = self.fake.data.get(&(key.db(), key.name().to_vec())) else {
                assert!(!may_grant, "{key:?} is free and waited for");
                continue;
            };
            assert!(stored.holders.first_expired(now).is_none(), "{:?} of {key:?} has expired", stored.holders);
            let is_full = stored.holders.len() >= self.engine.settings.holders_max();
            assert!(is_full || !may_grant || !stored.holders.admit(mode), "{key:?} keeps out {first:?}");
        }
    }

    /// E9, I11: panics if all locks are ready for a request that waits for several. The server may write.
    pub fn assert_several_served(&mut self) {
        let (now, max) = (self.fake.now.steady, self.engine.settings.holders_max());
        let may_grant = self.engine.quarantine.may_grant(now);
        let places =
            self.engine.waits.queues().flat_map(|(at, queue)| queue.iter().map(move |place| (at, queue, place)));
        let mut is_ready = BTreeMap::new();
        for (at, queue, (ticket, waiter)) in places.filter(|(_, _, (_, waiter))| waiter.is_multi_key) {
            let stored = match self.fake.data.get(&(at.db, at.name.to_vec())) {
                Some(Value::Lock(stored)) => Some(&stored.holders),
                Some(Value::Other) | None => None,
            };
            let held = stored.and_then(|holders| holders.of(waiter.request.owner.borrow()));
            let is_first = queue.first().is_some_and(|(first, _)| first == ticket);
            let is_full = stored.is_some_and(|holders| holders.len() >= max);
            let may_enter = stored.is_none_or(|holders| holders.admit(waiter.request.mode)) && !is_full;
            let is_ready_here = held.is_some() || (is_first && may_grant && may_enter);
            *is_ready.entry(ticket).or_insert(true) &= is_ready_here;
        }
        let left: Vec<_> = is_ready.into_iter().filter(|(_, is_ready)| *is_ready).collect();
        assert!(left.is_empty(), "I11: all locks are ready for {left:?}");
    }

    /// Panics unless nothing is left to be done, and the invariants hold that then hold.
    pub fn assert_at_rest(&mut self) {
        assert!(self.is_nothing_noted());
        let now = self.fake.now.steady;
        assert!(self.engine.first_deadline().is_none_or(|first| first > now), "E9: something has ended");
        self.check();
        self.assert_deadlines();
        self.assert_sessions();
        self.assert_served();
        self.assert_several_served();
    }
}
