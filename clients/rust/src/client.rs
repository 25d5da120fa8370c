//! What all values of one client share, and how an acquisition goes.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::backend::{Backend, Wanted};
use crate::claim::Turn;
use crate::core::{trace, Core};
use crate::error::Error;
use crate::guard::Guard;
use crate::net::endpoint::{run_until, Patience};
use crate::renewal::Renewals;
use crate::spec::Spec;
use crate::turns::Turns;

/// What all values of one client share.
pub(crate) struct Client {
    pub backend: Arc<dyn Backend>,
    renewals: Arc<Renewals>,
    /// If waits of this process for one key stand behind one another: whose turn it is to wait in the server.
    turns: Option<Turns>,
}

impl Client {
    pub fn new(backend: Arc<dyn Backend>, share_waits: bool) -> Arc<Client> {
        let renewals = Renewals::new(backend.core(), backend.events());
        Arc::new(Client { backend, renewals, turns: share_waits.then(Turns::default) })
    }

    pub fn core(&self) -> &Arc<Core> {
        self.backend.core()
    }

    /// Acquires the locks under this owner, or under a new one.
    pub async fn acquire(
        &self,
        spec: &Spec,
        owner: Option<(String, Arc<Turn>)>,
        within: Duration,
    ) -> Result<Guard, Error> {
        spec.check_ranges()?;
        self.backend.check(spec)?;
        let runtime = Handle::try_current().map_err(|_| Error::Invalid("locks need a tokio runtime"))?;
        let patience = match (within, Instant::now().checked_add(within)) {
            (Duration::ZERO, _) => Patience::None,
            (_, Some(deadline)) => Patience::Until(deadline),
            // A deadline that no clock can show is no limit.
            (_, None) => Patience::Endless,
        };
        let mut ending = Ending { core: self.core(), begun: Instant::now(), is_over: false };
        let acquired = tokio::select! {
            biased;
            () = self.core().closed.cancelled() => Err(Error::Closed),
            acquired = self.acquire_in_turn(spec, owner, patience, runtime) => acquired,
        };
        ending.is_over = true;
        ending.record(spec, &acquired);
        acquired
    }

    /// Ends the acquisitions under way, and waits for the releases in the background.
    pub async fn close(&self) {
        self.core().closed.cancel();
        let withdrawals = &self.core().withdrawals;
        withdrawals.close();
        // What takes longer goes on in the background.
        let _ = tokio::time::timeout(self.core().request_timeout * 2, withdrawals.wait()).await;
    }

    async fn acquire_in_turn(
        &self,
        spec: &Spec,
        owner: Option<(String, Arc<Turn>)>,
        patience: Patience,
        runtime: Handle,
    ) -> Result<Guard, Error> {
        let _turn = match (&self.turns, patience) {
            (None, _) | (_, Patience::None) => None,
            (Some(turns), Patience::Endless) => Some(turns.wait(spec.key()).await),
            (Some(turns), Patience::Until(deadline)) => {
                let turn = run_until(Some(deadline), turns.wait(spec.key())).await;
                Some(turn.ok_or(Error::NotAcquired)?)
            }
        };
        let (owner, turn) = match owner {
            Some((owner, turn)) => (owner, Some(turn)),
            None => (self.core().identity.new_owner(&self.core().chance), None),
        };
        let wanted = Wanted { spec: spec.clone(), owner, patience, runtime: runtime.clone(), turn };
        let grant = Arc::clone(&self.backend).acquire(wanted).await?;
        Ok(Guard::new(Arc::clone(&self.backend), grant, &self.renewals, &runtime))
    }
}

/// Counts how an acquisition ends, also if its future is dropped.
struct Ending<'a> {
    core: &'a Core,
    begun: Instant,
    is_over: bool,
}

impl Ending<'_> {
    fn record(&self, _spec: &Spec, acquired: &Result<Guard, Error>) {
        let counters = &self.core.counters;
        match acquired {
            Ok(_guard) => {
                counters.acquired.add_one();
                counters.waited.add_time(self.begun.elapsed());
                trace!(
                    DEBUG,
                    key = %_spec.key().escape_ascii(),
                    owner = _guard.owner(),
                    fence = _guard.fence(),
                    waited = ?self.begun.elapsed(),
                    "acquired a lock"
                );
            }
            Err(Error::NotAcquired) => counters.not_acquired.add_one(),
            Err(_error) => {
                counters.failed.add_one();
                trace!(WARN, key = %_spec.key().escape_ascii(), error = %_error, "could not acquire a lock");
            }
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.counters.cancelled.add_one();
        }
    }
}
