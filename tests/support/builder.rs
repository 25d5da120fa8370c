//! How a server is to be started.

use std::path::{Path, PathBuf};

use super::module::{faulty_module_path, module_path};
use super::server::Server;

/// Which module a server loads.
#[derive(Clone, Debug)]
enum Load {
    Nothing,
    Released,
    Faulty,
    File(PathBuf),
}

/// The settings of a [`Server`]. Defaults: the module, no persistence, 16 databases, DEBUG and MODULE commands
/// allowed, replicas synced without the usual 5 s delay.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    load: Load,
    lines: Vec<String>,
    is_sentinel: bool,
    env: Vec<(String, String)>,
}

impl Default for ServerBuilder {
    fn default() -> Self {
        ServerBuilder { load: Load::Released, lines: Vec::new(), is_sentinel: false, env: Vec::new() }
    }
}

impl ServerBuilder {
    /// Starts without any module.
    pub fn without_module(mut self) -> Self {
        self.load = Load::Nothing;
        self
    }

    /// Loads the module with failpoints.
    pub fn faulty_module(mut self) -> Self {
        self.load = Load::Faulty;
        self
    }

    /// Loads the module from this file.
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.load = Load::File(path.into());
        self
    }

    /// Adds a line to redis.conf. Later lines win over earlier ones and over the defaults.
    pub fn config(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// AOF on with `appendfsync always`.
    pub fn aof(self) -> Self {
        self.aof_fsync("always")
    }

    /// AOF on with `appendfsync` always, everysec or no.
    pub fn aof_fsync(self, when: &str) -> Self {
        self.config("appendonly yes").config(format!("appendfsync {when}"))
    }

    /// Whether an AOF rewrite writes an RDB as its base (`aof-use-rdb-preamble`, Redis's default: yes) or commands.
    pub fn aof_preamble(self, rdb: bool) -> Self {
        let word = if rdb { "yes" } else { "no" };
        self.config(format!("aof-use-rdb-preamble {word}"))
    }

    /// How many databases.
    pub fn databases(self, count: u32) -> Self {
        self.config(format!("databases {count}"))
    }

    /// A replica of that server (see `until_synced`). Give `primary` a lifetime longer than the replica's.
    pub fn replica_of(self, primary: &Server) -> Self {
        self.replica_of_port(primary.port())
    }

    /// A replica of the server that is reached by this port.
    pub fn replica_of_port(self, port: u16) -> Self {
        self.config(format!("replicaof 127.0.0.1 {port}"))
    }

    /// As a replica it tells others to reach it by this port.
    pub fn announced_at(self, port: u16) -> Self {
        self.config("replica-announce-ip 127.0.0.1").config(format!("replica-announce-port {port}"))
    }

    /// A Sentinel that watches the primary at this port under that name, and calls a server down that was silent for so
    /// many milliseconds; two Sentinels must agree.
    pub fn sentinel_of(mut self, name: &str, port: u16, down_after_ms: u32) -> Self {
        self.is_sentinel = true;
        self.config(format!("sentinel monitor {name} 127.0.0.1 {port} 2"))
            .config(format!("sentinel down-after-milliseconds {name} {down_after_ms}"))
            .config(format!("sentinel failover-timeout {name} 10000"))
            .config(format!("sentinel parallel-syncs {name} 2"))
    }

    /// Whether it is to run as a Sentinel.
    pub(super) fn is_sentinel(&self) -> bool {
        self.is_sentinel
    }

    /// Sets an environment variable of the server process (see also `clock_off_by`).
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the server and waits until it answers; panics with its log when it does not.
    #[track_caller]
    pub fn start(self) -> Server {
        match self.try_start() {
            Ok(server) => server,
            Err(story) => panic!("the server did not start: {story}"),
        }
    }

    /// Like [`ServerBuilder::start`] for servers that are expected to refuse: `Err` holds the reason and the log.
    pub fn try_start(self) -> Result<Server, String> {
        Server::launch(self)
    }

    /// The environment of the process.
    pub(super) fn environment(&self) -> &[(String, String)] {
        &self.env
    }

    /// The text of redis.conf.
    pub(super) fn redis_conf(&self, port: u16, dir: &Path) -> String {
        if self.is_sentinel {
            let place = [format!("port {port}"), "bind 127.0.0.1".to_owned(), format!("dir {}", quoted(dir))];
            let lines: Vec<String> = place.into_iter().chain(self.lines.iter().cloned()).collect();
            return lines.join("\n") + "\n";
        }
        let mut lines = vec![
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", quoted(dir)),
            "daemonize no".to_owned(),
            "save \"\"".to_owned(),
            "enable-debug-command yes".to_owned(),
            "enable-module-command yes".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        match &self.load {
            Load::Nothing => {}
            Load::Released => lines.push(format!("loadmodule {}", quoted(module_path()))),
            Load::Faulty => lines.push(format!("loadmodule {}", quoted(faulty_module_path()))),
            Load::File(path) => lines.push(format!("loadmodule {}", quoted(path))),
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }
}

/// A path as an argument in redis.conf.
fn quoted(path: &Path) -> String {
    let text = path.to_str().unwrap().replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}
