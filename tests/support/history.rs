//! What clients saw of one lock, and whether it could be so.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::value::Value;

/// One exclusive hold, by the clock of the test.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// When it was asked for.
    pub called: Instant,
    /// When the answer came.
    pub granted: Instant,
    /// The number of the server that gave it, or of a server's term as the primary, if it can have several; 0 for a quorum.
    pub server: u16,
    /// Its fence.
    pub fence: u64,
    /// Until when its holder could rely on it: the release was sent, the lease was over (reckoned from before it was asked
    /// for), or the holder was told that it was lost.
    pub ended: Instant,
    /// Whether the release found nothing although the lease was not over: the hold was forgotten.
    pub vanished: bool,
}

impl Grant {
    /// A hold of this lease whose holder is about to release it. The lease began when it was granted, which was after it was
    /// asked for.
    pub(super) fn until_now(called: Instant, granted: Instant, server: u16, fence: i64, lease: Duration) -> Grant {
        let ended = Instant::now().min((called + lease).max(granted));
        Grant { called, granted, server, fence: fence.unsigned_abs(), ended, vanished: false }
    }

    /// Its release was answered with this; or nobody knows with what.
    pub(super) fn released(self, answer: Option<&Value>, lease: Duration) -> Grant {
        let found_nothing = answer.is_some_and(|answer| *answer == 0);
        Grant { vanished: found_nothing && Instant::now() < self.called + lease, ..self }
    }
}

/// What came of checking a history.
#[derive(Debug, Default)]
pub struct Judgement {
    /// What no server may do.
    pub faults: Vec<String>,
    /// Pairs of holds side by side of which an old primary gave one and its successor the other: one the failover forgot,
    /// or one that the old primary still gave. The contract does not promise that there are none; fences protect the resource
    /// from them. Counted, to be reported.
    pub lost: usize,
    /// Holds that their servers had forgotten when they were released, within their leases. Only an asynchronous failover may
    /// do that. Counted, to be reported.
    pub forgotten: usize,
}

impl Judgement {
    /// Prints what is to be counted, for `make nightly`, and panics if there is a fault.
    #[track_caller]
    pub fn report(&self, what: &str, holds: usize) {
        let Judgement { faults, lost, forgotten } = self;
        println!("counted: {what}: {holds} holds, {lost} pairs side by side, {forgotten} forgotten");
        assert_eq!(*faults, Vec::<String>::new());
    }
}

/// Checks exclusive holds of one key. `primaries`: the servers that were primary, in this order; nobody else may grant.
///
/// 1. Each fence is given once.
/// 2. Those of one server rise: a grant that was answered before another was asked for has the smaller one.
/// 3. All of a server lie above all of the primaries before it, whenever those gave them.
/// 4. Nobody holds beside another (but see [`Judgement::lost`]).
pub fn judge(mut history: Vec<Grant>, primaries: &[u16]) -> Judgement {
    let mut judgement = Judgement::default();
    let fences: HashSet<u64> = history.iter().map(|grant| grant.fence).collect();
    if fences.len() != history.len() {
        judgement.faults.push("a fence was given twice".to_owned());
    }
    let is_stranger = |grant: &&Grant| !primaries.contains(&grant.server);
    judgement
        .faults
        .extend(history.iter().filter(is_stranger).map(|grant| format!("granted by no primary: {grant:?}")));
    judgement.forgotten = history.iter().filter(|grant| grant.vanished).count();
    history.sort_by_key(|grant| grant.granted);
    let mut highest: Option<Grant> = None;
    for server in primaries {
        let term: Vec<Grant> = history.iter().filter(|grant| grant.server == *server).copied().collect();
        judgement.faults.extend(falls(&term).iter().map(|fall| format!("fences fell: {fall:?}")));
        if let (Some(before), Some(lowest)) = (highest, term.iter().min_by_key(|grant| grant.fence)) {
            if before.fence >= lowest.fence {
                judgement
                    .faults
                    .push(format!("a primary gave a fence below its predecessor's: {before:?}, {lowest:?}"));
            }
        }
        highest = term.into_iter().chain(highest).max_by_key(|grant| grant.fence);
    }
    let mut running: Vec<Grant> = Vec::new();
    for later in history {
        running.retain(|earlier| earlier.ended > later.granted);
        for earlier in &running {
            if earlier.server == later.server {
                judgement.faults.push(format!("held twice: {earlier:?}, {later:?}"));
            } else {
                judgement.lost += 1;
            }
        }
        running.push(later);
    }
    judgement
}

