//! The clients that wait, and what the search for deadlocks asks of them.
//!
//! All tables are trees, as those of the queues are: see [`super::queues`].

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::rc::Rc;

use crate::engine::deadlines::Deadlines;
use crate::engine::entries::EntryId;
use crate::engine::names::{KeyId, KeyRef};
use crate::engine::server::{Reply, Waiting};
use crate::lock::{Mode, Owner, Steady, Ticket, User};

/// A client that waits.
#[derive(Debug)]
struct Parked<W> {
    client: W,
    /// The lock that it waits for, or the first of several.
    key: (i32, Rc<[u8]>),
    /// If it waits for several locks.
    several: Option<Box<Several>>,
    wait_end: EntryId,
    requester: Requester,
}

/// What else is known of a client that waits for several locks.
#[derive(Debug)]
struct Several {
    /// The names of all its locks after the first.
    others: Vec<Rc<[u8]>>,
    /// The place of the lock that was last found not to be ready. Before that one is, the request cannot be granted.
    watched: usize,
    /// A task is to look at all locks, because the watched one was ready. It ends in a grant, in another answer, or in a lock
    /// to watch.
    is_due: bool,
}

impl<W> Parked<W> {
    /// The names of all locks that it waits for.
    fn names(&self) -> impl Iterator<Item = &Rc<[u8]>> {
        let others = self.several.iter().flat_map(|several| &several.others);
        iter::once(&self.key.1).chain(others)
    }

    /// All locks that it waits for.
    fn keys(&self) -> impl Iterator<Item = KeyRef<'_>> {
        self.names().map(|name| KeyRef { db: self.key.0, name })
    }
}

/// What the table remembers of a client's request.
#[derive(Clone, Debug)]
pub struct Requester {
    /// The owner that will hold the lock.
    pub owner: Rc<Owner>,
    /// Whether the server made the owner, and must name it in the answer.
    pub is_made: bool,
    /// The ACL user that asks, if it is known.
    pub user: Option<User>,
    /// Whether the search for deadlocks looks at it: see [`takes_part`].
    pub takes_part: bool,
}

/// Whether a request in this mode takes part in the search for deadlocks. With a LIMIT above 1 it does not: any of several
/// holders may make room for it.
pub fn takes_part(mode: Mode) -> bool {
    match mode {
        Mode::Exclusive | Mode::Shared(None) => true,
        Mode::Shared(Some(limit)) => limit.units() == 1,
    }
}

/// All clients that wait, by ticket.
pub struct ParkedClients<W: Waiting> {
    /// Boxed, because a tree has up to twice the room it needs.
    parked: BTreeMap<Ticket, Box<Parked<W>>>,
    tickets: BTreeMap<W::Id, Ticket>,
    by_owner: BTreeSet<(User, Rc<Owner>, Ticket)>,
    /// The locks that a user's requests wait for, with the number of those requests that take part in the search for deadlocks.
    queues_of: BTreeMap<(User, i32, Rc<[u8]>), usize>,
    /// The number of entries of `by_owner` with the same owner and user as the entry before them.
    repeated: usize,
    /// The number of clients that wait for several locks.
    multi_key: usize,
    wait_ends: Deadlines<Ticket>,
}

impl<W: Waiting> ParkedClients<W> {
    /// No client waits.
    pub fn new() -> ParkedClients<W> {
        ParkedClients {
            parked: BTreeMap::new(),
            tickets: BTreeMap::new(),
            by_owner: BTreeSet::new(),
            queues_of: BTreeMap::new(),
            repeated: 0,
            multi_key: 0,
            wait_ends: Deadlines::new(),
        }
    }

    /// The number of clients that wait.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// When the next wait runs out.
    pub fn first_timeout(&self) -> Option<Steady> {
        self.wait_ends.first()
    }

