use super::super::options::{OptionGroup, Takes};
use super::super::LEASE_MAX_MS;
use super::*;
use proptest::prelude::*;

const LEASES: Leases = Leases { default: Millis(30_000), max: Millis(LEASE_MAX_MS) };

fn acquire<'a>(line: &'a str) -> Result<AcquireRequest<'a>, BadRequest> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    AcquireRequest::parse(&args, LEASES)
}

fn extend<'a>(line: &'a str) -> Result<ExtendRequest<'a>, BadRequest> {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    ExtendRequest::parse(&args, LEASES, UnixMicros(1_000))
}

#[test]
fn options_stand_in_any_order_and_case() {
    let expected = Ok(AcquireRequest {
        owner: OwnerRef::new(b"me"),
        lease: Millis(5000),
        patience: Patience::For(Millis(9)),
        mode: Mode::Shared(Limit::new(3)),
        is_session: true,
        max: None,
        delay: None,
    });
    assert_eq!(acquire("me PX 5000 BLOCK 9 SHARED LIMIT 3 SESSION"), expected);
    assert_eq!(acquire("me session bLoCk 9 LIMIT 3 eX 5 shared"), expected);
    assert_eq!(acquire("me SHARED").map(|request| request.mode), Ok(Mode::Shared(None)));
    assert_eq!(
        acquire("me weight 2 shared limit 3 max 7").map(|request| (request.mode, request.max)),
        Ok((Mode::Shared(Limit::weighted(3, 2)), Some(Millis(7))))
    );
    assert_eq!(acquire("me delay 7").map(|request| request.delay), Ok(Some(Millis(7))));
    let args: [&[u8]; 4] = [b"me", b"downgrade", b"FENCE", b"7"];
    let request = ReleaseRequest::parse(&args).unwrap();
    assert_eq!((request.fence, request.is_downgrade, request.cool), (Fence::new(7), true, None));
    let request = ReleaseRequest::parse(&[b"me", b"cool", b"7"]).unwrap();
    assert_eq!((request.fence, request.is_downgrade, request.cool), (None, false, Some(Millis(7))));
}

#[test]
fn a_check_counts_waiters_when_it_is_asked_to() {
    let counts = |args: &[&[u8]]| CheckRequest::parse(args).map(|request| request.counts_waiters);
    assert_eq!(counts(&[b"me"]), Ok(false));
    assert_eq!(counts(&[b"me", b"waiters"]), Ok(true));
    assert_eq!(counts(&[b"me", b"WAITERS", b"Waiters"]), Err(BadRequest::Twice("WAITERS")));
    assert_eq!(counts(&[b"*", b"WAITERS"]), Err(BadRequest::OwnerStar));
    assert_eq!(counts(&[]), Err(BadRequest::Arity));
}

#[test]
fn what_is_left_out_has_its_default() {
    let request = acquire("*").unwrap();
    assert_eq!((request.owner, request.lease, request.patience), (None, Millis(30_000), Patience::None));
    assert_eq!((request.mode, request.is_session), (Mode::Exclusive, false));
    assert_eq!(acquire("me BLOCK 0").unwrap().patience, Patience::Endless);
    let extended = extend("me").unwrap();
    assert_eq!((extended.lease, extended.fence, extended.raise), (None, None, None));
}

#[test]
fn every_mistake_has_its_own_error() {
    for (line, expected) in [
        ("me PX 0", BadRequest::Px(LEASES.max)),
        ("me PX -1", BadRequest::Px(LEASES.max)),
        ("me PX 31536000001", BadRequest::Px(LEASES.max)),
        ("me PX 99999999999999999999", BadRequest::Px(LEASES.max)),
        ("me PX 1.5", BadRequest::Px(LEASES.max)),
        ("me EX 31536001", BadRequest::Ex(LEASES.max)),
        ("me EX 0", BadRequest::Ex(LEASES.max)),
        ("me BLOCK -1", BadRequest::Block),
        ("me BLOCK 9223372036854775808", BadRequest::Block),
        ("me BLOCK", BadRequest::NoValue("BLOCK")),
        ("me PX", BadRequest::NoValue("PX")),
        ("me PX 1 PX 1", BadRequest::Twice("PX")),
        ("me EX 1 ex 1", BadRequest::Twice("EX")),
        ("me BLOCK 1 BLOCK 1", BadRequest::Twice("BLOCK")),
        ("me PX 1 EX 1", BadRequest::Both("PX", "EX")),
        ("me EX 1 PX 1", BadRequest::Both("PX", "EX")),
        ("me NX", BadRequest::Unknown(b"NX".to_vec(), ACQUIRE_OPTIONS)),
        ("me LIMIT 3", BadRequest::Needs("LIMIT", "SHARED")),
        ("me SHARED LIMIT 0", BadRequest::Limit),
        ("me SHARED LIMIT 1000001", BadRequest::Limit),
        ("me SHARED LIMIT", BadRequest::NoValue("LIMIT")),
        ("me SHARED LIMIT 1 LIMIT 1", BadRequest::Twice("LIMIT")),
        ("me SHARED SHARED", BadRequest::Twice("SHARED")),
        ("me SESSION SESSION", BadRequest::Twice("SESSION")),
        ("me WEIGHT 1", BadRequest::Needs("WEIGHT", "LIMIT")),
        ("me SHARED WEIGHT 1", BadRequest::Needs("WEIGHT", "LIMIT")),
        ("me LIMIT 3 WEIGHT 1", BadRequest::Needs("LIMIT", "SHARED")),
        ("me SHARED LIMIT 3 WEIGHT 4", BadRequest::Range("WEIGHT", "", 3)),
        ("me SHARED LIMIT 3 WEIGHT 0", BadRequest::Range("WEIGHT", "", 3)),
        ("me MAX 0", BadRequest::Range("MAX", "of milliseconds ", LEASE_MAX_MS)),
        ("me MAX 31536000001", BadRequest::Range("MAX", "of milliseconds ", LEASE_MAX_MS)),
        ("me DELAY 3600001", BadRequest::Range("DELAY", "of milliseconds ", 3_600_000)),
        ("me SHARED DELAY 1", BadRequest::Both("DELAY", "SHARED")),
        ("", BadRequest::OwnerLength(0)),
    ] {
        assert_eq!(acquire(line), Err(expected), "{line}");
    }
    for (line, expected) in [
        ("* PX 1", BadRequest::OwnerStar),
        ("me FENCE 0", BadRequest::Number("FENCE")),
        ("me FENCE 9007199254740992", BadRequest::Number("FENCE")),
        ("me RAISE x", BadRequest::Number("RAISE")),
        ("me RAISE 60001001", BadRequest::RaiseTooFar(60_001_000)),
        ("me BLOCK 1", BadRequest::Unknown(b"BLOCK".to_vec(), EXTEND_OPTIONS)),
    ] {
        assert_eq!(extend(line), Err(expected), "{line}");
    }
}

