//! The queues of all locks that have one.
//!
//! They are in trees. A hash table that doubles moves all it holds at once, and would stop the server for as long as a
//! hundred thousand waiters take.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::engine::names::{KeyId, KeyRef};
use crate::lock::WaitQueue;

/// The queues of all locks that have one.
#[derive(Debug, Default)]
pub struct WaitQueues(BTreeMap<i32, BTreeMap<Rc<[u8]>, WaitQueue>>);

impl WaitQueues {
    /// The queue of this lock, if it has one.
    pub fn get(&self, key: KeyRef) -> Option<&WaitQueue> {
        // Most locks of most servers have no queue; then this is all it costs to know.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key.db)?.get(key.name)
    }

    /// The queue of this lock, if it has one, to change it.
    pub fn get_mut(&mut self, key: KeyRef) -> Option<&mut WaitQueue> {
        // As in `get`.
        if self.0.is_empty() {
            return None;
        }
        self.0.get_mut(&key.db)?.get_mut(key.name)
    }

    /// The queue's own copy of the key's name.
    pub fn name(&self, key: KeyRef) -> Option<Rc<[u8]>> {
        self.0.get(&key.db)?.get_key_value(key.name).map(|(name, _)| Rc::clone(name))
    }

    /// Gives the lock a queue.
    pub fn insert(&mut self, key: KeyRef, queue: WaitQueue) {
        self.0.entry(key.db).or_default().insert(key.name.into(), queue);
    }

    /// Takes the lock's queue away.
    pub fn remove(&mut self, key: KeyRef) -> Option<WaitQueue> {
        let of_db = self.0.get_mut(&key.db)?;
        let queue = of_db.remove(key.name);
        if of_db.is_empty() {
            self.0.remove(&key.db);
        }
        queue
    }

    /// Forgets the queue if nobody waits in it and no answer is in flight. True if it did.
    pub fn remove_if_idle(&mut self, key: KeyRef) -> bool {
        let is_idle = self.get_mut(key).is_some_and(|queue| queue.is_idle());
        if is_idle {
            self.remove(key);
        }
        is_idle
    }

    /// The queues of one database, each with the name of its lock's key.
    pub fn of_db(&self, db: i32) -> impl Iterator<Item = (&[u8], &WaitQueue)> {
        self.0.get(&db).into_iter().flatten().map(|(name, queue)| (&**name, queue))
    }

    /// Every queue, with the name of its lock.
    pub fn iter(&self) -> impl Iterator<Item = (KeyRef<'_>, &WaitQueue)> {
        self.0.iter().flat_map(|(db, queues)| queues.iter().map(|(name, queue)| (KeyRef { db: *db, name }, queue)))
    }

    /// The names of all locks that have a queue: those of the databases given, or of all databases if none are given.
    pub fn keys(&self, dbs: Option<&[i32]>) -> Vec<KeyId> {
        self.0
            .iter()
            .filter(|(db, _)| dbs.is_none_or(|dbs| dbs.contains(db)))
            .flat_map(|(db, queues)| queues.keys().map(|name| KeyRef { db: *db, name }.to_id()))
            .collect()
    }
}
