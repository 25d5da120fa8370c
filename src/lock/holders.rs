//! All holds on one lock: the part of its state that is saved. Waiters are in [`super::queue`], and are never saved.

use super::hold::{weight, Cooling, Hold, HoldId, Limit, Mode};
use super::owner::OwnerRef;
use super::shared::SharedHolders;
use super::time::Steady;
use crate::failpoints::{self, Failpoint};

/// All holds on one lock: the part of its state that is saved and replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Nobody holds the lock. This is never stored: a free lock has no key.
    Free,
    /// One owner holds the lock alone.
    Exclusive(Hold),
    /// Owners hold the lock together. There is at least one, though the leases of all of them may have expired.
    Shared(SharedHolders),
    /// Nobody holds the lock, and nobody is granted it yet.
    Cooling(Cooling),
}

impl Holders {
    /// The number of holders, expired or not.
    pub fn len(&self) -> usize {
        match self {
            Holders::Free | Holders::Cooling(_) => 0,
            Holders::Exclusive(_) => 1,
            Holders::Shared(shared) => shared.len(),
        }
    }

    /// The hold of this owner, expired or not, with its id and its mode.
    pub fn of(&self, owner: OwnerRef) -> Option<(HoldId, Mode, &Hold)> {
        match self {
            Holders::Free | Holders::Cooling(_) => None,
            Holders::Exclusive(hold) => {
                (hold.owner.borrow() == owner).then(|| (exclusive_id(hold), Mode::Exclusive, hold))
            }
            Holders::Shared(shared) => {
                shared.of(owner).map(|holder| (holder.id(), Mode::Shared(holder.limit()), &holder.hold))
            }
        }
    }

    /// The hold with this id, and its mode.
    pub fn get(&self, id: HoldId) -> Option<(Mode, &Hold)> {
        match self {
            Holders::Free | Holders::Cooling(_) => None,
            Holders::Exclusive(hold) => (exclusive_id(hold) == id).then_some((Mode::Exclusive, hold)),
            Holders::Shared(shared) => shared.get(id).map(|holder| (Mode::Shared(holder.limit()), &holder.hold)),
        }
    }

    /// All holds with their modes, in the order of their fences.
    pub fn iter(&self) -> impl Iterator<Item = (Mode, &Hold)> {
        let (exclusive, shared) = match self {
            Holders::Free | Holders::Cooling(_) => (None, None),
            Holders::Exclusive(hold) => (Some((Mode::Exclusive, hold)), None),
            Holders::Shared(shared) => (None, Some(shared)),
        };
        let shared = shared.into_iter().flat_map(SharedHolders::iter);
        exclusive.into_iter().chain(shared.map(|holder| (Mode::Shared(holder.limit()), &holder.hold)))
    }

    /// The first moment at which a lease expires, or at which cooling is over; `None` if the lock is free.
    #[inline]
    pub fn first_expiry(&self) -> Option<Steady> {
        match self {
            Holders::Free => None,
            Holders::Cooling(cooling) => Some(cooling.until),
            Holders::Exclusive(hold) => Some(hold.expires_at),
            Holders::Shared(shared) => shared.first_expiry().map(|(end, _)| end),
        }
    }

    /// Until when the lock is cooling, also if no step has seen yet that its lease has ended; `None` if it is not cooling.
    pub fn cooling_until(&self, now: Steady) -> Option<Steady> {
        match self {
            Holders::Free | Holders::Shared(_) => None,
            Holders::Cooling(cooling) => Some(cooling.until),
            Holders::Exclusive(hold) if !hold.is_expired(now) => None,
            Holders::Exclusive(hold) => Some(hold.expires_at + hold.terms.delay()?),
        }
    }

    /// When the timer is to serve the lock: the first moment at which a lease expires, or a little later, see
    /// [`SharedHolders::due`]; or when cooling is over. `None` if the lock is free.
    pub fn due(&self) -> Option<Steady> {
        match self {
            Holders::Free | Holders::Exclusive(_) | Holders::Cooling(_) => self.first_expiry(),
            Holders::Shared(shared) => shared.due(),
        }
    }

    /// The hold that expired first, if one has expired.
    pub fn first_expired(&self, now: Steady) -> Option<HoldId> {
        match self {
            Holders::Free | Holders::Cooling(_) => None,
            Holders::Exclusive(hold) => hold.is_expired(now).then(|| exclusive_id(hold)),
            Holders::Shared(shared) => shared.first_expiry().filter(|(end, _)| *end <= now).map(|(_, id)| id),
        }
    }

    /// The number of holds that have not expired. Linear in the number of those that have.
    pub fn count_running(&self, now: Steady) -> usize {
        match self {
            Holders::Free | Holders::Cooling(_) => 0,
            Holders::Exclusive(hold) => usize::from(!hold.is_expired(now)),
            Holders::Shared(shared) => shared.len() - shared.count_expired(now),
        }
    }

    /// Whether one more owner may be let in that asks for this mode.
    pub fn admit(&self, asked: Mode) -> bool {
        match (self, asked) {
            (Holders::Free, _) => true,
            (Holders::Cooling(_), _) => failpoints::is_on(Failpoint::CoolingIgnored),
            (Holders::Exclusive(_), _) => false,
            (Holders::Shared(shared), Mode::Exclusive) => {
                shared.in_force() == usize::from(failpoints::is_on(Failpoint::WriterBesideReader))
            }
            (Holders::Shared(shared), Mode::Shared(limit)) => {
                let one_more = usize::from(failpoints::is_on(Failpoint::LimitOffByOne));
                let units = shared.units() + weight(limit);
                least(shared, limit).is_none_or(|least| units <= least as usize + one_more)
            }
        }
    }

