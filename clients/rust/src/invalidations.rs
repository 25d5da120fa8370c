//! Invalidation messages: with CLIENT TRACKING on, a server reports when a lock changes that this client has read.

use std::collections::HashMap;
use std::sync::Mutex;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;

use crate::sync::lock;

/// The keys that have subscribers. A server reports only the first change after a read, so the entry of a key is
/// removed with its message.
#[derive(Default)]
pub(crate) struct Invalidations(Mutex<HashMap<Vec<u8>, watch::Sender<()>>>);

/// Waits for the next invalidation of one key. Dropping the last subscription of a key removes the key's entry.
pub(crate) struct Subscription<'a> {
    invalidations: &'a Invalidations,
    key: &'a [u8],
    receiver: watch::Receiver<()>,
}

impl Invalidations {
    /// Subscribes to the next invalidation of the key. Subscribe before the command that reads the key is sent: the
    /// message may come right behind its reply.
    pub fn subscribe<'a>(&'a self, key: &'a [u8]) -> Subscription<'a> {
        let mut senders = lock(&self.0);
        let sender = senders.entry(key.to_vec()).or_insert_with(|| watch::channel(()).0);
        Subscription { invalidations: self, key, receiver: sender.subscribe() }
    }

    /// Handles a push message of a server, or the end of its connection.
    pub fn handle_push(&self, push: PushInfo) {
        match (push.kind, push.data.into_iter().next()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                let mut senders = lock(&self.0);
                for key in keys {
                    if let Value::BulkString(key) = key {
                        senders.remove(&key);
                    }
                }
            }
            // The database was flushed, or the connection was lost and no further message will come.
            (PushKind::Invalidate | PushKind::Disconnection, _) => lock(&self.0).clear(),
            _ => {}
        }
    }
}

impl Subscription<'_> {
    /// Returns when the key was invalidated.
    pub async fn invalidated(&mut self) {
        // No value is ever sent: an invalidation drops the sender, and this fails.
        let _ = self.receiver.changed().await;
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut senders = lock(&self.invalidations.0);
        if senders.get(self.key).is_some_and(|sender| sender.receiver_count() == 1) {
            senders.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn invalidation_reaches_every_subscriber_and_leaves_no_entry() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let invalidations = Invalidations::default();
        let messages = [
            (PushKind::Invalidate, vec![Value::Array(vec![text("x"), text("k")])]),
            (PushKind::Invalidate, vec![Value::Nil]),
            (PushKind::Disconnection, vec![]),
        ];
        for (kind, data) in messages {
            let (mut one, mut other) = (invalidations.subscribe(b"k"), invalidations.subscribe(b"k"));
            let of_another_key = vec![Value::Array(vec![text("l")])];
            invalidations.handle_push(PushInfo { kind: PushKind::Invalidate, data: of_another_key });
            assert_eq!(lock(&invalidations.0).len(), 1);
            invalidations.handle_push(PushInfo { kind, data });
            one.invalidated().await;
            other.invalidated().await;
            assert!(lock(&invalidations.0).is_empty());
        }
        let one = invalidations.subscribe(b"k");
        drop(invalidations.subscribe(b"k"));
        assert_eq!(lock(&invalidations.0).len(), 1);
        drop(one);
        assert!(lock(&invalidations.0).is_empty());
    }
}
