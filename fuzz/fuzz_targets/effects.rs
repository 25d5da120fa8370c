#![no_main]

use redis_lock_fuzz::{fuzz, in_proportion};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| in_proportion(fuzz::effects, bytes));
