//! Patterns for the names of keys, with the meaning that they have in KEYS and SCAN.
//!
//! `*` stands for any bytes, `?` for one byte, `[ab]`, `[a-z]` and `[^a]` for one byte of a class or outside it. A backslash
//! takes the next byte as it is. A class that is not closed goes on to the end of the pattern.

/// The longest pattern that a client may send, in bytes. It bounds what a call costs.
pub const PATTERN_LEN_MAX: usize = 1024;

/// Whether the pattern matches all of the text. Takes at most as many steps as the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to go on when the last `*` takes one byte more: the pattern behind it, and the text that it left.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', behind)) = pattern.split_first() {
            (pattern, retry) = (behind, Some((behind, text)));
            continue;
        }
        let Some((byte, rest)) = text.split_first() else { return pattern.is_empty() };
        match one(pattern, *byte) {
            Some(behind) => (pattern, text) = (behind, rest),
            None => {
                let Some((behind, left)) = retry else { return false };
                let Some((_, left)) = left.split_first() else { return false };
                (pattern, text, retry) = (behind, left, Some((behind, left)));
            }
        }
    }
}

/// Matches one byte with the first part of the pattern, which is no `*`. The pattern behind that part if it matches.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, behind) = pattern.split_first()?;
    let (is_match, behind) = match (first, behind.split_first()) {
        (b'?', _) => (true, behind),
        (b'[', _) => class(behind, byte),
        (b'\\', Some((literal, behind))) => (*literal == byte, behind),
        (literal, _) => (*literal == byte, behind),
    };
    is_match.then_some(behind)
}

/// Whether a byte is in the class whose `[` has been read, and the pattern behind the class.
fn class(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_negated, mut rest) = match pattern.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, pattern),
    };
    let mut is_in = false;
    loop {
        rest = match rest {
            [] => break,
            [b'\\', literal, behind @ ..] => {
                is_in |= *literal == byte;
                behind
            }
            [b']', behind @ ..] => {
                rest = behind;
                break;
            }
            [one, b'-', other, behind @ ..] => {
                is_in |= (*one.min(other)..=*one.max(other)).contains(&byte);
                behind
            }
            [literal, behind @ ..] => {
                is_in |= *literal == byte;
                behind
            }
        };
    }
    (is_in != is_negated, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_mean_to_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("job:*", "job:", true),
            ("job:*", "job:7", true),
            ("job:*", "jobs", false),
            ("*:7", "job:17:7", true),
            ("*a*b*c", "xxaxxbxxbxxc", true),
            ("*a*b*c", "xxbxxaxxc", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[b-d]t", "hct", true),
            ("h[d-b]t", "hct", true),
            ("h[b-d]t", "het", false),
            ("[a-]", "^", true),
            ("[]a", "a", false),
            ("[^]a", "xa", true),
            ("[a\\]b]", "]", true),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[", "[", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\", "a\\", true),
            ("\\a", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} and {text}");
        }
    }

    /// A recursive matcher would take hours for this one.
    #[test]
    fn many_stars_take_no_more_steps_than_the_product_of_the_lengths() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(100_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn a_text_without_special_bytes_matches_itself_alone(text in "[a-c]{0,6}", other in "[a-c]{0,6}") {
            prop_assert_eq!(matches(text.as_bytes(), other.as_bytes()), text == other);
        }

        #[test]
        fn any_bytes_are_a_pattern(pattern in prop::collection::vec(any::<u8>(), 0..20), text in prop::collection::vec(any::<u8>(), 0..20)) {
            let found = matches(&pattern, &text);
            let with_star = [&pattern[..], b"*"].concat();
            let is_complete = !pattern.contains(&b'[') && !pattern.ends_with(b"\\");
            prop_assert!(!found || !is_complete || matches(&with_star, &text));
        }
    }
}
