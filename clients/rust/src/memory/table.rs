//! The locks of a server in memory: holds, queues, leases, cooling, and deadlocks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use redis::Value;
use tokio::sync::oneshot;

use super::command::{Key, Options, Outcome, OwnerName};
use crate::clock::Moment;
use crate::error::ServerError;

/// A hold of one owner on one lock.
#[derive(Clone)]
pub(super) struct Hold {
    pub owner: OwnerName,
    pub fence: i64,
    pub until: Moment,
    pub lease: Duration,
    pub granted: Moment,
    /// The moment at which the hold ends however often it is extended.
    pub most: Option<Moment>,
    pub is_shared: bool,
    pub limit: u32,
    pub weight: u32,
    pub delay: Option<Duration>,
    /// The connection with which it ends; 0 if with none.
    pub session: u64,
}

/// A lock that is held or cools.
#[derive(Default)]
pub(super) struct Lock {
    pub holds: Vec<Hold>,
    pub cooling: Option<Moment>,
}

/// A request that waits.
pub(super) struct Waiter {
    pub id: u64,
    pub keys: Vec<Key>,
    pub owner: OwnerName,
    pub options: Options,
    pub connection: u64,
    pub since: Moment,
    pub reply: oneshot::Sender<Result<Value, ServerError>>,
}

/// All locks and all who wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Table {
    pub locks: BTreeMap<Key, Lock>,
    pub waiters: Vec<Waiter>,
    /// The locks that have changed since this was emptied.
    pub changed: BTreeSet<Key>,
    last_fence: i64,
    last_waiter: u64,
}

impl Table {
    /// Grants the locks, all or none, or says that they are taken.
    pub fn acquire(
        &mut self,
        keys: &[Key],
        owner: &[u8],
        options: &Options,
        connection: u64,
        now: Moment,
    ) -> Result<Option<Value>, ServerError> {
        self.serve(now);
        for key in keys {
            let shared = self.hold(key, owner).is_some_and(|hold| hold.is_shared);
            if shared && !options.is_shared {
                return Err(error("this owner holds the lock shared: release it first"));
            }
        }
        let waiting: HashSet<&Key> = self.waiters.iter().flat_map(|waiter| &waiter.keys).collect();
        let is_free =
            |key: &Key| self.hold(key, owner).is_some() || !waiting.contains(key) && self.can_hold(key, options);
        if keys.iter().all(is_free) {
            return Ok(Some(self.grant(keys, owner, options, connection, now)));
        }
        Ok(None)
    }

    /// Lets a request wait, unless its owner would wait for an owner that waits for it.
    pub fn wait(
        &mut self,
        keys: &[Key],
        owner: &[u8],
        options: &Options,
        connection: u64,
        now: Moment,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), ServerError> {
        if let Some(cycle) = self.find_cycle(keys, owner) {
            return Err(ServerError::new("DEADLOCK", Some(&format!("waiting would close a cycle: {cycle}"))));
        }
        let (reply, answer) = oneshot::channel();
        self.last_waiter += 1;
        let id = self.last_waiter;
        let (keys, owner, options) = (keys.to_vec(), owner.to_vec(), options.clone());
        self.waiters.push(Waiter { id, keys, owner, options, connection, since: now, reply });
        Ok((id, answer))
    }

    /// Ends the wait of one request.
    pub fn forget(&mut self, id: u64, now: Moment) {
        self.waiters.retain(|waiter| waiter.id != id);
        self.serve(now);
    }

    /// Ends holds of an owner that pass the test, and its waits. Returns how many holds there were.
    pub fn release(&mut self, keys: &[Key], owner: &[u8], options: &Options, now: Moment) -> Result<i64, ServerError> {
        self.serve(now);
        let mut count = 0;
        for key in keys {
            let hold = self.hold(key, owner).cloned();
            if options.fence.is_some_and(|fence| hold.as_ref().is_none_or(|hold| hold.fence != fence)) {
                continue;
            }
            if options.cool.is_some() && hold.as_ref().is_some_and(|hold| hold.is_shared) {
                return Err(error("COOL needs an exclusive hold"));
            }
            if options.downgrade {
                if let Some(hold) = self.hold_mut(key, owner) {
                    hold.is_shared = true;
                    count += 1;
                    self.changed.insert(key.clone());
                }
                continue;
            }
            for index in (0..self.waiters.len()).rev() {
                let is_cancelled =
                    self.waiters.get(index).is_some_and(|waiter| waiter.owner == owner && waiter.keys.contains(key));
                if is_cancelled {
                    let _ = self.waiters.remove(index).reply.send(Ok(Value::Nil));
                }
            }
            if hold.is_some() {
                count += 1;
                self.end(key, owner, options.cool, now);
            }
        }
        self.serve(now);
        Ok(count)
    }

