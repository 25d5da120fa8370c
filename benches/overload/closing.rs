//! Connections that close at once, each the session of a lock. Without the module: as many that hold nothing.
//!
//! They close while the server stands still, so that it learns of all in one turn of its loop.

use crate::bench::clients::{all_say, connect, number, owner, until_number, DAY};
use crate::bench::streams::{Seen, Streams};
use crate::bench::wire::{command, Wire};
use crate::{Scale, Side};

/// What is done.
pub fn steps(scale: Scale) -> Vec<String> {
    vec![format!(
        "{} connections close at once, each the session of a lock, or with nothing bound to them",
        scale.crowd
    )]
}

/// The connections that stay: the streams, and the one that counts.
const OTHERS: i64 = 4;

/// Each has a lock of its own.
pub fn run(side: Side, scale: Scale) -> Vec<Seen> {
    let crowd = scale.crowd;
    let server = side.server();
    let mut control = Wire::connect(&server);
    let mut clients = connect(&server, crowd);
    if side == Side::Module {
        all_say(&mut clients, &mut control, |i| {
            command(&["LOCK.ACQUIRE", &format!("lock:{i:011}"), &owner(i), "PX", DAY, "SESSION"])
        });
        clients.iter_mut().for_each(|client| assert!(client.read().int() > 0));
    }
    let streams = Streams::connect(&server);
    server.sigstop();
    drop(clients);
    let seen = streams.watch(
        || server.sigcont(),
        || {
            until_number(&mut control, "clients", "connected_clients", |clients| clients <= OTHERS);
            support::poll(crate::bench::clients::PATIENCE, || (control.ask(b"DBSIZE\r\n") == 1).then_some(()))
                .expect("every session ends");
        },
    );
    if side == Side::Module {
        let mut count = |field| number(&mut control, "redislock", &format!("redislock_{field}"));
        assert_eq!((count("session_ends"), count("lease_ends")), (crowd as i64, 0));
        assert_eq!(count("locks_held"), 0);
    }
    vec![seen]
}
