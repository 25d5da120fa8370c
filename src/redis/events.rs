//! What the server tells: keys that moved, databases that changed places or were emptied, roles, loading, time passing.
//!
//! Callbacks only take notes and change the engine's own tables; all writing is left to the timer.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void, CStr};

use redis_module::raw;

use super::api::{self, bytes, call, Ctx, Level, RawCtx, RawString};
use super::blocked::BlockedClient;
use super::guard::guard;
use super::state::MainThread;
use super::value::{self, note_changed};
use super::{delivery, key, migration, modules, propagation, removals, role, state, timer};
use crate::engine::{Engine, Inbox, KeyRef, Scope, Stored};

/// The events the module listens to. The second number is the version of the data that come with it.
const EVENTS: &[(u64, u64)] = &[
    (raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, 1),
    (raw::REDISMODULE_EVENT_FLUSHDB, 1),
    (raw::REDISMODULE_EVENT_LOADING, 1),
    (raw::REDISMODULE_EVENT_CRON_LOOP, 1),
    (raw::REDISMODULE_EVENT_SWAPDB, 1),
    (raw::REDISMODULE_EVENT_FORK_CHILD, 1),
    (raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD, 1),
    (raw::REDISMODULE_EVENT_CLIENT_CHANGE, 1),
    (raw::REDISMODULE_EVENT_MODULE_CHANGE, 1),
];

/// What the module has to do with keyspace events.
#[derive(Clone, Copy)]
enum Listening {
    /// Nothing: on this server it would harm others.
    Harmful,
    NotYet,
    Begun,
}

static LISTENING: MainThread<Cell<Listening>> = MainThread::new(Cell::new(Listening::NotYet));

/// A lock's value left its key by somebody else's doing; where to, only keyspace events tell, and RENAME and MOVE tell it
/// after they took the value out. So the module listens to them from the first such value on.
///
/// Why not from the start? Redis makes a client for each event of each subscriber, some 800 instructions for every DEL and
/// every EXPIRE of everybody; a server on which locks are only released never needs to pay them.
///
/// Valkey up to 9.1.0 lends its subscribers the client that runs the command and leaves it in the event's database
/// (valkey-io/valkey#4024), so that what follows MOVE and COPY would go wrong for everybody. Nothing is listened to there: a
/// lock that was renamed or moved still ends on time for all who ask for it, but its key stays until then.
pub fn value_left_its_key(at: KeyRef, was_known: bool) {
    removals::value_left(at, was_known);
    VALUE_LEFT.get().set(true);
    match LISTENING.get().get() {
        Listening::Harmful | Listening::Begun => {}
        Listening::NotYet => listen_to_keys(),
    }
}

fn listen_to_keys() {
    let ctx = Ctx::detached();
    if VALKEYS_THAT_LEND.contains(&api::server_version()) && api::is_valkey(ctx) {
        LISTENING.get().set(Listening::Harmful);
        return;
    }
    LISTENING.get().set(Listening::Begun);
    const CLASSES: c_int = raw::REDISMODULE_NOTIFY_GENERIC | raw::REDISMODULE_NOTIFY_EVICTED;
    // SAFETY: the context names the module; the callback lives as long as the process.
    unsafe { call!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw(), CLASSES, Some(on_key_event))) };
}

/// Whether a lock's value left its key since a key last moved: if not, what moves is no lock.
static VALUE_LEFT: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// Valkey 8.1.0 to 9.1.0. Redis has had versions with such numbers, too.
const VALKEYS_THAT_LEND: std::ops::Range<i32> = 0x0008_0100..0x0009_0101;

/// Subscribes to the server's events; false if it refuses.
pub fn subscribe(ctx: Ctx) -> bool {
    migration::subscribe(ctx);
    EVENTS.iter().all(|(id, dataver)| {
        let event = raw::RedisModuleEvent { id: *id, dataver: *dataver };
        // SAFETY: the context is that of the load; the callback lives as long as the process.
        unsafe {
            call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, Some(on_event))) == raw::REDISMODULE_OK as c_int
        }
    })
}

/// A key got a value by moving. That a value left its key, or was loaded, is told by the value itself (`value`).
unsafe extern "C" fn on_key_event(ctx: *mut RawCtx, _: c_int, event: *const c_char, key: *mut RawString) -> c_int {
    guard("a keyspace event", (), || {
        // SAFETY: a C string that lives for the call.
        let event = unsafe { CStr::from_ptr(event) };
        // SAFETY: a live string.
        let name = unsafe { bytes(key) };
        // SAFETY: Redis lends the context for the call.
        let db = unsafe { Ctx::new(ctx) }.db();
        if event == c"rename_to" && VALUE_LEFT.get().take() {
            value_came(KeyRef { db, name });
        } else if event == c"move_to" && VALUE_LEFT.get().take() {
            // Valkey 9 tells the wrong database when MOVE runs in a transaction, so all are looked at.
            (0..).take_while(|db| Ctx::detached().select_db(*db)).for_each(|db| value_came(KeyRef { db, name }));
        }
        if event == c"evicted" {
            removals::evicted(KeyRef { db, name });
        } else {
            removals::forget_last();
        }
    });
    raw::REDISMODULE_OK as c_int
}

