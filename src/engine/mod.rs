//! The one path that every command, timer and event takes.
//!
//! A turn opens a key, lets the rules ([`crate::lock`]) decide, and does what they decided in this order: the key's value,
//! replication, deadlines, then the answers. Commands take their turn at once. Everything else leaves a note in the
//! [`Inbox`] and takes its turn in [`Engine::tick`], which the edge's one timer calls.
//!
//! # What it owns
//! * the server's fence clock, settings and counters;
//! * the queues of waiters and the clients in them;
//! * two heaps of deadlines: when leases end (one entry a lock) and when waits run out (one a waiter);
//! * which holds end with which connection.
//!
//! But for the counters all of it can be rebuilt from the data set; the key's value is the only truth about who holds.
//!
//! # What it must never do
//! Write, grant or remove anything outside a command while [`Server::state`] is not [`ServerState::Writable`]; answer a
//! waiter before the change behind the answer is recorded.

mod chunks;
mod deadlines;
mod deadlock;
mod departures;
mod external;
mod inbox;
mod names;
mod queue_check;
mod report;
mod server;
mod sessions;
mod settings;
mod settled_slots;
mod slots;
mod stats;
mod step;
mod strays;
mod tick;
mod waiters;

#[cfg(any(test, fuzzing))]
pub mod tests;

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;

use smallvec::SmallVec;

pub use deadlines::Deadlines;
pub use departures::Leaving;
pub use external::Unlinked;
pub use inbox::Inbox;
pub use names::{KeyId, KeyRef};
pub use report::{check, Report};
pub use server::{Found, Key, KeyEvent, Keyspace, Reply, Server, ServerState, SlotOwner, Stored, Waiting, WriteCheck};
pub use settings::{Settings, SETTINGS};
pub use slots::Slot;
pub use stats::Stats;

use crate::lock::{
    Acquired, Effect, Extend, Fence, FenceClock, Holders, Now, OwnerRef, Request, Session, SharedHolders, Steady,
    Ticket, Wait, WaitQueue,
};
use crate::wire::{ExtendRequest, Patience, Refused, ReleaseRequest};
use deadlock::{Contended, Search};
use departures::Departures;
use queue_check::QueueCheck;
use sessions::Sessions;
use settled_slots::SettledSlots;
use strays::Strays;
use tick::Task;
use waiters::{Asker, WaitQueues, Waiters};

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What became of LOCK.ACQUIRE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted.
    Granted(Fence),
    /// Busy.
    Busy,
    /// It waits: the edge now blocks the client and [parks](Engine::park) it under this ticket.
    Waits(Ticket),
    /// Something but the lock's being busy is in the way.
    Refused(Refused),
}

/// Which of a server's keys were touched at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All databases.
    All,
    /// This one.
    Db(i32),
}

/// What is to be published of one lock, in order.
pub type Events = SmallVec<[KeyEvent; 8]>;

/// All state outside the data set.
pub struct Engine<W: Waiting> {
    fences: FenceClock,
    settings: Settings,
    stats: Stats,
    queues: WaitQueues,
    waiters: Waiters<W>,
    contended: Contended,
    leases: Deadlines<KeyId>,
    sessions: Sessions,
    next_ticket: u64,
    /// Kept for their allocations.
    effects: Vec<Effect>,
    effect: Vec<u8>,
    /// Lent to the turns of locks that have no queue.
    no_queue: WaitQueue,
    /// Lent to the turns of locks that nobody holds.
    no_holders: Holders,
    /// What is to be published of the turns since it was taken last; of those of the timer, with their keys.
    events: Events,
    timer_events: Vec<(KeyId, KeyEvent)>,
    /// Whether the last step changed what is saved.
    has_recorded: bool,
    /// What turns have cost since the timer asked last.
    spent: tick::Spent,
    /// What a turn left for the next one.
    ready: VecDeque<Task>,
    /// What the server would not let a turn do yet.
    retry: Vec<Task>,
    /// Holds that were over and made room, by the lock they held: they are still to be counted and told of.
    expired_backlog: VecDeque<(KeyId, SharedHolders)>,
    /// Where holds went whose answers are still on their way.
    strays: Strays,
    /// Which queues are asked whether they are at the right server.
    queue_check: QueueCheck,
    /// In a cluster: which slots the fence clock has leapt for.
    settled_slots: Option<Box<SettledSlots>>,
    /// What left with its slots.
    departures: Departures,
}

