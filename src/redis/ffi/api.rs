//! How the server's functions are called, and which of them the module needs.
//!
//! The loader fills one function pointer for each name that the server knows. [`missing`] lists the functions that this
//! module needs and the server lacks; if there are any, the module does not load. A function that only some servers have
//! is looked up before each use (see [`super::compat`]).
//!
//! [`call`] is visible in this folder only, so each function is wrapped here, and once.

use std::ffi::c_int;

use redis_module::raw;

pub use raw::{
    RedisModuleBlockedClient as RawBlocked, RedisModuleCtx as RawCtx, RedisModuleIO as RawIo, RedisModuleKey as RawKey,
    RedisModuleString as RawString, RedisModuleTimerID as TimerId, RedisModuleType as RawType,
};

/// What a function of the server returns when it did its work.
pub(super) const OK: c_int = raw::REDISMODULE_OK as c_int;
/// What a function of the server returns when it refused.
pub(super) const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// Calls a function of the list below. Its pointer is not checked again, because [`missing`] checked all of them at load,
/// before any other call.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {{
        let () = $crate::redis::ffi::api::listed::$name;
        match raw::$name {
            Some(function) => function($($arg),*),
            None => std::hint::unreachable_unchecked(),
        }
    }};
}
pub(super) use call;

/// Lists the functions that the module needs, and finds out which of them the server lacks.
macro_rules! required {
    ($($name:ident)*) => {
        /// The names in the list: [`call`] accepts no other.
        #[allow(non_upper_case_globals, missing_docs, reason = "the names of functions")]
        pub mod listed {
            $(pub const $name: () = ();)*
        }

        /// The names of the functions that the module needs and that this server does not have.
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
    RedisModule_IsKeysPositionRequest RedisModule_KeyAtPosWithFlags
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
    RedisModule_FreeModuleUser RedisModule_ACLCheckCommandPermissions RedisModule_ACLCheckKeyPermissions
    RedisModule_GetApi
    RedisModule_NotifyKeyspaceEvent RedisModule_RegisterInfoFunc RedisModule_InfoAddSection
    RedisModule_InfoAddFieldULongLong RedisModule_RegisterNumericConfig RedisModule_LoadConfigs
}
