//! The stored form (RDB, DUMP) and the replicated form (replicas, AOF) of a lock, versions 1 and 2.
//!
//! ```text
//! number   unsigned LEB128 of at most 64 bits, in its shortest form
//! owner    length (number, 1 to 1024) | bytes
//! hold     0 (byte: exclusive)                                  | grant
//!        | 1 (byte: shared) | limit (0: no limit)               | grant
//!        | 2 (byte: exclusive, with options) | max | delay      | grant       (version 2)
//!        | 3 (byte: shared, with options) | limit | weight | max | grant      (version 2)
//! grant    owner | fence | end | lease | grown
//!          (limit, weight, max, delay, fence, end, lease and grown are numbers)
//! cooling  until | length (numbers)
//! stored   version (byte) | count of holds (number) | hold ...
//!        | version (byte) | 0 (number) | cooling                              (version 2)
//! effect   version (byte) | change ...
//! change   1 (byte: granted) | hold
//!        | 2 (byte: changed) | hold
//!        | 3 (byte: freed)
//!        | 4 (byte: ended) | owner
//!        | 5 (byte: cooling) | cooling                                        (version 2)
//! ```
//!
//! # Versions
//! Version 2 has WEIGHT, MAX, DELAY and cooling. What uses none of them is written as version 1, which is what the first
//! versions of the module wrote and can read.
//!
//! # Changes
//! An effect tells a replica what one step changed, so its length does not depend on the number of holders.
//!
//! * *granted* and *changed* carry a hold that the lock has from now on. Either the hold began, or it goes on with
//!   another end, fence or mode. An exclusive hold replaces all holds, and a shared one replaces that of its owner.
//! * *ended* names an owner that no longer holds the lock.
//! * *cooling* says that nobody holds the lock, and that it is cooling.
//! * *freed* says that nobody holds the lock, and that it is not cooling. A DEL would say that too, but a DEL in the replication stream is an
//!   operator's: it makes a replica look for the key to which the value may have moved.
//!
//! # Times
//! `end` is the moment at which the lease expires, in unix time in milliseconds. `lease` is the length that was last
//! given to the lease, in milliseconds. `grown` is how many milliseconds before `end - lease` the hold was granted. `max`
//! (0: none) counts from there. `until` is the moment at which cooling is over, in unix time in milliseconds, and `length` how
//! long it was to last, in milliseconds.
//!
//! A form holds what was decided, never a request: the lease goes on where it is read, and does not begin anew. The
//! reader translates times to its own steady clock at once, and never lets more time be left than `lease`. So a clock
//! that differs can shorten a lease, but cannot make it longer than what was asked for.

use super::varint::{put_bytes, put_number, Reader};
use super::LEASE_MAX_MS;
use crate::lock::{Cooling, Fence, Hold, Holders, Limit, Millis, Mode, Now, Origin, Owner, OwnerRef, Steady, Terms};

/// Without WEIGHT, MAX, DELAY and cooling.
const VERSION_1: u8 = 1;
/// With them.
const VERSION_2: u8 = 2;
const HOLD_EXCLUSIVE: u8 = 0;
const HOLD_SHARED: u8 = 1;
const HOLD_EXCLUSIVE_WITH_OPTIONS: u8 = 2;
const HOLD_SHARED_WITH_OPTIONS: u8 = 3;
const KIND_GRANTED: u8 = 1;
const KIND_CHANGED: u8 = 2;
const KIND_FREED: u8 = 3;
const KIND_ENDED: u8 = 4;
const KIND_COOLING: u8 = 5;

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

/// Appends the stored form of a lock to `out`. The lock must not be free, because a free lock is not stored.
pub fn encode_lock(holders: &Holders, now: Now, out: &mut Vec<u8>) {
    let mut version = Version::begin(out);
    put_number(out, holders.len() as u64);
    if let Holders::Cooling(cooling) = holders {
        version.raise(out);
        put_cooling(out, *cooling, now);
    }
    for (mode, hold) in holders.iter() {
        put_hold(out, mode, hold, now, &mut version);
    }
}

/// The byte that tells the version of a form. It is written first, and raised when something needs it.
struct Version {
    at: usize,
}

impl Version {
    fn begin(out: &mut Vec<u8>) -> Version {
        out.push(VERSION_1);
        Version { at: out.len() - 1 }
    }

    fn raise(&mut self, out: &mut [u8]) {
        if let Some(version) = out.get_mut(self.at) {
            *version = VERSION_2;
        }
    }
}

