//! One place or many: how a hold is got, kept and given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::Value;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::node::{fence, locked, Line, Node, Seen};
use crate::quorum;
use crate::request::Asked;

/// How long an answer may take that no wait holds up, and how much later than asked for the end of a wait may be told.
pub(crate) const ANSWER: Duration = Duration::from_secs(2);
/// A renewal that is not answered is given up after a quarter of the lease, so that there is time for others. At least this.
const RENEWAL_MIN: Duration = Duration::from_millis(50);
/// How long one tries to withdraw a request that may still be under way.
const WITHDRAWAL: Duration = Duration::from_secs(10);
/// The pause between two tries of it.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a lock is.
pub(crate) enum Back {
    /// A server, the primary that Sentinels name, a cluster.
    One(Box<Node>),
    /// Independent servers.
    Many(Vec<Arc<Node>>),
}

/// A hold that began.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub owner: String,
    pub fence: u64,
    /// Until when it surely lasts, by this process's clock.
    pub until: Instant,
}

/// What was answered to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    Held,
    NotHeld,
    /// An answer was lost, and the next one was that it is not held: by then.
    Unsure,
}

/// A name nobody else has: 128 random bits in hexadecimal digits.
pub(crate) fn new_owner() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl Back {
    /// Gets the lock, waiting until then.
    pub async fn acquire(
        back: &Arc<Back>,
        asked: &Asked,
        until: Option<Instant>,
        runtime: &Handle,
    ) -> Result<Grant, Error> {
        match &**back {
            Back::Many(nodes) => quorum::acquire(back, nodes, asked, until, runtime).await,
            Back::One(node) => {
                let owner = new_owner();
                let line = Line::default();
                let withdrawal = Withdrawal::new(back, asked, &owner, Arc::clone(&line), runtime);
                // Sent again with the same owner, whatever became of the request before.
                let (answer, sent) = node.acquire(asked, &owner, until, &line).await?;
                let Some(fence) = fence(&answer.value)? else {
                    // One before this may stand in the line still, on a connection that the server thinks is alive.
                    if !answer.is_repeated {
                        withdrawal.settle();
                    }
                    return Err(Error::NotAcquired);
                };
                withdrawal.settle();
                Ok(Grant { owner, fence, until: valid_until(sent, asked) })
            }
        }
    }

    /// Sets the lease anew: until when the hold surely lasts.
    pub async fn extend(&self, asked: &Asked, grant: &Grant) -> Result<Instant, Error> {
        match self {
            Back::Many(nodes) => quorum::extend(nodes, asked, grant).await,
            Back::One(node) => {
                let sent = Instant::now();
                let limit = sent + (asked.lease / 4).clamp(RENEWAL_MIN, ANSWER);
                let extend = asked.extend(&grant.owner, grant.fence);
                if yes(&node.call(&asked.key, &extend, grant.until.min(limit)).await?) {
                    Ok(valid_until(sent, asked))
                } else {
                    Err(Error::NotHeld)
                }
            }
        }
    }

    /// Gives the hold back, and withdraws what its owner still waits for.
    pub async fn release(&self, asked: &Asked, owner: &str) -> Result<Released, Error> {
        match self {
            Back::Many(nodes) => quorum::release(nodes, asked, owner).await,
            Back::One(node) => release(node, asked, owner).await,
        }
    }

    /// Returns when a server says that the hold may have ended; never if none can be asked.
    pub async fn watch(&self, asked: &Asked, owner: &str) {
        match self {
            Back::Many(nodes) => quorum::watch(nodes, asked, owner).await,
            Back::One(node) => match node.watch(asked, owner).await {
                Seen::Gone | Seen::Changed => {}
            },
        }
    }

    /// Gives back what a request has got or may get, as well as it can be done.
    async fn withdraw(&self, asked: Asked, owner: String, own: Option<MultiplexedConnection>) {
        // Whoever waits is answered by this.
        let _ = self.release(&asked, &owner).await;
        let Some(mut own) = own else { return };
        // The request may come later than this release, which went another way. Behind it on its own connection nothing comes
        // too early; but as long as it waits that is not answered.
        let release = asked.release(&owner);
        let again = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                let _ = self.release(&asked, &owner).await;
            }
        };
        tokio::select! {
            _ = release.query_async::<Value>(&mut own) => {}
            () = again => {}
            () = tokio::time::sleep(WITHDRAWAL) => {}
        }
    }
}

/// Gives back what one place holds.
pub(crate) async fn release(node: &Node, asked: &Asked, owner: &str) -> Result<Released, Error> {
    let answer = node.release(asked, owner).await?;
    Ok(match (yes(&answer.value), answer.is_repeated) {
        (true, _) => Released::Held,
        (false, false) => Released::NotHeld,
        (false, true) => Released::Unsure,
    })
}

/// The answer 1.
pub(crate) fn yes(answer: &Value) -> bool {
    *answer == Value::Int(1)
}

/// Until when a lease that was asked for then surely lasts: less a hundredth and 2 ms, by which clocks may run apart.
pub(crate) fn valid_until(asked_at: Instant, asked: &Asked) -> Instant {
    let drift = asked.lease / 100 + Duration::from_millis(2);
    asked_at + asked.lease.saturating_sub(drift)
}

/// Something to be given back: a request under way whose future is dropped or fails, a hold whose guard is dropped.
pub(crate) struct Withdrawal {
    of: Option<(Arc<Back>, Asked, String)>,
    /// The connection that the request waits on.
    line: Line,
    /// Where it was asked for: it is given back there, wherever it is dropped.
    runtime: Handle,
}

impl Withdrawal {
    pub fn new(back: &Arc<Back>, asked: &Asked, owner: &str, line: Line, runtime: &Handle) -> Withdrawal {
        let of = Some((Arc::clone(back), asked.clone(), owner.to_owned()));
        Withdrawal { of, line, runtime: runtime.clone() }
    }

    /// There is nothing to be given back any more, or it has become a hold.
    pub fn settle(mut self) {
        self.of = None;
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if let Some((back, asked, owner)) = self.of.take() {
            let own = locked(&self.line).take();
            // If the runtime has ended, the lease ends the hold.
            self.runtime.spawn(async move { back.withdraw(asked, owner, own).await });
        }
    }
}
