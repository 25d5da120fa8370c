//! What a hold takes of the server's memory.

use crate::bench::clients::{connect, memory, owner, roomy, DAY};
use crate::bench::progress;
use crate::bench::report::{Cell, Entry, Report, Table};
use crate::bench::wire::{command, Wire};
use crate::Scale;
use support::Server;

/// Commands in one write.
const AT_ONCE: usize = 500;
/// Holders that a table's row makes in all.
const HOLDERS: usize = 10_000;

/// The name of the i-th key, 16 bytes.
fn key(i: usize) -> String {
    format!("lock:{i:011}")
}

/// Says `count` commands; none may be refused.
fn say(wire: &mut Wire, count: usize, words: impl Fn(usize) -> Vec<u8>) {
    let all: Vec<usize> = (0..count).collect();
    for some in all.chunks(AT_ONCE) {
        wire.send(&some.iter().flat_map(|i| words(*i)).collect::<Vec<u8>>());
        some.iter().for_each(|_| assert!(!wire.read().is_nil()));
    }
}

/// Bytes that `count` commands leave behind on a new server, for each, and what the server says of the first key.
fn taken(count: usize, words: impl Fn(usize) -> Vec<u8>) -> (f64, Entry) {
    let server = roomy(Server::builder()).start();
    let mut wire = Wire::connect(&server);
    // What tables of the server and of the module take when they are first used.
    say(&mut wire, 1, |_| command(&["LOCK.ACQUIRE", "another", "somebody", "PX", DAY]));
    let start = memory(&mut wire);
    say(&mut wire, count, words);
    let each = (memory(&mut wire) - start) as f64 / count as f64;
    (each, usage(&mut wire))
}

/// What the server says of the first key.
fn usage(wire: &mut Wire) -> Entry {
    let bytes = wire.ask(&command(&["MEMORY", "USAGE", &key(0), "SAMPLES", "0"])).int();
    Entry::from(bytes as usize)
}

/// Fills the table of holds.
pub fn measure(scale: Scale, report: &mut Report) {
    let columns = ["what", "locks", "holders of each", "bytes a holder", "MEMORY USAGE of one key"];
    let mut table = Table::new("Memory of a hold", &columns);
    let bytes = |bytes: f64| Entry::Number(Cell::one(bytes), 0);
    let (string, usage) = taken(HOLDERS, |i| command(&["SET", &key(i), &owner(i), "PX", DAY]));
    table.row(vec!["SET key owner PX ms".into(), HOLDERS.into(), "".into(), bytes(string), usage]);
    let (lock, usage) = taken(HOLDERS, |i| command(&["LOCK.ACQUIRE", &key(i), &owner(i), "PX", DAY]));
    table.row(vec!["exclusive".into(), HOLDERS.into(), 1.into(), bytes(lock), usage]);
    for holders in scale.holders {
        progress(&format!("memory of locks with {holders} holders"));
        let locks = HOLDERS / holders;
        let shared = |i: usize, more: &[&str]| {
            let (key, owner) = (key(i / holders), owner(i));
            command(&[&["LOCK.ACQUIRE", &key, &owner, "PX", DAY, "SHARED"], more].concat())
        };
        let (each, usage) = taken(locks * holders, |i| shared(i, &[]));
        table.row(vec!["SHARED".into(), locks.into(), holders.into(), bytes(each), usage]);
        let (each, usage) = taken(locks * holders, |i| shared(i, &["LIMIT", "1000000"]));
        table.row(vec!["SHARED LIMIT n".into(), locks.into(), holders.into(), bytes(each), usage]);
    }
    let session = |i: usize| command(&["LOCK.ACQUIRE", &key(i), &owner(i), "PX", DAY, "SESSION"]);
    let (each, usage) = taken(HOLDERS, session);
    let name = "exclusive SESSION, all of one connection";
    table.row(vec![name.into(), HOLDERS.into(), 1.into(), bytes(each), usage]);
    let (each, usage) = sessions_apart(scale.clients, session);
    let name = "exclusive SESSION, each of a connection";
    table.row(vec![name.into(), scale.clients.into(), 1.into(), bytes(each), usage]);
    report.table(table);
    report.note(
        "`used_memory` beside an empty server's, keys and owners of 16 bytes, leases of a day. A hold's bytes hold its share of \
         the key and of all tables. Connections are there before and not counted.",
    );
}

/// As [`taken`], each command over a connection of its own.
fn sessions_apart(count: usize, words: impl Fn(usize) -> Vec<u8>) -> (f64, Entry) {
    let server = roomy(Server::builder()).start();
    let mut control = Wire::connect(&server);
    // Else Redis makes the buffers of idle clients smaller meanwhile.
    control.ask(&command(&["DEBUG", "REPLYBUFFER", "RESIZING", "0"]));
    let mut clients = connect(&server, count);
    let start = memory(&mut control);
    for (i, client) in clients.iter_mut().enumerate() {
        assert!(client.ask(&words(i)).int() > 0);
    }
    let each = (memory(&mut control) - start) as f64 / count as f64;
    (each, usage(&mut control))
}
