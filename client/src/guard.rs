//! A hold: renewed while it lives, released when it is dropped.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::back::{Back, Grant};
use crate::error::Error;
use crate::request::Asked;

/// How soon a renewal that failed is tried again, at the latest.
const RETRY_MAX: Duration = Duration::from_millis(200);

/// A hold. It is renewed in the background, and released when the last clone of it is dropped.
///
/// **Re-entrant use**: whoever already holds hands a clone on to what is called deeper down; the hold ends with the last one.
#[derive(Clone)]
pub struct Guard(Arc<Held>);

/// What all clones share.
struct Held {
    back: Arc<Back>,
    asked: Asked,
    owner: String,
    fence: u64,
    state: watch::Receiver<State>,
    renewal: AbortHandle,
    is_released: bool,
}

/// How it stands with the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then it is surely held.
    Until(Instant),
    Lost,
}

impl Guard {
    pub(crate) fn new(back: Arc<Back>, asked: Asked, grant: Grant) -> Guard {
        let (told, state) = watch::channel(State::Until(grant.until));
        let (owner, fence) = (grant.owner.clone(), grant.fence);
        let renewal = tokio::spawn(renew(Arc::clone(&back), asked.clone(), grant, told)).abort_handle();
        Guard(Arc::new(Held { back, asked, owner, fence, state, renewal, is_released: false }))
    }

    /// The number of this grant, larger than that of every grant of this key before: for the resource to compare.
    pub fn fence(&self) -> u64 {
        self.0.fence
    }

    /// The name under which it is held; made anew for each acquisition.
    pub fn owner(&self) -> &str {
        &self.0.owner
    }

    /// How many clones of this guard there are: how deep it was entered.
    pub fn depth(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Until when it is surely held unless an operator ends it, by this process's monotonic clock; `None`: it is lost.
    pub fn held_until(&self) -> Option<Instant> {
        match *self.0.state.borrow() {
            State::Until(until) if until > Instant::now() => Some(until),
            State::Until(_) | State::Lost => None,
        }
    }

    /// Returns when the hold is lost: a renewal was refused, or none succeeded until the lease was over.
    pub async fn lost(&self) {
        // Fails only when the renewal has ended, which it does when the hold is lost.
        let _ = self.0.state.clone().wait_for(|state| *state == State::Lost).await;
    }

    /// Renews it now, besides the renewals in the background: until when it is surely held.
    pub async fn extend(&self) -> Result<Instant, Error> {
        let Held { back, asked, owner, fence, .. } = &*self.0;
        let until = self.held_until().ok_or(Error::NotHeld)?;
        back.extend(asked, &Grant { owner: owner.clone(), fence: *fence, until }).await
    }

    /// Gives it back, if this is the last clone. [`Error::NotHeld`] if it had ended before, so that others may have held the
    /// lock meanwhile.
    pub async fn release(self) -> Result<(), Error> {
        let Some(mut held) = Arc::into_inner(self.0) else { return Ok(()) };
        held.renewal.abort();
        // If this fails, or is broken off, it is sent once more when `held` is dropped.
        let was_held = held.back.release(&held.asked, &held.owner).await?;
        held.is_released = true;
        if was_held {
            Ok(())
        } else {
            Err(Error::NotHeld)
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.is_released {
            self.back.release_later(self.asked.clone(), std::mem::take(&mut self.owner));
        }
    }
}

/// Renews the hold after every third of its lease, until it is lost.
async fn renew(back: Arc<Back>, asked: Asked, mut grant: Grant, told: watch::Sender<State>) {
    let third = asked.lease / 3;
    let mut pause = third;
    loop {
        let rest = tokio::time::sleep(pause.min(left(&grant)));
        rest.await;
        if left(&grant).is_zero() {
            break;
        }
        // Whatever the network does, the end of the lease is told in time.
        match tokio::time::timeout(left(&grant), back.extend(&asked, &grant)).await {
            Ok(Ok(until)) => {
                grant.until = until;
                told.send_replace(State::Until(until));
                pause = third;
            }
            Ok(Err(Error::NotHeld)) => break,
            // It may still be held; there is time to ask again.
            Ok(Err(_)) => pause = (third / 4).min(RETRY_MAX),
            Err(_) => break,
        }
    }
    told.send_replace(State::Lost);
}

fn left(grant: &Grant) -> Duration {
    grant.until.saturating_duration_since(Instant::now())
}
