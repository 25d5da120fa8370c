//! The server's functions, each wrapped once.
//!
//! The loader fills one function pointer for each name the server knows. [`missing`] names those this module cannot do
//! without and the server lacks; with any of them missing it does not load. Everything else is asked for before use.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_void, CStr, CString};
use std::ptr::{self, NonNull};

use redis_module::raw;

use super::state::MainThread;

pub use super::clock::now;
pub use raw::{
    RedisModuleBlockedClient as RawBlocked, RedisModuleCtx as RawCtx, RedisModuleIO as RawIo, RedisModuleKey as RawKey,
    RedisModuleString as RawString, RedisModuleTimerID as TimerId, RedisModuleType as RawType,
};

/// Calls a function of the list below. That the server has it is not looked at again: [`missing`] did, at load, before all else.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {{
        let () = $crate::redis::api::listed::$name;
        match raw::$name {
            Some(function) => function($($arg),*),
            None => std::hint::unreachable_unchecked(),
        }
    }};
}
pub(super) use call;

/// Lists functions, and says which of them the server lacks.
macro_rules! required {
    ($($name:ident)*) => {
        /// The names in the list, so that [`call`] takes no other.
        #[allow(non_upper_case_globals, missing_docs, reason = "the names of functions")]
        pub mod listed {
            $(pub const $name: () = ();)*
        }

        /// The names of the functions that the module needs and this server does not have.
        pub fn missing() -> Vec<&'static str> {
            let mut names = Vec::new();
            $(
                // SAFETY: the pointer was written at load, on this thread, and is only read since.
                if unsafe { raw::$name }.is_none() {
                    names.push(stringify!($name));
                }
            )*
            names
        }
    };
}

required! {
    RedisModule_OpenKey RedisModule_CloseKey RedisModule_KeyType RedisModule_ModuleTypeGetType
    RedisModule_ModuleTypeGetValue RedisModule_ModuleTypeSetValue RedisModule_DeleteKey RedisModule_SetExpire
    RedisModule_GetExpire RedisModule_Replicate RedisModule_ReplicateVerbatim RedisModule_SignalModifiedKey
    RedisModule_BlockClient RedisModule_SetDisconnectCallback RedisModule_UnblockClient
    RedisModule_GetBlockedClientPrivateData RedisModule_GetBlockedClientHandle RedisModule_CreateTimer
    RedisModule_StopTimer RedisModule_EventLoopAddOneShot RedisModule_EventLoopAdd RedisModule_GetContextFlags
    RedisModule_AvoidReplicaTraffic RedisModule_SelectDb RedisModule_GetSelectedDb RedisModule_CreateString
    RedisModule_FreeString RedisModule_StringPtrLen RedisModule_Call RedisModule_CallReplyType
    RedisModule_CallReplyStringPtr RedisModule_CallReplyLength RedisModule_CallReplyArrayElement
    RedisModule_FreeCallReply RedisModule_SetCommandInfo RedisModule_CreateCommand RedisModule_GetCommand
    RedisModule_CreateDataType RedisModule_SubscribeToServerEvent RedisModule_SubscribeToKeyspaceEvents
    RedisModule_SetModuleOptions RedisModule_GetServerInfo RedisModule_ServerInfoGetFieldC
    RedisModule_FreeServerInfo RedisModule_GetServerVersion RedisModule_GetDbIdFromIO RedisModule_GetKeyNameFromIO
    RedisModule_EmitAOF RedisModule_GetDetachedThreadSafeContext RedisModule_FreeThreadSafeContext
    RedisModule_GetDbIdFromOptCtx RedisModule_GetKeyNameFromOptCtx RedisModule_Log RedisModule_GetClientId
    RedisModule_DigestAddStringBuffer RedisModule_DigestEndSequence RedisModule_SaveUnsigned
    RedisModule_LoadUnsigned RedisModule_SaveStringBuffer RedisModule_LoadStringBuffer RedisModule_IsIOError
    RedisModule_Free RedisModule_ReplyWithLongLong RedisModule_ReplyWithNull RedisModule_ReplyWithError
    RedisModule_ReplyWithSimpleString RedisModule_ReplyWithArray RedisModule_ReplyWithStringBuffer
    RedisModule_WrongArity RedisModule_ServerInfoGetFieldUnsigned RedisModule_ReplyWithMap
    RedisModule_GetClientUserNameById RedisModule_GetCurrentUserName RedisModule_GetModuleUserFromUserName
    RedisModule_FreeModuleUser RedisModule_ACLCheckCommandPermissions RedisModule_GetApi
    RedisModule_NotifyKeyspaceEvent RedisModule_RegisterInfoFunc RedisModule_InfoAddSection
    RedisModule_InfoAddFieldULongLong RedisModule_RegisterNumericConfig RedisModule_LoadConfigs
}

