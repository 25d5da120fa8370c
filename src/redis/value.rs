//! The data type `redislock`: what Redis asks of a value that is a lock.

use std::ffi::{c_int, CStr};
use std::mem::{size_of, MaybeUninit};

use super::ffi::data_type::{self, DataType, Digest, Io};
use super::ffi::strings::StringRef;
use super::ffi::{clock, internal_names, log, Ctx, Level};
use super::state::{self, module};
use super::{key_events, timer, value_type};
use crate::engine::{EntryId, KeyRef, Stored, Unlinked};
use crate::lock::{Fence, Hold, Holders, Mode};
use crate::policy::role::trust;
use crate::wire::{self, ChangeKind, EffectWriter};

/// The memory, in bytes, that a stored lock is given to begin with. Most locks have one hold.
const STORED_ROOM: usize = 128;

/// Registers the type; false if the server refuses.
pub fn register(ctx: Ctx) -> bool {
    let made = data_type::create::<LockType>(ctx);
    module().lock_type.set(made.unwrap_or(data_type::TypeHandle::NONE));
    made.is_some()
}

/// The server begins to load its primary's data set. Old servers do not report the database of a key that they load into a
/// temporary one.
pub fn primarys_load_begins(ctx: Ctx) {
    let uses_temporary = || ctx.config(b"repl-diskless-load", |how| how == b"swapdb") == Some(true);
    let is_unknown = !module().capabilities.get().tells_temporary_database() && uses_temporary();
    module().database_is_unknown.set(is_unknown);
}

/// The server begins to load its own data set, or has finished loading: it reports the database of every key.
pub fn database_is_known() {
    module().database_is_unknown.set(false);
}

struct LockType;

impl DataType for LockType {
    type Value = Stored;

    const NAME: &'static CStr = c"redislock";
    /// The stored form has a version of its own.
    const ENCODING: c_int = 1;

    /// Leaves a note, because the value is not in its key yet.
    fn load(io: Io, encoding: c_int) -> Option<Box<Stored>> {
        if encoding != Self::ENCODING {
            log(Level::Warning, "a lock was saved by a newer version of the module, which is needed to load it");
            return None;
        }
        let trust = || trust(module().role.get(), state::data_set(Ctx::detached().flags()));
        let holders = io.load_bytes(|bytes| wire::decode_lock(bytes, clock::now(), trust()))?.ok()?;
        let at = KeyRef { db: io.db(), name: io.key_name() };
        if module().database_is_unknown.get() {
            state::with_inbox(|inbox| inbox.unplaced.push(at.name.into()));
        } else {
            state::note_changed(at.to_id());
        }
        timer::kick();
        state::with_engine(|engine| engine.loaded(&holders));
        Some(Box::new(Stored { holders, lease: EntryId::NONE }))
    }

    /// Touches nothing but the value, because later servers may save in other threads.
    fn save(io: Io, stored: &Stored) {
        let mut out = Vec::with_capacity(STORED_ROOM);
        wire::encode_lock(&stored.holders, clock::now(), &mut out);
        io.save_bytes(&out);
    }

    fn rewrite(io: Io, key: StringRef, stored: &Stored) {
        let emit = |write: &dyn Fn(&mut EffectWriter)| {
            let mut effect = Vec::with_capacity(STORED_ROOM);
            write(&mut EffectWriter::begin(&mut effect, clock::now()));
            io.emit_key_bytes(internal_names::APPLY, key, &effect);
        };
        if let Holders::Cooling(cooling) = stored.holders {
            emit(&|writer| writer.cooling(cooling));
        }
        for (mode, hold) in stored.holders.iter() {
            emit(&|writer| writer.held(ChangeKind::Granted, mode, hold));
        }
    }

    /// The fence clock; 0: nothing was ever granted.
    fn load_aux(io: Io, encoding: c_int) -> bool {
        if encoding != Self::ENCODING {
            return false;
        }
        let Some(last) = io.load_number() else { return false };
        match Fence::new(last) {
            Some(last) => {
                state::with_engine(|engine| engine.fences().observe(last));
                true
            }
            None => last == 0,
        }
    }

    fn save_aux(io: Io) {
        io.save_number(state::fence_to_save());
    }

    fn has_aux() -> bool {
        state::fence_to_save() != 0
    }

    /// Who holds, how, under which fence, and with which options; and how long the lock is cooling. Not when a lease, MAX or
    /// cooling ends, which each server computes by its own clock.
    fn digest(digest: Digest, stored: &Stored) {
        if let Holders::Cooling(cooling) = &stored.holders {
            digest.add(b"cooling");
            digest.add(&cooling.length.0.to_le_bytes());
            digest.end_sequence();
        }
        for (mode, hold) in stored.holders.iter() {
            let limit: u32 = match mode {
                Mode::Exclusive => 0,
                Mode::Shared(limit) => limit.map_or(u32::MAX, |limit| limit.units()),
            };
            digest.add(hold.owner.as_bytes());
            digest.add(&hold.fence.get().to_le_bytes());
            digest.add(&limit.to_le_bytes());
            // A hold without options has the digest that it had before there were any.
            let options = options_to_digest(mode, hold);
            if options != NO_OPTIONS {
                digest.add(&options);
            }
            // Each hold is a sequence of its own, because those under one fence may stand in any order.
            digest.end_sequence();
        }
    }

    fn memory_usage(stored: &Stored) -> usize {
        size_of::<Stored>() + stored.holders.allocated()
    }

    /// A lock with many holders is left to a background thread, as a large set is.
    fn free_effort(stored: &Stored) -> usize {
        stored.holders.len().max(1)
    }

    fn freed(room: Box<MaybeUninit<Stored>>) {
        value_type::keep_memory(room);
    }

    fn is_own_removal() -> bool {
        module().own_removal.is_set()
    }

    fn unlinked(db: i32, name: &[u8], stored: &Stored) {
        let at = KeyRef { db, name };
        // The engine is busy if this comes from a key that it opened itself, and whose TTL had run out.
        let busy = Unlinked { was_known: true, is_waited_for: true };
        let Unlinked { was_known, is_waited_for } =
            state::with_engine(|engine| engine.unlinked(at, stored)).unwrap_or(busy);
        key_events::value_left(at, was_known);
        if is_waited_for {
            state::with_inbox(|inbox| inbox.unlinked.push((at.to_id(), stored.lease)));
            timer::kick();
        }
    }
}

/// What a hold without WEIGHT, MAX and DELAY adds to a digest.
const NO_OPTIONS: [u8; 13] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The weight of a hold in 4 bytes, whether it has MAX in one, and its DELAY in 8.
fn options_to_digest(mode: Mode, hold: &Hold) -> [u8; 13] {
    let weight: u32 = match mode {
        Mode::Shared(Some(limit)) => limit.weight(),
        Mode::Exclusive | Mode::Shared(None) => 1,
    };
    let has_max = u8::from(hold.max_end().is_some());
    let delay = hold.terms.delay().map_or(0, |delay| delay.0);
    let mut bytes = [0; 13];
    let all = weight.to_le_bytes().into_iter().chain([has_max]).chain(delay.to_le_bytes());
    bytes.iter_mut().zip(all).for_each(|(byte, value)| *byte = value);
    bytes
}
