//! ACL users: each name has a number, so that a hold can say in four bytes who asked for it.

use std::collections::HashMap;
use std::num::NonZeroU32;

use super::caller::OtherModules;
use crate::lock::User;

/// The numbers of users, and an `N` for each of them.
pub struct UserNumbers<N> {
    numbers: HashMap<Box<[u8]>, User>,
    /// The name that was asked for last, which mostly is asked for again.
    last: Option<(Box<[u8]>, User)>,
    /// By number, which starts at 1.
    known: Vec<N>,
}

impl<N> Default for UserNumbers<N> {
    fn default() -> UserNumbers<N> {
        UserNumbers { numbers: HashMap::new(), last: None, known: Vec::new() }
    }
}

impl<N> UserNumbers<N> {
    /// The number of the user of this name; `make` makes what is kept for a new one. The same name has the same number as
    /// long as the process lives. `None` if there are no numbers left.
    pub fn number(&mut self, name: &[u8], make: impl FnOnce(&[u8]) -> N) -> Option<User> {
        if let Some((last, user)) = &self.last {
            if **last == *name {
                return Some(*user);
            }
        }
        let user = match self.numbers.get(name) {
            Some(user) => *user,
            None => {
                let next = u32::try_from(self.known.len()).ok()?.checked_add(1)?;
                let user = User(NonZeroU32::new(next)?);
                self.known.push(make(name));
                self.numbers.insert(name.into(), user);
                user
            }
        };
        self.last = Some((name.into(), user));
        Some(user)
    }

    /// What is kept for the user of this number; `None` if no user has it.
    pub fn get(&self, user: User) -> Option<&N> {
        self.known.get(usize::try_from(user.0.get()).ok()?.checked_sub(1)?)
    }
}

/// Whether the server keeps the user of this name as long as the server lives, so that it need be looked up only once.
pub fn is_lasting(name: &[u8]) -> bool {
    name == b"default"
}

/// Whether the user of a command must be looked up by the client's id, which also tells whether the client is connected. If
/// not, it is the client that asked last and was connected then; ids are never given twice. It may have said AUTH since, so
/// its current user is asked for in any case.
pub fn must_look_up(client: u64, last_client: u64, others: OtherModules) -> bool {
    client != last_client || others == OtherModules::Present
}

/// What the server says of a user and LOCK.ACQUIRE on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAnswer {
    /// It knows no such user. The user was deleted, and its connections are being closed; or another module made it and
    /// keeps it to itself.
    NoSuchUser,
    /// The user may run the command. A user that is off may, on the connections it has.
    Allowed,
    /// The user may not run it.
    Denied,
}

impl AclAnswer {
    /// Whether a waiter of this user may still be granted the lock.
    pub fn may_acquire(self) -> bool {
        match self {
            AclAnswer::NoSuchUser | AclAnswer::Allowed => true,
            AclAnswer::Denied => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut users = UserNumbers::default();
        let mut number = |name: &[u8]| users.number(name, <[u8]>::to_vec).map(|user| user.0.get());
        assert_eq!(
            (number(b"ann"), number(b"ben"), number(b"ann"), number(b"ann")),
            (Some(1), Some(2), Some(1), Some(1))
        );
        assert_eq!((number(b""), number(b"ben"), number(b"")), (Some(3), Some(2), Some(3)));
    }

    #[test]
    fn what_is_kept_is_made_once_for_each_name() {
        let mut users = UserNumbers::default();
        let mut made = 0;
        let mut number = |name: &[u8]| {
            users.number(name, |name| {
                made += 1;
                name.to_vec()
            })
        };
        let (ann, ben) = (number(b"ann").unwrap(), number(b"ben").unwrap());
        number(b"ann");
        assert_eq!(made, 2);
        assert_eq!((users.get(ann), users.get(ben)), (Some(&b"ann".to_vec()), Some(&b"ben".to_vec())));
        assert_eq!(users.get(User(NonZeroU32::new(3).unwrap())), None);
    }

    #[test]
    fn only_the_default_user_lasts() {
        assert!(is_lasting(b"default"));
        assert!(!is_lasting(b"Default") && !is_lasting(b""));
    }

    #[test]
    fn a_client_is_looked_up_unless_it_asked_last_and_nobody_borrows_its_id() {
        assert!(!must_look_up(7, 7, OtherModules::Absent));
        assert!(must_look_up(7, 7, OtherModules::Present), "a call from a module may bear its id");
        assert!(must_look_up(8, 7, OtherModules::Absent));
    }

    #[test]
    fn a_user_is_only_stopped_by_a_denial() {
        assert!(AclAnswer::NoSuchUser.may_acquire() && AclAnswer::Allowed.may_acquire());
        assert!(!AclAnswer::Denied.may_acquire());
    }
}
