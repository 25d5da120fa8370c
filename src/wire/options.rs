//! The options of commands: one row for each, from which the parser ([`super::request`]), the errors that list what is
//! known, and COMMAND DOCS are made.
//!
//! To add an option, add its row, put it into the list of its command, and read it in that command's parser.

/// What follows the word of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// One number.
    Number,
    /// Any bytes.
    Text,
    /// One of these words.
    OneOf(&'static [OptionRow]),
}

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionRow {
    /// The word that clients send, in upper case.
    pub word: &'static str,
    /// What follows it.
    pub takes: Takes,
    /// The name of its value in COMMAND DOCS.
    pub name: &'static str,
    /// What COMMAND DOCS says of it.
    pub summary: &'static str,
}

impl OptionRow {
    const fn number(word: &'static str, name: &'static str, summary: &'static str) -> OptionRow {
        OptionRow { word, takes: Takes::Number, name, summary }
    }

    const fn text(word: &'static str, name: &'static str, summary: &'static str) -> OptionRow {
        OptionRow { word, takes: Takes::Text, name, summary }
    }

    const fn flag(word: &'static str, name: &'static str, summary: &'static str) -> OptionRow {
        OptionRow { word, takes: Takes::Nothing, name, summary }
    }

    /// How many arguments it takes.
    const fn words(&self) -> usize {
        match self.takes {
            Takes::Nothing => 1,
            Takes::Number | Takes::Text | Takes::OneOf(_) => 2,
        }
    }

    /// Whether a client named this option, in upper or lower case.
    #[inline(always)]
    pub fn is(&self, word: &[u8]) -> bool {
        word.eq_ignore_ascii_case(self.word.as_bytes())
    }
}

/// How the options of a command belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionGroup {
    /// An option by itself.
    Single(OptionRow),
    /// At most one of these.
    OneOf {
        /// The name of the group in COMMAND DOCS.
        name: &'static str,
        /// What COMMAND DOCS says of it.
        summary: &'static str,
        /// The choices.
        options: &'static [OptionRow],
    },
    /// The first option, and others that need it.
    Block {
        /// The name of the group in COMMAND DOCS.
        name: &'static str,
        /// What COMMAND DOCS says of it.
        summary: &'static str,
        /// The option that the others need.
        first: OptionRow,
        /// The others.
        others: &'static [OptionGroup],
    },
}

impl OptionGroup {
    /// Calls `each` with every option of the group, in order.
    pub fn for_each(&self, each: &mut dyn FnMut(&OptionRow)) {
        match self {
            OptionGroup::Single(option) => each(option),
            OptionGroup::OneOf { options, .. } => options.iter().for_each(each),
            OptionGroup::Block { first, others, .. } => {
                each(first);
                others.iter().for_each(|group| group.for_each(each));
            }
        }
    }
}

/// The largest number of arguments that a request can have after its key: the owner, and every option with its value.
pub const fn args_max(groups: &[OptionGroup]) -> usize {
    1 + words_of_groups(groups)
}

/// How many arguments the options of these groups take together.
const fn words_of_groups(groups: &[OptionGroup]) -> usize {
    let (mut count, mut rest) = (0, groups);
    while let [group, more @ ..] = rest {
        count += match group {
            OptionGroup::Single(option) => option.words(),
            OptionGroup::OneOf { options, .. } => words_of_options(options),
            OptionGroup::Block { first, others, .. } => first.words() + words_of_groups(others),
        };
        rest = more;
    }
    count
}

/// How many arguments these options take together.
const fn words_of_options(options: &[OptionRow]) -> usize {
    let (mut count, mut rest) = (0, options);
    while let [option, more @ ..] = rest {
        count += option.words();
        rest = more;
    }
    count
}

/// `PX milliseconds`
pub const PX: OptionRow = OptionRow::number("PX", "milliseconds", "The lease in milliseconds, 1 to 31536000000.");
/// `EX seconds`
pub const EX: OptionRow = OptionRow::number("EX", "seconds", "The lease in seconds, 1 to 31536000.");
/// `BLOCK milliseconds`
pub const BLOCK: OptionRow =
    OptionRow::number("BLOCK", "wait", "How long to wait for the lock, in milliseconds. 0 waits without limit.");
/// `SHARED`
pub const SHARED: OptionRow =
    OptionRow::flag("SHARED", "shared", "Shares the lock with other holders that requested SHARED.");
/// `LIMIT count`
pub const LIMIT: OptionRow =
    OptionRow::number("LIMIT", "limit", "Grants the lock only while fewer than this many hold it, 1 to 1000000.");
/// `WEIGHT units`
pub const WEIGHT: OptionRow =
    OptionRow::number("WEIGHT", "weight", "How many of the LIMIT units this owner takes, 1 to LIMIT. Without it, one.");
/// `MAX milliseconds`
pub const MAX: OptionRow = OptionRow::number(
    "MAX",
    "max",
    "The hold ends this many milliseconds after its grant at the latest, however often it is extended. 1 to 31536000000.",
);
/// `DELAY milliseconds`
pub const DELAY: OptionRow = OptionRow::number(
    "DELAY",
    "delay",
    "If the hold ends other than by a release, nobody is granted the lock for this many milliseconds. 1 to 3600000.",
);
/// `COOL milliseconds`
pub const COOL: OptionRow = OptionRow::number(
    "COOL",
    "cool",
    "Nobody is granted the lock for this many milliseconds after the release. 1 to 31536000000.",
);
/// `SESSION`
pub const SESSION: OptionRow = OptionRow::flag("SESSION", "session", "The hold also ends when this connection closes.");
/// `FENCE number`
pub const FENCE: OptionRow = OptionRow::number("FENCE", "fence", "Acts only on the hold with this fence.");
/// `DOWNGRADE`
pub const DOWNGRADE: OptionRow =
    OptionRow::flag("DOWNGRADE", "downgrade", "Turns an exclusive hold into a shared one instead of ending it.");
