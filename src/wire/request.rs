//! Arguments to requests. Past this file there are no raw strings and no bare numbers.

use super::errors::BadRequest;
use super::options::{
    args_max, OptionRow, ACQUIRE_OPTIONS, BLOCK, CHECK_OPTIONS, COOL, DELAY, DOWNGRADE, EX, EXTEND_OPTIONS, FENCE,
    LIMIT, MAX, PX, RAISE, RELEASE_OPTIONS, SESSION, SHARED, WAITERS, WEIGHT,
};
use crate::lock::{Fence, FenceClock, Limit, Millis, Mode, OwnerRef, Terms, UnixMicros};

/// The number of arguments after the key that a command reads. LOCK.ACQUIRE has the most options. What follows each of them
/// once need not be read: the next argument is a doubled or unknown option already, and its value comes after it.
pub const ARGS_MAX: usize = args_max(ACQUIRE_OPTIONS) + 2;
const _: () = assert!(args_max(RELEASE_OPTIONS) + 2 <= ARGS_MAX && args_max(EXTEND_OPTIONS) + 2 <= ARGS_MAX);

/// How long a request may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all.
    None,
    /// That long.
    For(Millis),
    /// Without limit.
    Endless,
}

/// Which leases may be asked for now (settings `default-lease`, `max-lease`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leases {
    /// The lease of a request that names none.
    pub default: Millis,
    /// The longest.
    pub max: Millis,
}

/// `LOCK.ACQUIRE key owner [PX ms | EX s] [BLOCK ms] [SHARED [LIMIT n [WEIGHT w]]] [SESSION] [MAX ms] [DELAY ms]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireRequest<'a> {
    /// For whom; `None` for `*`: the server makes one.
    pub owner: Option<OwnerRef<'a>>,
    /// For how long.
    pub lease: Millis,
    /// How long to wait.
    pub patience: Patience,
    /// How to hold.
    pub mode: Mode,
    /// Whether the hold ends with the connection.
    pub is_session: bool,
    /// The longest that the hold may last.
    pub max: Option<Millis>,
    /// How long the lock is cooling after a hold that was not released.
    pub delay: Option<Millis>,
}

/// `LOCK.RELEASE key owner [FENCE n] [DOWNGRADE | COOL ms]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReleaseRequest<'a> {
    /// Whose hold.
    pub owner: OwnerRef<'a>,
    /// Only the hold with this fence.
    pub fence: Option<Fence>,
    /// Makes an exclusive hold a shared one instead of ending it.
    pub is_downgrade: bool,
    /// How long the lock is cooling after the release.
    pub cool: Option<Millis>,
}

/// `LOCK.CHECK key owner [WAITERS]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckRequest<'a> {
    /// Whose hold.
    pub owner: OwnerRef<'a>,
    /// Whether to tell how many clients wait.
    pub counts_waiters: bool,
}

/// `LOCK.EXTEND key owner [PX ms | EX s] [FENCE n] [RAISE n]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendRequest<'a> {
    /// Whose hold.
    pub owner: OwnerRef<'a>,
    /// The lease from now; `None`: as long as it was last given.
    pub lease: Option<Millis>,
    /// Only the hold with this fence.
    pub fence: Option<Fence>,
    /// The least that the fence is to be.
    pub raise: Option<Fence>,
}

