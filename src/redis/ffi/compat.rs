//! What differs between servers, in one place.
//!
//! [`Capabilities`] is made once, at load. Each of its questions is one quirk with the versions that have it. A new server
//! needs a look at this file and at the tests' list of servers; nothing else asks for a version.
//!
//! | Quirk | Servers | What the module does |
//! |---|---|---|
//! | A client that is unblocked and times out at once gets no reply, or the server crashes | Redis and Valkey below 7.4 | [`Capabilities::client_unblock`]; and see "Time of waiters" |
//! | Every key that is loaded into a temporary database has database 0 | below 7.4 | [`Capabilities::tells_temporary_database`] |
//! | MOVE and COPY leave a subscriber's client in the wrong database | Valkey 8.1.0 to 9.1.0 | [`Capabilities::key_events`] |
//! | Slots that move whole are told by different events | Redis 8.4, Valkey 9 | [`Capabilities::slot_moves`] |
//! | A module must say that it handles such moves | Valkey 9 | [`Capabilities::module_options`] |
//! | A call from another module may wait, so no flag tells it from a command | Redis 7.2 and later | [`Capabilities::calls_can_wait`] |
//! | Modules have an ACL category of their own | 7.4 and later | [`super::acl::add_category`] |
//! | Modules put commands into ACL categories | 7.2 and later | [`super::acl::set_categories`] |
//! | Users may be kept out of databases | Valkey 9.1 | [`Capabilities::check_in_database`] |
//! | Data of modules is sent along with slots | Redis 8.4 | [`Ctx::propagate_for_slot_migration`] |
//! | MOVE in a transaction tells the wrong database | Valkey 9 | all databases are looked at, on every server |
//! | A data set that is loaded again is emptied when the load has begun | Valkey 9 | the flag for loading is asked when a database is emptied |
//! | RM_GetClientInfoById crashes for a client without a connection | Valkey 9.1 | [`Ctx::connected_client`] asks for its user instead |
//! | The monotonic clock is the CPU's own counter | Valkey 9.1 | [`super::clock::now`] asks the system |
//! | A client that has subscribed to a channel cannot be blocked (RESP3) | Valkey 8.1 and later | [`super::blocked::Blocked::block`] may refuse |
//! | How long to sleep is computed before a callback sets a timer | Redis 7.0 | [`super::timer::wake_event_loop`] |
//! | A call that is given up while it waits stops the server | Redis 8.0, Valkey 9.1 | calls are never blocked, see `src/redis/caller.rs` |
//!
//! # Time of waiters
//! The server is never given a timeout for a blocked client. A client that is unblocked and times out in the same iteration
//! of the event loop gets no reply on Redis 7.0 and crashes 7.2 (redis/redis#13015). The engine keeps the time itself.

use std::ops::Range;

use redis_module::raw;

use super::acl::CheckInDatabase;
use super::api::call;
use super::context::Ctx;
use super::server_info::ServerInfo;

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// Redis, or a server that says it is one.
    Redis,
    /// Valkey.
    Valkey,
}

/// What this server can do, and which quirks it has.
#[derive(Clone, Copy)]
pub struct Capabilities {
    kind: ServerKind,
    /// The version as 0xMMmmpp. Valkey counts its own versions, and Redis has had the same numbers.
    version: i32,
    /// Whether the server lets a module's call wait.
    calls_can_wait: bool,
    /// How it checks rights in one database, if it can.
    check_in_database: Option<CheckInDatabase>,
}

/// What CLIENT UNBLOCK does to a client that the module blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientUnblock {
    /// The module answers the client.
    Answers,
    /// CLIENT UNBLOCK returns 0, and the client goes on waiting.
    DoesNothing,
}

/// Whether the module may subscribe to keyspace events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvents {
    /// It may.
    Harmless,
    /// A subscription would harm other clients.
    Harmful,
}

/// Whose events tell of slots that move whole from one server to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotMoves {
    /// Those of Redis 8.4 (CLUSTER MIGRATION IMPORT).
    Redis,
    /// Those of Valkey 9 (CLUSTER MIGRATESLOTS).
    Valkey,
}

/// The first version of Redis and of Valkey that can be told what to answer to CLIENT UNBLOCK without the race that loses
/// the reply (redis/redis#13015).
const ANSWERS_CLIENT_UNBLOCK_SINCE: i32 = 0x0007_0400;

/// The first version that tells the database of a key also while it loads a primary's data set into temporary databases
/// (`repl-diskless-load swapdb`). Older servers say 0 for all of them (`initTempDb` in db.c).
const TELLS_TEMPORARY_DATABASE_SINCE: i32 = 0x0007_0400;

/// The versions of Valkey, 8.1.0 to 9.1.0, that lend their subscribers the client that runs a command, and leave it in the
/// database of the event (valkey-io/valkey#4024). What follows MOVE and COPY would go wrong for everybody.
const VALKEY_LENDS_CLIENTS: Range<i32> = 0x0008_0100..0x0009_0101;

/// `VALKEYMODULE_EVENT_ATOMIC_SLOT_MIGRATION` of Valkey 9 (valkeymodule.h). Redis gives this number to another event.
pub(super) const VALKEY_EVENT_ATOMIC_SLOT_MIGRATION: u64 = 19;