/// A context without a client, for the log and for timers; written at load.
static DETACHED: MainThread<Cell<*mut RawCtx>> = MainThread::new(Cell::new(ptr::null_mut()));

/// Makes the context that [`log`] and [`Ctx::detached`] use.
pub fn remember_module(ctx: Ctx) {
    // SAFETY: `ctx` is the context of the load; what is made lives until the process ends.
    DETACHED.get().set(unsafe { call!(RedisModule_GetDetachedThreadSafeContext(ctx.0)) });
}

/// Gives back what [`remember_module`] made: the module is not loaded after all.
pub fn forget_module() {
    let detached = DETACHED.get().replace(ptr::null_mut());
    if !detached.is_null() {
        // SAFETY: made at the beginning of the load, and freed once.
        unsafe { call!(RedisModule_FreeThreadSafeContext(detached)) };
    }
}

/// How important a log line is.
#[derive(Clone, Copy)]
pub enum Level {
    /// For the operator to know.
    Notice,
    /// For the operator to act on.
    Warning,
}

/// Writes a line to the server's log. From any thread.
pub fn log(level: Level, text: &str) {
    let level = match level {
        Level::Notice => c"notice",
        Level::Warning => c"warning",
    };
    let text = c_text(text);
    // SAFETY: the strings live until the call returns, and "%s" takes one string.
    unsafe { call!(RedisModule_Log(DETACHED.get().get(), level.as_ptr(), c"%s".as_ptr(), text.as_ptr())) }
}

/// A C string; what follows a NUL byte is cut off.
fn c_text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// Looks at a string that is the caller's to free, and frees it; `None` if there is none.
#[inline(always)]
fn with_string<R>(string: *mut RawString, look: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
    if string.is_null() {
        return None;
    }
    // SAFETY: a live string.
    let result = look(unsafe { bytes(string) });
    // SAFETY: freed once.
    unsafe { call!(RedisModule_FreeString(ptr::null_mut(), string)) };
    result
}

/// Looks at the text of what a command answered, and frees it; `None` if there is none.
pub fn read_reply<R>(reply: *mut raw::RedisModuleCallReply, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    // SAFETY: the reply is live until it is freed below.
    let answer = read(unsafe { reply_text(reply) }?);
    // SAFETY: freed once.
    unsafe { call!(RedisModule_FreeCallReply(reply)) };
    Some(answer)
}

/// The text of a reply; empty if it is none, and `None` if there is no reply.
///
/// # Safety
/// `reply` is null, or a live reply that outlives `'a`.
unsafe fn reply_text<'a>(reply: *mut raw::RedisModuleCallReply) -> Option<&'a [u8]> {
    let reply = NonNull::new(reply)?;
    let mut len = 0;
    // SAFETY: the caller vouches for the reply.
    let text = unsafe { call!(RedisModule_CallReplyStringPtr(reply.as_ptr(), &mut len)) };
    if text.is_null() {
        return Some(&[]);
    }
    // SAFETY: so many bytes belong to the reply.
    Some(unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) })
}

/// The server's version as 0xMMmmpp. A Valkey gives its own.
pub fn server_version() -> i32 {
    // SAFETY: a function without arguments.
    unsafe { call!(RedisModule_GetServerVersion()) }
}

