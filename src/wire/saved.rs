//! The stored form (RDB, DUMP) and the replicated form (replicas, AOF) of a lock, version 1.
//!
//! ```text
//! number   unsigned LEB128, shortest spelling
//! hold     mode (byte, 0 = exclusive) | owner (length, bytes) | fence | end | lease | grown
//! stored   version (byte, 1) | how many holds (number) | hold ...
//! effect   version (byte, 1) | kind (byte, 1 = granted, 2 = changed) | hold
//!        | version (byte, 1) | kind (byte, 3 = freed)
//! ```
//! An effect says that this hold runs now, and whether it began or goes on with another end or fence; an exclusive hold
//! replaces whatever was held. Or it says that the lock is free, which a plain DEL would do as well: but a DEL in the
//! stream is an operator's, and tells a replica to look where the value went.
//!
//! `end` is unix time in milliseconds, `lease` the length last given in milliseconds, and `grown` says how long before
//! `end - lease` the grant was. What travels is what was decided, never a request: a lease goes on where it is read and
//! is not started anew. Times are translated to the reader's steady clock at once, and at no time is more than `lease`
//! left, so clocks that differ can shorten a lease but not lengthen it beyond what was asked.

use super::codec::{put_bytes, put_number, Reader};
use super::LEASE_MAX_MS;
use crate::lock::{Fence, Hold, Holders, Millis, Mode, Now, Origin, OwnerRef, Steady};

const VERSION: u8 = 1;
const MODE_EXCLUSIVE: u8 = 0;
const KIND_GRANTED: u8 = 1;
const KIND_CHANGED: u8 = 2;
const KIND_FREED: u8 = 3;

/// How far ahead of the clock a fence may lie in a payload that somebody hands to RESTORE, in microseconds: one hour.
const PAYLOAD_FENCE_AHEAD_US: u64 = 60 * 60 * 1_000_000;

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// This data set's own RDB, AOF or primary: taken as it is, whatever the clock says.
    OwnData,
    /// RESTORE or MIGRATE: anybody may have made it.
    Payload,
}

/// Bytes that are no lock, or none that may be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Appends the stored form of a held lock.
pub fn encode_lock(holders: &Holders, now: Now, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_number(out, holders.iter().count() as u64);
    let mode = match holders {
        Holders::Free | Holders::Exclusive(_) => Mode::Exclusive,
    };
    for hold in holders.iter() {
        put_hold(out, mode, hold, now);
    }
}

/// Reads a stored form. Holds whose leases have run out are read too; the rules end them.
pub fn decode_lock(bytes: &[u8], now: Now, trust: Trust) -> Result<Holders, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte() != Some(VERSION) || reader.number() != Some(1) {
        return Err(Corrupt);
    }
    let (mode, hold) = hold(&mut reader, now, trust).filter(|_| reader.is_done()).ok_or(Corrupt)?;
    let mut holders = Holders::Free;
    holders.put(mode, hold);
    Ok(holders)
}

/// What an effect tells of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It began.
    Granted,
    /// It goes on with another end or fence.
    Changed,
}

/// An effect: how a lock stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// This hold runs now.
    Runs(Told, Mode, Hold),
    /// Nobody holds it.
    Freed,
}

/// Appends an effect: this hold runs now.
pub fn encode_effect(told: Told, mode: Mode, hold: &Hold, now: Now, out: &mut Vec<u8>) {
    let kind = match told {
        Told::Granted => KIND_GRANTED,
        Told::Changed => KIND_CHANGED,
    };
    out.extend([VERSION, kind]);
    put_hold(out, mode, hold, now);
}

/// Appends an effect: the lock is free.
pub fn encode_freed(out: &mut Vec<u8>) {
    out.extend([VERSION, KIND_FREED]);
}

/// Reads an effect.
pub fn decode_effect(bytes: &[u8], now: Now) -> Result<News, Corrupt> {
    let mut reader = Reader::new(bytes);
    let (version, kind) = (reader.byte(), reader.byte());
    let mut runs = |told| hold(&mut reader, now, Trust::OwnData).map(|(mode, hold)| News::Runs(told, mode, hold));
    let news = match (version, kind) {
        (Some(VERSION), Some(KIND_GRANTED)) => runs(Told::Granted),
        (Some(VERSION), Some(KIND_CHANGED)) => runs(Told::Changed),
        (Some(VERSION), Some(KIND_FREED)) => Some(News::Freed),
        _ => None,
    };
    news.filter(|_| reader.is_done()).ok_or(Corrupt)
}

fn put_hold(out: &mut Vec<u8>, mode: Mode, hold: &Hold, now: Now) {
    let end = unix_ms(hold.end, now);
    let begun = end.saturating_sub(hold.lease.0);
    out.push(match mode {
        Mode::Exclusive => MODE_EXCLUSIVE,
    });
    put_bytes(out, hold.owner.as_bytes());
    put_number(out, hold.fence.get());
    put_number(out, end);
    put_number(out, hold.lease.0);
    put_number(out, begun.saturating_sub(unix_ms(hold.since, now)));
}