/// Reads the version of a form. `None` if it is unknown.
fn read_version(reader: &mut Reader) -> Option<u8> {
    reader.byte().filter(|version| (VERSION_1..=VERSION_2).contains(version))
}

/// Reads a stored form. It may contain expired holds, which the next step of the lock ends.
///
/// An error is returned if the bytes are malformed, if an owner holds twice, if an exclusive hold is not alone, or if
/// the lock breaks a limit that applies to bytes of this [`Trust`].
pub fn decode_lock(bytes: &[u8], now: Now, trust: Trust) -> Result<Holders, Corrupt> {
    let mut reader = Reader::new(bytes);
    let version = read_version(&mut reader).ok_or(Corrupt)?;
    let count = reader.number().ok_or(Corrupt)?;
    if count == 0 && version >= VERSION_2 {
        let cooling = read_cooling(&mut reader, now, trust).filter(|_| reader.is_done()).ok_or(Corrupt)?;
        return Ok(Holders::Cooling(cooling));
    }
    let mut holders = Holders::Free;
    for _ in 0..count {
        let (mode, hold) = read_hold(&mut reader, now, trust, version).ok_or(Corrupt)?;
        // An owner may hold once, and an exclusive hold must be the only one.
        let has_place = match (&holders, mode) {
            (Holders::Free | Holders::Cooling(_), _) => true,
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

/// What happened to the hold of a [`Change::Held`].
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
    Held(ChangeKind, Mode, Hold),
    /// This owner no longer holds the lock. Others may.
    Ended(Owner),
    /// Nobody holds the lock, and it is cooling.
    Cooling(Cooling),
    /// Nobody holds the lock.
    Freed,
}

/// Writes an effect, one change after the other. At least one must be written.
pub struct EffectWriter<'a> {
    out: &'a mut Vec<u8>,
    now: Now,
    version: Version,
}

impl EffectWriter<'_> {
    /// Begins an effect at the end of `out`. `now` is the time at which it happens.
    pub fn begin(out: &mut Vec<u8>, now: Now) -> EffectWriter<'_> {
        let version = Version::begin(out);
        EffectWriter { out, now, version }
    }

    /// Writes that the lock has this hold now.
    pub fn held(&mut self, kind: ChangeKind, mode: Mode, hold: &Hold) {
        self.out.push(match kind {
            ChangeKind::Granted => KIND_GRANTED,
            ChangeKind::Changed => KIND_CHANGED,
        });
        put_hold(self.out, mode, hold, self.now, &mut self.version);
    }

    /// Writes that this owner no longer holds the lock, while others do.
    pub fn ended(&mut self, owner: OwnerRef) {
        self.out.push(KIND_ENDED);
        put_bytes(self.out, owner.as_bytes());
    }

    /// Writes that nobody holds the lock, and that it is cooling.
    pub fn cooling(&mut self, cooling: Cooling) {
        self.version.raise(self.out);
        self.out.push(KIND_COOLING);
        put_cooling(self.out, cooling, self.now);
    }

    /// Writes that nobody holds the lock.
    pub fn freed(&mut self) {
        self.out.push(KIND_FREED);
    }
}

/// Reads an effect. An error is returned if the bytes are malformed or contain no change.
pub fn decode_effect(bytes: &[u8], now: Now) -> Result<Vec<Change>, Corrupt> {
    let mut reader = Reader::new(bytes);
    let version = read_version(&mut reader).filter(|_| !reader.is_done()).ok_or(Corrupt)?;
    let mut changes = Vec::with_capacity(1);
    while !reader.is_done() {
        changes.push(read_change(&mut reader, now, version).ok_or(Corrupt)?);
    }
    Ok(changes)
}

/// Reads one change. `None` if the bytes are malformed.
fn read_change(reader: &mut Reader, now: Now, version: u8) -> Option<Change> {
    let held = |reader: &mut Reader, kind| {
        read_hold(reader, now, Trust::OwnData, version).map(|(mode, hold)| Change::Held(kind, mode, hold))
    };
    match reader.byte()? {
        KIND_GRANTED => held(reader, ChangeKind::Granted),
        KIND_CHANGED => held(reader, ChangeKind::Changed),
        KIND_FREED => Some(Change::Freed),
        KIND_COOLING if version >= VERSION_2 => read_cooling(reader, now, Trust::OwnData).map(Change::Cooling),
        KIND_ENDED => Some(Change::Ended(OwnerRef::new(reader.bytes()?)?.to_owner())),
        _ => None,
    }
}

