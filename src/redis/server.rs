//! The server outside commands: what the timer's tick may do.

use std::ffi::{c_char, CStr};

use redis_module::raw;

use super::api::{self, call, Ctx};
use super::key::OpenKey;
use super::{replication, state};
use crate::engine::{KeyRef, Server, ServerState, SlotOwner, WriteCheck};
use crate::lock::{Fence, Now};
use crate::wire::OwnSlots;

/// What the server says of a key whose slot it does not serve, or that is leaving and not here any more.
const FOREIGN: &[u8] = b"non local key";
/// What it says of every key while the cluster is down.
const DOWN: &[u8] = b"cluster is down";

/// The server, seen from a timer.
pub struct TimerServer {
    ctx: Ctx,
    is_cluster: bool,
    /// What the server said last; outside a cluster it says the same of every key.
    write_check: Option<WriteCheck>,
}

impl TimerServer {
    /// For the context of a timer.
    pub fn new(ctx: Ctx) -> TimerServer {
        TimerServer { ctx, is_cluster: ctx.flags().is_cluster(), write_check: None }
    }

    /// Asks the server whether it would let a client write to this key, by a write command that changes nothing. Its
    /// checks (replicas, disk errors, slot) come before the command runs; what replication writes skips them.
    fn ask(&self, key: KeyRef) -> WriteCheck {
        // S: as strict as with a script. E: errors are replies. "b": the key. "c": no effect.
        self.question(c"SEbc", key, |text| match text {
            b"OK" => WriteCheck::Accepts,
            _ if self.is_cluster && says(text, FOREIGN) => WriteCheck::Foreign,
            _ => WriteCheck::Halted,
        })
        .unwrap_or(WriteCheck::Foreign)
    }

    /// Runs that command and reads what the server says to it; `None`: nothing.
    fn question<R>(&self, format: &CStr, key: KeyRef, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let (name, len) = (key.name.as_ptr().cast::<c_char>(), key.name.len());
        let (ctx, command, no_effect) = (self.ctx.raw(), replication::APPLY.as_ptr(), c"".as_ptr());
        // SAFETY: the format takes a pointer, a length and a string, which live until the call returns.
        let reply = state::OWN_QUESTION
            .during(|| unsafe { call!(RedisModule_Call(ctx, command, format.as_ptr(), name, len, no_effect)) });
        api::read_reply(reply, read)
    }
}

/// Whether the words stand in this text.
fn says(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|part| part == words)
}

impl Server for TimerServer {
    type Key<'a> = OpenKey<'a>;

    fn now(&self) -> Now {
        api::now()
    }

    fn state(&mut self) -> ServerState {
        let flags = self.ctx.flags();
        if flags.is_loading() {
            ServerState::Loading
        } else if flags.is_replica() {
            ServerState::Replica
        } else if api::is_paused() {
            ServerState::Halted
        } else {
            ServerState::Writable
        }
    }

    fn write_check(&mut self, key: KeyRef) -> WriteCheck {
        match self.write_check {
            Some(write_check) if !self.is_cluster => write_check,
            _ if !self.ctx.select_db(key.db) => WriteCheck::Foreign,
            _ => *self.write_check.insert(self.ask(key)),
        }
    }

    fn slot_owner(&mut self, key: KeyRef) -> SlotOwner {
        if !self.is_cluster || !self.ctx.select_db(key.db) {
            return SlotOwner::Here;
        }
        // Without "S": too few replicas or disk errors send nobody away.
        let slot_owner = self.question(c"Ebc", key, |text| match text {
            text if says(text, FOREIGN) => SlotOwner::Elsewhere,
            text if says(text, DOWN) => SlotOwner::Down,
            _ => SlotOwner::Here,
        });
        slot_owner.unwrap_or(SlotOwner::Here)
    }

    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<OpenKey<'a>> {
        self.ctx.select_db(key.db).then(|| OpenKey::of_name(self.ctx, key.name))
    }

    fn own_slots(&mut self) -> Option<OwnSlots> {
        self.ctx.cluster_nodes(OwnSlots::read).flatten()
    }

    fn replicate_fence(&mut self, last: Fence) {
        self.ctx.replicate_number(replication::FENCE, last.get());
    }
}