/// `RAISE number`
pub const RAISE: OptionRow = OptionRow::number("RAISE", "raise", "Raises the fence to this number if it is larger.");

/// `WAITERS`
pub const WAITERS: OptionRow = OptionRow::flag("WAITERS", "waiters", "How many clients wait for the lock.");

/// The largest COUNT.
pub const COUNT_MAX: usize = 1000;
/// `COUNT number`
pub const COUNT: OptionRow = OptionRow::number("COUNT", "count", "How much one call tells, 1 to 1000. Default: 10.");
/// `MATCH pattern`
pub const MATCH: OptionRow =
    OptionRow::text("MATCH", "pattern", "Only locks whose key matches this pattern, as in SCAN.");
/// `OWNER owner`
pub const OWNER: OptionRow = OptionRow::text("OWNER", "owner", "Only the holds of this owner.");
/// `WAITED`, behind BY.
pub const WAITED: OptionRow = OptionRow::flag("WAITED", "waited", "Those whose first waiter has waited longest.");
/// `BY WAITERS | WAITED`
pub const BY: OptionRow = OptionRow {
    word: "BY",
    takes: Takes::OneOf(&[WAITERS, WAITED]),
    name: "order",
    summary: "Which locks come first: those with the most waiters, or with the longest wait.",
};

const LEASE: OptionGroup =
    OptionGroup::OneOf { name: "lease", summary: "How long the hold lasts unless it is extended.", options: &[PX, EX] };

/// The options of LOCK.ACQUIRE.
pub const ACQUIRE_OPTIONS: &[OptionGroup] = &[
    LEASE,
    OptionGroup::Single(BLOCK),
    OptionGroup::Block {
        name: "shared",
        summary: "Holds the lock together with others instead of alone.",
        first: SHARED,
        others: &[OptionGroup::Block {
            name: "units",
            summary: "Bounds how many hold the lock together.",
            first: LIMIT,
            others: &[OptionGroup::Single(WEIGHT)],
        }],
    },
    OptionGroup::Single(SESSION),
    OptionGroup::Single(MAX),
    OptionGroup::Single(DELAY),
];

/// The largest number of keys of LOCK.MACQUIRE, LOCK.MRELEASE and LOCK.MEXTEND.
pub const KEYS_MAX: usize = 64;

/// The options of LOCK.MACQUIRE.
pub const MACQUIRE_OPTIONS: &[OptionGroup] = &[
    LEASE,
    OptionGroup::Single(BLOCK),
    OptionGroup::Single(SHARED),
    OptionGroup::Single(SESSION),
    OptionGroup::Single(MAX),
];

/// The options of LOCK.MEXTEND.
pub const MEXTEND_OPTIONS: &[OptionGroup] = &[LEASE];

/// The options of LOCK.RELEASE.
pub const RELEASE_OPTIONS: &[OptionGroup] = &[
    OptionGroup::Single(FENCE),
    OptionGroup::OneOf { name: "after", summary: "What the lock is after the release.", options: &[DOWNGRADE, COOL] },
];

/// The options of LOCK.EXTEND.
pub const EXTEND_OPTIONS: &[OptionGroup] = &[LEASE, OptionGroup::Single(FENCE), OptionGroup::Single(RAISE)];

/// The options of LOCK.CHECK.
pub const CHECK_OPTIONS: &[OptionGroup] = &[OptionGroup::Single(WAITERS)];

/// The options of LOCK.LIST.
pub const LIST_OPTIONS: &[OptionGroup] =
    &[OptionGroup::Single(COUNT), OptionGroup::Single(MATCH), OptionGroup::Single(OWNER)];

/// The options of LOCK.TOP.
pub const TOP_OPTIONS: &[OptionGroup] = &[OptionGroup::Single(COUNT), OptionGroup::Single(BY)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_command_has_an_option_twice_and_every_option_is_told_of() {
        for groups in [
            ACQUIRE_OPTIONS,
            MACQUIRE_OPTIONS,
            MEXTEND_OPTIONS,
            RELEASE_OPTIONS,
            EXTEND_OPTIONS,
            CHECK_OPTIONS,
            LIST_OPTIONS,
            TOP_OPTIONS,
        ] {
            let mut words = Vec::new();
            groups.iter().for_each(|group| {
                group.for_each(&mut |option| {
                    assert!(!words.contains(&option.word), "{} stands twice", option.word);
                    assert!(option.summary.ends_with('.') && !option.name.is_empty(), "{}", option.word);
                    assert_eq!(option.word, option.word.to_ascii_uppercase());
                    words.push(option.word);
                });
            });
        }
    }

    #[test]
    fn options_are_named_in_any_case() {
        assert!(BLOCK.is(b"block") && BLOCK.is(b"bLoCk") && BLOCK.is(b"BLOCK"));
        assert!(!BLOCK.is(b"BLOCKS") && !BLOCK.is(b""));
    }
}
