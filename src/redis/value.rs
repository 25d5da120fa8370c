//! The data type `redislock`: what Redis asks of a value that is a lock.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::{size_of, MaybeUninit};
use std::ptr;

use redis_module::raw;

use super::api::{self, bytes, call, Ctx, Level, RawIo, RawString, RawType};
use super::guard::guard;
use super::state::{self, MainThread};
use super::{events, replication, role, timer};
use crate::engine::{EntryId, KeyId, KeyRef, Stored, Unlinked};
use crate::lock::{Fence, Mode};
use crate::wire::{self, ChangeKind, EffectWriter, Trust};

/// The type's name in RDB files: nine characters.
const NAME: &std::ffi::CStr = c"redislock";
/// The version of what [`rdb_save`] and [`aux_save`] write around the stored form, which has a version of its own.
const ENCODING: c_int = 1;
/// The room for a stored lock to begin with: one hold, mostly.
const STORED_ROOM: usize = 128;

static TYPE: MainThread<Cell<*mut RawType>> = MainThread::new(Cell::new(ptr::null_mut()));

/// The type, once [`register`] has made it.
pub fn lock_type() -> *mut RawType {
    TYPE.get().get()
}

/// Makes the type; false if the server refuses.
pub fn register(ctx: Ctx) -> bool {
    let mut methods = raw::RedisModuleTypeMethods {
        version: raw::REDISMODULE_TYPE_METHOD_VERSION.into(),
        rdb_load: Some(rdb_load),
        rdb_save: Some(rdb_save),
        aof_rewrite: Some(aof_rewrite),
        mem_usage: None, // mem_usage2 is asked first.
        digest: Some(digest),
        free: Some(free),
        aux_load: Some(aux_load),
        aux_save: Some(aux_save), // Redis 7.0; newer ones ask aux_save2.
        aux_save_triggers: raw::REDISMODULE_AUX_BEFORE_RDB as c_int,
        free_effort: None, // free_effort2 is asked first.
        unlink: None,      // unlink2 is asked first.
        copy: None,        // A copy would be a second holder of the same hold: COPY is refused.
        defrag: None,      // Locks live for seconds; moving them is not worth the code.
        mem_usage2: Some(mem_usage),
        free_effort2: Some(free_effort),
        unlink2: Some(unlink),
        copy2: None, // As copy.
        aux_save2: Some(aux_save_if_needed),
    };
    // SAFETY: the context is that of the load; the server copies the methods.
    let made = unsafe { call!(RedisModule_CreateDataType(ctx.raw(), NAME.as_ptr(), ENCODING, &mut methods)) };
    TYPE.get().set(made);
    !made.is_null()
}

/// RDB, RESTORE, full resync. Leaves a note, because the value is not in its key yet.
unsafe extern "C" fn rdb_load(io: *mut RawIo, encoding: c_int) -> *mut c_void {
    guard("loading a lock", ptr::null_mut(), || {
        if encoding != ENCODING {
            api::log(Level::Warning, "a lock was saved by a newer version of the module, which is needed to load it");
            return ptr::null_mut();
        }
        let mut len = 0;
        // SAFETY: Redis lends the stream for the call.
        let stored = unsafe { call!(RedisModule_LoadStringBuffer(io, &mut len)) };
        if stored.is_null() {
            return ptr::null_mut();
        }
        // SAFETY: so many bytes were read.
        let holders = wire::decode_lock(unsafe { std::slice::from_raw_parts(stored.cast(), len) }, api::now(), trust());
        // SAFETY: the buffer is the caller's to free.
        unsafe { call!(RedisModule_Free(stored.cast())) };
        let Ok(holders) = holders else { return ptr::null_mut() };
        // SAFETY: Redis lends the stream for the call.
        let db = unsafe { call!(RedisModule_GetDbIdFromIO(io)) };
        // SAFETY: as above.
        let name = unsafe { call!(RedisModule_GetKeyNameFromIO(io)) };
        // SAFETY: a live string, or null where the server does not know the key.
        let name = unsafe { bytes(name) };
        if DATABASE_IS_UNKNOWN.get().get() {
            note_loaded_somewhere(name);
        } else {
            note_changed(KeyRef { db, name }.to_id());
        }
        state::with_engine(|engine| engine.loaded(&holders));
        Box::into_raw(Box::new(Stored { holders, lease: EntryId::NONE })).cast()
    })
}

/// Whose bytes are being loaded.
fn trust() -> Trust {
    if Ctx::detached().flags().is_loading() {
        Trust::OwnData
    } else if role::is_replica() {
        Trust::Stream
    } else {
        Trust::Payload
    }
}

