//! The names of owners.

use std::borrow::Borrow;
use std::fmt;

use smallvec::SmallVec;

/// The longest name of an owner, in bytes.
pub const OWNER_LEN_MAX: usize = 1024;

/// The name of an owner: 1 to [`OWNER_LEN_MAX`] bytes. It is an identity, not a password.
/// A name of up to 16 bytes needs no allocation of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(SmallVec<[u8; 16]>);

/// A borrowed [`Owner`], such as an argument of a command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnerRef<'a>(&'a [u8]);

impl<'a> OwnerRef<'a> {
    /// An owner with this name; `None` if the name is empty or longer than [`OWNER_LEN_MAX`] bytes.
    pub fn new(name: &'a [u8]) -> Option<OwnerRef<'a>> {
        (1..=OWNER_LEN_MAX).contains(&name.len()).then_some(OwnerRef(name))
    }

    /// The bytes of the name.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Copies the name.
    pub fn to_owner(self) -> Owner {
        Owner(SmallVec::from_slice(self.0))
    }
}

impl Owner {
    /// An empty name. It is not a valid one, and sorts before all that are.
    pub fn first() -> Owner {
        Owner(SmallVec::new())
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes the name takes beside this value itself.
    pub fn allocated(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }

    /// Borrows the name.
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
