//! Guards: a hold that is renewed while its guard lives, and released when the guard is dropped.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::backend::{Backend, Grant};
use crate::error::Error;
use crate::reply::Released;
use crate::spec::{Mode, Spec};
use crate::withdrawal::Withdrawal;

/// The longest pause after a renewal that failed.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// The age from which a hold is watched. A shorter hold is not worth the command.
const WATCH_DELAY: Duration = Duration::from_millis(50);

/// A hold on a lock. It is renewed in the background, and released when its last clone is dropped.
///
/// **Loss.** The fence protects the resource. [`Guard::lost`] lets the holder stop early. It returns
/// * within milliseconds if the server reports that an exclusive hold has ended, for example because an operator
///   removed the key. From an age of 50 ms on, the client watches the lock with `LOCK.CHECK` under `CLIENT TRACKING`;
/// * at the next renewal, after a third of the lease, for a shared hold, or if the user may not run those two commands;
/// * at the end of the lease if no server can be reached. The server does not grant the lock to others before that.
///
/// **Re-entrant use.** The holder passes clones of the guard to the functions it calls. The hold ends with the last
/// clone, and [`Guard::depth`] returns their number. To ask for the same key again is a separate request, which waits.
/// The client does not let a task in because the task already holds the lock, since a task is not an owner: all
/// branches of a `join!` are one task, and a spawned task is another. A clone says which code belongs to the hold.
///
/// **Dropping.** The runtime in which the lock was acquired sends the release in the background, from whatever thread
/// the guard is dropped. If that runtime has ended, the hold ends with its lease; await [`Guard::release`] to be sure.
/// The client measures time with [`Instant`], which on some systems stands still while the machine sleeps. There only
/// the fence protects the resource.
#[derive(Clone)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(Arc<Inner>);

/// What all clones of a guard share.
struct Inner {
    hold: Arc<Hold>,
    renewal: Renewal,
    /// Releases the hold when it is dropped.
    withdrawal: Withdrawal,
}

/// The task that renews the hold. Dropping this ends the task.
struct Renewal(AbortHandle);

/// The hold itself, which the guard shares with the task that renews it.
struct Hold {
    backend: Arc<dyn Backend>,
    spec: Spec,
    owner: String,
    fence: u64,
    state: watch::Sender<State>,
}

/// Whether the hold is still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Surely valid up to this moment.
    ValidUntil(Instant),
    Lost,
}

impl Guard {
    pub(crate) fn new(backend: Arc<dyn Backend>, spec: Spec, grant: Grant, runtime: Handle) -> Guard {
        let withdrawal = Withdrawal::new(Arc::clone(&backend), &spec, &grant.owner, None, &runtime);
        let state = watch::Sender::new(State::ValidUntil(grant.valid_until));
        let hold = Arc::new(Hold { backend, spec, owner: grant.owner, fence: grant.fence, state });
        let renewal = Renewal(runtime.spawn(renew_until_lost(Arc::clone(&hold))).abort_handle());
        Guard(Arc::new(Inner { hold, renewal, withdrawal }))
    }

    /// The fence (fencing token) of this grant: larger than the fence of every earlier grant of the key, and below
    /// 2^53. Pass it to the resource, which rejects smaller fences than the largest it has seen.
    pub fn fence(&self) -> u64 {
        self.0.hold.fence
    }

    /// The owner name under which the lock is held, as `LOCK.INFO` shows it. Every acquisition generates a new one.
    pub fn owner(&self) -> &str {
        &self.0.hold.owner
    }

