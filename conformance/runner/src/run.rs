//! Runs scenarios: one after the other, or several at the same time.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::outcome::{ensure, Outcome};
use crate::scenario::Scenario;
use crate::steps;
use crate::vocabulary::Vocabulary;
use crate::world::{soon, Subject, World};

/// How many entries of the transcript a report shows.
const SHOWN: usize = 60;

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All steps passed, and nothing was left behind.
    Passed,
    /// The client lacks this feature.
    Skipped(String),
    /// What failed, with all that a reader needs to find out why.
    Failed(String),
}

/// A scenario, for one client, and what came of it.
#[derive(Clone, Debug)]
pub struct Run {
    /// The scenario.
    pub scenario: Scenario,
    /// The client, by its name.
    pub client: String,
    /// The planted fault, if any.
    pub fault: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// What steps measured.
    pub notes: Vec<String>,
    /// The library of the client.
    pub library: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs these scenarios for these clients, up to `jobs` at the same time, and those that must run alone afterwards.
/// Calls `tell` with each as it ends.
pub fn run_all(
    vocabulary: &Arc<Vocabulary>,
    work: Vec<(Scenario, Subject)>,
    jobs: usize,
    tell: &(impl Fn(&Run) + Sync),
) -> Vec<Run> {
    let (alone, together): (VecDeque<_>, VecDeque<_>) = work.into_iter().partition(|(scenario, _)| scenario.is_alone);
    let mut runs = in_parallel(vocabulary, together, jobs, tell);
    runs.extend(in_parallel(vocabulary, alone, 1, tell));
    runs
}

fn in_parallel(
    vocabulary: &Arc<Vocabulary>,
    work: VecDeque<(Scenario, Subject)>,
    jobs: usize,
    tell: &(impl Fn(&Run) + Sync),
) -> Vec<Run> {
    let (queue, done) = (Mutex::new(work), Mutex::new(Vec::new()));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((scenario, subject)) = next() {
                    let run = run_one(vocabulary, scenario, subject);
                    tell(&run);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push(run);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs one scenario. Every step has a time limit of its own, so this ends.
pub fn run_one(vocabulary: &Arc<Vocabulary>, scenario: Scenario, subject: Subject) -> Run {
    let begun = Instant::now();
    let (client, fault) = (subject.client.name.clone(), subject.fault.clone());
    let (mut notes, mut library) = (Vec::new(), String::new());
    let verdict = match World::new(subject, scenario.needs.iter().cloned().collect()) {
        Err(error) => Verdict::Failed(error),
        Ok(mut world) => {
            let verdict = judge(vocabulary, &scenario, &mut world);
            notes = std::mem::take(&mut world.notes);
            library = std::mem::take(&mut world.library);
            verdict
        }
    };
    Run { scenario, client, fault, verdict, notes, library, took: begun.elapsed() }
}

fn judge(vocabulary: &Vocabulary, scenario: &Scenario, world: &mut World) -> Verdict {
    let begun = Instant::now();
    let mut failed = None;
    for step in &scenario.steps {
        world.transcript.say(format!("-- {}", step.text));
        let outcome = attempt(|| {
            let (action, args) = vocabulary.find(step)?;
            action(world, &args)
        });
        let in_time = |()| {
            ensure(begun.elapsed() <= support::patience(scenario.limit), || {
                format!("the scenario takes longer than {:?}", scenario.limit)
            })
        };
        if let Err(why) = outcome.and_then(in_time) {
            if let Some(feature) = &world.lacks {
                return Verdict::Skipped(feature.clone());
            }
            failed = Some((format!("line {}: {}", step.line, step.text), why));
            break;
        }
    }
    if failed.is_none() {
        world.transcript.say("-- the end: nothing is left");
        failed = attempt(|| leave(world)).err().map(|why| ("the end: nothing is left".to_owned(), why));
    }
    match failed {
        None => Verdict::Passed,
        Some((step, why)) => {
            let report = attempt(|| Ok(report(world, &step, &why)));
            Verdict::Failed(report.unwrap_or_else(|error| format!("{step}\n  {why}\n(no report: {error})")))
        }
    }
}

/// Closes the applications and looks for what they left behind.
fn leave(world: &mut World) -> Outcome<()> {
    steps::end_all(world)?;
    if world.deployment.is_none() || world.leaves_locks {
        return Ok(());
    }
    steps::clear(world)?;
    steps::nothing_is_left(world, soon())
}

/// A panic of the test support is a failure like any other.
fn attempt<T>(act: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(words(panic.as_ref())))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

fn report(world: &World, step: &str, why: &str) -> String {
    let mut text = format!("{step}\n  {}\n--- transcript (seconds since the start) ---\n", why.replace('\n', "\n  "));
    for line in world.transcript.tail(SHOWN) {
        text.push_str(&line);
        text.push('\n');
    }
    for app in world.apps.values() {
        text.push_str(&format!("--- log of {} ---\n{}\n", app.name(), app.log_tail()));
    }
    if let Some(deployment) = &world.deployment {
        text.push_str(&deployment.log_tails());
    }
    text
}
