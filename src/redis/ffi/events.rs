//! What the server tells its modules: server events and keyspace events.

use std::ffi::{c_char, c_int, c_void, CStr};

use redis_module::raw;

use super::api::{call, RawCtx, RawString, OK};
use super::context::Ctx;
use super::guard::guard;
use super::strings::bytes;

/// Something that happened in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent {
    /// Some 100 ms have passed.
    Cron,
    /// The server is a primary now.
    BecamePrimary,
    /// The server is a replica now.
    BecameReplica,
    /// A database was emptied: its number, or `None` for all of them.
    Flushed(Option<i32>),
    /// Two databases changed places.
    Swapped(i32, i32),
    /// A replica's new data set took the place of the old one, and nothing was told of the old one's keys.
    DataSetReplaced,
    /// The connection of this client closed.
    Disconnected(u64),
    /// A module was loaded or unloaded.
    ModulesChanged,
    /// The server begins to load its own data set.
    LoadsOwnData,
    /// The server begins to load its primary's data set.
    LoadsPrimarysData,
    /// The server has loaded a data set, or failed to.
    Loaded,
    /// A child process was born: an RDB file, an AOF rewrite or a copy for replicas begins.
    Forked,
}

/// The events that the module subscribes to. The second number is the version of the data that come with the event.
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

/// Hears of server events.
pub trait OnServerEvent {
    /// Something happened.
    fn happened(ctx: Ctx, event: ServerEvent);
}

/// Subscribes to server events; false if the server refuses one.
pub fn subscribe_to_server_events<E: OnServerEvent>(ctx: Ctx) -> bool {
    EVENTS.iter().all(|(id, dataver)| subscribe(ctx, *id, *dataver, Some(on_event::<E>)))
}

/// Subscribes to one server event, or with `None` ends the subscription; false if the server refuses or does not know it.
pub(super) fn subscribe(ctx: Ctx, id: u64, dataver: u64, callback: raw::RedisModuleEventCallback) -> bool {
    let event = raw::RedisModuleEvent { id, dataver };
    // SAFETY: the context names the module; the callback lives as long as the process.
    unsafe { call!(RedisModule_SubscribeToServerEvent(ctx.raw(), event, callback)) == OK }
}

unsafe extern "C" fn on_event<E: OnServerEvent>(
    ctx: *mut RawCtx,
    event: raw::RedisModuleEvent,
    sub: u64,
    data: *mut c_void,
) {
    guard("a server event", (), || {
        // SAFETY: the event's data, in the version asked for.
        if let Some(event) = unsafe { read_event(event.id, sub, data) } {
            // SAFETY: Redis lends the context for the call.
            E::happened(unsafe { Ctx::new(ctx) }, event);
        }
    });
}

/// What an event tells; `None` if the module does nothing about it.
///
/// # Safety
/// `data` is null, or what the server sends with this event.
unsafe fn read_event(id: u64, sub: u64, data: *mut c_void) -> Option<ServerEvent> {
    Some(match id {
        raw::REDISMODULE_EVENT_CRON_LOOP => ServerEvent::Cron,
        raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED => match sub {
            raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_MASTER => ServerEvent::BecamePrimary,
            _ => ServerEvent::BecameReplica,
        },
        raw::REDISMODULE_EVENT_FLUSHDB if sub == raw::REDISMODULE_SUBEVENT_FLUSHDB_END => {
            // SAFETY: the caller vouches for the data.
            let info = unsafe { data.cast::<raw::RedisModuleFlushInfo>().as_ref() }?;
            ServerEvent::Flushed((info.dbnum >= 0).then_some(info.dbnum))
        }
        raw::REDISMODULE_EVENT_SWAPDB => {
            // SAFETY: the caller vouches for the data.
            let info = unsafe { data.cast::<raw::RedisModuleSwapDbInfo>().as_ref() }?;
            ServerEvent::Swapped(info.dbnum_first, info.dbnum_second)
        }
        raw::REDISMODULE_EVENT_REPL_ASYNC_LOAD if sub == raw::REDISMODULE_SUBEVENT_REPL_ASYNC_LOAD_COMPLETED => {
            ServerEvent::DataSetReplaced
        }
        raw::REDISMODULE_EVENT_CLIENT_CHANGE if sub == raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED => {
            // SAFETY: the caller vouches for the data.
            let info = unsafe { data.cast::<raw::RedisModuleClientInfo>().as_ref() }?;
            ServerEvent::Disconnected(info.id)
        }
        raw::REDISMODULE_EVENT_MODULE_CHANGE => ServerEvent::ModulesChanged,
        raw::REDISMODULE_EVENT_LOADING => match sub {
            raw::REDISMODULE_SUBEVENT_LOADING_RDB_START | raw::REDISMODULE_SUBEVENT_LOADING_AOF_START => {
                ServerEvent::LoadsOwnData
            }
            raw::REDISMODULE_SUBEVENT_LOADING_REPL_START => ServerEvent::LoadsPrimarysData,
            _ => ServerEvent::Loaded,
        },
        raw::REDISMODULE_EVENT_FORK_CHILD if sub == raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN => ServerEvent::Forked,
        _ => return None,
    })
}

