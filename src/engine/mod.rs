//! The one path that every command, timer and event takes.
//!
//! A turn opens a key, lets the rules ([`crate::lock`]) decide, and does what they decided in this order: the key's value,
//! replication, deadlines, then the answers. Commands take their turn at once. Everything else leaves a note in the
//! [`Inbox`] and takes its turn in [`Engine::run`], which the edge's one timer calls.
//!
//! # What it owns
//! * the server's fence clock;
//! * the lines of waiters and the clients in them;
//! * two heaps of deadlines: when leases end (one entry a lock) and when waits run out (one a waiter). All of it can be
//!   rebuilt from the data set; the key's value is the only truth about who holds.
//!
//! # What it must never do
//! Write, grant or remove anything outside a command while [`Server::standing`] is not [`Standing::Writable`]; answer a
//! waiter before the change behind the answer is recorded.

mod deadlines;
mod inbox;
mod run;
mod server;
mod waiters;

#[cfg(test)]
mod tests;

use std::mem;

pub use deadlines::{Deadlines, Slot};
pub use inbox::Inbox;
pub use server::{Found, Key, KeyId, KeyRef, Reply, Server, Standing, Stored, Verdict, Waiting};

use crate::lock::{
    Acquire, Acquired, Answer, Effect, Extend, Fence, FenceClock, Holders, Line, Millis, Mode, Now, Owner, OwnerRef,
    Steady, Ticket, Turn, Wait,
};
use crate::wire::{ExtendRequest, News, Patience, ReleaseRequest, Told};
use waiters::{Lines, Waiters};

/// The most clients that may wait for one lock (setting `max-waiters`).
pub const WAITERS_MAX: usize = 10_000;
/// The most clients that may wait for all locks together (setting `max-waiters-total`).
pub const WAITERS_TOTAL_MAX: usize = 100_000;

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What became of LOCK.ACQUIRE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted.
    Granted(Fence),
    /// Busy.
    Refused,
    /// It waits: the edge now blocks the client and [parks](Engine::park) it under this ticket.
    Waits(Ticket),
    /// It would wait, but too many do for this lock.
    LineFull,
    /// It would wait, but too many do altogether.
    ServerFull,
}

/// LOCK.ACQUIRE, with all that it leaves out filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// For whom.
    pub owner: OwnerRef<'a>,
    /// For how long.
    pub lease: Millis,
    /// How long to wait. Where clients cannot be blocked: not at all.
    pub patience: Patience,
}

/// Which of a server's keys were touched at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All databases.
    All,
    /// This one.
    Db(i32),
}

/// All state outside the data set.
pub struct Engine<W: Waiting> {
    fences: FenceClock,
    lines: Lines,
    waiters: Waiters<W>,
    leases: Deadlines<KeyId>,
    next_ticket: u64,
    /// Kept for its allocation.
    effects: Vec<Effect>,
    /// Lent to the turns of locks that have no line.
    no_line: Line,
    /// What the server would not let a turn do yet.
    postponed: Vec<run::Task>,
}

impl<W: Waiting> Engine<W> {
    /// The state of a server that has just started.
    pub fn new() -> Engine<W> {
        Engine {
            fences: FenceClock::new(),
            lines: Lines::default(),
            waiters: Waiters::new(),
            leases: Deadlines::new(),
            next_ticket: 0,
            effects: Vec::new(),
            no_line: Line::default(),
            postponed: Vec::new(),
        }
    }

    /// The fence clock.
    pub fn fences(&mut self) -> &mut FenceClock {
        &mut self.fences
    }

    /// The next moment at which something ends or runs out.
    pub fn first_deadline(&self) -> Option<Steady> {
        // `None` sorts before every moment, so it must not take part in the minimum.
        [self.leases.first(), self.waiters.first_end()].into_iter().flatten().min()
    }

