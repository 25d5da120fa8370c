//! The lines of all locks, and the clients that stand in them.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::deadlines::{Deadlines, Slot};
use super::server::{KeyId, KeyRef, Reply, Waiting};
use crate::lock::{Line, Owner, Steady, Ticket};

/// The lines of all locks that have one.
#[derive(Debug, Default)]
pub struct Lines(BTreeMap<i32, HashMap<Rc<[u8]>, Line>>);

impl Lines {
    /// The line of this lock, if it has one.
    pub fn get_mut(&mut self, key: KeyRef) -> Option<&mut Line> {
        // Most locks of most servers have no line; then this is all it costs to know.
        if self.0.is_empty() {
            return None;
        }
        self.0.get_mut(&key.db)?.get_mut(key.name)
    }

    /// The line's own copy of the key's name.
    pub fn name(&self, key: KeyRef) -> Option<Rc<[u8]>> {
        self.0.get(&key.db)?.get_key_value(key.name).map(|(name, _)| Rc::clone(name))
    }

    /// Gives the lock a line.
    pub fn insert(&mut self, key: KeyRef, line: Line) {
        self.0.entry(key.db).or_default().insert(key.name.into(), line);
    }

    /// Takes the lock's line away.
    pub fn remove(&mut self, key: KeyRef) -> Option<Line> {
        let of_db = self.0.get_mut(&key.db)?;
        let line = of_db.remove(key.name);
        if of_db.is_empty() {
            self.0.remove(&key.db);
        }
        line
    }

    /// Forgets the line if nobody waits in it and nothing is on its way.
    pub fn remove_if_idle(&mut self, key: KeyRef) {
        if self.get_mut(key).is_some_and(|line| line.is_idle()) {
            self.remove(key);
        }
    }

    /// Every lock with a line in one of these databases; `None`: in any.
    pub fn keys(&self, dbs: Option<&[i32]>) -> Vec<KeyId> {
        self.0
            .iter()
            .filter(|(db, _)| dbs.is_none_or(|dbs| dbs.contains(db)))
            .flat_map(|(db, lines)| lines.keys().map(|name| KeyRef { db: *db, name }.to_id()))
            .collect()
    }
}

/// A client that stands in a line.
#[derive(Debug)]
struct Parked<W> {
    client: W,
    key: (i32, Rc<[u8]>),
    wait_end: Slot,
    made_owner: Option<Rc<Owner>>,
}

/// All clients that wait, by ticket.
pub struct Waiters<W: Waiting> {
    parked: HashMap<Ticket, Parked<W>>,
    tickets: HashMap<W::Id, Ticket>,
    wait_ends: Deadlines<Ticket>,
}

impl<W: Waiting> Waiters<W> {
    /// Nobody.
    pub fn new() -> Waiters<W> {
        Waiters { parked: HashMap::new(), tickets: HashMap::new(), wait_ends: Deadlines::new() }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// When the next wait runs out.
    pub fn first_end(&self) -> Option<Steady> {
        self.wait_ends.first()
    }

    /// Takes note of the client behind a ticket that has just joined the line of `key`, and of the owner that the server
    /// made for it, if it did.
    pub fn park(
        &mut self,
        ticket: Ticket,
        client: W,
        key: (i32, Rc<[u8]>),
        until: Option<Steady>,
        made_owner: Option<Owner>,
    ) {
        let wait_end = until.map_or(Slot::NONE, |until| self.wait_ends.insert(until, ticket));
        self.tickets.insert(client.id(), ticket);
        self.parked.insert(ticket, Parked { client, key, wait_end, made_owner: made_owner.map(Rc::new) });
    }

    /// Takes a waiter whose wait has run out.
    pub fn take_due(&mut self, now: Steady) -> Option<Ticket> {
        self.wait_ends.take_due(now)
    }

    /// Which waiter this client is.
    pub fn ticket(&self, client: W::Id) -> Option<Ticket> {
        self.tickets.get(&client).copied()
    }

    /// For which lock it waits.
    pub fn key(&self, ticket: Ticket) -> Option<KeyId> {
        self.parked.get(&ticket).map(|parked| KeyRef { db: parked.key.0, name: &parked.key.1 }.to_id())
    }

    /// Answers a waiter that has left its line.
    pub fn answer(&mut self, ticket: Ticket, reply: impl FnOnce(Option<Rc<Owner>>) -> Reply) {
        if let Some(parked) = self.take(ticket) {
            parked.client.answer(parked.key, reply(parked.made_owner));
        }
    }

    /// Lets go of a waiter that has left its line without an answer.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(parked) = self.take(ticket) {
            parked.client.abandon();
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Parked<W>> {
        let parked = self.parked.remove(&ticket)?;
        self.tickets.remove(&parked.client.id());
        self.wait_ends.remove(parked.wait_end);
        if self.parked.is_empty() {
            // What a crowd of waiters took is given back.
            self.parked.shrink_to(64);
            self.tickets.shrink_to(64);
        }
        Some(parked)
    }
}
