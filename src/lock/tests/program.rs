//! Bytes as a sequence of events for the rules and the model, as in [`super::random`], but led by coverage.
//! Target `rules` of the fuzzer.

use super::random::Pair;
use super::*;
use crate::fuzz::Choices;

/// Lets the events happen one after the other; every step is checked.
pub fn run(bytes: &[u8]) {
    let mut pair = Pair::new();
    let mut program = Choices::new(bytes);
    while !program.is_done() {
        pair.step(event(&mut program));
    }
    pair.bench.drain();
}

fn event(program: &mut Choices) -> Event {
    let what = program.below(18);
    let p = program;
    match what {
        0 | 1 => Event::Try(p.of(&Who::ALL), how(p), p.between(1, 5), bound(p)),
        2 | 3 => Event::Wait(p.of(&Who::ALL), how(p), p.between(1, 5), bound(p), p.between(0, 5)),
        4 => Event::Release(p.of(&Who::ALL), tag(p)),
        5 => Event::Downgrade(p.of(&Who::ALL), tag(p)),
        6 => Event::Extend(
            p.of(&Who::ALL),
            p.between(0, 5),
            tag(p),
            p.of(&[Lift::No, Lift::Low, Lift::Same, Lift::High]),
        ),
        7 => Event::Leave(p.below(3).into()),
        8 => Event::Delivered(p.below(3).into()),
        9 => Event::Undelivered(p.below(3).into()),
        10 => Event::Close(usize::from(p.below(bench::CONNECTIONS as u8))),
        11 => Event::Pass(p.between(1, 5)),
        12 => Event::WallClock(i64::from(p.below(20)) - 10),
        13 => Event::Serve,
        14 => Event::Ring,
        15 => Event::Deny(p.between(1, 5)),
        16 => Event::Allow(p.between(1, 5)),
        _ if p.flag() => Event::Put(p.of(&Who::ALL), how(p), p.between(1, 5)),
        _ => Event::Remove,
    }
}

fn how(program: &mut Choices) -> How {
    match program.below(5) {
        0 => How::Alone,
        1 => How::Together,
        limit => How::UpTo(u64::from(limit) - 1),
    }
}

fn bound(program: &mut Choices) -> Bound {
    match program.below(3) {
        0 => Bound::Loose,
        n => Bound::To(usize::from(n) - 1),
    }
}

fn tag(program: &mut Choices) -> Tag {
    program.of(&[Tag::Any, Tag::Right, Tag::Wrong])
}