    /// LOCK.ACQUIRE.
    pub fn acquire<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, asked: Asked) -> Result<Outcome, WrongType> {
        let wait = match asked.patience {
            Patience::None => Wait::No,
            Patience::For(length) => Wait::Join { ticket: Ticket(self.next_ticket), until: Some(now.steady + length) },
            Patience::Endless => Wait::Join { ticket: Ticket(self.next_ticket), until: None },
        };
        let full = match wait {
            Wait::No => None,
            Wait::Join { .. } if self.waiters.len() >= WAITERS_TOTAL_MAX => Some(Outcome::ServerFull),
            Wait::Join { .. } => {
                self.lines.get_mut(at).is_some_and(|line| line.len() >= WAITERS_MAX).then_some(Outcome::LineFull)
            }
        };
        let wait = if full.is_some() { Wait::No } else { wait };
        let asked = Acquire { owner: asked.owner, mode: Mode::Exclusive, lease: asked.lease, wait };
        Ok(match self.turn(at, key, now, |turn| turn.acquire(asked))? {
            Acquired::Granted(fence) => Outcome::Granted(fence),
            Acquired::Refused => full.unwrap_or(Outcome::Refused),
            Acquired::Waits => {
                // Whoever waits is served when the lease ends, whatever became of the lock's name since it was granted.
                self.index(at, key);
                self.next_ticket += 1;
                Outcome::Waits(Ticket(self.next_ticket - 1))
            }
        })
    }

    /// Takes note of the client behind a ticket that [`Engine::acquire`] gave out.
    pub fn park(&mut self, ticket: Ticket, client: W, at: KeyRef, made_owner: Option<Owner>) {
        let until = self.lines.get_mut(at).and_then(|line| line.until(ticket));
        let name = self.lines.name(at).unwrap_or_else(|| at.name.into());
        self.waiters.park(ticket, client, (at.db, name), until, made_owner);
    }

    /// LOCK.RELEASE: whether the owner held.
    pub fn release<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ReleaseRequest,
    ) -> Result<bool, WrongType> {
        self.turn(at, key, now, |turn| turn.release(request.owner, request.fence))
    }

    /// LOCK.EXTEND: whether the owner held.
    pub fn extend<K: Key>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        request: &ExtendRequest,
    ) -> Result<bool, WrongType> {
        let ExtendRequest { owner, lease, fence, raise } = *request;
        self.turn(at, key, now, |turn| turn.extend(Extend { owner, lease, fence, raise }))
    }

    /// What the primary, or the AOF, says of a lock. A value of another type gives way: the stream is right.
    pub fn apply<K: Key>(&mut self, at: KeyRef, key: &mut K, news: News) {
        match news {
            News::Runs(told, mode, hold) => {
                self.fences.learn(hold.fence);
                match key.stored() {
                    Some(stored) => {
                        stored.holders.put(mode, hold);
                        match told {
                            Told::Granted => key.clear_ttl(),
                            Told::Changed => {}
                        }
                    }
                    None => {
                        let mut holders = Holders::Free;
                        holders.put(mode, hold);
                        key.create(Stored { holders, lease: Slot::NONE });
                    }
                }
                self.index(at, key);
            }
            News::Freed => {
                if let Some(stored) = key.stored() {
                    self.leases.remove(stored.lease);
                }
                key.remove();
            }
        }
        key.signal_changed();
    }

    /// The client behind this id is gone, or was told by the server to stop waiting: it leaves the line at once, and is
    /// let go of. False if it does not wait: its answer is already on the way.
    pub fn leave(&mut self, client: W::Id) -> bool {
        let Some(ticket) = self.waiters.ticket(client) else { return false };
        self.leave_line(ticket);
        self.waiters.abandon(ticket);
        true
    }

    /// The answer with this fence was handed over.
    pub fn delivered(&mut self, at: KeyRef, fence: Fence) {
        if let Some(line) = self.lines.get_mut(at) {
            line.settle(fence);
            self.lines.remove_if_idle(at);
        }
    }

    /// A lock's value left its key by somebody else's doing. True if somebody waits there and the key must be looked at.
    pub fn unlinked(&mut self, at: KeyRef, lease: Slot) -> bool {
        self.leases.remove(lease);
        self.lines.get_mut(at).is_some()
    }

    /// All keys there are gone (FLUSHDB, FLUSHALL, a new data set); the locks somebody still waits for are noted.
    pub fn flushed(&mut self, scope: Scope, inbox: &mut Inbox) {
        let mut waited_for = match scope {
            Scope::All => {
                self.leases.retain(|_| false);
                self.lines.keys(None)
            }
            Scope::Db(db) => {
                self.leases.retain(|key| key.db != db);
                self.lines.keys(Some(&[db]))
            }
        };
        inbox.changed.append(&mut waited_for);
    }

    /// Every lock that somebody waits for.
    pub fn waited_for(&self) -> Vec<KeyId> {
        self.lines.keys(None)
    }

    /// Two databases changed places (SWAPDB): leases, and notes about values, go with the data; waiters stay, and their
    /// locks are noted.
    pub fn swapped(&mut self, one: i32, other: i32, inbox: &mut Inbox) {
        let postponed = self.postponed.iter_mut().filter_map(run::Task::value_key);
        for key in self.leases.iter_mut().chain(&mut inbox.changed).chain(postponed) {
            if key.db == one {
                key.db = other;
            } else if key.db == other {
                key.db = one;
            }
        }
        inbox.changed.append(&mut self.lines.keys(Some(&[one, other])));
    }

    /// A lock was read from RDB, RESTORE or MIGRATE. Its fence may be another server's, ahead of this one's clock.
    pub fn loaded(&mut self, holders: &Holders) {
        for hold in holders.iter() {
            self.fences.learn(hold.fence);
        }
    }

    /// One step of the rules on one key, and what follows from it.
    fn turn<K: Key, R>(
        &mut self,
        at: KeyRef,
        key: &mut K,
        now: Now,
        step: impl FnOnce(&mut Turn) -> R,
    ) -> Result<R, WrongType> {
        if key.found() == Found::Other {
            self.turn_away(at);
            return Err(WrongType);
        }
        let mut free = Holders::Free;
        let known_line = self.lines.get_mut(at);
        let had_line = known_line.is_some();
        let mut effects = mem::take(&mut self.effects);
        let result = step(&mut Turn {
            holders: key.stored().map_or(&mut free, |stored| &mut stored.holders),
            line: known_line.unwrap_or(&mut self.no_line),
            fences: &mut self.fences,
            now,
            effects: &mut effects,
        });
        if had_line {
            self.lines.remove_if_idle(at);
        } else if !self.no_line.is_idle() {
            self.lines.insert(at, mem::take(&mut self.no_line));
        }
        self.record(at, key, now, free, &effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Granted(_) | Effect::Changed(_) | Effect::Ended(..) => {}
                Effect::Answer(ticket, Answer::Granted(fence)) => {
                    self.waiters.answer(ticket, |made_owner| Reply::Granted(fence, made_owner));
                }
                Effect::Answer(ticket, Answer::Null) => self.waiters.answer(ticket, |_| Reply::Null),
            }
        }
        self.effects = effects;
        Ok(result)
    }

    /// Brings value, replicas and deadlines to where the step left the lock. `created` is what it made of a free one.
    fn record<K: Key>(&mut self, at: KeyRef, key: &mut K, now: Now, created: Holders, effects: &[Effect]) {
        let (mut granted, mut changed, mut ended) = (false, false, false);
        for effect in effects {
            match effect {
                Effect::Granted(_) => granted = true,
                Effect::Changed(_) => changed = true,
                Effect::Ended(..) => ended = true,
                Effect::Answer(..) => {}
            }
        }
        if !(granted || changed || ended) {
            return;
        }
        // A hold that came and went within one step leaves nothing to record: the last effect says how it stands.
        match (key.stored().map(|stored| (&stored.holders, stored.lease)), &created) {
            (None, Holders::Free) => {}
            (Some((Holders::Free, lease)), _) => {
                self.leases.remove(lease);
                key.remove();
                key.replicate_freed();
            }
            (Some((Holders::Exclusive(_), _)), _) => {
                if granted {
                    key.clear_ttl();
                }
                self.index(at, key);
                replicate(key, if granted { Told::Granted } else { Told::Changed }, now);
            }
            (None, Holders::Exclusive(hold)) => {
                let lease = self.leases.insert(hold.end, at.to_id());
                key.replicate(Told::Granted, Mode::Exclusive, hold, now);
                key.create(Stored { holders: created, lease });
            }
        }
        if granted || ended {
            key.signal_changed();
        }
    }

    /// Sees to it that the lock's next end stands among the deadlines, under the name the lock has now.
    fn index<K: Key>(&mut self, at: KeyRef, key: &mut K) {
        let Some(stored) = key.stored() else { return };
        let Some(end) = stored.holders.first_end() else { return };
        match self.leases.get_mut(stored.lease) {
            Some(name) => {
                if name.borrow() != at {
                    *name = at.to_id();
                }
                self.leases.reset(stored.lease, end);
            }
            None => stored.lease = self.leases.insert(end, at.to_id()),
        }
    }

    /// Tells everybody in line that the key holds a value of another type.
    fn turn_away(&mut self, at: KeyRef) {
        let Some(mut line) = self.lines.remove(at) else { return };
        while let Some((ticket, _)) = line.take_first() {
            self.waiters.answer(ticket, |_| Reply::WrongType);
        }
    }

    fn leave_line(&mut self, ticket: Ticket) {
        let Some(key) = self.waiters.key(ticket) else { return };
        if let Some(line) = self.lines.get_mut(key.borrow()) {
            line.leave(ticket);
            self.lines.remove_if_idle(key.borrow());
        }
    }
}

/// Tells replicas and AOF how the lock stands.
fn replicate<K: Key>(key: &mut K, told: Told, now: Now) {
    // The hold is taken out for the moment of the call, as the key cannot be lent twice.
    let Some(stored) = key.stored() else { return };
    match mem::replace(&mut stored.holders, Holders::Free) {
        Holders::Free => {}
        Holders::Exclusive(hold) => {
            key.replicate(told, Mode::Exclusive, &hold, now);
            if let Some(stored) = key.stored() {
                stored.holders = Holders::Exclusive(hold);
            }
        }
    }
}