/// Whether the server says database 0 of every key that it loads.
static DATABASE_IS_UNKNOWN: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// From this version on, servers tell the database of a key also while they load a primary's data set into temporary databases
/// (`repl-diskless-load swapdb`). Older ones say 0 for all (`initTempDb` in db.c).
const TELLS_TEMPORARY_DATABASE_SINCE: i32 = 0x0007_0400;

/// The server begins to load a data set; `is_primarys`: that of its primary.
pub fn load_begins(ctx: Ctx, is_primarys: bool) {
    let uses_temporary = || ctx.config(c"repl-diskless-load", |how| how == b"swapdb") == Some(true);
    let is_unknown = is_primarys && api::server_version() < TELLS_TEMPORARY_DATABASE_SINCE && uses_temporary();
    DATABASE_IS_UNKNOWN.get().set(is_unknown);
}

/// The server loads no more.
pub fn load_ends() {
    DATABASE_IS_UNKNOWN.get().set(false);
}

/// Notes that a key of this name was loaded, into whichever database.
fn note_loaded_somewhere(name: &[u8]) {
    state::with_inbox(|inbox| inbox.unplaced.push(name.into()));
    timer::kick();
}

/// Notes that something put a value into this key, and asks for the timer's tick.
pub fn note_changed(key: KeyId) {
    state::with_inbox(|inbox| inbox.changed.push(key));
    timer::kick();
}

/// RDB, DUMP, full resync; in a child process, or not. It touches nothing but the value: servers are about to save in
/// other threads.
unsafe extern "C" fn rdb_save(io: *mut RawIo, value: *mut c_void) {
    guard("saving a lock", (), || {
        // SAFETY: a value that `free` has not taken back.
        let Some(stored) = (unsafe { value.cast::<Stored>().as_ref() }) else { return };
        let mut out = Vec::with_capacity(STORED_ROOM);
        wire::encode_lock(&stored.holders, api::now(), &mut out);
        // SAFETY: the bytes are written out before the call returns.
        unsafe { call!(RedisModule_SaveStringBuffer(io, out.as_ptr().cast(), out.len())) };
    });
}

/// AOF rewrite without RDB preamble: the effects that make the lock again.
unsafe extern "C" fn aof_rewrite(io: *mut RawIo, key: *mut RawString, value: *mut c_void) {
    guard("rewriting a lock", (), || {
        // SAFETY: a value that `free` has not taken back.
        let Some(stored) = (unsafe { value.cast::<Stored>().as_ref() }) else { return };
        for (mode, hold) in stored.holders.iter() {
            let mut effect = Vec::with_capacity(STORED_ROOM);
            EffectWriter::begin(&mut effect, api::now()).runs(ChangeKind::Granted, mode, hold);
            let (start, len) = (effect.as_ptr().cast::<c_char>(), effect.len());
            // SAFETY: "s" takes a string, "b" a pointer and a length.
            unsafe { call!(RedisModule_EmitAOF(io, replication::APPLY.as_ptr(), c"sb".as_ptr(), key, start, len)) };
        }
    });
}

/// The fence clock, before all keys. 0: nothing was ever granted.
unsafe extern "C" fn aux_save(io: *mut RawIo, _when: c_int) {
    guard("saving the fence clock", (), || {
        // SAFETY: Redis lends the stream for the call.
        unsafe { call!(RedisModule_SaveUnsigned(io, state::fence_to_save())) };
    });
}

/// The same where nothing need be written: a data set that never saw a lock loads without the module.
unsafe extern "C" fn aux_save_if_needed(io: *mut RawIo, when: c_int) {
    if state::fence_to_save() != 0 {
        // SAFETY: passed on as it came.
        unsafe { aux_save(io, when) };
    }
}

unsafe extern "C" fn aux_load(io: *mut RawIo, encoding: c_int, _when: c_int) -> c_int {
    const OK: c_int = raw::REDISMODULE_OK as c_int;
    const ERR: c_int = raw::REDISMODULE_ERR as c_int;
    guard("loading the fence clock", ERR, || {
        if encoding != ENCODING {
            return ERR;
        }
        // SAFETY: Redis lends the stream for the call.
        let last = unsafe { call!(RedisModule_LoadUnsigned(io)) };
        // SAFETY: as above.
        if unsafe { call!(RedisModule_IsIOError(io)) } != 0 {
            return ERR;
        }
        match Fence::new(last) {
            Some(last) => {
                state::with_engine(|engine| engine.fences().observe(last));
                OK
            }
            None if last == 0 => OK,
            None => ERR,
        }
    })
}