impl<W: Waiting> Engine<W> {
    /// The state of a server that has just started.
    pub fn new() -> Engine<W> {
        Engine {
            fences: FenceClock::new(),
            settings: Settings::new(),
            stats: Stats::default(),
            queues: WaitQueues::default(),
            waiters: Waiters::new(),
            contended: Contended::default(),
            leases: Deadlines::new(),
            sessions: Sessions::new(),
            next_ticket: 0,
            effects: Vec::new(),
            effect: Vec::new(),
            no_queue: WaitQueue::default(),
            no_holders: Holders::Free,
            events: Events::new(),
            timer_events: Vec::new(),
            has_recorded: false,
            spent: tick::Spent::default(),
            ready: VecDeque::new(),
            retry: Vec::new(),
            expired_backlog: VecDeque::new(),
            strays: Strays::default(),
            queue_check: QueueCheck::default(),
            settled_slots: None,
            departures: Departures::default(),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings, to be changed; what was held back by a limit may go on.
    pub fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.ready.extend(self.queues.keys(None).into_iter().map(Task::Advance));
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How many locks are held.
    pub fn locks_held(&self) -> usize {
        self.leases.len()
    }

    /// So many more locks left with their slots: each told of by itself.
    pub fn moved_away(&mut self, locks: u64) {
        self.stats.moved_away += locks;
    }

    /// How many clients wait.
    pub fn waiters(&self) -> usize {
        self.waiters.len()
    }

    /// The session of a client that is connected.
    pub fn session(&mut self, client: u64) -> Session {
        self.sessions.of(client)
    }

    /// The fence clock.
    pub fn fences(&mut self) -> &mut FenceClock {
        &mut self.fences
    }

    /// The next moment at which something ends or runs out, or the beginning of time if something is due already.
    pub fn first_deadline(&self) -> Option<Steady> {
        if self.is_pressed() {
            return Some(Steady(i64::MIN));
        }
        // `None` sorts before every moment, so it must not take part in the minimum.
        let ends = match (self.leases.first(), self.waiters.first_timeout()) {
            (Some(lease), Some(wait)) => Some(lease.min(wait)),
            (lease, wait) => lease.or(wait),
        };
        self.next_check().map_or(ends, |check| ends.into_iter().chain([check]).min())
    }

    /// When the server is to be asked next about queues and slots, or slots that left are to be seen off; outside a cluster
    /// never.
    fn next_check(&self) -> Option<Steady> {
        self.next_queue_check().into_iter().chain(self.next_slot_check()).chain(self.departures.due()).min()
    }

    /// What is to be published of a command, once its key is closed.
    pub fn take_events(&mut self) -> Events {
        mem::take(&mut self.events)
    }

    /// The same of the timer's tick.
    pub fn take_timer_events(&mut self) -> Vec<(KeyId, KeyEvent)> {
        mem::take(&mut self.timer_events)
    }

    /// Whether a turn left something for the next one.
    pub fn is_pressed(&self) -> bool {
        !(self.ready.is_empty() && self.expired_backlog.is_empty())
    }

    /// LOCK.ACQUIRE.
    pub fn acquire<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: Request<OwnerRef>,
        patience: Patience,
        keyspace: &mut impl Keyspace,
    ) -> Result<Outcome, WrongType> {
        let ticket = Ticket(self.next_ticket);
        let join = match patience {
            Patience::None => Wait::No,
            Patience::For(length) => Wait::Join { ticket, until: Some(now.steady + length) },
            Patience::Endless => Wait::Join { ticket, until: None },
        };
        let full = if join == Wait::No { None } else { self.no_room_to_wait(at) };
        let wait = if full.is_some() { Wait::No } else { join };
        self.has_recorded = false;
        Ok(match self.step(at, key, now, |step| step.acquire(request, wait))? {
            Acquired::Granted(fence) => {
                if !self.has_recorded {
                    self.confirm(key, now, request.owner);
                }
                Outcome::Granted(fence)
            }
            Acquired::Refused => match full {
                Some(full) => Outcome::Refused(full),
                None => {
                    self.stats.refusals += 1;
                    Outcome::Busy
                }
            },
            Acquired::MustRelease => Outcome::Refused(Refused::MustRelease),
            Acquired::Full => Outcome::Refused(Refused::Holders(self.settings.holders_max())),
            Acquired::Waits => {
                let (queues, waiters, edges_max) = (&self.queues, &self.waiters, self.settings.deadlock_search_max());
                let search = Search::new(queues, waiters, &self.contended, now.steady, edges_max);
                if let Some(cycle) = search.cycle(at, ticket, keyspace) {
                    self.leave_queue(at, ticket);
                    self.stats.deadlocks_refused += 1;
                    return Ok(Outcome::Refused(Refused::Deadlock(cycle)));
                }
                // Whoever waits is served when the lease ends, whatever became of the lock's name since it was granted.
                self.index(at, key);
                self.next_ticket += 1;
                Outcome::Waits(ticket)
            }
        })
    }

    /// Why nobody more may wait there.
    fn no_room_to_wait(&self, at: KeyRef) -> Option<Refused> {
        let (max, total_max) = (self.settings.waiters_max(), self.settings.waiters_total_max());
        if self.waiters.len() >= total_max {
            return Some(Refused::WaitersTotal(total_max));
        }
        self.queues.get(at).is_some_and(|queue| queue.len() >= max).then_some(Refused::Waiters(max))
    }

    /// Takes note of the client behind a ticket that [`Engine::acquire`] gave out. `is_made`: the server made its owner.
    pub fn park(&mut self, ticket: Ticket, client: W, at: KeyRef, is_made: bool) {
        let Some(waiter) = self.queues.get(at).and_then(|queue| queue.get(ticket)) else { return client.abandon() };
        let takes_part = deadlock::takes_part(waiter.request.mode);
        let asker = Asker { owner: Rc::clone(&waiter.request.owner), is_made, user: waiter.request.user, takes_part };
        let until = waiter.until;
        let name = self.queues.name(at).unwrap_or_else(|| at.name.into());
        self.waiters.park(ticket, client, (at.db, name), until, asker);
    }

    /// The client behind such a ticket cannot be blocked: it is answered at once.
    pub fn refuse_to_wait(&mut self, at: KeyRef, ticket: Ticket) -> Outcome {
        self.leave_queue(at, ticket);
        self.stats.refusals += 1;
        Outcome::Busy
    }

    /// LOCK.RELEASE: whether the owner held.
    pub fn release<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ReleaseRequest,
    ) -> Result<bool, WrongType> {
        let ReleaseRequest { owner, fence, is_downgrade } = *request;
        self.step(
            at,
            key,
            now,
            |step| {
                if is_downgrade {
                    step.downgrade(owner, fence)
                } else {
                    step.release(owner, fence)
                }
            },
        )
    }

    /// LOCK.EXTEND: whether the owner held.
    pub fn extend<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ExtendRequest,
    ) -> Result<bool, WrongType> {
        let ExtendRequest { owner, mut lease, fence, raise } = *request;
        if lease.is_none() {
            // As long as it was last given, but no longer than may be asked for now.
            let longest = self.settings.leases().max;
            let held = key.stored().and_then(|stored| stored.holders.of(owner)).map(|(.., hold)| hold.lease);
            lease = held.map(|lease| lease.min(longest));
        }
        self.step(at, key, now, |step| step.extend(Extend { owner, lease, fence, raise }))
    }
}
