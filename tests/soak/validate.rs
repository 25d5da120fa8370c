//! The verdict: every rule, over the whole history. The first rules are about single operations: what each was answered must be
//! possible, given what else is known.

use crate::history::{Asked, History, Op, Reply};
use crate::model::{Model, Sure};
use crate::{order, samples};

/// How many violations are told.
const TOLD: usize = 40;

/// What cannot be, in the order of the rules; empty: nothing is wrong.
pub fn validate(history: &History) -> Vec<String> {
    let model = Model::of(history);
    let mut wrong: Vec<String> = history.wrong.clone();
    for n in 0..history.ops.len() {
        wrong.extend(operation(&model, n));
    }
    wrong.extend(order::fences_rise(&model));
    wrong.extend(order::first_come_first_served(&model));
    wrong.extend(samples::check(&model));
    wrong.extend(uses(&model));
    wrong.truncate(TOLD);
    wrong
}

/// What is wrong with one operation.
fn operation(model: &Model, n: usize) -> Option<String> {
    let op = &model.history.ops[n];
    let says = |what: &str| Some(format!("{what}: operation {n} {op}"));
    let (call_us, ret_us) = (op.call_us, op.ret_us);
    let held = || model.surely_held(op);
    let may_hold = |fence| model.may_have_held(&op.lock, &op.owner, fence, call_us, ret_us);
    match (&op.asked, &op.reply) {
        (_, Reply::Unknown) => None,
        (_, Reply::Error(text)) => error(model, op, text).and_then(|what| says(&what)),
        (Asked::Acquire { .. }, Reply::Fence(fence)) => granted(model, n, op, *fence),
        (Asked::Acquire { block_ms, is_shared, .. }, Reply::Null) => {
            // Of several locks others may hold the rest.
            let is_one = op.together.is_none();
            if let Some(sure) = held().filter(|sure| is_one && (*is_shared || sure.exclusive_until_us > ret_us)) {
                return says(&format!("refused to the holder ({sure:?})"));
            }
            match block_ms {
                Some(block_ms) => wait_ran_out(model, op, *block_ms).and_then(|what| says(&what)),
                None if refusal_has_a_reason(model, op) => None,
                None => says("refused though nobody can have held it or waited"),
            }
        }
        (
            Asked::Release { fence }
            | Asked::Cool { fence, .. }
            | Asked::Downgrade { fence }
            | Asked::Extend { fence, .. },
            Reply::Yes,
        ) => {
            if may_hold(*fence) {
                return None;
            }
            says("it cannot have held")
        }
        (
            Asked::Release { fence }
            | Asked::Cool { fence, .. }
            | Asked::Downgrade { fence }
            | Asked::Extend { fence, .. },
            Reply::No,
        ) => {
            let sure = held().filter(|sure| fence.is_none_or(|fence| sure.fence == fence))?;
            // A hold that was loaded gets another fence as soon as its owner reacquires it.
            if fence.is_some() && model.may_be_renewed(sure.fence, ret_us) {
                return None;
            }
            says(&format!("it held all the time ({sure:?})"))
        }
        (Asked::Check, Reply::Null) => says(&format!("it held all the time ({:?})", held()?)),
        (Asked::Check, Reply::Held { fence, .. }) => {
            if may_hold(Some(*fence)) {
                return None;
            }
            says("it cannot have held")
        }
        _ => says("no such reply is known"),
    }
}

