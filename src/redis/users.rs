//! Asks the server whether an ACL user may still run LOCK.ACQUIRE or LOCK.MACQUIRE.

use super::ffi::acl::NamedUser;
use super::ffi::strings::{ServerString, StringRef};
use super::ffi::Ctx;
use super::state::module;
use crate::engine::KeyRef;
use crate::lock::User;
use crate::policy::users::{is_lasting, AclAnswer};

/// Makes the words that users are asked about, at load.
pub fn prepare() {
    module()
        .acl_words
        .get_or_init(|| ["LOCK.ACQUIRE", "LOCK.MACQUIRE", "owner"].map(|word| ServerString::new(word.as_bytes())));
}

/// The number of the user of this name.
pub fn number(name: &[u8]) -> Option<User> {
    let make = |name: &[u8]| if is_lasting(name) { NamedUser::lasting(name) } else { NamedUser::passing(name) };
    module().users.try_borrow_mut().ok()?.get_or_insert_default().number(name, make)
}

/// Whether a user may be granted the lock at this key, in the database that the context has selected.
pub fn may_acquire(user: User, key: StringRef, ctx: Ctx) -> bool {
    let Some([acquire, _, owner]) = words() else { return AclAnswer::NoSuchUser.may_acquire() };
    ask(user, &[acquire, key, owner], ctx).may_acquire()
}

/// Whether a user may be granted the locks at these keys together, in the database that the context has selected.
pub fn may_acquire_all(user: User, keys: &[KeyRef], ctx: Ctx) -> bool {
    let Some([_, macquire, owner]) = words() else { return AclAnswer::NoSuchUser.may_acquire() };
    let count = ServerString::new(keys.len().to_string().as_bytes());
    let names: Vec<ServerString> = keys.iter().map(|key| ServerString::new(key.name)).collect();
    let names = names.iter().map(ServerString::as_ref);
    let words: Vec<StringRef> = [macquire, count.as_ref()].into_iter().chain(names).chain([owner]).collect();
    ask(user, &words, ctx).may_acquire()
}

/// LOCK.ACQUIRE, LOCK.MACQUIRE, and an owner.
fn words() -> Option<[StringRef<'static>; 3]> {
    Some(module().acl_words.get()?.each_ref().map(ServerString::as_ref))
}

/// Asks the server whether the user may run a command of these words.
fn ask(user: User, words: &[StringRef], ctx: Ctx) -> AclAnswer {
    let Ok(users) = module().users.try_borrow() else { return AclAnswer::NoSuchUser };
    let Some(named) = users.as_ref().and_then(|users| users.get(user)) else { return AclAnswer::NoSuchUser };
    match named.may_run(words, ctx, module().capabilities.get().check_in_database()) {
        None => AclAnswer::NoSuchUser,
        Some(true) => AclAnswer::Allowed,
        Some(false) => AclAnswer::Denied,
    }
}
