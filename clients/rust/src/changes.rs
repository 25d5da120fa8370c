//! What servers tell by themselves about locks that were looked at (CLIENT TRACKING).

use std::collections::HashMap;
use std::sync::Mutex;

use redis::{PushInfo, PushKind, Value};
use tokio::sync::watch;

use crate::node::locked;

/// The locks that somebody watches. A server speaks once about each that it was asked about; so an entry goes with the word.
#[derive(Default)]
pub(crate) struct Changes(Mutex<HashMap<Vec<u8>, watch::Sender<()>>>);

/// The next change of a lock.
pub(crate) struct Change<'a> {
    changes: &'a Changes,
    key: &'a [u8],
    sender_lives: watch::Receiver<()>,
}

impl Changes {
    /// The next change of this lock, to be asked for before the server is asked how it stands.
    pub fn of<'a>(&'a self, key: &'a [u8]) -> Change<'a> {
        let mut watched = locked(&self.0);
        let sender = watched.entry(key.to_vec()).or_insert_with(|| watch::channel(()).0);
        Change { changes: self, key, sender_lives: sender.subscribe() }
    }

    /// A word of a server.
    pub fn hear(&self, push: PushInfo) {
        match (push.kind, push.data.into_iter().next()) {
            (PushKind::Invalidate, Some(Value::Array(keys))) => {
                let mut watched = locked(&self.0);
                for key in keys {
                    if let Value::BulkString(key) = key {
                        watched.remove(&key);
                    }
                }
            }
            // All keys are gone, or nothing more will be heard.
            (PushKind::Invalidate | PushKind::Disconnection, _) => locked(&self.0).clear(),
            _ => {}
        }
    }
}

impl Change<'_> {
    /// Returns when it happened.
    pub async fn happened(&mut self) {
        // Nothing is ever sent: the change is that the sender goes.
        let _ = self.sender_lives.changed().await;
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut watched = locked(&self.changes.0);
        if watched.get(self.key).is_some_and(|sender| sender.receiver_count() == 1) {
            watched.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn change_is_told_to_who_watches_and_nothing_is_left() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let changes = Changes::default();
        let words = [
            (PushKind::Invalidate, vec![Value::Array(vec![text("x"), text("k")])]),
            (PushKind::Invalidate, vec![Value::Nil]),
            (PushKind::Disconnection, vec![]),
        ];
        for (kind, data) in words {
            let (mut one, mut other) = (changes.of(b"k"), changes.of(b"k"));
            changes.hear(PushInfo { kind: PushKind::Invalidate, data: vec![Value::Array(vec![text("l")])] });
            assert_eq!(locked(&changes.0).len(), 1);
            changes.hear(PushInfo { kind, data });
            one.happened().await;
            other.happened().await;
            assert!(locked(&changes.0).is_empty());
        }
        let one = changes.of(b"k");
        drop(changes.of(b"k"));
        assert_eq!(locked(&changes.0).len(), 1);
        drop(one);
        assert!(locked(&changes.0).is_empty());
    }
}
