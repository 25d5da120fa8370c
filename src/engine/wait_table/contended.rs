//! The holders of the locks that somebody waits for. The search for deadlocks asks here first.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::names::{KeyId, KeyRef};
use crate::lock::{Holders, Owner};

/// The contended locks, which have a queue and holders, and how each is held.
#[derive(Debug, Default)]
pub struct Contended {
    held: BTreeMap<KeyId, Held>,
    /// The locks with one exclusive holder, by holder.
    by_holder: BTreeSet<(Owner, KeyId)>,
    /// The number of locks with shared holders.
    shared: usize,
}

/// How a lock with a queue is held.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Exclusive(Owner),
    Shared,
}

impl Held {
    /// How these holders hold the lock; `None` if it is free.
    fn by(holders: &Holders) -> Option<Held> {
        match holders {
            Holders::Exclusive(hold) => Some(Held::Exclusive(hold.owner.clone())),
            Holders::Shared(_) => Some(Held::Shared),
            Holders::Free | Holders::Cooling(_) => None,
        }
    }
}

impl Contended {
    /// Takes note of a step of a lock that has a queue, or had one before the step.
    pub fn note(&mut self, at: KeyRef, holders: Option<&Holders>, has_queue: bool) {
        let key = at.to_id();
        let held = holders.filter(|_| has_queue).and_then(Held::by);
        if self.held.get(&key) == held.as_ref() {
            return;
        }
        match self.held.remove(&key) {
            Some(Held::Exclusive(owner)) => {
                self.by_holder.remove(&(owner, key.clone()));
            }
            Some(Held::Shared) => self.shared -= 1,
            None => {}
        }
        match &held {
            Some(Held::Exclusive(owner)) => {
                self.by_holder.insert((owner.clone(), key.clone()));
            }
            Some(Held::Shared) => self.shared += 1,
            None => {}
        }
        if let Some(held) = held {
            self.held.insert(key, held);
        }
    }

    /// Whether this is how the lock is noted; without holders or without a queue it is not noted.
    #[cfg(any(test, fuzzing, debug_assertions))]
    pub fn agrees(&self, at: KeyRef, holders: Option<&Holders>) -> bool {
        self.held.get(&at.to_id()) == holders.and_then(Held::by).as_ref()
    }

    /// The locks that are noted.
    #[cfg(any(test, fuzzing))]
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.held.keys()
    }

    /// Whether this lock has a queue and holders.
    pub fn is_held(&self, key: KeyRef) -> bool {
        self.held.contains_key(&key.to_id())
    }

    /// Whether this lock has a queue and shared holders.
    pub fn is_shared(&self, key: KeyRef) -> bool {
        self.held.get(&key.to_id()) == Some(&Held::Shared)
    }

    /// Whether any lock has a queue and shared holders.
    pub fn has_shared(&self) -> bool {
        self.shared > 0
    }

    /// Whether this owner has an exclusive hold on a lock that has a queue.
    pub fn is_exclusive_holder(&self, owner: &Owner) -> bool {
        let from = (owner.clone(), KeyId::first());
        self.by_holder.range(from..).next().is_some_and(|(first, _)| first == owner)
    }
}
