//! The target `arguments`: a command and its arguments, as any client may send them.
//!
//! The bytes are lines, and every line but the first is an argument. The first letter of the first line chooses the
//! command. A stands for LOCK.ACQUIRE, R for LOCK.RELEASE, E for LOCK.EXTEND, L for LOCK.LIST, T for LOCK.TOP, M
//! for LOCK.MACQUIRE, N for LOCK.MRELEASE, O for LOCK.MEXTEND, and any other byte for LOCK.CHECK.

use std::collections::BTreeSet;

use super::NOW;
use crate::lock::{Fence, FenceClock, Millis, Mode, OwnerRef, Terms};
use crate::wire::errors::BadRequest;
use crate::wire::{
    parse_macquire, parse_mextend, parse_mrelease, AcquireRequest, CheckRequest, ExtendRequest, KeysFirst, Leases,
    ListRequest, Order, Patience, ReleaseRequest, TopRequest, ARGS_MAX, LEASE_MAX_MS, WORDS_MAX,
};

/// The default settings, and the strictest that are possible.
const LEASES: [Leases; 2] =
    [Leases { default: Millis(30_000), max: Millis(LEASE_MAX_MS) }, Leases { default: Millis(1), max: Millis(1) }];

/// The longest that an error text may be, in bytes. It names the argument and its range, and quotes only the beginning
/// of what the client sent.
const ERROR_LEN_MAX: usize = 300;

