//! Locks in one deployment: a server, the primary that Sentinels name, or a Redis Cluster.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use redis::Value;
use tokio::time::{timeout, Instant};

use crate::backend::{Backend, Grant, Held, Wanted};
use crate::claim::Claim;
use crate::clock::Moment;
use crate::core::Core;
use crate::error::Error;
use crate::net::endpoint::{Answer, Effort, Endpoint, Patience};
use crate::net::events::Events;
use crate::net::link::Link;
use crate::reply::{parse_check, parse_fences, Checked, Released};
use crate::spec::{millis, Spec};

/// The locks of one endpoint.
pub(crate) struct SingleBackend([Arc<Endpoint>; 1]);

impl SingleBackend {
    pub fn new(endpoint: Arc<Endpoint>) -> SingleBackend {
        SingleBackend([endpoint])
    }

    fn endpoint(&self) -> &Arc<Endpoint> {
        let [endpoint] = &self.0;
        endpoint
    }

    /// Until when the reply to a short command is awaited.
    fn soon(&self) -> Instant {
        Instant::now() + self.core().request_timeout * 2
    }

    async fn acquire_at(self: Arc<Self>, wanted: Wanted) -> Result<Grant, Error> {
        let Wanted { spec, owner, patience, runtime, turn } = wanted;
        let claim = Claim::new(self.endpoint(), &spec, &owner, &runtime, turn);
        let deadline = match patience {
            Patience::None => Some(self.soon()),
            Patience::Until(deadline) => Some(deadline),
            Patience::Endless => None,
        };
        loop {
            // Every attempt names the same owner, so it finds what an earlier attempt did.
            let Answer { value, sent_at, own } =
                self.endpoint().acquire(&claim, patience, deadline, Effort::Persistent).await?;
            let Some(fences) = parse_fences(&value)? else {
                if let Some(own) = own {
                    own.park();
                }
                return Err(Error::NotAcquired);
            };
            claim.granted();
            let held = Held { spec: spec.clone(), owner: owner.clone(), fences };
            if let (Some((replicas, limit)), Some(own)) = (spec.durable, &own) {
                let confirmed = self.confirm(&own.link, replicas, limit).await;
                if confirmed < replicas {
                    // If this fails, the claim repeats it in the background.
                    if self.release(&held, None).await.is_ok() {
                        claim.released();
                    }
                    return Err(Error::NotDurable { wanted: replicas, confirmed });
                }
            }
            let session = own.and_then(|own| {
                if spec.session {
                    return Some(own.link);
                }
                own.park();
                None
            });
            // The lease may have begun at any moment of a long wait. An extension starts it at a known one.
            let valid_until = if self.core().clock.now().since(sent_at) < spec.lease / 3 {
                Spec::valid_until(spec.lease, sent_at)
            } else {
                let limit = self.soon().max(Instant::now() + spec.lease / 2);
                match self.extend_at(&held, spec.lease, limit).await {
                    Ok(valid_until) => valid_until,
                    Err(Error::NotHeld) => {
                        claim.released();
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            };
            return Ok(Grant { held, valid_until, claims: vec![Arc::new(claim)], session });
        }
    }

    /// How many replicas confirm within `limit` what was granted on this connection.
    async fn confirm(&self, link: &Link, replicas: u32, limit: Duration) -> u32 {
        let mut cmd = redis::cmd("WAIT");
        cmd.arg(replicas).arg(millis(limit).max(1));
        match timeout(limit + self.core().request_timeout, link.send(&cmd)).await {
            Ok(Ok(Value::Int(confirmed))) => u32::try_from(confirmed).unwrap_or(0),
            Ok(Ok(_) | Err(_)) | Err(_) => 0,
        }
    }

    async fn extend_at(&self, held: &Held, lease: Duration, deadline: Instant) -> Result<Moment, Error> {
        let sent_at = self.core().clock.now();
        let extend = held.spec.extend(&held.owner, held.fence(), lease);
        let reply = self.endpoint().call(held.spec.key(), &extend, deadline, Effort::Persistent).await?;
        if reply.value == Value::Int(held.spec.all()) {
            Ok(Spec::valid_until(lease, sent_at))
        } else {
            Err(Error::NotHeld)
        }
    }

    async fn look_at(&self, held: &Held, deadline: Instant) -> Result<Checked, Error> {
        let mut first = None;
        for key in &held.spec.keys {
            let check = Spec::check(key, &held.owner);
            let reply = self.endpoint().call(key, &check, deadline, Effort::Persistent).await?;
            match parse_check(&reply.value)? {
                Checked::NotHeld => return Ok(Checked::NotHeld),
                checked @ Checked::Held { .. } => drop(first.get_or_insert(checked)),
            }
        }
        Ok(first.unwrap_or(Checked::NotHeld))
    }
}

impl Backend for SingleBackend {
    fn core(&self) -> &Arc<Core> {
        &self.endpoint().core
    }

    fn events(&self) -> &Events {
        &self.endpoint().events
    }

    fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.0
    }

    fn check(&self, _: &Spec) -> Result<(), Error> {
        Ok(())
    }

    fn acquire(self: Arc<Self>, wanted: Wanted) -> BoxFuture<'static, Result<Grant, Error>> {
        self.acquire_at(wanted).boxed()
    }

    fn extend<'a>(
        &'a self,
        held: &'a Held,
        lease: Duration,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Moment, Error>> {
        self.extend_at(held, lease, deadline).boxed()
    }

    fn look<'a>(&'a self, held: &'a Held, deadline: Instant) -> BoxFuture<'a, Result<Checked, Error>> {
        self.look_at(held, deadline).boxed()
    }

    fn release<'a>(&'a self, held: &'a Held, cool: Option<Duration>) -> BoxFuture<'a, Result<Released, Error>> {
        async move {
            let cmd = held.spec.release_hold(&held.owner, held.fence(), cool);
            self.endpoint().release(&held.spec, &cmd, self.soon()).await
        }
        .boxed()
    }

    fn downgrade<'a>(&'a self, held: &'a Held) -> BoxFuture<'a, Result<Released, Error>> {
        async move {
            let cmd = held.spec.downgrade(&held.owner, held.fence());
            self.endpoint().release(&held.spec, &cmd, self.soon()).await
        }
        .boxed()
    }
}
