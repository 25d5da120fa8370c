//! The members of a quorum.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::votes::{limit_per_server, majority};
use crate::core::Core;
use crate::net::endpoint::Endpoint;
use crate::net::events::Events;
use crate::net::slots::slot_of;
use crate::spec::{Mode, Spec};

/// A server has a tenth of the lease to answer, within these bounds.
const REPLY_TIMEOUT_MIN: Duration = Duration::from_millis(20);
const REPLY_TIMEOUT_MAX: Duration = Duration::from_millis(500);

/// Independent servers, of which a majority must agree.
pub(super) struct Members {
    pub core: Arc<Core>,
    pub events: Events,
    pub servers: Vec<Arc<Endpoint>>,
    /// Until when a server that did not answer is not used as a gate.
    pub passed_over: Mutex<Vec<Option<Instant>>>,
}

impl Members {
    pub fn new(core: &Arc<Core>, events: &Events, servers: Vec<Arc<Endpoint>>) -> Members {
        let passed_over = Mutex::new(vec![None; servers.len()]);
        Members { core: Arc::clone(core), events: events.clone(), servers, passed_over }
    }

    pub fn majority(&self) -> usize {
        majority(self.servers.len())
    }

    pub fn servers(&self) -> impl Iterator<Item = (usize, Arc<Endpoint>)> + '_ {
        self.servers.iter().cloned().enumerate()
    }

    /// The server that all clients ask first for this key.
    pub fn gate_of(&self, key: &[u8]) -> usize {
        usize::from(slot_of(key)) % self.servers.len().max(1)
    }
}

/// How long a server may take to answer.
pub(super) fn reply_timeout(lease: Duration) -> Duration {
    (lease / 10).clamp(REPLY_TIMEOUT_MIN, REPLY_TIMEOUT_MAX)
}

/// What the client asks each server for, so that the quorum grants what `spec` asks for.
pub(super) fn spec_per_server(spec: &Spec, servers: usize) -> Spec {
    let mode = match spec.mode {
        Mode::Counted { limit, weight } => Mode::Counted { limit: limit_per_server(limit, servers), weight },
        mode @ (Mode::Exclusive | Mode::Shared) => mode,
    };
    Spec { mode, ..spec.clone() }
}