/// Each grant that was asked for when a larger fence than its own had been given already, behind the grant of that; whoever
/// gave them. `history` is in the order of the grants.
pub fn falls(history: &[Grant]) -> Vec<(Grant, Grant)> {
    let mut asked: Vec<&Grant> = history.iter().collect();
    asked.sort_by_key(|grant| grant.called);
    let mut answered = history.iter().peekable();
    let mut highest: Option<Grant> = None;
    let mut falls = Vec::new();
    for later in asked {
        while let Some(earlier) = answered.next_if(|earlier| earlier.granted <= later.called) {
            highest = highest.into_iter().chain([*earlier]).max_by_key(|grant| grant.fence);
        }
        falls.extend(highest.filter(|earlier| earlier.fence > later.fence).map(|earlier| (earlier, *later)));
    }
    falls
}

/// The servers that gave these grants, in the order of their first ones, behind those that are known to have been primary
/// before. On a busy machine a failover may be followed by another.
pub fn terms(history: &[Grant], known: &[u16]) -> Vec<u16> {
    let mut primaries = known.to_vec();
    for grant in history {
        if !primaries.contains(&grant.server) {
            primaries.push(grant.server);
        }
    }
    primaries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_and_what_is_right_is_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let grant = |called, granted, fence, ended| {
            let (called, granted, ended) = (at(called), at(granted), at(ended));
            Grant { called, granted, server: 0, fence, ended, vanished: false }
        };
        let by = |server, grant| Grant { server, ..grant };
        let right = [
            vec![],
            vec![grant(0, 1, 5, 10), grant(2, 11, 6, 20)],
            // Asked at the same time: either may have been first.
            vec![grant(0, 1, 6, 2), grant(0, 3, 5, 4)],
        ];
        for history in right {
            let judgement = judge(history, &[0]);
            assert!(judgement.faults.is_empty() && judgement.lost == 0, "{judgement:?}");
        }
        let twice = vec![grant(0, 1, 5, 10), grant(2, 3, 6, 20)];
        for (what, history) in [
            ("given twice", vec![grant(0, 1, 5, 2), grant(0, 3, 5, 4)]),
            ("fell", vec![grant(0, 1, 6, 2), grant(2, 3, 5, 4)]),
            ("fell", vec![grant(0, 1, 5, 2), grant(0, 9, 9, 10), grant(2, 3, 6, 4), grant(5, 6, 4, 7)]),
            ("held twice", twice.clone()),
        ] {
            let judgement = judge(history, &[0]);
            assert!(judgement.faults.iter().any(|fault| fault.contains(what)), "{what}: {judgement:?}");
        }
        let [first, second] = [twice[0], twice[1]];
        let forgotten = judge(vec![by(1, first), by(2, second)], &[1, 2]);
        assert!(forgotten.lost == 1 && forgotten.faults.is_empty(), "{forgotten:?}");
        let stranger = judge(vec![by(3, first)], &[1, 2]);
        assert!(stranger.faults[0].contains("no primary"), "{stranger:?}");
        let vanished = judge(vec![Grant { vanished: true, ..first }], &[0]);
        assert!(vanished.forgotten == 1 && vanished.faults.is_empty(), "{vanished:?}");
        let stale = judge(vec![by(2, grant(0, 1, 9, 2)), by(1, grant(3, 4, 5, 6))], &[1, 2]);
        assert!(stale.lost == 0 && stale.faults.is_empty(), "{stale:?}");
        for (one, other) in [(grant(0, 1, 6, 2), grant(3, 4, 5, 6)), (grant(3, 4, 6, 5), grant(0, 1, 5, 2))] {
            let fell = judge(vec![by(1, one), by(2, other)], &[1, 2]);
            assert!(!fell.faults.is_empty(), "the new primary's fences lie above all of the old one's");
        }
    }
}
