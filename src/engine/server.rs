//! The server as the engine sees it. The edge implements these traits with Redis; unit tests with a fake.

use std::hash::Hash;
use std::rc::Rc;

use smallvec::SmallVec;

use super::deadlines::Slot;
use crate::lock::{Fence, Hold, Holders, Mode, Now, Owner};
use crate::wire::Told;

/// Names a key: its database, and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// The database's number.
    pub db: i32,
    /// The key's name.
    pub name: &'a [u8],
}

/// The same, to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The database's number.
    pub db: i32,
    /// The key's name. Up to 16 bytes it needs no allocation of its own.
    pub name: SmallVec<[u8; 16]>,
}

impl KeyId {
    /// Not to keep.
    pub fn borrow(&self) -> KeyRef<'_> {
        KeyRef { db: self.db, name: &self.name }
    }
}

impl KeyRef<'_> {
    /// To keep.
    pub fn to_id(self) -> KeyId {
        KeyId { db: self.db, name: SmallVec::from_slice(self.name) }
    }
}

/// The value of a lock's key.
#[derive(Debug)]
pub struct Stored {
    /// What is saved.
    pub holders: Holders,
    /// Where its next end stands among the engine's deadlines.
    pub lease: Slot,
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Free,
    /// A lock.
    Lock,
    /// A value of another type.
    Other,
}

/// An open key, for one turn.
pub trait Key {
    /// What it holds.
    fn found(&self) -> Found;
    /// The lock it holds, to be changed in place.
    fn stored(&mut self) -> Option<&mut Stored>;
    /// Puts a lock where there was none.
    fn create(&mut self, stored: Stored);
    /// Removes what the key holds, here only.
    fn remove(&mut self);
    /// Takes off a TTL that somebody set by hand, so that it cannot end a later hold.
    fn clear_ttl(&mut self);
    /// Tells replicas and AOF that this hold runs now.
    fn replicate(&mut self, told: Told, mode: Mode, hold: &Hold, now: Now);
    /// Tells replicas and AOF that nobody holds it.
    fn replicate_freed(&mut self);
    /// Tells WATCH and CLIENT TRACKING that the lock is no longer what it was.
    fn signal_changed(&mut self);
}

/// What is said to a client that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Granted, under this fence. The owner is named if the server made it.
    Granted(Fence, Option<Rc<Owner>>),
    /// The wait ran out or was withdrawn.
    Null,
    /// The key holds a value of another type now.
    WrongType,
}

/// A client that waits. Consumed by what ends the wait, so it is answered once.
pub trait Waiting {
    /// Tells clients apart while they wait.
    type Id: Copy + Eq + Hash;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// Answers it. The edge reports back whether the answer could be handed over.
    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply);
    /// Lets go of it without an answer: it is gone, or was told otherwise.
    fn abandon(self);
}

/// Whether the server would accept a client's write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It would.
    Writable,
    /// It is paused.
    Halted,
    /// It is loading its data set: even what a key holds may not be real yet.
    Loading,
    /// It is a replica: it applies and never decides.
    Replica,
}

/// Whether the server would accept a client's write to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would.
    Accepts,
    /// Not to this key: its slot is not here, or is leaving.
    Foreign,
    /// Not to any key now: too few replicas, disk errors, the cluster is down.
    Halted,
}

/// The server, outside commands.
pub trait Server {
    /// An open key.
    type Key<'a>: Key
    where
        Self: 'a;

    /// Reads the clocks.
    fn now(&self) -> Now;
    /// What the server may do.
    fn standing(&mut self) -> Standing;
    /// Whether it would accept a client's write to this key.
    fn verdict(&mut self, key: KeyRef) -> Verdict;
    /// Opens a key; `None` when its database does not exist.
    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<Self::Key<'a>>;
    /// Tells replicas and AOF how far the fence clock has come.
    fn replicate_fence(&mut self, last: Fence);
}
