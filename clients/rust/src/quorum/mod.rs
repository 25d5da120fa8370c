//! Redlock with fences: a lock that a majority of independent servers grants.
//!
//! 1. The client asks one server first, the gate, which is the same one for all who want this lock. Those who find the
//!    lock taken wait in its queue. So they reach the other servers one after the other, and do not split the votes. A
//!    gate that does not answer is passed over ([`acquire`]).
//! 2. The client asks every server for the lock under one new owner name. Without a majority it asks again a few times,
//!    because the last holder's releases may still be under way. Then it releases everything, pauses, and starts anew.
//! 3. The client raises the largest fence it got at all other servers ([`acquire`]). A majority must have that fence.
//!    Every later majority has a server in common with this one, and the next fence of that server is larger. So fences
//!    rise from grant to grant.
//! 4. The validity is reckoned from before step 2, less a share for clocks that drift apart. It must not be over yet.
//!
//! A renewal extends the lease at every server. A server that has lost the hold gets it back, once a majority has said
//! that it still has it.
//!
//! No server that is slow or dead holds up the others: when a majority has agreed, the client gives the rest as much
//! time again ([`votes`]).

mod acquire;
mod members;
mod votes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::StreamExt;
use tokio::runtime::Handle;
use tokio::time::{timeout, Instant};

use crate::backend::{Backend, Grant, Held, Wanted};
use crate::claim::Claim;
use crate::clock::Moment;
use crate::core::Core;
use crate::error::Error;
use crate::net::endpoint::{Effort, Endpoint, Patience};
use crate::net::events::Events;
use crate::reply::{is_one, parse_check, parse_fences, Checked, Released};
use crate::spec::{Mode, Spec};

use members::{reply_timeout, Members};
use votes::{collect, send_each};

/// The locks of independent servers, of which a majority must agree.
pub(crate) struct QuorumBackend(Arc<Members>);

impl QuorumBackend {
    pub fn new(core: &Arc<Core>, events: &Events, servers: Vec<Arc<Endpoint>>) -> QuorumBackend {
        QuorumBackend(Arc::new(Members::new(core, events, servers)))
    }

    /// Extends the lease at every server. A majority must still hold the lock with the fence of the grant.
    async fn extend_at_majority(&self, held: &Held, lease: Duration, limit: Instant) -> Result<Moment, Error> {
        let begun = self.0.core.clock.now();
        let deadline = (Instant::now() + reply_timeout(lease)).min(limit);
        let mut extensions = send_each(self.0.servers(), |_, server| {
            let key = held.spec.key().to_vec();
            let extend = held.spec.extend(&held.owner, held.fence(), lease);
            let raise = held.spec.raise(&held.owner, held.fence(), lease);
            async move {
                let is_held = is_one(&server.call(&key, &extend, deadline, Effort::Once).await?.value);
                // A server that was late when the others agreed on the fence may still have a smaller one.
                Ok(is_held || is_one(&server.call(&key, &raise, deadline, Effort::Once).await?.value))
            }
        });
        let replies = collect(&mut extensions, self.0.majority(), |is_held| *is_held).await;
        drop(extensions);
        let held_at = replies.iter().filter(|(_, reply)| matches!(reply, Ok(true))).count();
        let lost_at: Vec<usize> =
            replies.iter().filter(|(_, reply)| matches!(reply, Ok(false))).map(|(index, _)| *index).collect();
        let valid_until = Spec::valid_until(lease, begun);
        if lost_at.len() >= self.0.majority() {
            return Err(Error::NotHeld);
        }
        if held_at < self.0.majority() || valid_until <= self.0.core.clock.now() {
            return Err(Error::NoQuorum);
        }
        self.repair(held, lease, &lost_at).await;
        Ok(valid_until)
    }

    /// Takes the hold again at servers that have lost it, for example because they restarted empty. A majority must
    /// have said that it still has the hold. These servers count from the next renewal on.
    async fn repair(&self, held: &Held, lease: Duration, lost_at: &[usize]) {
        let Ok(runtime) = Handle::try_current() else { return };
        let deadline = Instant::now() + reply_timeout(lease);
        let spec = Spec { lease, ..held.spec.clone() };
        let lost_at = lost_at.iter().filter_map(|index| Some((*index, Arc::clone(self.0.servers.get(*index)?))));
        let mut repairs = send_each(lost_at, |_, server| {
            // If the hold is released meanwhile, this is dropped, and takes back what it has asked for.
            let claim = Claim::new(&server, &spec, &held.owner, &runtime, None);
            let raise = spec.raise(&held.owner, held.fence(), lease);
            let key = spec.key().to_vec();
            async move {
                let answer = server.acquire(&claim, Patience::None, Some(deadline), Effort::Once).await?;
                if parse_fences(&answer.value)?.is_some() {
                    claim.granted();
                    server.call(&key, &raise, deadline, Effort::Once).await?;
                    // The guard releases it from now on.
                    claim.released();
                }
                Ok(())
            }
        });
        while repairs.next().await.is_some() {}
    }

