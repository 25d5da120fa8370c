//! Arguments to requests. Past this file there are no raw strings and no bare numbers.

use super::errors::BadRequest;
use super::options::{
    args_max, OptionRow, ACQUIRE_OPTIONS, BLOCK, CHECK_OPTIONS, COOL, DELAY, DOWNGRADE, EX, EXTEND_OPTIONS, FENCE,
    LIMIT, MACQUIRE_OPTIONS, MAX, MEXTEND_OPTIONS, PX, RAISE, RELEASE_OPTIONS, SESSION, SHARED, WAITERS, WEIGHT,
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
        Self::parse_for::<false>(args, leases)
    }

    /// Reads what follows the keys of LOCK.MACQUIRE, which knows fewer options.
    pub(super) fn parse_multi_key(args: &[&'a [u8]], leases: Leases) -> Result<Self, BadRequest> {
        Self::parse_for::<true>(args, leases)
    }

    #[inline(always)]
    fn parse_for<const IS_MULTI_KEY: bool>(args: &[&'a [u8]], leases: Leases) -> Result<Self, BadRequest> {
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
            } else if SESSION.is(name) {
                session = Some(options.flag(&SESSION, &session)?);
            } else if MAX.is(name) {
                max = Some(options.length(&MAX, &max, Terms::LONGEST)?);
            } else if IS_MULTI_KEY {
                return Err(BadRequest::Unknown(name.into(), MACQUIRE_OPTIONS));
            } else if LIMIT.is(name) {
                let number = options.value(&LIMIT, &limit)?;
                limit = Some(number.and_then(Limit::new).ok_or(BadRequest::Limit)?);
            } else if WEIGHT.is(name) {
                weight = Some(options.value(&WEIGHT, &weight)?);
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
    /// Reads what follows the keys of LOCK.MEXTEND, which knows fewer options.
    pub(super) fn parse_multi_key(args: &[&'a [u8]], leases: Leases) -> Result<Self, BadRequest> {
        let (owner, mut options) = split(args)?;
        let mut lease = Lease::default();
        while let Some(name) = options.next() {
            if !lease.read(name, &mut options, leases.max)? {
                return Err(BadRequest::Unknown(name.into(), MEXTEND_OPTIONS));
            }
        }
        Ok(ExtendRequest { owner: named_not_star(owner)?, lease: lease.get(), fence: None, raise: None })
    }

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
mod tests;
