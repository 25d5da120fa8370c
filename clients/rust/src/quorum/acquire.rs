//! How a majority is won.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout_at, Instant};

use super::members::{reply_timeout, spec_per_server, Members};
use super::votes::{collect, is_lasting, refusal_error, send_each};
use crate::backend::{Grant, Held, Wanted};
use crate::backoff::Backoff;
use crate::claim::Claim;
use crate::clock::Moment;
use crate::error::Error;
use crate::net::endpoint::{Effort, Patience};
use crate::reply::{is_one, parse_fences};
use crate::spec::Spec;
use crate::sync::lock;

/// How long a request waits in the queue of the gate before it looks whether the gate still makes sense.
const GATE_WAIT: Duration = Duration::from_secs(1);
/// For how long a server that did not answer is no gate.
const PASSED_OVER: Duration = Duration::from_secs(5);
/// How often a request that the gate let in asks the other servers before it starts anew.
const ATTEMPTS: u32 = 6;
/// The longest pause between two of these attempts.
const ATTEMPT_PAUSE_MAX: Duration = Duration::from_millis(40);
/// The longest pause before a request starts anew.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A request under one owner name.
struct Candidacy<'a> {
    members: &'a Members,
    spec: &'a Spec,
    owner: String,
    /// One for each server.
    claims: Vec<Arc<Claim>>,
}

/// What the gate said.
enum Gate {
    /// This request is the first.
    Open,
    /// Others hold the lock there, or no server could be the gate.
    Closed,
}

/// Acquires the lock at a majority of the servers.
pub(super) async fn acquire(members: Arc<Members>, wanted: Wanted) -> Result<Grant, Error> {
    let spec = spec_per_server(&wanted.spec, members.servers.len());
    let deadline = match wanted.patience {
        Patience::None => Some(Instant::now()),
        Patience::Until(deadline) => Some(deadline),
        Patience::Endless => None,
    };
    let mut owner = wanted.owner.clone();
    let mut backoff = Backoff::up_to(PAUSE_MAX);
    loop {
        let candidacy = Candidacy::new(&members, &spec, owner, &wanted);
        let error = match candidacy.run(deadline).await {
            Ok((fence, valid_until)) => {
                let held = Held { spec: spec.clone(), owner: candidacy.owner.clone(), fences: vec![fence] };
                return Ok(Grant { held, valid_until, claims: candidacy.claims, session: None });
            }
            Err(error) => error,
        };
        // Release before anybody tries again, which includes the next candidacy of this request.
        candidacy.withdraw().await;
        let pause = backoff.pause(&members.core.chance);
        let is_late = deadline.is_some_and(|deadline| Instant::now() + pause >= deadline);
        if is_late || is_lasting(&error) {
            return Err(error);
        }
        sleep(pause).await;
        owner = members.core.identity.new_owner(&members.core.chance);
    }
}