/// The last of the arguments that were kept was the option, and it was told to need a value, which it had.
#[test]
fn an_option_too_many_is_kept_with_its_value() {
    let longest = "me PX 1 BLOCK 1 SHARED LIMIT 1 WEIGHT 1 SESSION MAX 1 DELAY 1";
    for (more, expected) in [
        ("", Some(BadRequest::Both("DELAY", "SHARED"))),
        (" EX 1", Some(BadRequest::Both("PX", "EX"))),
        (" EX 0", Some(BadRequest::Ex(LEASES.max))),
        (" PX 1", Some(BadRequest::Twice("PX"))),
        (" MAX 1", Some(BadRequest::Twice("MAX"))),
    ] {
        let line = [longest, more].concat();
        assert!(line.split(' ').count() <= ARGS_MAX);
        assert_eq!(acquire(&line).err(), expected, "{line}");
    }
}

#[test]
fn an_unknown_option_is_told_the_known_ones() {
    for (options, known) in [
        (ACQUIRE_OPTIONS, "one of PX, EX, BLOCK, SHARED, LIMIT, WEIGHT, SESSION, MAX, DELAY"),
        (RELEASE_OPTIONS, "one of FENCE, DOWNGRADE, COOL"),
        (EXTEND_OPTIONS, "one of PX, EX, FENCE, RAISE"),
        (CHECK_OPTIONS, "WAITERS"),
    ] {
        let text = BadRequest::Unknown(b"NX".to_vec(), options).to_string();
        assert_eq!(text, format!("ERR unknown option 'NX', expected {known}"));
    }
}

/// Each word of the table reaches its arm of the parser: it is never called unknown.
#[test]
fn every_option_of_the_table_is_read() {
    let each = |groups: &[OptionGroup], parse: &dyn Fn(&[&[u8]]) -> Option<BadRequest>| {
        groups.iter().for_each(|group| {
            group.for_each(&mut |option| {
                let line: [&[u8]; 3] = [b"me", option.word.as_bytes(), b"1"];
                let args = if option.takes == Takes::Number { &line[..] } else { &line[..2] };
                assert!(!matches!(parse(args), Some(BadRequest::Unknown(..))), "{}", option.word);
            });
        });
    };
    each(ACQUIRE_OPTIONS, &|args| AcquireRequest::parse(args, LEASES).err());
    each(RELEASE_OPTIONS, &|args| ReleaseRequest::parse(args).err());
    each(CHECK_OPTIONS, &|args| CheckRequest::parse(args).err());
    each(EXTEND_OPTIONS, &|args| ExtendRequest::parse(args, LEASES, UnixMicros(0)).err());
}

#[test]
fn error_texts_cannot_break_the_protocol() {
    let text = BadRequest::Unknown(b"x\r\n+OK\r\n\xff".to_vec(), EXTEND_OPTIONS).to_string();
    assert!(text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
}

#[test]
fn numbers_are_read_as_redis_reads_them() {
    assert_eq!(number(b"0"), Some(0));
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    for bad in [&b""[..], b"01", b"+1", b" 1", b"1 ", b"0x1", b"18446744073709551616"] {
        assert_eq!(number(bad), None, "{bad:?}");
    }
}

proptest! {
    #[test]
    fn any_arguments_are_read_or_refused(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..8)) {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        let _ = AcquireRequest::parse(&args, LEASES);
        let _ = ReleaseRequest::parse(&args);
        let _ = CheckRequest::parse(&args);
        let _ = ExtendRequest::parse(&args, LEASES, UnixMicros(0));
    }
}
