//! Rules about order: fences rise, and waiters are served first come, first served.

use std::collections::{HashMap, HashSet};

use crate::history::{Asked, Lock, Op, Reply, Us};
use crate::model::Model;
use crate::traffic::LEASE_MAX_MS;

/// A grant that was told after another was known carries a larger fence; nobody is given another owner's; and a later life of
/// a server, or another server after it, gives none below what was given before it, whenever that was.
pub fn fences_rise(model: &Model) -> Vec<String> {
    let mut wrong = Vec::new();
    for lock in locks(model) {
        let grants = grants_of(model, lock);
        wrong.extend(given_twice(model, &grants));
        wrong.extend(fell_in_time(model, &grants));
        wrong.extend(fell_over_terms(model, &grants));
    }
    wrong
}

fn locks<'a>(model: &Model<'a>) -> HashSet<&'a Lock> {
    model.history.ops.iter().map(|op| &op.lock).collect()
}

/// All operations on the lock that were answered with a fence.
fn grants_of(model: &Model, lock: &Lock) -> Vec<(usize, u64)> {
    let all = model.history.ops.iter().enumerate().filter(|(_, op)| op.lock == *lock);
    all.filter_map(|(n, op)| Some((n, op.granted()?))).collect()
}

fn given_twice(model: &Model, grants: &[(usize, u64)]) -> Option<String> {
    let mut owners: HashMap<u64, &Op> = HashMap::new();
    for (n, fence) in grants {
        let op = &model.history.ops[*n];
        let first = *owners.entry(*fence).or_insert(op);
        if first.owner != op.owner {
            return Some(format!("one fence for two owners: {first}; {op}"));
        }
    }
    None
}

fn fell_in_time(model: &Model, grants: &[(usize, u64)]) -> Vec<String> {
    let ops = &model.history.ops;
    let mut by_call = grants.to_vec();
    by_call.sort_by_key(|(n, _)| ops[*n].call_us);
    let mut by_ret = grants.to_vec();
    by_ret.sort_by_key(|(n, _)| ops[*n].ret_us);
    let mut known = by_ret.into_iter().peekable();
    let mut highest: Option<(usize, u64)> = None;
    let mut wrong = Vec::new();
    for (n, fence) in by_call {
        while let Some((earlier, its)) = known.next_if(|(earlier, _)| ops[*earlier].ret_us < ops[n].call_us) {
            if highest.is_none_or(|(_, highest)| its > highest) {
                highest = Some((earlier, its));
            }
        }
        let Some((earlier, its)) = highest.filter(|(_, its)| *its > fence) else { continue };
        let (earlier, later) = (&ops[earlier], &ops[n]);
        let (from, to) = (model.term(earlier), model.term(later));
        // An old primary may still grant beside the new one; the next rule is about them.
        if model.history.terms[from].server != model.history.terms[to].server && to < from {
            continue;
        }
        // Its owner held already when the other was granted.
        if may_be_older(model, n, fence, earlier.ret_us) {
            continue;
        }
        wrong.push(format!("fences fell from {its}: {earlier}; to {later}"));
    }
    wrong
}

/// Whether the hold that this request was answered with may have begun by `by_us`, by another request of its owner's, in either
/// database.
fn may_be_older(model: &Model, n: usize, fence: u64, by_us: Us) -> bool {
    let op = &model.history.ops[n];
    let mut theirs = model.by_owner[op.owner.as_str()].iter().filter(|other| **other != n);
    theirs.any(|other| {
        let other = &model.history.ops[*other];
        let is_cause = other.granted() == Some(fence) || (other.is_unknown() && other.may_have_been_granted());
        is_cause && other.lock.name == op.lock.name && other.call_us <= by_us
    })
}

