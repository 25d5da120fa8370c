//! Redlock with fences: a lock that most of n independent servers agree on.
//!
//! 1. All are asked for the lock under one fresh owner. Without a majority all is given back, and tried again after a while
//!    that chance decides, so that two who split the votes do not split them again.
//! 2. The largest fence got is raised at all others; a majority must stand at it ([`agree`]). Every later majority shares a
//!    server with this one, whose next fence is larger: so fences rise from grant to grant.
//! 3. What is left of the lease since before step 1, less a share for clocks that run apart, must be more than nothing.
//!
//! A server that is slow, or gone, holds nobody up: once a majority has said yes, the others get as long again ([`count`]).

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout_at;

use crate::back::{new_owner, release as release_at, valid_until, yes, Back, Grant, Released, Withdrawal};
use crate::error::Error;
use crate::node::{fence, Line, Node, Seen};
use crate::request::{Asked, Mode};

/// The pause before the next attempt is a random time up to this.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// How long a server may take to answer: a tenth of the lease, within these bounds.
const ANSWER_MIN: Duration = Duration::from_millis(20);
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// How long the others get at least when a majority has said yes.
const GRACE_MIN: Duration = Duration::from_millis(20);

fn answer_within(asked: &Asked) -> Duration {
    (asked.lease / 10).clamp(ANSWER_MIN, ANSWER_MAX)
}

fn majority(of: usize) -> usize {
    of / 2 + 1
}

/// How many shared holders each server may let in so that no more than `limit` have a majority. As long as n servers let in
/// L each, there are n L places, and every holder takes a majority m of them: at most n L / m holders.
fn limit_of_each(limit: u32, servers: usize) -> u32 {
    let (limit, n, m) = (u64::from(limit), servers as u64, majority(servers) as u64);
    u32::try_from((m * (limit + 1)).div_ceil(n) - 1).unwrap_or(u32::MAX)
}

/// What each server is asked for.
fn asked_of_each(asked: &Asked, servers: usize) -> Asked {
    let mode = match asked.mode {
        Mode::Counted(limit) => Mode::Counted(limit_of_each(limit, servers)),
        mode @ (Mode::Exclusive | Mode::Shared) => mode,
    };
    Asked { mode, ..asked.clone() }
}

