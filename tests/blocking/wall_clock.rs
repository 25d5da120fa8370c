//! Trap 43: the wall clock is set while the server runs. Leases and waits go by the monotonic clock.
//!
//! The server's own timers go by the wall clock, so after a step back the module's timer rings late; the server's cron,
//! which runs on all the same, makes up for it.

use std::time::{Duration, Instant};

use support::{acquire, args, clocks_can_be_wrong, until, wait, Server, Value, WallClock};

const HOUR_S: i64 = 3600;
/// What is left of a lease of this length shows which clock it goes by, however busy the machine is.
const LONG_MS: i64 = 600_000;
/// Longer than a machine is busy for, and much less than an hour.
const SOON: Duration = Duration::from_secs(30);

fn left(server: &Server, key: &str) -> i64 {
    server.cmd(&["LOCK.CHECK", key, "a"]).array()[1].int()
}

#[test]
fn wall_clock_that_is_set_ends_no_lease_early_and_none_late() {
    if !clocks_can_be_wrong() {
        return;
    }
    for step_s in [HOUR_S, -HOUR_S] {
        let clock = WallClock::new();
        let server = Server::builder().clock(&clock).start();
        let mut a = server.client();
        a.cmd(&args!["LOCK.ACQUIRE", "long", "a", "PX", LONG_MS]).int();
        a.cmd(&args!["LOCK.ACQUIRE", "reader", "a", "PX", LONG_MS, "SHARED"]).int();
        let fence = a.cmd(&args!["LOCK.ACQUIRE", "short", "a", "PX", 500]).int();
        let begun = Instant::now();
        let mut next = wait(&server, "LOCK.ACQUIRE short b PX 600000 BLOCK 0");
        clock.set_off_by(step_s);

        assert!(next.read().int() > fence, "fences rise though the clock was put back");
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(490) && took < SOON,
            "{step_s} s: the lease of 500 ms ended after {took:?}"
        );
        for key in ["long", "reader"] {
            let left = left(&server, key);
            assert!(left <= LONG_MS && left > LONG_MS - 60_000, "{step_s} s: {left} ms left");
        }
        // And what is asked for afterwards.
        a.cmd(&args!["LOCK.EXTEND", "long", "a", "PX", LONG_MS / 2]).int();
        let left = left(&server, "long");
        assert!(left <= LONG_MS / 2 && left > LONG_MS / 2 - 60_000, "{step_s} s: {left} ms left");
        a.cmd(&args!["LOCK.ACQUIRE", "later", "a", "PX", 200]).int();
        until("a later lease ends by itself", || server.cmd(&["EXISTS", "later"]) == 0);
    }
}

#[test]
fn wall_clock_that_is_set_shortens_no_wait_and_lengthens_none() {
    if !clocks_can_be_wrong() {
        return;
    }
    for step_s in [HOUR_S, -HOUR_S] {
        let clock = WallClock::new();
        let server = Server::builder().clock(&clock).start();
        acquire(&mut server.client(), "k", "a");
        let mut short = server.client();
        let begun = Instant::now();
        server.send_to_wait(&mut short, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "500"]);
        let mut long = wait(&server, "LOCK.ACQUIRE k c PX 600000 BLOCK 600000");
        clock.set_off_by(step_s);
        assert_eq!(short.read(), Value::NullBulk);
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(490) && took < SOON, "{step_s} s: the wait of 500 ms took {took:?}");
        server.assert_waiting(&mut long);
        assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
        long.read().int();
    }
}

/// The server looks at the first of its timers only. A clock that is put ahead makes every timer that is set after it come
/// behind those before; so the module has one, and sets that anew.
#[test]
fn wall_clock_that_is_put_ahead_again_and_again_makes_no_lease_end_late() {
    if !clocks_can_be_wrong() {
        return;
    }
    let clock = WallClock::new();
    let server = Server::builder().clock(&clock).start();
    let mut a = server.client();
    let begun = Instant::now();
    for step in 1..=20 {
        a.cmd(&args!["LOCK.ACQUIRE", "k", "a", "PX", LONG_MS]).int();
        let mut next = wait(&server, "LOCK.ACQUIRE k b PX 600000 BLOCK 0");
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
        next.read().int();
        clock.set_off_by(step * HOUR_S);
        assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b", "PX", "30"]), 1);
        let mut last = wait(&server, "LOCK.ACQUIRE k c PX 600000 BLOCK 0");
        last.read().int();
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "c"]), 1);
    }
    // Twenty leases of 30 ms, each less than half a second late.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}