fn fell_over_terms(model: &Model, grants: &[(usize, u64)]) -> Option<String> {
    let mut by_term: Vec<(usize, u64, usize)> =
        grants.iter().map(|(n, fence)| (model.term(&model.history.ops[*n]), *fence, *n)).collect();
    by_term.sort_unstable();
    let mut highest: Option<(usize, u64, usize)> = None;
    let mut before: Option<(usize, u64, usize)> = None;
    for one in by_term {
        if before.is_some_and(|before| before.0 != one.0) {
            highest = highest.max_by_fence(before);
        }
        if let Some(earlier) = highest.filter(|earlier| earlier.1 >= one.1) {
            let ops = &model.history.ops;
            return Some(format!("a later primary gave a fence below: {}; {}", ops[earlier.2], ops[one.2]));
        }
        before = Some(one);
    }
    None
}

trait MaxByFence {
    fn max_by_fence(self, other: Self) -> Self;
}

impl MaxByFence for Option<(usize, u64, usize)> {
    fn max_by_fence(self, other: Self) -> Self {
        self.into_iter().chain(other).max_by_key(|(_, fence, _)| *fence)
    }
}

/// Of two requests, the one that the server ran first is granted first; and nobody who came later is granted while it waits.
pub fn first_come_first_served(model: &Model) -> Vec<String> {
    let mut wrong = Vec::new();
    for lock in locks(model) {
        let mut by_term: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for (n, op) in model.history.ops.iter().enumerate().filter(|(_, op)| op.lock == *lock) {
            if let (Asked::Acquire { .. }, Some(at)) = (&op.asked, model.position[n]) {
                by_term.entry(model.term(op)).or_default().push((at, n));
            }
        }
        for (_, mut all) in by_term {
            all.sort_unstable();
            wrong.extend(passed(model, &all));
        }
    }
    wrong
}

/// Of the requests of one lock in one term, in the order in which the server ran them: those that passed another.
fn passed(model: &Model, all: &[(usize, usize)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut granted: Option<(usize, u64)> = None;
    let mut waits: Vec<usize> = Vec::new();
    for (_, n) in all {
        let op = &model.history.ops[*n];
        waits.retain(|waiter| ran_out_us(&model.history.ops[*waiter]) > op.call_us);
        if let Some(fence) = op.granted() {
            let by_grant = granted.filter(|(_, before)| *before > fence).map(|(before, _)| before);
            let in_vain = waits.iter().find(|waiter| ran_out_us(&model.history.ops[**waiter]) > op.ret_us).copied();
            for before in by_grant.into_iter().chain(in_vain) {
                let passed = &model.history.ops[before];
                if passed.owner != op.owner && !held_already(model, all, *n, before) {
                    wrong.push(format!("passed one who came before: {passed}; by {op}"));
                }
            }
            if granted.is_none_or(|(_, highest)| fence > highest) {
                granted = Some((*n, fence));
            }
        }
        if op.is_blocking() && op.reply == Reply::Null && !model.may_have_been_withdrawn(op) {
            waits.push(*n);
        }
    }
    wrong
}

/// Until when a wait that ended in null surely lasted, if nobody withdrew it.
fn ran_out_us(op: &Op) -> Us {
    match op.asked {
        Asked::Acquire { block_ms: Some(block_ms), .. } => (op.call_us + block_ms * 1000).min(op.ret_us),
        _ => 0,
    }
}

/// Whether the owner of a grant may have held, or waited, before the other came: by another request.
fn held_already(model: &Model, all: &[(usize, usize)], n: usize, before: usize) -> bool {
    let (op, passed) = (&model.history.ops[n], &model.history.ops[before]);
    let came_before: HashSet<usize> = all.iter().take_while(|(_, one)| *one != before).map(|(_, one)| *one).collect();
    let theirs = model.by_owner[op.owner.as_str()].iter().map(|one| (*one, &model.history.ops[*one]));
    let mut theirs =
        theirs.filter(|(one, other)| *one != n && other.lock.name == op.lock.name && other.may_have_been_granted());
    theirs.any(|(one, other)| {
        let is_before = came_before.contains(&one) || other.call_us <= passed.call_us || model.position[one].is_none();
        let lasts_us = model.latest_us[one].saturating_add(LEASE_MAX_MS * 1000 + 50_000);
        is_before && other.call_us <= op.ret_us && lasts_us >= passed.call_us
    })
}
