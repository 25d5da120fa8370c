//! Thousands of connections begin to wait, and are served one after the other. Without the module: BLPOP and RPUSH.

use crate::bench::clients::{connect, hold, number, owner, until_number, DAY, HOLDER};
use crate::bench::streams::{Seen, Streams};
use crate::bench::wire::{command, Wire};
use crate::{Scale, Side};
use support::Server;

/// What is done.
pub fn steps(scale: Scale) -> Vec<String> {
    let Scale { crowd, locks, .. } = scale;
    vec![
        format!("{crowd} connections begin to wait for {locks} locks, or in BLPOP on {locks} lists"),
        format!("{crowd} hand-offs among them, or as many pushes"),
    ]
}

fn key(i: usize) -> String {
    format!("lock:{i:011}")
}

/// The i-th client of the crowd waits for the i-th lock, beginning anew after the last, and is served in that order.
pub fn run(side: Side, scale: Scale) -> Vec<Seen> {
    let Scale { crowd, locks, .. } = scale;
    let server = side.server();
    let mut control = Wire::connect(&server);
    if side == Side::Module {
        (0..locks).for_each(|lock| hold(&mut control, &key(lock)));
    }
    let mut clients = connect(&server, crowd);
    let begun = Streams::connect(&server).watch(
        || {
            for (row, some) in clients.chunks_mut(locks).enumerate() {
                for (lock, client) in some.iter_mut().enumerate() {
                    client.send(&wait(side, &key(lock), &owner(row * locks + lock)));
                }
                // So that the next row stands behind this one.
                control.settle();
            }
        },
        || until_number(&mut Wire::connect(&server), "clients", "blocked_clients", |blocked| blocked == crowd as i64),
    );
    let served = Streams::connect(&server).watch(
        || {
            for (row, some) in clients.chunks_mut(locks).enumerate() {
                let words = (0..some.len()).flat_map(|lock| {
                    let before = row.checked_sub(1).map(|row| owner(row * locks + lock));
                    serve(side, &key(lock), before.as_deref().unwrap_or(HOLDER))
                });
                control.send(&words.collect::<Vec<u8>>());
                some.iter().for_each(|_| assert_eq!(control.read(), 1));
                some.iter_mut().for_each(|client| drop(client.read()));
            }
        },
        || until_number(&mut Wire::connect(&server), "clients", "blocked_clients", |blocked| blocked == 0),
    );
    if side == Side::Module {
        for lock in 0..locks {
            let last = owner(crowd - locks + lock);
            assert_eq!(control.ask(&command(&["LOCK.RELEASE", &key(lock), &last])), 1);
        }
    }
    check(&server, side, scale);
    vec![begun, served]
}

fn wait(side: Side, key: &str, owner: &str) -> Vec<u8> {
    match side {
        Side::Module => command(&["LOCK.ACQUIRE", key, owner, "PX", DAY, "BLOCK", DAY]),
        Side::Without => command(&["BLPOP", key, "86400"]),
    }
}

/// Lets the next one in.
fn serve(side: Side, key: &str, holder: &str) -> Vec<u8> {
    match side {
        Side::Module => command(&["LOCK.RELEASE", key, holder]),
        Side::Without => command(&["RPUSH", key, "element"]),
    }
}

/// Everybody was served once, and nothing is left.
fn check(server: &Server, side: Side, scale: Scale) {
    let mut control = Wire::connect(server);
    // That of the streams.
    assert_eq!(control.ask(b"DBSIZE\r\n"), 1);
    if side == Side::Module {
        let mut count = |field| number(&mut control, "redislock", &format!("redislock_{field}"));
        assert_eq!((count("waiters"), count("locks_held")), (0, 0));
        assert_eq!(count("grants_after_waiting"), scale.crowd as i64);
        assert_eq!(count("releases"), (scale.crowd + scale.locks) as i64);
    }
}
