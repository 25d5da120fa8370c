//! Counting a server's instructions with valgrind's callgrind.
//!
//! A server's start and end cost millions of instructions, so every number is the difference between a long run and a
//! short one of the same work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use support::{Server, ServerBuilder};

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
    /// What these functions of the server do, none of which calls another of them.
    In(&'static [&'static str]),
}

/// What commands and the answers to unblocked clients do; neither sockets nor what the server does by the clock, which
/// looks at every client once a second.
pub const COMMANDS: Counted = Counted::In(&["processCommand", "moduleHandleBlockedClients"]);

/// Instructions.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Of the server, with all it calls.
    pub all: f64,
    /// Of these, the module's own code: without what it asks the server or the allocator to do.
    pub own: f64,
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
    pub fn count<T>(
        &self,
        counted: Counted,
        (pieces, server): (usize, &ServerBuilder),
        mut work: impl FnMut(&Server, usize) -> T,
    ) -> f64 {
        self.cost(counted, (pieces, server), &mut work).all
    }

    /// The same, and how much of it is the module's own code.
    pub fn cost<T>(
        &self,
        counted: Counted,
        (pieces, server): (usize, &ServerBuilder),
        mut work: impl FnMut(&Server, usize) -> T,
    ) -> Cost {
        let mut total = |pieces: usize| self.run(counted, server, |server| work(server, pieces));
        let (short, long) = (total(pieces), total(3 * pieces));
        assert!(
            long.all > short.all,
            "a long run took {long:?} instructions and a short one {short:?}: was this the server?"
        );
        let each = |long: f64, short: f64| (long - short) / (2 * pieces) as f64;
        Cost { all: each(long.all, short.all), own: each(long.own, short.own) }
    }

    /// All that a server counts from its start to its end. What the work returns, connections say, lives until then.
    fn run<T>(&self, counted: Counted, server: &ServerBuilder, work: impl FnOnce(&Server) -> T) -> Cost {
        let out = self.dir.path().join("callgrind.out");
        let options = match counted {
            Counted::Everything => String::new(),
            Counted::In(functions) => functions.iter().map(|name| format!("--toggle-collect={name} ")).collect(),
        };
        // Housekeeping runs by the clock, and under valgrind a second holds less work than elsewhere.
        let server = server.clone().config("hz 1").config("dynamic-hz no");
        let server = server.env(OUT, out.to_str().unwrap()).env(OPTIONS, &options).start();
        let _kept = work(&server);
        server.shutdown();
        instructions(&out)
    }
}

/// The sum that callgrind wrote, and the share of the module's file in it.
fn instructions(out: &Path) -> Cost {
    let text = fs::read_to_string(out).expect("callgrind wrote its counts");
    let sum = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    let all = sum.and_then(|sum| sum.split(' ').next()?.parse().ok()).expect("callgrind wrote a sum");
    Cost { all, own: own(&text) as f64 }
}

/// Adds up the lines of costs that stand below a line `ob=` which names the module. A line `calls=` tells that the one
/// after it is the cost of what was called, which is counted where that stands.
fn own(text: &str) -> u64 {
    let (mut module, mut is_own, mut is_called) = (None, false, false);
    let mut sum = 0;
    for line in text.lines() {
        // `(7) path` where an object is named first, `(7)` after that; `cob=` names that of what is called.
        let is_callee = line.starts_with("cob=");
        if let Some(object) = line.strip_prefix("cob=").or_else(|| line.strip_prefix("ob=")) {
            let (number, path) = object.split_once(' ').unwrap_or((object, ""));
            if path.contains("redis_lock") && path.ends_with(".so") {
                module = Some(number);
            }
            is_own = if is_callee { is_own } else { module == Some(number) };
        } else if line.starts_with("calls=") {
            is_called = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            if is_own && !is_called {
                sum += line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            }
            is_called = false;
        }
    }
    sum
}
