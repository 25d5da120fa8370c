//! Thousands of connections.

use super::wire::{command, Wire};
use std::time::Duration;
use support::{poll, Server, ServerBuilder};

/// Connections that are made in one go, fewer than a server's backlog holds.
const AT_ONCE: usize = 100;
/// Open files that the largest crowd needs, on either side.
pub const FILES: u64 = 13_000;
/// How long a server may take until a crowd is in, or out: it gives back some 500 blocked clients a second.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A lease, or a wait, that does not end while anything is measured.
pub const DAY: &str = "86400000";

/// A server takes such crowds.
pub const MANY_CLIENTS: &str = "maxclients 12900";

/// And so does the module that it loads.
pub fn roomy(server: ServerBuilder) -> ServerBuilder {
    server.config(MANY_CLIENTS).config("redislock.max-waiters 1000000").config("redislock.max-holders 1000000")
}

/// Connections that the server has taken and answered.
pub fn connect(server: &Server, count: usize) -> Vec<Wire> {
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let more = AT_ONCE.min(count - clients.len());
        let mut new: Vec<Wire> = (0..more).map(|_| Wire::connect(server)).collect();
        new.iter_mut().for_each(|client| client.send(b"PING\r\n"));
        new.iter_mut().for_each(|client| assert_eq!(client.read(), "PONG"));
        clients.append(&mut new);
    }
    clients
}

/// The i-th owner, 16 bytes.
pub fn owner(i: usize) -> String {
    format!("waiter-{i:09}")
}

/// Sends every client the command that `words` makes of its number, and returns when the server has read them all.
pub fn all_say(clients: &mut [Wire], control: &mut Wire, words: impl Fn(usize) -> Vec<u8>) {
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(&words(i));
    }
    control.settle();
}

/// Acquires for somebody whom nobody else is.
pub fn hold(control: &mut Wire, key: &str) {
    assert!(control.ask(&command(&["LOCK.ACQUIRE", key, HOLDER, "PX", DAY])).int() > 0);
}

/// The owner behind [`hold`].
pub const HOLDER: &str = "holder-012345678";

/// A number of the server's INFO.
pub fn number(control: &mut Wire, section: &str, field: &str) -> i64 {
    let info = control.ask(&command(&["INFO", section])).text();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).map(str::trim);
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number {field} in INFO {section}"))
}

/// Waits until a number of INFO is what it should be.
pub fn until_number(control: &mut Wire, section: &str, field: &str, wanted: impl Fn(i64) -> bool) {
    let done = poll(PATIENCE, || wanted(number(control, section, field)).then_some(()));
    assert!(done.is_some(), "{field} is {}", number(control, section, field));
}

/// The server's memory, after what was freed lazily is gone.
pub fn memory(control: &mut Wire) -> i64 {
    until_number(control, "memory", "lazyfree_pending_objects", |pending| pending == 0);
    number(control, "memory", "used_memory")
}
