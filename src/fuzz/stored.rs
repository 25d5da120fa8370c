//! The stored form of a lock: what RDB, AOF and anybody's RESTORE bring. The bytes are the stored form itself.

use super::{assert_inherited, assert_sound, NOW};
use crate::engine::tests::stream::live;
use crate::lock::{Holders, Mode, Now, Steady, UnixMicros};
use crate::wire::{decode_lock, encode_lock, Trust, LEASE_MAX_MS};

const HOUR_US: u64 = 3_600_000_000;
/// Clocks at the ends of what they can show: only that nothing breaks is asked for there.
const ODD_CLOCKS: [Now; 4] = [
    Now { steady: Steady(0), unix: UnixMicros(0) },
    Now { steady: Steady(i64::MAX), unix: UnixMicros(u64::MAX) },
    Now { steady: Steady(i64::MIN), unix: UnixMicros(0) },
    Now { steady: Steady(i64::MIN), unix: UnixMicros(u64::MAX) },
];

/// Reads the bytes as a lock, and looks at what came of it.
pub fn decode(bytes: &[u8]) {
    for now in ODD_CLOCKS {
        for trust in [Trust::OwnData, Trust::Stream, Trust::Payload] {
            done(decode_lock(bytes, now, trust).map(|holders| encoded(&holders, now)));
        }
    }
    let own = decode_lock(bytes, NOW, Trust::OwnData);
    let stream = decode_lock(bytes, NOW, Trust::Stream);
    let payload = decode_lock(bytes, NOW, Trust::Payload);
    assert!(stream.is_err() || stream == own, "what a replica takes is what its primary had");
    assert!(payload.is_err() || payload == stream, "a replica takes what its primary let in");
    for (read, ahead_us) in [(&stream, 24 * HOUR_US), (&payload, HOUR_US)] {
        let holds = read.iter().flat_map(Holders::iter);
        holds.for_each(|(_, hold)| assert!(hold.fence.get() <= NOW.unix.0 + ahead_us, "ahead of the clock: {hold:?}"));
    }
    if let Ok(holders) = own {
        assert_sound(&holders, NOW);
        let count = number(holders.len() as u64);
        assert!(bytes.get(1..).is_some_and(|bytes| bytes.starts_with(&count)), "as many hold as the bytes say");
        assert_comes_back(&holders);
        holders.iter().for_each(|(_, hold)| assert_inherited(hold));
    }
    if let Ok(holders) = payload {
        assert_within_limits(&holders);
        // Whatever anybody brings in: it is a lock that works, and ends.
        live(holders);
    }
}

/// A number in LEB128.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn encoded(holders: &Holders, now: Now) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_lock(holders, now, &mut bytes);
    bytes
}

/// What is read is written, and read again as the same: only a grant that seemed to come later than its lease began is
/// moved there.
fn assert_comes_back(holders: &Holders) {
    let bytes = encoded(holders, NOW);
    let again = decode_lock(&bytes, NOW, Trust::OwnData).expect("what is written can be read");
    assert_eq!(encoded(&again, NOW), bytes, "equal locks have equal bytes");
    assert_eq!(again.len(), holders.len());
    for ((mode, hold), (mode_again, mut hold_again)) in holders.iter().zip(again.iter().map(|(m, h)| (m, h.clone()))) {
        let begun = Steady(hold.expires_at.0 - hold.lease.0 as i64 * 1000);
        assert!(hold_again.since == hold.since || hold.since > begun, "{hold:?} became {hold_again:?}");
        hold_again.since = hold.since;
        assert_eq!((mode, hold), (mode_again, &hold_again));
    }
    let shorter = bytes.get(..bytes.len() - 1).unwrap_or_default();
    assert!(decode_lock(shorter, NOW, Trust::OwnData).is_err(), "a byte is missing");
    assert!(decode_lock(&[&bytes[..], &[0]].concat(), NOW, Trust::OwnData).is_err(), "a byte is left over");
}

fn assert_within_limits(holders: &Holders) {
    let last = Steady(NOW.steady.0 + LEASE_MAX_MS as i64 * 1000);
    for (mode, hold) in holders.iter() {
        assert!(hold.expires_at <= last);
        match mode {
            Mode::Exclusive | Mode::Shared(None) => {}
            Mode::Shared(Some(_)) if hold.is_expired(NOW.steady) => {}
            Mode::Shared(Some(limit)) => {
                assert!(holders.count_running(NOW.steady) <= limit.get() as usize, "beyond the limit");
            }
        }
    }
}

/// That it came to an end is all that is asked.
fn done<T>(_: T) {}
