//! The target `rules` of the fuzzer: the bytes are a sequence of events for the rules and the model.
//!
//! As in [`super::random`], the two are compared after every step. Here the fuzzer chooses the events, guided by the
//! code that they reach.

use super::random::Pair;
use super::*;
use crate::fuzz::Choices;

/// Applies the events one after the other. Panics unless every step keeps the invariants and agrees with the model.
pub fn run(bytes: &[u8]) {
    let mut pair = Pair::new();
    let mut program = Choices::new(bytes);
    while !program.is_done() {
        pair.step(event(&mut program));
    }
    pair.harness.drain();
}

/// The next event. Past the end of the bytes every choice is the first one.
fn event(program: &mut Choices) -> Event {
    let kind = program.below(19);
    let p = program;
    match kind {
        0 | 1 => Event::Try(p.of(&Client::ALL), mode_option(p), p.between(1, 5), session_option(p)),
        2 | 3 => Event::Wait(p.of(&Client::ALL), mode_option(p), p.between(1, 5), session_option(p), p.between(0, 5)),
        4 => Event::Release(p.of(&Client::ALL), fence_option(p)),
        5 => Event::Downgrade(p.of(&Client::ALL), fence_option(p)),
        6 => Event::Extend(
            p.of(&Client::ALL),
            p.between(0, 5),
            fence_option(p),
            p.of(&[
                RaiseOption::NoRaise,
                RaiseOption::RaiseBelow,
                RaiseOption::RaiseToLargest,
                RaiseOption::RaiseAbove,
            ]),
        ),
        7 => Event::Leave(p.below(3).into()),
        8 => Event::Delivered(p.below(3).into()),
        9 => Event::Undelivered(p.below(3).into()),
        10 => Event::Close(usize::from(p.below(harness::CONNECTIONS as u8))),
        11 => Event::PassTime(p.between(1, 5)),
        12 => Event::SetWallClock(i64::from(p.below(20)) - 10),
        13 => Event::Advance,
        14 => Event::RunTimer,
        15 => Event::Deny(p.between(1, 5)),
        16 => Event::Allow(p.between(1, 5)),
        17 => Event::Cool(p.of(&Client::ALL), fence_option(p), p.between(1, 5)),
        _ if p.flag() => Event::Restore(p.of(&Client::ALL), mode_option(p), p.between(1, 5)),
        _ => Event::Remove,
    }
}

fn mode_option(program: &mut Choices) -> ModeOption {
    match program.below(9) {
        0 => ModeOption::Exclusive,
        1 => ModeOption::Shared,
        limit @ 2..=4 => ModeOption::SharedLimit(u64::from(limit) - 1),
        5 => {
            let limit = program.between(1, 3);
            ModeOption::SharedWeight(limit, program.between(1, 3).min(limit))
        }
        6 => ModeOption::ExclusiveMax(program.between(1, 7)),
        7 => ModeOption::SharedMax(program.between(1, 7)),
        _ => ModeOption::ExclusiveDelay(program.between(1, 7)),
    }
}

fn session_option(program: &mut Choices) -> SessionOption {
    match program.below(3) {
        0 => SessionOption::NoSession,
        n => SessionOption::OnConnection(usize::from(n) - 1),
    }
}

fn fence_option(program: &mut Choices) -> FenceOption {
    program.of(&[FenceOption::NoFence, FenceOption::Right, FenceOption::Wrong])
}
