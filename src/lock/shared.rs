//! The shared holders of one lock.
//!
//! Most locks have few, which are kept in a list. More than [`FEW_MAX`] are kept in trees, so that every operation on
//! one of a million takes O(log n).
//!
//! When the leases of many holders expire together, [`SharedHolders::exclude_expired`] excludes them at once. They are
//! then taken out a few at a time, while the lock serves others.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::fence::Fence;
use super::hold::{weight, Hold, HoldId, Limit};
use super::owner::{Owner, OwnerRef};
use super::time::Steady;

/// How many holders are kept in a list. Tests cross this limit all the time.
const FEW_MAX: usize = if cfg!(any(test, fuzzing)) { 2 } else { 12 };

/// An id that is larger than that of every hold, to mark the end of a range of `(expiry, id)`.
const LAST: HoldId = HoldId { fence: Fence::MAX, nth: u32::MAX };

/// One shared holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedHold {
    /// The hold.
    pub hold: Hold,
    /// The limit that it asked for, and its number among the holds with the same fence.
    place: Place,
}

impl SharedHold {
    /// The id of the hold.
    pub fn id(&self) -> HoldId {
        HoldId { fence: self.hold.fence, nth: self.place.nth() }
    }

    /// The limit that it asked for; `None` if it accepts any number of other holders.
    pub fn limit(&self) -> Option<Limit> {
        self.place.limit()
    }
}

/// The limit of a hold and its [`HoldId::nth`], packed into 8 bytes: 20 bits for the units of the limit (0: none), 20 for the
/// weight, and 24 for the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u64);

impl Place {
    const LIMIT_BITS: u32 = 20;
    const NTH_BITS: u32 = 24;

    fn new(nth: u32, limit: Option<Limit>) -> Place {
        let nth = u64::from(nth) & ((1 << Self::NTH_BITS) - 1);
        let limit = limit.map_or(0, |limit| u64::from(limit.units()) << Self::LIMIT_BITS | u64::from(limit.weight()));
        Place(limit << Self::NTH_BITS | nth)
    }

    fn nth(self) -> u32 {
        self.0 as u32 & ((1 << Self::NTH_BITS) - 1)
    }

    fn limit(self) -> Option<Limit> {
        let weight = self.0 >> Self::NTH_BITS & ((1 << Self::LIMIT_BITS) - 1);
        Limit::weighted(self.0 >> (Self::NTH_BITS + Self::LIMIT_BITS), weight)
    }
}

/// All shared holders of one lock, each owner once, in the order of their fences.
#[derive(Clone, Debug)]
pub struct SharedHolders(Kept);

/// How the holders are kept.
#[derive(Clone, Debug)]
enum Kept {
    /// In a list, sorted by id.
    Few(Vec<SharedHold>),
    /// In trees.
    Many(Box<Trees>),
}

/// Many shared holders: one tree for each way to look them up.
#[derive(Clone, Debug, Default)]
struct Trees {
    /// The holds by id.
    holds: BTreeMap<HoldId, SharedHold>,
    /// The id of each owner's hold.
    by_owner: BTreeMap<Owner, HoldId>,
    /// The holds in the order in which they expire.
    expiries: BTreeSet<(Steady, HoldId)>,
    /// How many of the holds in force asked for each limit.
    limits: BTreeMap<Limit, usize>,
    /// The units that the holds in force take beyond one for each.
    extra_units: usize,
    /// Holds that expire up to this moment are excluded; `None` if none is.
    excluded_until: Option<Steady>,
    /// The number of excluded holds.
    excluded: usize,
}

impl SharedHolders {
    /// No holders.
    pub const fn new() -> SharedHolders {
        SharedHolders(Kept::Few(Vec::new()))
    }