    /// Takes note of the client behind a request that has just joined the queue of `key`, and of the `others` in the same
    /// database; its wait ends at `until`. `watched` is the place of a lock that is not ready.
    pub fn park(
        &mut self,
        ticket: Ticket,
        client: W,
        key: (i32, Rc<[u8]>),
        several: Option<(Vec<Rc<[u8]>>, usize)>,
        until: Option<Steady>,
        requester: Requester,
    ) {
        self.multi_key += usize::from(several.is_some());
        let several = several.map(|(others, watched)| Box::new(Several { others, watched, is_due: false }));
        let wait_end = until.map_or(EntryId::NONE, |until| self.wait_ends.insert(until, ticket));
        self.tickets.insert(client.id(), ticket);
        if let Some(user) = requester.user {
            let waits_already = self.requests_of(user, &requester.owner).next().is_some();
            self.repeated += usize::from(waits_already);
            self.by_owner.insert((user, Rc::clone(&requester.owner), ticket));
        }
        let parked = Box::new(Parked { client, key, several, wait_end, requester });
        if let Some(user) = parked.requester.user.filter(|_| parked.requester.takes_part) {
            for name in parked.names() {
                *self.queues_of.entry((user, parked.key.0, Rc::clone(name))).or_default() += 1;
            }
        }
        self.parked.insert(ticket, parked);
    }

