//! The server as the engine sees it. The edge implements these traits with Redis; unit tests with a fake.

use std::rc::Rc;

use super::entries::EntryId;
use super::names::KeyRef;
use crate::lock::{Fence, HoldId, Holders, Now, Owner, Rights, Ticket};
use crate::wire::OwnSlots;

/// The value of a lock's key.
#[derive(Debug)]
pub struct Stored {
    /// What is saved.
    pub holders: Holders,
    /// Where its next end stands among the engine's deadlines.
    pub lease: EntryId,
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

/// The key holds a value of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// An open key, for one turn.
pub trait Key {
    /// What users may do with it.
    type Rights: Rights;

    /// What it holds.
    fn found(&self) -> Found;
    /// The lock it holds, to be changed in place.
    fn stored(&mut self) -> Option<&mut Stored>;
    /// What users may do with it, to be asked while the lock is changed.
    fn rights(&self) -> Self::Rights;
    /// Puts a lock where there was none.
    fn create(&mut self, stored: Stored);
    /// Removes what the key holds, here only.
    fn remove(&mut self);
    /// Takes off a TTL that somebody set by hand, so that it cannot end a later hold.
    fn clear_ttl(&mut self);
    /// Whether replicas or an AOF listen. If not, a change need only be [counted](Key::count_change).
    fn is_heard(&self) -> bool;
    /// Tells replicas and AOF how the lock changed.
    fn replicate(&mut self, effect: &[u8]);
    /// Counts a change that nobody listens to, for the save points.
    fn count_change(&mut self);
    /// Tells WATCH and CLIENT TRACKING that the lock is no longer what it was.
    fn signal_changed(&mut self);
}

/// A keyspace event of the module class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A hold began.
    Acquire,
    /// A hold was released, or taken back because nobody could be told of it.
    Release,
    /// A hold's lease was set anew.
    Extend,
    /// A lease ran out.
    Expire,
    /// A hold ended with its connection.
    Session,
    /// An exclusive hold became a shared one.
    Downgrade,
}

/// The locks of the server, to look at.
pub trait Keyspace {
    /// Looks at who holds the lock there, if there is one. Changes nothing.
    fn with_holders(&mut self, key: KeyRef, look: &mut dyn FnMut(&Holders));
}

/// What is said to a client that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Granted: the hold, the request that is answered with it, and the owner if the server made it.
    Granted(HoldId, Ticket, Option<Rc<Owner>>),
    /// The wait ran out or was withdrawn.
    Null,
    /// Its owner holds the lock shared now, and this request asks to hold it alone.
    MustRelease,
    /// Its user may not ask for the lock any more.
    NoPermission,
    /// The key holds a value of another type now.
    WrongType,
    /// The key is this server's no longer, or soon: its client asks again and is sent to the right one.
    TryAgain,
    /// The cluster is down.
    ClusterDown,
}

/// A client that waits. Consumed by what ends the wait, so it is answered once.
pub trait Waiting {
    /// Tells clients apart while they wait.
    type Id: Copy + Ord;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// Answers it. The edge reports back whether the answer could be delivered.
    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply);
    /// Lets go of it without an answer: it is gone, or was told otherwise.
    fn abandon(self);
}

/// Whether the server would accept a client's write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
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
pub enum WriteCheck {
    /// It would.
    Accepts,
    /// Not to this key: its slot is not here, or is leaving.
    Foreign,
    /// Not to any key now: too few replicas, disk errors, the cluster is down.
    Halted,
}

/// Where a client of the cluster would be sent with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotOwner {
    /// Nowhere: it is right here.
    Here,
    /// To another server: the key's slot is not here, or is leaving and the key with it.
    Elsewhere,
    /// Away: the cluster is down.
    Down,
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
    fn state(&mut self) -> ServerState;
    /// Whether it would accept a client's write to this key.
    fn write_check(&mut self, key: KeyRef) -> WriteCheck;
    /// Where a client of the cluster would be sent with this key.
    fn slot_owner(&mut self, key: KeyRef) -> SlotOwner;
    /// Opens a key; `None` when its database does not exist.
    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<Self::Key<'a>>;
    /// Which slots the cluster says are this server's; `None` if it does not say.
    fn own_slots(&mut self) -> Option<OwnSlots>;
    /// Tells replicas and AOF how far the fence clock has come.
    fn replicate_fence(&mut self, last: Fence);
}
