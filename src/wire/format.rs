//! The stored form (RDB, DUMP) and the replicated form (replicas, AOF) of a lock, version 1.
//!
//! ```text
//! number   unsigned LEB128, shortest spelling
//! owner    length (number), bytes
//! hold     0 (byte: exclusive)                              | owner | fence | end | lease | grown
//!        | 1 (byte: shared), limit (number, 0 = none)       | owner | fence | end | lease | grown
//! stored   version (byte, 1) | how many holds (number) | hold ...
//! effect   version (byte, 1) | change ...
//! change   1 (byte: granted) | hold
//!        | 2 (byte: changed) | hold
//!        | 3 (byte: freed)
//!        | 4 (byte: ended) | owner
//! ```
//! A change says that this hold runs now, and whether it began or goes on with another end, fence or mode. An exclusive hold
//! replaces whatever was held, a shared one what its owner held. Or it says that an owner holds no more, or that nobody does.
//! So an effect is as long as what changed, however many hold the lock. That the lock is free a plain DEL would say as well:
//! but a DEL in the stream is an operator's, and tells a replica to look where the value went.
//!
//! `end` is unix time in milliseconds, `lease` the length last given in milliseconds, and `grown` says how long before
//! `end - lease` the grant was. What travels is what was decided, never a request: a lease goes on where it is read and
//! is not started anew. Times are translated to the reader's steady clock at once, and at no time is more than `lease`
//! left, so clocks that differ can shorten a lease but not lengthen it beyond what was asked.

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

/// How far ahead of the clock a fence may lie in a payload that somebody hands to RESTORE, in microseconds: one hour.
const PAYLOAD_FENCE_AHEAD_US: u64 = 60 * 60 * 1_000_000;
/// The same on a replica, which must not refuse what its primary accepted: one day.
const STREAM_FENCE_AHEAD_US: u64 = 24 * PAYLOAD_FENCE_AHEAD_US;

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// This data set's own RDB or AOF, or the primary's: taken as it is, whatever the clock says.
    OwnData,
    /// RESTORE on a replica: the primary let it in, by a clock that may differ; or somebody who may write here did.
    Stream,
    /// RESTORE or MIGRATE: anybody may have made it.
    Payload,
}

/// Bytes that are no lock, or none that may be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Appends the stored form of a held lock.
pub fn encode_lock(holders: &Holders, now: Now, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_number(out, holders.len() as u64);
    for (mode, hold) in holders.iter() {
        put_hold(out, mode, hold, now);
    }
}

/// Reads a stored form. Holds whose leases have run out are read too; the rules end them.
pub fn decode_lock(bytes: &[u8], now: Now, trust: Trust) -> Result<Holders, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte() != Some(VERSION) {
        return Err(Corrupt);
    }
    let count = reader.number().ok_or(Corrupt)?;
    let mut holders = Holders::Free;
    for _ in 0..count {
        let (mode, hold) = hold(&mut reader, now, trust).ok_or(Corrupt)?;
        // Each owner once, and nobody beside an exclusive holder.
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

/// What an effect tells of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It began.
    Granted,
    /// It goes on with another end, fence or mode.
    Changed,
}

/// One change of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This hold runs now.
    Runs(ChangeKind, Mode, Hold),
    /// This owner holds it no more.
    Ended(Owner),
    /// Nobody holds it.
    Freed,
}

/// Writes an effect, change by change.
pub struct EffectWriter<'a> {
    out: &'a mut Vec<u8>,
    now: Now,
}

impl EffectWriter<'_> {
    /// Begins an effect at the end of `out`.
    pub fn begin(out: &mut Vec<u8>, now: Now) -> EffectWriter<'_> {
        out.push(VERSION);
        EffectWriter { out, now }
    }

    /// This hold runs now.
    pub fn runs(&mut self, kind: ChangeKind, mode: Mode, hold: &Hold) {
        self.out.push(match kind {
            ChangeKind::Granted => KIND_GRANTED,
            ChangeKind::Changed => KIND_CHANGED,
        });
        put_hold(self.out, mode, hold, self.now);
    }

    /// This owner holds the lock no more; others do.
    pub fn ended(&mut self, owner: OwnerRef) {
        self.out.push(KIND_ENDED);
        put_bytes(self.out, owner.as_bytes());
    }

    /// Nobody holds the lock.
    pub fn freed(&mut self) {
        self.out.push(KIND_FREED);
    }
}

/// Reads an effect: at least one change.
pub fn decode_effect(bytes: &[u8], now: Now) -> Result<Vec<Change>, Corrupt> {
    let mut reader = Reader::new(bytes);
    if reader.byte() != Some(VERSION) || reader.is_done() {
        return Err(Corrupt);
    }
    let mut changes = Vec::with_capacity(1);
    while !reader.is_done() {
        changes.push(change(&mut reader, now).ok_or(Corrupt)?);
    }
    Ok(changes)
}

