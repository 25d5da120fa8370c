//! Counting a server's instructions with valgrind's callgrind.
//!
//! A server's start and end cost millions of instructions, so every number is the difference between a long run and a
//! short one of the same work.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt;
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

/// Where the instructions of a piece of work go.
#[derive(Debug)]
pub struct Profile {
    pub cost: Cost,
    /// What the module calls, by function of the server or of a library, with all that these call; the most costly first.
    pub calls: Vec<(String, f64)>,
}

/// What callgrind wrote.
#[derive(Default)]
struct Counts {
    all: u64,
    own: u64,
    calls: BTreeMap<String, u64>,
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
        self.profile(counted, (pieces, server), &mut work).cost
    }

    /// The same, and what the module calls.
    pub fn profile<T>(
        &self,
        counted: Counted,
        (pieces, server): (usize, &ServerBuilder),
        mut work: impl FnMut(&Server, usize) -> T,
    ) -> Profile {
        let mut total = |pieces: usize| self.run(counted, server, |server| work(server, pieces));
        let (short, long) = (total(pieces), total(3 * pieces));
        assert!(
            long.all > short.all,
            "a long run took {} instructions and a short one {}: was this the server?",
            long.all,
            short.all
        );
        let each = |long: u64, short: u64| (long as f64 - short as f64) / (2 * pieces) as f64;
        let before = |name| short.calls.get(name).copied().unwrap_or(0);
        let mut calls: Vec<(String, f64)> =
            long.calls.iter().map(|(name, cost)| (name.clone(), each(*cost, before(name)))).collect();
        calls.sort_by(|one, other| other.1.total_cmp(&one.1));
        Profile { cost: Cost { all: each(long.all, short.all), own: each(long.own, short.own) }, calls }
    }

    /// All that a server counts from its start to its end. What the work returns, connections say, lives until then.
    fn run<T>(&self, counted: Counted, server: &ServerBuilder, work: impl FnOnce(&Server) -> T) -> Counts {
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
        let text = fs::read_to_string(&out).expect("callgrind wrote its counts");
        counts(&text)
    }
}

/// Reads callgrind's format. Costs stand below a line `fn=` that names whose they are, and above that a line `ob=` names the
/// file. A line `calls=` tells that the one after it is the cost of what was called, named by `cfn=` and, where it is in another
/// file, `cob=`. Names are numbered: `(7) name` the first time, `(7)` after that.
fn counts(text: &str) -> Counts {
    let sum = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    let all = sum.and_then(|sum| sum.split(' ').next()?.parse().ok()).expect("callgrind wrote a sum");
    let mut counts = Counts { all, ..Counts::default() };
    let (mut files, mut functions) = (HashMap::new(), HashMap::new());
    // Whether what the costs belong to is the module; the same of what is called, if that is in another file; its name.
    let (mut is_own, mut is_callee_own, mut callee) = (false, None, "");
    let mut is_call = false;
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("ob=") {
            is_own = is_module(name(&mut files, file));
        } else if let Some(file) = line.strip_prefix("cob=") {
            is_callee_own = Some(is_module(name(&mut files, file)));
        } else if let Some(function) = line.strip_prefix("fn=") {
            name(&mut functions, function);
        } else if let Some(function) = line.strip_prefix("cfn=") {
            callee = name(&mut functions, function);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            match (std::mem::take(&mut is_call), is_own) {
                (true, true) if is_callee_own == Some(false) => {
                    *counts.calls.entry(callee.to_owned()).or_default() += cost;
                }
                (true, _) => {}
                (false, true) => counts.own += cost,
                (false, false) => {}
            }
            is_callee_own = None;
        }
    }
    counts
}

fn is_module(file: &str) -> bool {
    file.contains("redis_lock") && file.ends_with(".so")
}

/// The name behind `(7) name` or `(7)`.
fn name<'a>(known: &mut HashMap<&'a str, &'a str>, text: &'a str) -> &'a str {
    match text.split_once(' ') {
        Some((number, name)) => {
            known.insert(number, name);
            name
        }
        None => known.get(text).copied().unwrap_or_default(),
    }
}
