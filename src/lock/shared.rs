//! Shared holders of one lock.
//!
//! Most locks have few, and a list is all they take. From [`FEW_MAX`] on they are kept in trees, so that whatever happens
//! to one of a million takes O(log n). When the leases of many holders expire together, [`SharedHolders::exclude_expired`] puts them out of force
//! at once, and they are taken out one by one while the lock serves others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::fence::Fence;
use super::hold::{Hold, HoldId, Limit};
use super::owner::{Owner, OwnerRef};
use super::time::Steady;

/// How many holders are kept in a list. Tests cross this limit all the time.
const FEW_MAX: usize = if cfg!(any(test, fuzzing)) { 2 } else { 12 };

/// Above every hold that ends at the same moment.
const LAST: HoldId = HoldId { fence: Fence::MAX, nth: u32::MAX };

/// One shared holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedHold {
    /// Its hold.
    pub hold: Hold,
    /// The LIMIT it asked for; `None`: it minds no number of others.
    pub limit: Option<Limit>,
    nth: u32,
}

impl SharedHold {
    /// What names it.
    pub fn id(&self) -> HoldId {
        HoldId { fence: self.hold.fence, nth: self.nth }
    }
}

/// All shared holders of one lock, each owner once, by fence.
#[derive(Clone, Debug)]
pub struct SharedHolders(Kept);

#[derive(Clone, Debug)]
enum Kept {
    /// Sorted by id.
    Few(Vec<SharedHold>),
    Many(Box<Trees>),
}

/// One tree for each question that is asked of many holders.
#[derive(Clone, Debug, Default)]
struct Trees {
    holds: BTreeMap<HoldId, SharedHold>,
    by_owner: BTreeMap<Owner, HoldId>,
    ends: BTreeSet<(Steady, HoldId)>,
    /// How many of those in force asked for each limit.
    limits: BTreeMap<Limit, usize>,
    /// Holds that end by this moment are out of force; `None`: no hold is.
    excluded_until: Option<Steady>,
    /// How many are out of force.
    excluded: usize,
}

impl SharedHolders {
    /// Nobody.
    pub const fn new() -> SharedHolders {
        SharedHolders(Kept::Few(Vec::new()))
    }