    /// The requests of this user for this owner: the locks that they wait for, and their tickets. A request for several locks
    /// is there once for each.
    pub fn requests_of(&self, user: User, owner: &Owner) -> impl Iterator<Item = (KeyId, Ticket)> + '_ {
        let owner = Rc::new(owner.clone());
        let theirs = (user, Rc::clone(&owner), Ticket::NONE)..=(user, owner, Ticket(u64::MAX));
        let parked = self.by_owner.range(theirs).filter_map(|(_, _, ticket)| Some((self.parked.get(ticket)?, *ticket)));
        parked.flat_map(|(parked, ticket)| parked.keys().map(move |key| (key.to_id(), ticket)))
    }

    /// The locks that this user's requests wait for, as far as the requests take part in the search for deadlocks.
    pub fn queues_of(&self, user: User) -> impl Iterator<Item = KeyRef<'_>> {
        let from = (user, i32::MIN, Rc::from([]));
        let theirs = self.queues_of.range(from..).take_while(move |((of, ..), _)| *of == user);
        theirs.map(|((_, db, name), _)| KeyRef { db: *db, name })
    }

    /// Whether one user waits in two queues for one owner.
    pub fn has_repeated_owner(&self) -> bool {
        self.repeated > 0 || self.multi_key > 0
    }

    /// Whether any client waits for several locks.
    pub fn has_multi_key(&self) -> bool {
        self.multi_key > 0
    }

    /// This lock is ready for the request with this ticket, which waits for several. True if it was the watched one: now a task
    /// must look at all of them. False if that task is there already.
    pub fn becomes_due(&mut self, at: KeyRef, ticket: Ticket) -> bool {
        let Some(parked) = self.parked.get_mut(&ticket) else { return false };
        let place = parked.keys().position(|key| key == at);
        let Some(several) = &mut parked.several else { return false };
        if several.is_due || place != Some(several.watched) {
            return false;
        }
        several.is_due = true;
        true
    }

    /// The lock at this place, of the several that the request with this ticket waits for, was found not to be ready.
    pub fn watch(&mut self, ticket: Ticket, place: usize) {
        if let Some(several) = self.several_mut(ticket) {
            (several.watched, several.is_due) = (place, false);
        }
    }

    /// The task that was to look at all locks of the request with this ticket is dropped.
    pub fn watch_again(&mut self, ticket: Ticket) {
        if let Some(several) = self.several_mut(ticket) {
            several.is_due = false;
        }
    }

    fn several_mut(&mut self, ticket: Ticket) -> Option<&mut Several> {
        self.parked.get_mut(&ticket)?.several.as_deref_mut()
    }

    /// The requests for several locks that a task must look at.
    #[cfg(any(test, fuzzing))]
    pub fn due(&self) -> impl Iterator<Item = Ticket> + '_ {
        let is_due = |parked: &Parked<W>| parked.several.as_ref().is_some_and(|several| several.is_due);
        self.parked.iter().filter(move |(_, parked)| is_due(parked)).map(|(ticket, _)| *ticket)
    }

    /// Takes the ticket of a request whose wait has run out. Its client stays.
    pub fn take_timed_out(&mut self, now: Steady) -> Option<Ticket> {
        self.wait_ends.take_due(now)
    }

    /// The ticket of the request that this client waits with.
    pub fn ticket(&self, client: W::Id) -> Option<Ticket> {
        self.tickets.get(&client).copied()
    }

    /// The number of the client behind the request with this ticket, as CLIENT LIST shows it.
    pub fn number(&self, ticket: Ticket) -> Option<u64> {
        self.parked.get(&ticket).map(|parked| parked.client.number())
    }

    /// The locks that the request with this ticket waits for.
    pub fn keys_of(&self, ticket: Ticket) -> impl Iterator<Item = KeyRef<'_>> {
        self.parked.get(&ticket).into_iter().flat_map(|parked| parked.keys())
    }

    /// Answers a client whose request has left its queue. The reply may name the owner if the server made it.
    pub fn answer(&mut self, ticket: Ticket, reply: impl FnOnce(Option<Rc<Owner>>) -> Reply) {
        if let Some(parked) = self.take(ticket) {
            let made_owner = parked.requester.is_made.then_some(parked.requester.owner);
            parked.client.answer(parked.key, reply(made_owner));
        }
    }

    /// Lets go of a client without an answer. Its request has left its queue.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(parked) = self.take(ticket) {
            parked.client.abandon();
        }
    }

    /// The owner that the request with this ticket asks for.
    #[cfg(any(test, fuzzing))]
    pub fn owner(&self, ticket: Ticket) -> Option<&Owner> {
        self.parked.get(&ticket).map(|parked| &*parked.requester.owner)
    }

    /// In how many queues the requests of all clients stand. Linear in all clients.
    #[cfg(any(test, fuzzing))]
    pub fn places(&self) -> usize {
        self.parked.values().map(|parked| parked.names().count()).sum()
    }

    /// Panics unless all indexes of the clients agree. Linear in all clients.
    #[cfg(any(test, fuzzing))]
    pub fn check_all(&self) {
        assert_eq!(self.tickets.len(), self.parked.len(), "E2: each client has one ticket");
        for (ticket, parked) in &self.parked {
            assert_eq!(self.tickets.get(&parked.client.id()), Some(ticket), "E2: the ticket of a client");
        }
        let known = || self.parked.iter().filter_map(|(ticket, parked)| Some((parked.requester.user?, ticket, parked)));
        let by_owner =
            known().map(|(user, ticket, parked)| (user, Rc::clone(&parked.requester.owner), *ticket)).collect();
        assert_eq!(self.by_owner, by_owner, "E2: clients by owner");
        let owners: BTreeSet<_> = by_owner.iter().map(|(user, owner, _)| (*user, Rc::clone(owner))).collect();
        assert_eq!(self.repeated, by_owner.len() - owners.len(), "E2: owners that wait more than once");
        let mut queues_of = BTreeMap::new();
        for (user, _, parked) in known().filter(|(_, _, parked)| parked.requester.takes_part) {
            for name in parked.names() {
                *queues_of.entry((user, parked.key.0, Rc::clone(name))).or_default() += 1;
            }
        }
        assert_eq!(self.queues_of, queues_of, "E2: clients by lock");
        let multi_key = self.parked.values().filter(|parked| parked.several.is_some()).count();
        assert_eq!(self.multi_key, multi_key, "E2: clients that wait for several locks");
    }

    fn take(&mut self, ticket: Ticket) -> Option<Parked<W>> {
        let parked = *self.parked.remove(&ticket)?;
        self.tickets.remove(&parked.client.id());
        self.wait_ends.remove(parked.wait_end);
        self.multi_key -= usize::from(parked.several.is_some());
        if let Some(user) = parked.requester.user {
            self.by_owner.remove(&(user, Rc::clone(&parked.requester.owner), ticket));
            let waits_still = self.requests_of(user, &parked.requester.owner).next().is_some();
            self.repeated -= usize::from(waits_still);
            for name in parked.names().filter(|_| parked.requester.takes_part) {
                let queue = (user, parked.key.0, Rc::clone(name));
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
