//! One run: a plan's steps one after the other until the time is over or something is wrong, and then the same with fewer
//! steps as long as it stays wrong in the same way.

use std::fmt::Write as _;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::args;

use super::plan::{Planner, DATABASES, KEYS};
use super::servers::Setup;
use super::step::{Deed, Step};
use super::world::{kind, World};
use crate::run::message;

/// How long it may take until nothing more is due: the longest short lease, and a replica that loads.
const REST: Duration = Duration::from_secs(15);
/// The same while a plan is made shorter: what goes wrong on a busy machine only is not what is looked for.
const SHORT_REST: Duration = Duration::from_secs(4);
/// For how long a plan that failed is made shorter.
const SHORTENING: Duration = Duration::from_secs(90);

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How many steps were taken.
    pub steps: usize,
    /// How many grants clients were told of.
    pub grants: usize,
    /// What is wrong, and how to make it so.
    pub violation: Option<Violation>,
}

/// What is wrong.
#[derive(Debug)]
pub struct Violation {
    /// What.
    pub what: String,
    /// The steps that lead to it, few if it comes again and again.
    pub steps: String,
    /// The file with these, and all that were taken.
    pub file: PathBuf,
}

/// What a walk through steps came to.
struct Walk {
    taken: Vec<Step>,
    grants: usize,
    wrong: Option<String>,
}

/// Runs a seed for so long.
pub fn run(seed: u64, length: Duration) -> Outcome {
    let setup = Setup::of_seed(seed);
    let mut begun = None;
    let walk = walk(setup, REST, |world| {
        let (end, planner) = begun.get_or_insert_with(|| {
            let hears_of_moves = world.servers.primary().hears_of_moved_keys();
            (Instant::now() + length, Planner::of_seed(seed, hears_of_moves))
        });
        (Instant::now() < *end).then(|| planner.next_step())
    });
    let violation = walk.wrong.map(|what| {
        let shortest = shortened(setup, &walk.taken, &what);
        let steps = lines(setup, &shortest);
        let file = support::root().join(format!("target/soak/chaos-{seed}.txt"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, file_of(&what, &steps, &lines(setup, &walk.taken))).unwrap();
        Violation { what, steps, file }
    });
    Outcome { steps: walk.taken.len(), grants: walk.grants, violation }
}

/// Takes the steps of a text as `Violation::steps` has it: what is wrong.
pub fn replay(text: &str) -> Option<String> {
    let (setup, steps) = parse(text);
    walk_through(setup, REST, &steps).wrong
}

/// What is kept of a run: the steps as they stand, and the rest as comments.
fn file_of(what: &str, steps: &str, taken: &str) -> String {
    let comment = |text: &str| text.replace('\n', "\n# ");
    format!("# {}\n{steps}\n# All that was done:\n# {}\n", comment(what), comment(taken))
}

/// The set-up and the steps of a text.
fn parse(text: &str) -> (Setup, Vec<Step>) {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let setup = lines.next().expect("the set-up").parse().expect("the set-up");
    (setup, lines.map(|line| line.parse().unwrap()).collect())
}

/// Takes steps until there are no more, then ends everything.
fn walk(setup: Setup, rest_limit: Duration, mut next: impl FnMut(&mut World) -> Option<Step>) -> Walk {
    let mut world = World::start(setup, rest_limit);
    let mut taken = Vec::new();
    let mut wrong = None;
    while let (None, Some(step)) = (&wrong, next(&mut world)) {
        taken.push(step.clone());
        wrong = guarded(&mut world, |world| world.take(&step));
    }
    let wrong = wrong.or_else(|| guarded(&mut world, World::end));
    Walk { taken, grants: world.ledger.grants(), wrong }
}

fn walk_through(setup: Setup, rest_limit: Duration, steps: &[Step]) -> Walk {
    let mut steps = steps.iter().cloned();
    walk(setup, rest_limit, |_| steps.next())
}

/// What is wrong after this. A crash tells more than what it led to.
fn guarded(world: &mut World, act: impl FnOnce(&mut World) -> Result<(), String>) -> Option<String> {
    let wrong = match catch_unwind(AssertUnwindSafe(|| act(world))) {
        Ok(Ok(())) => return None,
        Ok(Err(wrong)) => wrong,
        Err(panic) => format!("driver: {}", message(&*panic)),
    };
    Some(world.servers.alarms().into_iter().next().unwrap_or(wrong))
}

/// Leaves out what is not needed for this to go wrong in the same way: ever smaller pieces.
fn shortened(setup: Setup, steps: &[Step], what: &str) -> Vec<Step> {
    let end = Instant::now() + SHORTENING;
    let mut steps = steps.to_vec();
    let mut piece = steps.len() / 2;
    while piece > 0 {
        let mut from = 0;
        while from < steps.len() {
            if Instant::now() > end {
                return steps;
            }
            let mut fewer = steps.clone();
            fewer.drain(from..(from + piece).min(steps.len()));
            match walk_through(setup, SHORT_REST, &fewer).wrong {
                Some(wrong) if kind(&wrong) == kind(what) => steps = fewer,
                _ => from += piece,
            }
        }
        piece /= 2;
    }
    steps
}

fn lines(setup: Setup, steps: &[Step]) -> String {
    let mut text = format!("{setup}\n");
    for step in steps {
        let _ = writeln!(text, "{step}");
    }
    text
}

impl World {
    /// The end: everybody goes, all is released, and nothing is left.
    fn end(&mut self) -> Result<(), String> {
        self.take(&Step::Do(Deed::Rest))?;
        self.clients.close_all(&mut self.ledger);
        for db in 0..DATABASES {
            for key in KEYS {
                self.empty(db, key)?;
            }
        }
        self.rest()?;
        let left = self.ask(&["INFO", "keyspace"])?.text();
        let left: Vec<&str> = left.lines().filter(|line| line.starts_with("db")).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(format!("end: {left:?} is left"))
    }

    /// Releases all that is held there.
    fn empty(&mut self, db: u32, key: &str) -> Result<(), String> {
        let select = args!["SELECT", db];
        let look = self.ask_all(&[&select[..], &args!["LOCK.INFO", key][..]])?;
        let mut commands = vec![select.to_vec()];
        match look.last() {
            Some(info) if info.is_nil() => return Ok(()),
            Some(info) if info.is_err() => commands.push(args!["DEL", key].to_vec()),
            Some(info) => {
                let owners =
                    info.get("holders").array().iter().map(|hold| hold.get("owner").text()).collect::<Vec<_>>();
                commands.extend(owners.iter().map(|owner| args!["LOCK.RELEASE", key, owner].to_vec()));
            }
            None => {}
        }
        let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
        self.ask_all(&commands).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_run_can_be_replayed() {
        let setup = Setup::of_seed(3);
        let mut planner = Planner::of_seed(3, true);
        let taken: Vec<Step> = (0..100).map(|_| planner.next_step()).collect();
        let file = file_of("wrong:\nall of it", &lines(setup, &taken[..5]), &lines(setup, &taken));
        assert_eq!(parse(&file), (setup, taken[..5].to_vec()));
    }
}
