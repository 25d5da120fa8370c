//! The module's memory: one value, which callbacks reach although Redis gives them no pointer to it.
//!
//! What stands outside it has a reason: the detached context (`ffi/log.rs`) and the fence clock to save are used from any
//! thread, and the flag that tells the main thread (`ffi/main_thread.rs`) is one for each thread.

use std::cell::{Cell, OnceCell, RefCell};
use std::mem::{self, MaybeUninit};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ffi::acl::NamedUser;
use super::ffi::api::TimerId;
use super::ffi::clock;
use super::ffi::compat::Capabilities;
use super::ffi::data_type::TypeHandle;
use super::ffi::main_thread::{MainThread, Mark};
use super::ffi::strings::ServerString;
use super::ffi::{Ctx, Flags};
use super::waiting_client::{BlockedClient, SentGrant};
use crate::engine::{Engine, Inbox, KeyId, Stored};
use crate::lock::Steady;
use crate::policy::caller::OtherModules;
use crate::policy::delivery::Deliveries;
use crate::policy::propagation::Propagation;
use crate::policy::removals::Removals;
use crate::policy::role::{DataSet, Role};
use crate::policy::users::UserNumbers;
use crate::wire::SlotSet;

/// Everything that the module remembers. Only the main thread touches it.
pub struct Module {
    engine: RefCell<Option<Engine<BlockedClient>>>,
    inbox: RefCell<Inbox>,

    /// What this server can do.
    pub capabilities: Cell<Capabilities>,
    /// Its role. The server tells of every change in the middle of the command that makes it, so each later command sees it.
    /// Asking the server with every command would cost more than everything else that a command asks.
    pub role: Cell<Role>,
    /// Whether the server has other modules.
    pub other_modules: Cell<OtherModules>,
    /// Whether anybody listens to what is replicated.
    pub propagation: Cell<Propagation>,
    /// The slots that began to come in and are not this server's yet.
    pub coming_slots: RefCell<Option<SlotSet>>,

    /// The type of a lock's value, once it is registered.
    pub lock_type: Cell<TypeHandle<Stored>>,
    /// The memory of the lock that was freed last.
    pub spare: Cell<Option<Box<MaybeUninit<Stored>>>>,
    /// Whether the server reports database 0 for every key that it loads now.
    pub database_is_unknown: Cell<bool>,
    /// Whether the module has decided about listening to keyspace events.
    pub is_listening_to_keys: Cell<bool>,
    /// Whether a lock's value left its key since a key last moved. If not, what moves is no lock.
    pub value_left: Cell<bool>,

    /// When the timer rings, and which one it is.
    pub armed: Cell<Option<(Steady, TimerId)>>,
    /// Whether the timer was asked to ring at once and has not rung yet. An event that comes a million times asks once.
    pub is_kicked: Cell<bool>,
    /// What happens when the timer rings; set at load.
    pub tick: Cell<fn(Ctx)>,

    /// The ACL users that asked for locks.
    pub users: RefCell<Option<UserNumbers<NamedUser>>>,
    /// The words of the commands that users are asked about: LOCK.ACQUIRE, LOCK.MACQUIRE, a number of keys and an owner.
    pub acl_words: OnceCell<[ServerString; 3]>,
    /// The client that asked last and was connected.
    pub last_client: Cell<u64>,

    /// Grants that were sent in this iteration of the event loop.
    pub deliveries: RefCell<Deliveries<SentGrant>>,
    /// How many locks somebody else removed.
    pub removals: RefCell<Removals<KeyId>>,

    /// Set while the module itself removes a lock.
    pub own_removal: Mark,
    /// Set while a command of the module runs.
    pub command: Mark,
    /// Set while the module itself asks whether a write would be accepted.
    pub write_probe: Mark,

    /// Whether the next tick is to panic, for a test.
    #[cfg(feature = "failpoints")]
    pub panic_in_tick: Cell<bool>,
}

