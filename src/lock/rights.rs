//! The question whether a waiter's user may still acquire the lock, which the server's ACL answers.

use super::hold::User;

/// Tells what the ACL allows a user now. That can change while a request of the user waits.
pub trait Rights {
    /// Whether this user may run LOCK.ACQUIRE on the lock's key.
    fn may_acquire(&mut self, user: User) -> bool;
}
