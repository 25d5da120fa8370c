//! A hold and what is known about it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Backend, Held};
use crate::clock::Moment;
use crate::core::trace;
use crate::error::Error;
use crate::fault::{is_planted, Fault};
use crate::net::link::Link;
use crate::reply::Released;
use crate::spec::{Mode, Spec};
use crate::sync::lock;

/// Why a hold was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Loss {
    /// The lease ended by this client's clock before it could be renewed, or the longest time of the hold was over.
    Expired,
    /// The server says that the owner no longer holds the lock.
    Removed,
    /// The connection ended to which the hold was bound.
    SessionEnded,
}

/// Whether a hold is still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Surely valid up to this moment.
    ValidUntil(Moment),
    Lost(Loss),
}

/// A hold, which its guard shares with the task that renews it.
pub(crate) struct Hold {
    pub backend: Arc<dyn Backend>,
    pub held: Held,
    /// The lease of the next renewal.
    lease: Mutex<Duration>,
    /// The moment at which the hold ends however often it is renewed.
    ends_at: Option<Moment>,
    /// Whether the hold is exclusive, which a downgrade changes.
    is_exclusive: AtomicBool,
    pub granted_at: Moment,
    pub session: Option<Arc<Link>>,
    pub state: watch::Sender<State>,
}

impl Hold {
    pub fn new(backend: Arc<dyn Backend>, held: Held, valid_until: Moment, session: Option<Arc<Link>>) -> Hold {
        let granted_at = backend.core().clock.now();
        let spec = &held.spec;
        // The longest time begins with the grant, and that was at least one lease before `valid_until`.
        let ends_at = spec.max.map(|max| {
            let elapsed = Spec::valid_until(spec.lease, granted_at).since(valid_until);
            granted_at + Spec::valid_until(max, granted_at).since(granted_at).saturating_sub(elapsed)
        });
        let valid_until = ends_at.map_or(valid_until, |ends_at| ends_at.min(valid_until));
        Hold {
            backend,
            lease: Mutex::new(spec.lease),
            ends_at,
            is_exclusive: AtomicBool::new(spec.mode == Mode::Exclusive),
            held,
            granted_at,
            session,
            state: watch::Sender::new(State::ValidUntil(valid_until)),
        }
    }

    pub fn now(&self) -> Moment {
        self.backend.core().clock.now()
    }

    pub fn lease(&self) -> Duration {
        *lock(&self.lease)
    }

    pub fn is_exclusive(&self) -> bool {
        self.is_exclusive.load(Ordering::Relaxed)
    }

    /// The moment up to which the hold is surely valid, even if it has passed; `None` if the hold is known to be lost.
    pub fn valid_until(&self) -> Option<Moment> {
        match *self.state.borrow() {
            State::ValidUntil(valid_until) => Some(valid_until),
            State::Lost(_) => None,
        }
    }

    /// How long the hold is surely valid from now on; zero if it is lost.
    pub fn remaining(&self) -> Duration {
        let remaining = self.valid_until().map_or(Duration::ZERO, |until| until.since(self.now()));
        if is_planted(Fault::NoClock) && self.valid_until().is_some() {
            return remaining.max(Duration::from_millis(1));
        }
        remaining
    }

    /// Whether renewals can still lengthen the hold.
    pub fn can_be_longer(&self) -> bool {
        self.held.spec.renew
            && self.ends_at.is_none_or(|ends_at| self.valid_until().is_some_and(|until| until < ends_at))
    }

    /// Starts the lease anew and records the outcome. Returns how long the hold is surely valid.
    pub async fn extend(&self, lease: Duration, deadline: Instant) -> Result<Duration, Error> {
        if self.valid_until().is_none() {
            return Err(Error::NotHeld);
        }
        let extended = self.backend.extend(&self.held, lease, deadline).await;
        if let Err(Error::NotHeld) = extended {
            self.lose(Loss::Removed);
        }
        let extended = extended?;
        let extended = self.ends_at.map_or(extended, |ends_at| ends_at.min(extended));
        let is_shorter = lease < self.lease();
        *lock(&self.lease) = lease;
        self.state.send_if_modified(|state| match state {
            State::ValidUntil(valid_until) => {
                // Two extensions may be answered in any order.
                *valid_until = if is_shorter { extended } else { extended.max(*valid_until) };
                true
            }
            // A loss that was reported stays.
            State::Lost(_) => false,
        });
        self.valid_until().map(|until| until.since(self.now())).ok_or(Error::NotHeld)
    }

    /// Turns the exclusive hold into a shared one.
    pub async fn downgrade(&self) -> Result<(), Error> {
        match self.backend.downgrade(&self.held).await? {
            Released::Held => {}
            // The reply to an earlier attempt was lost. A downgrade that is repeated finds the hold shared, and says
            // so.
            Released::Unsure | Released::NotHeld => {
                self.lose(Loss::Removed);
                return Err(Error::NotHeld);
            }
        }
        self.is_exclusive.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Records that the hold is lost, unless it is already.
    pub fn lose(&self, loss: Loss) {
        let is_new = self.state.send_if_modified(|state| {
            let is_new = matches!(state, State::ValidUntil(_));
            if is_new {
                *state = State::Lost(loss);
            }
            is_new
        });
        if is_new {
            let core = self.backend.core();
            core.counters.lost.add_one();
            core.counters.held.add_time(self.now().since(self.granted_at));
            trace!(WARN, key = %self.held.spec.key().escape_ascii(), owner = %self.held.owner, ?loss, "lost a lock");
        }
    }
}
