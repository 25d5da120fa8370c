//! Settings: CONFIG GET and SET, redis.conf lines, and arguments of `loadmodule`.

use std::ffi::CString;

use super::ffi::config::{load_settings, register_setting, NumericSetting, NumericSettings};
use super::ffi::strings::StringRef;
use super::ffi::Ctx;
use super::{state, timer};
use crate::engine::SETTINGS;

/// Names in redis.conf begin with this. Arguments of `loadmodule` may leave it out.
const PREFIX: &str = "redislock.";

/// Registers every setting. The arguments are pairs of a name and a value. A value in redis.conf or MODULE LOADEX takes
/// precedence over them.
pub fn register(ctx: Ctx, args: &[StringRef]) -> Result<(), String> {
    let mut values: Vec<i64> = SETTINGS.iter().map(|setting| setting.default).collect();
    for pair in args.chunks(2) {
        let &[name, value] = pair else {
            let name = pair.first().copied().unwrap_or(StringRef::NONE).bytes();
            return Err(format!("the argument {} has no value", shown(name)));
        };
        let (place, value) = argument(name.bytes(), value.bytes())?;
        if let Some(slot) = values.get_mut(place) {
            *slot = value;
        }
    }
    for (place, (setting, default)) in SETTINGS.iter().zip(values).enumerate() {
        let name = CString::new(setting.name).unwrap_or_default();
        let row = NumericSetting { name: &name, default, min: setting.min, max: setting.max };
        if !register_setting::<Settings>(ctx, place, &row) {
            return Err(format!("the setting {PREFIX}{} was refused", setting.name));
        }
    }
    if !load_settings(ctx) {
        return Err("a setting in the configuration is wrong".into());
    }
    Ok(())
}

/// Reads one argument: the setting's place in [`SETTINGS`], and the value.
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

struct Settings;

impl NumericSettings for Settings {
    fn get(place: usize) -> i64 {
        state::with_engine(|engine| engine.settings().value(place)).flatten().unwrap_or(0)
    }

    fn set(place: usize, value: i64) {
        let has_ready_work = state::with_engine(|engine| {
            engine.change_settings(|settings| settings.set(place, value));
            engine.has_ready_work()
        });
        // Never during the load: if that fails there must be no timer.
        if has_ready_work == Some(true) {
            timer::kick();
        }
    }
}
