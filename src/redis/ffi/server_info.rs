//! What INFO says, read inside the server.

use std::ffi::CStr;
use std::ptr::NonNull;

use redis_module::raw;

use super::api::call;
use super::context::Ctx;

/// One section of INFO, until it is dropped.
pub struct ServerInfo {
    ctx: Ctx,
    info: NonNull<raw::RedisModuleServerInfoData>,
}

impl ServerInfo {
    /// Reads a section; `None` if the server gives nothing.
    pub fn read(ctx: Ctx, section: &CStr) -> Option<ServerInfo> {
        // SAFETY: the context is live, and the section's name a C string.
        let info = unsafe { call!(RedisModule_GetServerInfo(ctx.raw(), section.as_ptr())) };
        Some(ServerInfo { ctx, info: NonNull::new(info)? })
    }

    /// A field that is a number; `None` if it is absent or is none.
    pub fn number(&self, field: &CStr) -> Option<u64> {
        let mut err = 0;
        // SAFETY: the info is live, and the flag is there to be written.
        let number =
            unsafe { call!(RedisModule_ServerInfoGetFieldUnsigned(self.info.as_ptr(), field.as_ptr(), &mut err)) };
        (err == 0).then_some(number)
    }

    /// The text of a field; `None` if it is absent.
    pub fn text(&self, field: &CStr) -> Option<&[u8]> {
        // SAFETY: the info is live.
        let text = unsafe { call!(RedisModule_ServerInfoGetFieldC(self.info.as_ptr(), field.as_ptr())) };
        // SAFETY: not null here, so a C string that lives as long as the info.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
    }
}

impl Drop for ServerInfo {
    fn drop(&mut self) {
        // SAFETY: freed once.
        unsafe { call!(RedisModule_FreeServerInfo(self.ctx.raw(), self.info.as_ptr())) };
    }
}

impl Ctx {
    /// Whether the server has replicas or keeps a backlog for them; true if it does not say.
    pub fn serves_replicas(self) -> bool {
        let Some(info) = ServerInfo::read(self, c"replication") else { return true };
        let is_zero = |field| info.number(field) == Some(0);
        !(is_zero(c"connected_slaves") && is_zero(c"repl_backlog_active"))
    }

    /// Whether `maxmemory-policy` evicts keys without a TTL; false if the server does not say.
    pub fn evicts_any_key(self) -> bool {
        ServerInfo::read(self, c"memory")
            .is_some_and(|info| info.text(c"maxmemory_policy").is_some_and(|policy| policy.starts_with(b"allkeys-")))
    }
}
