//! The stored form (RDB, DUMP) and the replicated form (replicas, AOF) of a lock, version 1.
//!
//! ```text
//! number   unsigned LEB128 of at most 64 bits, in its shortest form
//! owner    length (number, 1 to 1024) | bytes
//! hold     0 (byte: exclusive)                       | owner | fence | end | lease | grown
//!        | 1 (byte: shared) | limit (0: no limit)    | owner | fence | end | lease | grown
//!          (limit, fence, end, lease and grown are numbers)
//! stored   version (byte, 1) | count of holds (number) | hold ...
//! effect   version (byte, 1) | change ...
//! change   1 (byte: granted) | hold
//!        | 2 (byte: changed) | hold
//!        | 3 (byte: freed)
//!        | 4 (byte: ended) | owner
//! ```
//!
//! # Changes
//! An effect tells a replica what one step changed, so its length does not depend on the number of holders.
//!
//! * *granted* and *changed* carry a hold that the lock has from now on. Either the hold began, or it goes on with
//!   another end, fence or mode. An exclusive hold replaces all holds, and a shared one replaces that of its owner.
//! * *ended* names an owner that no longer holds the lock.
//! * *freed* says that nobody holds the lock. A DEL would say that too, but a DEL in the replication stream is an
//!   operator's: it makes a replica look for the key to which the value may have moved.
//!
//! # Times
//! `end` is the moment at which the lease expires, in unix time in milliseconds. `lease` is the length that was last
//! given to the lease, in milliseconds. `grown` is how many milliseconds before `end - lease` the hold was granted.
//!
//! A form holds what was decided, never a request: the lease goes on where it is read, and does not begin anew. The
//! reader translates times to its own steady clock at once, and never lets more time be left than `lease`. So a clock
//! that differs can shorten a lease, but cannot make it longer than what was asked for.

use super::varint::{put_bytes, put_number, Reader};
use super::LEASE_MAX_MS;
use crate::lock::{Fence, Hold, Holders, Limit, Millis, Mode, Now, Origin, Owner, OwnerRef, Steady};

const VERSION: u8 = 1;
const MODE_EXCLUSIVE: u8 = 0;
const MODE_SHARED: u8 = 1;
const KIND_GRANTED: u8 = 1;
const KIND_CHANGED: u8 = 2;
const KIND_FREED: u8 = 3;
const KIND_ENDED: u8 = 4;

/// How far a fence may be ahead of the wall clock in a payload of RESTORE: one hour, in microseconds.
const PAYLOAD_FENCE_AHEAD_US: u64 = 60 * 60 * 1_000_000;
/// How far a fence may be ahead of the wall clock in a RESTORE that a replica receives: one day, in microseconds. It is
/// more than [`PAYLOAD_FENCE_AHEAD_US`], because a replica must not refuse what its primary accepted by another clock.
const STREAM_FENCE_AHEAD_US: u64 = 24 * PAYLOAD_FENCE_AHEAD_US;

/// Where a stored form comes from. That decides how strictly it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The RDB file or the AOF of this server, or what its primary sends: a full synchronization, or an effect. It is
    /// accepted whatever the clock shows.
    OwnData,
    /// A RESTORE that this replica receives from its primary, which accepted it by a clock that may differ, or from a
    /// client of a writable replica.
    Stream,
    /// A RESTORE from a client, or from a MIGRATE. Anybody may have made the bytes.
    Payload,
}

/// The bytes are malformed, or describe a lock that may not be accepted from where they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Appends the stored form of a lock to `out`. The lock must have at least one holder, because a free lock is not
/// stored.
pub fn encode_lock(holders: &Holders, now: Now, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_number(out, holders.len() as u64);
    for (mode, hold) in holders.iter() {
        put_hold(out, mode, hold, now);
    }
}

/// Reads a stored form. It may contain expired holds, which the next step of the lock ends.
///
/// An error is returned if the bytes are malformed, if an owner holds twice, if an exclusive hold is not alone, or if
/// the lock breaks a limit that applies to bytes of this [`Trust`].
pub fn decode_lock(bytes: &[u8], now: Now, trust: Trust) -> Result<Holders, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte() != Some(VERSION) {
        return Err(Corrupt);
    }
    let count = reader.number().ok_or(Corrupt)?;
    let mut holders = Holders::Free;
    for _ in 0..count {
        let (mode, hold) = read_hold(&mut reader, now, trust).ok_or(Corrupt)?;
        // An owner may hold once, and an exclusive hold must be the only one.
        let has_place = match (&holders, mode) {
            (Holders::Free, _) => true,
            (Holders::Exclusive(_), _) | (Holders::Shared(_), Mode::Exclusive) => false,
            (Holders::Shared(shared), Mode::Shared(_)) => shared.of(hold.owner.borrow()).is_none(),
        };
        if !has_place {
            return Err(Corrupt);
        }
        holders.put(mode, hold);
    }
    let is_sound = match trust {
        Trust::OwnData | Trust::Stream => true,
        Trust::Payload => holders.are_within_limits(now.steady),
    };
    (is_sound && count > 0 && reader.is_done()).then_some(holders).ok_or(Corrupt)
}

