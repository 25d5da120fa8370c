//! Guards: a hold that is renewed while its guard lives, and released when the guard is dropped.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::backend::{Backend, Grant};
use crate::claim::Claim;
use crate::core::trace;
use crate::error::Error;
use crate::hold::{Hold, Loss, State};
use crate::renewal::{Renewals, Renewed};
use crate::reply::{Checked, Released};
use crate::spec::{check_cooling, check_lease, Mode, Spec};

/// A hold on a lock, or on several. It is renewed in the background, and released when its last clone is dropped.
///
/// **Loss.** The fence protects the resource. [`Guard::lost`] lets the holder stop early. It returns
/// * within milliseconds if the server reports that an exclusive hold has ended, for example because an operator
///   removed the key. From an age of 50 ms on, the client watches the lock with `LOCK.CHECK` under `CLIENT TRACKING`;
/// * at the next renewal, after a third of the lease, for a shared hold, or if the user may not run those two commands;
/// * at the end of the lease if no server can be reached. The server does not grant the lock to others before that.
///
/// **Re-entrant use.** The holder passes clones of the guard to the functions it calls. The hold ends with the last
/// clone, and [`Guard::depth`] returns their number. To ask for the same key again is a separate request, which waits,
/// unless both are requests of one [`Owner`](crate::Owner): then the second gets a clone of the first guard. The client
/// does not let a task in because the task already holds the lock, since a task is not an owner: all branches of a
/// `join!` are one task, and a spawned task is another.
///
/// **Dropping.** The runtime in which the lock was acquired sends the release in the background, from whatever thread
/// the guard is dropped. If that runtime has ended, the hold ends with its lease; await [`Guard::release`] to be sure.
///
/// **Time.** The client reckons the lease by a clock that goes on while the machine sleeps.
#[derive(Clone)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(Arc<Inner>);

/// What all clones of a guard share.
pub(crate) struct Inner {
    hold: Arc<Hold>,
    renewed: Renewed,
    /// Release the hold when they are dropped.
    claims: Vec<Arc<Claim>>,
}

/// A guard that may have been dropped.
#[derive(Clone, Default)]
pub(crate) struct WeakGuard(Weak<Inner>);

impl WeakGuard {
    pub fn upgrade(&self) -> Option<Guard> {
        self.0.upgrade().map(Guard)
    }
}

impl Guard {
    pub(crate) fn new(backend: Arc<dyn Backend>, grant: Grant, renewals: &Renewals, runtime: &Handle) -> Guard {
        let Grant { held, valid_until, claims, session } = grant;
        let hold = Arc::new(Hold::new(backend, held, valid_until, session));
        let renewed = renewals.add(&hold, runtime);
        Guard(Arc::new(Inner { hold, renewed, claims }))
    }

    pub(crate) fn downgrade_to_weak(&self) -> WeakGuard {
        WeakGuard(Arc::downgrade(&self.0))
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.0.hold.held.spec
    }

    /// The fence (fencing token) of this grant: larger than the fence of every earlier grant of the key, and below
    /// 2^53. Pass it to the resource, which rejects smaller fences than the largest it has seen. For several locks this
    /// is the fence of the first; see [`Guard::fences`].
    pub fn fence(&self) -> u64 {
        self.0.hold.held.fence()
    }

    /// The fences of all locks, in the order in which the request named their keys.
    pub fn fences(&self) -> &[u64] {
        &self.0.hold.held.fences
    }

    /// The owner name under which the lock is held, as `LOCK.INFO` shows it: `label/host/pid/random`.
    pub fn owner(&self) -> &str {
        &self.0.hold.held.owner
    }