impl<'a> AcquireRequest<'a> {
    /// Reads what follows the key.
    pub fn parse(args: &[&'a [u8]], leases: Leases) -> Result<Self, BadRequest> {
        let (owner, mut options) = split(args)?;
        let (mut lease, mut block, mut shared, mut limit, mut session) = (Lease::default(), None, None, None, None);
        let (mut weight, mut max, mut delay) = (None, None, None);
        while let Some(name) = options.next() {
            if lease.read(name, &mut options, leases.max)? {
            } else if BLOCK.is(name) {
                let number = options.value(&BLOCK, &block)?;
                block = Some(number.filter(|ms| *ms <= i64::MAX as u64).ok_or(BadRequest::Block)?);
            } else if SHARED.is(name) {
                shared = Some(options.flag(&SHARED, &shared)?);
            } else if LIMIT.is(name) {
                let number = options.value(&LIMIT, &limit)?;
                limit = Some(number.and_then(Limit::new).ok_or(BadRequest::Limit)?);
            } else if SESSION.is(name) {
                session = Some(options.flag(&SESSION, &session)?);
            } else if WEIGHT.is(name) {
                weight = Some(options.value(&WEIGHT, &weight)?);
            } else if MAX.is(name) {
                max = Some(options.length(&MAX, &max, leases.max)?);
            } else if DELAY.is(name) {
                delay = Some(options.length(&DELAY, &delay, Terms::DELAY_MAX)?);
            } else {
                return Err(BadRequest::Unknown(name.into(), ACQUIRE_OPTIONS));
            }
        }
        let limit = match (limit, weight) {
            (limit, None) => limit,
            (None, Some(_)) => return Err(BadRequest::Needs(WEIGHT.word, LIMIT.word)),
            (Some(limit), Some(weight)) => {
                let weighted = weight.and_then(|weight| Limit::weighted(limit.units().into(), weight));
                Some(weighted.ok_or(BadRequest::Range(WEIGHT.word, "", limit.units().into()))?)
            }
        };
        let mode = match (shared, limit) {
            (None, None) => Mode::Exclusive,
            (None, Some(_)) => return Err(BadRequest::Needs(LIMIT.word, SHARED.word)),
            (Some(()), _) if delay.is_some() => return Err(BadRequest::Both(DELAY.word, SHARED.word)),
            (Some(()), limit) => Mode::Shared(limit),
        };
        let patience = match block {
            None => Patience::None,
            Some(0) => Patience::Endless,
            Some(ms) => Patience::For(Millis(ms)),
        };
        let owner = if owner == b"*" { None } else { Some(named(owner)?) };
        let lease = lease.get().unwrap_or(leases.default);
        Ok(AcquireRequest { owner, lease, patience, mode, is_session: session.is_some(), max, delay })
    }
}

impl<'a> ReleaseRequest<'a> {
    /// Reads what follows the key.
    pub fn parse(args: &[&'a [u8]]) -> Result<Self, BadRequest> {
        let (owner, mut options) = split(args)?;
        let (mut fence, mut downgrade, mut cool) = (None, None, None);
        while let Some(name) = options.next() {
            if FENCE.is(name) {
                fence = Some(options.fence(&FENCE, &fence)?);
            } else if DOWNGRADE.is(name) {
                downgrade = Some(options.flag(&DOWNGRADE, &downgrade)?);
            } else if COOL.is(name) {
                cool = Some(options.length(&COOL, &cool, Terms::LONGEST)?);
            } else {
                return Err(BadRequest::Unknown(name.into(), RELEASE_OPTIONS));
            }
        }
        if downgrade.is_some() && cool.is_some() {
            return Err(BadRequest::Both(DOWNGRADE.word, COOL.word));
        }
        Ok(ReleaseRequest { owner: named_not_star(owner)?, fence, is_downgrade: downgrade.is_some(), cool })
    }
}

impl<'a> CheckRequest<'a> {
    /// Reads what follows the key.
    pub fn parse(args: &[&'a [u8]]) -> Result<Self, BadRequest> {
        let (owner, mut options) = split(args)?;
        let mut waiters = None;
        while let Some(name) = options.next() {
            if WAITERS.is(name) {
                waiters = Some(options.flag(&WAITERS, &waiters)?);
            } else {
                return Err(BadRequest::Unknown(name.into(), CHECK_OPTIONS));
            }
        }
        Ok(CheckRequest { owner: named_not_star(owner)?, counts_waiters: waiters.is_some() })
    }
}

impl<'a> ExtendRequest<'a> {
    /// Reads what follows the key. `now` bounds RAISE.
    pub fn parse(args: &[&'a [u8]], leases: Leases, now: UnixMicros) -> Result<Self, BadRequest> {
        let (owner, mut options) = split(args)?;
        let (mut lease, mut fence, mut raise) = (Lease::default(), None, None);
        while let Some(name) = options.next() {
            if lease.read(name, &mut options, leases.max)? {
            } else if FENCE.is(name) {
                fence = Some(options.fence(&FENCE, &fence)?);
            } else if RAISE.is(name) {
                raise = Some(options.fence(&RAISE, &raise)?);
            } else {
                return Err(BadRequest::Unknown(name.into(), EXTEND_OPTIONS));
            }
        }
        let raise_max = FenceClock::raise_max(now);
        if raise.is_some_and(|raise| raise.get() > raise_max) {
            return Err(BadRequest::RaiseTooFar(raise_max));
        }
        Ok(ExtendRequest { owner: named_not_star(owner)?, lease: lease.get(), fence, raise })
    }
}

/// The owner, and the options behind it.
fn split<'a, 'b>(args: &'b [&'a [u8]]) -> Result<(&'a [u8], Options<'a, 'b>), BadRequest> {
    let (owner, options) = args.split_first().ok_or(BadRequest::Arity)?;
    Ok((owner, Options::new(options)))
}

fn named(owner: &[u8]) -> Result<OwnerRef<'_>, BadRequest> {
    OwnerRef::new(owner).ok_or(BadRequest::OwnerLength(owner.len()))
}

/// An owner that the client must name.
pub(super) fn named_not_star(owner: &[u8]) -> Result<OwnerRef<'_>, BadRequest> {
    if owner == b"*" {
        return Err(BadRequest::OwnerStar);
    }
    named(owner)
}

/// The words of the options.
pub(super) struct Options<'a, 'b>(std::slice::Iter<'b, &'a [u8]>);

impl<'a, 'b> Options<'a, 'b> {
    /// All of these words.
    pub fn new(words: &'b [&'a [u8]]) -> Options<'a, 'b> {
        Options(words.iter())
    }

