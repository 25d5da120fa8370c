//! The server as the engine sees it. `src/redis` implements these traits with Redis, and unit tests with a fake.

use std::rc::Rc;

use super::entries::EntryId;
use super::names::KeyRef;
use crate::lock::{Fence, HoldId, Holders, Now, Owner, Rights, Ticket, User};
use crate::policy::slot_owner::SlotOwner;
use crate::wire::OwnSlots;

/// The value of a lock's key.
#[derive(Debug)]
pub struct Stored {
    /// What is saved.
    pub holders: Holders,
    /// The entry of its next lease end among the engine's deadlines.
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

/// An open key, for one step.
pub trait Key {
    /// The rights of users to this key.
    type Rights: Rights;

    /// What the key holds.
    fn found(&self) -> Found;
    /// The lock that the key holds, to be changed in place.
    fn stored(&mut self) -> Option<&mut Stored>;
    /// The rights of users to this key. They are asked while the lock is changed.
    fn rights(&self) -> Self::Rights;
    /// Creates a lock. A value of another type gives way to it.
    fn create(&mut self, stored: Stored);
    /// Removes what the key holds, without telling replicas.
    fn remove(&mut self);
    /// Clears a TTL that somebody set by hand, so that it cannot end a later hold.
    fn clear_ttl(&mut self);
    /// Whether there are replicas or an AOF to tell. If not, a change need only be [counted](Key::count_change).
    fn is_heard(&self) -> bool;
    /// Tells replicas and the AOF how the lock changed.
    fn replicate(&mut self, effect: &[u8]);
    /// Counts a change that is not replicated, for the save points.
    fn count_change(&mut self);
    /// Tells WATCH and CLIENT TRACKING that the lock has changed.
    fn signal_changed(&mut self);
}

/// A key that stays open beyond a step.
impl<K: Key> Key for &mut K {
    type Rights = K::Rights;

    fn found(&self) -> Found {
        (**self).found()
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        (**self).stored()
    }

    fn rights(&self) -> K::Rights {
        (**self).rights()
    }

    fn create(&mut self, stored: Stored) {
        (**self).create(stored);
    }

    fn remove(&mut self) {
        (**self).remove();
    }

    fn clear_ttl(&mut self) {
        (**self).clear_ttl();
    }

    fn is_heard(&self) -> bool {
        (**self).is_heard()
    }

    fn replicate(&mut self, effect: &[u8]) {
        (**self).replicate(effect);
    }

    fn count_change(&mut self) {
        (**self).count_change();
    }

    fn signal_changed(&mut self) {
        (**self).signal_changed();
    }
}

/// A keyspace event of the module class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEvent {
    /// A hold began.
    Acquire,
    /// A hold was released, or revoked because no answer with it could be delivered.
    Release,
    /// A hold was extended.
    Extend,
    /// A lease ran out.
    Expire,
    /// A hold ended with its connection.
    Session,
    /// An exclusive hold became a shared one.
    Downgrade,
    /// Cooling is over.
    Cooled,
    /// A client waits, and none did before.
    Contended,
}

/// The locks of the server, for the search for deadlocks.
pub trait Keyspace {
    /// Shows `look` the holders of the lock in this key, if there is one. Changes nothing.
    fn with_holders(&mut self, key: KeyRef, look: &mut dyn FnMut(&Holders));
}

/// The keys that a command names, or that a request waits for. One at a time takes a step.
pub trait KeySet {
    /// A key that is open for one step.
    type Key<'a>: Key
    where
        Self: 'a;

    /// Opens the key at this place, whose name is given as well. `None` if its database does not exist.
    fn open<'a>(&'a mut self, place: usize, at: KeyRef<'a>) -> Option<Self::Key<'a>>;
}

/// One lock of a request that waited for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedKey {
    /// The name of its key.
    pub name: Rc<[u8]>,
    /// The hold.
    pub hold: HoldId,
}

/// The answer to a client that waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The owner holds the lock: the hold, the ticket of the request, and the owner if the server made it.
    Granted(HoldId, Ticket, Option<Rc<Owner>>),
    /// The owner holds all locks of a request for several, in the order of the request: the ticket, and the owner if the server
    /// made it.
    GrantedTogether(Vec<GrantedKey>, Ticket, Option<Rc<Owner>>),
    /// The wait ran out, or LOCK.RELEASE withdrew it.
    Null,
    /// The owner holds the lock shared now, and this request asks for the exclusive hold.
    MustRelease,
    /// The user may not acquire the lock any more.
    NoPermission,
    /// The user may not acquire these locks together any more.
    NoPermissionToAll,
    /// The key holds a value of another type now.
    WrongType,
    /// The key's slot is not here any more, or is leaving. A cluster client asks again and finds the right server.
    TryAgain,
    /// The cluster is down.
    ClusterDown,
}

/// A client that waits. What ends the wait consumes it, so it is answered once.
pub trait Waiting {
    /// Identifies a client while it waits.
    type Id: Copy + Ord;
    /// The id of this client.
    fn id(&self) -> Self::Id;
    /// The client's number among all clients of the server, as CLIENT LIST shows it.
    fn number(&self) -> u64;
    /// Answers the client, which waited for this key. `src/redis` reports back whether the answer could be delivered.
    fn answer(self, key: (i32, Rc<[u8]>), reply: Reply);
    /// Frees the client without an answer: it is gone, or the server has answered it.
    fn abandon(self);
}

/// What the server may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It accepts the writes of clients.
    Writable,
    /// It is paused: nothing may be written.
    Halted,
    /// It is loading its data set. What a key holds may not be final yet.
    Loading,
    /// It is a replica: it applies what its primary says, and never decides.
    Replica,
}

/// Whether the server would accept a client's write to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCheck {
    /// It would accept the write.
    Accepts,
    /// It would accept no write to this key: the slot is not here, or is leaving.
    Foreign,
    /// It would accept no write to any key: too few replicas, disk errors, or the cluster is down.
    Halted,
}

/// The server, as the timer's tick uses it.
pub trait Server {
    /// A key that is open for one step.
    type Key<'a>: Key
    where
        Self: 'a;

    /// Reads the clocks.
    fn now(&self) -> Now;
    /// What the server may do.
    fn state(&mut self) -> ServerState;
    /// Whether it would accept a client's write to this key.
    fn write_check(&mut self, key: KeyRef) -> WriteCheck;
    /// The owner of this key's slot.
    fn slot_owner(&mut self, key: KeyRef) -> SlotOwner;
    /// Opens a key. `None` if its database does not exist.
    fn open<'a>(&'a mut self, key: KeyRef<'a>) -> Option<Self::Key<'a>>;
    /// Whether this user may run LOCK.MACQUIRE on these keys, which are of one database.
    fn may_acquire_all(&mut self, user: User, keys: &[KeyRef]) -> bool;
    /// The slots that are this server's according to the cluster; `None` if the server does not tell.
    fn own_slots(&mut self) -> Option<OwnSlots>;
    /// Tells replicas and the AOF how far the fence clock has come.
    fn replicate_fence(&mut self, last: Fence);
}
