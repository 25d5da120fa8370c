//! Asking several servers at once, without waiting for those that are slow or dead.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout_at;

use crate::error::Error;

/// How long the other servers have at least once a majority has agreed.
const GRACE_MIN: Duration = Duration::from_millis(20);

/// Commands under way. Each yields the index of its server and the reply.
pub(crate) type Pending<T> = FuturesUnordered<BoxFuture<'static, (usize, Result<T, Error>)>>;

/// Runs `command` for each of these servers, which are given with their indexes.
pub(crate) fn send_each<S, T, F>(
    servers: impl Iterator<Item = (usize, S)>,
    command: impl Fn(usize, S) -> F,
) -> Pending<T>
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    servers.map(|(index, server)| command(index, server).map(move |reply| (index, reply)).boxed()).collect()
}

/// Collects replies until the outcome is known. That is when `needed` servers have agreed and the rest had as much time
/// again, or when `needed` servers have answered and too few can still agree.
pub(crate) async fn collect<T>(
    pending: &mut Pending<T>,
    needed: usize,
    agrees: impl Fn(&T) -> bool,
) -> Vec<(usize, Result<T, Error>)> {
    let begun = Instant::now();
    let mut votes = Vec::new();
    let (mut agreed, mut answered, mut deadline) = (0, 0, None);
    while agreed + pending.len() >= needed || answered < needed {
        if agreed >= needed {
            deadline.get_or_insert_with(|| tokio::time::Instant::now() + begun.elapsed().max(GRACE_MIN));
        }
        let next = match deadline {
            None => pending.next().await,
            Some(deadline) => timeout_at(deadline, pending.next()).await.unwrap_or(None),
        };
        let Some((index, reply)) = next else { break };
        agreed += usize::from(reply.as_ref().is_ok_and(&agrees));
        answered += usize::from(reply.is_ok());
        votes.push((index, reply));
    }
    votes
}

/// How many of so many servers are a majority.
pub(crate) fn majority(servers: usize) -> usize {
    servers / 2 + 1
}

/// How many shared holders each server may let in, so that at most `limit` of them have a majority. If each of n
/// servers lets in L, there are n L places. Every holder takes a majority m of them, so there are at most n L / m
/// holders.
pub(crate) fn limit_per_server(limit: u32, servers: usize) -> u32 {
    let (limit, n, m) = (u64::from(limit), servers as u64, majority(servers) as u64);
    u32::try_from((m * (limit + 1)).div_ceil(n) - 1).unwrap_or(u32::MAX)
}

/// Why an attempt found no majority: most servers replied with an error (a key of another type, no permission), too few
/// answered, or other owners hold the lock.
pub(crate) fn refusal_error(errors: Vec<Error>, servers: usize) -> Error {
    let enough_answered = servers.saturating_sub(errors.len()) >= majority(servers);
    let mut replies: Vec<Error> = errors.into_iter().filter(|error| error.server_error().is_some()).collect();
    match replies.pop() {
        Some(error) if replies.len() + 1 >= majority(servers) => error,
        Some(_) | None if enough_answered => Error::NotAcquired,
        Some(_) | None => Error::NoQuorum,
    }
}

/// Whether the next attempt would end with this error too. A start quarantine of the servers is over at some time.
pub(crate) fn is_lasting(error: &Error) -> bool {
    error.server_error().is_some_and(|error| !matches!(error.code(), "TRYAGAIN" | "LOADING" | "BUSY"))
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
