//! The frame of a payload for RESTORE, and the numbers in it.

use std::time::{SystemTime, UNIX_EPOCH};

use support::{args, Server, Value};

/// The type byte and the 64-bit module id with its length byte stand before the value.
pub const HEAD: usize = 10;
/// RDB version and checksum stand behind it.
pub const FOOT: usize = 10;
/// One refusal for all that is no lock.
pub const REFUSED: &str = "ERR Bad data format";

/// The time by the wall clock, in microseconds.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

/// A number in LEB128.
pub fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Restores `k` from these bytes, in place of what is there.
#[track_caller]
pub fn restore(server: &Server, payload: &[u8]) -> Value {
    server.cmd(&args!["RESTORE", "k", 0, payload, "REPLACE"])
}