/// Whether the server is a Valkey: it says so itself, its version numbers do not.
pub fn is_valkey(ctx: Ctx) -> bool {
    // SAFETY: the context is live, and the section's name a C string.
    let info = unsafe { call!(RedisModule_GetServerInfo(ctx.raw(), c"server".as_ptr())) };
    // SAFETY: the info was made above, and the field's name is a C string.
    let version = unsafe { call!(RedisModule_ServerInfoGetFieldC(info, c"valkey_version".as_ptr())) };
    // SAFETY: freed once; the field is not looked into.
    unsafe { call!(RedisModule_FreeServerInfo(ctx.raw(), info)) };
    !version.is_null()
}

/// Whether the server lets a module's call wait (Redis 7.2).
pub fn calls_can_wait() -> bool {
    // SAFETY: the pointer was written at load, on this thread, and is only read since.
    unsafe { raw::RedisModule_CallReplyPromiseAbort }.is_some()
}

/// Whether writes outside commands would abort the server now (CLIENT PAUSE, a failover under way).
pub fn is_paused() -> bool {
    // SAFETY: a function without arguments.
    unsafe { call!(RedisModule_AvoidReplicaTraffic()) != 0 }
}

/// The bytes of a string.
///
/// # Safety
/// `string` is null or a live string that outlives `'a`.
pub unsafe fn bytes<'a>(string: *const RawString) -> &'a [u8] {
    if string.is_null() {
        return &[];
    }
    let mut len = 0;
    // SAFETY: the caller vouches for the string.
    let start = unsafe { call!(RedisModule_StringPtrLen(string, &mut len)) };
    // SAFETY: the server says that so many bytes are there, and keeps them as long as the string.
    unsafe { std::slice::from_raw_parts(start.cast(), len) }
}

/// What the server's state is, as far as it decides what may be done.
#[derive(Clone, Copy)]
pub struct Flags(u32);

impl Flags {
    fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// It follows a primary.
    pub fn is_replica(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_SLAVE)
    }

    /// It loads its data set, or, while it still serves the old one, its successor.
    pub fn is_loading(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING)
    }

    /// The command comes from the primary.
    pub fn is_replicated(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_REPLICATED)
    }

    /// The client cannot be blocked: a transaction, a script, a call from a module.
    pub fn denies_blocking(self) -> bool {
        const NO: u32 = raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
            | raw::REDISMODULE_CTX_FLAGS_MULTI
            | raw::REDISMODULE_CTX_FLAGS_LUA
            | raw::REDISMODULE_CTX_FLAGS_REPLICATED
            | raw::REDISMODULE_CTX_FLAGS_LOADING;
        self.has(NO)
    }

    /// The client may not wait: a call from a module that does not allow it, a transaction, some scripts, the AOF.
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

    /// It writes an append-only file.
    pub fn has_aof(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_AOF)
    }

    /// It is a node of a cluster.
    pub fn is_cluster(self) -> bool {
        self.has(raw::REDISMODULE_CTX_FLAGS_CLUSTER)
    }
}

/// The context of a callback. It is valid until the callback returns, and is not kept.
#[derive(Clone, Copy)]
pub struct Ctx(*mut RawCtx);

impl Ctx {
    /// Wraps the context a callback was given.
    ///
    /// # Safety
    /// `ctx` is live as long as the result is used.
    pub unsafe fn new(ctx: *mut RawCtx) -> Ctx {
        Ctx(ctx)
    }

    /// The context without a client. For timers, flags and the log only: what it replicates would never be sent.
    pub fn detached() -> Ctx {
        Ctx(DETACHED.get().get())
    }

    /// For functions that are called in one place only.
    pub fn raw(self) -> *mut RawCtx {
        self.0
    }

    /// The server's state.
    pub fn flags(self) -> Flags {
        // SAFETY: the context is live.
        let flags = unsafe { call!(RedisModule_GetContextFlags(self.0)) };
        Flags(flags.cast_unsigned())
    }

