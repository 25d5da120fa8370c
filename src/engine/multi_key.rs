//! LOCK.MACQUIRE, LOCK.MRELEASE and LOCK.MEXTEND: several locks in one step.
//!
//! The rules see one lock at a time ([`crate::lock::Readiness`]). Here each lock is asked first. When all are ready, each is
//! granted; nothing else runs in between, and time stands still. Replicas and the AOF get what one command or one tick wrote
//! as one transaction.
//!
//! A request that waits stands in the queues of all its locks. The wait table remembers one of them that was not ready: the
//! watched one. Before that one is ready the request cannot be granted, so only a step there leads to another look at all.

use smallvec::SmallVec;

use super::agenda::Task;
use super::commands::join;
use super::deadlock::Search;
use super::names::{KeyId, KeyRef};
use super::server::{Found, GrantedKey, Key, KeySet, Keyspace, Reply, Server, Waiting, WriteCheck, WrongType};
use super::state::Engine;
use crate::failpoints::{self, Failpoint};
use crate::lock::{Fence, Now, OwnerRef, Readiness, Released, Request, Step, Ticket, Wait};
use crate::wire::errors::Refused;
use crate::wire::{ExtendRequest, Patience};

/// The keys of a command, or of a request that waits.
type Keys<'a> = [KeyRef<'a>];

/// The fences of all locks, in the order of the command.
pub type Fences = SmallVec<[Fence; 8]>;

/// What LOCK.MACQUIRE comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutcomeOfAll {
    /// The owner holds all locks, under these fences.
    Granted(Fences),
    /// One of the locks is taken, and the client does not wait.
    Busy,
    /// The request waits. The caller blocks the client and [parks](Engine::park_multi_key) it.
    Waits {
        /// Its ticket.
        ticket: Ticket,
        /// The place of a lock that is not ready.
        watched: usize,
    },
    /// The request is refused, and not because a lock is taken.
    Refused(Refused),
}

/// The keys of a tick's task.
struct KeysOfTask<'s, S>(&'s mut S);

impl<S: Server> KeySet for KeysOfTask<'_, S> {
    type Key<'a>
        = S::Key<'a>
    where
        Self: 'a;

    fn open<'a>(&'a mut self, _place: usize, at: KeyRef<'a>) -> Option<S::Key<'a>> {
        self.0.open(at)
    }
}

/// The database of a command's keys is there, and so is that of keys that somebody waits for.
const NO_DATABASE: WrongType = WrongType;

