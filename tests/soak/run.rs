//! One run: servers, clients, somebody who breaks things, and the verdict.

use std::fmt::Write as _;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use support::{Server, ServerBuilder};

use crate::failures::{Failure, Operator};
use crate::history::{History, Lock, Recorder, Us};
use crate::resource::Resources;
use crate::validate::validate;
use crate::{traffic, view};

/// How many clients there are.
const CLIENTS: u64 = 8;
/// How many operations of the history's end are shown when something is wrong.
const TAIL: usize = 60;

/// Where the primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its port.
    pub port: u16,
    /// Which life of it.
    pub term: usize,
}

/// What all threads of a run share.
#[derive(Debug)]
pub struct Scene {
    /// Takes down what happens.
    pub recorder: Recorder,
    /// What the locks protect.
    pub resources: Resources,
    place: Mutex<Option<Place>>,
    is_stopped: AtomicBool,
    is_closed: AtomicBool,
}

impl Scene {
    /// Nobody yet.
    pub fn new() -> Scene {
        Scene {
            recorder: Recorder::new(),
            resources: Resources::default(),
            place: Mutex::new(None),
            is_stopped: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Where to ask; `None`: nowhere at the moment.
    pub fn place(&self) -> Option<Place> {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody where to ask from now on.
    pub fn announce(&self, place: Option<Place>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Clients are to stop.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Everybody is.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that the test decides.
    pub seed: u64,
    /// For how long clients and failures go on.
    pub length: Duration,
    /// What may fail.
    pub failures: Vec<Failure>,
    /// Whether there is a replica.
    pub has_replica: bool,
    /// The failpoint that is switched on in the module.
    pub failpoint: Option<String>,
}

impl Plan {
    /// The plan of a seed: every third has a replica that takes over, every third a wall clock that is set.
    pub fn of_seed(seed: u64, length: Duration) -> Plan {
        let has_replica = seed % 3 == 2;
        let mut failures = Failure::ALONE.to_vec();
        match seed % 3 {
            1 if support::clocks_can_be_wrong() => failures.push(Failure::SetClock),
            2 => failures.extend([Failure::Failover, Failure::Failover, Failure::Failover]),
            _ => {}
        }
        Plan { seed, length, failures, has_replica, failpoint: None }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The plan's seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<String>,
    /// Operations, grants, samples, failures, writes to the resource: accepted and rejected.
    pub tally: Tally,
    /// The whole history, if something was wrong.
    pub file: Option<PathBuf>,
    /// The end of it.
    pub tail: String,
}

/// How much a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Operations of clients.
    pub ops: usize,
    /// Different grants that a client was told of.
    pub grants: usize,
    /// Operations whose outcome is unknown.
    pub unknown: usize,
    /// Looks at the server.
    pub samples: usize,
    /// Things done to servers.
    pub acts: usize,
    /// Writes that the resource let in.
    pub accepted: usize,
    /// Reads and writes that it rejected.
    pub rejected: usize,
}

impl Tally {
    fn of(history: &History) -> Tally {
        let mut fences: Vec<_> =
            history.ops.iter().filter_map(|op| op.granted().map(|fence| (&op.lock, fence))).collect();
        fences.sort_unstable();
        fences.dedup();
        let accepted = history.uses.iter().filter(|one| one.is_accepted).count();
        Tally {
            ops: history.ops.len(),
            grants: fences.len(),
            unknown: history.ops.iter().filter(|op| op.is_unknown()).count(),
            samples: history.samples.len(),
            acts: history.acts.len() + history.halts.len(),
            accepted,
            rejected: history.uses.len() - accepted,
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: Tally) {
        self.ops += other.ops;
        self.grants += other.grants;
        self.unknown += other.unknown;
        self.samples += other.samples;
        self.acts += other.acts;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }
}

/// The locks of a run: few, so that clients meet.
pub fn locks() -> Vec<Lock> {
    [(0, "k"), (0, "l"), (1, "k")].map(|(db, name)| Lock { db, name: name.to_owned() }).to_vec()
}

/// Runs it.
pub fn run(plan: &Plan) -> Outcome {
    let scene = Arc::new(Scene::new());
    let locks = locks();
    let mut operator = Operator::start(&scene, plan, &locks);
    let wrong = thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (scene, locks) = (&scene, &locks);
            scope.spawn(move || traffic::live(scene, locks, plan.seed, n));
        }
        let watcher = scope.spawn(|| view::watch(&scene, &locks));
        let end = Instant::now() + plan.length;
        // Whoever waits for the others must be told to stop, whatever happens here.
        let broken = catch_unwind(AssertUnwindSafe(|| operator.break_things(end)));
        scene.is_stopped.store(true, Ordering::Relaxed);
        let mended = catch_unwind(AssertUnwindSafe(|| operator.until_all_over()));
        scene.is_closed.store(true, Ordering::Relaxed);
        let _ = watcher.join();
        let mut wrong = Vec::new();
        if let Err(panic) = broken {
            wrong.push(format!("a failure could not be made: {}", message(&*panic)));
        }
        match mended {
            Ok(more) => wrong.extend(more),
            Err(panic) => wrong.push(format!("the end: {}", message(&*panic))),
        }
        wrong
    });
    let lost = scene.resources.lost();
    drop(operator);
    let mut history = std::mem::take(&mut *scene.recorder.notes());
    history.wrong.extend(wrong);
    history.wrong.extend(lost.into_iter().map(|lost| format!("the resource lost a write that it had let in: {lost}")));
    judge(plan, &history)
}

fn judge(plan: &Plan, history: &History) -> Outcome {
    let violations = validate(history);
    let tally = Tally::of(history);
    let mut outcome = Outcome { seed: plan.seed, violations, tally, file: None, tail: String::new() };
    if !outcome.violations.is_empty() {
        let whole = shown(history);
        let lines: Vec<&str> =
            whole.lines().filter(|line| line.contains(" operation ") || line.contains("Act {")).collect();
        outcome.tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        let name = plan.failpoint.as_ref().map_or_else(|| "seed".to_owned(), |failpoint| format!("{failpoint}-seed"));
        let file = support::root().join(format!("target/soak/{name}-{}.txt", plan.seed));
        let text = format!("{plan:?}\n{}\n\n{whole}\n", outcome.violations.join("\n"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        outcome.file = Some(file);
    }
    outcome
}

/// What a panic said.
pub fn message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".to_owned())
}

/// The history as lines, in the order of time.
fn shown(history: &History) -> String {
    let mut lines: Vec<(Us, String)> = Vec::new();
    for (n, op) in history.ops.iter().enumerate() {
        lines.push((op.call_us, format!("operation {n} {op}")));
    }
    for act in &history.acts {
        lines.push((act.call_us, format!("{act:?}")));
    }
    for halt in &history.halts {
        lines.push((halt.from_us, format!("{halt:?}")));
    }
    for (n, term) in history.terms.iter().enumerate() {
        lines.push((0, format!("term {n} {term:?}")));
    }
    for (n, connection) in history.connections.iter().enumerate() {
        lines.push((0, format!("connection {n} {connection:?}")));
    }
    for heard in &history.heard {
        lines.push((
            heard.at_us,
            format!("ran in term {} for {}: {}", heard.term, heard.address, heard.words.join(" ")),
        ));
    }
    for one in &history.uses {
        lines.push((one.at_us, format!("{one:?}")));
    }
    let mut before = None;
    for sample in &history.samples {
        if before != Some(&sample.locks) {
            lines.push((sample.call_us, format!("{sample:?}")));
        }
        before = Some(&sample.locks);
    }
    lines.sort();
    let mut text = String::new();
    for (at_us, line) in lines {
        let _ = writeln!(text, "{at_us:>10} {line}");
    }
    text
}

/// The settings of the servers of a run.
pub fn settings(plan: &Plan) -> ServerBuilder {
    let settings = Server::builder().aof().config("repl-backlog-size 10mb");
    match &plan.failpoint {
        Some(name) => settings.faulty_module().env("REDIS_LOCK_FAILPOINT", name),
        None => settings,
    }
}
