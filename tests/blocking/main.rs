//! Waiting clients: the order of the queue, time-outs, races with the server, and servers that cannot write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod io_threads;
mod pipelines;
mod races;
mod shared_races;
mod shared_waiters;
mod unwritable_server;
mod waiting;
mod wall_clock;
mod withdrawn_rights;

use support::{Client, Server};

/// A new client that requests the lock `k` with these words (the owner, then options) and waits without limit, and its
/// id.
#[track_caller]
fn waiter(server: &Server, words: &str) -> (Client, i64) {
    let mut client = server.client();
    let id = client.id();
    let command = format!("LOCK.ACQUIRE k {words} BLOCK 0");
    server.send_to_wait(&mut client, &command.split(' ').collect::<Vec<_>>());
    (client, id)
}