/// A value came to this key from another. If it is a lock it was not removed from there, as it had seemed.
fn value_came(at: KeyRef) {
    note_changed(at.to_id());
    let has_moved = |stored: &Stored| state::with_engine(|engine| engine.moved_here(at, stored)) == Some(true);
    let moved = key::see(Ctx::detached(), at, |seen| seen.stored().is_some_and(has_moved));
    if moved == Some(true) {
        removals::moved(at);
    }
}

const LOADING_STARTS: [u64; 3] = [
    raw::REDISMODULE_SUBEVENT_LOADING_RDB_START,
    raw::REDISMODULE_SUBEVENT_LOADING_AOF_START,
    raw::REDISMODULE_SUBEVENT_LOADING_REPL_START,
];

unsafe extern "C" fn on_event(ctx: *mut RawCtx, event: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    guard("a server event", (), || match event.id {
        raw::REDISMODULE_EVENT_CRON_LOOP => {
            timer::check();
            propagation::refresh();
            removals::forget_flush();
        }
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED => role_changed(sub),
        raw::REDISMODULE_EVENT_FLUSHDB if sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_END => {
            // SAFETY: the event's data, in the version asked for.
            if let Some(info) = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() } {
                let scope = if info.dbnum < 0 { Scope::All } else { Scope::Db(info.dbnum) };
                // Valkey 9 empties the data set of a reload when it has begun to load.
                let comes_back = Ctx::detached().flags().is_loading();
                tell(|engine, inbox| removals::flushed(engine.flushed(scope, inbox) as u64, comes_back));
            }
        }
        raw::REDISMODULE_EVENT_SWAPDB => {
            // SAFETY: the event's data, in the version asked for.
            if let Some(info) = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() } {
                tell(|engine, inbox| engine.swapped(info.dbnum_first, info.dbnum_second, inbox));
            }
        }
        // A replica's new data set took the place of the old one, of which nothing was told.
        raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD if sub == raw::REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_COMPLETED => {
            tell(|engine, inbox| {
                engine.flushed(Scope::All, inbox);
            });
        }
        raw::REDISMODULE_EVENT_CLIENT_CHANGE if sub == raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED => {
            // SAFETY: the event's data, in the version asked for.
            if let Some(client) = unsafe { data.cast::<raw::RedisModuleClientInfo>().as_ref() } {
                // SAFETY: Redis lends the context for the call.
                disconnected(unsafe { Ctx::new(ctx) }, client.id);
            }
        }
        raw::REDISMODULE_EVENT_MODULE_CHANGE => modules::look(Ctx::detached()),
        raw::REDISMODULE_EVENT_LOADING if LOADING_STARTS.contains(&sub) => {
            removals::loads();
            // SAFETY: Redis lends the context for the call.
            let ctx = unsafe { Ctx::new(ctx) };
            value::load_begins(ctx, sub == raw::REDISMODULE_SUBEVENT_LOADING_REPL_START);
        }
        raw::REDISMODULE_EVENT_LOADING => {
            value::load_ends();
            timer::kick();
        }
        raw::REDISMODULE_EVENT_FORK_CHILD if sub == raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN => {
            propagation::listeners_may_have_come();
            aof_rewritten();
        }
        _ => {}
    });
}

/// A connection has closed. What ends with it is left to the timer: this may be in the middle of a script.
fn disconnected(ctx: Ctx, client: u64) {
    let has_lost_grants = delivery::client_closed(ctx, client);
    let has_left_notes = state::with_inbox(|inbox| {
        state::with_engine(|engine| engine.disconnected(client, inbox));
        !inbox.closed.is_empty()
    });
    if has_lost_grants || has_left_notes == Some(true) {
        timer::kick();
    }
}

/// Lets the engine change its tables and leave notes, and asks for the timer's tick.
fn tell(body: impl FnOnce(&mut Engine<BlockedClient>, &mut Inbox)) {
    state::with_inbox(|inbox| state::with_engine(|engine| body(engine, inbox)));
    timer::kick();
}

/// A promoted replica may not know the last fences its primary gave: it leaps over them before it grants anything.
fn role_changed(sub: u64) {
    let is_primary = sub == raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER;
    role::set(!is_primary);
    removals::forget_flush();
    if is_primary {
        state::with_engine(|engine| engine.begin_term(api::now()));
        state::with_inbox(|inbox| inbox.announce_fence = true);
        api::log(Level::Notice, "this server is the primary now and takes over the leases of its locks");
    }
    propagation::listeners_may_have_come();
    tell(|engine, inbox| engine.forget_sessions(inbox));
}

/// What an AOF rewrite leaves out is the fences of locks that are free: the clock is written anew behind it.
fn aof_rewritten() {
    if Ctx::detached().flags().has_aof() {
        state::with_inbox(|inbox| inbox.announce_fence = true);
        timer::kick();
    }
}
