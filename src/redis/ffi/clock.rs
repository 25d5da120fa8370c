//! The clocks.

use crate::failpoints::{self, Failpoint};
use crate::lock::{Now, Steady, UnixMicros};

/// Reads both clocks. The monotonic one is the system's, and not the server's: from 9.1 on Valkey's is the CPU's own counter
/// by default, which goes wrong by up to some 0.02 %, and which on a virtual machine may leap forward
/// (valkey-io/valkey#4691). A lease that ends early has two holders.
pub fn now() -> Now {
    let unix = micros(libc::CLOCK_REALTIME);
    let steady = if failpoints::is_on(Failpoint::LeaseByWallClock) { unix } else { micros(libc::CLOCK_MONOTONIC) };
    Now { steady: Steady(steady), unix: UnixMicros(u64::try_from(unix).unwrap_or(0)) }
}

fn micros(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is there to be written; both clocks exist everywhere, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}
