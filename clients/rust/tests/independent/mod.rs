//! Independent servers, and the quorum over them.

// Each test file needs a part of it.
#![allow(dead_code)]

use redis_lock_client::Locks;
use support::{skip, Server};

pub fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start()).collect()
}

/// A client of its own: it shares connections with nobody.
pub fn quorum(servers: &[Server]) -> Locks {
    of_ports(servers.iter().map(Server::port))
}

pub fn of_ports(ports: impl IntoIterator<Item = u16>) -> Locks {
    let urls: Vec<String> = ports.into_iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    Locks::quorum(urls.iter().map(String::as_str)).unwrap()
}

/// Servers with clocks that are off by so many seconds; `None` (and said so) where the module does not see it.
pub fn with_clocks<const N: usize>(offsets: [i64; N]) -> Option<[Server; N]> {
    let servers = offsets.map(|seconds| Server::builder().clock_off_by(seconds).start());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
    for (server, offset) in servers.iter().zip(offsets) {
        // A server that has just started gives fences that are its clock's microseconds and 60 s more.
        let ahead = server.cmd(&["LOCK.ACQUIRE", "probe", "a", "PX", "1"]).int() / 1_000_000 - 60 - now;
        if (ahead - offset).abs() > 30.min(1 + offset.abs() / 2) {
            skip("this server binds modules to the C library before what is preloaded (RTLD_DEEPBIND)");
            return None;
        }
    }
    Some(servers)
}
