//! The question whether a waiter's user may still acquire the lock, which the server's ACL answers.

use super::hold::User;

/// The command with which a waiter asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedWith {
    /// LOCK.ACQUIRE.
    Acquire,
    /// LOCK.MACQUIRE.
    Macquire,
}

/// Tells what the ACL allows a user now. That can change while a request of the user waits.
pub trait Rights {
    /// Whether this user may run that command on the lock's key.
    fn may_acquire(&mut self, user: User, with: AskedWith) -> bool;
}