    /// The number of clones of this guard, this one included. This is the depth of re-entrant use.
    pub fn depth(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Whether the lock is surely held, unless an operator has just removed it. This looks at the clock and asks
    /// nobody: in doubt it is false.
    pub fn is_held(&self) -> bool {
        !self.0.hold.remaining().is_zero()
    }

    /// How long the lock is surely held from now on, unless it is renewed or an operator removes it; zero if it is
    /// lost.
    ///
    /// A hundredth of the lease and 2 ms are already taken off, because the clocks of client and server may drift
    /// apart.
    pub fn remaining(&self) -> Duration {
        self.0.hold.remaining()
    }

    /// Returns when the hold is lost, and says why; never, if it is released first. Any number of tasks can await it.
    /// The future does not keep the hold alive.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static {
        let mut state = self.0.hold.state.subscribe();
        async move {
            let lost = state.wait_for(|state| matches!(state, State::Lost(_))).await.map(|state| *state);
            match lost {
                Ok(State::Lost(loss)) => loss,
                // The hold was released.
                Ok(State::ValidUntil(_)) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Renews the hold now, in addition to the renewals in the background. Returns how long the lock is surely held
    /// from now on, as [`Guard::remaining`] does.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the hold is lost. After any other error the lock may still be held, for
    /// [`Guard::remaining`].
    pub async fn extend(&self) -> Result<Duration, Error> {
        self.extend_to(self.0.hold.lease()).await
    }

    /// Gives the hold another lease, from 10 ms to 365 days, that begins now. Later renewals use this lease too. It may
    /// be shorter than the last one.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the lease is out of range; else as [`Guard::extend`].
    pub async fn extend_to(&self, lease: Duration) -> Result<Duration, Error> {
        check_lease(lease)?;
        if !self.is_held() {
            return Err(Error::NotHeld);
        }
        let lease = Duration::from_millis(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        let extended = self.0.hold.extend(lease, self.soon()).await;
        self.0.renewed.replan();
        extended
    }

    /// Asks the server whether the lock is held, and for how long yet. `None` means that it is lost.
    ///
    /// # Errors
    /// The server's error, or [`Error::Unreachable`].
    pub async fn check(&self) -> Result<Option<Duration>, Error> {
        match self.0.hold.backend.look(&self.0.hold.held, self.soon()).await? {
            Checked::Held { remaining, .. } => Ok(Some(remaining)),
            Checked::NotHeld => {
                self.0.hold.lose(Loss::Removed);
                Ok(None)
            }
        }
    }

    /// Turns an exclusive hold into a shared one with the same fence, without the lock being free in between. Others
    /// that ask for shared holds get them at once.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the hold is lost. [`Error::Invalid`] if the guard holds several locks, or a quorum grants
    /// them. The server's error, or [`Error::Unreachable`].
    pub async fn downgrade(&self) -> Result<(), Error> {
        if self.spec().keys.len() > 1 {
            return Err(Error::Invalid("only a hold on one lock can be downgraded"));
        }
        if !self.is_held() {
            return Err(Error::NotHeld);
        }
        self.0.hold.downgrade().await
    }

    /// Releases the lock if this is the last clone. If the future is dropped or fails, the lock is released in the
    /// background.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if the hold had ended before, so that others may have held the lock since. A clone that is
    /// not the last asks no server and answers from what the client knows. Any other error if no server could confirm
    /// the release in time.
    pub async fn release(self) -> Result<(), Error> {
        self.release_with(None).await
    }

    /// Releases the lock, which then stays closed to all for this long, from 1 ms to 365 days: nobody gets it before
    /// that. A job that must run at most once in a period releases its lock so.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the time is out of range, if this is not the last clone, or if the hold is shared or on
    /// several locks; else as [`Guard::release`].
    pub async fn release_and_cool(self, cool: Duration) -> Result<(), Error> {
        check_cooling(cool)?;
        if self.spec().keys.len() > 1 || self.spec().mode != Mode::Exclusive || !self.0.hold.is_exclusive() {
            return Err(Error::Invalid("only a lock that is held exclusively, by itself, can cool"));
        }
        if self.depth() > 1 {
            return Err(Error::Invalid("a lock cools when its last guard is released, and there are others"));
        }
        self.release_with(Some(cool)).await
    }

    async fn release_with(self, cool: Option<Duration>) -> Result<(), Error> {
        let was_held = self.is_held();
        let Some(inner) = Arc::into_inner(self.0) else { return was_held.then_some(()).ok_or(Error::NotHeld) };
        let Inner { hold, renewed, claims } = inner;
        drop(renewed);
        let released = hold.backend.release(&hold.held, cool).await?;
        for claim in &claims {
            claim.released();
        }
        let was_held = match released {
            Released::Held => true,
            Released::NotHeld => false,
            // If the lock was surely held when the first release was sent, that release ended the hold.
            Released::Unsure => was_held,
        };
        let core = hold.backend.core();
        if hold.valid_until().is_some() {
            core.counters.released.add_one();
            core.counters.held.add_time(hold.now().since(hold.granted_at));
        }
        trace!(DEBUG, key = %hold.held.spec.key().escape_ascii(), owner = %hold.held.owner, was_held, "released a lock");
        was_held.then_some(()).ok_or(Error::NotHeld)
    }

    fn soon(&self) -> Instant {
        Instant::now() + self.0.hold.backend.core().request_timeout * 2
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hold { held, state, .. } = &*self.0.hold;
        let keys: Vec<_> = held.spec.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        f.debug_struct("Guard")
            .field("keys", &keys)
            .field("owner", &held.owner)
            .field("fences", &held.fences)
            .field("state", &*state.borrow())
            .finish_non_exhaustive()
    }
}