impl<W: Waiting> Engine<W> {
    /// LOCK.MACQUIRE. `patience` is how long to wait; a client that cannot be blocked does not wait. `keyspace` shows the search
    /// for deadlocks the holders of other locks.
    pub fn acquire_all<S: KeySet>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        mut request: Request<OwnerRef>,
        patience: Patience,
        keyspace: &mut impl Keyspace,
    ) -> Result<OutcomeOfAll, WrongType> {
        request.max = self.settings.max_hold(request.max);
        let mut taken = self.find_taken(names, keys, now, &request)?;
        if taken.is_some() && self.waits.clients().has_multi_key() {
            // A step of one lock may have ended a request that stood before this one at another.
            taken = self.find_taken(names, keys, now, &request)?;
        }
        let ticket = self.waits.next_ticket();
        let wait = join(patience, ticket, now.steady);
        let (place, readiness) = match taken {
            None => return self.grant_all(names, keys, now, request).map(OutcomeOfAll::Granted),
            Some(taken) => taken,
        };
        match readiness {
            Readiness::MustRelease => return Ok(OutcomeOfAll::Refused(Refused::MustRelease)),
            Readiness::Full => return Ok(OutcomeOfAll::Refused(Refused::Holders(self.settings.holders_max()))),
            Readiness::Held | Readiness::Free | Readiness::Taken => {}
        }
        let Wait::Join { ticket, until } = wait else {
            return Ok(self.refuse_all(now));
        };
        if let Some(full) = names.iter().find_map(|at| self.no_room_to_wait(*at)) {
            return Ok(OutcomeOfAll::Refused(full));
        }
        self.step_at_each(names, keys, now, |step| step.join(request, ticket, until), |()| {})?;
        let search = Search::new(&self.waits, now.steady, self.settings.deadlock_search_max());
        if let Some(cycle) = search.cycle(names, ticket, keyspace) {
            self.leave_queues(names, ticket);
            self.stats.deadlocks_refused += 1;
            return Ok(OutcomeOfAll::Refused(Refused::Deadlock(cycle)));
        }
        self.waits.keep_ticket();
        Ok(OutcomeOfAll::Waits { ticket, watched: place })
    }

    /// Takes note of the client behind a ticket that [`Engine::acquire_all`] returned; `is_made` as for [`Engine::park`].
    pub fn park_multi_key(&mut self, ticket: Ticket, client: W, names: &Keys, watched: usize, is_made: bool) {
        self.waits.park_multi_key(ticket, client, names, watched, is_made);
        for at in names {
            self.tell_of_first_waiter(*at, ticket);
            self.file_events(*at);
        }
    }

    /// The client behind a ticket that [`Engine::acquire_all`] returned cannot be blocked. It does not wait.
    pub fn refuse_to_wait_for_all(&mut self, names: &Keys, now: Now, ticket: Ticket) -> OutcomeOfAll {
        self.leave_queues(names, ticket);
        self.refuse_all(now)
    }

    /// LOCK.MRELEASE. How many of the locks the owner held.
    pub fn release_all<S: KeySet>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        owner: OwnerRef,
    ) -> Result<usize, WrongType> {
        self.check_types(names, keys)?;
        let mut held = 0;
        let count = |released| held += usize::from(released == Released::Yes);
        self.step_at_each(names, keys, now, |step| step.release(owner, None, None), count)?;
        Ok(held)
    }

    /// LOCK.MEXTEND. How many of the locks the owner held.
    pub fn extend_all<S: KeySet>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        request: &ExtendRequest,
    ) -> Result<usize, WrongType> {
        self.check_types(names, keys)?;
        let mut held = 0;
        for (place, at) in names.iter().enumerate() {
            let mut key = keys.open(place, *at).ok_or(NO_DATABASE)?;
            held += usize::from(self.extend(*at, &mut key, now, request)?);
            self.file_events(*at);
        }
        Ok(held)
    }

    /// Sees whether a request that waits for several locks can be granted, and if so grants it.
    /// False if the server refuses a write to one of the keys, so that it must be tried again.
    pub(super) fn grant_together<S: Server>(&mut self, server: &mut S, ticket: Ticket) -> bool {
        let now = server.now();
        let ids = self.waits.keys_of(ticket);
        let names: SmallVec<[KeyRef; 8]> = ids.iter().map(KeyId::borrow).collect();
        let mut keys = KeysOfTask(server);
        for (place, at) in names.iter().enumerate() {
            let Some(mut key) = keys.open(place, *at) else { return true };
            let readiness = self.step(*at, &mut key, now, |step| step.readiness_of(ticket));
            self.index(*at, &mut key);
            self.file_events(*at);
            match readiness {
                Ok(Some(Readiness::Held | Readiness::Free)) => {
                    if failpoints::is_on(Failpoint::MultiKeyGrantedEarly) {
                        break;
                    }
                }
                Ok(Some(Readiness::Taken | Readiness::Full)) => {
                    self.waits.watch(ticket, place);
                    return true;
                }
                Ok(Some(Readiness::MustRelease)) => {
                    self.answer(ticket, |_| Reply::MustRelease);
                    return true;
                }
                // It was answered.
                Ok(None) | Err(WrongType) => return true,
            }
        }
        // The slot may be leaving with some of the keys gone already.
        for (at, id) in names.iter().zip(&ids) {
            match keys.0.write_check(*at) {
                WriteCheck::Accepts => {}
                WriteCheck::Foreign => {
                    self.check_queue_first(id);
                    return false;
                }
                WriteCheck::Halted => return false,
            }
        }
        let Some(request) = names.first().and_then(|at| Some(self.waits.queue(*at)?.get(ticket)?.request.clone()))
        else {
            return true;
        };
        let is_denied = request.user.is_some_and(|user| !keys.0.may_acquire_all(user, &names));
        if is_denied && !failpoints::is_on(Failpoint::RightsNotAsked) {
            self.stats.waits_denied += 1;
            self.answer(ticket, |_| Reply::NoPermissionToAll);
            return true;
        }
        let mut granted = Vec::new();
        for (place, at) in names.iter().enumerate() {
            let Some(mut key) = keys.open(place, *at) else { continue };
            self.scratch.has_recorded = false;
            if let Ok(Some(hold)) = self.step(*at, &mut key, now, |step| step.grant_one_of_several(ticket)) {
                granted.push(GrantedKey { name: at.name.into(), hold });
            }
            if !self.scratch.has_recorded {
                self.confirm(&mut key, now, (*request.owner).borrow());
            }
            self.index(*at, &mut key);
            self.file_events(*at);
        }
        self.agenda.budget.charge_answer();
        self.answer(ticket, |made_owner| Reply::GrantedTogether(granted, ticket, made_owner));
        true
    }

    /// Finds a key of another type, before anything is changed at any.
    fn check_types<S: KeySet>(&mut self, names: &Keys, keys: &mut S) -> Result<(), WrongType> {
        for (place, at) in names.iter().enumerate() {
            if keys.open(place, *at).is_none_or(|key| key.found() == Found::Other) {
                if self.waits.has_queue(*at) {
                    self.agenda.push(Task::Reconcile(at.to_id()));
                }
                return Err(WrongType);
            }
        }
        Ok(())
    }

    /// The first lock that is not ready for this request. One that must be released first counts before all others, and a full
    /// one after those that are taken.
    fn find_taken<S: KeySet>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        request: &Request<OwnerRef>,
    ) -> Result<Option<(usize, Readiness)>, WrongType> {
        let mut first: Option<(usize, Readiness)> = None;
        for (place, at) in names.iter().enumerate() {
            let mut key = keys.open(place, *at).ok_or(NO_DATABASE)?;
            if key.found() == Found::Free && !self.waits.has_queue(*at) && self.quarantine.may_grant(now.steady) {
                continue;
            }
            let readiness = self.step(*at, &mut key, now, |step| step.readiness(request.owner, request.mode))?;
            self.file_events(*at);
            first = match (first, readiness) {
                (_, Readiness::MustRelease) => return Ok(Some((place, readiness))),
                (None, readiness) if !readiness.is_ready() => Some((place, readiness)),
                (Some((_, Readiness::Full)), Readiness::Taken) => Some((place, readiness)),
                (first, _) => first,
            };
        }
        Ok(first)
    }

    /// Grants all locks to a request that does not wait.
    fn grant_all<S: KeySet>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        request: Request<OwnerRef>,
    ) -> Result<Fences, WrongType> {
        let mut fences = Fences::new();
        for (place, at) in names.iter().enumerate() {
            let mut key = keys.open(place, *at).ok_or(NO_DATABASE)?;
            self.scratch.has_recorded = false;
            fences.push(self.step(*at, &mut key, now, |step| step.acquire_one_of_several(request))?);
            if !self.scratch.has_recorded {
                self.confirm(&mut key, now, request.owner);
            }
            self.file_events(*at);
        }
        Ok(fences)
    }

    /// Takes the same step at each lock, and hands on what it returns.
    fn step_at_each<S: KeySet, R>(
        &mut self,
        names: &Keys,
        keys: &mut S,
        now: Now,
        mut rules: impl FnMut(&mut Step) -> R,
        mut result: impl FnMut(R),
    ) -> Result<(), WrongType> {
        for (place, at) in names.iter().enumerate() {
            let mut key = keys.open(place, *at).ok_or(NO_DATABASE)?;
            result(self.step(*at, &mut key, now, &mut rules)?);
            // A waiter is served when the lease ends, even if the lock was renamed since it was granted.
            self.index(*at, &mut key);
            self.file_events(*at);
        }
        Ok(())
    }

    fn leave_queues(&mut self, names: &Keys, ticket: Ticket) {
        for at in names {
            self.leave_queue(*at, ticket);
        }
    }

    /// The answer to a request that does not wait, for locks that are not all ready.
    fn refuse_all(&mut self, now: Now) -> OutcomeOfAll {
        self.refuse(now).map_or(OutcomeOfAll::Busy, OutcomeOfAll::Refused)
    }

    /// The events of the last step are those of this key.
    fn file_events(&mut self, at: KeyRef) {
        if self.events.has_current() {
            self.events.file_under(&at.to_id());
        }
    }
}