impl<'a> Candidacy<'a> {
    fn new(members: &'a Members, spec: &'a Spec, owner: String, wanted: &Wanted) -> Candidacy<'a> {
        let (runtime, turn) = (&wanted.runtime, &wanted.turn);
        let claim = |server| Arc::new(Claim::new(server, spec, &owner, runtime, turn.clone()));
        Candidacy { claims: members.servers.iter().map(claim).collect(), members, spec, owner }
    }

    /// Returns the fence, and the moment up to which the hold is surely valid.
    async fn run(&self, deadline: Option<Instant>) -> Result<(u64, Moment), Error> {
        let attempts = match self.pass_gate(deadline).await {
            Gate::Open => ATTEMPTS,
            // Perhaps only the gate is not free, for example because its last holder died before it had a majority.
            Gate::Closed => 1,
        };
        let mut backoff = Backoff::up_to(ATTEMPT_PAUSE_MAX);
        let mut attempt = 1;
        loop {
            let error = match self.attempt().await {
                Ok(won) => return Ok(won),
                Err(error) => error,
            };
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if attempt >= attempts || is_late || is_lasting(&error) {
                return Err(error);
            }
            attempt += 1;
            sleep(backoff.pause(&self.members.core.chance)).await;
        }
    }

    /// Asks the gate for the lock, and waits in its queue if others hold it.
    async fn pass_gate(&self, deadline: Option<Instant>) -> Gate {
        let count = self.claims.len();
        let first = self.members.gate_of(self.spec.key());
        for index in (first..first + count).map(|index| index % count) {
            let Some(claim) = self.claims.get(index) else { continue };
            if lock(&self.members.passed_over).get(index).copied().flatten().is_some_and(|end| end > Instant::now()) {
                continue;
            }
            let now = Instant::now();
            let end = deadline.map_or(now + GATE_WAIT, |deadline| deadline.min(now + GATE_WAIT));
            let (patience, limit) = if end > now {
                (Patience::Until(end), end)
            } else {
                (Patience::None, now + reply_timeout(self.spec.lease))
            };
            let answer = claim.endpoint().acquire(&**claim, patience, Some(limit), Effort::Once).await;
            match answer.and_then(|answer| Ok((parse_fences(&answer.value)?, answer.own))) {
                Ok((fences, own)) => {
                    if let Some(own) = own {
                        own.park();
                    }
                    if fences.is_none() {
                        return Gate::Closed;
                    }
                    claim.granted();
                    return Gate::Open;
                }
                Err(error) if error.server_error().is_some() => {}
                Err(_) => {
                    if let Some(end) = lock(&self.members.passed_over).get_mut(index) {
                        *end = Some(Instant::now() + PASSED_OVER);
                    }
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
        }
        Gate::Closed
    }

    /// Asks every server once.
    async fn attempt(&self) -> Result<(u64, Moment), Error> {
        let begun = self.members.core.clock.now();
        let deadline = Instant::now() + reply_timeout(self.spec.lease);
        let claims = self.claims.iter().map(Arc::clone).enumerate();
        let mut requests = send_each(claims, |_, claim| async move {
            let answer = claim.endpoint().acquire(&*claim, Patience::None, Some(deadline), Effort::Once).await?;
            let fence = parse_fences(&answer.value)?.and_then(|fences| fences.first().copied());
            if fence.is_some() {
                claim.granted();
            }
            Ok(fence)
        });
        let (mut granted, mut errors) = (Vec::new(), Vec::new());
        for (index, reply) in collect(&mut requests, self.members.majority(), Option::is_some).await {
            match reply {
                Ok(Some(fence)) => granted.push((index, fence)),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        // No request may be sent after a release that follows.
        drop(requests);
        if granted.len() < self.members.majority() {
            return Err(refusal_error(errors, self.claims.len()));
        }
        let fence = self.agree_on_fence(granted).await.ok_or(Error::NoQuorum)?;
        let valid_until = Spec::valid_until(self.spec.lease, begun);
        if valid_until > self.members.core.clock.now() {
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
    async fn agree_on_fence(&self, mut granted: Vec<(usize, u64)>) -> Option<u64> {
        let majority = self.members.majority();
        while granted.len() >= majority {
            let largest = granted.iter().map(|(_, fence)| *fence).max()?;
            let deadline = Instant::now() + reply_timeout(self.spec.lease);
            let (at_largest, below): (Vec<_>, Vec<_>) = granted.into_iter().partition(|(_, fence)| *fence == largest);
            let servers_below =
                below.iter().filter_map(|(index, _)| Some((*index, Arc::clone(self.members.servers.get(*index)?))));
            let mut raises = send_each(servers_below, |_, server| {
                let key = self.spec.key().to_vec();
                let raise = self.spec.raise(&self.owner, largest, self.spec.lease);
                async move { Ok(server.call(&key, &raise, deadline, Effort::Once).await?.value) }
            });
            let needed = majority.saturating_sub(at_largest.len());
            let replies = collect(&mut raises, needed, is_one).await;
            let is_raised = |index: usize| {
                replies.iter().any(|(server, reply)| *server == index && reply.as_ref().is_ok_and(is_one))
            };
            let (raised, refused): (Vec<_>, Vec<_>) = below.into_iter().partition(|(index, _)| is_raised(*index));
            if at_largest.len() + raised.len() >= majority {
                return Some(largest);
            }
            // The fences of the other servers are too large now to agree on a smaller one.
            granted = refused;
        }
        None
    }

    /// Releases what was granted. What cannot be released in time is released in the background.
    async fn withdraw(self) {
        let deadline = Instant::now() + reply_timeout(self.spec.lease);
        let cmd = self.spec.release(&self.owner);
        let releases = self.claims.iter().filter(|claim| claim.is_held()).map(|claim| async {
            let released = claim.endpoint().release(self.spec, &cmd, deadline);
            if let Ok(Ok(_)) = timeout_at(deadline, released).await {
                claim.released();
            }
        });
        join_all(releases).await;
    }
}
