//! The queues of all locks, and the clients that stand in them.
//!
//! All tables are trees. A hash table that doubles moves all it holds at once, and would stop the server for as long as a
//! hundred thousand waiters take.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::deadlines::Deadlines;
use super::names::{KeyId, KeyRef};
use super::server::{Reply, Waiting};
use super::slots::Slot;
use crate::lock::{Owner, Steady, Ticket, User, WaitQueue};

/// The queues of all locks that have one.
#[derive(Debug, Default)]
pub struct WaitQueues(BTreeMap<i32, BTreeMap<Rc<[u8]>, WaitQueue>>);

impl WaitQueues {
    /// The queue of this lock, if it has one.
    pub fn get(&self, key: KeyRef) -> Option<&WaitQueue> {
        // As in `get_mut`.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key.db)?.get(key.name)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, key: KeyRef) -> Option<&mut WaitQueue> {
        // Most locks of most servers have no queue; then this is all it costs to know.
        if self.0.is_empty() {
            return None;
        }
        self.0.get_mut(&key.db)?.get_mut(key.name)
    }

    /// The queue's own copy of the key's name.
    pub fn name(&self, key: KeyRef) -> Option<Rc<[u8]>> {
        self.0.get(&key.db)?.get_key_value(key.name).map(|(name, _)| Rc::clone(name))
    }

    /// Gives the lock a queue.
    pub fn insert(&mut self, key: KeyRef, queue: WaitQueue) {
        self.0.entry(key.db).or_default().insert(key.name.into(), queue);
    }

    /// Takes the lock's queue away.
    pub fn remove(&mut self, key: KeyRef) -> Option<WaitQueue> {
        let of_db = self.0.get_mut(&key.db)?;
        let queue = of_db.remove(key.name);
        if of_db.is_empty() {
            self.0.remove(&key.db);
        }
        queue
    }

    /// Forgets the queue if nobody waits in it and nothing is on its way.
    pub fn remove_if_idle(&mut self, key: KeyRef) {
        if self.get_mut(key).is_some_and(|queue| queue.is_idle()) {
            self.remove(key);
        }
    }

    /// Every queue, and whose it is.
    pub fn iter(&self) -> impl Iterator<Item = (KeyRef<'_>, &WaitQueue)> {
        self.0.iter().flat_map(|(db, queues)| queues.iter().map(|(name, queue)| (KeyRef { db: *db, name }, queue)))
    }

    /// Every lock with a queue in one of these databases; `None`: in any.
    pub fn keys(&self, dbs: Option<&[i32]>) -> Vec<KeyId> {
        self.0
            .iter()
            .filter(|(db, _)| dbs.is_none_or(|dbs| dbs.contains(db)))
            .flat_map(|(db, queues)| queues.keys().map(|name| KeyRef { db: *db, name }.to_id()))
            .collect()
    }
}

/// A client that stands in a queue.
#[derive(Debug)]
struct Parked<W> {
    client: W,
    key: (i32, Rc<[u8]>),
    wait_end: Slot,
    asker: Asker,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// For whom.
    pub owner: Rc<Owner>,
    /// Whether the server made the owner, and must tell it.
    pub is_made: bool,
    /// The ACL user, if known.
    pub user: Option<User>,
    /// Whether the search for deadlocks looks at this request.
    pub takes_part: bool,
}

/// All clients that wait, by ticket.
pub struct Waiters<W: Waiting> {
    /// Boxed, because a tree has up to twice the room it needs.
    parked: BTreeMap<Ticket, Box<Parked<W>>>,
    tickets: BTreeMap<W::Id, Ticket>,
    by_asker: BTreeSet<(User, Rc<Owner>, Ticket)>,
    /// For which locks a user's requests wait that take part in deadlocks, and how many for each.
    queues_of: BTreeMap<(User, i32, Rc<[u8]>), usize>,
    /// How many of `by_asker` have the same owner and user as the one before them.
    repeated: usize,
    wait_ends: Deadlines<Ticket>,
}

impl<W: Waiting> Waiters<W> {
    /// Nobody.
    pub fn new() -> Waiters<W> {
        Waiters {
            parked: BTreeMap::new(),
            tickets: BTreeMap::new(),
            by_asker: BTreeSet::new(),
            queues_of: BTreeMap::new(),
            repeated: 0,
            wait_ends: Deadlines::new(),
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// When the next wait runs out.
    pub fn first_timeout(&self) -> Option<Steady> {
        self.wait_ends.first()
    }

    /// Takes note of the client behind a ticket that has just joined the queue of `key`.
    pub fn park(&mut self, ticket: Ticket, client: W, key: (i32, Rc<[u8]>), until: Option<Steady>, asker: Asker) {
        let wait_end = until.map_or(Slot::NONE, |until| self.wait_ends.insert(until, ticket));
        self.tickets.insert(client.id(), ticket);
        if let Some(user) = asker.user {
            let waits_already = self.requests_of(user, &asker.owner).next().is_some();
            self.repeated += usize::from(waits_already);
            self.by_asker.insert((user, Rc::clone(&asker.owner), ticket));
            if asker.takes_part {
                *self.queues_of.entry((user, key.0, Rc::clone(&key.1))).or_default() += 1;
            }
        }
        self.parked.insert(ticket, Box::new(Parked { client, key, wait_end, asker }));
    }

    /// What else this owner waits for at the request of this user.
    pub fn requests_of(&self, user: User, owner: &Owner) -> impl Iterator<Item = (KeyId, Ticket)> + '_ {
        let owner = Rc::new(owner.clone());
        let theirs = (user, Rc::clone(&owner), Ticket(0))..=(user, owner, Ticket(u64::MAX));
        self.by_asker.range(theirs).filter_map(|(_, _, ticket)| self.key(*ticket).map(|key| (key, *ticket)))
    }

    /// The locks that requests of this user wait for which take part in deadlocks.
    pub fn queues_of(&self, user: User) -> impl Iterator<Item = KeyRef<'_>> {
        let from = (user, i32::MIN, Rc::from([]));
        let theirs = self.queues_of.range(from..).take_while(move |((of, ..), _)| *of == user);
        theirs.map(|((_, db, name), _)| KeyRef { db: *db, name })
    }

    /// Whether any owner waits more than once at the request of one user.
    pub fn some_wait_twice(&self) -> bool {
        self.repeated > 0
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

    /// Answers a waiter that has left its queue; the reply may name the owner if the server made it.
    pub fn answer(&mut self, ticket: Ticket, reply: impl FnOnce(Option<Rc<Owner>>) -> Reply) {
        if let Some(parked) = self.take(ticket) {
            let made_owner = parked.asker.is_made.then_some(parked.asker.owner);
            parked.client.answer(parked.key, reply(made_owner));
        }
    }

    /// Lets go of a waiter that has left its queue without an answer.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(parked) = self.take(ticket) {
            parked.client.abandon();
        }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Parked<W>> {
        let parked = *self.parked.remove(&ticket)?;
        self.tickets.remove(&parked.client.id());
        self.wait_ends.remove(parked.wait_end);
        if let Some(user) = parked.asker.user {
            self.by_asker.remove(&(user, Rc::clone(&parked.asker.owner), ticket));
            let waits_still = self.requests_of(user, &parked.asker.owner).next().is_some();
            self.repeated -= usize::from(waits_still);
            if parked.asker.takes_part {
                let queue = (user, parked.key.0, Rc::clone(&parked.key.1));
                match self.queues_of.get_mut(&queue) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => {
                        self.queues_of.remove(&queue);
                    }
                }
            }
        }
        Some(parked)
    }
}
