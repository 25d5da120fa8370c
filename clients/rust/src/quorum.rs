//! Redlock with fences: a lock that a majority of independent servers grants.
//!
//! 1. The client asks every server for the lock under one new owner name. Without a majority it releases everything and
//!    tries again after a random pause, so that two clients that split the votes do not split them again.
//! 2. The client raises the largest fence it got at all other servers ([`QuorumBackend::agree_on_fence`]). A majority
//!    must have that fence. Every later majority has a server in common with this one, and the next fence of that
//!    server is larger. So fences rise from grant to grant.
//! 3. The validity is reckoned from before step 1, less a share for clocks that drift apart. It must not be over yet.
//!
//! No server that is slow or dead holds up the others: when a majority has agreed, the client gives the rest as much
//! time again ([`collect_votes`]).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use crate::backend::{generate_owner, Backend, Grant};
use crate::endpoint::{Endpoint, WatchEvent};
use crate::error::Error;
use crate::reply::{is_one, parse_fence, Released};
use crate::spec::{Mode, Spec};
use crate::withdrawal::Withdrawal;

/// The longest pause before the next attempt. Each pause is a random part of it.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// A server has a tenth of the lease to answer, within these bounds.
const REPLY_TIMEOUT_MIN: Duration = Duration::from_millis(20);
const REPLY_TIMEOUT_MAX: Duration = Duration::from_millis(500);
/// How long the other servers have at least once a majority has agreed.
const GRACE_MIN: Duration = Duration::from_millis(20);

/// The locks of independent servers, of which a majority must agree.
pub(crate) struct QuorumBackend(Vec<Arc<Endpoint>>);

impl QuorumBackend {
    pub fn new(servers: impl IntoIterator<Item = Endpoint>) -> QuorumBackend {
        QuorumBackend(servers.into_iter().map(Arc::new).collect())
    }

    fn majority(&self) -> usize {
        majority(self.0.len())
    }

