//! Names of keys, and the databases that they are in.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// The identity of a key: its database and its name. It borrows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRef<'a> {
    /// The database's number.
    pub db: i32,
    /// The key's name.
    pub name: &'a [u8],
}

impl KeyRef<'_> {
    /// Copies the identity, so that it can be stored.
    pub fn to_id(self) -> KeyId {
        let KeyRef { db, name } = self;
        let mut bytes = [0; SHORT_MAX];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name);
                KeyId(Kept::Short { db, len: name.len() as u8, bytes })
            }
            None => KeyId(Kept::Long { db, name: name.into() }),
        }
    }
}

/// The identity of a key: its database and its name. It owns the name. There is one for each lock that is held, so it is kept
/// small.
#[derive(Clone)]
pub struct KeyId(Kept);

/// A name of up to this many bytes needs no allocation of its own.
const SHORT_MAX: usize = 16;

/// Each variant has the database in the bytes that the alignment would leave empty.
#[derive(Clone)]
enum Kept {
    Short { db: i32, len: u8, bytes: [u8; SHORT_MAX] },
    Long { db: i32, name: Box<[u8]> },
}

impl KeyId {
    /// The same identity with a borrowed name.
    pub fn borrow(&self) -> KeyRef<'_> {
        match &self.0 {
            Kept::Short { db, len, bytes } => {
                KeyRef { db: *db, name: bytes.get(..usize::from(*len)).unwrap_or_default() }
            }
            Kept::Long { db, name } => KeyRef { db: *db, name },
        }
    }

    /// The database's number.
    pub fn db(&self) -> i32 {
        self.borrow().db
    }

    /// The key's name.
    pub fn name(&self) -> &[u8] {
        self.borrow().name
    }

    /// An identity that sorts before every other.
    pub fn first() -> KeyId {
        KeyRef { db: i32::MIN, name: b"" }.to_id()
    }

    /// Two databases changed places: a key of the one is a key of the other now.
    pub fn swap(&mut self, one: i32, other: i32) {
        let (Kept::Short { db, .. } | Kept::Long { db, .. }) = &mut self.0;
        if *db == one {
            *db = other;
        } else if *db == other {
            *db = one;
        }
    }
}

impl Default for KeyId {
    /// A placeholder that names no key. It allocates nothing.
    fn default() -> KeyId {
        KeyId(Kept::Short { db: 0, len: 0, bytes: [0; SHORT_MAX] })
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &KeyId) -> bool {
        self.borrow() == other.borrow()
    }
}

impl Eq for KeyId {}

impl PartialOrd for KeyId {
    fn partial_cmp(&self, other: &KeyId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyId {
    fn cmp(&self, other: &KeyId) -> Ordering {
        self.borrow().cmp(&other.borrow())
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/\"{}\"", self.db(), self.name().escape_ascii())
    }
}

/// The databases that a server event such as FLUSHALL concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All databases.
    All,
    /// The database with this number.
    Db(i32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_identity_takes_24_bytes() {
        assert_eq!(size_of::<KeyId>(), 24);
    }

    #[test]
    fn a_stored_identity_is_the_one_that_was_given() {
        let names: Vec<Vec<u8>> = [0, 1, 15, 16, 17, 300].iter().map(|len| vec![b'k'; *len]).collect();
        let refs = names.iter().flat_map(|name| [-1, 0, 7].map(|db| KeyRef { db, name }));
        let mut refs: Vec<KeyRef> = refs.collect();
        refs.sort_unstable();
        let ids: Vec<KeyId> = refs.iter().map(|at| at.to_id()).collect();
        assert!(ids.iter().map(KeyId::borrow).eq(refs));
        assert!(ids.is_sorted() && ids.iter().all(|id| KeyId::first() < *id));
        for mut id in ids {
            let before = id.borrow().db;
            id.swap(7, 9);
            assert_eq!(id.db(), if before == 7 { 9 } else { before });
        }
    }
}
