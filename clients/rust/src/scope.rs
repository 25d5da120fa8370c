//! What one owner of several locks has.
//!
//! The server knows an owner and a key only, so two requests of one owner for one key must not run at the same time:
//! the withdrawal of one would end the hold of the other. Each key has a turn, which a request keeps until its hold is
//! surely released.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{watch, Mutex as AsyncMutex};
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::guard::{Guard, WeakGuard};
use crate::net::endpoint::run_until;
use crate::spec::{Mode, Spec};
use crate::sync::lock;

/// The locks of one owner.
pub(crate) struct Scope {
    name: String,
    keys: Mutex<HashMap<Vec<u8>, Arc<Key>>>,
}

/// What the owner has of one key.
struct Key {
    /// Whoever has it has, wants or still releases the lock.
    turn: Arc<AsyncMutex<()>>,
    guard: watch::Sender<WeakGuard>,
}

impl Scope {
    pub fn new(name: String) -> Scope {
        Scope { name, keys: Mutex::default() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, key: &[u8]) -> Arc<Key> {
        let mut keys = lock(&self.keys);
        // What nobody has or wants any more is forgotten.
        keys.retain(|_, known| Arc::strong_count(known) > 1 || Arc::strong_count(&known.turn) > 1);
        let new = || Arc::new(Key { turn: Arc::default(), guard: watch::Sender::new(WeakGuard::default()) });
        Arc::clone(keys.entry(key.to_vec()).or_insert_with(new))
    }

    /// Acquires the locks under this owner's name, or shares a hold that it has.
    pub async fn acquire(&self, client: &Client, spec: &Spec, within: Duration) -> Result<Guard, Error> {
        spec.check_ranges()?;
        let begun = Instant::now();
        let deadline = begun.checked_add(within);
        let mut names = spec.keys.clone();
        // Requests of one owner that name the same keys in another order do not wait for each other.
        names.sort();
        let keys: Vec<Arc<Key>> = names.iter().map(|key| self.key(key)).collect();
        let mut turns = Vec::new();
        for key in &keys {
            let mut changes = key.guard.subscribe();
            loop {
                let held = changes.borrow_and_update().upgrade();
                if let Some(guard) = held {
                    return if keys.len() == 1 { share(guard, spec) } else { Err(HOLDS_ONE_OF_THEM) };
                }
                let next = async {
                    tokio::select! {
                        biased;
                        turn = Arc::clone(&key.turn).lock_owned() => Some(turn),
                        // The owner has got the lock, or the key is in other hands; the next look tells.
                        _ = changes.changed() => None,
                    }
                };
                match run_until(deadline, next).await {
                    Some(Some(turn)) => {
                        turns.push(turn);
                        break;
                    }
                    Some(None) => {}
                    None => return Err(Error::NotAcquired),
                }
            }
        }
        let within = if within.is_zero() || deadline.is_none() {
            within
        } else {
            within.saturating_sub(begun.elapsed()).max(Duration::from_millis(1))
        };
        let guard = client.acquire(spec, Some((self.name.clone(), Arc::new(turns))), within).await?;
        for key in &keys {
            key.guard.send_replace(guard.downgrade_to_weak());
        }
        Ok(guard)
    }
}

const HOLDS_ONE_OF_THEM: Error = Error::Invalid("this owner already holds one of these locks: release it first");

/// A second guard of a hold that satisfies the request too.
fn share(guard: Guard, spec: &Spec) -> Result<Guard, Error> {
    let held = guard.spec();
    if held.keys.len() > 1 {
        return Err(HOLDS_ONE_OF_THEM);
    }
    match (held.mode, spec.mode) {
        (Mode::Exclusive, _) => Ok(guard),
        (Mode::Shared | Mode::Counted { .. }, Mode::Shared | Mode::Counted { .. }) => Ok(guard),
        (Mode::Shared | Mode::Counted { .. }, Mode::Exclusive) => {
            Err(Error::Invalid("this owner holds the lock shared: release it first to get it exclusively"))
        }
    }
}