    async fn acquire_at_majority(
        self: Arc<Self>,
        spec: &Spec,
        deadline: Option<Instant>,
        runtime: &Handle,
    ) -> Result<Grant, Error> {
        let spec = spec_per_server(spec, self.0.len());
        loop {
            let owner = generate_owner();
            let backend: Arc<dyn Backend> = Arc::<Self>::clone(&self);
            let withdrawal = Withdrawal::new(backend, &spec, &owner, None, runtime);
            let error = match self.attempt(&spec, &owner).await {
                Ok((fence, valid_until)) => {
                    withdrawal.cancel();
                    return Ok(Grant { owner, fence, valid_until });
                }
                Err(error) => error,
            };
            // Release before anybody tries again, which includes the next attempt of this request.
            let _ = self.release(&spec, &owner).await;
            withdrawal.cancel();
            let pause = PAUSE_MAX.mul_f64(rand::random());
            let is_late = deadline.is_some_and(|deadline| Instant::now() + pause >= deadline);
            if is_late || is_lasting(&error) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks every server once. Returns the fence, and the moment up to which the hold is surely valid.
    async fn attempt(&self, spec: &Spec, owner: &str) -> Result<(u64, Instant), Error> {
        let begun = Instant::now();
        let deadline = begun + reply_timeout(spec);
        let mut requests = send_each(self.0.iter().enumerate(), move |server| {
            let (key, acquire) = (spec.key.clone(), spec.acquire(owner, None));
            async move { Ok(parse_fence(&server.call_fail_fast(&key, &acquire, deadline).await?)?) }
        });
        let (mut granted, mut errors) = (Vec::new(), Vec::new());
        for (index, reply) in collect_votes(&mut requests, self.majority(), Option::is_some).await {
            match reply {
                Ok(Some(fence)) => granted.push((index, fence)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        // No request may be sent after a release that follows.
        drop(requests);
        if granted.len() < self.majority() {
            return Err(refusal_error(errors, self.0.len()));
        }
        let fence = self.agree_on_fence(spec, owner, granted).await.ok_or(Error::NoQuorum)?;
        let valid_until = spec.valid_until(begun);
        if valid_until > Instant::now() {
            Ok((fence, valid_until))
        } else {
            Err(Error::NoQuorum)
        }
    }

    /// Raises the fences of the hold until a majority of servers has the same one, and returns it. `granted` pairs the
    /// index of each server that granted the lock with its fence.
    ///
    /// The first try is the largest fence. Servers refuse it if the clock of its server is too far ahead of theirs, and
    /// the next try is the largest fence without it. Any majority will do: it has a server in common with the majority
    /// of the grant before, and the fence of that server is larger than the fence of that grant.
    async fn agree_on_fence(&self, spec: &Spec, owner: &str, mut granted: Vec<(usize, u64)>) -> Option<u64> {
        while granted.len() >= self.majority() {
            let largest = granted.iter().map(|(_, fence)| *fence).max()?;
            let deadline = Instant::now() + reply_timeout(spec);
            let (at_largest, below): (Vec<_>, Vec<_>) = granted.into_iter().partition(|(_, fence)| *fence == largest);
            let servers_below = below.iter().filter_map(|(index, _)| Some((*index, self.0.get(*index)?)));
            let mut raises = send_each(servers_below, move |server| {
                let (key, raise) = (spec.key.clone(), spec.raise(owner, largest));
                async move { server.call_fail_fast(&key, &raise, deadline).await }
            });
            let needed = self.majority().saturating_sub(at_largest.len());
            let replies = collect_votes(&mut raises, needed, is_one).await;
            let is_raised = |index: usize| {
                replies.iter().any(|(server, reply)| *server == index && reply.as_ref().is_ok_and(is_one))
            };
            let (raised, refused): (Vec<_>, Vec<_>) = below.into_iter().partition(|(index, _)| is_raised(*index));
            if at_largest.len() + raised.len() >= self.majority() {
                return Some(largest);
            }
            // The fences of the other servers are too large now to agree on a smaller one.
            granted = refused;
        }
        None
    }

    /// Extends the lease at every server. A majority must still hold the lock with the fence of the grant.
    async fn extend_at_majority(&self, spec: &Spec, grant: &Grant) -> Result<Instant, Error> {
        let begun = Instant::now();
        let deadline = begun + reply_timeout(spec);
        let mut extensions = send_each(self.0.iter().enumerate(), move |server| {
            let key = spec.key.clone();
            let (extend, raise) = (spec.extend(&grant.owner, grant.fence), spec.raise(&grant.owner, grant.fence));
            async move {
                let is_held = is_one(&server.call_fail_fast(&key, &extend, deadline).await?);
                // A server that was late when the others agreed on the fence may still have a smaller one.
                Ok(is_held || is_one(&server.call_fail_fast(&key, &raise, deadline).await?))
            }
        });
        let replies = collect_votes(&mut extensions, self.majority(), |is_held| *is_held).await;
        let held = replies.iter().filter(|(_, reply)| matches!(reply, Ok(true))).count();
        let lost = replies.iter().filter(|(_, reply)| matches!(reply, Ok(false))).count();
        let valid_until = spec.valid_until(begun);
        if lost >= self.majority() {
            Err(Error::NotHeld)
        } else if held >= self.majority() && valid_until > Instant::now() {
            Ok(valid_until)
        } else {
            Err(Error::NoQuorum)
        }
    }

    /// Releases the hold at every server, and reports whether a majority held it. Servers that are late get their
    /// release in the background.
    async fn release_at_all(&self, spec: &Spec, owner: &str) -> Result<Released, Error> {
        let deadline = Instant::now() + reply_timeout(spec);
        let mut releases = send_each(self.0.iter().enumerate(), move |server| {
            let (spec, owner) = (spec.clone(), owner.to_owned());
            async move {
                let released = timeout_at(deadline.into(), server.release(&spec, &owner)).await;
                released.unwrap_or(Err(Error::NoQuorum))
            }
        });
        let votes = collect_votes(&mut releases, self.majority(), |released| *released != Released::NotHeld).await;
        if !releases.is_empty() {
            tokio::spawn(async move { while releases.next().await.is_some() {} });
        }
        let count = |vote| votes.iter().filter(|(_, reply)| matches!(reply, Ok(released) if *released == vote)).count();
        let (held, unsure, not_held) = (count(Released::Held), count(Released::Unsure), count(Released::NotHeld));
        if held >= self.majority() {
            Ok(Released::Held)
        } else if not_held >= self.majority() {
            Ok(Released::NotHeld)
        } else if held + unsure >= self.majority() {
            Ok(Released::Unsure)
        } else {
            Err(Error::NoQuorum)
        }
    }

    /// Returns when any server reports a change of the hold, or a majority never had it.
    async fn watch_all(&self, spec: &Spec, owner: &str) {
        let mut watches: FuturesUnordered<_> = self.0.iter().map(|server| server.watch(spec, owner)).collect();
        let mut without_hold = 0;
        while let Some(event) = watches.next().await {
            match event {
                WatchEvent::Changed => return,
                // A server without the hold will report no change of it.
                WatchEvent::NotHeld => without_hold += 1,
            }
            if without_hold >= self.majority() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Backend for QuorumBackend {
    fn acquire<'a>(
        self: Arc<Self>,
        spec: &'a Spec,
        deadline: Option<Instant>,
        runtime: &'a Handle,
    ) -> BoxFuture<'a, Result<Grant, Error>> {
        self.acquire_at_majority(spec, deadline, runtime).boxed()
    }

    fn extend<'a>(&'a self, spec: &'a Spec, grant: &'a Grant) -> BoxFuture<'a, Result<Instant, Error>> {
        self.extend_at_majority(spec, grant).boxed()
    }

    fn release<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, Result<Released, Error>> {
        self.release_at_all(spec, owner).boxed()
    }

    fn watch<'a>(&'a self, spec: &'a Spec, owner: &'a str) -> BoxFuture<'a, ()> {
        self.watch_all(spec, owner).boxed()
    }
}

/// How long a server may take to answer.
fn reply_timeout(spec: &Spec) -> Duration {
    (spec.lease / 10).clamp(REPLY_TIMEOUT_MIN, REPLY_TIMEOUT_MAX)
}

fn majority(servers: usize) -> usize {
    servers / 2 + 1
}

/// How many shared holders each server may let in, so that at most `limit` of them have a majority. If each of n
/// servers lets in L, there are n L places. Every holder takes a majority m of them, so there are at most n L / m
/// holders.
fn limit_per_server(limit: u32, servers: usize) -> u32 {
    let (limit, n, m) = (u64::from(limit), servers as u64, majority(servers) as u64);
    u32::try_from((m * (limit + 1)).div_ceil(n) - 1).unwrap_or(u32::MAX)
}

/// What the client asks each server for, so that the quorum grants what `spec` asks for.
fn spec_per_server(spec: &Spec, servers: usize) -> Spec {
    let mode = match spec.mode {
        Mode::Counted(limit) => Mode::Counted(limit_per_server(limit, servers)),
        mode @ (Mode::Exclusive | Mode::Shared) => mode,
    };
    Spec { mode, ..spec.clone() }
}

/// Why an attempt found no majority: most servers replied with an error (a key of another type, no permission), too few
/// answered, or other owners hold the lock.
fn refusal_error(errors: Vec<Error>, servers: usize) -> Error {
    let enough_answered = servers - errors.len() >= majority(servers);
    let is_error_reply = |error: &Error| matches!(error, Error::Server(error) if !error.is_io_error());
    let mut error_replies: Vec<Error> = errors.into_iter().filter(is_error_reply).collect();
    match error_replies.pop() {
        Some(error) if error_replies.len() + 1 >= majority(servers) => error,
        Some(_) | None if enough_answered => Error::NotAcquired,
        Some(_) | None => Error::NoQuorum,
    }
}

/// Whether the next attempt would end with this error too. A start quarantine of the servers is over at some time.
fn is_lasting(error: &Error) -> bool {
    matches!(error, Error::Server(error) if error.code() != Some("TRYAGAIN"))
}

/// Commands under way. Each yields the index of its server and the reply.
type PendingReplies<T> = FuturesUnordered<BoxFuture<'static, (usize, Result<T, Error>)>>;

/// Runs `command` for each of these servers, which are given with their indexes.
fn send_each<'a, T, F>(
    servers: impl Iterator<Item = (usize, &'a Arc<Endpoint>)>,
    command: impl Fn(Arc<Endpoint>) -> F,
) -> PendingReplies<T>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    servers.map(|(index, server)| command(Arc::clone(server)).map(move |reply| (index, reply)).boxed()).collect()
}

/// Collects replies until the outcome is known. That is when `needed` servers have agreed and the rest had as much time
/// again, or when `needed` servers have answered and too few can still agree.
async fn collect_votes<T>(
    pending: &mut PendingReplies<T>,
    needed: usize,
    agrees: impl Fn(&T) -> bool,
) -> Vec<(usize, Result<T, Error>)> {
    let begun = Instant::now();
    let mut votes = Vec::new();
    let (mut agreed, mut answered, mut deadline) = (0, 0, None);
    while agreed + pending.len() >= needed || answered < needed {
        if agreed >= needed {
            deadline.get_or_insert_with(|| Instant::now() + begun.elapsed().max(GRACE_MIN));
        }
        let next = match deadline {
            None => pending.next().await,
            Some(deadline) => timeout_at(deadline.into(), pending.next()).await.unwrap_or(None),
        };
        let Some((index, reply)) = next else { break };
        agreed += usize::from(reply.as_ref().is_ok_and(&agrees));
        answered += usize::from(reply.is_ok());
        votes.push((index, reply));
    }
    votes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No more than `limit` owners can have a majority, and one more place at each server would let in more than that.
    #[test]
    fn limits_of_the_servers_keep_the_limit_of_the_quorum() {
        for servers in [3, 5, 7, 9] {
            for limit in (1..100).chain([999_999, 1_000_000]) {
                let most = |each: u32| u64::from(each) * servers as u64 / majority(servers) as u64;
                let each = limit_per_server(limit, servers);
                assert!(each >= 1 && most(each) <= u64::from(limit), "{limit} over {servers}: {each}");
                assert!(most(each + 1) > u64::from(limit), "{limit} over {servers}: {each}");
            }
        }
        assert_eq!([2, 3, 10].map(|limit| limit_per_server(limit, 3)), [1, 2, 7]);
    }
}
