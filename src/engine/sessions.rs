//! Which holds end with which connection.
//!
//! The hold itself says to which session it is bound; this is the way back, from a connection that closed to its holds. It
//! is in memory only, and a change of role forgets all of it: the leases alone end what was taken over.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU64;

use super::server::{KeyId, KeyRef};
use super::Scope;
use crate::lock::{Owner, Session};

/// For how many holds of a connection room is kept.
const KEPT: usize = 64;

/// A hold, by the name of its lock and its owner.
pub type HoldName = (KeyId, Owner);

/// What a session is, seen from a hold that is bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its connection is open.
    Open,
    /// Its connection has closed.
    Closed,
    /// A change of role took it from its holds.
    Forgotten,
}

#[derive(Debug)]
struct Connection {
    client: u64,
    holds: HashSet<HoldName>,
}

/// All connections that asked for a hold that ends with them.
#[derive(Debug)]
pub struct Sessions {
    by_client: HashMap<u64, Session>,
    open: HashMap<Session, Connection>,
    /// The next session; smaller ones have been given out.
    next: NonZeroU64,
    /// Sessions below this one are forgotten.
    first: NonZeroU64,
}

impl Sessions {
    /// None.
    pub fn new() -> Sessions {
        Sessions { by_client: HashMap::new(), open: HashMap::new(), next: NonZeroU64::MIN, first: NonZeroU64::MIN }
    }

    /// The session of this client, which is connected.
    pub fn of(&mut self, client: u64) -> Session {
        if let Some(session) = self.by_client.get(&client) {
            return *session;
        }
        let session = Session(self.next);
        self.next = self.next.saturating_add(1);
        self.by_client.insert(client, session);
        self.open.insert(session, Connection { client, holds: HashSet::new() });
        session
    }

    /// The client behind a session, while it is connected.
    pub fn client(&self, session: Session) -> Option<u64> {
        self.open.get(&session).map(|connection| connection.client)
    }

    /// Takes note of a hold. If its connection has closed meanwhile, somebody must see to the hold.
    pub fn bind(&mut self, session: Session, key: KeyRef, owner: &Owner) -> Standing {
        if session.0 < self.first {
            return Standing::Forgotten;
        }
        let Some(connection) = self.open.get_mut(&session) else { return Standing::Closed };
        connection.holds.insert((key.to_id(), owner.clone()));
        Standing::Open
    }

    /// Forgets a hold that ended, or follows another connection.
    pub fn unbind(&mut self, session: Session, key: KeyRef, owner: &Owner) {
        if let Some(connection) = self.open.get_mut(&session) {
            let holds = &mut connection.holds;
            holds.remove(&(key.to_id(), owner.clone()));
            if holds.capacity() > KEPT.max(8 * holds.len()) {
                // What many holds took is given back while the connection lives.
                holds.shrink_to(2 * holds.len());
            }
        }
    }

    /// The sessions of which something is held.
    pub fn with_holds(&self) -> Vec<Session> {
        let holds = |(session, connection): (&Session, &Connection)| (!connection.holds.is_empty()).then_some(*session);
        self.open.iter().filter_map(holds).collect()
    }

    /// What ends with this session.
    pub fn holds(&self, session: Session) -> impl Iterator<Item = &HoldName> {
        self.open.get(&session).into_iter().flat_map(|connection| &connection.holds)
    }

    /// The client's connection has closed: what ends with it.
    pub fn close(&mut self, client: u64) -> Option<(Session, Vec<HoldName>)> {
        let session = self.by_client.remove(&client)?;
        let connection = self.open.remove(&session)?;
        if self.open.is_empty() {
            // What a crowd of sessions took is given back.
            self.open.shrink_to(64);
            self.by_client.shrink_to(64);
        }
        Some((session, connection.holds.into_iter().collect()))
    }

    /// A change of role: no hold is bound to a connection any more.
    pub fn forget(&mut self) {
        *self = Sessions { next: self.next, first: self.next, ..Sessions::new() };
    }

    /// All holds there are gone.
    pub fn flushed(&mut self, scope: Scope) {
        for connection in self.open.values_mut() {
            match scope {
                Scope::All => connection.holds = HashSet::new(),
                Scope::Db(db) => {
                    connection.holds.retain(|(key, _)| key.db != db);
                    connection.holds.shrink_to_fit();
                }
            }
        }
    }

    /// The data of two databases changed places.
    pub fn swapped(&mut self, one: i32, other: i32) {
        for connection in self.open.values_mut().filter(|connection| !connection.holds.is_empty()) {
            connection.holds = std::mem::take(&mut connection.holds)
                .into_iter()
                .map(|(mut key, owner)| {
                    key.swap(one, other);
                    (key, owner)
                })
                .collect();
        }
    }
}
