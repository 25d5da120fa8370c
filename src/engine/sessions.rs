//! The holds that end with a connection.
//!
//! A hold names the session that it is bound to. This is the way back, from a connection that closed to its holds. It is in
//! memory only, and a change of role forgets all of it: from then on the leases alone end these holds.
//!
//! One connection may have a million holds, so they are in a tree: a hash table that doubles would stop the server.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::names::{KeyId, KeyRef, Scope};
use crate::lock::{Owner, Session};

/// A hold, identified by the key of its lock and its owner.
pub type HoldName = (KeyId, Owner);

/// The state of a session that a hold is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The connection is open.
    Open,
    /// The connection has closed.
    Closed,
    /// A change of role has released the holds from the session.
    Forgotten,
}

/// All connections that asked for a hold with SESSION.
#[derive(Debug)]
pub struct Sessions {
    by_client: BTreeMap<u64, Session>,
    /// The client ids of the sessions whose connections are open.
    open: BTreeMap<Session, u64>,
    /// The holds of every session. Those of a closed session stay until they are [taken](Sessions::take).
    holds: BTreeSet<(Session, KeyId, Owner)>,
    /// The next session to be given out.
    next: NonZeroU64,
    /// Sessions below this one are forgotten.
    first: NonZeroU64,
}

impl Sessions {
    /// No connection has asked yet.
    pub fn new() -> Sessions {
        Sessions {
            by_client: BTreeMap::new(),
            open: BTreeMap::new(),
            holds: BTreeSet::new(),
            next: NonZeroU64::MIN,
            first: NonZeroU64::MIN,
        }
    }

    /// The session of this connected client. It is made if there is none.
    pub fn of_client(&mut self, client: u64) -> Session {
        if let Some(session) = self.by_client.get(&client) {
            return *session;
        }
        let session = Session(self.next);
        self.next = self.next.saturating_add(1);
        self.by_client.insert(client, session);
        self.open.insert(session, client);
        session
    }

    /// The id of a session's client, while it is connected.
    pub fn client(&self, session: Session) -> Option<u64> {
        self.open.get(&session).copied()
    }

    /// Binds a hold to a session, and tells the state of the session. If it is closed the caller must end the hold.
    pub fn bind(&mut self, session: Session, key: KeyRef, owner: &Owner) -> SessionState {
        if session.0 < self.first {
            return SessionState::Forgotten;
        }
        if !self.open.contains_key(&session) {
            return SessionState::Closed;
        }
        self.holds.insert((session, key.to_id(), owner.clone()));
        SessionState::Open
    }

    /// Forgets a hold that ended, or is bound to another session.
    pub fn unbind(&mut self, session: Session, key: KeyRef, owner: &Owner) {
        self.holds.remove(&(session, key.to_id(), owner.clone()));
    }

    /// The open sessions that have holds.
    pub fn with_holds(&self) -> Vec<Session> {
        self.open.keys().copied().filter(|session| self.hold(*session).is_some()).collect()
    }

    /// The holds that are bound to this session.
    pub fn holds(&self, session: Session) -> impl Iterator<Item = (&KeyId, &Owner)> {
        let from = (session, KeyId::first(), Owner::first());
        let theirs = self.holds.range(from..).take_while(move |(of, ..)| *of == session);
        theirs.map(|(_, key, owner)| (key, owner))
    }

    /// A client's connection has closed. Returns its session if there are holds to [take](Sessions::take).
    pub fn close(&mut self, client: u64) -> Option<Session> {
        let session = self.by_client.remove(&client)?;
        self.open.remove(&session);
        self.hold(session).is_some().then_some(session)
    }

    /// Takes one of the holds of a closed session.
    pub fn take(&mut self, session: Session) -> Option<HoldName> {
        let (_, key, owner) = self.holds.take(&self.hold(session)?.clone())?;
        Some((key, owner))
    }

    /// The first hold of a session.
    fn hold(&self, session: Session) -> Option<&(Session, KeyId, Owner)> {
        let from = (session, KeyId::first(), Owner::first());
        self.holds.range(from..).next().filter(|(of, ..)| *of == session)
    }

    /// All holds, with their sessions.
    #[cfg(any(test, fuzzing))]
    pub fn all(&self) -> impl Iterator<Item = &(Session, KeyId, Owner)> {
        self.holds.iter()
    }

    /// Whether a change of role has released the holds from this session.
    #[cfg(any(test, fuzzing))]
    pub fn is_forgotten(&self, session: Session) -> bool {
        session.0 < self.first
    }

    /// All holds of a session.
    #[cfg(any(test, fuzzing))]
    pub fn holds_of(&self, session: Session) -> impl Iterator<Item = HoldName> + '_ {
        self.holds.iter().filter(move |(of, ..)| *of == session).map(|(_, key, owner)| (key.clone(), owner.clone()))
    }

    /// A change of role: no hold is bound to a session any more.
    pub fn forget(&mut self) {
        *self = Sessions { next: self.next, first: self.next, ..Sessions::new() };
    }

    /// All holds in these databases are gone.
    pub fn flushed(&mut self, scope: Scope) {
        match scope {
            Scope::All => self.holds = BTreeSet::new(),
            Scope::Db(db) => self.holds.retain(|(_, key, _)| key.db() != db),
        }
    }

    /// Two databases changed places, and the holds with them.
    pub fn swapped(&mut self, one: i32, other: i32) {
        let swap = |(session, mut key, owner): (Session, KeyId, Owner)| {
            key.swap(one, other);
            (session, key, owner)
        };
        self.holds = std::mem::take(&mut self.holds).into_iter().map(swap).collect();
    }
}
