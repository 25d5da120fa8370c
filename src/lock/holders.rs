//! All holds on one lock: what is saved of it. Waiters are in [`super::line`], and never saved.

use super::crowd::Crowd;
use super::hold::{Hold, HoldId, Limit, Mode};
use super::owner::OwnerRef;
use super::time::Steady;
use crate::planted::{self, Fault};

/// All holds on one lock: the part of its state that is saved and replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holders {
    /// Nobody holds it. Never stored: a free lock is no key.
    Free,
    /// One owner alone.
    Exclusive(Hold),
    /// Owners that hold it together; never none, though the leases of all may have run out.
    Shared(Crowd),
}

impl Holders {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(_) => 1,
            Holders::Shared(crowd) => crowd.len(),
        }
    }

    /// The hold of `owner`, its lease run out or not, and how it is held.
    pub fn of(&self, owner: OwnerRef) -> Option<(HoldId, Mode, &Hold)> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (hold.owner.borrow() == owner).then(|| (alone(hold), Mode::Exclusive, hold)),
            Holders::Shared(crowd) => {
                crowd.of(owner).map(|shared| (shared.id(), Mode::Shared(shared.limit), &shared.hold))
            }
        }
    }

    /// The hold of this name, and how it is held.
    pub fn get(&self, id: HoldId) -> Option<(Mode, &Hold)> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => (alone(hold) == id).then_some((Mode::Exclusive, hold)),
            Holders::Shared(crowd) => crowd.get(id).map(|shared| (Mode::Shared(shared.limit), &shared.hold)),
        }
    }

    /// Every hold, by fence.
    pub fn iter(&self) -> impl Iterator<Item = (Mode, &Hold)> {
        let (one, crowd) = match self {
            Holders::Free => (None, None),
            Holders::Exclusive(hold) => (Some((Mode::Exclusive, hold)), None),
            Holders::Shared(crowd) => (None, Some(crowd)),
        };
        let together = crowd.into_iter().flat_map(Crowd::iter);
        one.into_iter().chain(together.map(|shared| (Mode::Shared(shared.limit), &shared.hold)))
    }

    /// The first moment at which a lease ends; `None` when free.
    pub fn first_end(&self) -> Option<Steady> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => Some(hold.end),
            Holders::Shared(crowd) => crowd.first_end().map(|(end, _)| end),
        }
    }

    /// When the timer is to come: mostly the first moment at which a lease ends, see [`Crowd::due`]; `None` when free.
    pub fn due(&self) -> Option<Steady> {
        match self {
            Holders::Free | Holders::Exclusive(_) => self.first_end(),
            Holders::Shared(crowd) => crowd.due(),
        }
    }

    /// A hold whose lease has run out.
    pub fn first_over(&self, now: Steady) -> Option<HoldId> {
        match self {
            Holders::Free => None,
            Holders::Exclusive(hold) => hold.is_over(now).then(|| alone(hold)),
            Holders::Shared(crowd) => crowd.first_end().filter(|(end, _)| *end <= now).map(|(_, id)| id),
        }
    }

    /// How many hold whose lease has not run out. Linear in those whose lease has.
    pub fn count_running(&self, now: Steady) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(hold) => usize::from(!hold.is_over(now)),
            Holders::Shared(crowd) => crowd.len() - crowd.count_over(now),
        }
    }

    /// Whether one more may be let in who asks for this.
    pub fn admit(&self, asked: Mode) -> bool {
        match (self, asked) {
            (Holders::Free, _) => true,
            (Holders::Exclusive(_), _) => false,
            (Holders::Shared(crowd), Mode::Exclusive) => {
                crowd.in_force() == usize::from(planted::is(Fault::WriterBesideReader))
            }
            (Holders::Shared(crowd), Mode::Shared(limit)) => {
                let one_more = usize::from(planted::is(Fault::LimitOffByOne));
                least(crowd, limit).is_none_or(|least| crowd.in_force() < least.get() as usize + one_more)
            }
        }
    }

    /// How many holds count for who may be let in.
    pub fn in_force(&self) -> usize {
        match self {
            Holders::Free | Holders::Exclusive(_) => self.len(),
            Holders::Shared(crowd) => crowd.in_force(),
        }
    }

    /// From now on the many holds whose lease has run out, and that nobody came to end yet, hold nobody up: see
    /// [`Crowd::lapse`].
    pub fn lapse(&mut self, now: Steady) {
        match self {
            Holders::Free | Holders::Exclusive(_) => {}
            Holders::Shared(crowd) => crowd.lapse(now),
        }
    }

    /// Takes out shared holds none of which is in force. `None` if there are none, or others.
    pub fn take_lapsed(&mut self) -> Option<Crowd> {
        let Holders::Shared(crowd) = self else { return None };
        if crowd.in_force() > 0 {
            return None;
        }
        let crowd = std::mem::replace(crowd, Crowd::new());
        *self = Holders::Free;
        Some(crowd)
    }

    /// How many bytes they take beside this value itself, roughly.
    pub fn allocated(&self) -> usize {
        match self {
            Holders::Free => 0,
            Holders::Exclusive(hold) => hold.owner.allocated(),
            Holders::Shared(crowd) => crowd.allocated(),
        }
    }

    /// Whether no more hold than the smallest limit among them; those whose lease has run out do not count. Linear.
    pub fn are_within_limits(&self, now: Steady) -> bool {
        match self {
            Holders::Free | Holders::Exclusive(_) => true,
            Holders::Shared(crowd) => {
                let running = || crowd.iter().filter(|shared| !shared.hold.is_over(now));
                let least = running().filter_map(|shared| shared.limit).min();
                least.is_none_or(|least| running().count() <= least.get() as usize)
            }
        }
    }

    /// Those without whose leaving nobody is let in who asks for this: each of them is waited for.
    ///
    /// Under a limit above 1 any one of several holders may make room; then none of them is.
    pub fn in_the_way(&self, asked: Mode) -> impl Iterator<Item = &Hold> {
        let (one, crowd) = match self {
            Holders::Free => (None, None),
            Holders::Exclusive(hold) => (Some(hold), None),
            Holders::Shared(crowd) => {
                let are = match asked {
                    Mode::Exclusive => true,
                    Mode::Shared(limit) => least(crowd, limit).is_some_and(|least| least.get() == 1),
                };
                (None, are.then_some(crowd))
            }
        };
        let together = crowd.into_iter().flat_map(Crowd::those_in_force);
        one.into_iter().chain(together.map(|shared| &shared.hold))
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
        if let Holders::Shared(crowd) = self {
            if let Some(before) = crowd.of(hold.owner.borrow()).map(|shared| shared.id()) {
                crowd.remove(before);
            }
            return crowd.insert(hold, limit);
        }
        let mut crowd = Crowd::new();
        let id = crowd.insert(hold, limit);
        *self = Holders::Shared(crowd);
        id
    }

    /// Takes out the hold of this name; `None` when there is none.
    pub fn remove(&mut self, id: HoldId) -> Option<Hold> {
        if let Holders::Shared(crowd) = self {
            let removed = crowd.remove(id).map(|shared| shared.hold);
            if crowd.len() == 0 {
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
            Holders::Shared(crowd) => crowd.update(id, change),
        }
    }
}

/// What an exclusive hold is called.
fn alone(hold: &Hold) -> HoldId {
    HoldId { fence: hold.fence, nth: 0 }
}

/// The limit in force for one who asks for `limit`.
fn least(crowd: &Crowd, limit: Option<Limit>) -> Option<Limit> {
    [crowd.smallest_limit(), limit].into_iter().flatten().min()
}
