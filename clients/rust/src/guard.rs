//! A hold: renewed while it lives, released when it is dropped.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::back::{Back, Grant, Released, Withdrawal};
use crate::error::Error;
use crate::node::Line;
use crate::request::{Asked, Mode};

/// How soon a renewal that failed is tried again, at the latest.
const RETRY_MAX: Duration = Duration::from_millis(200);
/// After how long a server is asked to tell of changes: shorter holds are not worth a question.
const WATCHED_AFTER: Duration = Duration::from_millis(50);

/// A hold. It is renewed in the background, and released when the last clone of it is dropped.
///
/// **Loss.** The fence protects the resource; [`Guard::lost`] lets the holder stop early. It returns
/// * within milliseconds when the server says that an exclusive hold has gone (an operator removed the key). The client
///   watches it by `LOCK.CHECK` under `CLIENT TRACKING`, once it is 50 ms old;
/// * at the next renewal, after a third of the lease, for a shared hold, or if the user may not use those two commands;
/// * at the end of the lease when nothing can be asked: before the server may give it to others.
///
/// **Re-entrant use.** Whoever holds hands a clone on to what is called deeper down; the hold ends with the last one, and
/// [`Guard::depth`] tells how many there are. Asking for the key again is a request of its own, and waits.
/// Why not let the same task in by itself? A task is no owner: the branches of a `join!` are one task, and what it spawns is
/// another; a lock that cannot tell them apart would let in two who must exclude one another. A clone says what is meant.
///
/// **Dropping.** The release is sent in the background by the runtime in which it was acquired, from whatever thread it is
/// dropped. If that runtime has ended, the lease ends the hold; await [`Guard::release`] to be sure. Measured is by
/// [`Instant`], which stands still on some systems while the machine sleeps: there the fence is all that protects.
#[derive(Clone)]
#[must_use = "the lock is released when the guard is dropped"]
pub struct Guard(Arc<Held>);

/// What all clones share.
struct Held {
    hold: Arc<Hold>,
    renewal: Renewal,
    /// Gives it back when it is dropped.
    withdrawal: Withdrawal,
}

/// The task that renews it, as long as this lives.
struct Renewal(AbortHandle);

/// The hold itself, known to its renewal too.
struct Hold {
    back: Arc<Back>,
    asked: Asked,
    owner: String,
    fence: u64,
    state: watch::Sender<State>,
}

/// How it stands with the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then it is surely held.
    Until(Instant),
    Lost,
}

impl Guard {
    pub(crate) fn new(back: Arc<Back>, asked: Asked, grant: Grant, runtime: Handle) -> Guard {
        let withdrawal = Withdrawal::new(&back, &asked, &grant.owner, Line::default(), &runtime);
        let state = watch::Sender::new(State::Until(grant.until));
        let hold = Arc::new(Hold { back, asked, owner: grant.owner, fence: grant.fence, state });
        let renewal = Renewal(runtime.spawn(renew(Arc::clone(&hold))).abort_handle());
        Guard(Arc::new(Held { hold, renewal, withdrawal }))
    }

    /// The number of this grant, larger than that of every grant of this key before, and below 2^53: for the resource to
    /// compare.
    pub fn fence(&self) -> u64 {
        self.0.hold.fence
    }

    /// The name under which it is held, made anew for each acquisition: as `LOCK.INFO` shows it.
    pub fn owner(&self) -> &str {
        &self.0.hold.owner
    }

    /// How many clones of this guard there are, this one counted: how deep it was entered.
    pub fn depth(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Until when it is surely held unless an operator ends it, by this process's monotonic clock; `None`: it is lost. It moves
    /// on with each renewal. Clocks may run apart by a hundredth of the lease and 2 ms, which are taken off already.
    pub fn held_until(&self) -> Option<Instant> {
        self.0.hold.until().filter(|until| *until > Instant::now())
    }

    /// Returns when the hold is lost. May be asked by several at the same time, and be dropped and asked anew.
    pub async fn lost(&self) {
        // Cannot fail: the sender is in the hold.
        let _ = self.0.hold.state.subscribe().wait_for(|state| *state == State::Lost).await;
    }

    /// Renews it now, besides the renewals in the background: until when it is surely held.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it is lost. After [`Error::NoQuorum`] or [`Error::Server`] it may still be held, until
    /// [`Guard::held_until`].
    pub async fn extend(&self) -> Result<Instant, Error> {
        self.held_until().ok_or(Error::NotHeld)?;
        self.0.hold.extend().await
    }

    /// Gives it back, if this is the last clone. Should the future be dropped, or fail, it is given back in the background.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it had ended before, so that others may have held the lock meanwhile: for a clone that is not the
    /// last, as far as is known. [`Error::NoQuorum`] or [`Error::Server`] if that could not be found out in 2 s.
    pub async fn release(self) -> Result<(), Error> {
        let was_held = self.held_until().is_some();
        let was_held = match Arc::into_inner(self.0) {
            None => was_held,
            Some(held) => {
                drop(held.renewal);
                let released = held.hold.back.release(&held.hold.asked, &held.hold.owner).await?;
                held.withdrawal.settle();
                match released {
                    Released::Held => true,
                    Released::NotHeld => false,
                    // It was surely held when the first release was sent, so that one ended it.
                    Released::Unsure => was_held,
                }
            }
        };
        was_held.then_some(()).ok_or(Error::NotHeld)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hold { asked, owner, fence, state, .. } = &*self.0.hold;
        let key = String::from_utf8_lossy(&asked.key);
        f.debug_struct("Guard")
            .field("key", &key)
            .field("owner", owner)
            .field("fence", fence)
            .field("state", &*state.borrow())
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// `None`: it is lost.
    fn until(&self) -> Option<Instant> {
        match *self.state.borrow() {
            State::Until(until) => Some(until),
            State::Lost => None,
        }
    }

    /// For how long it is surely held.
    fn left(&self) -> Duration {
        self.until().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Sets the lease anew and tells what came of it.
    async fn extend(&self) -> Result<Instant, Error> {
        let until = self.until().ok_or(Error::NotHeld)?;
        let grant = Grant { owner: self.owner.clone(), fence: self.fence, until };
        let extended = self.back.extend(&self.asked, &grant).await;
        if let Err(Error::NotHeld) = extended {
            self.state.send_replace(State::Lost);
        }
        let longer = extended?;
        self.state.send_if_modified(|state| match state {
            State::Until(until) => {
                *until = longer.max(*until);
                true
            }
            // Whoever was told that it is lost does not get it back.
            State::Lost => false,
        });
        self.until().ok_or(Error::NotHeld)
    }

    /// Returns when the server says that it may have ended. Shared holds are not watched: their lock changes with everyone who
    /// comes and goes.
    async fn change(&self) {
        if self.asked.mode != Mode::Exclusive {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(WATCHED_AFTER).await;
        self.back.watch(&self.asked, &self.owner).await;
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Renews the hold after every third of its lease, and when its server says that it changed, until it is lost.
async fn renew(hold: Arc<Hold>) {
    let third = hold.asked.lease / 3;
    let mut pause = third;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause.min(hold.left())) => {}
            () = hold.change() => {}
        }
        if hold.left().is_zero() {
            break;
        }
        // Whatever the network does, the end of the lease is told in time.
        match tokio::time::timeout(hold.left(), hold.extend()).await {
            Ok(Ok(_)) => pause = third,
            Ok(Err(Error::NotHeld)) => break,
            // It may still be held; there may be time to ask again.
            Ok(Err(_)) | Err(_) => pause = (third / 4).min(RETRY_MAX),
        }
    }
    hold.state.send_replace(State::Lost);
}
