//! Withdrawing a request or a hold in the background when its future or its guard is dropped.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::Value;
use tokio::runtime::Handle;

use crate::backend::Backend;
use crate::endpoint::WaitConnection;
use crate::spec::Spec;
use crate::sync::lock;

/// How long the withdrawal of a request that may still be under way is repeated.
const WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two releases of such a withdrawal.
const PAUSE: Duration = Duration::from_millis(50);

/// Releases a request or a hold in the background when it is dropped, unless it was cancelled.
pub(crate) struct Withdrawal {
    /// `None` once the withdrawal is cancelled.
    pending: Option<Pending>,
    /// The runtime in which the lock was requested. The release runs there, from whatever thread this is dropped.
    runtime: Handle,
}

/// What has to be released.
struct Pending {
    backend: Arc<dyn Backend>,
    spec: Spec,
    owner: String,
    wait_connection: Option<WaitConnection>,
}

impl Withdrawal {
    /// Prepares the withdrawal of a request or a hold of this owner. `wait_connection` is the connection on which the
    /// request waits; `None` if it cannot wait.
    pub fn new(
        backend: Arc<dyn Backend>,
        spec: &Spec,
        owner: &str,
        wait_connection: Option<WaitConnection>,
        runtime: &Handle,
    ) -> Withdrawal {
        let pending = Pending { backend, spec: spec.clone(), owner: owner.to_owned(), wait_connection };
        Withdrawal { pending: Some(pending), runtime: runtime.clone() }
    }

    /// Cancels the withdrawal, because nothing is left to release or a guard has taken over the hold.
    pub fn cancel(mut self) {
        self.pending = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            let wait_connection = pending.wait_connection.as_ref().and_then(|connection| lock(connection).take());
            // If the runtime has ended, this task never runs and the hold ends with its lease.
            self.runtime.spawn(async move { pending.withdraw(wait_connection).await });
        }
    }
}

impl Pending {
    /// Releases what the request got or may still get. Gives up after 10 s; then the lease ends a hold.
    async fn withdraw(self, wait_connection: Option<MultiplexedConnection>) {
        let Pending { backend, spec, owner, .. } = self;
        // This release also answers a waiter with that owner.
        let _ = backend.release(&spec, &owner).await;
        let Some(mut connection) = wait_connection else { return };
        // That release went over another connection, so the server may receive the request after it. A release that
        // follows the request on the same connection cannot overtake it, but is not executed while the request waits.
        let release = spec.release(&owner);
        let repeat = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                let _ = backend.release(&spec, &owner).await;
            }
        };
        tokio::select! {
            _ = release.query_async::<Value>(&mut connection) => {}
            () = repeat => {}
            () = tokio::time::sleep(WITHDRAWAL_TIMEOUT) => {}
        }
    }
}
