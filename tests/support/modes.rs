//! What clients saw of one lock that is held alone and together, and whether it could be so.

use std::collections::HashSet;

use super::history::Grant;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By one.
    Alone,
    /// By so many at most.
    Shared(usize),
}

impl Mode {
    /// How many may hold it at a time.
    pub fn limit(self) -> usize {
        match self {
            Mode::Alone => 1,
            Mode::Shared(limit) => limit,
        }
    }
}

/// A hold of either mode.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// When, where and under which fence.
    pub grant: Grant,
    /// How.
    pub mode: Mode,
}

/// Checks holds of one key of which no server forgot any, whichever server gave them: what is wrong with them. Each fence is
/// given once. Each is found by its release, if that comes within the lease. They rise: a grant that was answered before
/// another was asked for has the smaller one. At no moment do more hold than the smallest limit among them, the limit of who
/// holds alone being one. Linear, but for sorting: a load that runs for minutes has 100 000 holds.
pub fn judge_modes(holds: &[Hold]) -> Vec<String> {
    let mut faults = Vec::new();
    let fences: HashSet<u64> = holds.iter().map(|hold| hold.grant.fence).collect();
    if fences.len() != holds.len() {
        faults.push("a fence was given twice".to_owned());
    }
    let vanished = holds.iter().filter(|hold| hold.grant.vanished);
    faults.extend(vanished.map(|hold| format!("forgotten: {hold:?}")));
    let mut holds = holds.to_vec();
    holds.sort_by_key(|hold| hold.grant.granted);
    // Of the first n holds the one with the largest fence, and of all so far those that run.
    let mut highest: Vec<Hold> = Vec::with_capacity(holds.len());
    let mut running: Vec<Hold> = Vec::new();
    for later in &holds {
        let answered = holds.partition_point(|earlier| earlier.grant.granted <= later.grant.called).min(highest.len());
        let earlier = answered.checked_sub(1).and_then(|last| highest.get(last));
        if let Some(earlier) = earlier.filter(|earlier| earlier.grant.fence > later.grant.fence) {
            faults.push(format!("fences fell: {earlier:?}, {later:?}"));
        }
        let before = highest.last().filter(|before| before.grant.fence > later.grant.fence);
        highest.push(*before.unwrap_or(later));
        running.retain(|earlier| earlier.grant.ended > later.grant.granted);
        running.push(*later);
        let limit = running.iter().map(|hold| hold.mode.limit()).min();
        if limit.is_some_and(|limit| running.len() > limit) {
            faults.push(format!("too many hold: {running:?}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn too_many_holders_and_falling_fences_are_found() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let hold = |called, granted, fence, ended, mode| {
            let grant =
                Grant { called: at(called), granted: at(granted), server: 0, fence, ended: at(ended), vanished: false };
            Hold { grant, mode }
        };
        let (alone, two, many) = (Mode::Alone, Mode::Shared(2), Mode::Shared(9));
        for right in [
            vec![hold(0, 1, 5, 2, alone), hold(1, 3, 6, 4, two), hold(1, 3, 7, 4, many)],
            // Asked at the same time: either may have been first.
            vec![hold(0, 3, 5, 9, many), hold(0, 1, 6, 9, many)],
        ] {
            assert_eq!(judge_modes(&right), Vec::<String>::new());
        }
        for (what, wrong) in [
            ("twice", vec![hold(0, 1, 5, 2, alone), hold(0, 3, 5, 4, alone)]),
            ("fell", vec![hold(0, 1, 6, 2, alone), hold(2, 3, 5, 4, many)]),
            ("too many", vec![hold(0, 1, 5, 4, alone), hold(0, 3, 6, 4, alone)]),
            ("too many", vec![hold(0, 1, 5, 4, many), hold(0, 3, 6, 4, alone)]),
            ("too many", vec![hold(0, 1, 5, 9, many), hold(0, 2, 6, 9, two), hold(0, 3, 7, 9, many)]),
        ] {
            let faults = judge_modes(&wrong);
            assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {faults:?}");
        }
    }
}
