//! Asks the server whether an ACL user may still run LOCK.ACQUIRE or LOCK.MACQUIRE.

use super::ffi::acl::NamedUser;
use super::ffi::strings::{ServerString, StringRef};
use super::ffi::Ctx;
use super::state::module;
use crate::lock::{AskedWith, User};
use crate::policy::users::{is_lasting, AclAnswer};

/// Makes the words that users are asked about, at load.
pub fn prepare() {
    module()
        .acl_words
        .get_or_init(|| ["LOCK.ACQUIRE", "LOCK.MACQUIRE", "1", "owner"].map(|word| ServerString::new(word.as_bytes())));
}

/// The number of the user of this name.
pub fn number(name: &[u8]) -> Option<User> {
    let make = |name: &[u8]| if is_lasting(name) { NamedUser::lasting(name) } else { NamedUser::passing(name) };
    module().users.try_borrow_mut().ok()?.get_or_insert_default().number(name, make)
}

/// Whether a user may be granted the lock at this key, in the database that the context has selected.
pub fn may_acquire(user: User, key: StringRef, with: AskedWith, ctx: Ctx) -> bool {
    ask(user, key, with, ctx).may_acquire()
}

fn ask(user: User, key: StringRef, with: AskedWith, ctx: Ctx) -> AclAnswer {
    let Ok(users) = module().users.try_borrow() else { return AclAnswer::NoSuchUser };
    let named = users.as_ref().and_then(|users| users.get(user));
    let (Some(named), Some([acquire, macquire, one, owner])) = (named, module().acl_words.get()) else {
        return AclAnswer::NoSuchUser;
    };
    let check = module().capabilities.get().check_in_database();
    let owner = owner.as_ref();
    let may_run = match with {
        AskedWith::Acquire => named.may_run([acquire.as_ref(), key, owner], ctx, check),
        AskedWith::Macquire => named.may_run([macquire.as_ref(), one.as_ref(), key, owner], ctx, check),
    };
    match may_run {
        None => AclAnswer::NoSuchUser,
        Some(true) => AclAnswer::Allowed,
        Some(false) => AclAnswer::Denied,
    }
}
