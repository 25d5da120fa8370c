//! Checks that a target allocates memory in proportion to its input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::fuzz::Target;

/// How many bytes of memory a target may take for each byte of input. A change of a lock can be one byte long, and
/// becomes a value of about 100 bytes in a list with up to twice the capacity it needs.
const PER_BYTE: usize = 512;
/// How many bytes of memory a target may take for any input: 128 KiB for simulated servers, wait queues and error
/// texts.
const PER_INPUT: usize = 128 << 10;

/// Runs a target. Panics if it held more memory at any time than its input allows.
pub fn with_memory_limit(target: Target, bytes: &[u8]) {
    let before = LIVE.load(Relaxed);
    MOST.store(before, Relaxed);
    target(bytes);
    let taken = MOST.load(Relaxed) - before;
    assert!(taken <= PER_INPUT + PER_BYTE * bytes.len(), "{taken} bytes of memory for {} bytes of input", bytes.len());
}

/// The number of bytes that are allocated now.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// The largest value of [`LIVE`] since the target started.
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

/// The system's allocator, which the address sanitizer observes, with a count of the allocated bytes.
struct Counted;

/// Counts an allocation.
fn count(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    MOST.fetch_max(live, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator. The counts do not touch its memory.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the arguments are passed on unchanged.
        unsafe { System.dealloc(pointer, layout) };
    }
}