    /// How many hold.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(trees) => trees.holds.len(),
        }
    }

    /// How many holds are in force: all but those that [`SharedHolders::exclude_expired`] found over.
    pub fn in_force(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(trees) => trees.holds.len() - trees.excluded,
        }
    }

    /// Those in force, in no order. Nothing is spent on the others, however many they are.
    pub fn those_in_force(&self) -> impl Iterator<Item = &SharedHold> {
        let (all, trees) = match &self.0 {
            Kept::Many(trees) if trees.excluded > 0 => (None, Some(trees)),
            Kept::Few(_) | Kept::Many(_) => (Some(self.iter()), None),
        };
        let in_force = trees.into_iter().flat_map(|trees| {
            let ends = trees.ends.range((trees.still_included(), Bound::Unbounded));
            ends.filter_map(|(_, id)| trees.holds.get(id))
        });
        all.into_iter().flatten().chain(in_force)
    }

    /// Whether a hold is in force that ends at this moment.
    #[cfg(any(test, fuzzing))]
    pub fn is_in_force(&self, end: Steady) -> bool {
        match &self.0 {
            Kept::Few(_) => true,
            Kept::Many(trees) => trees.is_in_force(end),
        }
    }

    /// Puts holds out of force whose lease has run out: they do not count any more, though they are still here. In a list all
    /// stay in force: a step ends more than fit into one. Linear in those whose lease ran out since it was called last, or in
    /// those whose lease has not: whichever are fewer. Mostly all leases of many holders expire together.
    pub fn exclude_expired(&mut self, now: Steady) {
        match &mut self.0 {
            Kept::Few(_) => {}
            Kept::Many(trees) => trees.exclude_expired(now),
        }
    }

    /// Everybody, by fence.
    pub fn iter(&self) -> impl Iterator<Item = &SharedHold> {
        let (few, many) = match &self.0 {
            Kept::Few(few) => (Some(few.iter()), None),
            Kept::Many(trees) => (None, Some(trees.holds.values())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// The holder of this name.
    pub fn get(&self, id: HoldId) -> Option<&SharedHold> {
        match &self.0 {
            Kept::Few(few) => few.iter().find(|shared| shared.id() == id),
            Kept::Many(trees) => trees.holds.get(&id),
        }
    }

    /// The holder with this owner.
    pub fn of(&self, owner: OwnerRef) -> Option<&SharedHold> {
        match &self.0 {
            Kept::Few(few) => few.iter().find(|shared| shared.hold.owner.borrow() == owner),
            Kept::Many(trees) => trees.holds.get(trees.by_owner.get(owner.as_bytes())?),
        }
    }

    /// The first whose lease ends, and when.
    pub fn first_expiry(&self) -> Option<(Steady, HoldId)> {
        match &self.0 {
            Kept::Few(few) => few.iter().map(|shared| (shared.hold.expires_at, shared.id())).min(),
            Kept::Many(trees) => trees.ends.first().copied(),
        }
    }

    /// When the next step is due: as soon as a lease ends. Where some are out of force already nothing depends on it, and it is
    /// due as if they had been found over only then, so that others whose leases have ended meanwhile have their turn before.
    pub fn due(&self) -> Option<Steady> {
        let excluded_until = match &self.0 {
            Kept::Many(trees) if trees.excluded > 0 => trees.excluded_until,
            Kept::Few(_) | Kept::Many(_) => None,
        };
        excluded_until.or_else(|| self.first_expiry().map(|(end, _)| end))
    }

    /// How many leases have run out, and nobody acted on it yet.
    pub fn count_expired(&self, now: Steady) -> usize {
        match &self.0 {
            Kept::Few(few) => few.iter().filter(|shared| shared.hold.is_expired(now)).count(),
            Kept::Many(trees) => trees.ends.iter().take_while(|(end, _)| *end <= now).count(),
        }
    }

    /// How many bytes they take, roughly: trees are two thirds full, and know each owner twice.
    pub fn allocated(&self) -> usize {
        let owners: usize = self.iter().map(|shared| shared.hold.owner.allocated()).sum();
        match &self.0 {
            Kept::Few(few) => owners + few.capacity() * size_of::<SharedHold>(),
            Kept::Many(trees) => {
                const EACH: usize =
                    size_of::<SharedHold>() + size_of::<Owner>() + size_of::<Steady>() + 3 * size_of::<HoldId>();
                2 * owners + trees.holds.len() * EACH * 3 / 2
            }
        }
    }

    /// The smallest limit that any of those in force asked for.
    pub fn smallest_limit(&self) -> Option<Limit> {
        match &self.0 {
            Kept::Few(few) => few.iter().filter_map(|shared| shared.limit).min(),
            Kept::Many(trees) => trees.limits.first_key_value().map(|(limit, _)| *limit),
        }
    }

    /// Lets an owner in that is not.
    pub fn insert(&mut self, hold: Hold, limit: Option<Limit>) -> HoldId {
        let shared = SharedHold { nth: self.next_nth(hold.fence), hold, limit };
        let id = shared.id();
        match &mut self.0 {
            Kept::Few(few) if few.len() < FEW_MAX => {
                if few.is_empty() {
                    // Many locks have one shared holder.
                    few.reserve_exact(1);
                }
                let place = few.partition_point(|other| other.id() < id);
                few.insert(place, shared);
            }
            Kept::Few(few) => {
                let mut trees = Box::<Trees>::default();
                for shared in few.drain(..).chain([shared]) {
                    trees.insert(shared);
                }
                self.0 = Kept::Many(trees);
            }
            Kept::Many(trees) => trees.insert(shared),
        }
        id
    }

    /// Takes a holder out; `None` when there is none of this name.
    pub fn remove(&mut self, id: HoldId) -> Option<SharedHold> {
        match &mut self.0 {
            Kept::Few(few) => {
                let place = few.iter().position(|shared| shared.id() == id)?;
                Some(few.remove(place))
            }
            Kept::Many(trees) => trees.remove(id),
        }
    }

    /// Changes the hold of this name; what it is called afterwards. `None` when there is none.
    pub fn update(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) -> Option<HoldId> {
        let held = match &mut self.0 {
            Kept::Few(few) => few.iter_mut().find(|shared| shared.id() == id)?,
            Kept::Many(trees) => trees.holds.get_mut(&id)?,
        };
        let (before, limit) = (held.hold.expires_at, held.limit);
        change(&mut held.hold);
        let (end, fence) = (held.hold.expires_at, held.hold.fence);
        if fence != id.fence {
            // It has another name now, and another place.
            held.hold.fence = id.fence;
            self.note_end(id, limit, before, end);
            let SharedHold { mut hold, limit, .. } = self.remove(id)?;
            hold.fence = fence;
            return Some(self.insert(hold, limit));
        }
        self.note_end(id, limit, before, end);
        Some(id)
    }

    fn note_end(&mut self, id: HoldId, limit: Option<Limit>, before: Steady, end: Steady) {
        match &mut self.0 {
            Kept::Few(_) => {}
            Kept::Many(trees) => {
                if before != end {
                    trees.forget_end(id, limit, before);
                    trees.note_end(id, limit, end);
                }
            }
        }
    }

    /// What the next hold with this fence is told from the others by.
    fn next_nth(&self, fence: Fence) -> u32 {
        let last = match &self.0 {
            Kept::Few(few) => few.iter().filter(|shared| shared.hold.fence == fence).map(|shared| shared.nth).max(),
            Kept::Many(trees) => {
                let same = HoldId { fence, nth: 0 }..=HoldId { fence, nth: u32::MAX };
                trees.holds.range(same).next_back().map(|(id, _)| id.nth)
            }
        };
        last.map_or(0, |nth| nth.wrapping_add(1))
    }
}

impl Trees {
    fn insert(&mut self, shared: SharedHold) {
        let id = shared.id();
        self.by_owner.insert(shared.hold.owner.clone(), id);
        self.note_end(id, shared.limit, shared.hold.expires_at);
        self.holds.insert(id, shared);
    }

    fn remove(&mut self, id: HoldId) -> Option<SharedHold> {
        let shared = self.holds.remove(&id)?;
        self.by_owner.remove(shared.hold.owner.as_bytes());
        self.forget_end(id, shared.limit, shared.hold.expires_at);
        Some(shared)
    }

    fn note_end(&mut self, id: HoldId, limit: Option<Limit>, end: Steady) {
        self.ends.insert((end, id));
        if !self.is_in_force(end) {
            self.excluded += 1;
        } else if let Some(limit) = limit {
            *self.limits.entry(limit).or_default() += 1;
        }
    }

    fn forget_end(&mut self, id: HoldId, limit: Option<Limit>, end: Steady) {
        self.ends.remove(&(end, id));
        if !self.is_in_force(end) {
            self.excluded = self.excluded.saturating_sub(1);
        } else if let Some(limit) = limit {
            self.forget_limit(limit);
        }
    }

    fn forget_limit(&mut self, limit: Limit) {
        let left = self.limits.get(&limit).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.limits.remove(&limit);
        } else {
            self.limits.insert(limit, left);
        }
    }

    fn limit(&self, id: HoldId) -> Option<Limit> {
        self.holds.get(&id).and_then(|shared| shared.limit)
    }

    fn is_in_force(&self, end: Steady) -> bool {
        self.excluded_until.is_none_or(|by| by < end)
    }

    /// Where those in force begin among the ends.
    fn still_included(&self) -> Bound<(Steady, HoldId)> {
        self.excluded_until.map_or(Bound::Unbounded, |by| Bound::Excluded((by, LAST)))
    }

    fn exclude_expired(&mut self, now: Steady) {
        if self.excluded_until.is_some_and(|by| by >= now) {
            return;
        }
        let first = self.still_included();
        let over = || self.ends.range((first, Bound::Included((now, LAST)))).map(|(_, id)| *id);
        let running = || self.ends.range((Bound::Excluded((now, LAST)), Bound::Unbounded)).map(|(_, id)| *id);
        let fewer = over().zip(running()).count();
        if over().nth(fewer).is_none() {
            self.excluded += fewer;
            let over: Vec<HoldId> = if self.limits.is_empty() { Vec::new() } else { over().collect() };
            for id in over {
                if let Some(limit) = self.limit(id) {
                    self.forget_limit(limit);
                }
            }
        } else {
            self.excluded = self.holds.len() - fewer;
            let mut limits = BTreeMap::new();
            if !self.limits.is_empty() {
                running().filter_map(|id| self.limit(id)).for_each(|limit| *limits.entry(limit).or_default() += 1);
            }
            self.limits = limits;
        }
        self.excluded_until = Some(now);
    }
}

impl PartialEq for SharedHolders {
    /// The same holders, however they are kept.
    fn eq(&self, other: &SharedHolders) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SharedHolders {}