/// Hears when the server has slept.
pub trait OnSleep {
    /// The server has slept, and has not read from any client since.
    fn slept();
}

/// Asks the server to tell of every sleep; false if it refuses.
pub fn subscribe_to_sleeps<S: OnSleep>() -> bool {
    subscribe(Ctx::detached(), raw::REDISMODULE_EVENT_EVENTLOOP, 1, Some(on_sleep::<S>))
}

/// Asks the server to tell of sleeps no more. The server must not be telling its modules of anything meanwhile.
pub fn unsubscribe_from_sleeps() {
    subscribe(Ctx::detached(), raw::REDISMODULE_EVENT_EVENTLOOP, 1, None);
}

unsafe extern "C" fn on_sleep<S: OnSleep>(_: *mut RawCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if sub == raw::REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP {
        guard("a sleep of the server", (), S::slept);
    }
}

/// Hears of keyspace events.
pub trait OnKeyEvent {
    /// `event`, such as `rename_to`, happened to the key `name`. The server may tell the wrong database; see
    /// [`super::compat`].
    fn happened(event: &[u8], db: i32, name: &[u8]);
}

/// Subscribes to the keyspace events of the classes GENERIC and EVICTED.
pub fn subscribe_to_key_events<K: OnKeyEvent>(ctx: Ctx) {
    const CLASSES: c_int = raw::REDISMODULE_NOTIFY_GENERIC | raw::REDISMODULE_NOTIFY_EVICTED;
    // SAFETY: the context names the module; the callback lives as long as the process.
    unsafe { call!(RedisModule_SubscribeToKeyspaceEvents(ctx.raw(), CLASSES, Some(on_key_event::<K>))) };
}

unsafe extern "C" fn on_key_event<K: OnKeyEvent>(
    ctx: *mut RawCtx,
    _: c_int,
    event: *const c_char,
    key: *mut RawString,
) -> c_int {
    guard("a keyspace event", (), || {
        // SAFETY: a C string that lives for the call.
        let event = unsafe { CStr::from_ptr(event) };
        // SAFETY: a live string.
        let name = unsafe { bytes(key) };
        // SAFETY: Redis lends the context for the call.
        let db = unsafe { Ctx::new(ctx) }.db();
        K::happened(event.to_bytes(), db, name);
    });
    OK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    fn read(id: u64, sub: u64) -> Option<ServerEvent> {
        // SAFETY: no data.
        unsafe { read_event(id, sub, ptr::null_mut()) }
    }

    #[test]
    fn the_subevent_tells_what_a_server_loads() {
        let load = |sub| read(raw::REDISMODULE_EVENT_LOADING, sub);
        assert_eq!(load(raw::REDISMODULE_SUBEVENT_LOADING_RDB_START), Some(ServerEvent::LoadsOwnData));
        assert_eq!(load(raw::REDISMODULE_SUBEVENT_LOADING_AOF_START), Some(ServerEvent::LoadsOwnData));
        assert_eq!(load(raw::REDISMODULE_SUBEVENT_LOADING_REPL_START), Some(ServerEvent::LoadsPrimarysData));
        assert_eq!(load(raw::REDISMODULE_SUBEVENT_LOADING_ENDED), Some(ServerEvent::Loaded));
        assert_eq!(load(raw::REDISMODULE_SUBEVENT_LOADING_FAILED), Some(ServerEvent::Loaded));
    }

    #[test]
    fn an_event_without_its_data_is_ignored() {
        assert_eq!(read(raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_END), None);
        assert_eq!(read(raw::REDISMODULE_EVENT_SWAPDB, 0), None);
        let disconnected = raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED;
        assert_eq!(read(raw::REDISMODULE_EVENT_CLIENT_CHANGE, disconnected), None);
    }

    #[test]
    fn a_negative_number_means_that_all_databases_were_emptied() {
        let flushed = |dbnum| {
            let mut info = raw::RedisModuleFlushInfo { version: 1, sync: 1, dbnum };
            let (id, end) = (raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_END);
            // SAFETY: the data of this event.
            unsafe { read_event(id, end, ptr::from_mut(&mut info).cast()) }
        };
        assert_eq!(flushed(-1), Some(ServerEvent::Flushed(None)));
        assert_eq!(flushed(3), Some(ServerEvent::Flushed(Some(3))));
    }

    #[test]
    fn events_that_nothing_is_done_about_are_ignored() {
        assert_eq!(read(raw::REDISMODULE_EVENT_FLUSHDB, raw::REDISMODULE_SUBEVENT_FLUSHDB_START), None);
        assert_eq!(read(raw::REDISMODULE_EVENT_FORK_CHILD, raw::REDISMODULE_SUBEVENT_FORK_CHILD_DIED), None);
        assert_eq!(read(raw::REDISMODULE_EVENT_EVENTLOOP, 0), None);
    }
}
