//! Counting a server's instructions with valgrind's callgrind.
//!
//! A server's start and end cost millions of instructions, so every number is the difference between a long run and a
//! short one of the same work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Server, ServerBuilder};

/// Tells the wrapper to count, and into which file.
const OUT: &str = "CALLGRIND_OUT";
/// Further options for callgrind.
const OPTIONS: &str = "CALLGRIND_OPTIONS";

/// Starts the server that `REDIS_SERVER` named, under valgrind when [`OUT`] is set.
const WRAPPER: &str = r#"#!/bin/sh
if [ -n "$CALLGRIND_OUT" ]; then
    # The server may itself be a script that ends in exec.
    # shellcheck disable=SC2086 # several options
    exec valgrind --tool=callgrind --trace-children=yes --callgrind-out-file="$CALLGRIND_OUT" $CALLGRIND_OPTIONS "$BENCH_SERVER" "$@"
fi
exec "$BENCH_SERVER" "$@"
"#;

/// What of a server's work is counted.
#[derive(Clone, Copy, Debug)]
pub enum Counted {
    /// All of it.
    Everything,
    /// What commands and the answers to unblocked clients do; neither sockets nor what the server does by the clock,
    /// which looks at every client once a second.
    Commands,
}

/// Where servers are counted.
pub struct Callgrind {
    dir: TempDir,
    version: String,
}

impl Callgrind {
    /// `None` where valgrind is missing. Call it before the first server starts.
    pub fn find() -> Option<Callgrind> {
        let output = Command::new("valgrind").arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let dir = tempfile::tempdir().unwrap();
        let wrapper = dir.path().join("server");
        fs::write(&wrapper, WRAPPER).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let server = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        std::env::set_var("BENCH_SERVER", server);
        std::env::set_var("REDIS_SERVER", wrapper);
        Some(Callgrind { dir, version })
    }

    /// The name and version of what counts.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Instructions that one piece of `work` takes: `work` is given a server and a number of pieces.
    pub fn count(
        &self,
        counted: Counted,
        (pieces, server): (usize, &ServerBuilder),
        mut work: impl FnMut(&Server, usize),
    ) -> f64 {
        let mut total = |pieces: usize| self.run(counted, server, |server| work(server, pieces));
        let (short, long) = (total(pieces), total(3 * pieces));
        assert!(long > short, "a long run took {long} instructions and a short one {short}: was this the server?");
        (long - short) as f64 / (2 * pieces) as f64
    }

    /// All that a server counts from its start to its end.
    fn run(&self, counted: Counted, server: &ServerBuilder, work: impl FnOnce(&Server)) -> u64 {
        let out = self.dir.path().join("callgrind.out");
        let options = match counted {
            Counted::Everything => "",
            Counted::Commands => "--toggle-collect=processCommand --toggle-collect=moduleHandleBlockedClients",
        };
        // Housekeeping runs by the clock, and under valgrind a second holds less work than elsewhere.
        let server = server.clone().config("hz 1").config("dynamic-hz no");
        let server = server.env(OUT, out.to_str().unwrap()).env(OPTIONS, options).start();
        work(&server);
        server.shutdown();
        instructions(&out)
    }
}

/// The sum that callgrind wrote.
fn instructions(out: &Path) -> u64 {
    let text = fs::read_to_string(out).expect("callgrind wrote its counts");
    let sum = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    sum.and_then(|sum| sum.split(' ').next()?.parse().ok()).expect("callgrind wrote a sum")
}
