//! The options of a request for a lock, as steps write them.

use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::definition::duration;
use crate::outcome::{fail, Outcome};

/// The lease of a request that does not name one: longer than any scenario, so that whatever is left behind is seen.
const LEASE: Duration = Duration::from_secs(600);

/// Milliseconds, as the protocol counts them.
pub fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The members of the request `acquire` for these keys and options, such as `, lease 10 s, shared`.
pub fn request(keys: &[String], hold: &str, options: &str) -> Outcome<Value> {
    let mut members = Map::new();
    members.insert("do".into(), "acquire".into());
    members.insert("hold".into(), hold.into());
    match keys {
        [key] => members.insert("key".into(), key.as_str().into()),
        keys => members.insert("keys".into(), json!(keys)),
    };
    members.insert("lease_ms".into(), ms(LEASE).into());
    for option in options.split(", ").filter(|option| !option.is_empty()) {
        apply(&mut members, option)?;
    }
    Ok(Value::Object(members))
}

fn apply(members: &mut Map<String, Value>, option: &str) -> Outcome<()> {
    let (name, value) = option.split_once(' ').unwrap_or((option, ""));
    let number = || value.parse::<u64>().map_err(|_| format!("'{option}': '{value}' is not a number"));
    let (member, value) = match (name, value) {
        ("lease", _) => ("lease_ms", ms(duration(value)?).into()),
        ("timeout", _) => ("timeout_ms", ms(duration(value)?).into()),
        ("max", _) => ("max_ms", ms(duration(value)?).into()),
        ("delay", _) => ("delay_ms", ms(duration(value)?).into()),
        ("counted", _) => {
            members.insert("mode".into(), "counted".into());
            ("limit", number()?.into())
        }
        ("weight", _) => ("weight", number()?.into()),
        ("durable", _) => ("durable", number()?.into()),
        ("scope", _) => ("scope", value.into()),
        ("shared", "") => ("mode", "shared".into()),
        ("session", "") => ("session", true.into()),
        ("reentrant", "") => ("reentrant", true.into()),
        ("not", "renewed") => ("renew", false.into()),
        _ => return fail(format!("'{option}' is no option of a request")),
    };
    members.insert(member.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Vec<String> {
        keys.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn options_become_members_of_the_request() {
        let made = request(&keys(&["k"]), "h", ", lease 1.5 s, timeout 0 s, counted 3, weight 2, not renewed").unwrap();
        let expected = json!({"do": "acquire", "hold": "h", "key": "k", "lease_ms": 1500, "timeout_ms": 0,
            "mode": "counted", "limit": 3, "weight": 2, "renew": false});
        assert_eq!(made, expected);
        let made = request(&keys(&["k", "l"]), "h", "").unwrap();
        assert_eq!(made, json!({"do": "acquire", "hold": "h", "keys": ["k", "l"], "lease_ms": 600_000}));
    }

    #[test]
    fn an_option_that_does_not_exist_is_an_error() {
        assert!(request(&keys(&["k"]), "h", ", leese 1 s").unwrap_err().contains("'leese 1 s' is no option"));
        assert!(request(&keys(&["k"]), "h", ", weight x").unwrap_err().contains("not a number"));
    }
}
