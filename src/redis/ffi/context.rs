//! The context of a callback: what may be asked of the server, and told to it, there.

use std::ffi::{c_char, c_int, CStr};

use redis_module::raw;

use super::api::{call, RawCtx, OK};
use super::log;
use super::strings::{ServerString, StringRef};

/// The server's state, as far as it decides what may be done.
#[derive(Clone, Copy)]
pub struct Flags(u32);

impl Flags {
    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// The server follows a primary.
    pub fn is_replica(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_SLAVE)
    }

    /// The server loads its data set, or loads the next one while it still serves the old one.
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// The command comes from the primary.
    pub fn is_replicated(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICATED)
    }

    /// The client cannot be blocked: it runs a transaction or a script, or another module calls the command.
    pub fn denies_blocking(self) -> bool {
        const NO: u32 = raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
            | raw::REDISMODULE_CTX_FLAGS_MULTI
            | raw::REDISMODULE_CTX_FLAGS_LUA
            | raw::REDISMODULE_CTX_FLAGS_REPLICATED
            | raw::REDISMODULE_CTX_FLAGS_LOADING;
        self.has(NO)
    }

    /// The client may not wait: another module calls the command and does not allow it, or a transaction, some scripts or
    /// the AOF run it.
    pub fn forbids_waiting(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
    }

    /// A transaction is executed.
    pub fn is_in_transaction(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_MULTI)
    }

    /// A script or a function runs.
    pub fn is_in_script(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LUA)
    }

    /// The server writes an append-only file.
    pub fn has_aof(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_AOF)
    }

    /// The server is a node of a cluster.
    pub fn is_cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }
}

/// The context of a callback. It is valid until the callback returns, and is not kept.
#[derive(Clone, Copy)]
pub struct Ctx(*mut RawCtx);

impl Ctx {
    /// Wraps the context that a callback was given.
    ///
    /// # Safety
    /// `ctx` lives as long as the result is used.
    pub(super) unsafe fn new(ctx: *mut RawCtx) -> Ctx {
        Ctx(ctx)
    }

    /// The context without a client. It serves for timers, flags, subscriptions and the log only: what is replicated
    /// through it would never be sent.
    pub fn detached() -> Ctx {
        Ctx(log::detached())
    }

    /// The context, for calls of the server.
    pub(super) fn raw(self) -> *mut RawCtx {
        self.0
    }

    /// Sets the module's options, a set of bits. To be called at load.
    pub fn set_options(self, options: u32) {
        // SAFETY: the context is that of the load.
        unsafe { call!(RedisModule_SetModuleOptions(self.0, options.cast_signed())) };
    }

    /// The server's state.
    pub fn flags(self) -> Flags {
        // SAFETY: the context is live.
        let flags = unsafe { call!(RedisModule_GetContextFlags(self.0)) };
        Flags(flags.cast_unsigned())
    }

    /// The database that the client has selected.
    pub fn db(self) -> i32 {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_GetSelectedDb(self.0)) }
    }

    /// Selects a database; false if there is none of this number.
    pub fn select_db(self, db: i32) -> bool {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_SelectDb(self.0, db)) == OK }
    }

    /// The id of the client that runs the command, connected or not.
    pub fn client(self) -> u64 {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_GetClientId(self.0)) }
    }

    /// The id of the client if it is connected. Scripts and calls from modules run on a client that never closes.
    ///
    /// The server is asked for the client's user because only that looks into the table of connected clients on every
    /// server. Valkey 9.1 answers RM_GetClientInfoById for whichever client executes a command, and crashes when it is to
    /// tell more of a client without a connection.
    pub fn connected_client(self) -> Option<u64> {
        let id = self.client();
        self.with_user_of(id, |_| Some(id))
    }

    /// Whether the command comes from the AOF that is being loaded, whose client has an id of its own (`CLIENT_ID_AOF`).
    pub fn is_aof_client(self) -> bool {
        self.client() == u64::MAX
    }

    /// Reads the name of the ACL user that runs the command. Its client must be connected: other clients may have no user,
    /// which older servers do not expect here.
    pub fn with_user<R>(self, read: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
        // SAFETY: the context is live, and its client has a user.
        let name = unsafe { call!(RedisModule_GetCurrentUserName(self.0)) };
        // SAFETY: the name is the caller's to free.
        read(unsafe { ServerString::from_raw(name) }?.as_ref().bytes())
    }

    /// Reads the name of the ACL user of a client; `None` if the client is not connected.
    pub fn with_user_of<R>(self, client: u64, read: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
        // SAFETY: the context is live.
        let name = unsafe { call!(RedisModule_GetClientUserNameById(self.0, client)) };
        // SAFETY: the name is the caller's to free.
        read(unsafe { ServerString::from_raw(name) }?.as_ref().bytes())
    }

    /// Notifies subscribers of a keyspace event of the module class.
    pub fn notify(self, event: &CStr, key: StringRef) {
        const CLASS: c_int = raw::REDISMODULE_NOTIFY_MODULE as c_int;
        // SAFETY: context and key are live, and the context has a client with a database.
        unsafe { call!(RedisModule_NotifyKeyspaceEvent(self.0, CLASS, event.as_ptr(), key.raw())) };
    }

    /// Tells WATCH and CLIENT TRACKING that a key changed.
    pub fn signal_modified(self, key: StringRef) {
        // SAFETY: context and key are live.
        unsafe { call!(RedisModule_SignalModifiedKey(self.0, key.raw())) };
    }

    /// Replicates the command as it came. A replica does this with its primary's commands, for its own AOF.
    pub fn replicate_verbatim(self) {
        // SAFETY: the context is that of a command.
        unsafe { call!(RedisModule_ReplicateVerbatim(self.0)) };
    }

    /// Counts a change for the save points when nobody listens to what is replicated.
    pub fn count_change(self) {
        // The server finds that there is nobody to send the command to before it looks at it.
        self.replicate_verbatim();
    }

    /// Replicates a command with one number.
    pub fn replicate_number(self, command: &CStr, number: u64) {
        let number = number.cast_signed();
        // SAFETY: "l" takes one long long.
        unsafe { call!(RedisModule_Replicate(self.0, command.as_ptr(), c"l".as_ptr(), number)) };
    }

    /// Replicates a command with a key and bytes.
    pub fn replicate_key_bytes(self, command: &CStr, key: StringRef, bytes: &[u8]) {
        let (start, len) = (bytes.as_ptr().cast::<c_char>(), bytes.len());
        // SAFETY: "s" takes one live string, "b" a pointer and a length, which are copied.
        unsafe { call!(RedisModule_Replicate(self.0, command.as_ptr(), c"sb".as_ptr(), key.raw(), start, len)) };
    }

    /// Sends a command with one number along with slots that move to another server, before their keys. False if the server
    /// refuses; nothing is sent, and true returned, if it knows no such moves (see [`super::compat`]).
    pub fn propagate_for_slot_migration(self, command: &CStr, number: u64) -> bool {
        // SAFETY: the pointer was written at load, on this thread, and is only read since.
        let Some(propagate) = (unsafe { raw::RedisModule_ClusterPropagateForSlotMigration }) else { return true };
        // SAFETY: "l" takes one long long.
        unsafe { propagate(self.0, command.as_ptr(), c"l".as_ptr(), number.cast_signed()) == OK }
    }
}

/// Whether a write outside a command would abort the server now (CLIENT PAUSE, a failover under way).
pub fn is_paused() -> bool {
    // SAFETY: a function without arguments.
    unsafe { call!(RedisModule_AvoidReplicaTraffic()) != 0 }
}
