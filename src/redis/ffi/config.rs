//! Settings of the module, as the server keeps them.

use std::ffi::{c_char, c_int, c_longlong, c_void, CStr};
use std::ptr;

use redis_module::raw;

use super::api::{call, RawString, OK};
use super::context::Ctx;
use super::guard::guard;

/// Settings that are numbers. Each has a place of its own.
pub trait NumericSettings {
    /// The value of the setting at this place.
    fn get(place: usize) -> i64;
    /// Changes the setting at this place. The server has checked that the value is in its range.
    fn set(place: usize, value: i64);
}

/// The name of a setting, its value until it is set, and the smallest and the largest value it may have.
pub struct NumericSetting<'a> {
    /// Its name behind the module's prefix.
    pub name: &'a CStr,
    /// Its value until it is set.
    pub default: i64,
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
}

/// Registers a setting; false if the server refuses it.
pub fn register_setting<S: NumericSettings>(ctx: Ctx, place: usize, setting: &NumericSetting) -> bool {
    // SAFETY: the name is copied, the callbacks live as long as the process, and the place is no pointer.
    let status = unsafe {
        call!(RedisModule_RegisterNumericConfig(
            ctx.raw(),
            setting.name.as_ptr(),
            setting.default,
            raw::REDISMODULE_CONFIG_DEFAULT,
            setting.min,
            setting.max,
            Some(on_get::<S>),
            Some(on_set::<S>),
            None,
            ptr::without_provenance_mut(place),
        ))
    };
    status == OK
}

/// Reads what redis.conf or MODULE LOADEX say of the registered settings; false if something is wrong with it, which the
/// server logs.
pub fn load_settings(ctx: Ctx) -> bool {
    // SAFETY: the context is that of the load.
    unsafe { call!(RedisModule_LoadConfigs(ctx.raw())) == OK }
}

unsafe extern "C" fn on_get<S: NumericSettings>(_: *const c_char, place: *mut c_void) -> c_longlong {
    guard("reading a setting", 0, || S::get(place.addr()))
}

unsafe extern "C" fn on_set<S: NumericSettings>(
    _: *const c_char,
    value: c_longlong,
    place: *mut c_void,
    _: *mut *mut RawString,
) -> c_int {
    guard("changing a setting", (), || S::set(place.addr(), value));
    OK
}
