//! Open keys, as the engine sees them.

use smallvec::SmallVec;

use super::ffi::acl::Reader;
use super::ffi::internal_names;
use super::ffi::keys::{Content, TypedKey};
use super::ffi::strings::{ServerString, StringRef};
use super::ffi::Ctx;
use super::state::module;
use super::{users, value_type};
use crate::engine::{Found, Key, KeyRef, KeySet, Keyspace, Readable, Stored};
use crate::lock::{Holders, Rights, User};

/// A key open for writing, until it is dropped. Opening it signals no change; the server is told of real changes only.
pub struct OpenKey<'a> {
    // Closed before its name is freed.
    key: TypedKey<Stored>,
    name: KeyName<'a>,
    ctx: Ctx,
    /// Nobody listens to what is replicated, so a change is only counted for the save points.
    is_silent: bool,
}

/// The name of an open key.
enum KeyName<'a> {
    /// The server lends it.
    Lent(StringRef<'a>),
    /// It was made for this key.
    Own(ServerString),
}

impl KeyName<'_> {
    #[inline(always)]
    fn get(&self) -> StringRef<'_> {
        match self {
            KeyName::Lent(name) => *name,
            KeyName::Own(name) => name.as_ref(),
        }
    }
}

impl<'a> OpenKey<'a> {
    /// Opens the key of a command.
    #[inline]
    pub fn open_for_command(ctx: Ctx, name: StringRef<'a>) -> OpenKey<'a> {
        let key = TypedKey::open_to_write(ctx, name, value_type::lock_type());
        let is_silent = module().propagation.get().has_no_listeners();
        OpenKey { key, name: KeyName::Lent(name), ctx, is_silent }
    }

    /// Opens a key by its name, in the database that the context has selected.
    pub fn open_by_name(ctx: Ctx, name: &[u8]) -> OpenKey<'a> {
        let name = ServerString::new(name);
        let key = TypedKey::open_to_write(ctx, name.as_ref(), value_type::lock_type());
        OpenKey { key, name: KeyName::Own(name), ctx, is_silent: false }
    }
}

/// What an open key holds, in the engine's words.
fn found(content: Content) -> Found {
    match content {
        Content::Empty => Found::Free,
        Content::Value => Found::Lock,
        Content::Other => Found::Other,
    }
}

/// What users may do with an open key.
pub struct KeyRights<'a> {
    ctx: Ctx,
    name: StringRef<'a>,
}

impl Rights for KeyRights<'_> {
    fn may_acquire(&mut self, user: User) -> bool {
        users::may_acquire(user, self.name, self.ctx)
    }
}

impl<'a> Key for OpenKey<'a> {
    type Rights = KeyRights<'a>;

    #[allow(unsafe_code)]
    fn rights(&self) -> KeyRights<'a> {
        // SAFETY: the engine drops the rights before the key, and the name lives as long as the key.
        KeyRights { ctx: self.ctx, name: unsafe { self.name.get().for_longer() } }
    }

    fn found(&self) -> Found {
        found(self.key.content())
    }

    fn stored(&mut self) -> Option<&mut Stored> {
        self.key.value_mut()
    }

    fn create(&mut self, stored: Stored) {
        self.key.set(value_type::boxed(stored), value_type::lock_type());
    }

    fn remove(&mut self) {
        module().own_removal.during(|| self.key.delete());
    }

    fn clear_ttl(&mut self) {
        self.key.clear_ttl();
    }

    fn is_heard(&self) -> bool {
        !self.is_silent
    }

    fn replicate(&mut self, effect: &[u8]) {
        self.ctx.replicate_key_bytes(internal_names::APPLY, self.name.get(), effect);
    }

    fn count_change(&mut self) {
        self.ctx.count_change();
    }

    fn signal_changed(&mut self) {
        self.ctx.signal_modified(self.name.get());
    }
}

/// The keys of a command with several. Each is opened when it is needed first, and stays open until all are dropped.
pub struct KeysOfCommand<'a> {
    ctx: Ctx,
    names: &'a [StringRef<'a>],
    opened: SmallVec<[OpenKey<'a>; 4]>,
}

impl<'a> KeysOfCommand<'a> {
    /// The keys of these names, in the order in which they are opened first.
    pub fn new(ctx: Ctx, names: &'a [StringRef<'a>]) -> KeysOfCommand<'a> {
        KeysOfCommand { ctx, names, opened: SmallVec::new() }
    }
}

impl<'n> KeySet for KeysOfCommand<'n> {
    type Key<'a>
        = &'a mut OpenKey<'n>
    where
        Self: 'a;

    fn open<'a>(&'a mut self, place: usize, _at: KeyRef<'a>) -> Option<&'a mut OpenKey<'n>> {
        while self.opened.len() <= place {
            let name = self.names.get(self.opened.len())?;
            self.opened.push(OpenKey::open_for_command(self.ctx, *name));
        }
        self.opened.get_mut(place)
    }
}

/// A key open for reading, until it is dropped.
pub struct ReadKey(TypedKey<Stored>);

impl ReadKey {
    /// Opens the key of this name, in the database that the context has selected.
    pub fn open(ctx: Ctx, name: StringRef) -> ReadKey {
        ReadKey(TypedKey::open_to_read(ctx, name, value_type::lock_type()))
    }

    /// What it holds.
    pub fn found(&self) -> Found {
        found(self.0.content())
    }

    /// How many milliseconds are left of the TTL that somebody set by hand; `None` without a TTL or without a lock.
    pub fn ttl_ms(&self) -> Option<u64> {
        self.0.ttl_ms()
    }

    /// The lock it holds.
    pub fn stored(&self) -> Option<&Stored> {
        self.0.value()
    }
}

/// Opens a key for reading in its database, and goes back to the database that was selected. `None` if there is no such
/// database.
pub fn read_key<R>(ctx: Ctx, at: KeyRef, read: impl FnOnce(&ReadKey) -> R) -> Option<R> {
    let selected = ctx.db();
    if !ctx.select_db(at.db) {
        return None;
    }
    let name = ServerString::new(at.name);
    let result = read(&ReadKey::open(ctx, name.as_ref()));
    ctx.select_db(selected);
    Some(result)
}

/// The keys of the selected database, as far as somebody may read them.
pub struct ReadableKeys {
    /// The command's context.
    pub ctx: Ctx,
    /// Who reads.
    pub reader: Reader,
}

impl Readable for ReadableKeys {
    fn may_read(&mut self, name: &[u8]) -> bool {
        self.reader.may_read(ServerString::new(name).as_ref())
    }

    fn with_lock(&mut self, name: &[u8], look: &mut dyn FnMut(&Stored, Option<u64>)) {
        let name = ServerString::new(name);
        let key = ReadKey::open(self.ctx, name.as_ref());
        if let Some(stored) = key.stored() {
            look(stored, key.ttl_ms());
        }
    }
}

/// The locks that the client of a command could see.
pub struct ReadKeyspace(pub Ctx);

impl Keyspace for ReadKeyspace {
    fn with_holders(&mut self, key: KeyRef, look: &mut dyn FnMut(&Holders)) {
        read_key(self.0, key, |read| read.stored().map(|stored| look(&stored.holders)));
    }
}