    /// Gives holds of an owner a new lease. Returns how many holds there were.
    pub fn extend(&mut self, keys: &[Key], owner: &[u8], options: &Options, now: Moment) -> i64 {
        self.serve(now);
        let mut count = 0;
        let mut raised = self.last_fence;
        for key in keys {
            let Some(hold) = self.hold_mut(key, owner) else { continue };
            if options.fence.is_some_and(|fence| hold.fence != fence) {
                continue;
            }
            hold.lease = options.lease.unwrap_or(hold.lease);
            hold.until = hold.most.map_or(now + hold.lease, |most| most.min(now + hold.lease));
            if let Some(fence) = options.raise {
                hold.fence = hold.fence.max(fence);
                raised = raised.max(fence);
            }
            count += 1;
        }
        self.last_fence = raised;
        count
    }

    /// Ends every hold that is bound to this connection, and its waits.
    pub fn end_session(&mut self, connection: u64, now: Moment) {
        self.waiters.retain(|waiter| waiter.connection != connection);
        let bound: Vec<(Key, OwnerName)> = self
            .locks
            .iter()
            .flat_map(|(key, lock)| lock.holds.iter().map(move |hold| (key, hold)))
            .filter(|(_, hold)| hold.session == connection)
            .map(|(key, hold)| (key.clone(), hold.owner.clone()))
            .collect();
        for (key, owner) in bound {
            let delay = self.hold(&key, &owner).and_then(|hold| hold.delay);
            self.end(&key, &owner, delay, now);
        }
        self.serve(now);
    }

    /// Removes a lock with all its holds, as an operator would with DEL.
    pub fn remove(&mut self, key: &[u8], now: Moment) -> bool {
        let is_known = self.locks.remove(key).is_some();
        if is_known {
            self.changed.insert(key.to_vec());
        }
        self.serve(now);
        is_known
    }

    /// Ends what is over, and grants what has become free, in the order in which requests came.
    pub fn serve(&mut self, now: Moment) {
        self.end_leases(now);
        let mut blocked: HashSet<Key> = HashSet::new();
        let mut index = 0;
        while let Some(waiter) = self.waiters.get(index) {
            let can_have = |key: &Key| {
                !blocked.contains(key)
                    && (self.hold(key, &waiter.owner).is_some() || self.can_hold(key, &waiter.options))
            };
            if !waiter.keys.iter().all(can_have) {
                blocked.extend(waiter.keys.iter().cloned());
                index += 1;
                continue;
            }
            let Waiter { keys, owner, options, connection, reply, .. } = self.waiters.remove(index);
            let known: Vec<bool> = keys.iter().map(|key| self.hold(key, &owner).is_some()).collect();
            let fences = self.grant(&keys, &owner, &options, connection, now);
            if reply.send(Ok(fences)).is_err() {
                // Nobody waits for the answer any more.
                for (key, _) in keys.iter().zip(known).filter(|(_, is_known)| !is_known) {
                    self.end(key, &owner, None, now);
                }
            }
        }
    }

    /// The next moment at which something ends.
    pub fn next_end(&self) -> Option<Moment> {
        let ends = |lock: &Lock| lock.holds.iter().map(|hold| hold.until).chain(lock.cooling).min();
        self.locks.values().filter_map(ends).min()
    }

    pub fn hold(&self, key: &[u8], owner: &[u8]) -> Option<&Hold> {
        self.locks.get(key)?.holds.iter().find(|hold| hold.owner == owner)
    }

    fn hold_mut(&mut self, key: &[u8], owner: &[u8]) -> Option<&mut Hold> {
        self.locks.get_mut(key)?.holds.iter_mut().find(|hold| hold.owner == owner)
    }

    fn can_hold(&self, key: &[u8], options: &Options) -> bool {
        let Some(lock) = self.locks.get(key) else { return true };
        if lock.cooling.is_some() {
            return false;
        }
        let taken: u64 = lock.holds.iter().map(|hold| u64::from(hold.weight)).sum();
        let is_within = options.limit == 0 || taken + u64::from(options.weight) <= u64::from(options.limit);
        lock.holds.is_empty() || options.is_shared && lock.holds.iter().all(|hold| hold.is_shared) && is_within
    }

