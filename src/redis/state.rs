//! The module's memory, reached from callbacks that Redis calls without a pointer to it.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};

use super::blocked::BlockedClient;
use crate::engine::{Engine, Inbox};

/// Data that only the server's main thread touches.
pub struct MainThread<T>(T);

// SAFETY: Redis runs commands, timers, events and most value callbacks on its main thread. Those that may run on another
// one, `free` and what saves a value or the fence clock, touch no such static (src/redis/value.rs).
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

/// Makes the engine, once, at load.
pub fn create_engine() {
    if let Ok(mut engine) = ENGINE.get().try_borrow_mut() {
        engine.get_or_insert_with(Engine::new);
    }
}

/// Frees the engine: the module is not loaded after all.
pub fn drop_engine() {
    if let Ok(mut engine) = ENGINE.get().try_borrow_mut() {
        *engine = None;
    }
}

/// Uses the engine. `None` before load, or from a callback in the middle of the engine's own work; no callback that
/// calls this can run there, because all the engine calls are reads and writes of a key, and what these set off only
/// leaves notes in the inbox.
pub fn with_engine<R>(body: impl FnOnce(&mut Engine<BlockedClient>) -> R) -> Option<R> {
    let mut engine = ENGINE.get().try_borrow_mut().ok()?;
    let engine = engine.as_mut()?;
    let result = body(engine);
    FENCE_TO_SAVE.store(engine.fences().to_save(), Ordering::Relaxed);
    Some(result)
}

/// What is to be saved of the fence clock, for any thread.
static FENCE_TO_SAVE: AtomicU64 = AtomicU64::new(0);

/// What an RDB remembers of the fence clock, as of the last use of the engine. From any thread.
pub fn fence_to_save() -> u64 {
    FENCE_TO_SAVE.load(Ordering::Relaxed)
}

/// Uses the inbox. Never held across a call into the server, so it is always free.
pub fn with_inbox<R>(body: impl FnOnce(&mut Inbox) -> R) -> Option<R> {
    INBOX.get().try_borrow_mut().ok().map(|mut inbox| body(&mut inbox))
}

/// Takes all notes out.
pub fn take_inbox() -> Inbox {
    with_inbox(mem::take).unwrap_or_default()
}

thread_local! {
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
}

/// Takes note of the thread that loads the module: the main one.
pub fn remember_main_thread() {
    IS_MAIN.set(true);
}

/// Whether this is the server's main thread, and not one that frees values in the background.
pub fn is_main_thread() -> bool {
    IS_MAIN.get()
}

/// Tells a callback what the module itself is at.
pub struct Mark(MainThread<Cell<bool>>);

/// The module itself removes a lock.
pub static OWN_REMOVAL: Mark = Mark::new();
/// A command of the module runs.
pub static COMMAND: Mark = Mark::new();
/// The module itself asks whether a write would be accepted.
pub static OWN_QUESTION: Mark = Mark::new();

impl Mark {
    const fn new() -> Mark {
        Mark(MainThread::new(Cell::new(false)))
    }

    /// Runs `body`, which does not panic, under the mark.
    pub fn during<R>(&self, body: impl FnOnce() -> R) -> R {
        let was_set = self.0.get().replace(true);
        let result = body();
        self.0.get().set(was_set);
        result
    }

    /// Whether `during` runs.
    pub fn is_set(&self) -> bool {
        self.0.get().get()
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
