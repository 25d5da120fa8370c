//! What a history says of holds: from when until when one surely ran, and from when until when it may have run.
//!
//! Both are cautious. A hold surely runs from the reply that told of it until the first moment at which its lease could be over
//! or anybody could have ended it. It may run from the call of the first request that could have been granted until the last
//! moment at which its lease can be over, or until somebody was told that it is. The rules that use them have no false alarms,
//! however slow the machine, and the more replies there are, the less lies between the two.

use std::collections::{HashMap, HashSet};

use crate::history::{Act, Asked, Deed, History, Lock, Op, Options, Reply, Us, NEVER};
use crate::traffic::LEASE_MAX_MS;

/// What rounding to milliseconds, at both ends and in the AOF, may come to.
const ROUNDING_US: Us = 5_000;

/// How late a timer may be after the wall clock was set, or in a pause.
const LATE_US: Us = 1_000_000;

/// A hold that surely ran in this time.
#[derive(Clone, Debug)]
pub struct Sure {
    /// Who.
    pub owner: String,
    /// Under which fence.
    pub fence: u64,
    /// From when.
    pub from_us: Us,
    /// Until when.
    pub until_us: Us,
    /// Until when it was exclusive; 0: it is not known that it was.
    pub exclusive_until_us: Us,
    /// When the operation was called that tells so.
    pub call_us: Us,
    /// That operation.
    pub op: usize,
    /// In which term that was. An old primary may know nothing of what its successor granted.
    pub term: usize,
}

/// A hold that may have run in this time.
#[derive(Clone, Debug)]
pub struct May {
    /// Under this fence, or an unknown one.
    pub fence: Option<u64>,
    /// From when.
    pub from_us: Us,
    /// Until when.
    pub until_us: Us,
}

/// All that is known.
pub struct Model<'a> {
    /// Of what.
    pub history: &'a History,
    /// Where each operation stands in the order in which its server ran them, if that was heard.
    pub position: Vec<Option<usize>>,
    /// When each operation ran at the latest.
    pub latest_us: Vec<Us>,
    /// When each connection was surely gone at the server.
    pub gone_us: Vec<Us>,
    /// The operations on each lock by each owner.
    pub of: HashMap<(&'a Lock, &'a str), Vec<usize>>,
    /// The operations of each owner.
    pub by_owner: HashMap<&'a str, Vec<usize>>,
    /// The requests for each lock that could wait.
    blocking: HashMap<&'a Lock, Vec<usize>>,
    /// When each fence may have been given first.
    first_us: HashMap<u64, Us>,
    sure: HashMap<&'a Lock, Vec<Sure>>,
    may: HashMap<&'a Lock, HashMap<&'a str, Vec<May>>>,
}