    /// The number of holds that count when another owner asks to be let in.
    pub fn in_force(&self) -> usize {
        match self {
            Holders::Free | Holders::Exclusive(_) | Holders::Cooling(_) => self.len(),
            Holders::Shared(shared) => shared.in_force(),
        }
    }

    /// From now on holds that have expired, but were not ended yet, keep nobody out: see
    /// [`SharedHolders::exclude_expired`].
    pub fn exclude_expired(&mut self, now: Steady) {
        match self {
            Holders::Free | Holders::Exclusive(_) | Holders::Cooling(_) => {}
            Holders::Shared(shared) => shared.exclude_expired(now),
        }
    }

    /// Takes out all shared holds if none of them is in force any more. `None` if there are no shared holds, or if some are in
    /// force.
    pub fn take_expired(&mut self) -> Option<SharedHolders> {
        let Holders::Shared(shared) = self else { return None };
        if shared.in_force() > 0 {
            return None;
        }
        let shared = std::mem::replace(shared, SharedHolders::new());
        *self = Holders::Free;
        Some(shared)
    }

    /// Roughly how many bytes the holds take beside this value itself.
    pub fn allocated(&self) -> usize {
        match self {
            Holders::Free | Holders::Cooling(_) => 0,
            Holders::Exclusive(hold) => hold.owner.allocated(),
            Holders::Shared(shared) => shared.allocated(),
        }
    }

    /// Whether the holds that have not expired take no more units than the smallest limit among them. Linear.
    pub fn are_within_limits(&self, now: Steady) -> bool {
        match self {
            Holders::Free | Holders::Exclusive(_) | Holders::Cooling(_) => true,
            Holders::Shared(shared) => {
                let running = || shared.iter().filter(|holder| !holder.hold.is_expired(now));
                let least = running().filter_map(|holder| holder.limit()).map(Limit::units).min();
                let units = || running().map(|holder| weight(holder.limit())).sum::<usize>();
                least.is_none_or(|least| units() <= least as usize)
            }
        }
    }

    /// The holds that must all end before an owner is let in that asks for this mode.
    ///
    /// With a limit above 1 it is enough that any one of several ends, so none of them is in this list.
    pub fn in_the_way(&self, asked: Mode) -> impl Iterator<Item = &Hold> {
        let (exclusive, shared) = match self {
            Holders::Free | Holders::Cooling(_) => (None, None),
            Holders::Exclusive(hold) => (Some(hold), None),
            Holders::Shared(shared) => {
                let are_in_the_way = match asked {
                    Mode::Exclusive => true,
                    Mode::Shared(limit) => least(shared, limit).is_some_and(|least| least == 1),
                };
                (None, are_in_the_way.then_some(shared))
            }
        };
        let shared = shared.into_iter().flat_map(SharedHolders::those_in_force);
        exclusive.into_iter().chain(shared.map(|holder| &holder.hold))
    }

    /// Adds a hold, in place of the one that its owner has, if any. Holds in the other mode must have been removed before.
    pub fn put(&mut self, mode: Mode, hold: Hold) -> HoldId {
        let limit = match mode {
            Mode::Exclusive => {
                let id = exclusive_id(&hold);
                *self = Holders::Exclusive(hold);
                return id;
            }
            Mode::Shared(limit) => limit,
        };
        if let Holders::Shared(shared) = self {
            if let Some(before) = shared.of(hold.owner.borrow()).map(|holder| holder.id()) {
                shared.remove(before);
            }
            return shared.insert(hold, limit);
        }
        let mut shared = SharedHolders::new();
        let id = shared.insert(hold, limit);
        *self = Holders::Shared(shared);
        id
    }

    /// Takes out the hold with this id; `None` if there is none.
    pub fn remove(&mut self, id: HoldId) -> Option<Hold> {
        if let Holders::Shared(shared) = self {
            let removed = shared.remove(id).map(|holder| holder.hold);
            if shared.len() == 0 {
                *self = Holders::Free;
            }
            return removed;
        }
        match std::mem::replace(self, Holders::Free) {
            Holders::Exclusive(hold) if exclusive_id(&hold) == id => Some(hold),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Changes the hold with this id, and returns its id afterwards. `None` if there is no such hold.
    pub fn update(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) -> Option<HoldId> {
        match self {
            Holders::Free | Holders::Cooling(_) => None,
            Holders::Exclusive(hold) if exclusive_id(hold) == id => {
                change(hold);
                Some(exclusive_id(hold))
            }
            Holders::Exclusive(_) => None,
            Holders::Shared(shared) => shared.update(id, change),
        }
    }
}

/// The id of an exclusive hold.
fn exclusive_id(hold: &Hold) -> HoldId {
    HoldId { fence: hold.fence, nth: 0 }
}

/// The number of units that counts for an owner that asks for `limit`.
fn least(shared: &SharedHolders, limit: Option<Limit>) -> Option<u32> {
    [shared.smallest_limit(), limit].into_iter().flatten().map(Limit::units).min()
}