    fn grant(&mut self, keys: &[Key], owner: &[u8], options: &Options, connection: u64, now: Moment) -> Value {
        let lease = options.lease.unwrap_or(super::command::LEASE_DEFAULT);
        let session = if options.session { connection } else { 0 };
        let mut fences = Vec::new();
        for key in keys {
            if let Some(hold) = self.hold_mut(key, owner) {
                let until = hold.most.map_or(now + lease, |most| most.min(now + lease));
                hold.until = hold.until.max(until);
                hold.session = session;
                fences.push(Value::Int(hold.fence));
                continue;
            }
            self.last_fence += 1;
            let most = options.max.map(|max| now + max);
            let hold = Hold {
                owner: owner.to_vec(),
                fence: self.last_fence,
                until: most.map_or(now + lease, |most| most.min(now + lease)),
                lease,
                granted: now,
                most,
                is_shared: options.is_shared,
                limit: options.limit,
                weight: options.weight,
                delay: options.delay,
                session,
            };
            self.locks.entry(key.clone()).or_default().holds.push(hold);
            self.changed.insert(key.clone());
            fences.push(Value::Int(self.last_fence));
        }
        match (options.is_multiple, fences.pop()) {
            (false, Some(fence)) => fence,
            (_, last) => Value::Array(fences.into_iter().chain(last).collect()),
        }
    }

    /// Ends one hold. The lock then cools for `cool`.
    fn end(&mut self, key: &[u8], owner: &[u8], cool: Option<Duration>, now: Moment) {
        let Some(lock) = self.locks.get_mut(key) else { return };
        lock.holds.retain(|hold| hold.owner != owner);
        if let Some(cool) = cool {
            lock.cooling = Some(now + cool);
        }
        if lock.holds.is_empty() && lock.cooling.is_none() {
            self.locks.remove(key);
        }
        self.changed.insert(key.to_vec());
    }

    fn end_leases(&mut self, now: Moment) {
        let changed = &mut self.changed;
        self.locks.retain(|key, lock| {
            let before = lock.holds.len();
            for hold in lock.holds.iter().filter(|hold| hold.until <= now) {
                if let Some(delay) = hold.delay {
                    lock.cooling = Some(hold.until + delay);
                }
            }
            lock.holds.retain(|hold| hold.until > now);
            let was_cooling = lock.cooling.is_some();
            lock.cooling = lock.cooling.filter(|end| *end > now);
            if lock.holds.len() < before || was_cooling && lock.cooling.is_none() {
                changed.insert(key.clone());
            }
            !lock.holds.is_empty() || lock.cooling.is_some()
        });
    }

    /// Who waits for whom in a circle, if this owner waited for these keys.
    fn find_cycle(&self, keys: &[Key], owner: &[u8]) -> Option<String> {
        // Each step names the owner, the lock for which it waits, and who holds that lock.
        let mut paths: Vec<Vec<(OwnerName, Key, OwnerName)>> = vec![];
        let holders = |key: &Key| self.locks.get(key).map_or(&[][..], |lock| lock.holds.as_slice());
        for key in keys {
            for hold in holders(key).iter().filter(|hold| hold.owner != owner && hold.limit <= 1) {
                paths.push(vec![(owner.to_vec(), key.clone(), hold.owner.clone())]);
            }
        }
        let mut seen: HashMap<OwnerName, ()> = HashMap::new();
        while let Some(path) = paths.pop() {
            let Some((_, _, last)) = path.last().cloned() else { continue };
            if last == owner {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let steps = path.iter().map(|(waits, key, holds)| {
                    format!("'{}' waits for '{}' (lock '{}')", text(waits), text(holds), text(key))
                });
                return Some(steps.collect::<Vec<_>>().join(", "));
            }
            if seen.insert(last.clone(), ()).is_some() {
                continue;
            }
            for waiter in self.waiters.iter().filter(|waiter| waiter.owner == last) {
                for key in &waiter.keys {
                    for hold in holders(key).iter().filter(|hold| hold.owner != last && hold.limit <= 1) {
                        let step = (last.clone(), key.clone(), hold.owner.clone());
                        paths.push(path.iter().cloned().chain([step]).collect());
                    }
                }
            }
        }
        None
    }
}

fn error(text: &str) -> ServerError {
    ServerError::new("ERR", Some(text))
}