/// What happened to the hold of a [`Change::Runs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The hold began.
    Granted,
    /// The hold goes on with another end of its lease, another fence or another mode.
    Changed,
}

/// One change of a lock, as an effect tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The lock has this hold now, which is held in this mode.
    Runs(ChangeKind, Mode, Hold),
    /// This owner no longer holds the lock. Others may.
    Ended(Owner),
    /// Nobody holds the lock.
    Freed,
}

/// Writes an effect, one change after the other. At least one must be written.
pub struct EffectWriter<'a> {
    out: &'a mut Vec<u8>,
    now: Now,
}

impl EffectWriter<'_> {
    /// Begins an effect at the end of `out`. `now` is the time at which it happens.
    pub fn begin(out: &mut Vec<u8>, now: Now) -> EffectWriter<'_> {
        out.push(VERSION);
        EffectWriter { out, now }
    }

    /// Writes that the lock has this hold now.
    pub fn runs(&mut self, kind: ChangeKind, mode: Mode, hold: &Hold) {
        self.out.push(match kind {
            ChangeKind::Granted => KIND_GRANTED,
            ChangeKind::Changed => KIND_CHANGED,
        });
        put_hold(self.out, mode, hold, self.now);
    }

    /// Writes that this owner no longer holds the lock, while others do.
    pub fn ended(&mut self, owner: OwnerRef) {
        self.out.push(KIND_ENDED);
        put_bytes(self.out, owner.as_bytes());
    }

    /// Writes that nobody holds the lock.
    pub fn freed(&mut self) {
        self.out.push(KIND_FREED);
    }
}

/// Reads an effect. An error is returned if the bytes are malformed or contain no change.
pub fn decode_effect(bytes: &[u8], now: Now) -> Result<Vec<Change>, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte() != Some(VERSION) || reader.is_done() {
        return Err(Corrupt);
    }
    let mut changes = Vec::with_capacity(1);
    while !reader.is_done() {
        changes.push(read_change(&mut reader, now).ok_or(Corrupt)?);
    }
    Ok(changes)
}

/// Reads one change. `None` if the bytes are malformed.
fn read_change(reader: &mut Reader, now: Now) -> Option<Change> {
    let runs = |reader: &mut Reader, kind| {
        read_hold(reader, now, Trust::OwnData).map(|(mode, hold)| Change::Runs(kind, mode, hold))
    };
    match reader.byte()? {
        KIND_GRANTED => runs(reader, ChangeKind::Granted),
        KIND_CHANGED => runs(reader, ChangeKind::Changed),
        KIND_FREED => Some(Change::Freed),
        KIND_ENDED => Some(Change::Ended(OwnerRef::new(reader.bytes()?)?.to_owner())),
        _ => None,
    }
}

/// Appends a hold.
fn put_hold(out: &mut Vec<u8>, mode: Mode, hold: &Hold, now: Now) {
    let end = to_unix_ms(hold.expires_at, now);
    let begun = end.saturating_sub(hold.lease.0);
    match mode {
        Mode::Exclusive => out.push(MODE_EXCLUSIVE),
        Mode::Shared(limit) => {
            out.push(MODE_SHARED);
            put_number(out, limit.map_or(0, |limit| limit.get().into()));
        }
    }
    put_bytes(out, hold.owner.as_bytes());
    put_number(out, hold.fence.get());
    put_number(out, end);
    put_number(out, hold.lease.0);
    put_number(out, begun.saturating_sub(to_unix_ms(hold.since, now)));
}

