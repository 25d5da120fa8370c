//! What servers report by themselves. With CLIENT TRACKING on, a server reports when a lock changes that this client
//! has read.

use redis::{PushInfo, PushKind, Value};
use tokio::sync::broadcast;

/// How many events a slow listener may be behind before it misses some. It is told that it did.
const CAPACITY: usize = 4096;

/// A report of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// These keys have changed. The server reports the next change only after the next read.
    Changed(Vec<Vec<u8>>),
    /// Any key may have changed, and none will be reported: the database was flushed or a connection was lost.
    Unknown,
}

/// Passes reports on to all who listen.
#[derive(Clone, Debug)]
pub(crate) struct Events(broadcast::Sender<Event>);

impl Events {
    pub fn new() -> Events {
        Events(broadcast::Sender::new(CAPACITY))
    }

    pub fn publish(&self, event: Event) {
        // It is no error that nobody listens.
        let _ = self.0.send(event);
    }

    /// Listens from now on. Listen before the command that reads the key is sent: the report may come right behind its
    /// reply.
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

/// Receives reports.
pub(crate) struct Listener(broadcast::Receiver<Event>);

impl Listener {
    /// The next report.
    pub async fn next(&mut self) -> Event {
        match self.0.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => Event::Unknown,
            // The client has gone, and with it every connection.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }

    /// Returns when this key may have changed. The result tells whether the server said so: if not, no further change
    /// will be reported before the next read.
    pub async fn changed(&mut self, key: &[u8]) -> bool {
        loop {
            match self.next().await {
                Event::Changed(keys) if keys.iter().any(|changed| changed == key) => return true,
                Event::Changed(_) => {}
                Event::Unknown => return false,
            }
        }
    }
}

/// The event that a push message means, if it means one.
pub(crate) fn event_of(push: PushInfo) -> Option<Event> {
    match (push.kind, push.data.into_iter().next()) {
        (PushKind::Invalidate, Some(Value::Array(keys))) => {
            let keys = keys.into_iter().filter_map(|key| match key {
                Value::BulkString(key) => Some(key),
                _ => None,
            });
            Some(Event::Changed(keys.collect()))
        }
        (PushKind::Invalidate | PushKind::Disconnection, _) => Some(Event::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn change_of_a_key_reaches_who_listens_for_it() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let push = |kind, data| event_of(PushInfo { kind, data });
        let events = Events::new();
        let mut listener = events.listen();
        events.publish(push(PushKind::Invalidate, vec![Value::Array(vec![text("other")])]).unwrap());
        events.publish(push(PushKind::Invalidate, vec![Value::Array(vec![text("x"), text("k")])]).unwrap());
        assert!(listener.changed(b"k").await);
        events.publish(push(PushKind::Invalidate, vec![Value::Nil]).unwrap());
        assert!(!listener.changed(b"k").await);
        assert_eq!(push(PushKind::Disconnection, vec![]), Some(Event::Unknown));
        for _ in 0..=CAPACITY {
            events.publish(Event::Changed(vec![]));
        }
        assert!(!listener.changed(b"k").await, "a listener that missed events is told so");
    }
}
