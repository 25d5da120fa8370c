//! What a client asks for when it asks for a lock.

use super::hold::{Mode, Session, User};
use super::time::Millis;

/// A request for a lock. It becomes a hold when the lock is granted, and is kept in the wait queue until then.
///
/// `O` is how the owner's name is kept: borrowed from the command, shared by a waiter, or owned by a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<O> {
    /// The owner that will hold the lock.
    pub owner: O,
    /// Exclusive, or shared with a limit.
    pub mode: Mode,
    /// How long the hold lasts, counted from the grant.
    pub lease: Millis,
    /// The longest that the hold may last, however often it is extended (MAX).
    pub max: Option<Millis>,
    /// How long nobody is granted the lock after a hold that ended by its lease or its session (DELAY).
    pub delay: Option<Millis>,
    /// The connection whose close will end the hold, if the client asked for SESSION.
    pub session: Option<Session>,
    /// The ACL user that asks, if it is known.
    pub user: Option<User>,
}

impl<O> Request<O> {
    /// The same request with its owner's name kept in another way.
    pub fn with_owner<P>(self, keep: impl FnOnce(O) -> P) -> Request<P> {
        let Request { owner, mode, lease, max, delay, session, user } = self;
        Request { owner: keep(owner), mode, lease, max, delay, session, user }
    }
}