/// Gets the lock, trying again until then.
pub(crate) async fn acquire(
    back: &Arc<Back>,
    nodes: &[Arc<Node>],
    asked: &Asked,
    until: Option<Instant>,
    runtime: &Handle,
) -> Result<Grant, Error> {
    let asked = asked_of_each(asked, nodes.len());
    loop {
        let owner = new_owner();
        let withdrawal = Withdrawal::new(back, &asked, &owner, Line::default(), runtime);
        let error = match attempt(nodes, &asked, &owner).await {
            Ok((fence, until)) => {
                withdrawal.settle();
                return Ok(Grant { owner, fence, until });
            }
            Err(error) => error,
        };
        // Before anybody tries again, the next attempt of this one among them.
        let _ = release(nodes, &asked, &owner).await;
        withdrawal.settle();
        let pause = PAUSE_MAX.mul_f64(rand::random());
        let is_over = until.is_some_and(|until| Instant::now() + pause >= until);
        if is_over || matches!(error, Error::Server(_)) {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Asks everybody once: the fence, and until when it is surely held.
async fn attempt(nodes: &[Arc<Node>], asked: &Asked, owner: &str) -> Result<(u64, Instant), Error> {
    let begun = Instant::now();
    let limit = begun + answer_within(asked);
    let most = majority(nodes.len());
    let mut asks = ask(nodes.iter().enumerate(), move |node| {
        let (key, acquire) = (asked.key.clone(), asked.acquire(owner, None));
        async move { Ok(fence(&node.vote(&key, &acquire, limit).await?)?) }
    });
    let (mut granted, mut errors) = (Vec::new(), Vec::new());
    for (node, answer) in count(&mut asks, most, Option::is_some).await {
        match answer {
            Ok(Some(fence)) => granted.push((node, fence)),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    // No more requests come after the releases that may follow.
    drop(asks);
    if granted.len() < most {
        return Err(refusal(errors, nodes.len()));
    }
    let fence = agree(nodes, asked, owner, granted).await.ok_or(Error::NoQuorum)?;
    let until = valid_until(begun, asked);
    if until > Instant::now() {
        Ok((fence, until))
    } else {
        Err(Error::NoQuorum)
    }
}

/// Why there was no majority: most said the same error (a key of another type, no right), too few answered, or others have it.
fn refusal(errors: Vec<Error>, servers: usize) -> Error {
    let can_have_most = servers - errors.len() >= majority(servers);
    let said = |error: &Error| matches!(error, Error::Server(error) if !error.is_io_error());
    let mut said: Vec<Error> = errors.into_iter().filter(said).collect();
    match said.pop() {
        Some(error) if said.len() + 1 >= majority(servers) => error,
        Some(_) | None if can_have_most => Error::NotAcquired,
        Some(_) | None => Error::NoQuorum,
    }
}

/// Brings most servers to one fence: the largest that was given, or if others refuse to follow it (its server's clock is too
/// far ahead of theirs) the largest without that. Every majority will do: it shares a server with the one before, which
/// gave a larger fence than it stood at then.
async fn agree(nodes: &[Arc<Node>], asked: &Asked, owner: &str, mut granted: Vec<(usize, u64)>) -> Option<u64> {
    let most = majority(nodes.len());
    while granted.len() >= most {
        let largest = granted.iter().map(|(_, fence)| *fence).max()?;
        let limit = Instant::now() + answer_within(asked);
        let (there, lower): (Vec<_>, Vec<_>) = granted.into_iter().partition(|(_, fence)| *fence == largest);
        let below = lower.iter().filter_map(|(at, _)| Some((*at, nodes.get(*at)?)));
        let mut raises = ask(below, move |node| {
            let (key, raise) = (asked.key.clone(), asked.raise(owner, largest));
            async move { node.vote(&key, &raise, limit).await }
        });
        let answers = count(&mut raises, most.saturating_sub(there.len()), yes).await;
        let raised = |at: usize| answers.iter().any(|(node, answer)| *node == at && answer.as_ref().is_ok_and(yes));
        let (follow, refuse): (Vec<_>, Vec<_>) = lower.into_iter().partition(|(at, _)| raised(*at));
        if there.len() + follow.len() >= most {
            return Some(largest);
        }
        // Who stands there now stands too high for a smaller one.
        granted = refuse;
    }
    None
}

/// Sets the lease anew at all; most must still stand at the quorum's fence.
pub(crate) async fn extend(nodes: &[Arc<Node>], asked: &Asked, grant: &Grant) -> Result<Instant, Error> {
    let begun = Instant::now();
    let limit = begun + answer_within(asked);
    let most = majority(nodes.len());
    let mut extensions = ask(nodes.iter().enumerate(), move |node| {
        let key = asked.key.clone();
        let (extend, raise) = (asked.extend(&grant.owner, grant.fence), asked.raise(&grant.owner, grant.fence));
        async move {
            let held = yes(&node.vote(&key, &extend, limit).await?);
            // One that was late when the fence was agreed on follows now.
            Ok(held || yes(&node.vote(&key, &raise, limit).await?))
        }
    });
    let answers = count(&mut extensions, most, |held| *held).await;
    let held = answers.iter().filter(|(_, answer)| matches!(answer, Ok(true))).count();
    let lost = answers.iter().filter(|(_, answer)| matches!(answer, Ok(false))).count();
    let until = valid_until(begun, asked);
    if lost >= most {
        Err(Error::NotHeld)
    } else if held >= most && until > Instant::now() {
        Ok(until)
    } else {
        Err(Error::NoQuorum)
    }
}

/// Gives it back at all: whether most held it. Those that are late are seen to in the background.
pub(crate) async fn release(nodes: &[Arc<Node>], asked: &Asked, owner: &str) -> Result<Released, Error> {
    let most = majority(nodes.len());
    let limit = Instant::now() + answer_within(asked);
    let mut releases = ask(nodes.iter().enumerate(), move |node| {
        let (asked, owner) = (asked.clone(), owner.to_owned());
        async move {
            let released = timeout_at(limit.into(), release_at(&node, &asked, &owner)).await;
            released.unwrap_or(Err(Error::NoQuorum))
        }
    });
    let answers = count(&mut releases, most, |released| *released != Released::NotHeld).await;
    if !releases.is_empty() {
        tokio::spawn(async move { while releases.next().await.is_some() {} });
    }
    let told = |what| answers.iter().filter(|(_, answer)| matches!(answer, Ok(released) if *released == what)).count();
    let (held, unsure, not_held) = (told(Released::Held), told(Released::Unsure), told(Released::NotHeld));
    if held >= most {
        Ok(Released::Held)
    } else if not_held >= most {
        Ok(Released::NotHeld)
    } else if held + unsure >= most {
        Ok(Released::Unsure)
    } else {
        Err(Error::NoQuorum)
    }
}

/// Returns when a server says that its hold may have ended; never if none can be asked.
pub(crate) async fn watch(nodes: &[Arc<Node>], asked: &Asked, owner: &str) {
    let mut watches: FuturesUnordered<_> = nodes.iter().map(|node| node.watch(asked, owner)).collect();
    let mut gone = 0;
    while let Some(seen) = watches.next().await {
        match seen {
            Seen::Changed => return,
            // One that has no hold will hear of none.
            Seen::Gone => gone += 1,
        }
        if gone >= majority(nodes.len()) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// Questions under way, each to the server with that number.
type Asks<T> = FuturesUnordered<BoxFuture<'static, (usize, Result<T, Error>)>>;

/// A question to each of these servers.
fn ask<'a, T, F>(nodes: impl Iterator<Item = (usize, &'a Arc<Node>)>, ask: impl Fn(Arc<Node>) -> F) -> Asks<T>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    nodes.map(|(at, node)| ask(Arc::clone(node)).map(move |answer| (at, answer)).boxed()).collect()
}

/// The answers, until so many have said yes and the others had as long again, or so many have answered and cannot all say yes.
async fn count<T>(asks: &mut Asks<T>, most: usize, is_yes: impl Fn(&T) -> bool) -> Vec<(usize, Result<T, Error>)> {
    let begun = Instant::now();
    let mut answers = Vec::new();
    let (mut agreed, mut answered, mut end) = (0, 0, None);
    while agreed + asks.len() >= most || answered < most {
        if agreed >= most {
            end.get_or_insert_with(|| Instant::now() + begun.elapsed().max(GRACE_MIN));
        }
        let next = match end {
            None => asks.next().await,
            Some(end) => timeout_at(tokio::time::Instant::from_std(end), asks.next()).await.unwrap_or(None),
        };
        let Some((at, answer)) = next else { break };
        agreed += usize::from(answer.as_ref().is_ok_and(&is_yes));
        answered += usize::from(answer.is_ok());
        answers.push((at, answer));
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No more than `limit` can have a majority, and one more at each server would let in more than that.
    #[test]
    fn limits_of_servers_keep_the_limit_of_the_quorum() {
        for servers in [3, 5, 7, 9] {
            for limit in (1..100).chain([999_999, 1_000_000]) {
                let most = |each: u32| u64::from(each) * servers as u64 / majority(servers) as u64;
                let each = limit_of_each(limit, servers);
                assert!(each >= 1 && most(each) <= u64::from(limit), "{limit} over {servers}: {each}");
                assert!(most(each + 1) > u64::from(limit), "{limit} over {servers}: {each}");
            }
        }
        assert_eq!([2, 3, 10].map(|limit| limit_of_each(limit, 3)), [1, 2, 7]);
    }
}
