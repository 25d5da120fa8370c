//! The arguments of the commands that list locks: LOCK.LIST and LOCK.TOP.

use super::errors::BadRequest;
use super::glob::{self, PATTERN_LEN_MAX};
use super::options::{BY, COUNT, COUNT_MAX, LIST_OPTIONS, MATCH, OWNER, TOP_OPTIONS, WAITED, WAITERS};
use super::request::{named_not_star, number, Options};
use crate::lock::OwnerRef;

/// The COUNT of a request that names none.
const COUNT_DEFAULT: usize = 10;

/// A pattern for the names of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern<'a>(&'a [u8]);

impl<'a> Pattern<'a> {
    /// Wraps a pattern; `None` if it is too long.
    fn new(pattern: &'a [u8]) -> Option<Pattern<'a>> {
        (1..=PATTERN_LEN_MAX).contains(&pattern.len()).then_some(Pattern(pattern))
    }

    /// The pattern as the client wrote it.
    #[cfg(any(test, fuzzing))]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it matches this name.
    pub fn matches(self, name: &[u8]) -> bool {
        glob::matches(self.0, name)
    }
}

/// `LOCK.LIST cursor [COUNT n] [MATCH pattern] [OWNER owner]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRequest<'a> {
    /// The first place of the table of deadlines to look at.
    pub from: u32,
    /// How many places to look at.
    pub count: usize,
    /// Which names.
    pub pattern: Option<Pattern<'a>>,
    /// Whose holds.
    pub owner: Option<OwnerRef<'a>>,
}

/// By what LOCK.TOP orders locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// How many clients wait.
    Waiters,
    /// How long the first of them has waited.
    Waited,
}

/// `LOCK.TOP [COUNT n] [BY WAITERS | WAITED]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopRequest {
    /// How many locks.
    pub count: usize,
    /// Which of them.
    pub order: Order,
}

impl<'a> ListRequest<'a> {
    /// Reads the cursor and what follows it.
    pub fn parse(cursor: &[u8], args: &[&'a [u8]]) -> Result<Self, BadRequest> {
        let mut options = Options::new(args);
        let (mut count, mut pattern, mut owner) = (None, None, None);
        while let Some(name) = options.next() {
            if COUNT.is(name) {
                count = Some(read_count(&mut options, &count)?);
            } else if MATCH.is(name) {
                let text = options.text(&MATCH, &pattern)?;
                pattern = Some(Pattern::new(text).ok_or(BadRequest::Pattern(text.len()))?);
            } else if OWNER.is(name) {
                owner = Some(named_not_star(options.text(&OWNER, &owner)?)?);
            } else {
                return Err(BadRequest::Unknown(name.into(), LIST_OPTIONS));
            }
        }
        // A cursor is one more than the place that it stands for, so that only the end is 0.
        let cursor = number(cursor).and_then(|cursor| u32::try_from(cursor).ok()).ok_or(BadRequest::Cursor)?;
        Ok(ListRequest { from: cursor.saturating_sub(1), count: count.unwrap_or(COUNT_DEFAULT), pattern, owner })
    }
}

impl TopRequest {
    /// Reads what follows the command's name.
    pub fn parse(args: &[&[u8]]) -> Result<Self, BadRequest> {
        let mut options = Options::new(args);
        let (mut count, mut order) = (None, None);
        while let Some(name) = options.next() {
            if COUNT.is(name) {
                count = Some(read_count(&mut options, &count)?);
            } else if BY.is(name) {
                let word = options.text(&BY, &order)?;
                order = Some(match word {
                    word if WAITERS.is(word) => Order::Waiters,
                    word if WAITED.is(word) => Order::Waited,
                    _ => return Err(BadRequest::Order),
                });
            } else {
                return Err(BadRequest::Unknown(name.into(), TOP_OPTIONS));
            }
        }
        Ok(TopRequest { count: count.unwrap_or(COUNT_DEFAULT), order: order.unwrap_or(Order::Waiters) })
    }
}

fn read_count(options: &mut Options, before: &Option<usize>) -> Result<usize, BadRequest> {
    let count = options.value(&COUNT, before)?.and_then(|count| usize::try_from(count).ok());
    count.filter(|count| (1..=COUNT_MAX).contains(count)).ok_or(BadRequest::Count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list<'a>(line: &'a str) -> Result<ListRequest<'a>, BadRequest> {
        let mut words = line.split(' ').map(str::as_bytes);
        let cursor = words.next().unwrap();
        ListRequest::parse(cursor, &words.collect::<Vec<_>>())
    }

