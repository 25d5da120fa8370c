//! One place or many: how a hold is got, kept and given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::node::Node;
use crate::quorum;
use crate::request::Asked;

/// How long an answer may take that no wait holds up.
const ANSWER: Duration = Duration::from_secs(2);

/// Where a lock is.
pub(crate) enum Back {
    /// A server, the primary that Sentinels name, a cluster.
    One(Box<Node>),
    /// Independent servers.
    Many(Vec<Node>),
}

/// A hold that began.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub owner: String,
    pub fence: u64,
    /// Until when it surely lasts, by this process's clock: reckoned from before it was asked for.
    pub until: Instant,
}

/// A name nobody else has: 128 random bits in hexadecimal digits.
pub(crate) fn new_owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Back {
    /// Gets the lock, waiting up to so long.
    pub async fn acquire(back: &Arc<Back>, asked: &Asked, within: Duration) -> Result<Grant, Error> {
        match &**back {
            Back::Many(nodes) => quorum::acquire(back, nodes, asked, within).await,
            Back::One(node) => {
                let owner = new_owner();
                let withdrawal = Withdrawal::new(back, asked, &owner);
                let until = Instant::now() + within;
                // Sent again with the same owner, whatever became of the request before.
                let (fence, sent) = node.acquire(asked, &owner, until).await?;
                withdrawal.settle();
                let fence = fence.ok_or(Error::NotAcquired)?;
                Ok(Grant { owner, fence, until: sent + asked.lease })
            }
        }
    }

    /// Sets the lease anew: until when the hold surely lasts.
    pub async fn extend(&self, asked: &Asked, grant: &Grant) -> Result<Instant, Error> {
        match self {
            Back::Many(nodes) => quorum::extend(nodes, asked, grant).await,
            Back::One(node) => {
                let sent = Instant::now();
                let until = grant.until.min(sent + ANSWER);
                let is_held = node.call(&asked.key, &asked.extend(&grant.owner, grant.fence), until).await?;
                if yes(&is_held) {
                    Ok(sent + asked.lease)
                } else {
                    Err(Error::NotHeld)
                }
            }
        }
    }

    /// Gives the hold back, and withdraws what its owner still waits for: whether it was held.
    pub async fn release(&self, asked: &Asked, owner: &str) -> Result<bool, Error> {
        match self {
            Back::Many(nodes) => quorum::release(nodes, asked, owner).await,
            Back::One(node) => {
                let answer = node.call(&asked.key, &asked.release(owner), Instant::now() + ANSWER).await?;
                Ok(yes(&answer))
            }
        }
    }

    /// The same, in the background, as well as it can be done.
    pub fn release_later(self: &Arc<Back>, asked: Asked, owner: String) {
        // Without a runtime nothing can be sent; the lease ends the hold then.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let back = Arc::clone(self);
            runtime.spawn(async move {
                let _ = back.release(&asked, &owner).await;
            });
        }
    }
}

/// The answer 1.
pub(crate) fn yes(answer: &redis::Value) -> bool {
    *answer == redis::Value::Int(1)
}

/// A request under way: if its future is dropped, or fails, what it may have got is given back.
pub(crate) struct Withdrawal(Option<(Arc<Back>, Asked, String)>);

impl Withdrawal {
    pub fn new(back: &Arc<Back>, asked: &Asked, owner: &str) -> Withdrawal {
        Withdrawal(Some((Arc::clone(back), asked.clone(), owner.to_owned())))
    }

    /// It became a hold, or was given back already.
    pub fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some((back, asked, owner)) = self.0.take() {
            back.release_later(asked, owner);
        }
    }
}
