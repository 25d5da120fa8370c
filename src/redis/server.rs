//! The server outside commands: what the timer's tick may ask of it and do to it.

use super::ffi::call_reply::Checks;
use super::ffi::context::is_paused;
use super::ffi::{clock, internal_names, Ctx};
use super::key::OpenKey;
use super::state::module;
use super::users;
use crate::engine::{KeyRef, Server, ServerState, WriteCheck};
use crate::lock::{Fence, Now, User};
use crate::policy::slot_owner::SlotOwner;
use crate::wire::OwnSlots;

/// What the server says of a key whose slot it does not serve, or that is leaving and not here any more.
const FOREIGN: &[u8] = b"non local key";
/// What it says of every key while the cluster is down.
const DOWN: &[u8] = b"cluster is down";

/// The server, seen from a timer.
pub struct TimerServer {
    ctx: Ctx,
    is_cluster: bool,
    /// The server's last answer. Outside a cluster it is the same for every key.
    write_check: Option<WriteCheck>,
}

impl TimerServer {
    /// The server, seen from the context of a timer.
    pub fn new(ctx: Ctx) -> TimerServer {
        TimerServer { ctx, is_cluster: ctx.flags().is_cluster(), write_check: None }
    }

    /// Asks the server whether it would let a client write to this key.
    fn probe_write(&self, key: KeyRef) -> WriteCheck {
        self.probe(key, Checks::All, |text| match text {
            b"OK" => WriteCheck::Accepts,
            _ if self.is_cluster && says(text, FOREIGN) => WriteCheck::Foreign,
            _ => WriteCheck::Halted,
        })
        .unwrap_or(WriteCheck::Foreign)
    }

    /// Asks the server whether the key's slot is here. Too few replicas or disk errors do not count.
    fn probe_slot(&self, key: KeyRef) -> SlotOwner {
        self.probe(key, Checks::SlotOnly, |text| match text {
            text if says(text, FOREIGN) => SlotOwner::Elsewhere,
            text if says(text, DOWN) => SlotOwner::Down,
            _ => SlotOwner::Here,
        })
        .unwrap_or(SlotOwner::Here)
    }

    fn probe<R>(&self, key: KeyRef, checks: Checks, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        module().write_probe.during(|| self.ctx.probe_write(key.name, checks, read))
    }
}

/// Whether these words stand in a text.
fn says(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part == words)
}

impl Server for TimerServer {
    type Key<'a> = OpenKey<'a>;

    fn now(&self) -> Now {
        clock::now()
    }

    fn state(&mut self) -> ServerState {
        let flags = self.ctx.flags();
        if flags.is_loading() {
            ServerState::Loading
        } else if flags.is_replica() {
            ServerState::Replica
        } else if is_paused() {
            ServerState::Halted
        } else {
            ServerState::Writable
        }
    }

    fn write_check(&mut self, key: KeyRef) -> WriteCheck {
        match self.write_check {
            Some(write_check) if !self.is_cluster => write_check,
            _ if !self.ctx.select_db(key.db) => WriteCheck::Foreign,
            _ => *self.write_check.insert(self.probe_write(key)),
        }
    }

    fn slot_owner(&mut self, key: KeyRef) -> SlotOwner {
        if !self.is_cluster || !self.ctx.select_db(key.db) {
            return SlotOwner::Here;
        }
        self.probe_slot(key)
    }

    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<OpenKey<'a>> {
        self.ctx.select_db(key.db).then(|| OpenKey::open_by_name(self.ctx, key.name))
    }

    fn may_acquire_all(&mut self, user: User, keys: &[KeyRef]) -> bool {
        let db = keys.first().map_or(0, |key| key.db);
        self.ctx.select_db(db) && users::may_acquire_all(user, keys, self.ctx)
    }

    fn own_slots(&mut self) -> Option<OwnSlots> {
        self.ctx.cluster_nodes(OwnSlots::read).flatten()
    }

    fn replicate_fence(&mut self, last: Fence) {
        self.ctx.replicate_number(internal_names::FENCE, last.get());
    }
}
