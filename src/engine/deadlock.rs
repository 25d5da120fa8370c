//! The search for deadlocks: whether a client that is about to wait would close a cycle.
//!
//! A waiter waits for every holder in its way and for the waiter just before it in the queue, and so for all before it. Owners
//! are the nodes of the graph. What an owner holds and what it waits for are connected by its name, so the search sees owners
//! that use one name for several locks.
//!
//! # What it looks at
//! * Only requests and holds of the ACL user that asks. So no user can build a cycle round another one, and the error names no
//!   other user's keys. A hold that came from a file or a primary has no known user.
//! * Requests with a LIMIT above 1 take no part: any of several holders may make room for them.
//! * A request for several locks waits at each of them, but for those that its owner holds already.
//! * A request whose owner has an earlier one in the same queue waits for nobody: both are answered together.
//! * Leases and waits that have ended do not count, even if the timer has not come to them.
//!
//! # What it costs
//! Nobody waits for an owner that holds no lock with a queue and waits nowhere else. The [wait table](super::wait_table) tells
//! that in O(log n), and then there is nothing to search. Otherwise every holder and waiter that is looked at is an edge. After
//! `deadlock-search-max` edges the client simply waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::names::{KeyId, KeyRef};
use super::server::{Keyspace, Waiting};
use super::wait_table::{takes_part, WaitTable};
use crate::lock::{Hold, Mode, Owner, Steady, Ticket, User};
use crate::wire::errors::Link;

/// An owner that is waited for.
struct Node {
    owner: Owner,
    /// The lock at which it is waited for.
    key: KeyId,
    /// The node that waits for it; `None` if the request in question does.
    by: Option<usize>,
}

/// A request that is still to be followed.
struct Pending {
    key: KeyId,
    ticket: Ticket,
    /// The node of its owner; `None` for the request in question.
    of: Option<usize>,
}

/// A search from one request.
pub struct Search<'a, W: Waiting> {
    waits: &'a WaitTable<W>,
    now: Steady,
    edges_left: usize,
    /// A cycle has no more requests than edges. So this keeps requests that wait for nobody from making the search longer.
    requests_left: usize,
}

/// What a search has found so far.
struct Trail {
    asker: Rc<Owner>,
    user: User,
    nodes: Vec<Node>,
    seen: HashSet<Owner>,
    requests: VecDeque<Pending>,
    /// The part of each queue that was looked at already: all before this ticket.
    walked: HashMap<KeyId, Ticket>,
}

impl<'a, W: Waiting> Search<'a, W> {
    /// A search that follows at most this many edges.
    pub fn new(waits: &'a WaitTable<W>, now: Steady, edges_max: usize) -> Search<'a, W> {
        Search { waits, now, edges_left: edges_max, requests_left: edges_max }
    }

    /// The shortest cycle that this request, which waits in the queues of these locks but has not been parked, would close.
    pub fn cycle(mut self, keys: &[KeyRef], ticket: Ticket, keyspace: &mut impl Keyspace) -> Option<Vec<Link>> {
        let asks = self.waits.queue(*keys.first()?)?.get(ticket)?;
        let (asker, user) = (Rc::clone(&asks.request.owner), asks.request.user?);
        if !self.may_be_waited_for(&asker, user, keyspace) {
            return None;
        }
        let first = keys.iter().map(|at| Pending { key: at.to_id(), ticket, of: None });
        let (nodes, seen, walked) = (Vec::new(), HashSet::new(), HashMap::new());
        let mut trail = Trail { asker, user, nodes, seen, requests: first.collect(), walked };
        while let Some(request) = trail.requests.pop_front() {
            let closes = self.follow(&request, &mut trail, keyspace);
            if closes {
                return Some(trail.links(request));
            }
            if self.edges_left == 0 {
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
        // The shared holders of a lock are looked up in its key. If there are too many such locks the search decides.
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

    /// Looks at all owners that a request waits for. True if the owner that asks is among them.
    fn follow(&mut self, request: &Pending, trail: &mut Trail, keyspace: &mut impl Keyspace) -> bool {
        let at = request.key.borrow();
        let Some(queue) = self.waits.queue(at) else { return false };
        let Some(waiter) = queue.get(request.ticket).filter(|waiter| takes_part(waiter.request.mode)) else {
            return false;
        };
        if queue.asked_before(request.ticket, self.now) {
            return false;
        }
        // A request for several locks may hold some of them already. It waits for nobody there.
        if waiter.is_multi_key && is_held_by(&waiter.request.owner, at, self.now, keyspace) {
            return false;
        }
        let walked = trail.walked.insert(request.key.clone(), request.ticket).unwrap_or(Ticket::NONE);
        let mut mode = waiter.request.mode;
        for (ticket, other) in queue.before(request.ticket) {
            if ticket < walked || !take_edge(&mut self.edges_left) {
                break;
            }
            // Those that do not count are stepped over.
            if other.request.user != Some(trail.user)
                || !takes_part(other.request.mode)
                || other.has_timed_out(self.now)
            {
                continue;
            }
            if other.request.mode != Mode::Shared(None) {
                mode = Mode::Exclusive;
            }
            if *other.request.owner == *trail.asker {
                return true;
            }
            // Follow what else this owner waits for. Mostly no owner waits twice.
            if self.waits.clients().has_repeated_owner() {
                self.reach(&other.request.owner, request, trail);
            }
        }
        let (now, mut closes) = (self.now, false);
        let mut holding = Vec::new();
        keyspace.with_holders(at, &mut |holders| {
            for hold in holders.in_the_way(mode).take_while(|_| take_edge(&mut self.edges_left)) {
                if counts(hold, trail.user, now) && hold.owner != *waiter.request.owner {
                    closes |= hold.owner == *trail.asker;
                    holding.push(hold.owner.clone());
                }
            }
        });
        if !closes {
            holding.iter().for_each(|owner| self.reach(owner, request, trail));
        }
        closes
    }

    /// An owner is waited for. The requests that it waits with are to be followed.
    fn reach(&mut self, owner: &Owner, by: &Pending, trail: &mut Trail) {
        if !trail.seen.insert(owner.clone()) {
            return;
        }
        let node = trail.nodes.len();
        trail.nodes.push(Node { owner: owner.clone(), key: by.key.clone(), by: by.of });
        let theirs = self.waits.clients().requests_of(trail.user, owner).take(self.requests_left);
        let known = trail.requests.len();
        trail.requests.extend(theirs.map(|(key, ticket)| Pending { key, ticket, of: Some(node) }));
        self.requests_left = self.requests_left.saturating_sub(trail.requests.len() - known);
    }
}

impl Trail {
    /// The links of the cycle, from the request in question to the last one, which waits for its owner.
    fn links(&self, last: Pending) -> Vec<Link> {
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

/// Whether this owner holds this lock.
fn is_held_by(owner: &Owner, at: KeyRef, now: Steady, keyspace: &mut impl Keyspace) -> bool {
    let mut is_held = false;
    keyspace.with_holders(at, &mut |holders| {
        is_held = holders.of(owner.borrow()).is_some_and(|(.., hold)| !hold.is_expired(now));
    });
    is_held
}

/// Takes an edge. False if none is left.
fn take_edge(edges_left: &mut usize) -> bool {
    let is_left = *edges_left > 0;
    *edges_left -= usize::from(is_left);
    is_left
}

/// Whether the search looks at this hold.
fn counts(hold: &Hold, user: User, now: Steady) -> bool {
    hold.terms.user() == Some(user) && !hold.is_expired(now)
}
