#![no_main]

use redis_lock_fuzz::{fuzz, with_memory_limit};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| with_memory_limit(fuzz::stored, bytes));
