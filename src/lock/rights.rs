//! What the server's ACL says of users whose requests wait.

use super::hold::User;

/// Tells what the ACL allows a user now. That can change while the user's request waits.
pub trait Rights {
    /// Whether this user may run LOCK.ACQUIRE on the lock's key.
    fn may_acquire(&mut self, user: User) -> bool;
}