fn change(reader: &mut Reader, now: Now) -> Option<Change> {
    let runs = |reader: &mut Reader, kind| {
        hold(reader, now, Trust::OwnData).map(|(mode, hold)| Change::Runs(kind, mode, hold))
    };
    match reader.byte()? {
        KIND_GRANTED => runs(reader, ChangeKind::Granted),
        KIND_CHANGED => runs(reader, ChangeKind::Changed),
        KIND_FREED => Some(Change::Freed),
        KIND_ENDED => Some(Change::Ended(OwnerRef::new(reader.bytes()?)?.to_owner())),
        _ => None,
    }
}

fn put_hold(out: &mut Vec<u8>, mode: Mode, hold: &Hold, now: Now) {
    let end = unix_ms(hold.expires_at, now);
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
    put_number(out, begun.saturating_sub(unix_ms(hold.since, now)));
}

fn hold(reader: &mut Reader, now: Now, trust: Trust) -> Option<(Mode, Hold)> {
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
    let end = steady(end_ms, now);
    let ahead_us = match trust {
        Trust::OwnData => None,
        Trust::Stream => Some(STREAM_FENCE_AHEAD_US),
        Trust::Payload if end > now.steady + Millis(LEASE_MAX_MS) => return None,
        Trust::Payload => Some(PAYLOAD_FENCE_AHEAD_US),
    };
    if ahead_us.is_some_and(|ahead_us| fence.get() > now.unix.0.saturating_add(ahead_us)) {
        return None;
    }
    let (expires_at, since) = (end.min(now.steady + lease), steady(since_ms, now));
    let hold = Hold { owner, fence, expires_at, lease, since, origin: Origin::Inherited, session: None, user: None };
    Some((mode, hold))
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
            expires_at: NOW.steady + Millis(left_ms),
            lease: Millis(lease_ms),
            since: Steady(1_000_000),
            origin: Origin::Inherited,
            session: None,
            user: None,
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
            hold.since = hold.since.min(Steady(hold.expires_at.0 - lease as i64 * 1000));
            prop_assert_eq!(decode_lock(&stored(hold.clone()), NOW, Trust::OwnData), Ok(Holders::Exclusive(hold.clone())));
            for mode in [Mode::Exclusive, Mode::Shared(None), Mode::Shared(Limit::new(fence % 1000))] {
                let mut effect = Vec::new();
                let mut writer = EffectWriter::begin(&mut effect, NOW);
                writer.runs(ChangeKind::Granted, mode, &hold);
                writer.runs(ChangeKind::Changed, mode, &hold);
                writer.ended(hold.owner.borrow());
                let runs = |kind| Change::Runs(kind, mode, hold.clone());
                let expected = vec![runs(ChangeKind::Granted), runs(ChangeKind::Changed), Change::Ended(hold.owner.clone())];
                prop_assert_eq!(decode_effect(&effect, NOW), Ok(expected));
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
        EffectWriter::begin(&mut effect, NOW).freed();
        assert_eq!(decode_effect(&effect, NOW), Ok(vec![Change::Freed]));
        effect.push(0);
        assert_eq!(decode_effect(&effect, NOW), Err(Corrupt));
        assert_eq!(decode_effect(&[VERSION], NOW), Err(Corrupt));
    }

    fn shared(holds: impl IntoIterator<Item = (Hold, Option<Limit>)>) -> Holders {
        let mut holders = Holders::Free;
        for (hold, limit) in holds {
            holders.put(Mode::Shared(limit), hold);
        }
        holders
    }

    fn encoded(holders: &Holders) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_lock(holders, NOW, &mut bytes);
        bytes
    }

    #[test]
    fn shared_holders_come_back_with_their_limits_also_under_one_fence() {
        let holders = shared([
            (held(b"a", 7, 10, 10), None),
            (held(b"b", 8, 20, 20), Limit::new(5)),
            (held(b"c", 8, 5, 20), Limit::new(9)),
        ]);
        assert_eq!(decode_lock(&encoded(&holders), NOW, Trust::Payload), Ok(holders));
    }

    #[test]
    fn holders_that_cannot_be_together_are_refused() {
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
        assert_eq!(decode_lock(&together(&[&one, &other]), NOW, Trust::Payload), Err(Corrupt), "beyond the limit");
    }

    /// A lock may be dumped when the leases of many holders have expired and one was let in who asked for a smaller limit.
    #[test]
    fn holders_whose_leases_have_run_out_do_not_count_for_limits() {
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
    fn no_more_than_the_lease_is_left_when_clocks_differ() {
        let behind = Now { unix: UnixMicros(NOW.unix.0 - 50_000_000), ..NOW };
        let Ok(Holders::Exclusive(hold)) = decode_lock(&stored(held(b"a", 7, 900, 1000)), behind, Trust::OwnData)
        else {
            panic!("a sound lock")
        };
        assert_eq!(hold.expires_at, NOW.steady + Millis(1000));
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
            assert!(decode_lock(&bytes, NOW, Trust::Stream).is_ok());
        }
        for (ahead, is_fine) in [(24 * hour, true), (24 * hour + 1, false)] {
            let bytes = stored(held(b"a", NOW.unix.0 + ahead, 10, 10));
            assert_eq!(decode_lock(&bytes, NOW, Trust::Stream).is_ok(), is_fine);
        }
    }
}
