//! Leases that end in one millisecond: each of a lock of its own, or all of one lock. Without the module: strings that
//! expire.
//!
//! The server stands still when they end, so that it finds all of them over at once.

use std::time::{Duration, Instant};

use crate::bench::clients::{number, owner, until_number};
use crate::bench::streams::{Seen, Streams};
use crate::bench::wire::{command, Wire};
use crate::{Scale, Side};
use support::Server;

/// When the leases end, counted from before the first: enough to give them all. Doubled where it is not.
const FIRST_TRY: Duration = Duration::from_secs(2);
const LAST_TRY: Duration = Duration::from_secs(64);
/// How many requests go in one go.
const AT_ONCE: usize = 100;

/// What is done.
pub fn steps(scale: Scale) -> Vec<String> {
    let leases = scale.leases;
    vec![format!("{leases} leases of {leases} locks end in one millisecond, or {leases} strings expire")]
}

/// What is done.
pub fn steps_shared(scale: Scale) -> Vec<String> {
    let leases = scale.leases;
    vec![format!("{leases} shared leases of one lock end in one millisecond, or {leases} strings expire")]
}

/// Leases of as many locks.
pub fn run(side: Side, scale: Scale) -> Vec<Seen> {
    let ask = match side {
        Side::Module => |i, ms: &str| command(&["LOCK.ACQUIRE", &key(i), &owner(i), "PX", ms]),
        Side::Without => set,
    };
    vec![end(side, scale.leases, ask)]
}

/// Leases of one lock.
pub fn run_shared(side: Side, scale: Scale) -> Vec<Seen> {
    let ask = match side {
        Side::Module => |i, ms: &str| command(&["LOCK.ACQUIRE", &key(0), &owner(i), "PX", ms, "SHARED"]),
        Side::Without => set,
    };
    vec![end(side, scale.leases, ask)]
}

fn key(i: usize) -> String {
    format!("lock:{i:011}")
}

fn set(i: usize, ms: &str) -> Vec<u8> {
    command(&["SET", &key(i), &owner(i), "PX", ms])
}

/// Lets what `ask` asks for end while the server stands still, and looks on from the moment it goes on.
fn end(side: Side, count: usize, ask: fn(usize, &str) -> Vec<u8>) -> Seen {
    let (server, streams, ended) = begin(side, count, ask);
    std::thread::sleep(ended.saturating_duration_since(Instant::now()));
    let mut control = Wire::connect(&server);
    let seen = streams.watch(
        || server.sigcont(),
        || {
            // The one that is left is that of the streams.
            support::poll(crate::bench::clients::PATIENCE, || (control.ask(b"DBSIZE\r\n") == 1).then_some(()))
                .expect("all come to their end");
        },
    );
    if side == Side::Module {
        until_number(&mut control, "redislock", "redislock_lease_ends", |ends| ends == count as i64);
        assert_eq!(number(&mut control, "redislock", "redislock_locks_held"), 0);
    }
    seen
}

/// A server that stands still and has given so many leases, and when the last of them ends.
fn begin(side: Side, count: usize, ask: fn(usize, &str) -> Vec<u8>) -> (Server, Streams, Instant) {
    let mut length = FIRST_TRY;
    while length <= LAST_TRY {
        let server = side.server();
        let streams = Streams::connect(&server);
        let mut control = Wire::connect(&server);
        let end = Instant::now() + length;
        if give(&mut control, count, end, ask) {
            server.sigstop();
            if Instant::now() < end {
                return (server, streams, end + Duration::from_millis(50));
            }
        }
        length *= 2;
    }
    panic!("{count} leases could not be given within {LAST_TRY:?}");
}

/// Asks for all of it, each to end then. False if that moment came before.
fn give(control: &mut Wire, count: usize, end: Instant, ask: fn(usize, &str) -> Vec<u8>) -> bool {
    for some in (0..count).collect::<Vec<usize>>().chunks(AT_ONCE) {
        let left = end.saturating_duration_since(Instant::now()).as_millis();
        if left == 0 {
            return false;
        }
        let words = some.iter().flat_map(|i| ask(*i, &left.to_string()));
        control.send(&words.collect::<Vec<u8>>());
        some.iter().for_each(|_| drop(control.read()));
    }
    true
}
