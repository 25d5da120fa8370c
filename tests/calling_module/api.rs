//! The server's functions.

use std::ffi::c_char;

/// Calls a function of the server's.
macro_rules! call {
    ($name:ident ( $($arg:expr),* $(,)? )) => {
        // SAFETY: the pointers were written at load; every caller passes what is live.
        unsafe { redis_module::raw::$name.unwrap()($($arg),*) }
    };
}
pub(crate) use call;

/// Copies the bytes that a function of the server's tells the place and the length of.
pub fn bytes(tell: impl FnOnce(&mut usize) -> *const c_char) -> Vec<u8> {
    let mut len = 0;
    let start = tell(&mut len);
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the server says that so many bytes are there.
    unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) }.to_vec()
}

/// What goes to another thread, or is kept, although it holds pointers of the server's; used under the server's lock only.
pub struct Sent<T>(pub T);

// SAFETY: the server's lock makes threads take turns.
unsafe impl<T> Send for Sent<T> {}

impl<T> Sent<T> {
    /// Takes it out, on the other side.
    pub fn take(self) -> T {
        self.0
    }
}
