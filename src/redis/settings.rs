//! Settings: CONFIG GET and SET, redis.conf lines, and arguments of `loadmodule`.

use std::ffi::{c_char, c_int, c_longlong, c_void, CString};
use std::ptr;

use redis_module::raw;

use super::api::{call, Ctx, RawString};
use super::guard::guard;
use super::{state, timer};
use crate::engine::SETTINGS;

/// What an argument of `loadmodule` may begin with, as the lines of redis.conf do.
const PREFIX: &str = "redislock.";

/// Registers every setting. What redis.conf or MODULE LOADEX says comes first, then the arguments: pairs of a name and a
/// value.
pub fn register(ctx: Ctx, args: &[&[u8]]) -> Result<(), String> {
    let mut values: Vec<i64> = SETTINGS.iter().map(|setting| setting.default).collect();
    for pair in args.chunks(2) {
        let &[name, value] = pair else {
            return Err(format!("the argument {} has no value", shown(pair.first().copied().unwrap_or_default())));
        };
        let (place, value) = argument(name, value)?;
        if let Some(slot) = values.get_mut(place) {
            *slot = value;
        }
    }
    for (place, (setting, value)) in SETTINGS.iter().zip(values).enumerate() {
        let name = CString::new(setting.name).unwrap_or_default();
        // SAFETY: the name is copied, the callbacks live as long as the process, and the place is no pointer.
        let status = unsafe {
            call!(RedisModule_RegisterNumericConfig(
                ctx.raw(),
                name.as_ptr(),
                value,
                raw::REDISMODULE_CONFIG_DEFAULT,
                setting.min,
                setting.max,
                Some(on_get),
                Some(on_set),
                None,
                ptr::without_provenance_mut(place),
            ))
        };
        if status != raw::REDISMODULE_OK as c_int {
            return Err(format!("the setting {PREFIX}{} was refused", setting.name));
        }
    }
    // SAFETY: the context is that of the load. The server logs what is wrong.
    let status = unsafe { call!(RedisModule_LoadConfigs(ctx.raw())) };
    if status != raw::REDISMODULE_OK as c_int {
        return Err("a setting in the configuration is wrong".into());
    }
    Ok(())
}

/// One argument: the setting's place, and the value.
fn argument(name: &[u8], value: &[u8]) -> Result<(usize, i64), String> {
    let plain = String::from_utf8_lossy(name).to_ascii_lowercase();
    let plain = plain.strip_prefix(PREFIX).unwrap_or(&plain);
    let Some((place, setting)) = SETTINGS.iter().enumerate().find(|(_, setting)| setting.name == plain) else {
        let known = SETTINGS.map(|setting| setting.name).join(", ");
        return Err(format!("unknown argument {}, expected one of {known}", shown(name)));
    };
    let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
    let value = number.filter(|number| (setting.min..=setting.max).contains(number)).ok_or_else(|| {
        format!("{} must be a number from {} to {}, not {}", setting.name, setting.min, setting.max, shown(value))
    })?;
    Ok((place, value))
}

fn shown(text: &[u8]) -> String {
    format!("'{}'", text.escape_ascii())
}

unsafe extern "C" fn on_get(_: *const c_char, place: *mut c_void) -> c_longlong {
    guard("reading a setting", 0, || {
        let value = |place| state::with_engine(|engine| engine.settings().value(place));
        value(place.addr()).flatten().unwrap_or(0)
    })
}

/// The server has seen to it that the value is in its range.
unsafe extern "C" fn on_set(_: *const c_char, value: c_longlong, place: *mut c_void, _: *mut *mut RawString) -> c_int {
    guard("changing a setting", (), || {
        let is_pressed = state::with_engine(|engine| {
            engine.change_settings(|settings| settings.set(place.addr(), value));
            engine.has_ready_work()
        });
        // Never during the load: if that fails there must be no timer.
        if is_pressed == Some(true) {
            timer::kick();
        }
    });
    raw::REDISMODULE_OK as c_int
}