    /// The database the client has selected.
    pub fn db(self) -> i32 {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_GetSelectedDb(self.0)) }
    }

    /// Whether the server has replicas, or keeps a backlog for them; true if it does not say.
    pub fn serves_replicas(self) -> bool {
        // SAFETY: the context is live.
        let info = unsafe { call!(RedisModule_GetServerInfo(self.0, c"replication".as_ptr())) };
        if info.is_null() {
            return true;
        }
        let is_zero = |field: &CStr| {
            let mut err = 0;
            // SAFETY: the info is live, and the flag is there to be written.
            let number = unsafe { call!(RedisModule_ServerInfoGetFieldUnsigned(info, field.as_ptr(), &mut err)) };
            number == 0 && err == 0
        };
        let none = is_zero(c"connected_slaves") && is_zero(c"repl_backlog_active");
        // SAFETY: freed once.
        unsafe { call!(RedisModule_FreeServerInfo(self.0, info)) };
        !none
    }

    /// Whether `maxmemory-policy` evicts keys without a TTL.
    pub fn evicts_any_key(self) -> bool {
        // SAFETY: the context is live.
        let info = unsafe { call!(RedisModule_GetServerInfo(self.0, c"memory".as_ptr())) };
        if info.is_null() {
            return false;
        }
        // SAFETY: the info is live.
        let policy = unsafe { call!(RedisModule_ServerInfoGetFieldC(info, c"maxmemory_policy".as_ptr())) };
        // SAFETY: null, or a C string that lives as long as the info.
        let evicts = !policy.is_null() && unsafe { CStr::from_ptr(policy) }.to_bytes().starts_with(b"allkeys-");
        // SAFETY: freed once.
        unsafe { call!(RedisModule_FreeServerInfo(self.0, info)) };
        evicts
    }

    /// The id of the client, if it is one that connected: scripts and calls from modules have a client that never closes.
    ///
    /// Why is its user asked for? Only that looks into the table of connected clients on every server: Valkey 9.1 answers
    /// RM_GetClientInfoById for whichever client executes a command, and crashes when it is to tell more of one without a
    /// connection.
    pub fn connected_client(self) -> Option<u64> {
        let id = self.client();
        self.with_user_of(id, |_| Some(id))
    }

    /// The id of the client that runs the command, connected or not.
    pub fn client(self) -> u64 {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_GetClientId(self.0)) }
    }

    /// Reads what a setting is, from the answer to CONFIG GET: its name and its value.
    pub fn config<R>(self, name: &CStr, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let (command, get) = (c"CONFIG".as_ptr(), c"GET".as_ptr());
        // SAFETY: the format takes two strings, which live until the call returns.
        let reply = unsafe { call!(RedisModule_Call(self.0, command, c"cc".as_ptr(), get, name.as_ptr())) };
        let reply = NonNull::new(reply)?;
        // SAFETY: the reply is live; null is returned if it has no second element.
        let value = unsafe { call!(RedisModule_CallReplyArrayElement(reply.as_ptr(), 1)) };
        // SAFETY: the element lives as long as the whole, which is freed below.
        let result = unsafe { reply_text(value) }.map(read);
        // SAFETY: freed once; its elements go with it.
        unsafe { call!(RedisModule_FreeCallReply(reply.as_ptr())) };
        result
    }

    /// Reads what CLUSTER NODES answers; `None` if the server says nothing.
    pub fn cluster_nodes<R>(self, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let (command, nodes) = (c"CLUSTER".as_ptr(), c"NODES".as_ptr());
        // SAFETY: the format takes one string, which lives until the call returns.
        let reply = unsafe { call!(RedisModule_Call(self.0, command, c"c".as_ptr(), nodes)) };
        read_reply(reply, read)
    }

    /// Looks at the name of the ACL user that runs the command, whose client must be one that connected: others may have no
    /// user, which older servers do not expect here.
    pub fn with_user<R>(self, look: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
        // SAFETY: the context is live, and its client has a user.
        with_string(unsafe { call!(RedisModule_GetCurrentUserName(self.0)) }, look)
    }

    /// Looks at the name of the ACL user of a client; `None` if it is not connected.
    pub fn with_user_of<R>(self, client: u64, look: impl FnOnce(&[u8]) -> Option<R>) -> Option<R> {
        // SAFETY: the context is live.
        with_string(unsafe { call!(RedisModule_GetClientUserNameById(self.0, client)) }, look)
    }

    /// Publishes a keyspace event of the module class.
    pub fn publish(self, event: &CStr, key: *mut RawString) {
        // SAFETY: context and key are live, and the context has a client with a database.
        unsafe {
            call!(RedisModule_NotifyKeyspaceEvent(self.0, raw::REDISMODULE_NOTIFY_MODULE as c_int, event.as_ptr(), key))
        };
    }

    /// Selects a database; false if there is none of this number.
    pub fn select_db(self, db: i32) -> bool {
        // SAFETY: the context is live and has a client.
        unsafe { call!(RedisModule_SelectDb(self.0, db)) == raw::REDISMODULE_OK as c_int }
    }

    /// Whether the command comes from the AOF that is being loaded. Its client has an id of its own (`CLIENT_ID_AOF`).
    pub fn is_aof_client(self) -> bool {
        self.client() == u64::MAX
    }

    /// Starts the timer that calls `callback` once.
    pub fn create_timer(self, ms: i64, callback: unsafe extern "C" fn(*mut RawCtx, *mut c_void)) -> TimerId {
        // SAFETY: the context names the module, the callback lives as long as the process and takes no data.
        unsafe { call!(RedisModule_CreateTimer(self.0, ms, Some(callback), ptr::null_mut())) }
    }

    /// Stops a timer that has not been called yet.
    pub fn stop_timer(self, timer: TimerId) {
        // SAFETY: a timer that does not exist is an error and nothing else.
        unsafe { call!(RedisModule_StopTimer(self.0, timer, ptr::null_mut())) };
    }

    /// Sends the command on as it came: what a replica does with the primary's stream for its own AOF.
    pub fn replicate_verbatim(self) {
        // SAFETY: the context is that of a command.
        unsafe { call!(RedisModule_ReplicateVerbatim(self.0)) };
    }

    /// Counts a change for the save points, where nobody listens to what is replicated.
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
    pub fn replicate_key_bytes(self, command: &CStr, key: *mut RawString, bytes: &[u8]) {
        let (start, len) = (bytes.as_ptr().cast::<c_char>(), bytes.len());
        // SAFETY: "s" takes one live string, "b" a pointer and a length, which are copied.
        unsafe { call!(RedisModule_Replicate(self.0, command.as_ptr(), c"sb".as_ptr(), key, start, len)) };
    }

    /// Tells WATCH and CLIENT TRACKING of a change.
    pub fn signal_modified(self, key: *mut RawString) {
        // SAFETY: context and key are live.
        unsafe { call!(RedisModule_SignalModifiedKey(self.0, key)) };
    }

    /// Answers with an integer.
    pub fn reply_integer(self, number: u64) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithLongLong(self.0, number.cast_signed())) };
    }

    /// Answers with null.
    pub fn reply_null(self) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithNull(self.0)) };
    }

    /// Answers with an error; the text begins with its code.
    pub fn reply_error(self, text: &str) {
        let text = c_text(text);
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithError(self.0, text.as_ptr())) };
    }

    /// Answers `OK`.
    pub fn reply_ok(self) {
        // SAFETY: the text is copied.
        unsafe { call!(RedisModule_ReplyWithSimpleString(self.0, c"OK".as_ptr())) };
    }

    /// Answers with bytes.
    pub fn reply_bytes(self, text: &[u8]) {
        // SAFETY: the bytes are copied.
        unsafe { call!(RedisModule_ReplyWithStringBuffer(self.0, text.as_ptr().cast(), text.len())) };
    }

    /// Answers with an array; so many elements follow.
    pub fn reply_array(self, len: usize) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithArray(self.0, c_long::try_from(len).unwrap_or(0))) };
    }

    /// Answers with a map, in RESP2 a flat array; so many pairs follow.
    pub fn reply_map(self, len: usize) {
        // SAFETY: the context is live.
        unsafe { call!(RedisModule_ReplyWithMap(self.0, c_long::try_from(len).unwrap_or(0))) };
    }
}
