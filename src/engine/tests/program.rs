//! Bytes as a story: everything that can happen to a small data set, as in [`super::random`], but led by coverage.
//! Target `engine` of the fuzzer.

use super::random::{Event, Story, TOGETHER};
use super::*;
use crate::fuzz::Choices;

const NAMES: [Name; 4] = [(0, "k"), (0, "l"), (1, "k"), (1, "l")];
const WHO: [&str; 4] = ["a", "b", "c", "d"];
const STANDINGS: [ServerState; 4] =
    [ServerState::Writable, ServerState::Halted, ServerState::Loading, ServerState::Replica];

/// Runs the story. The invariants are checked after each event, when the timer has come to rest, and at the end.
pub fn run(bytes: &[u8]) {
    let mut story = Story::new();
    let mut program = Choices::new(bytes);
    while !program.is_done() {
        match event(&mut program) {
            Some(event) => story.happen(&event),
            None => story.settle(),
        }
    }
    story.settle();
    story.end();
}

/// The next event; `None` to come to rest.
fn event(program: &mut Choices) -> Option<Event> {
    let what = program.below(24);
    let p = program;
    Some(match what {
        0 => return None,
        1 | 2 => Event::Acquire(p.of(&NAMES), p.of(&WHO), how(p)),
        3 => Event::Release(p.of(&NAMES), p.of(&WHO), after(p)),
        4 => Event::Extend(p.of(&NAMES), p.of(&WHO), p.between(1, 8), p.flag()),
        5 => Event::Leave(p.between(0, 15)),
        6 => Event::HangUp(p.between(0, 2)),
        7 => Event::Unlink(p.of(&NAMES)),
        8 => Event::UnlinkUnseen(p.of(&NAMES)),
        9 => Event::Set(p.of(&NAMES)),
        10 => Event::Rename(p.of(&NAMES), p.of(&NAMES)),
        11 => Event::Restore(p.of(&NAMES), p.of(&WHO), p.flag(), p.between(1, 8)),
        12 => Event::Flush(p.of(&[Scope::All, Scope::Db(0), Scope::Db(1)])),
        13 => Event::Swap(0, 1),
        14 => Event::Pass(p.between(1, 8)),
        15 => Event::Ring,
        16 => Event::ServerState(p.of(&STANDINGS)),
        17 => Event::WriteCheck(p.of(&[WriteCheck::Accepts, WriteCheck::Halted])),
        18 if p.flag() => Event::MaxHolders(p.between(1, 3) as i64),
        18 if p.flag() => Event::Quarantine(p.between(0, 200) as i64),
        18 => Event::Foreign(p.of(&NAMES)),
        19 => Event::Rights(p.of(&NAMES)),
        20 => Event::SlotLeaves(p.of(&NAMES)),
        21 => Event::AcquireAll(p.of(&TOGETHER), p.of(&WHO), how(p)),
        22 if p.flag() => Event::ReleaseAll(p.of(&TOGETHER), p.of(&WHO)),
        22 => Event::ExtendAll(p.of(&TOGETHER), p.of(&WHO), p.between(1, 8)),
        _ => Event::Deliver(p.flag(), p.flag()),
    })
}

fn how(program: &mut Choices) -> How {
    let mode = match program.below(7) {
        0 | 1 => Mode::Exclusive,
        2 => Mode::Shared(None),
        6 => Mode::Shared(Limit::weighted(3, 2)),
        limit => Mode::Shared(Limit::new(u64::from(limit) - 2)),
    };
    let patience = match program.below(10) {
        0 => Patience::None,
        9 => Patience::Endless,
        ms => Patience::For(Millis(ms.into())),
    };
    let connection = Some(program.between(0, 3)).filter(|connection| *connection < 3);
    let (max, delay) = (length(program), length(program).filter(|_| mode == Mode::Exclusive));
    How { lease: program.between(1, 8), patience, mode, max, delay, connection }
}

fn after(program: &mut Choices) -> After {
    match program.below(6) {
        0..3 => After::Free,
        3 | 4 => After::Downgrade,
        _ => After::Cool(program.between(1, 8)),
    }
}

/// A value of MAX or DELAY. Most requests have none.
fn length(program: &mut Choices) -> Option<Millis> {
    Some(program.between(0, 15)).filter(|ms| (1..=8).contains(ms)).map(Millis)
}
