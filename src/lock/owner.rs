//! Who holds or asks.

use std::borrow::Borrow;
use std::fmt;

use smallvec::SmallVec;

/// The longest owner, in bytes.
pub const OWNER_LEN_MAX: usize = 1024;

/// A byte string of 1 to [`OWNER_LEN_MAX`] bytes that names who holds or asks. An identity, not a password.
/// Up to 16 bytes it needs no allocation of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(SmallVec<[u8; 16]>);

/// An [`Owner`] that somebody else keeps, such as an argument of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnerRef<'a>(&'a [u8]);

impl<'a> OwnerRef<'a> {
    /// `None` for an empty name or one of more than [`OWNER_LEN_MAX`] bytes.
    pub fn new(name: &'a [u8]) -> Option<OwnerRef<'a>> {
        (1..=OWNER_LEN_MAX).contains(&name.len()).then_some(OwnerRef(name))
    }

    /// The name.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// A copy to keep.
    pub fn to_owner(self) -> Owner {
        Owner(SmallVec::from_slice(self.0))
    }
}

impl Owner {
    /// Before every other, and nobody's.
    pub fn first() -> Owner {
        Owner(SmallVec::new())
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it takes beside this value itself.
    pub fn allocated(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }

    /// The same, not kept.
    pub fn borrow(&self) -> OwnerRef<'_> {
        OwnerRef(&self.0)
    }
}

impl Borrow<[u8]> for Owner {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OwnerRef(&self.0).fmt(f)
    }
}

impl fmt::Debug for OwnerRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}
