//! Locks in one deployment: a server, the primary that Sentinels name, or a Redis Cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;

use crate::backend::{generate_owner, Backend, Grant};
use crate::endpoint::{Endpoint, WaitConnection, WatchEvent, REPLY_TIMEOUT};
use crate::error::Error;
use crate::reply::{is_one, parse_fence, Released};
use crate::spec::Spec;
use crate::withdrawal::Withdrawal;

/// A renewal may take a quarter of the lease, so that there is time for another attempt. It may always take this long.
const RENEWAL_TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// The locks of one endpoint.
pub(crate) struct SingleBackend(Endpoint);

impl SingleBackend {
    pub fn new(endpoint: Endpoint) -> SingleBackend {
        SingleBackend(endpoint)
    }

    async fn acquire_at(
        self: Arc<Self>,
        spec: &Spec,
        deadline: Option<Instant>,
        runtime: &Handle,
    ) -> Result<Grant, Error> {
        let owner = generate_owner();
        let wait_connection = WaitConnection::default();
        let backend: Arc<dyn Backend> = Arc::<Self>::clone(&self);
        let withdrawal = Withdrawal::new(backend, spec, &owner, Some(Arc::clone(&wait_connection)), runtime);
        // Every attempt names the same owner, so it finds what an earlier attempt did.
        let (reply, sent_at) = self.0.acquire(spec, &owner, deadline, &wait_connection).await?;
        let Some(fence) = parse_fence(&reply.value)? else {
            // An earlier attempt may still wait in the queue, on a connection that the server believes to be alive.
            if !reply.is_retried {
                withdrawal.cancel();
            }
            return Err(Error::NotAcquired);
        };
        withdrawal.cancel();
        Ok(Grant { owner, fence, valid_until: spec.valid_until(sent_at) })
    }

    async fn extend_at(&self, spec: &Spec, grant: &Grant) -> Result<Instant, Error> {
        let sent_at = Instant::now();
        let timeout = (spec.lease / 4).clamp(RENEWAL_TIMEOUT_MIN, REPLY_TIMEOUT);
        let extend = spec.extend(&grant.owner, grant.fence);
        let reply = self.0.call(&spec.key, &extend, grant.valid_until.min(sent_at + timeout)).await?;
        if is_one(&reply) {
            Ok(spec.valid_until(sent_at))
        } else {
            Err(Error::NotHeld)
        }
    }
}

impl Backend for SingleBackend {
    fn acquire<'a>(
        self: Arc<Self>,
        spec: &'a Spec,
        deadline: Option<Instant>,
        runtime: &'a Handle,
    ) -> BoxFuture<'a, Result<Grant, Error>> {
        self.acquire_at(spec, deadline, runtime).boxed()
    }

    fn extend<'a>(&'a self, spec: &'a Spec, grant: &'a Grant) -> BoxFuture<'a, Result<Instant, Error>> {
        self.extend_at(spec, grant).boxed()
    }

    fn release<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, Result<Released, Error>> {
        self.0.release(spec, owner).boxed()
    }

    fn watch<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, ()> {
        async move {
            match self.0.watch(spec, owner).await {
                WatchEvent::NotHeld | WatchEvent::Changed => {}
            }
        }
        .boxed()
    }
}
