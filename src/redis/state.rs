//! The module's memory, reached from callbacks that Redis calls without a pointer to it.

use std::cell::{Cell, RefCell};
use std::mem;

use super::blocked::BlockedClient;
use crate::engine::{Engine, Inbox};

/// Data that only the server's main thread touches.
pub struct MainThread<T>(T);

// SAFETY: Redis runs commands, timers, events and every value callback but `free` on its main thread, and `free`, which
// may run on a background thread, touches no static (src/redis/value.rs).
unsafe impl<T> Sync for MainThread<T> {}

impl<T> MainThread<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> MainThread<T> {
        MainThread(value)
    }

    /// The value. Main thread only.
    pub fn get(&self) -> &T {
        &self.0
    }
}

static ENGINE: MainThread<RefCell<Option<Engine<BlockedClient>>>> = MainThread::new(RefCell::new(None));
static INBOX: MainThread<RefCell<Inbox>> = MainThread::new(RefCell::new(Inbox::new()));
static OWN_REMOVAL: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// Makes the engine, once, at load.
pub fn create_engine() {
    if let Ok(mut engine) = ENGINE.get().try_borrow_mut() {
        engine.get_or_insert_with(Engine::new);
    }
}

/// Uses the engine. `None` before load, or from a callback in the middle of the engine's own work; no callback that
/// calls this can run there, because all the engine calls are reads and writes of a key, and what these set off only
/// leaves notes in the inbox.
pub fn with_engine<R>(body: impl FnOnce(&mut Engine<BlockedClient>) -> R) -> Option<R> {
    ENGINE.get().try_borrow_mut().ok()?.as_mut().map(body)
}

/// Uses the inbox. Never held across a call into the server, so it is always free.
pub fn with_inbox<R>(body: impl FnOnce(&mut Inbox) -> R) -> Option<R> {
    INBOX.get().try_borrow_mut().ok().map(|mut inbox| body(&mut inbox))
}

/// Takes all notes out.
pub fn take_inbox() -> Inbox {
    with_inbox(mem::take).unwrap_or_default()
}

/// Runs `remove` while [`is_own_removal`] tells the value's callbacks that nobody else removed it.
pub fn own_removal<R>(remove: impl FnOnce() -> R) -> R {
    OWN_REMOVAL.get().set(true);
    let result = remove();
    OWN_REMOVAL.get().set(false);
    result
}

/// Whether the module itself removes a lock just now.
pub fn is_own_removal() -> bool {
    OWN_REMOVAL.get().get()
}