/// A request of any of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request<'a> {
    Acquire(AcquireRequest<'a>),
    Release(ReleaseRequest<'a>),
    Extend(ExtendRequest<'a>),
    Check(CheckRequest<'a>),
    List(ListRequest<'a>),
    Top(TopRequest),
}

/// The arguments of a command.
type Args<'a> = Vec<&'a [u8]>;

/// Parses the bytes as a request. Panics if a request was accepted that should not be, or if an error text is
/// unsuitable.
pub fn parse(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let command = lines.next().and_then(|name| name.first()).copied().unwrap_or_default();
    let args: Args = lines.collect();
    if matches!(command, b'M' | b'N' | b'O') {
        return LEASES.into_iter().for_each(|leases| parse_several(command, &args, leases));
    }
    for leases in LEASES {
        let read = |args: &[&[u8]]| read(command, args, leases).map(|request| spell(&request, leases));
        let parsed = read(&args);
        match &parsed {
            Ok(shortest) => {
                // Another way to write the same request must lead to the same request.
                let shortest: Args = shortest.iter().map(Vec::as_slice).collect();
                assert_eq!(read(&shortest), parsed, "the shortest way to write it means something else");
                let capitals: Vec<Vec<u8>> = args.iter().skip(1).map(|arg| arg.to_ascii_uppercase()).collect();
                let capitals: Args = args.iter().take(1).copied().chain(capitals.iter().map(Vec::as_slice)).collect();
                // A pattern and the owner that LOCK.LIST is asked for are not the same in capital letters.
                let is_same = command == b'L' || read(&capitals) == parsed;
                assert!(is_same, "it means something else in capital letters: {parsed:?}");
                assert!(args.len() <= ARGS_MAX, "a request has more than {ARGS_MAX} arguments");
            }
            Err(bad) => {
                check_text(bad);
                // A command keeps only as many arguments as a request can have. The error must be the same without the
                // others.
                let kept = args.get(..ARGS_MAX).unwrap_or(&args);
                assert_eq!(read(kept), parsed, "the error is another one with the first {ARGS_MAX} arguments only");
            }
        }
    }
}

/// Panics if the text of an error is unsuitable.
fn check_text(bad: &BadRequest) {
    let text = bad.to_string();
    assert!(text.starts_with("ERR ") && text.len() <= ERROR_LEN_MAX, "{text}");
    assert!(
        text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{text:?} has a character that an error reply must not have"
    );
}

/// Parses the words after the name of a command with several keys, as [`parse`] does those of the others.
fn parse_several(command: u8, words: &[&[u8]], leases: Leases) {
    let read = |words: &[&[u8]]| -> Result<usize, BadRequest> {
        let KeysFirst { keys, args } = KeysFirst::parse(words)?;
        let unique: BTreeSet<_> = keys.iter().collect();
        assert!(unique.len() == keys.len() && (1..=64).contains(&keys.len()), "{keys:?}");
        // What the command of one key makes of the same arguments.
        let (is_same, alone) = match command {
            b'M' => {
                let request = parse_macquire(args, leases)?;
                let alone = AcquireRequest::parse(args, leases);
                (alone == Ok(request), alone.err())
            }
            b'N' => {
                let owner = parse_mrelease(args)?;
                let alone = ReleaseRequest::parse(args);
                (alone.as_ref().is_ok_and(|alone| alone.owner == owner), alone.err())
            }
            _ => {
                let request = parse_mextend(args, leases)?;
                let alone = ExtendRequest::parse(args, leases, NOW.unix);
                (alone == Ok(request), alone.err())
            }
        };
        assert!(is_same, "the command of one key means something else: {alone:?}");
        Ok(keys.len())
    };
    let parsed = read(words);
    if let Err(bad) = &parsed {
        check_text(bad);
    }
    let kept = words.get(..WORDS_MAX).unwrap_or(words);
    assert_eq!(read(kept), parsed, "it is another request with the first {WORDS_MAX} words only");
}

/// Parses a request of the command that this letter stands for.
fn read<'a>(command: u8, args: &[&'a [u8]], leases: Leases) -> Result<Request<'a>, BadRequest> {
    match command {
        b'A' => AcquireRequest::parse(args, leases).map(Request::Acquire),
        b'R' => ReleaseRequest::parse(args).map(Request::Release),
        b'E' => ExtendRequest::parse(args, leases, NOW.unix).map(Request::Extend),
        b'L' => {
            let (cursor, args) = args.split_first().ok_or(BadRequest::Arity)?;
            ListRequest::parse(cursor, args).map(Request::List)
        }
        b'T' => TopRequest::parse(args).map(Request::Top),
        _ => CheckRequest::parse(args).map(Request::Check),
    }
}

/// The arguments of a request in their shortest form. Panics if a value is out of its range.
fn spell(request: &Request, leases: Leases) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    match request {
        Request::Acquire(asked) => {
            args.push(asked.owner.map_or(b"*".to_vec(), named));
            put(&mut args, "PX", Some(lease(asked.lease, leases)));
            match asked.patience {
                Patience::None => {}
                Patience::For(wait) => {
                    assert!((1..=i64::MAX as u64).contains(&wait.0));
                    put(&mut args, "BLOCK", Some(wait.0));
                }
                Patience::Endless => put(&mut args, "BLOCK", Some(0)),
            }
            match asked.mode {
                Mode::Exclusive => {}
                Mode::Shared(limit) => {
                    put_flag(&mut args, "SHARED", true);
                    put(&mut args, "LIMIT", limit.map(|limit| limit.units().into()));
                    put(&mut args, "WEIGHT", limit.map(|limit| limit.weight().into()));
                }
            }
            put_flag(&mut args, "SESSION", asked.is_session);
            put(&mut args, "MAX", asked.max.map(|max| within(max, Terms::LONGEST)));
            put(&mut args, "DELAY", asked.delay.map(|delay| within(delay, Terms::DELAY_MAX)));
        }
        Request::Release(asked) => {
            args.push(named(asked.owner));
            put(&mut args, "FENCE", asked.fence.map(Fence::get));
            put_flag(&mut args, "DOWNGRADE", asked.is_downgrade);
            put(&mut args, "COOL", asked.cool.map(|cool| within(cool, Terms::LONGEST)));
        }
        Request::Extend(asked) => {
            args.push(named(asked.owner));
            put(&mut args, "PX", asked.lease.map(|asked| lease(asked, leases)));
            put(&mut args, "FENCE", asked.fence.map(Fence::get));
            assert!(asked.raise.is_none_or(|raise| raise.get() <= FenceClock::raise_max(NOW.unix)));
            put(&mut args, "RAISE", asked.raise.map(Fence::get));
        }
        Request::Check(asked) => {
            args.push(named(asked.owner));
            put_flag(&mut args, "WAITERS", asked.counts_waiters);
        }
        Request::List(asked) => {
            // The place 0 has two cursors.
            args.push(if asked.from == 0 { "0".into() } else { (u64::from(asked.from) + 1).to_string().into() });
            put(&mut args, "COUNT", Some(asked.count as u64));
            if let Some(pattern) = asked.pattern {
                args.extend([b"MATCH".to_vec(), pattern.as_bytes().to_vec()]);
            }
            if let Some(owner) = asked.owner {
                args.extend([b"OWNER".to_vec(), named(owner)]);
            }
        }
        Request::Top(asked) => {
            put(&mut args, "COUNT", Some(asked.count as u64));
            let order: &[u8] = match asked.order {
                Order::Waiters => b"WAITERS",
                Order::Waited => b"WAITED",
            };
            args.extend([b"BY".to_vec(), order.to_vec()]);
        }
    }
    args
}

/// The lease in milliseconds. Panics if it is out of range.
fn lease(asked: Millis, leases: Leases) -> u64 {
    within(asked, leases.max)
}

/// A length of time in milliseconds. Panics if it is out of range.
fn within(length: Millis, longest: Millis) -> u64 {
    assert!((1..=longest.0).contains(&length.0), "{length:?}");
    length.0
}

/// The owner's name. Panics if it is not a valid one.
fn named(owner: OwnerRef) -> Vec<u8> {
    assert!(owner.as_bytes() != b"*" && (1..=1024).contains(&owner.as_bytes().len()));
    owner.as_bytes().to_vec()
}

/// Appends an option with its value, if it has one.
fn put(args: &mut Vec<Vec<u8>>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        args.extend([name.into(), value.to_string().into()]);
    }
}

/// Appends an option without a value, if it is set.
fn put_flag(args: &mut Vec<Vec<u8>>, name: &str, is_set: bool) {
    if is_set {
        args.push(name.into());
    }
}