    /// The number of clones of this guard, this one included. This is the depth of re-entrant use.
    pub fn depth(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// The moment up to which the lock is surely held unless an operator removes it; `None` if it is lost.
    ///
    /// The moment is one of this process's monotonic clock, and moves with each renewal. A hundredth of the lease and 2
    /// ms are already taken off, because the clocks of client and server may drift apart.
    pub fn held_until(&self) -> Option<Instant> {
        self.0.hold.valid_until().filter(|valid_until| *valid_until > Instant::now())
    }

    /// Returns when the hold is lost; never, if it is released first. Any number of tasks can await it. The future does
    /// not keep the hold alive.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.0.hold.state.subscribe();
        async move {
            if state.wait_for(|state| *state == State::Lost).await.is_err() {
                // The hold was released.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Renews the hold now, in addition to the renewals in the background. Returns the moment up to which the lock is
    /// surely held, as [`Guard::held_until`] does.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the hold is lost. After [`Error::NoQuorum`] or [`Error::Server`] the lock may still be
    /// held, until [`Guard::held_until`].
    pub async fn extend(&self) -> Result<Instant, Error> {
        self.held_until().ok_or(Error::NotHeld)?;
        self.0.hold.extend().await
    }

    /// Releases the lock if this is the last clone. If the future is dropped or fails, the lock is released in the
    /// background.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the hold had ended before, so that others may have held the lock since. A clone that is
    /// not the last asks no server and answers from what the client knows. [`Error::NoQuorum`] or [`Error::Server`] if
    /// no server could confirm the release within 2 s.
    pub async fn release(self) -> Result<(), Error> {
        let was_held = self.held_until().is_some();
        let was_held = match Arc::into_inner(self.0) {
            None => was_held,
            Some(inner) => {
                drop(inner.renewal);
                let released = inner.hold.backend.release(&inner.hold.spec, &inner.hold.owner).await?;
                inner.withdrawal.cancel();
                match released {
                    Released::Held => true,
                    Released::NotHeld => false,
                    // If the lock was surely held when the first release was sent, that release ended the hold.
                    Released::Unsure => was_held,
                }
            }
        };
        was_held.then_some(()).ok_or(Error::NotHeld)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hold { spec, owner, fence, state, .. } = &*self.0.hold;
        let key = String::from_utf8_lossy(&spec.key);
        f.debug_struct("Guard")
            .field("key", &key)
            .field("owner", owner)
            .field("fence", fence)
            .field("state", &*state.borrow())
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// The moment up to which the hold is surely valid, even if it has passed; `None` if the hold is known to be lost.
    fn valid_until(&self) -> Option<Instant> {
        match *self.state.borrow() {
            State::ValidUntil(valid_until) => Some(valid_until),
            State::Lost => None,
        }
    }

    /// How long the hold is surely valid from now on.
    fn remaining(&self) -> Duration {
        self.valid_until().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Starts the lease anew and records the outcome.
    async fn extend(&self) -> Result<Instant, Error> {
        let valid_until = self.valid_until().ok_or(Error::NotHeld)?;
        let grant = Grant { owner: self.owner.clone(), fence: self.fence, valid_until };
        let extended = self.backend.extend(&self.spec, &grant).await;
        if let Err(Error::NotHeld) = extended {
            self.state.send_replace(State::Lost);
        }
        let extended_until = extended?;
        self.state.send_if_modified(|state| match state {
            State::ValidUntil(valid_until) => {
                *valid_until = extended_until.max(*valid_until);
                true
            }
            // A loss that was reported stays.
            State::Lost => false,
        });
        self.valid_until().ok_or(Error::NotHeld)
    }

    /// Returns when a server reports that the hold may have ended. A shared hold is not watched, because its lock
    /// changes whenever any holder comes or goes.
    async fn reported_change(&self) {
        if self.spec.mode != Mode::Exclusive {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(WATCH_DELAY).await;
        self.backend.watch(&self.spec, &self.owner).await;
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Renews the hold after every third of its lease, and whenever a server reports a change of the lock, until it is
/// lost.
async fn renew_until_lost(hold: Arc<Hold>) {
    let third = hold.spec.lease / 3;
    let mut pause = third;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause.min(hold.remaining())) => {}
            () = hold.reported_change() => {}
        }
        if hold.remaining().is_zero() {
            break;
        }
        // The time limit reports the end of the lease in time, whatever the network does.
        match tokio::time::timeout(hold.remaining(), hold.extend()).await {
            Ok(Ok(_)) => pause = third,
            Ok(Err(Error::NotHeld)) => break,
            // The lock may still be held, and there may be time for another attempt.
            Ok(Err(_)) | Err(_) => pause = (third / 4).min(RETRY_PAUSE_MAX),
        }
    }
    hold.state.send_replace(State::Lost);
}
