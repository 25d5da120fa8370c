//! All holds on one lock: what is saved of it. Waiters are in [`super::queue`], and never saved.

use super::hold::{Hold, HoldId, Limit, Mode};
use super::owner::OwnerRef;
use super::shared::SharedHolders;
use super::time::Steady;
use crate::failpoints::{self, Failpoint};

/// All holds on one lock: the part of its state that is saved and replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Nobody holds it. Never stored: a free lock is no key.
    Free,
    /// One owner alone.
    Exclusive(Hold),
    /// Owners that hold it together; never none, though the leases of all may have run out.
    Shared(SharedHolders),
}

impl Holders {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(_) => 1,
            Holders::Shared(shared) => shared.len(),
        }
    }

    /// The hold of `owner`, its lease run out or not, and how it is held.
    pub fn of(&self, owner: OwnerRef) -> Option<(HoldId, Mode, &Hold)> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (hold.owner.borrow() == owner).then(|| (alone(hold), Mode::Exclusive, hold)),
            Holders::Shared(shared) => {
                shared.of(owner).map(|holder| (holder.id(), Mode::Shared(holder.limit), &holder.hold))
            }
        }
    }

    /// The hold of this name, and how it is held.
    pub fn get(&self, id: HoldId) -> Option<(Mode, &Hold)> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (alone(hold) == id).then_some((Mode::Exclusive, hold)),
            Holders::Shared(shared) => shared.get(id).map(|holder| (Mode::Shared(holder.limit), &holder.hold)),
        }
    }

    /// Every hold, by fence.
    pub fn iter(&self) -> impl Iterator<Item = (Mode, &Hold)> {
        let (one, shared) = match self {
            Holders::Free => (None, None),
            Holders::Exclusive(hold) => (Some((Mode::Exclusive, hold)), None),
            Holders::Shared(shared) => (None, Some(shared)),
        };
        let together = shared.into_iter().flat_map(SharedHolders::iter);
        one.into_iter().chain(together.map(|holder| (Mode::Shared(holder.limit), &holder.hold)))
    }

    /// The first moment at which a lease ends; `None` when free.
    pub fn first_expiry(&self) -> Option<Steady> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => Some(hold.expires_at),
            Holders::Shared(shared) => shared.first_expiry().map(|(end, _)| end),
        }
    }

    /// When the timer is to come: mostly the first moment at which a lease ends, see [`SharedHolders::due`]; `None` when free.
    pub fn due(&self) -> Option<Steady> {
        match self {
            Holders::Free | Holders::Exclusive(_) => self.first_expiry(),
            Holders::Shared(shared) => shared.due(),
        }
    }

    /// A hold whose lease has run out.
    pub fn first_expired(&self, now: Steady) -> Option<HoldId> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => hold.is_expired(now).then(|| alone(hold)),
            Holders::Shared(shared) => shared.first_expiry().filter(|(end, _)| *end <= now).map(|(_, id)| id),
        }
    }

    /// How many hold whose lease has not run out. Linear in those whose lease has.
    pub fn count_running(&self, now: Steady) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(hold) => usize::from(!hold.is_expired(now)),
            Holders::Shared(shared) => shared.len() - shared.count_expired(now),
        }
    }

    /// Whether one more may be let in who asks for this.
    pub fn admit(&self, asked: Mode) -> bool {
        match (self, asked) {
            (Holders::Free, _) => true,
            (Holders::Exclusive(_), _) => false,
            (Holders::Shared(shared), Mode::Exclusive) => {
                shared.in_force() == usize::from(failpoints::is_on(Failpoint::WriterBesideReader))
            }
            (Holders::Shared(shared), Mode::Shared(limit)) => {
                let one_more = usize::from(failpoints::is_on(Failpoint::LimitOffByOne));
                least(shared, limit).is_none_or(|least| shared.in_force() < least.get() as usize + one_more)
            }
        }
    }

    /// How many holds count for who may be let in.
    pub fn in_force(&self) -> usize {
        match self {
            Holders::Free | Holders::Exclusive(_) => self.len(),
            Holders::Shared(shared) => shared.in_force(),
        }
    }

    /// From now on the many holds whose lease has run out, and that nobody came to end yet, hold nobody up: see
    /// [`SharedHolders::exclude_expired`].
    pub fn exclude_expired(&mut self, now: Steady) {
        match self {
            Holders::Free | Holders::Exclusive(_) => {}
            Holders::Shared(shared) => shared.exclude_expired(now),
        }
    }

    /// Takes out shared holds none of which is in force. `None` if there are none, or others.
    pub fn take_expired(&mut self) -> Option<SharedHolders> {
        let Holders::Shared(shared) = self else { return None };
        if shared.in_force() > 0 {
            return None;
        }
        let shared = std::mem::replace(shared, SharedHolders::new());
        *self = Holders::Free;
        Some(shared)
    }

    /// How many bytes they take beside this value itself, roughly.
    pub fn allocated(&self) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(hold) => hold.owner.allocated(),
            Holders::Shared(shared) => shared.allocated(),
        }
    }

    /// Whether no more hold than the smallest limit among them; those whose lease has run out do not count. Linear.
    pub fn are_within_limits(&self, now: Steady) -> bool {
        match self {
            Holders::Free | Holders::Exclusive(_) => true,
            Holders::Shared(shared) => {
                let running = || shared.iter().filter(|holder| !holder.hold.is_expired(now));
                let least = running().filter_map(|holder| holder.limit).min();
                least.is_none_or(|least| running().count() <= least.get() as usize)
            }
        }
    }

    /// Those without whose leaving nobody is let in who asks for this: each of them is waited for.
    ///
    /// Under a limit above 1 any one of several holders may make room; then none of them is.
    pub fn in_the_way(&self, asked: Mode) -> impl Iterator<Item = &Hold> {
        let (one, shared) = match self {
            Holders::Free => (None, None),
            Holders::Exclusive(hold) => (Some(hold), None),
            Holders::Shared(shared) => {
                let are = match asked {
                    Mode::Exclusive => true,
                    Mode::Shared(limit) => least(shared, limit).is_some_and(|least| least.get() == 1),
                };
                (None, are.then_some(shared))
            }
        };
        let together = shared.into_iter().flat_map(SharedHolders::those_in_force);
        one.into_iter().chain(together.map(|holder| &holder.hold))
    }

    /// Puts a hold in its place, and in that of any that its owner had. Who holds in the other mode has gone.
    pub fn put(&mut self, mode: Mode, hold: Hold) -> HoldId {
        let limit = match mode {
            Mode::Exclusive => {
                let id = alone(&hold);
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

    /// Takes out the hold of this name; `None` when there is none.
    pub fn remove(&mut self, id: HoldId) -> Option<Hold> {
        if let Holders::Shared(shared) = self {
            let removed = shared.remove(id).map(|holder| holder.hold);
            if shared.len() == 0 {
                *self = Holders::Free;
            }
            return removed;
        }
        match std::mem::replace(self, Holders::Free) {
            Holders::Exclusive(hold) if alone(&hold) == id => Some(hold),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Changes the hold of this name; what it is called afterwards. `None` when there is none.
    pub fn update(&mut self, id: HoldId, change: impl FnOnce(&mut Hold)) -> Option<HoldId> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) if alone(hold) == id => {
                change(hold);
                Some(alone(hold))
            }
            Holders::Exclusive(_) => None,
            Holders::Shared(shared) => shared.update(id, change),
        }
    }
}

/// What an exclusive hold is called.
fn alone(hold: &Hold) -> HoldId {
    HoldId { fence: hold.fence, nth: 0 }
}

/// The limit in force for one who asks for `limit`.
fn least(shared: &SharedHolders, limit: Option<Limit>) -> Option<Limit> {
    [shared.smallest_limit(), limit].into_iter().flatten().min()
}
