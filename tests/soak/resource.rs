//! The resource that the locks protect: it remembers the largest fence it saw from a holder and rejects smaller ones.
//!
//! It counts by reading and writing in two steps, as a real one does. A holder that was stopped in between and outlived its
//! lease would undo what the next one counted, if its write were let in. So that none is ever lost is the whole claim.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::history::Lock;

/// All resources, one for each lock.
#[derive(Debug, Default)]
pub struct Resources(Mutex<HashMap<Lock, Resource>>);

#[derive(Debug, Default)]
struct Resource {
    fence_max: u64,
    count: u64,
    accepted: u64,
}

/// The answer to an old fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale;

impl Resources {
    /// Reads the count.
    pub fn read(&self, lock: &Lock, fence: u64) -> Result<u64, Stale> {
        self.with(lock, fence, |resource| resource.count)
    }

    /// Writes a count that was computed from one that was read.
    pub fn write(&self, lock: &Lock, fence: u64, count: u64) -> Result<(), Stale> {
        self.with(lock, fence, |resource| {
            resource.count = count;
            resource.accepted += 1;
        })
    }

    /// The locks whose resource lost a write: it counted less than was accepted.
    pub fn lost(&self) -> Vec<String> {
        let resources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = resources.iter().filter(|(_, resource)| resource.count != resource.accepted);
        lost.map(|(lock, one)| format!("{lock} counted {} of {} writes", one.count, one.accepted)).collect()
    }

    fn with<R>(&self, lock: &Lock, fence: u64, body: impl FnOnce(&mut Resource) -> R) -> Result<R, Stale> {
        let mut resources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let resource = resources.entry(lock.clone()).or_default();
        if fence < resource.fence_max {
            return Err(Stale);
        }
        resource.fence_max = fence;
        Ok(body(resource))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_fence_is_rejected_and_a_write_out_of_turn_would_show() {
        let lock = Lock { db: 0, name: "k".to_owned() };
        let resources = Resources::default();
        let old = resources.read(&lock, 5).unwrap();
        let new = resources.read(&lock, 6).unwrap();
        resources.write(&lock, 6, new + 1).unwrap();
        assert_eq!(resources.write(&lock, 5, old + 1), Err(Stale));
        assert!(resources.lost().is_empty());
        // Two holders under one fence are what it cannot tell apart.
        resources.write(&lock, 6, old + 1).unwrap();
        assert_eq!(resources.lost().len(), 1);
    }
}