/// `REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED`, which the bindings leave out: the server does not take a key that was
/// opened for writing for changed.
pub(super) const NO_IMPLICIT_SIGNAL_MODIFIED: u32 = 1 << 1;

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION` of Valkey 9, without which CLUSTER MIGRATESLOTS is refused. Clients see
/// the keys of a slot that comes in only when it has come. Nothing is granted or ended there before, because the server says
/// that the slot is not its own. Redis and older Valkeys have no such option.
const VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

impl Capabilities {
    /// Before the load: an old Redis.
    pub const UNKNOWN: Capabilities =
        Capabilities { kind: ServerKind::Redis, version: 0, calls_can_wait: false, check_in_database: None };

    /// Asks the server, at load.
    pub fn detect(ctx: Ctx) -> Capabilities {
        // A Valkey says so itself; its version number does not.
        let is_valkey = ServerInfo::read(ctx, c"server").is_some_and(|info| info.text(c"valkey_version").is_some());
        // SAFETY: the pointer was written at load, on this thread, and is only read since.
        let calls_can_wait = unsafe { raw::RedisModule_CallReplyPromiseAbort }.is_some();
        Capabilities {
            kind: if is_valkey { ServerKind::Valkey } else { ServerKind::Redis },
            // SAFETY: a function without arguments.
            version: unsafe { call!(RedisModule_GetServerVersion()) },
            calls_can_wait,
            check_in_database: CheckInDatabase::find(),
        }
    }

    /// What CLIENT UNBLOCK does to a client that waits for a lock.
    pub fn client_unblock(&self) -> ClientUnblock {
        if self.version >= ANSWERS_CLIENT_UNBLOCK_SINCE {
            ClientUnblock::Answers
        } else {
            ClientUnblock::DoesNothing
        }
    }

    /// Whether the server tells the database of a key that it loads into a temporary database.
    pub fn tells_temporary_database(&self) -> bool {
        self.version >= TELLS_TEMPORARY_DATABASE_SINCE
    }

    /// Whether a subscription to keyspace events harms other clients.
    pub fn key_events(&self) -> KeyEvents {
        if self.kind == ServerKind::Valkey && VALKEY_LENDS_CLIENTS.contains(&self.version) {
            KeyEvents::Harmful
        } else {
            KeyEvents::Harmless
        }
    }

    /// Which events tell of slots that move whole.
    pub fn slot_moves(&self) -> SlotMoves {
        match self.kind {
            ServerKind::Redis => SlotMoves::Redis,
            ServerKind::Valkey => SlotMoves::Valkey,
        }
    }

    /// The options that the module declares, a set of bits.
    pub fn module_options(&self) -> u32 {
        let valkeys = match self.kind {
            ServerKind::Redis => 0,
            ServerKind::Valkey => VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION,
        };
        raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
            | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
            | NO_IMPLICIT_SIGNAL_MODIFIED
            | valkeys
    }

    /// Whether a command that another module calls may wait (Redis 7.2 and later), so that no flag tells it from a client's
    /// command.
    pub fn calls_can_wait(&self) -> bool {
        self.calls_can_wait
    }

    /// How the server checks what a user may do in one database; `None` if its users have the same rights in all of them.
    pub fn check_in_database(&self) -> Option<CheckInDatabase> {
        self.check_in_database
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(kind: ServerKind, version: i32) -> Capabilities {
        Capabilities { kind, version, ..Capabilities::UNKNOWN }
    }

    #[test]
    fn client_unblock_is_answered_from_7_4_on() {
        for kind in [ServerKind::Redis, ServerKind::Valkey] {
            assert_eq!(server(kind, 0x0007_0206).client_unblock(), ClientUnblock::DoesNothing);
            assert_eq!(server(kind, 0x0007_03ff).client_unblock(), ClientUnblock::DoesNothing);
            assert_eq!(server(kind, 0x0007_0400).client_unblock(), ClientUnblock::Answers);
            assert_eq!(server(kind, 0x0009_0102).client_unblock(), ClientUnblock::Answers);
        }
    }

    #[test]
    fn temporary_databases_are_told_from_7_4_on() {
        assert!(!server(ServerKind::Redis, 0x0007_0206).tells_temporary_database());
        assert!(server(ServerKind::Redis, 0x0007_0400).tells_temporary_database());
    }

    #[test]
    fn only_valkey_8_1_0_to_9_1_0_lends_clients() {
        let valkey = |version| server(ServerKind::Valkey, version).key_events();
        assert_eq!(valkey(0x0008_0002), KeyEvents::Harmless);
        assert_eq!(valkey(0x0008_0100), KeyEvents::Harmful);
        assert_eq!(valkey(0x0009_0100), KeyEvents::Harmful);
        assert_eq!(valkey(0x0009_0101), KeyEvents::Harmless);
        assert_eq!(server(ServerKind::Redis, 0x0008_0200).key_events(), KeyEvents::Harmless);
    }

    #[test]
    fn each_kind_has_its_own_events_and_options_for_slots() {
        let (redis, valkey) = (server(ServerKind::Redis, 0x0008_0400), server(ServerKind::Valkey, 0x0009_0000));
        assert_eq!((redis.slot_moves(), valkey.slot_moves()), (SlotMoves::Redis, SlotMoves::Valkey));
        assert_eq!(valkey.module_options() & !redis.module_options(), VALKEY_HANDLE_ATOMIC_SLOT_MIGRATION);
        for server in [redis, valkey] {
            assert_ne!(server.module_options() & NO_IMPLICIT_SIGNAL_MODIFIED, 0);
        }
    }
}