    /// Asks every server whether it has the hold. The owner has lost it if a majority says no.
    async fn look_at_majority(&self, held: &Held, limit: Instant) -> Result<Checked, Error> {
        let deadline = (Instant::now() + reply_timeout(held.spec.lease)).min(limit);
        let mut checks = send_each(self.0.servers(), |_, server| {
            let key = held.spec.key().to_vec();
            let check = Spec::check(&key, &held.owner);
            async move { parse_check(&server.call(&key, &check, deadline, Effort::Once).await?.value) }
        });
        let mut remaining = Vec::new();
        let (mut lost, mut last) = (0, Error::NoQuorum);
        while let Some((_, checked)) = checks.next().await {
            match checked {
                Ok(Checked::Held { remaining: left, .. }) => remaining.push(left),
                Ok(Checked::NotHeld) => lost += 1,
                Err(error) => last = error,
            }
        }
        if lost >= self.0.majority() {
            return Ok(Checked::NotHeld);
        }
        // The hold lasts as long as a majority has it.
        remaining.sort_unstable_by(|one, other| other.cmp(one));
        match remaining.get(self.0.majority() - 1) {
            Some(remaining) => Ok(Checked::Held { fence: held.fence(), remaining: *remaining }),
            None => Err(last),
        }
    }

    /// Releases the hold at every server, and reports whether a majority held it. The gate comes last, so that the next
    /// in its queue finds the others free. Servers that are late get their release in the background.
    async fn release_at_all(&self, held: &Held, cool: Option<Duration>) -> Result<Released, Error> {
        let gate = self.0.gate_of(held.spec.key());
        let limit = reply_timeout(held.spec.lease);
        let end = Instant::now() + held.spec.lease;
        let release = |_, server: Arc<Endpoint>| {
            let spec = held.spec.clone();
            // A release names no fence, because that of a late server may be smaller.
            let mut cmd = spec.release(&held.owner);
            if let Some(cool) = cool {
                cmd.arg("COOL").arg(crate::spec::millis(cool));
            }
            // The task goes on if the server is late.
            let released = tokio::spawn(async move { server.release(&spec, &cmd, end).await });
            async move {
                match timeout(limit, released).await {
                    Ok(Ok(released)) => released,
                    Ok(Err(_)) | Err(_) => Err(Error::NoQuorum),
                }
            }
        };
        let was_held = |released: &Released| *released != Released::NotHeld;
        let mut others = send_each(self.0.servers().filter(|(index, _)| *index != gate), release);
        let mut votes = collect(&mut others, self.0.majority() - 1, was_held).await;
        let mut last = send_each(self.0.servers().filter(|(index, _)| *index == gate), release);
        votes.extend(collect(&mut last, 1, was_held).await);
        if votes.len() < self.0.servers.len()
            && votes.iter().filter(|(_, vote)| vote.is_ok()).count() < self.0.majority()
        {
            votes.extend(collect(&mut others, self.0.servers.len(), was_held).await);
        }
        let votes: Vec<_> = votes.into_iter().map(|(_, vote)| vote).collect();
        let count = |wanted| votes.iter().filter(|vote| matches!(vote, Ok(vote) if *vote == wanted)).count();
        let (held, unsure, not_held) = (count(Released::Held), count(Released::Unsure), count(Released::NotHeld));
        if held >= self.0.majority() {
            Ok(Released::Held)
        } else if not_held >= self.0.majority() {
            Ok(Released::NotHeld)
        } else if held + unsure >= self.0.majority() {
            Ok(Released::Unsure)
        } else {
            Err(Error::NoQuorum)
        }
    }
}

impl Backend for QuorumBackend {
    fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn events(&self) -> &Events {
        &self.0.events
    }

    fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.0.servers
    }

    fn check(&self, spec: &Spec) -> Result<(), Error> {
        if spec.keys.len() > 1 {
            return Err(Error::Invalid("a quorum grants one lock at a time"));
        }
        if spec.session {
            return Err(Error::Invalid("a quorum has no sessions"));
        }
        if spec.durable.is_some() {
            return Err(Error::Invalid("the members of a quorum have no replicas"));
        }
        if matches!(spec.mode, Mode::Counted { weight, .. } if weight > 1) {
            return Err(Error::Invalid("a quorum counts holders, and has no weights"));
        }
        Ok(())
    }

    fn acquire(self: Arc<Self>, wanted: Wanted) -> BoxFuture<'static, Result<Grant, Error>> {
        acquire::acquire(Arc::clone(&self.0), wanted).boxed()
    }

    fn extend<'a>(
        &'a self,
        held: &'a Held,
        lease: Duration,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Moment, Error>> {
        self.extend_at_majority(held, lease, deadline).boxed()
    }

    fn look<'a>(&'a self, held: &'a Held, deadline: Instant) -> BoxFuture<'a, Result<Checked, Error>> {
        self.look_at_majority(held, deadline).boxed()
    }

    fn release<'a>(&'a self, held: &'a Held, cool: Option<Duration>) -> BoxFuture<'a, Result<Released, Error>> {
        self.release_at_all(held, cool).boxed()
    }

    fn downgrade<'a>(&'a self, _: &'a Held) -> BoxFuture<'a, Result<Released, Error>> {
        std::future::ready(Err(Error::Invalid("a hold of a quorum cannot be downgraded"))).boxed()
    }
}