/// Appends a hold.
fn put_hold(out: &mut Vec<u8>, mode: Mode, hold: &Hold, now: Now, version: &mut Version) {
    let (terms, end) = (hold.terms, to_unix_ms(hold.expires_at, now));
    let begun = end.saturating_sub(terms.lease().0);
    let (max, delay) = (terms.max().map_or(0, |max| max.0), terms.delay().map_or(0, |delay| delay.0));
    match mode {
        Mode::Exclusive if max == 0 && delay == 0 => out.push(HOLD_EXCLUSIVE),
        Mode::Exclusive => {
            version.raise(out);
            out.push(HOLD_EXCLUSIVE_WITH_OPTIONS);
            put_number(out, max);
            put_number(out, delay);
        }
        Mode::Shared(limit) => {
            let (units, weight) = limit.map_or((0, 1), |limit| (limit.units(), limit.weight()));
            let has_options = max != 0 || weight != 1;
            out.push(if has_options { HOLD_SHARED_WITH_OPTIONS } else { HOLD_SHARED });
            put_number(out, units.into());
            if has_options {
                version.raise(out);
                put_number(out, weight.into());
                put_number(out, max);
            }
        }
    }
    put_bytes(out, hold.owner.as_bytes());
    put_number(out, hold.fence.get());
    put_number(out, end);
    put_number(out, terms.lease().0);
    put_number(out, begun.saturating_sub(to_unix_ms(hold.since, now)));
}

/// Reads a hold. `None` if the bytes are malformed, or if a time or the fence is too far ahead of the clock.
fn read_hold(reader: &mut Reader, now: Now, trust: Trust, version: u8) -> Option<(Mode, Hold)> {
    let (mut max, mut delay) = (None, None);
    let mode = match reader.byte()? {
        HOLD_EXCLUSIVE => Mode::Exclusive,
        HOLD_SHARED => read_shared(reader.number()?, 1)?,
        HOLD_EXCLUSIVE_WITH_OPTIONS if version >= VERSION_2 => {
            max = read_option(reader, Terms::LONGEST)?;
            delay = read_option(reader, Terms::DELAY_MAX)?;
            Mode::Exclusive
        }
        HOLD_SHARED_WITH_OPTIONS if version >= VERSION_2 => {
            let mode = read_shared(reader.number()?, reader.number()?)?;
            max = read_option(reader, Terms::LONGEST)?;
            mode
        }
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
    let (expires_at, mut since) = (end.min(now.steady + lease), from_unix_ms(since_ms, now));
    if max.is_some() {
        // By a clock that is behind, the grant is still to come. MAX counts from now then.
        since = since.min(now.steady);
    }
    let terms = Terms::new(lease, Origin::Inherited).with(max, delay);
    Some((mode, Hold { owner, fence, expires_at, since, terms, session: None }))
}

/// A shared mode with this limit (0: none) and weight. `None` if they do not fit together.
fn read_shared(units: u64, weight: u64) -> Option<Mode> {
    match (units, weight) {
        (0, 1) => Some(Mode::Shared(None)),
        (0, _) => None,
        (units, weight) => Limit::weighted(units, weight).map(|limit| Mode::Shared(Some(limit))),
    }
}

/// Reads an option that is a length of time, 0 if the hold does not have it. The outer `None`: it is too long.
fn read_option(reader: &mut Reader, longest: Millis) -> Option<Option<Millis>> {
    let length = reader.number().filter(|ms| *ms <= longest.0)?;
    Some((length > 0).then_some(Millis(length)))
}

/// Appends cooling.
fn put_cooling(out: &mut Vec<u8>, cooling: Cooling, now: Now) {
    put_number(out, to_unix_ms(cooling.until, now));
    put_number(out, cooling.length.0);
}

/// Reads cooling. `None` if the bytes are malformed, or if it would last too long.
fn read_cooling(reader: &mut Reader, now: Now, trust: Trust) -> Option<Cooling> {
    let until = from_unix_ms(reader.number()?, now);
    let length = Millis(reader.number().filter(|ms| (1..=Terms::LONGEST.0).contains(ms))?);
    if trust == Trust::Payload && until > now.steady + Terms::LONGEST {
        return None;
    }
    Some(Cooling { until: until.min(now.steady + length), length })
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
mod tests;
