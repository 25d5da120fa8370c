//! Who may still be granted.

use super::hold::User;

/// What the server says of the users of those who wait. What a user may do can change while it waits.
pub trait Rights {
    /// Whether this user may still ask for the lock.
    fn may_ask(&mut self, user: User) -> bool;
}