    /// The next word.
    pub fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next().copied()
    }

    /// The value of an option that must not have been read `before`; the inner `None` means that it is no number.
    pub fn value<T>(&mut self, option: &OptionRow, before: &Option<T>) -> Result<Option<u64>, BadRequest> {
        self.text(option, before).map(number)
    }

    /// The value of an option that must not have been read `before`: any bytes.
    pub fn text<T>(&mut self, option: &OptionRow, before: &Option<T>) -> Result<&'a [u8], BadRequest> {
        if before.is_some() {
            return Err(BadRequest::Twice(option.word));
        }
        self.next().ok_or(BadRequest::NoValue(option.word))
    }

    /// An option without a value, which must not have been read `before`.
    fn flag(&mut self, option: &OptionRow, before: &Option<()>) -> Result<(), BadRequest> {
        before.is_none().then_some(()).ok_or(BadRequest::Twice(option.word))
    }

    /// A length of time from 1 ms to `max`.
    fn length(&mut self, option: &OptionRow, before: &Option<Millis>, max: Millis) -> Result<Millis, BadRequest> {
        let number = self.value(option, before)?.filter(|ms| (1..=max.0).contains(ms));
        number.map(Millis).ok_or(BadRequest::Range(option.word, "of milliseconds ", max.0))
    }

    fn fence(&mut self, option: &OptionRow, before: &Option<Fence>) -> Result<Fence, BadRequest> {
        self.value(option, before)?.and_then(Fence::new).ok_or(BadRequest::Number(option.word))
    }
}

/// PX and EX: one lease in two units.
#[derive(Default)]
struct Lease {
    px: Option<u64>,
    ex: Option<u64>,
}

impl Lease {
    /// Reads the option if it is one of the two.
    fn read(&mut self, name: &[u8], options: &mut Options, max: Millis) -> Result<bool, BadRequest> {
        let allowed = |max: u64| move |number: &u64| (1..=max).contains(number);
        let [unit, b'X' | b'x'] = name else { return Ok(false) };
        if unit.eq_ignore_ascii_case(&b'P') {
            let number = options.value(&PX, &self.px)?;
            self.px = Some(number.filter(allowed(max.0)).ok_or(BadRequest::Px(max))?);
        } else if unit.eq_ignore_ascii_case(&b'E') {
            let number = options.value(&EX, &self.ex)?;
            self.ex = Some(number.filter(allowed(max.0 / 1000)).ok_or(BadRequest::Ex(max))?);
        } else {
            return Ok(false);
        }
        if self.px.is_some() && self.ex.is_some() {
            return Err(BadRequest::Both(PX.word, EX.word));
        }
        Ok(true)
    }

    fn get(&self) -> Option<Millis> {
        self.px.or(self.ex.map(|s| s * 1000)).map(Millis)
    }
}

/// A number in plain decimal digits, as Redis reads them: no sign, no space, no leading zero.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let leading_zero = digits.len() > 1 && digits.first() == Some(&b'0');
    if digits.is_empty() || leading_zero {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
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
            (ACQUIRE_OPTIONS, "PX, EX, BLOCK, SHARED, LIMIT, WEIGHT, SESSION, MAX, DELAY"),
            (RELEASE_OPTIONS, "FENCE, DOWNGRADE, COOL"),
            (EXTEND_OPTIONS, "PX, EX, FENCE, RAISE"),
            (CHECK_OPTIONS, "WAITERS"),
        ] {
            let text = BadRequest::Unknown(b"NX".to_vec(), options).to_string();
            assert_eq!(text, format!("ERR unknown option 'NX', expected one of {known}"));
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
}
