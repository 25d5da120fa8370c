//! Data that belongs to the server's main thread.

use std::cell::Cell;

/// Data that only the server's main thread touches.
pub struct MainThread<T>(T);

// SAFETY: Redis runs commands, timers, events and most value callbacks on its main thread. The callbacks that may run on
// another thread are `free` and those that save a value or the fence clock. They touch no such data: `free` keeps the
// memory of a value only if `is_main_thread` says so, and the others read the value and one atomic number.
unsafe impl<T> Sync for MainThread<T> {}

impl<T> MainThread<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> MainThread<T> {
        MainThread(value)
    }

    /// The value. Must be called on the main thread.
    pub fn get(&self) -> &T {
        &self.0
    }
}

thread_local! {
    /// One flag for each thread, because it tells threads apart.
    static IS_MAIN: Cell<bool> = const { Cell::new(false) };
}

/// Remembers the current thread as the main one. To be called at load, which runs on the main thread.
pub fn remember_main_thread() {
    IS_MAIN.set(true);
}

/// Whether this is the server's main thread, and not one that frees values in the background.
pub fn is_main_thread() -> bool {
    IS_MAIN.get()
}

/// Tells a callback that the module itself caused it.
pub struct Mark(Cell<bool>);

impl Mark {
    /// A mark that is not set.
    pub const fn new() -> Mark {
        Mark(Cell::new(false))
    }

    /// Runs `body`, which must not panic, while the mark is set.
    pub fn during<R>(&self, body: impl FnOnce() -> R) -> R {
        let was_set = self.0.replace(true);
        let result = body();
        self.0.set(was_set);
        result
    }

    /// Whether [`Mark::during`] runs.
    pub fn is_set(&self) -> bool {
        self.0.get()
    }
}