    fn top(line: &str) -> Result<TopRequest, BadRequest> {
        let words: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        TopRequest::parse(&words)
    }

    #[test]
    fn options_stand_in_any_order_and_case() {
        let expected = ListRequest { from: 6, count: 5, pattern: Pattern::new(b"job:*"), owner: OwnerRef::new(b"me") };
        assert_eq!(list("7 COUNT 5 MATCH job:* OWNER me"), Ok(expected));
        assert_eq!(list("7 owner me match job:* count 5"), Ok(expected));
        assert_eq!(top("BY WAITED COUNT 3"), Ok(TopRequest { count: 3, order: Order::Waited }));
        assert_eq!(top("count 3 by waited"), top("BY WAITED COUNT 3"));
        assert_eq!(top("BY waiters"), top(""));
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(list("0"), Ok(ListRequest { from: 0, count: 10, pattern: None, owner: None }));
        assert_eq!(list("1").map(|request| request.from), Ok(0), "the beginning, too");
        assert_eq!(top(""), Ok(TopRequest { count: 10, order: Order::Waiters }));
    }

    #[test]
    fn every_mistake_has_its_own_error() {
        for (line, expected) in [
            ("x", BadRequest::Cursor),
            ("-1", BadRequest::Cursor),
            ("", BadRequest::Cursor),
            ("4294967296", BadRequest::Cursor),
            ("0 COUNT 0", BadRequest::Count),
            ("0 COUNT 1001", BadRequest::Count),
            ("0 COUNT -1", BadRequest::Count),
            ("0 COUNT", BadRequest::NoValue("COUNT")),
            ("0 COUNT 1 COUNT 1", BadRequest::Twice("COUNT")),
            ("0 MATCH", BadRequest::NoValue("MATCH")),
            ("0 MATCH ", BadRequest::Pattern(0)),
            ("0 MATCH a MATCH a", BadRequest::Twice("MATCH")),
            ("0 OWNER", BadRequest::NoValue("OWNER")),
            ("0 OWNER *", BadRequest::OwnerStar),
            ("0 OWNER ", BadRequest::OwnerLength(0)),
            ("0 OWNER a OWNER a", BadRequest::Twice("OWNER")),
            ("0 TYPE string", BadRequest::Unknown(b"TYPE".to_vec(), LIST_OPTIONS)),
        ] {
            assert_eq!(list(line), Err(expected), "{line}");
        }
        for (line, expected) in [
            ("COUNT 0", BadRequest::Count),
            ("COUNT 1001", BadRequest::Count),
            ("BY", BadRequest::NoValue("BY")),
            ("BY owner", BadRequest::Order),
            ("BY WAITED BY WAITED", BadRequest::Twice("BY")),
            ("WAITED", BadRequest::Unknown(b"WAITED".to_vec(), TOP_OPTIONS)),
        ] {
            assert_eq!(top(line), Err(expected), "{line}");
        }
        let long = "x".repeat(PATTERN_LEN_MAX + 1);
        assert_eq!(list(&format!("0 MATCH {long}")), Err(BadRequest::Pattern(long.len())));
    }

    proptest! {
        #[test]
        fn any_arguments_are_read_or_refused(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..8)) {
            let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
            let _ = ListRequest::parse(args[0], &args[1..]);
            let _ = TopRequest::parse(&args);
        }
    }
}