/// Reads a hold. `None` if the bytes are malformed, or if a time or the fence is too far ahead of the clock.
fn read_hold(reader: &mut Reader, now: Now, trust: Trust) -> Option<(Mode, Hold)> {
    let mode = match reader.byte()? {
        MODE_EXCLUSIVE => Mode::Exclusive,
        MODE_SHARED => match reader.number()? {
            0 => Mode::Shared(None),
            limit => Mode::Shared(Some(Limit::new(limit)?)),
        },
        _ => return None,
    };
    let owner = OwnerRef::new(reader.bytes()?)?.to_owner();
    let fence = Fence::new(reader.number()?)?;
    let end_ms = reader.number()?;
    let lease = Millis(reader.number().filter(|ms| (1..=LEASE_MAX_MS).contains(ms))?);
    let since_ms = end_ms.saturating_sub(lease.0).saturating_sub(reader.number()?);
    let end = from_unix_ms(end_ms, now);
    let ahead_us = match trust {
        Trust::OwnData => None,
        Trust::Stream => Some(STREAM_FENCE_AHEAD_US),
        Trust::Payload if end > now.steady + Millis(LEASE_MAX_MS) => return None,
        Trust::Payload => Some(PAYLOAD_FENCE_AHEAD_US),
    };
    if ahead_us.is_some_and(|ahead_us| fence.get() > now.unix.0.saturating_add(ahead_us)) {
        return None;
    }
    let (expires_at, since) = (end.min(now.steady + lease), from_unix_ms(since_ms, now));
    let hold = Hold { owner, fence, expires_at, lease, since, origin: Origin::Inherited, session: None, user: None };
    Some((mode, hold))
}

/// Translates a moment on the steady clock to unix time in milliseconds. It is rounded up, so that no lease is stored
/// as ending early. Moments before 1970 become 0.
fn to_unix_ms(moment: Steady, now: Now) -> u64 {
    let unix = i64::try_from(now.unix.0).unwrap_or(i64::MAX);
    let us = unix.saturating_add(moment.0.saturating_sub(now.steady.0));
    u64::try_from(us).unwrap_or(0).div_ceil(1000)
}

