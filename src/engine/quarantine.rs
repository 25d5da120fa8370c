//! The time after the start of the server in which it grants nothing (setting `start-quarantine`).
//!
//! A member of a quorum that comes back without its data could grant a lock that its former self had granted. It stays out by
//! itself until every lease of its former self has ended. It counts from the start, also if the setting is changed later.

use crate::failpoints::{self, Failpoint};
use crate::lock::{Millis, Steady};

/// Whether the server grants locks.
#[derive(Clone, Copy, Debug)]
pub struct Quarantine {
    /// When the server started.
    began: Steady,
    /// When it is over. `None` if there is none, or if the queues have been served since it was over.
    until: Option<Steady>,
}

impl Quarantine {
    /// None: the server grants locks.
    pub const fn none() -> Quarantine {
        Quarantine { began: Steady(i64::MIN), until: None }
    }

    /// The server starts now.
    pub fn begin(&mut self, now: Steady) {
        self.began = now;
    }

    /// It lasts this long from the start of the server on; 0: there is none.
    pub fn set_length(&mut self, length: Millis) {
        self.until = (length.0 > 0).then(|| self.began + length);
    }

    /// Whether locks may be granted now.
    pub fn may_grant(&self, now: Steady) -> bool {
        self.until.is_none_or(|until| until <= now) || failpoints::is_on(Failpoint::QuarantineIgnored)
    }

    /// What is left of it, rounded up to milliseconds.
    pub fn left(&self, now: Steady) -> Millis {
        self.until.map_or(Millis(0), |until| now.until(until))
    }

    /// When the queues are to be served because it is over; `None` if it is not to be.
    pub fn due(&self) -> Option<Steady> {
        self.until
    }

    /// Whether it is over. Says so once.
    pub fn take_end(&mut self, now: Steady) -> bool {
        let is_over = self.until.is_some_and(|until| until <= now);
        if is_over {
            self.until = None;
        }
        is_over
    }
}
