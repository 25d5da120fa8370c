//! Memory in proportion: no target may take much more than the bytes it was given.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::fuzz::Target;

/// What a byte may cost: a change of one byte is a value of about a hundred in a list that may be twice as long.
const PER_BYTE: usize = 512;
/// What any input may cost: worlds, lines, error texts.
const AT_LEAST: usize = 128 << 10;

/// Runs a target; panics if it ever held more memory than its input is good for.
pub fn in_proportion(target: Target, bytes: &[u8]) {
    let before = LIVE.load(Relaxed);
    MOST.store(before, Relaxed);
    target(bytes);
    let taken = MOST.load(Relaxed) - before;
    assert!(taken <= AT_LEAST + PER_BYTE * bytes.len(), "{taken} bytes of memory for {} of input", bytes.len());
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTED: Counted = Counted;

/// The system's allocator, which the address sanitizer watches, and a count.
struct Counted;

fn took(size: usize) {
    let live = LIVE.fetch_add(size, Relaxed) + size;
    MOST.fetch_max(live, Relaxed);
}

// SAFETY: every call is the system's own; the counts are beside it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: passed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: passed on as it came.
        unsafe { System.dealloc(pointer, layout) };
    }
}
