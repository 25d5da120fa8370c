//! Whether a client that is about to wait would close a cycle.
//!
//! A waiter waits for every holder in its way and for the one just before it in the queue, and so for all before it. Owners are
//! the nodes: what one owner holds and what it waits for are tied together by its name, so owners that use one name for
//! several locks are seen.
//!
//! # Whom it looks at
//! * Requests and holds of the ACL user that asks, and nobody else's: so nobody can build a cycle round somebody else, and
//!   the text tells nobody else's keys. A hold that was taken over from a file or a primary has no known user.
//! * Requests with a LIMIT above 1 take no part: any of several holders may make room for them.
//! * A request whose owner already stands before it in the same queue waits for nobody: it is answered when the other is.
//! * Leases and waits that have run out are over, whether or not the timer has come to them.
//!
//! # What it costs
//! Nobody waits for an owner that holds no lock with a queue and waits nowhere else; [`Contended`](super::wait_table::Contended) tells that in O(log n), and
//! then there is nothing to search. Otherwise every holder and waiter that is looked at is an edge; after
//! `deadlock-search-max` of them the client simply waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::names::{KeyId, KeyRef};
use super::server::{Keyspace, Waiting};
use super::wait_table::{takes_part, WaitTable};
use crate::lock::{Hold, Mode, Owner, Steady, Ticket, User};
use crate::wire::Link;

/// An owner that is waited for.
struct Node {
    owner: Owner,
    /// At which lock.
    key: KeyId,
    /// By which node; `None`: by the request in question.
    by: Option<usize>,
}

/// One request in a queue.
struct Request {
    key: KeyId,
    ticket: Ticket,
    /// The node of its owner; `None`: the request in question.
    of: Option<usize>,
}

/// A search from one request.
pub struct Search<'a, W: Waiting> {
    waits: &'a WaitTable<W>,
    now: Steady,
    edges_left: usize,
    /// A cycle has no more requests than edges; requests that wait for nobody must not make the search longer.
    requests_left: usize,
}

/// How far a search has come.
struct Found {
    asker: Rc<Owner>,
    user: User,
    nodes: Vec<Node>,
    seen: HashSet<Owner>,
    requests: VecDeque<Request>,
    /// How far back queues have been looked at already: all before this ticket.
    walked: HashMap<KeyId, Ticket>,
}

