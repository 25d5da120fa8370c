//! The target `stored`: the bytes are the stored form of a lock, as it comes from an RDB file, an AOF or a RESTORE.

use super::{assert_inherited, assert_sound, NOW};
use crate::engine::tests::stream::live;
use crate::lock::{Holders, Mode, Now, Steady, Terms, UnixMicros};
use crate::wire::{decode_lock, encode_lock, Trust, LEASE_MAX_MS};

/// One hour in microseconds.
const HOUR_US: u64 = 3_600_000_000;
/// Clocks at the limits of what they can show. With them it is only checked that nothing panics.
const ODD_CLOCKS: [Now; 4] = [
    Now { steady: Steady(0), unix: UnixMicros(0) },
    Now { steady: Steady(i64::MAX), unix: UnixMicros(u64::MAX) },
    Now { steady: Steady(i64::MIN), unix: UnixMicros(0) },
    Now { steady: Steady(i64::MIN), unix: UnixMicros(u64::MAX) },
];

/// Reads the bytes as a lock. Panics if a lock was accepted that should not be, or if it cannot be written and read
/// again.
pub fn decode(bytes: &[u8]) {
    for now in ODD_CLOCKS {
        for trust in [Trust::OwnData, Trust::Stream, Trust::Payload] {
            let _ = decode_lock(bytes, now, trust).map(|holders| encoded(&holders, now));
        }
    }
    let own = decode_lock(bytes, NOW, Trust::OwnData);
    let stream = decode_lock(bytes, NOW, Trust::Stream);
    let payload = decode_lock(bytes, NOW, Trust::Payload);
    assert!(stream.is_err() || stream == own, "a replica reads something else than its primary");
    assert!(payload.is_err() || payload == stream, "a replica refuses or changes what its primary accepted");
    for (read, ahead_us) in [(&stream, 24 * HOUR_US), (&payload, HOUR_US)] {
        let holds = read.iter().flat_map(Holders::iter);
        holds.for_each(|(_, hold)| {
            assert!(hold.fence.get() <= NOW.unix.0 + ahead_us, "the fence is too far ahead of the clock: {hold:?}")
        });
    }
    if let Ok(holders) = own {
        assert_sound(&holders, NOW);
        let count = number(holders.len() as u64);
        assert!(
            bytes.get(1..).is_some_and(|bytes| bytes.starts_with(&count)),
            "the number of holders is not the one in the bytes"
        );
        assert_round_trip(&holders);
        holders.iter().for_each(|(_, hold)| assert_inherited(hold));
    }
    if let Ok(Holders::Cooling(cooling)) = payload {
        assert!(cooling.until <= NOW.steady + cooling.length && cooling.length <= Terms::LONGEST);
    }
    if let Ok(holders) = payload {
        assert_within_limits(&holders);
        // Whatever a client restores must be a lock that works, and whose leases expire.
        live(holders);
    }
}

/// A number in unsigned LEB128.
fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The stored form of these holders.
fn encoded(holders: &Holders, now: Now) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_lock(holders, now, &mut bytes);
    bytes
}

/// Panics unless the holders can be written and read again as they are. Only one difference is allowed: if a grant
/// seems to be later than the beginning of its lease, it is read as having happened then.
fn assert_round_trip(holders: &Holders) {
    let bytes = encoded(holders, NOW);
    let again = decode_lock(&bytes, NOW, Trust::OwnData).expect("a stored form that was written can be read");
    assert_eq!(encoded(&again, NOW), bytes, "the same lock has different bytes");
    assert_eq!(again.len(), holders.len());
    for ((mode, hold), (mode_again, mut hold_again)) in holders.iter().zip(again.iter().map(|(m, h)| (m, h.clone()))) {
        let begun = Steady(hold.expires_at.0 - hold.terms.lease().0 as i64 * 1000);
        assert!(hold_again.since == hold.since || hold.since > begun, "{hold:?} became {hold_again:?}");
        hold_again.since = hold.since;
        assert_eq!((mode, hold), (mode_again, &hold_again));
    }
    let shorter = bytes.get(..bytes.len() - 1).unwrap_or_default();
    assert!(decode_lock(shorter, NOW, Trust::OwnData).is_err(), "bytes with one missing at the end were accepted");
    assert!(
        decode_lock(&[&bytes[..], &[0]].concat(), NOW, Trust::OwnData).is_err(),
        "bytes with one left over at the end were accepted"
    );
}

/// Panics if a lease is too long, or if the lock has more holders than a limit among them allows.
fn assert_within_limits(holders: &Holders) {
    let last = Steady(NOW.steady.0 + LEASE_MAX_MS as i64 * 1000);
    for (mode, hold) in holders.iter() {
        assert!(hold.expires_at <= last);
        match mode {
            Mode::Exclusive | Mode::Shared(None) => {}
            Mode::Shared(Some(_)) if hold.is_expired(NOW.steady) => {}
            Mode::Shared(Some(limit)) => {
                let running = || holders.iter().filter(|(_, hold)| !hold.is_expired(NOW.steady));
                let units = |mode: Mode| match mode {
                    Mode::Shared(Some(limit)) => limit.weight(),
                    Mode::Exclusive | Mode::Shared(None) => 1,
                };
                let units: u32 = running().map(|(mode, _)| units(mode)).sum();
                assert!(units <= limit.units(), "more units are taken than a limit allows");
            }
        }
    }
}