/// What is wrong with a grant.
fn granted(model: &Model, n: usize, op: &Op, fence: u64) -> Option<String> {
    if fence >= 1 << 53 {
        return Some(format!("a double does not hold this fence: operation {n} {op}"));
    }
    let is_shared = matches!(op.asked, Asked::Acquire { is_shared: true, .. });
    let at_us = op.ret_us;
    // Whoever held all the time, held at the moment of the grant.
    let mut others = model.sure_while(op).filter(|sure| sure.owner != op.owner);
    let all_the_time = others.find(|sure| !is_shared || sure.exclusive_until_us > at_us);
    // Whoever holds when the reply comes, holds beside this one if this one still does.
    let term = model.term(op);
    let then = || model.sure_at(&op.lock, at_us, at_us).filter(move |sure| sure.term <= term);
    let mine = then().find(|sure| sure.owner == op.owner && sure.fence == fence);
    let beside = mine.and_then(|mine| {
        let is_alone = |sure: &Sure| mine.exclusive_until_us > at_us || sure.exclusive_until_us > at_us;
        then().find(|sure| sure.owner != op.owner && is_alone(sure))
    });
    if let Some(other) = all_the_time.or(beside) {
        return Some(format!("two hold at once: operation {n} {op} beside {other:?}"));
    }
    let before = model.surely_held(op)?;
    let is_other =
        if model.may_be_renewed(before.fence, op.ret_us) { fence < before.fence } else { fence != before.fence };
    is_other.then(|| format!("reacquired, and got another fence than {before:?}: operation {n} {op}"))
}

/// Whether somebody may have been in the way of a request that was refused.
fn refusal_has_a_reason(model: &Model, op: &Op) -> bool {
    let is_in_the_way = |op: &Op| {
        model.others_may_have_held(&op.lock, &op.owner, op.call_us, op.ret_us)
            || model.others_may_have_waited(op)
            || model.may_have_cooled(op)
    };
    model.history.command_of(op).iter().any(is_in_the_way)
        // Shared by itself, and asked for alone, it is told so by an error; then nothing is refused.
        || model.history.halts.iter().any(|halt| halt.from_us <= op.ret_us && halt.to_us >= op.call_us)
}

/// What is wrong with a wait that ended in null.
fn wait_ran_out(model: &Model, op: &Op, block_ms: u64) -> Option<String> {
    let was_long_enough = block_ms > 0 && op.ret_us - op.call_us + 2000 >= block_ms * 1000;
    (!was_long_enough && !model.may_have_been_withdrawn(op)).then(|| "the wait ended before its time".to_owned())
}

/// What is wrong with an error.
fn error(model: &Model, op: &Op, text: &str) -> Option<String> {
    let is_halted = |why: &[&str]| {
        let mut halts = model.history.halts.iter();
        halts.any(|halt| why.contains(&halt.why) && halt.from_us <= op.ret_us && halt.to_us + 1000 >= op.call_us)
    };
    let term = &model.history.terms[model.history.connections[op.connection].term];
    let is_expected = match text.split(' ').next().unwrap_or_default() {
        "DEADLOCK" => op.is_blocking(),
        "NOREPLICAS" => is_halted(&["too few replicas"]),
        "READONLY" | "UNBLOCKED" => term.superseded_us <= op.ret_us,
        "LOADING" | "BUSY" | "MASTERDOWN" => {
            is_halted(&["the data set is loaded again", "killed", "a failover"]) || term.superseded_us <= op.ret_us
        }
        _ if text.contains("COOL needs an exclusive hold") => {
            matches!(op.asked, Asked::Cool { .. })
                && model.may_have_held(&op.lock, &op.owner, None, op.call_us, op.ret_us)
        }
        _ if text.contains("holds the lock shared, release it first") => {
            matches!(op.asked, Asked::Acquire { is_shared: false, .. })
                && model
                    .history
                    .command_of(op)
                    .iter()
                    .any(|op| model.may_have_held(&op.lock, &op.owner, None, op.call_us, op.ret_us))
        }
        _ => false,
    };
    (!is_expected).then(|| "an unexpected error".to_owned())
}

/// The fenced resource must let in whoever surely holds.
fn uses(model: &Model) -> Vec<String> {
    let rejected = model.history.uses.iter().filter(|one| !one.is_accepted);
    let wrong = rejected.filter_map(|one| {
        let sure = model.sure_at(&one.lock, one.at_us, one.at_us).find(|sure| sure.owner == one.owner)?;
        // What came by SWAPDB brought its old fence along.
        let is_brought = model.was_swapped_before(sure.call_us, one.fence);
        (sure.fence == one.fence && !is_brought).then(|| format!("a holder was rejected: {one:?} {sure:?}"))
    });
    wrong.collect()
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