    /// The number of holders, expired or not.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(trees) => trees.holds.len(),
        }
    }

    /// The number of holds in force: all but those that [`SharedHolders::exclude_expired`] excluded.
    pub fn in_force(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.len(),
            Kept::Many(trees) => trees.holds.len() - trees.excluded,
        }
    }

    /// The number of units that the holds in force take.
    pub fn units(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => few.iter().map(|shared| weight(shared.limit())).sum(),
            Kept::Many(trees) => self.in_force() + trees.extra_units,
        }
    }

    /// The holds in force, in no particular order. The time does not depend on the number of excluded holds.
    pub fn those_in_force(&self) -> impl Iterator<Item = &SharedHold> {
        let (all, trees) = match &self.0 {
            Kept::Many(trees) if trees.excluded > 0 => (None, Some(trees)),
            Kept::Few(_) | Kept::Many(_) => (Some(self.iter()), None),
        };
        let in_force = trees.into_iter().flat_map(|trees| {
            let expiries = trees.expiries.range((trees.still_included(), Bound::Unbounded));
            expiries.filter_map(|(_, id)| trees.holds.get(id))
        });
        all.into_iter().flatten().chain(in_force)
    }

    /// Whether a hold that expires at this moment is in force.
    #[cfg(any(test, fuzzing))]
    pub fn is_in_force(&self, end: Steady) -> bool {
        match &self.0 {
            Kept::Few(_) => true,
            Kept::Many(trees) => trees.is_in_force(end),
        }
    }

    /// Excludes expired holds: they no longer count, though they are still here until a step ends them.
    ///
    /// In a list all holds stay in force, because one step ends more than fit into it. Linear in the holds that expired
    /// since the last call, or in those that did not expire, whichever are fewer. Mostly the leases of many holders
    /// expire together.
    pub fn exclude_expired(&mut self, now: Steady) {
        match &mut self.0 {
            Kept::Few(_) => {}
            Kept::Many(trees) => trees.exclude_expired(now),
        }
    }

    /// All holds, in the order of their fences.
    pub fn iter(&self) -> impl Iterator<Item = &SharedHold> {
        let (few, many) = match &self.0 {
            Kept::Few(few) => (Some(few.iter()), None),
            Kept::Many(trees) => (None, Some(trees.holds.values())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    /// The hold with this id.
    pub fn get(&self, id: HoldId) -> Option<&SharedHold> {
        match &self.0 {
            Kept::Few(few) => few.iter().find(|shared| shared.id() == id),
            Kept::Many(trees) => trees.holds.get(&id),
        }
    }

    /// The hold of this owner.
    pub fn of(&self, owner: OwnerRef) -> Option<&SharedHold> {
        match &self.0 {
            Kept::Few(few) => few.iter().find(|shared| shared.hold.owner.borrow() == owner),
            Kept::Many(trees) => trees.holds.get(trees.by_owner.get(owner.as_bytes())?),
        }
    }

    /// The hold that expires first, and when it does.
    pub fn first_expiry(&self) -> Option<(Steady, HoldId)> {
        match &self.0 {
            Kept::Few(few) => few.iter().map(|shared| (shared.hold.expires_at, shared.id())).min(),
            Kept::Many(trees) => trees.expiries.first().copied(),
        }
    }

    /// When the next step is due: as soon as a lease expires.
    ///
    /// If some holds are excluded already, nothing depends on the step. Then it is due as if those holds had expired
    /// when they were excluded, so that other locks, whose leases have expired meanwhile, come first.
    pub fn due(&self) -> Option<Steady> {
        let excluded_until = match &self.0 {
            Kept::Many(trees) if trees.excluded > 0 => trees.excluded_until,
            Kept::Few(_) | Kept::Many(_) => None,
        };
        excluded_until.or_else(|| self.first_expiry().map(|(end, _)| end))
    }

    /// The number of holds that have expired and were not ended yet.
    pub fn count_expired(&self, now: Steady) -> usize {
        match &self.0 {
            Kept::Few(few) => few.iter().filter(|shared| shared.hold.is_expired(now)).count(),
            Kept::Many(trees) => trees.expiries.iter().take_while(|(end, _)| *end <= now).count(),
        }
    }

    /// Roughly how many bytes the holds take: trees are two thirds full, and keep each owner twice.
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

    /// The smallest limit among the holds in force.
    pub fn smallest_limit(&self) -> Option<Limit> {
        match &self.0 {
            Kept::Few(few) => few.iter().filter_map(SharedHold::limit).min(),
            Kept::Many(trees) => trees.limits.first_key_value().map(|(limit, _)| *limit),
        }
    }

    /// Adds the hold of an owner that has none here.
    pub fn insert(&mut self, hold: Hold, limit: Option<Limit>) -> HoldId {
        let shared = SharedHold { place: Place::new(self.next_nth(hold.fence), limit), hold };
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

    /// Takes out the hold with this id; `None` if there is none.
    pub fn remove(&mut self, id: HoldId) -> Option<SharedHold> {
        match &mut self.0 {
            Kept::Few(few) => {
                let place = few.iter().position(|shared| shared.id() == id)?;
                Some(few.remove(place))
            }
            Kept::Many(trees) => trees.remove(id),
        }
    }

    /// Changes the hold with this id, and returns its id afterwards. `None` if there is no such hold.
    pub fn update(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) -> Option<HoldId> {
        let held = match &mut self.0 {
            Kept::Few(few) => few.iter_mut().find(|shared| shared.id() == id)?,
            Kept::Many(trees) => trees.holds.get_mut(&id)?,
        };
        let (before, limit) = (held.hold.expires_at, held.limit());
        change(&mut held.hold);
        let (end, fence) = (held.hold.expires_at, held.hold.fence);
        if fence != id.fence {
            // It has another id now, and another place.
            held.hold.fence = id.fence;
            self.note_expiry(id, limit, before, end);
            let SharedHold { mut hold, .. } = self.remove(id)?;
            hold.fence = fence;
            return Some(self.insert(hold, limit));
        }
        self.note_expiry(id, limit, before, end);
        Some(id)
    }

    fn note_expiry(&mut self, id: HoldId, limit: Option<Limit>, before: Steady, end: Steady) {
        match &mut self.0 {
            Kept::Few(_) => {}
            Kept::Many(trees) => {
                if before != end {
                    trees.forget_expiry(id, limit, before);
                    trees.note_expiry(id, limit, end);
                }
            }
        }
    }

    /// The number that tells the next hold with this fence from the others with the same fence.
    fn next_nth(&self, fence: Fence) -> u32 {
        let last = match &self.0 {
            Kept::Few(few) => {
                few.iter().filter(|shared| shared.hold.fence == fence).map(|shared| shared.id().nth).max()
            }
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
        self.note_expiry(id, shared.limit(), shared.hold.expires_at);
        self.holds.insert(id, shared);
    }

    fn remove(&mut self, id: HoldId) -> Option<SharedHold> {
        let shared = self.holds.remove(&id)?;
        self.by_owner.remove(shared.hold.owner.as_bytes());
        self.forget_expiry(id, shared.limit(), shared.hold.expires_at);
        Some(shared)
    }

    fn note_expiry(&mut self, id: HoldId, limit: Option<Limit>, end: Steady) {
        self.expiries.insert((end, id));
        if !self.is_in_force(end) {
            self.excluded += 1;
        } else if let Some(limit) = limit {
            *self.limits.entry(limit).or_default() += 1;
            self.extra_units += limit.weight() as usize - 1;
        }
    }

    fn forget_expiry(&mut self, id: HoldId, limit: Option<Limit>, end: Steady) {
        self.expiries.remove(&(end, id));
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
        self.extra_units = self.extra_units.saturating_sub(limit.weight() as usize - 1);
    }

    fn limit(&self, id: HoldId) -> Option<Limit> {
        self.holds.get(&id).and_then(SharedHold::limit)
    }

    fn is_in_force(&self, end: Steady) -> bool {
        self.excluded_until.is_none_or(|by| by < end)
    }

    /// The bound at which the holds in force begin in `expiries`.
    fn still_included(&self) -> Bound<(Steady, HoldId)> {
        self.excluded_until.map_or(Bound::Unbounded, |by| Bound::Excluded((by, LAST)))
    }

    fn exclude_expired(&mut self, now: Steady) {
        if self.excluded_until.is_some_and(|by| by >= now) {
            return;
        }
        let first = self.still_included();
        let over = || self.expiries.range((first, Bound::Included((now, LAST)))).map(|(_, id)| *id);
        let running = || self.expiries.range((Bound::Excluded((now, LAST)), Bound::Unbounded)).map(|(_, id)| *id);
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
            let (mut limits, mut extra_units) = (BTreeMap::new(), 0);
            if !self.limits.is_empty() {
                for limit in running().filter_map(|id| self.limit(id)) {
                    *limits.entry(limit).or_default() += 1;
                    extra_units += limit.weight() as usize - 1;
                }
            }
            (self.limits, self.extra_units) = (limits, extra_units);
        }
        self.excluded_until = Some(now);
    }
}

impl PartialEq for SharedHolders {
    /// Equal if the holders are the same, whether they are kept in a list or in trees.
    fn eq(&self, other: &SharedHolders) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for SharedHolders {}
