//! Independent servers, and the quorum over them.

use redis_lock_client::Locks;
use support::{skip, Server};

pub fn start_servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start()).collect()
}

/// The locks of a quorum of these servers. The client shares its connections with no other.
pub fn quorum(servers: &[Server]) -> Locks {
    quorum_on_ports(servers.iter().map(Server::port))
}

/// The locks of a quorum of the servers, or relays, on these ports.
pub fn quorum_on_ports(ports: impl IntoIterator<Item = u16>) -> Locks {
    let urls: Vec<String> = ports.into_iter().map(super::url).collect();
    Locks::quorum(urls.iter().map(String::as_str)).unwrap()
}

/// Starts servers with clocks that are off by so many seconds. If the module does not see the changed clocks, the
/// result is `None` and the test is reported as skipped.
pub fn start_servers_with_clocks<const N: usize>(offsets: [i64; N]) -> Option<[Server; N]> {
    let servers = offsets.map(|seconds| Server::builder().clock_off_by(seconds).start());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
    for (server, offset) in servers.iter().zip(offsets) {
        // The fences of a server that has just started are the microseconds of its clock and 60 s more.
        let ahead = server.cmd(&["LOCK.ACQUIRE", "probe", "a", "PX", "1"]).int() / 1_000_000 - 60 - now;
        if (ahead - offset).abs() > 30.min(1 + offset.abs() / 2) {
            skip("this server binds modules to the C library before what is preloaded (RTLD_DEEPBIND)");
            return None;
        }
    }
    Some(servers)
}