/// DEBUG DIGEST: who holds, how, and under which fence. Not the end, which each server reckons by its own clock.
unsafe extern "C" fn digest(digest: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guard("a digest", (), || {
        // SAFETY: a value that `free` has not taken back.
        let Some(stored) = (unsafe { value.cast::<Stored>().as_ref() }) else { return };
        for (mode, hold) in stored.holders.iter() {
            let mode: u32 = match mode {
                Mode::Exclusive => 0,
                Mode::Shared(limit) => limit.map_or(u32::MAX, |limit| limit.get()),
            };
            for part in [hold.owner.as_bytes(), &hold.fence.get().to_le_bytes(), &mode.to_le_bytes()] {
                // SAFETY: the bytes are read before the call returns.
                unsafe { call!(RedisModule_DigestAddStringBuffer(digest, part.as_ptr().cast(), part.len())) };
            }
            // Each hold for itself: those under one fence may stand in any order.
            // SAFETY: Redis lends the digest for the call.
            unsafe { call!(RedisModule_DigestEndSequence(digest)) };
        }
    });
}

/// MEMORY USAGE, in bytes.
unsafe extern "C" fn mem_usage(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void, _samples: usize) -> usize {
    guard("a memory report", 0, || {
        // SAFETY: a value that `free` has not taken back.
        let Some(stored) = (unsafe { value.cast::<Stored>().as_ref() }) else { return 0 };
        size_of::<Stored>() + stored.holders.allocated()
    })
}

/// The room of the lock that was freed last: the next one moves in, which saves an allocation for each lock that comes and
/// goes.
static SPARE: MainThread<Cell<Option<Box<MaybeUninit<Stored>>>>> = MainThread::new(Cell::new(None));

/// Puts a lock where the server can own it.
pub fn boxed(stored: Stored) -> Box<Stored> {
    match SPARE.get().take() {
        Some(room) => Box::write(room, stored),
        None => Box::new(stored),
    }
}

/// May run on a background thread (FLUSHALL ASYNC): there it touches nothing but the value.
unsafe extern "C" fn free(value: *mut c_void) {
    guard("freeing a lock", (), || {
        let value = value.cast::<Stored>();
        // SAFETY: made by `Box::into_raw` in rdb_load or src/redis/key.rs, and freed once.
        unsafe { ptr::drop_in_place(value) };
        // SAFETY: as above; what is left is room for a value.
        let room = unsafe { Box::from_raw(value.cast::<MaybeUninit<Stored>>()) };
        if state::is_main_thread() {
            SPARE.get().set(Some(room));
        }
    });
}

/// How much there is to free: a lock with many holders is left to a background thread, as a large set is.
unsafe extern "C" fn free_effort(_: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) -> usize {
    // SAFETY: a value that `free` has not taken back. Nothing here can panic.
    unsafe { value.cast::<Stored>().as_ref() }.map_or(1, |stored| stored.holders.len().max(1))
}

/// The value leaves its key, whatever the reason: DEL, expiry, eviction, SET over it, RENAME, MOVE, RESTORE REPLACE.
unsafe extern "C" fn unlink(ctx: *mut raw::RedisModuleKeyOptCtx, value: *const c_void) {
    if state::OWN_REMOVAL.is_set() {
        return;
    }
    guard("a lock's removal", (), || {
        // SAFETY: Redis lends the context for the call.
        let db = unsafe { call!(RedisModule_GetDbIdFromOptCtx(ctx)) };
        // SAFETY: as above.
        let name = unsafe { call!(RedisModule_GetKeyNameFromOptCtx(ctx)) };
        // SAFETY: a live string.
        let name = unsafe { bytes(name) };
        // SAFETY: a value that `free` has not taken back.
        let Some(stored) = (unsafe { value.cast::<Stored>().as_ref() }) else { return };
        let at = KeyRef { db, name };
        // The engine is busy if this comes from a key that it opened itself, and whose TTL had run out.
        let busy = Unlinked { was_known: true, is_waited_for: true };
        let Unlinked { was_known, is_waited_for } =
            state::with_engine(|engine| engine.unlinked(at, stored)).unwrap_or(busy);
        events::value_left_its_key(at, was_known);
        if is_waited_for {
            state::with_inbox(|inbox| inbox.unlinked.push((at.to_id(), stored.lease)));
            timer::kick();
        }
    });
}
