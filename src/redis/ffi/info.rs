//! A section of INFO.

use std::ffi::{c_int, CStr};
use std::marker::PhantomData;

use redis_module::raw;

use super::api::{call, OK};
use super::context::Ctx;
use super::guard::guard;

/// The section, while the server writes it.
#[derive(Clone, Copy)]
pub struct InfoSection<'a>(*mut raw::RedisModuleInfoCtx, PhantomData<&'a ()>);

impl InfoSection<'_> {
    /// Adds a field.
    pub fn add(self, name: &CStr, value: u64) {
        // SAFETY: Redis lends the context for the call; the name is copied.
        unsafe { call!(RedisModule_InfoAddFieldULongLong(self.0, name.as_ptr(), value)) };
    }
}

/// Writes the section.
pub trait OnInfo {
    /// Adds the fields.
    fn write(section: InfoSection);
}

/// Registers a section that is named as the module; false if the server refuses.
pub fn register_info<I: OnInfo>(ctx: Ctx) -> bool {
    // SAFETY: the context is that of the load; the callback lives as long as the process.
    unsafe { call!(RedisModule_RegisterInfoFunc(ctx.raw(), Some(on_info::<I>))) == OK }
}

unsafe extern "C" fn on_info<I: OnInfo>(info: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    // A server that crashes may have done so in the middle of the module's work.
    if for_crash_report != 0 {
        return;
    }
    guard("INFO", (), || {
        // SAFETY: Redis lends the context for the call; an empty name means that of the module.
        if unsafe { call!(RedisModule_InfoAddSection(info, c"".as_ptr())) } == OK {
            I::write(InfoSection(info, PhantomData));
        }
    });
}
