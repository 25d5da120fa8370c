//! Redlock with fences: a lock that most of n independent servers agree on.
//!
//! 1. All are asked for the lock under one fresh owner. Without a majority all is given back, and tried again after a while
//!    that chance decides, so that two who split the votes do not split them again.
//! 2. The largest fence got is raised at all others; a majority must stand at it ([`agree`]). Every later majority shares a
//!    server with this one, whose next fence is larger: so fences rise from grant to grant.
//! 3. What is left of the lease since before step 1, less a share for clocks that run apart, must be more than nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::Value;

use crate::back::{new_owner, yes, Back, Grant, Withdrawal};
use crate::error::Error;
use crate::node::Node;
use crate::request::Asked;

/// The pause before the next attempt is a random time up to this.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How long a server may take to answer: a tenth of the lease, within these bounds.
const ANSWER_MIN: Duration = Duration::from_millis(20);
const ANSWER_MAX: Duration = Duration::from_millis(500);

fn answer_within(asked: &Asked) -> Duration {
    (asked.lease / 10).clamp(ANSWER_MIN, ANSWER_MAX)
}

/// How much of a lease clocks may differ by while it lasts: a hundredth, and 2 ms.
fn drift(asked: &Asked) -> Duration {
    asked.lease / 100 + Duration::from_millis(2)
}

fn majority(nodes: &[Node]) -> usize {
    nodes.len() / 2 + 1
}

/// Gets the lock, trying again for so long.
pub(crate) async fn acquire(back: &Arc<Back>, nodes: &[Node], asked: &Asked, within: Duration) -> Result<Grant, Error> {
    let end = Instant::now() + within;
    loop {
        let owner = new_owner();
        let withdrawal = Withdrawal::new(back, asked, &owner);
        let error = match attempt(nodes, asked, &owner).await {
            Ok((fence, until)) => {
                withdrawal.settle();
                return Ok(Grant { owner, fence, until });
            }
            Err(error) => error,
        };
        // Before anybody tries again, the next attempt of this one among them.
        let _ = release(nodes, asked, &owner).await;
        withdrawal.settle();
        let pause = PAUSE_MAX.mul_f64(rand::random());
        if Instant::now() + pause >= end {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Asks everybody once: the fence, and until when it is surely held.
async fn attempt(nodes: &[Node], asked: &Asked, owner: &str) -> Result<(u64, Instant), Error> {
    let begun = Instant::now();
    let limit = begun + answer_within(asked);
    let ask = asked.acquire(owner, None);
    let answers = join_all(nodes.iter().map(|node| node.call(&asked.key, &ask, limit))).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    let granted: Vec<(&Node, u64)> = nodes
        .iter()
        .zip(&answers)
        .filter_map(|(node, answer)| match answer {
            Ok(Value::Int(fence)) => Some((node, fence.unsigned_abs())),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if granted.len() < majority(nodes) {
        return Err(if answered < majority(nodes) { Error::NoQuorum } else { Error::NotAcquired });
    }
    let fence = agree(nodes, asked, owner, granted).await.ok_or(Error::NoQuorum)?;
    valid_until(begun, asked).map(|until| (fence, until))
}

/// Brings most servers to one fence: the largest that was given, or if others refuse to follow it (its server's clock is too
/// far ahead of theirs) the largest without that. Every majority will do: it shares a server with the one before, which
/// gave a larger fence than it stood at then.
async fn agree(nodes: &[Node], asked: &Asked, owner: &str, mut granted: Vec<(&Node, u64)>) -> Option<u64> {
    while granted.len() >= majority(nodes) {
        let largest = granted.iter().map(|(_, fence)| *fence).max()?;
        let raise = asked.raise(owner, largest);
        let limit = Instant::now() + answer_within(asked);
        let stands =
            join_all(granted.iter().map(|(node, fence)| {
                let raise = &raise;
                async move {
                    *fence == largest || node.call(&asked.key, raise, limit).await.is_ok_and(|answer| yes(&answer))
                }
            }))
            .await;
        if stands.iter().filter(|stands| **stands).count() >= majority(nodes) {
            return Some(largest);
        }
        // Who stands there now stands too high for a smaller one.
        granted = granted.into_iter().zip(stands).filter_map(|(one, stands)| (!stands).then_some(one)).collect();
    }
    None
}

/// Sets the lease anew at all; most must still stand at the quorum's fence.
pub(crate) async fn extend(nodes: &[Node], asked: &Asked, grant: &Grant) -> Result<Instant, Error> {
    let begun = Instant::now();
    let limit = begun + answer_within(asked);
    let extend = asked.extend(&grant.owner, grant.fence);
    let answers = join_all(nodes.iter().map(|node| node.call(&asked.key, &extend, limit))).await;
    let held = answers.iter().filter(|answer| matches!(answer, Ok(answer) if yes(answer))).count();
    let lost = answers.iter().filter(|answer| matches!(answer, Ok(answer) if !yes(answer))).count();
    if held >= majority(nodes) {
        valid_until(begun, asked)
    } else if lost >= majority(nodes) {
        Err(Error::NotHeld)
    } else {
        Err(Error::NoQuorum)
    }
}

/// Gives it back at all: whether most held it.
pub(crate) async fn release(nodes: &[Node], asked: &Asked, owner: &str) -> Result<bool, Error> {
    let limit = Instant::now() + answer_within(asked);
    let release = asked.release(owner);
    let answers = join_all(nodes.iter().map(|node| node.call(&asked.key, &release, limit))).await;
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    if answered < majority(nodes) {
        return Err(Error::NoQuorum);
    }
    let held = answers.iter().filter(|answer| matches!(answer, Ok(answer) if yes(answer))).count();
    Ok(held >= majority(nodes))
}

/// Until when a lease that was asked for then surely lasts.
fn valid_until(begun: Instant, asked: &Asked) -> Result<Instant, Error> {
    let until = begun + asked.lease.saturating_sub(drift(asked));
    if until > Instant::now() {
        Ok(until)
    } else {
        Err(Error::NotAcquired)
    }
}
