//! ACL users, numbered as they come, so that a hold can bear the name of who asked for it in four bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::num::NonZeroU32;

use super::state::MainThread;
use crate::lock::User;

#[derive(Default)]
struct Users {
    numbers: HashMap<Box<[u8]>, User>,
    /// The one that came last, who mostly comes again.
    last: Option<(Box<[u8]>, User)>,
}

static USERS: MainThread<RefCell<Option<Users>>> = MainThread::new(RefCell::new(None));

/// The same name has the same number as long as the process lives.
pub fn number(name: &[u8]) -> Option<User> {
    let mut users = USERS.get().try_borrow_mut().ok()?;
    let users = users.get_or_insert_default();
    if let Some((last, user)) = &users.last {
        if **last == *name {
            return Some(*user);
        }
    }
    let next = u32::try_from(users.numbers.len()).ok().and_then(|len| NonZeroU32::new(len.checked_add(1)?))?;
    let user = *users.numbers.entry(name.into()).or_insert(User(next));
    users.last = Some((name.into(), user));
    Some(user)
}