impl<'a, W: Waiting> Search<'a, W> {
    /// A search that follows so many edges at most.
    pub fn new(waits: &'a WaitTable<W>, now: Steady, edges_max: usize) -> Search<'a, W> {
        Search { waits, now, edges_left: edges_max, requests_left: edges_max }
    }

    /// The shortest cycle that this request, which waits in the queue but has not been parked, would close.
    pub fn cycle(mut self, at: KeyRef, ticket: Ticket, keyspace: &mut impl Keyspace) -> Option<Vec<Link>> {
        let asks = self.waits.queue(at)?.get(ticket)?;
        let (asker, user) = (Rc::clone(&asks.request.owner), asks.request.user?);
        if !self.may_be_waited_for(&asker, user, keyspace) {
            return None;
        }
        let first = Request { key: at.to_id(), ticket, of: None };
        let (nodes, seen, walked) = (Vec::new(), HashSet::new(), HashMap::new());
        let mut found = Found { asker, user, nodes, seen, requests: VecDeque::from([first]), walked };
        while let Some(request) = found.requests.pop_front() {
            let closes = self.follow(&request, &mut found, keyspace);
            if closes {
                return Some(found.links(request));
            }
            self.requests_left = self.requests_left.saturating_sub(1);
            if self.edges_left == 0 || self.requests_left == 0 {
                break;
            }
        }
        None
    }

    /// Whether anybody can be waiting for this owner.
    fn may_be_waited_for(&self, owner: &Owner, user: User, keyspace: &mut impl Keyspace) -> bool {
        if self.edges_left == 0 {
            return false;
        }
        if self.waits.contended().is_exclusive_holder(owner)
            || self.waits.clients().requests_of(user, owner).next().is_some()
        {
            return true;
        }
        // Who holds a lock together with others is asked of the lock; beyond so many of them the search may find out.
        let mut locks_left = if self.waits.contended().has_shared() { self.edges_left } else { 0 };
        self.waits.clients().queues_of(user).take_while(|_| self.waits.contended().has_shared()).any(|key| {
            let is_left = take_edge(&mut locks_left);
            let mut holds = !is_left;
            if is_left && self.waits.contended().is_shared(key) {
                keyspace.with_holders(key, &mut |holders| holds = holders.of(owner.borrow()).is_some());
            }
            holds
        })
    }

    /// Looks at all that a request waits for. True if the owner that asks is among them.
    fn follow(&mut self, request: &Request, found: &mut Found, keyspace: &mut impl Keyspace) -> bool {
        let at = request.key.borrow();
        let Some(queue) = self.waits.queue(at) else { return false };
        let Some(waiter) = queue.get(request.ticket).filter(|waiter| takes_part(waiter.request.mode)) else {
            return false;
        };
        if queue.asked_before(request.ticket, self.now) {
            return false;
        }
        let walked = found.walked.insert(request.key.clone(), request.ticket).unwrap_or(Ticket(0));
        let mut mode = waiter.request.mode;
        for (ticket, other) in queue.before(request.ticket) {
            if ticket < walked || !take_edge(&mut self.edges_left) {
                break;
            }
            // Those that do not count are stepped over.
            if other.request.user != Some(found.user)
                || !takes_part(other.request.mode)
                || other.has_timed_out(self.now)
            {
                continue;
            }
            if other.request.mode != Mode::Shared(None) {
                mode = Mode::Exclusive;
            }
            if *other.request.owner == *found.asker {
                return true;
            }
            // Where else it waits; mostly nobody waits twice.
            if self.waits.clients().has_repeated_owner() {
                self.reach(&other.request.owner, request, found);
            }
        }
        let (now, mut closes) = (self.now, false);
        let mut holding = Vec::new();
        keyspace.with_holders(at, &mut |holders| {
            for hold in holders.in_the_way(mode).take_while(|_| take_edge(&mut self.edges_left)) {
                if counts(hold, found.user, now) && hold.owner != *waiter.request.owner {
                    closes |= hold.owner == *found.asker;
                    holding.push(hold.owner.clone());
                }
            }
        });
        if !closes {
            holding.iter().for_each(|owner| self.reach(owner, request, found));
        }
        closes
    }

    /// An owner is waited for; so is what it waits for itself.
    fn reach(&self, owner: &Owner, by: &Request, found: &mut Found) {
        if !found.seen.insert(owner.clone()) {
            return;
        }
        let node = found.nodes.len();
        found.nodes.push(Node { owner: owner.clone(), key: by.key.clone(), by: by.of });
        let theirs = self.waits.clients().requests_of(found.user, owner).take(self.requests_left);
        found.requests.extend(theirs.map(|(key, ticket)| Request { key, ticket, of: Some(node) }));
    }
}

impl Found {
    /// The way from the request in question to the last one, which waits for its owner.
    fn links(&self, last: Request) -> Vec<Link> {
        let mut links = Vec::new();
        let (mut holds, mut key, mut by) = (&*self.asker, &last.key, last.of);
        loop {
            let node = by.and_then(|by| self.nodes.get(by));
            let waits = node.map_or(&*self.asker, |node| &node.owner);
            let name = |owner: &Owner| owner.as_bytes().to_vec();
            links.push(Link { waits: name(waits), key: key.name().to_vec(), holds: name(holds) });
            let Some(node) = node else { break };
            (holds, key, by) = (&node.owner, &node.key, node.by);
        }
        links.reverse();
        links
    }
}

/// Takes an edge if there is one left.
fn take_edge(edges_left: &mut usize) -> bool {
    let is_left = *edges_left > 0;
    *edges_left -= usize::from(is_left);
    is_left
}

/// Whether this hold is looked at.
fn counts(hold: &Hold, user: User, now: Steady) -> bool {
    hold.user == Some(user) && !hold.is_expired(now)
}
