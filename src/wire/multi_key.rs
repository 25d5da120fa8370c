//! The arguments of the commands with several keys: LOCK.MACQUIRE, LOCK.MRELEASE and LOCK.MEXTEND.

use smallvec::SmallVec;

use super::errors::BadRequest;
use super::options::{args_max, KEYS_MAX, MACQUIRE_OPTIONS};
use super::request::{named_not_star, number, AcquireRequest, ExtendRequest, Leases};
use crate::lock::OwnerRef;

/// The number of arguments that a command with several keys reads: the number of keys, the keys, the owner, every option with
/// its value, and one more word with its value, which is a doubled or unknown option.
pub const WORDS_MAX: usize = 1 + KEYS_MAX + args_max(MACQUIRE_OPTIONS) + 2;

/// The keys at the front of the arguments, and what follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysFirst<'a, 'b> {
    /// The keys. No two are equal.
    pub keys: &'b [&'a [u8]],
    /// What follows.
    pub args: &'b [&'a [u8]],
}

impl<'a, 'b> KeysFirst<'a, 'b> {
    /// Reads `numkeys key [key ...]`. At least one argument must follow.
    pub fn parse(words: &'b [&'a [u8]]) -> Result<Self, BadRequest> {
        let (count, rest) = words.split_first().ok_or(BadRequest::Arity)?;
        let count = number(count).and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| (1..=KEYS_MAX).contains(count)).ok_or(BadRequest::NumKeys)?;
        let (keys, args) =
            rest.split_at_checked(count).filter(|(_, args)| !args.is_empty()).ok_or(BadRequest::TooFewKeys)?;
        let mut sorted: SmallVec<[&[u8]; 8]> = keys.into();
        sorted.sort_unstable();
        let twice = sorted.iter().zip(sorted.iter().skip(1)).find(|(one, next)| one == next);
        match twice {
            Some((key, _)) => Err(BadRequest::KeyTwice(key.to_vec())),
            None => Ok(KeysFirst { keys, args }),
        }
    }
}

/// `LOCK.MACQUIRE numkeys key [key ...] owner [PX ms | EX s] [BLOCK ms] [SHARED] [SESSION] [MAX ms]`: what follows the keys.
pub fn parse_macquire<'a>(args: &[&'a [u8]], leases: Leases) -> Result<AcquireRequest<'a>, BadRequest> {
    AcquireRequest::parse_multi_key(args, leases)
}

/// `LOCK.MRELEASE numkeys key [key ...] owner`: what follows the keys.
pub fn parse_mrelease<'a>(args: &[&'a [u8]]) -> Result<OwnerRef<'a>, BadRequest> {
    match args {
        [owner] => named_not_star(owner),
        _ => Err(BadRequest::Arity),
    }
}

/// `LOCK.MEXTEND numkeys key [key ...] owner [PX ms | EX s]`: what follows the keys.
pub fn parse_mextend<'a>(args: &[&'a [u8]], leases: Leases) -> Result<ExtendRequest<'a>, BadRequest> {
    ExtendRequest::parse_multi_key(args, leases)
}

#[cfg(test)]
mod tests {
    use super::super::LEASE_MAX_MS;
    use super::*;
    use crate::lock::{Millis, Mode};
    use crate::wire::Patience;

    const LEASES: Leases = Leases { default: Millis(30_000), max: Millis(LEASE_MAX_MS) };

    fn words(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn keys_are_counted_and_each_is_named_once() {
        let parse = |line| KeysFirst::parse(&words(line)).map(|first| (first.keys.len(), first.args.len()));
        assert_eq!(parse("1 a me"), Ok((1, 1)));
        assert_eq!(parse("3 a b c me PX 5"), Ok((3, 3)));
        assert_eq!(parse("0 me"), Err(BadRequest::NumKeys));
        assert_eq!(parse("65 a me"), Err(BadRequest::NumKeys));
        assert_eq!(parse("-1 a me"), Err(BadRequest::NumKeys));
        assert_eq!(parse("99999999999999999999 a me"), Err(BadRequest::NumKeys));
        assert_eq!(parse("x a me"), Err(BadRequest::NumKeys));
        assert_eq!(parse("2 a me"), Err(BadRequest::TooFewKeys));
        assert_eq!(parse("2 a"), Err(BadRequest::TooFewKeys));
        assert_eq!(parse("3 b a b me"), Err(BadRequest::KeyTwice(b"b".to_vec())));
        assert_eq!(KeysFirst::parse(&[]), Err(BadRequest::Arity));
        let names: Vec<String> = (0..KEYS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(parse(&format!("64 {} me", names.join(" "))), Ok((64, 1)));
    }

    #[test]
    fn macquire_knows_no_limit_no_weight_and_no_delay() {
        let request = parse_macquire(&words("* PX 5 BLOCK 7 SHARED SESSION MAX 9"), LEASES).unwrap();
        assert_eq!((request.owner, request.lease, request.patience), (None, Millis(5), Patience::For(Millis(7))));
        assert_eq!((request.mode, request.is_session, request.max), (Mode::Shared(None), true, Some(Millis(9))));
        for option in ["LIMIT", "WEIGHT", "DELAY"] {
            let unknown = BadRequest::Unknown(option.into(), MACQUIRE_OPTIONS);
            let line = format!("me {option} 2");
            assert_eq!(parse_macquire(&words(&line), LEASES), Err(unknown));
        }
        assert_eq!(parse_macquire(&words("me PX 5 EX 5"), LEASES), Err(BadRequest::Both("PX", "EX")));
    }

    #[test]
    fn mrelease_and_mextend_need_a_named_owner() {
        assert_eq!(parse_mrelease(&words("me")), Ok(OwnerRef::new(b"me").unwrap()));
        assert_eq!(parse_mrelease(&words("me FENCE 5")), Err(BadRequest::Arity));
        assert_eq!(parse_mrelease(&words("*")), Err(BadRequest::OwnerStar));
        let extend = |line| parse_mextend(&words(line), LEASES);
        assert_eq!(extend("me EX 5").map(|request| request.lease), Ok(Some(Millis(5000))));
        assert_eq!(extend("me").map(|request| request.lease), Ok(None));
        assert_eq!(extend("*"), Err(BadRequest::OwnerStar));
        assert!(matches!(extend("me FENCE 5"), Err(BadRequest::Unknown(..))));
    }
}
