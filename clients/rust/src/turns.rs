//! Turns: of those in this process who want the same key, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, Weak};

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::sync::lock;

/// The turns of many keys. The first who asks for a key comes first.
#[derive(Default)]
pub(crate) struct Turns(StdMutex<HashMap<Vec<u8>, Weak<Mutex<()>>>>);

impl Turns {
    /// Waits for the turn of this key.
    pub async fn wait(&self, key: &[u8]) -> OwnedMutexGuard<()> {
        self.of(key).lock_owned().await
    }

    fn of(&self, key: &[u8]) -> Arc<Mutex<()>> {
        let mut turns = lock(&self.0);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        // Keys that nobody wants any more are forgotten when another key comes.
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Mutex::new(()));
        turns.insert(key.to_vec(), Arc::downgrade(&turn));
        turn
    }
}