static MODULE: MainThread<Module> = MainThread::new(Module {
    engine: RefCell::new(None),
    inbox: RefCell::new(Inbox::new()),
    capabilities: Cell::new(Capabilities::UNKNOWN),
    role: Cell::new(Role::Primary),
    other_modules: Cell::new(OtherModules::Absent),
    propagation: Cell::new(Propagation::new()),
    coming_slots: RefCell::new(None),
    lock_type: Cell::new(TypeHandle::NONE),
    spare: Cell::new(None),
    database_is_unknown: Cell::new(false),
    is_listening_to_keys: Cell::new(false),
    value_left: Cell::new(false),
    armed: Cell::new(None),
    is_kicked: Cell::new(false),
    tick: Cell::new(|_| {}),
    users: RefCell::new(None),
    acl_words: OnceCell::new(),
    last_client: Cell::new(0),
    deliveries: RefCell::new(Deliveries::new()),
    removals: RefCell::new(Removals::new()),
    own_removal: Mark::new(),
    command: Mark::new(),
    write_probe: Mark::new(),
    #[cfg(feature = "failpoints")]
    panic_in_tick: Cell::new(false),
});

/// What the fence clock is to be saved as, for any thread.
static FENCE_TO_SAVE: AtomicU64 = AtomicU64::new(0);

/// The module's memory. Must be called on the main thread.
pub fn module() -> &'static Module {
    MODULE.get()
}

/// Makes the engine, once, at load.
pub fn create_engine() {
    if let Ok(mut engine) = module().engine.try_borrow_mut() {
        engine.get_or_insert_with(Engine::new).server_starts(clock::now().steady);
    }
}

/// Frees the engine, when the load fails.
pub fn drop_engine() {
    if let Ok(mut engine) = module().engine.try_borrow_mut() {
        *engine = None;
    }
}

/// Uses the engine. `None` before the load, or from a callback in the middle of the engine's own work. No callback that calls
/// this can run there, because all the engine calls are reads and writes of a key, and what these set off only leaves notes
/// in the inbox.
pub fn with_engine<R>(body: impl FnOnce(&mut Engine<BlockedClient>) -> R) -> Option<R> {
    let mut engine = module().engine.try_borrow_mut().ok()?;
    let engine = engine.as_mut()?;
    let result = body(engine);
    FENCE_TO_SAVE.store(engine.fences().to_save(), Ordering::Relaxed);
    Some(result)
}

/// What an RDB file remembers of the fence clock, as of the last use of the engine; 0 if nothing was ever granted. May be
/// called from any thread.
pub fn fence_to_save() -> u64 {
    FENCE_TO_SAVE.load(Ordering::Relaxed)
}

/// Uses the inbox. It is never borrowed across a call into the server, so it is always free.
pub fn with_inbox<R>(body: impl FnOnce(&mut Inbox) -> R) -> Option<R> {
    module().inbox.try_borrow_mut().ok().map(|mut inbox| body(&mut inbox))
}

/// Takes all notes out of the inbox.
pub fn take_inbox() -> Inbox {
    with_inbox(mem::take).unwrap_or_default()
}

/// Puts back what is left of the notes that were [taken](take_inbox), before those that came meanwhile. True if some came.
pub fn put_back_inbox(mut left: Inbox) -> bool {
    let put_back = |notes: &mut Inbox| {
        let came = !notes.is_empty();
        left.append(mem::take(notes));
        // The memory that many notes took is given back.
        *notes = if left.is_empty() { Inbox::new() } else { left };
        came
    };
    with_inbox(put_back).unwrap_or(true)
}

/// Leaves a note that something put a value into this key.
pub fn note_changed(key: KeyId) {
    with_inbox(|inbox| inbox.changed.push(key));
}

/// Whether the server has all of its data set.
pub fn data_set(flags: Flags) -> DataSet {
    if flags.is_loading() {
        DataSet::Loading
    } else {
        DataSet::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Fence;
    use std::thread;

    #[test]
    fn another_thread_saves_the_fence_clock_as_the_main_thread_left_it() {
        let saved_elsewhere = || thread::spawn(fence_to_save).join().unwrap();
        create_engine();
        with_engine(|engine| engine.fences().leap(crate::lock::UnixMicros(7)));
        assert_eq!(saved_elsewhere(), 0, "nothing was granted");
        with_engine(|engine| engine.fences().observe(Fence::MAX));
        assert_eq!(saved_elsewhere(), Fence::MAX.get());
        drop_engine();
    }
}
