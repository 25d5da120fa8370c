//! What is written is read as the same, and what is malformed is refused.

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
        since: Steady(1_000_000),
        terms: Terms::new(Millis(lease_ms), Origin::Inherited),
        session: None,
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
        max in prop::option::of(1..=LEASE_MAX_MS), delay in prop::option::of(1..=Terms::DELAY_MAX.0), weight in 1..50u64,
    ) {
        let left = (lease as f64 * part) as u64;
        let mut hold = held(&owner, fence, left, lease);
        hold.since = hold.since.min(Steady(hold.expires_at.0 - lease as i64 * 1000));
        hold.terms = hold.terms.with(max.map(Millis), delay.map(Millis));
        prop_assert_eq!(decode_lock(&stored(hold.clone()), NOW, Trust::OwnData), Ok(Holders::Exclusive(hold.clone())));
        let limit = |weight| Mode::Shared(Limit::weighted(50 + fence % 1000, weight));
        for mode in [Mode::Exclusive, Mode::Shared(None), limit(1), limit(weight)] {
            if mode != Mode::Exclusive {
                hold.terms.clear_delay();
            }
            let mut effect = Vec::new();
            let mut writer = EffectWriter::begin(&mut effect, NOW);
            writer.held(ChangeKind::Granted, mode, &hold);
            writer.held(ChangeKind::Changed, mode, &hold);
            writer.ended(hold.owner.borrow());
            let change = |kind| Change::Held(kind, mode, hold.clone());
            let expected = vec![change(ChangeKind::Granted), change(ChangeKind::Changed), Change::Ended(hold.owner.clone())];
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
fn a_cooling_lock_is_read_as_it_was_written() {
    let cooling = Cooling { until: NOW.steady + Millis(7), length: Millis(9) };
    let bytes = encoded(&Holders::Cooling(cooling));
    assert_eq!(bytes[0], VERSION_2);
    assert_eq!(decode_lock(&bytes, NOW, Trust::Payload), Ok(Holders::Cooling(cooling)));
    let mut effect = Vec::new();
    EffectWriter::begin(&mut effect, NOW).cooling(cooling);
    assert_eq!(decode_effect(&effect, NOW), Ok(vec![Change::Cooling(cooling)]));
    // No more time is left than its length, and a payload may not last longer than a lease.
    let behind = Now { unix: UnixMicros(NOW.unix.0 - 50_000), ..NOW };
    let Ok(Holders::Cooling(read)) = decode_lock(&bytes, behind, Trust::OwnData) else { panic!("a sound lock") };
    assert_eq!(read.until, NOW.steady + Millis(9));
    let long = Cooling { until: NOW.steady + Terms::LONGEST + Millis(1), length: Terms::LONGEST };
    let bytes = encoded(&Holders::Cooling(long));
    assert_eq!(decode_lock(&bytes, NOW, Trust::Payload), Err(Corrupt));
    assert!(decode_lock(&bytes, NOW, Trust::OwnData).is_ok());
}

/// What the first version of the module wrote, it still reads: nothing is written as version 2 that need not be.
#[test]
fn what_uses_no_new_option_is_written_as_version_1() {
    let plain = held(b"a", 7, 10, 10);
    let with = |max, delay| Hold { terms: plain.terms.with(max, delay), ..plain.clone() };
    for (holders, version) in [
        (Holders::Exclusive(plain.clone()), VERSION_1),
        (shared([(plain.clone(), Limit::new(5)), (held(b"b", 8, 10, 10), None)]), VERSION_1),
        (shared([(plain.clone(), Limit::weighted(5, 2)), (held(b"b", 8, 10, 10), None)]), VERSION_2),
        (Holders::Exclusive(with(Some(Millis(5)), None)), VERSION_2),
        (Holders::Exclusive(with(None, Some(Millis(5)))), VERSION_2),
        (shared([(held(b"b", 6, 10, 10), None), (with(Some(Millis(5)), None), None)]), VERSION_2),
    ] {
        let bytes = encoded(&holders);
        assert_eq!(bytes[0], version, "{holders:?}");
        assert_eq!(decode_lock(&bytes, NOW, Trust::Payload).map(|_| ()), Ok(()), "{holders:?}");
        let as_version_1: Vec<u8> = [&[VERSION_1], &bytes[1..]].concat();
        assert_eq!(decode_lock(&as_version_1, NOW, Trust::OwnData).is_ok(), version == VERSION_1, "{holders:?}");
    }
}

#[test]
fn a_freed_lock_is_read_as_it_was_written_and_an_empty_effect_is_refused() {
    let mut effect = Vec::new();
    EffectWriter::begin(&mut effect, NOW).freed();
    assert_eq!(decode_effect(&effect, NOW), Ok(vec![Change::Freed]));
    effect.push(0);
    assert_eq!(decode_effect(&effect, NOW), Err(Corrupt));
    assert_eq!(decode_effect(&[VERSION_1], NOW), Err(Corrupt));
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
        let mut bytes = vec![VERSION_1, parts.len() as u8];
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
    let mut bytes = vec![VERSION_1];
    put_number(&mut bytes, u64::MAX);
    assert_eq!(decode_lock(&bytes, NOW, Trust::Payload), Err(Corrupt));
}

#[test]
fn no_more_time_than_the_lease_is_left_if_clocks_differ() {
    let behind = Now { unix: UnixMicros(NOW.unix.0 - 50_000_000), ..NOW };
    let Ok(Holders::Exclusive(hold)) = decode_lock(&stored(held(b"a", 7, 900, 1000)), behind, Trust::OwnData) else {
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