fn hold(reader: &mut Reader, now: Now, trust: Trust) -> Option<(Mode, Hold)> {
    let mode = match reader.byte()? {
        MODE_EXCLUSIVE => Mode::Exclusive,
        _ => return None,
    };
    let owner = OwnerRef::new(reader.bytes()?)?.to_owner();
    let fence = Fence::new(reader.number()?)?;
    let end_ms = reader.number()?;
    let lease = Millis(reader.number().filter(|ms| (1..=LEASE_MAX_MS).contains(ms))?);
    let since_ms = end_ms.saturating_sub(lease.0).saturating_sub(reader.number()?);
    let end = steady(end_ms, now);
    match trust {
        Trust::OwnData => {}
        Trust::Payload => {
            let fence_max = now.unix.0.saturating_add(PAYLOAD_FENCE_AHEAD_US);
            if fence.get() > fence_max || end > now.steady + Millis(LEASE_MAX_MS) {
                return None;
            }
        }
    }
    let (end, since) = (end.min(now.steady + lease), steady(since_ms, now));
    Some((mode, Hold { owner, fence, end, lease, since, origin: Origin::Inherited }))
}

/// A moment of this process as unix time in milliseconds, rounded up; never before 1970.
fn unix_ms(moment: Steady, now: Now) -> u64 {
    let unix = i64::try_from(now.unix.0).unwrap_or(i64::MAX);
    let us = unix.saturating_add(moment.0.saturating_sub(now.steady.0));
    u64::try_from(us).unwrap_or(0).div_ceil(1000)
}

/// The same back.
fn steady(unix_ms: u64, now: Now) -> Steady {
    let us = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Steady(now.steady.0.saturating_add(us(unix_ms.saturating_mul(1000)).saturating_sub(us(now.unix.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::UnixMicros;
    use proptest::prelude::*;

    const NOW: Now = Now { steady: Steady(5_000_000), unix: UnixMicros(1_800_000_000_000_000) };

    fn held(owner: &[u8], fence: u64, left_ms: u64, lease_ms: u64) -> Hold {
        Hold {
            owner: OwnerRef::new(owner).unwrap().to_owner(),
            fence: Fence::new(fence).unwrap(),
            end: NOW.steady + Millis(left_ms),
            lease: Millis(lease_ms),
            since: Steady(1_000_000),
            origin: Origin::Inherited,
        }
    }

    fn stored(hold: Hold) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_lock(&Holders::Exclusive(hold), NOW, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_lock_comes_back_as_it_was(
            owner in prop::collection::vec(any::<u8>(), 1..1024), fence in 1..1u64 << 53, lease in 1..LEASE_MAX_MS, part in 0.0..1.0f64,
        ) {
            let left = (lease as f64 * part) as u64;
            let mut hold = held(&owner, fence, left, lease);
            hold.since = hold.since.min(Steady(hold.end.0 - lease as i64 * 1000));
            prop_assert_eq!(decode_lock(&stored(hold.clone()), NOW, Trust::OwnData), Ok(Holders::Exclusive(hold.clone())));
            for told in [Told::Granted, Told::Changed] {
                let mut effect = Vec::new();
                encode_effect(told, Mode::Exclusive, &hold, NOW, &mut effect);
                prop_assert_eq!(decode_effect(&effect, NOW), Ok(News::Runs(told, Mode::Exclusive, hold.clone())));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = decode_lock(&bytes, NOW, Trust::Payload);
            let _ = decode_lock(&bytes, NOW, Trust::OwnData);
            let _ = decode_effect(&bytes, NOW);
        }

        #[test]
        fn a_damaged_lock_is_read_or_refused(at: prop::sample::Index, to: u8) {
            let mut bytes = stored(held(b"owner", 77, 10, 10));
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = decode_lock(&bytes, NOW, Trust::Payload);
        }
    }

    #[test]
    fn a_lock_with_bytes_missing_or_left_over_is_refused() {
        let mut bytes = stored(held(b"owner", 77, 10, 10));
        for len in 0..bytes.len() {
            assert_eq!(decode_lock(&bytes[..len], NOW, Trust::Payload), Err(Corrupt));
        }
        bytes.push(0);
        assert_eq!(decode_lock(&bytes, NOW, Trust::Payload), Err(Corrupt));
    }

    #[test]
    fn a_freed_lock_comes_back() {
        let mut effect = Vec::new();
        encode_freed(&mut effect);
        assert_eq!(decode_effect(&effect, NOW), Ok(News::Freed));
        effect.push(0);
        assert_eq!(decode_effect(&effect, NOW), Err(Corrupt));
    }

    #[test]
    fn no_more_than_the_lease_is_left_when_clocks_differ() {
        let behind = Now { unix: UnixMicros(NOW.unix.0 - 50_000_000), ..NOW };
        let Ok(Holders::Exclusive(hold)) = decode_lock(&stored(held(b"a", 7, 900, 1000)), behind, Trust::OwnData)
        else {
            panic!("a sound lock")
        };
        assert_eq!(hold.end, NOW.steady + Millis(1000));
    }

    #[test]
    fn a_payload_is_held_to_the_clock_and_own_data_is_not() {
        let hour = 3_600_000_000;
        for (hold, payload_is_fine) in [
            (held(b"a", NOW.unix.0 + hour, 10, 10), true),
            (held(b"a", NOW.unix.0 + hour + 1, 10, 10), false),
            (held(b"a", 7, LEASE_MAX_MS, 10), true),
            (held(b"a", 7, LEASE_MAX_MS + 1, 10), false),
        ] {
            let bytes = stored(hold);
            assert_eq!(decode_lock(&bytes, NOW, Trust::Payload).is_ok(), payload_is_fine);
            assert!(decode_lock(&bytes, NOW, Trust::OwnData).is_ok());
        }
    }
}