impl<'a> Model<'a> {
    /// Of a history.
    pub fn of(history: &'a History) -> Model<'a> {
        let position = positions(history);
        let gone_us = gone(history);
        let latest_us = (0..history.ops.len()).map(|n| latest(history, &position, &gone_us, n)).collect();
        let mut of: HashMap<(&Lock, &str), Vec<usize>> = HashMap::new();
        let (mut by_owner, mut blocking, mut first_us) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (n, op) in history.ops.iter().enumerate() {
            of.entry((&op.lock, &op.owner)).or_default().push(n);
            by_owner.entry(op.owner.as_str()).or_insert_with(Vec::new).push(n);
            if op.is_blocking() {
                blocking.entry(&op.lock).or_insert_with(Vec::new).push(n);
            }
            if let Some(fence) = op.granted() {
                // They are in the order of their calls.
                first_us.entry(fence).or_insert(op.call_us);
            }
        }
        let (sure, may) = (HashMap::new(), HashMap::new());
        let mut model = Model { history, position, latest_us, gone_us, of, by_owner, blocking, first_us, sure, may };
        model.find_sure();
        model.find_may();
        model
    }

    /// What surely ran on this lock, in the order of beginnings.
    pub fn sure(&self, lock: &Lock) -> &[Sure] {
        self.sure.get(lock).map_or(&[], Vec::as_slice)
    }

    /// In which term an operation was asked.
    pub fn term(&self, op: &Op) -> usize {
        self.history.connections[op.connection].term
    }

    /// A hold of this operation's owner that surely ran all the time while it was asked.
    pub fn surely_held(&self, op: &Op) -> Option<&Sure> {
        self.sure_while(op).find(|sure| sure.owner == op.owner)
    }

    /// The holds that surely ran all the time while this was asked.
    pub fn sure_while(&self, op: &Op) -> impl Iterator<Item = &Sure> {
        let term = self.term(op);
        self.sure_at(&op.lock, op.call_us, op.ret_us).filter(move |sure| sure.term <= term)
    }

    /// The holds that surely ran all the time from `from_us` to `to_us`.
    pub fn sure_at(&self, lock: &Lock, from_us: Us, to_us: Us) -> impl Iterator<Item = &Sure> {
        let all = self.sure(lock);
        let end = all.partition_point(|sure| sure.from_us <= from_us);
        let begin = all.partition_point(|sure| sure.from_us + longest_us() < from_us);
        all[begin.min(end)..end].iter().filter(move |sure| to_us < sure.until_us)
    }

    /// Whether this owner may have held at some time from `from_us` to `to_us`; under this fence, if one is given.
    pub fn may_have_held(&self, lock: &Lock, owner: &str, fence: Option<u64>, from_us: Us, to_us: Us) -> bool {
        let theirs = self.may.get(lock).and_then(|owners| owners.get(owner));
        theirs.into_iter().flatten().any(|may| {
            let fits = fence.is_none() || may.fence.is_none() || may.fence == fence;
            fits && may.from_us <= to_us && may.until_us >= from_us
        })
    }

    /// Whether anybody else than this owner may have held at some time from `from_us` to `to_us`.
    pub fn others_may_have_held(&self, lock: &Lock, owner: &str, from_us: Us, to_us: Us) -> bool {
        let owners = self.may.get(lock);
        let mut others = owners.into_iter().flatten().filter(|(other, _)| **other != owner);
        others.any(|(_, may)| may.iter().any(|may| may.from_us <= to_us && may.until_us >= from_us))
    }

    /// Whether anybody else than this request may have stood in the queue while it was asked.
    pub fn others_may_have_waited(&self, op: &Op) -> bool {
        let mut others = self.blocking.get(&op.lock).into_iter().flatten();
        others.any(|n| self.history.ops[*n].call_us <= op.ret_us && self.latest_us[*n] >= op.call_us)
    }

    /// Whether its owner may have withdrawn a request.
    pub fn may_have_been_withdrawn(&self, op: &Op) -> bool {
        // The release of one of several locks withdraws the request for all.
        let all = self.history.command_of(op).iter();
        let mut theirs = all.flat_map(|op| &self.of[&(&op.lock, op.owner.as_str())]);
        theirs.any(|n| {
            let other = &self.history.ops[*n];
            let is_release = other.is_release() && !matches!(other.reply, Reply::Error(_));
            is_release && other.call_us <= op.ret_us && self.latest_us[*n] >= op.call_us
        })
    }

    /// Whether its owner may have asked for another end of a hold between these moments.
    pub fn may_have_been_extended(&self, lock: &Lock, owner: &str, from_us: Us, to_us: Us) -> bool {
        let mut theirs = self.of.get(&(lock, owner)).into_iter().flatten();
        theirs.any(|n| {
            let op = &self.history.ops[*n];
            let may_extend = op.may_have_been_granted()
                || (matches!(op.asked, Asked::Extend { .. }) && matches!(op.reply, Reply::Yes | Reply::Unknown));
            may_extend && op.call_us <= to_us && self.latest_us[*n] >= from_us
        })
    }

    /// Whether a hold that ran at `from_us` may have come out of a file or from another server by `to_us`.
    pub fn may_be_inherited(&self, from_us: Us, to_us: Us) -> bool {
        self.acts_within(from_us, to_us).any(|act| matches!(act.deed, Deed::Load | Deed::Promote))
    }

    /// Whether a hold that nobody sees may come to light again: in a database that is not looked at, or at a server that has not
    /// heard of its end.
    pub fn may_come_back(&self, by_us: Us) -> bool {
        self.acts_within(0, by_us).any(|act| matches!(act.deed, Deed::Swap))
            || self.history.terms.iter().any(|term| term.server > 0)
    }

    /// Whether the hold with this fence may have been loaded or taken over by then. If so, it gets another fence when its owner
    /// reacquires it.
    pub fn may_be_renewed(&self, fence: u64, by_us: Us) -> bool {
        self.may_be_inherited(self.first_us.get(&fence).copied().unwrap_or(0), by_us)
    }

    /// Whether databases were swapped between the first that was heard of a fence and this moment.
    pub fn was_swapped_before(&self, at_us: Us, fence: u64) -> bool {
        self.was_swapped(self.first_us.get(&fence).copied().unwrap_or(0), at_us)
    }

    /// Whether an operation surely ran before another, which began to wait then if it does.
    fn ran_before(&self, one: usize, other: usize) -> bool {
        let (first, second) = (&self.history.ops[one], &self.history.ops[other]);
        if first.ret_us < second.call_us {
            return true;
        }
        let term = |op: &Op| self.history.connections[op.connection].term;
        match (self.position[one], self.position[other]) {
            // One that waits ends later than it began.
            (Some(before), Some(after)) => term(first) == term(second) && before < after && !first.is_blocking(),
            _ => false,
        }
    }

    /// When the hold surely had not begun yet, given that this operation was answered with it.
    fn not_before(&self, n: usize) -> Us {
        let op = &self.history.ops[n];
        if !op.is_blocking() {
            return op.call_us;
        }
        let term = self.history.connections[op.connection].term;
        let samples = &self.history.samples;
        let begin = samples.partition_point(|sample| sample.call_us < op.call_us);
        let meanwhile = samples[begin..].iter().take_while(|sample| sample.ret_us <= op.ret_us);
        // The owner is in the queue by this request, and not by another one of its own, which came after.
        let theirs = self.of[&(&op.lock, op.owner.as_str())].iter();
        let others = theirs.filter(|other| **other != n && self.history.ops[**other].is_blocking());
        let others_us = others.filter(|other| self.latest_us[**other] >= op.call_us);
        let first_other_us = others_us.map(|other| self.history.ops[*other].call_us).min().unwrap_or(NEVER);
        let in_line = meanwhile.take_while(|sample| sample.ret_us < first_other_us).filter(|sample| {
            let seen = sample.locks.iter().find(|(lock, _)| *lock == op.lock).and_then(|(_, seen)| seen.as_ref());
            sample.term == term
                && seen.is_some_and(|seen| {
                    seen.queue.contains(&op.owner) && seen.holders.iter().all(|holder| holder.owner != op.owner)
                })
        });
        in_line.map(|sample| sample.call_us).last().unwrap_or(op.call_us)
    }

    fn find_sure(&mut self) {
        let mut found: HashMap<&Lock, Vec<Sure>> = HashMap::new();
        for ((lock, owner), ops) in &self.of {
            for n in ops {
                if let Some(sure) = self.surely(owner, *n, ops) {
                    found.entry(*lock).or_default().push(sure);
                }
            }
        }
        for all in found.values_mut() {
            all.sort_by_key(|sure| (sure.from_us, sure.op));
        }
        self.sure = found;
    }

    /// What this operation proves of its owner's hold.
    fn surely(&self, owner: &str, n: usize, ops: &[usize]) -> Option<Sure> {
        let op = &self.history.ops[n];
        let (fence, end_us) = match (&op.asked, &op.reply) {
            (Asked::Acquire { lease_ms, .. }, Reply::Fence(fence)) => (*fence, self.not_before(n) + lease_ms * 1000),
            (Asked::Check, Reply::Held { fence, ttl_ms }) => (*fence, op.call_us + ttl_ms.saturating_sub(1) * 1000),
            (Asked::Extend { lease_ms: Some(lease_ms), fence: Some(fence) }, Reply::Yes) => {
                (*fence, op.call_us + lease_ms * 1000)
            }
            _ => return None,
        };
        let mut until_us = end_us.saturating_sub(ROUNDING_US);
        let mut exclusive_until_us = 0;
        for other in ops {
            let threat = &self.history.ops[*other];
            if let Asked::Acquire { is_shared: false, .. } = threat.asked {
                if threat.granted() == Some(fence) && threat.ret_us <= op.ret_us {
                    exclusive_until_us = NEVER;
                }
            }
            if threat.call_us >= until_us || self.latest_us[*other] < op.call_us {
                continue;
            }
            let is_before = self.ran_before(*other, n);
            let is_done = matches!(threat.reply, Reply::Yes | Reply::Unknown) && threat.is_about(fence) && !is_before;
            match threat.asked {
                Asked::Release { .. } | Asked::Cool { .. } if is_done => until_us = until_us.min(threat.call_us),
                Asked::Extend { lease_ms, .. } if is_done => {
                    let lease_us = lease_ms.map_or_else(|| self.shortest_us(ops), |lease_ms| lease_ms * 1000);
                    let end_us = threat.call_us + lease_us.saturating_sub(ROUNDING_US);
                    until_us = until_us.min(end_us);
                }
                _ => {}
            }
        }
        if exclusive_until_us > 0 {
            exclusive_until_us = self.downgraded_us(fence, ops).min(until_us);
        }
        until_us =
            until_us.min(self.max_us(fence, ops)).min(self.closing_us(fence, ops)).min(self.acted_us(op, until_us));
        exclusive_until_us = exclusive_until_us.min(until_us);
        let (from_us, call_us) = (op.ret_us, op.call_us);
        let (owner, term) = (owner.to_owned(), self.term(op));
        (until_us > from_us).then_some(Sure {
            owner,
            fence,
            from_us,
            until_us,
            exclusive_until_us,
            call_us,
            op: n,
            term,
        })
    }

    /// The first moment at which the hold may have been made a shared one.
    fn downgraded_us(&self, fence: u64, ops: &[usize]) -> Us {
        let all = ops.iter().map(|n| &self.history.ops[*n]);
        let downgrades = all.filter(|op| matches!(op.asked, Asked::Downgrade { .. }) && op.is_about(fence));
        let done = downgrades.filter(|op| matches!(op.reply, Reply::Yes | Reply::Unknown));
        done.map(|op| op.call_us).min().unwrap_or(NEVER)
    }

    /// The shortest lease that was ever asked for there by this owner.
    fn shortest_us(&self, ops: &[usize]) -> Us {
        ops.iter().filter_map(|n| lease_us(&self.history.ops[*n])).min().unwrap_or(0)
    }

    /// From when on MAX may have ended the hold.
    fn max_us(&self, fence: u64, ops: &[usize]) -> Us {
        let op = |n: &usize| &self.history.ops[*n];
        let end_us = |n: &usize| match op(n).asked {
            Asked::Acquire { options: Options { max_ms: Some(max_ms), .. }, .. } => {
                let may_be_its = op(n).is_unknown()
                    || op(n).granted() == Some(fence)
                    || (op(n).granted() < Some(fence)
                        && op(n).granted().is_some_and(|its| self.may_be_renewed(its, NEVER)));
                may_be_its.then_some(op(n).call_us + (max_ms * 1000).saturating_sub(ROUNDING_US))
            }
            _ => None,
        };
        ops.iter().filter_map(end_us).min().unwrap_or(NEVER)
    }

    /// Whether the lock may have been cooling at some time while this was asked.
    pub fn may_have_cooled(&self, op: &Op) -> bool {
        // By a clock that was put back the whole length is left, each time it is loaded.
        let is_clock_set = self.history.acts.iter().any(|act| act.deed == Deed::SetClock);
        let was_loaded = |act: &Act| act.deed == Deed::Load && act.ret_us + LATE_US >= op.call_us;
        if is_clock_set && self.acts_within(0, op.ret_us).any(was_loaded) {
            return true;
        }
        let same = self.history.ops.iter().enumerate().filter(|(_, other)| other.lock.name == op.lock.name);
        same.filter(|(_, other)| other.call_us <= op.ret_us).any(|(n, other)| match other.asked {
            Asked::Cool { cool_ms, .. } => {
                let is_done = matches!(other.reply, Reply::Yes | Reply::Unknown);
                is_done && self.latest_us[n].saturating_add(cool_ms * 1000 + LATE_US) >= op.call_us
            }
            Asked::Acquire { options: Options { delay_ms: Some(delay_ms), .. }, .. } => {
                let from_us = op.call_us.saturating_sub(delay_ms * 1000 + LATE_US);
                other.may_have_been_granted() && self.may_have_held(&other.lock, &other.owner, None, from_us, op.ret_us)
            }
            _ => false,
        })
    }

    /// From when on a connection may have ended the hold by closing; perhaps much later, if the server may not write then.
    fn closing_us(&self, fence: u64, ops: &[usize]) -> Us {
        let op = |n: &usize| &self.history.ops[*n];
        let began_us = ops.iter().filter(|n| op(n).granted() == Some(fence)).map(|n| op(n).call_us).min().unwrap_or(0);
        // A hold that was loaded gets another fence when its owner reacquires it.
        let is_renewed = |op: &Op| op.granted() > Some(fence) && self.may_be_renewed(fence, op.ret_us);
        let binding = ops.iter().filter(|n| match op(n).asked {
            Asked::Acquire { is_session: true, .. } => {
                op(n).granted() == Some(fence)
                    || is_renewed(op(n))
                    || (op(n).is_unknown() && self.latest_us[**n] >= began_us)
            }
            _ => false,
        });
        binding.map(|n| self.history.connections[op(n).connection].closing_us).min().unwrap_or(NEVER)
    }

    /// From when on somebody else may have ended the hold.
    fn acted_us(&self, op: &Op, until_us: Us) -> Us {
        let term = &self.history.terms[self.history.connections[op.connection].term];
        let meanwhile = |act: &&Act| act.ret_us >= op.call_us && act.call_us <= until_us;
        let ends = self.history.acts.iter().filter(meanwhile).filter(|act| match &act.deed {
            Deed::Remove(lock) => *lock == op.lock,
            Deed::Flush | Deed::Swap | Deed::Promote => true,
            // Leases are saved by the wall clock. It may have been set long before: a hold goes by the one it began under.
            Deed::Load => self.history.acts.iter().any(|act| act.deed == Deed::SetClock),
            Deed::SetClock | Deed::KillInLine { .. } | Deed::Other(_) => false,
        });
        ends.map(|act| act.call_us).min().unwrap_or(NEVER).min(term.superseded_us)
    }

    fn find_may(&mut self) {
        let mut found: HashMap<&Lock, HashMap<&str, Vec<May>>> = HashMap::new();
        let locks: HashSet<&Lock> = self.of.keys().map(|(lock, _)| *lock).collect();
        for ((lock, owner), ops) in &self.of {
            let mine = self.mays(lock, ops);
            found.entry(*lock).or_default().entry(*owner).or_default().extend(mine.clone());
            // What was swapped is looked for in both databases.
            let swapped: Vec<May> =
                mine.into_iter().filter(|may| self.was_swapped(may.from_us, may.until_us)).collect();
            let others = locks.iter().filter(|other| other.name == lock.name && other.db != lock.db);
            for other in others.filter(|_| !swapped.is_empty()) {
                found.entry(*other).or_default().entry(*owner).or_default().extend(swapped.clone());
            }
        }
        self.may = found;
    }

    fn was_swapped(&self, from_us: Us, until_us: Us) -> bool {
        self.acts_within(from_us, until_us).any(|act| act.deed == Deed::Swap)
    }

    fn acts_within(&self, from_us: Us, until_us: Us) -> impl Iterator<Item = &Act> {
        self.history.acts.iter().filter(move |act| act.ret_us >= from_us && act.call_us <= until_us)
    }

    /// The holds that may have come of these operations, all of one owner on one lock.
    fn mays(&self, lock: &Lock, ops: &[usize]) -> Vec<May> {
        let mut groups: HashMap<Option<u64>, Vec<usize>> = HashMap::new();
        let mut singles = Vec::new();
        for n in ops {
            let op = &self.history.ops[*n];
            match op.granted() {
                Some(fence) => groups.entry(Some(fence)).or_default().push(*n),
                None if op.may_have_been_granted() => singles.push((None, vec![*n])),
                None => {}
            }
        }
        let all = groups.into_iter().chain(singles);
        all.map(|(fence, group)| self.may(lock, fence, &group, ops)).collect()
    }

    fn may(&self, lock: &Lock, fence: Option<u64>, group: &[usize], ops: &[usize]) -> May {
        let op = |n: &usize| &self.history.ops[*n];
        let known_us = group.iter().map(|n| self.latest_us[*n]).min().unwrap_or(NEVER);
        let could_be = |n: &&usize| group.contains(n) || (op(n).may_have_been_granted() && op(n).is_unknown());
        let began = ops.iter().filter(could_be).map(|n| op(n).call_us).filter(|call_us| *call_us <= known_us);
        let from_us = began.min().unwrap_or(known_us);
        let was_renewed =
            |earlier: &Op, its: u64, fence: u64| its < fence && self.may_be_inherited(earlier.call_us, known_us);
        // Each request that may have set its lease, as long as there was something to set.
        let mut until_us = 0;
        for n in group {
            until_us = until_us.max(self.latest_us[*n].saturating_add(lease_us(op(n)).unwrap_or(0)));
        }
        for n in ops {
            // The same hold may have had another fence before it was loaded.
            let is_same = |its: u64| fence.is_none_or(|fence| its == fence || was_renewed(op(n), its, fence));
            let longer = match (&op(n).asked, &op(n).reply) {
                (Asked::Extend { lease_ms, fence: asked }, Reply::Yes | Reply::Unknown)
                    if asked.is_none_or(is_same) =>
                {
                    lease_ms.unwrap_or(LEASE_MAX_MS) * 1000
                }
                (Asked::Acquire { lease_ms, .. }, Reply::Fence(its)) if is_same(*its) => lease_ms * 1000,
                (Asked::Acquire { lease_ms, .. }, _) if op(n).may_have_been_granted() && op(n).is_unknown() => {
                    lease_ms * 1000
                }
                _ => continue,
            };
            if op(n).call_us <= until_us {
                until_us = until_us.max(self.latest_us[*n].saturating_add(longer));
            }
        }
        if self.history.acts.iter().any(|act| act.deed == Deed::SetClock) {
            // By a clock that was put back the whole lease is left, each time it is loaded.
            // Also if the lease was over, and the timer, which was late by that clock, had not said so to the AOF.
            for load in self.history.acts.iter().filter(|act| act.deed == Deed::Load && act.ret_us >= from_us) {
                if load.call_us <= until_us + LATE_US {
                    until_us = until_us.max(load.ret_us + LEASE_MAX_MS * 1000);
                }
            }
        }
        until_us = until_us.saturating_add(ROUNDING_US);
        // Of two primaries neither knows what the other was told, and what was told last may be lost.
        let term = group.iter().map(|n| self.term(op(n))).min().unwrap_or(0);
        let is_superseded = self.history.terms[term..].iter().any(|term| term.superseded_us <= until_us);
        if !is_superseded && !self.was_swapped(from_us, until_us) {
            until_us = until_us.min(self.told_over_us(lock, fence, (known_us, term), ops));
        }
        May { fence, from_us, until_us }
    }

    /// When it was known that a hold that was known to have begun, at that time and in that term, is over.
    fn told_over_us(&self, lock: &Lock, fence: Option<u64>, (known_us, term): (Us, usize), ops: &[usize]) -> Us {
        let mut over_us = NEVER;
        for n in ops {
            let op = &self.history.ops[*n];
            if op.call_us < known_us || op.ret_us == NEVER || self.term(op) < term {
                continue;
            }
            let is_about = match op.asked {
                // Without a fence to compare, only what was said of any hold counts.
                Asked::Release { fence: asked }
                | Asked::Cool { fence: asked, .. }
                | Asked::Extend { fence: asked, .. } => asked.is_none() || asked == fence,
                Asked::Check => true,
                Asked::Acquire { .. } | Asked::Downgrade { .. } => false,
            };
            let is_over = matches!(
                (&op.asked, &op.reply),
                (Asked::Release { .. } | Asked::Cool { .. }, Reply::Yes | Reply::No)
                    | (Asked::Extend { .. }, Reply::No)
                    | (Asked::Check, Reply::Null)
            );
            if is_about && is_over {
                over_us = over_us.min(op.ret_us);
            }
        }
        // A newer one of the same owner.
        if let Some(fence) = fence {
            let newer = ops.iter().map(|n| &self.history.ops[*n]).filter(|op| op.granted() > Some(fence));
            over_us = over_us.min(newer.map(|op| op.ret_us).min().unwrap_or(NEVER));
        }
        let removals = self.history.acts.iter().filter(|act| match &act.deed {
            Deed::Remove(removed) => removed == lock,
            Deed::Flush => true,
            _ => false,
        });
        let removals = removals.filter(|act| act.call_us >= known_us).map(|act| act.ret_us);
        over_us.min(removals.min().unwrap_or(NEVER))
    }
}

/// The longest that a sure hold can be proved by one reply.
fn longest_us() -> Us {
    LEASE_MAX_MS * 1000 + ROUNDING_US
}

fn lease_us(op: &Op) -> Option<Us> {
    match op.asked {
        Asked::Acquire { lease_ms, .. } | Asked::Extend { lease_ms: Some(lease_ms), .. } => Some(lease_ms * 1000),
        Asked::Extend { lease_ms: None, .. } | Asked::Release { .. } | Asked::Cool { .. } => None,
        Asked::Downgrade { .. } | Asked::Check => None,
    }
}

/// Finds each operation among what the servers were heard to run: both sides of a connection know the same order.
fn positions(history: &History) -> Vec<Option<usize>> {
    let mut heard: HashMap<(usize, &str), Vec<usize>> = HashMap::new();
    for (n, one) in history.heard.iter().enumerate() {
        heard.entry((one.term, &one.address)).or_default().push(n);
    }
    for all in heard.values_mut() {
        all.reverse();
    }
    let mut place = |op: &Op| {
        let connection = &history.connections[op.connection];
        let next = heard.get_mut(&(connection.term, connection.address.as_str()))?;
        let at = *next.last()?;
        if history.heard[at].words != op.words() {
            return None;
        }
        next.pop()
    };
    let mut positions: Vec<Option<usize>> = Vec::with_capacity(history.ops.len());
    for (n, op) in history.ops.iter().enumerate() {
        let position = match &op.together {
            Some(together) if together.first < n => positions[together.first],
            Some(_) | None => place(op),
        };
        positions.push(position);
    }
    positions
}

/// When each connection was surely gone at its server: the server was seen without it three times, so that it was not about to
/// be accepted either; or the server itself was.
fn gone(history: &History) -> Vec<Us> {
    let gone = |connection: &crate::history::Connection| {
        let ended_us = history.terms[connection.term].ended_us;
        if connection.closing_us == NEVER {
            return ended_us;
        }
        let begin = history.samples.partition_point(|sample| sample.call_us < connection.closing_us);
        let after = history.samples[begin..].iter().filter(|sample| sample.term == connection.term);
        let without = after.filter(|sample| sample.clients.iter().all(|client| client.address != connection.address));
        without.map(|sample| sample.ret_us).nth(2).unwrap_or(NEVER).min(ended_us)
    };
    history.connections.iter().map(gone).collect()
}

/// When an operation ran at the latest.
fn latest(history: &History, position: &[Option<usize>], gone_us: &[Us], n: usize) -> Us {
    let op = &history.ops[n];
    match position[n] {
        _ if op.ret_us != NEVER => op.ret_us,
        Some(at) if !op.is_blocking() => history.heard[at].at_us,
        _ => gone_us[op.connection],
    }
}