/// Translates unix time in milliseconds to a moment on the steady clock.
fn from_unix_ms(unix_ms: u64, now: Now) -> Steady {
    let us = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Steady(now.steady.0.saturating_add(us(unix_ms.saturating_mul(1000)).saturating_sub(us(now.unix.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::UnixMicros;
    use proptest::prelude::*;

    /// The time at which everything is written and read. The wall clock shows a moment in the year 2027.
    const NOW: Now = Now { steady: Steady(5_000_000), unix: UnixMicros(1_800_000_000_000_000) };

    /// An exclusive hold whose lease expires `left_ms` after [`NOW`].
    fn held(owner: &[u8], fence: u64, left_ms: u64, lease_ms: u64) -> Hold {
        Hold {
            owner: OwnerRef::new(owner).unwrap().to_owner(),
            fence: Fence::new(fence).unwrap(),
            expires_at: NOW.steady + Millis(left_ms),
            lease: Millis(lease_ms),
            since: Steady(1_000_000),
            origin: Origin::Inherited,
            session: None,
            user: None,
        }
    }

    /// The stored form of a lock that has this exclusive hold.
    fn stored(hold: Hold) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_lock(&Holders::Exclusive(hold), NOW, &mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn a_lock_is_read_as_it_was_written(
            owner in prop::collection::vec(any::<u8>(), 1..1024), fence in 1..1u64 << 53, lease in 1..LEASE_MAX_MS, part in 0.0..1.0f64,
        ) {
            let left = (lease as f64 * part) as u64;
            let mut hold = held(&owner, fence, left, lease);
            hold.since = hold.since.min(Steady(hold.expires_at.0 - lease as i64 * 1000));
            prop_assert_eq!(decode_lock(&stored(hold.clone()), NOW, Trust::OwnData), Ok(Holders::Exclusive(hold.clone())));
            for mode in [Mode::Exclusive, Mode::Shared(None), Mode::Shared(Limit::new(fence % 1000))] {
                let mut effect = Vec::new();
                let mut writer = EffectWriter::begin(&mut effect, NOW);
                writer.held(ChangeKind::Granted, mode, &hold);
                writer.held(ChangeKind::Changed, mode, &hold);
                writer.ended(hold.owner.borrow());
                let runs = |kind| Change::Runs(kind, mode, hold.clone());
                let expected = vec![held(ChangeKind::Granted), held(ChangeKind::Changed), Change::Ended(hold.owner.clone())];
                prop_assert_eq!(decode_effect(&effect, NOW), Ok(expected));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = decode_lock(&bytes, NOW, Trust::Payload);
            let _ = decode_lock(&bytes, NOW, Trust::OwnData);
            let _ = decode_effect(&bytes, NOW);
        }

        #[test]
        fn a_damaged_lock_is_read_or_refused_without_a_panic(at: prop::sample::Index, to: u8) {
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
    fn a_freed_lock_is_read_as_it_was_written_and_an_empty_effect_is_refused() {
        let mut effect = Vec::new();
        EffectWriter::begin(&mut effect, NOW).freed();
        assert_eq!(decode_effect(&effect, NOW), Ok(vec![Change::Freed]));
        effect.push(0);
        assert_eq!(decode_effect(&effect, NOW), Err(Corrupt));
        assert_eq!(decode_effect(&[VERSION], NOW), Err(Corrupt));
    }

    /// The holders of a lock with these shared holds.
    fn shared(holds: impl IntoIterator<Item = (Hold, Option<Limit>)>) -> Holders {
        let mut holders = Holders::Free;
        for (hold, limit) in holds {
            holders.put(Mode::Shared(limit), hold);
        }
        holders
    }

    /// The stored form of these holders.
    fn encoded(holders: &Holders) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_lock(holders, NOW, &mut bytes);
        bytes
    }

    #[test]
    fn shared_holders_are_read_with_their_limits_even_if_two_have_the_same_fence() {
        let holders = shared([
            (held(b"a", 7, 10, 10), None),
            (held(b"b", 8, 20, 20), Limit::new(5)),
            (held(b"c", 8, 5, 20), Limit::new(9)),
        ]);
        assert_eq!(decode_lock(&encoded(&holders), NOW, Trust::Payload), Ok(holders));
    }

    #[test]
    fn holders_that_could_not_hold_the_lock_together_are_refused() {
        let one = encoded(&shared([(held(b"a", 7, 10, 10), None)]));
        let other = encoded(&shared([(held(b"b", 8, 10, 10), Limit::new(1))]));
        let alone = stored(held(b"c", 9, 10, 10));
        let together = |parts: &[&Vec<u8>]| {
            let mut bytes = vec![VERSION, parts.len() as u8];
            parts.iter().for_each(|part| bytes.extend(&part[2..]));
            bytes
        };
        assert!(decode_lock(&together(&[&one]), NOW, Trust::Payload).is_ok());
        for parts in [vec![&one, &one], vec![&one, &alone], vec![&alone, &one], vec![&alone, &alone], vec![]] {
            for trust in [Trust::Payload, Trust::OwnData] {
                assert_eq!(decode_lock(&together(&parts), NOW, trust), Err(Corrupt), "{parts:?}");
            }
        }
        assert_eq!(
            decode_lock(&together(&[&one, &other]), NOW, Trust::Payload),
            Err(Corrupt),
            "more holders than a limit allows"
        );
    }

    /// A lock may be dumped while it still has expired holds, and has let in another owner with a smaller limit since.
    #[test]
    fn expired_holds_do_not_count_towards_limits() {
        let holders = |left| shared([(held(b"a", 7, left, 10), Limit::new(2)), (held(b"b", 8, 10, 10), Limit::new(1))]);
        assert_eq!(decode_lock(&encoded(&holders(0)), NOW, Trust::Payload), Ok(holders(0)));
        assert_eq!(decode_lock(&encoded(&holders(1)), NOW, Trust::Payload), Err(Corrupt));
    }

    #[test]
    fn a_huge_count_is_refused_without_allocating() {
        let mut bytes = vec![VERSION];
        put_number(&mut bytes, u64::MAX);
        assert_eq!(decode_lock(&bytes, NOW, Trust::Payload), Err(Corrupt));
    }

    #[test]
    fn no_more_time_than_the_lease_is_left_if_clocks_differ() {
        let behind = Now { unix: UnixMicros(NOW.unix.0 - 50_000_000), ..NOW };
        let Ok(Holders::Exclusive(hold)) = decode_lock(&stored(held(b"a", 7, 900, 1000)), behind, Trust::OwnData)
        else {
            panic!("a sound lock")
        };
        assert_eq!(hold.expires_at, NOW.steady + Millis(1000));
    }

    #[test]
    fn a_payload_is_checked_against_the_clock_and_own_data_is_not() {
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
            assert!(decode_lock(&bytes, NOW, Trust::Stream).is_ok());
        }
        for (ahead, is_fine) in [(24 * hour, true), (24 * hour + 1, false)] {
            let bytes = stored(held(b"a", NOW.unix.0 + ahead, 10, 10));
            assert_eq!(decode_lock(&bytes, NOW, Trust::Stream).is_ok(), is_fine);
        }
    }
}
