//! The ways in which a server keeps its data over a restart.

use super::builder::ServerBuilder;
use super::server::Server;

/// Every way to keep data over a restart: its name, for [`restart_keeping`] and for messages, and a server that uses it.
pub fn persistence_modes() -> [(&'static str, ServerBuilder); 3] {
    [
        ("RDB", Server::builder()),
        ("AOF with preamble", Server::builder().aof().aof_preamble(true)),
        ("AOF without preamble", Server::builder().aof().aof_preamble(false)),
    ]
}

/// Restarts a server of [`persistence_modes`] so that its data come back: with the RDB it saves first.
pub fn restart_keeping(server: &Server, mode: &str) {
    if mode == "RDB" {
        server.shutdown_saving();
    }
    server.restart();
}
