//! What one owner may have at one endpoint, and how it is withdrawn: nothing is left behind, whatever ends a request.
//!
//! A release that goes over another connection can overtake the request that it should withdraw. So the release follows
//! the request on the same connection, where nothing can overtake it. A request that waits is also released over the
//! shared connection, again and again, because the server executes nothing behind it while it waits. If a connection
//! ends before the request is answered, the server may still execute the request: the release is repeated for as long
//! as the lease, after which the hold would have ended by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use redis::Cmd;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, sleep_until, Instant};

use crate::backoff::Backoff;
use crate::error::Failure;
use crate::fault::{is_planted, Fault};
use crate::net::endpoint::{Account, Effort, Endpoint, Via};
use crate::spec::Spec;
use crate::sync::lock;

/// The longest pause between two releases of a request that waits.
const WAITING_PAUSE_MAX: Duration = Duration::from_millis(200);
/// The longest pause between two releases of a request whose connection has ended.
const LOST_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Keeps other requests of the same owner for the same keys away while it lives.
pub(crate) type Turn = Vec<OwnedMutexGuard<()>>;

/// A request of one owner at one endpoint, and later its hold. If it is dropped, whatever the owner has or may still
/// get is released in the background.
pub(crate) struct Claim {
    endpoint: Arc<Endpoint>,
    spec: Spec,
    owner: String,
    /// The runtime in which the lock was requested. The release runs there, from whatever thread this is dropped.
    runtime: Handle,
    trail: Mutex<Trail>,
    next: AtomicU64,
    /// Whether a hold was granted and not released.
    is_held: AtomicBool,
    turn: Mutex<Option<Arc<Turn>>>,
}

/// The requests that the server may still execute.
#[derive(Default)]
struct Trail {
    /// Those that were sent and have no reply, by number.
    unanswered: BTreeMap<u64, Via>,
    /// When the last connection ended on which a request had no reply.
    lost_at: Option<Instant>,
}

impl Claim {
    pub fn new(endpoint: &Arc<Endpoint>, spec: &Spec, owner: &str, runtime: &Handle, turn: Option<Arc<Turn>>) -> Claim {
        Claim {
            endpoint: Arc::clone(endpoint),
            spec: spec.clone(),
            owner: owner.to_owned(),
            runtime: runtime.clone(),
            trail: Mutex::default(),
            next: AtomicU64::new(0),
            is_held: AtomicBool::new(false),
            turn: Mutex::new(turn),
        }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The server has granted the lock.
    pub fn granted(&self) {
        self.is_held.store(true, Ordering::Relaxed);
    }

    /// Whether a hold was granted and not released.
    pub fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    /// The server has released the lock. What was lost on the way is still withdrawn.
    pub fn released(&self) {
        self.is_held.store(false, Ordering::Relaxed);
    }
}

impl Account for Claim {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn owner(&self) -> &str {
        &self.owner
    }

    fn begin(&self, via: Via) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.trail).unanswered.insert(number, via);
        number
    }

    fn answered(&self, number: u64) -> Option<Via> {
        lock(&self.trail).unanswered.remove(&number)
    }

    fn lost(&self, number: u64) {
        let mut trail = lock(&self.trail);
        trail.unanswered.remove(&number);
        trail.lost_at = Some(Instant::now());
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let trail = std::mem::take(&mut *lock(&self.trail));
        let is_held = self.is_held.load(Ordering::Relaxed);
        let is_over = trail.lost_at.is_none_or(|lost_at| lost_at.elapsed() > self.spec.lease);
        if !is_held && trail.unanswered.is_empty() && is_over {
            return;
        }
        let withdrawal = Withdrawal {
            endpoint: Arc::clone(&self.endpoint),
            release: self.spec.release(&self.owner),
            spec: self.spec.clone(),
            is_held,
            _turn: lock(&self.turn).take(),
        };
        // If the runtime has ended, this task never runs and the hold ends with its lease.
        let withdrawals = &self.endpoint.core.withdrawals;
        self.runtime.spawn(withdrawals.track_future(withdrawal.run(trail)));
    }
}

/// What has to be released.
struct Withdrawal {
    endpoint: Arc<Endpoint>,
    release: Cmd,
    spec: Spec,
    is_held: bool,
    _turn: Option<Arc<Turn>>,
}

impl Withdrawal {
    /// Releases what the request got or may still get.
    async fn run(self, trail: Trail) {
        let Trail { unanswered, mut lost_at } = trail;
        let end = Instant::now() + self.spec.lease + self.endpoint.core.request_timeout;
        if is_planted(Fault::ReleaseFirst) {
            self.release_first().await;
            return;
        }
        if self.is_held {
            // Nobody waits for the outcome.
            let _ = self.endpoint.release(&self.spec, &self.release, end).await;
        }
        if !unanswered.is_empty() && !self.release_behind(unanswered, end).await {
            lost_at = Some(Instant::now());
        }
        if let Some(lost_at) = lost_at {
            self.release_until(lost_at + self.spec.lease).await;
        }
    }

    /// Sends the release behind every request. Returns whether each was answered, or none can be any more.
    async fn release_behind(&self, unanswered: BTreeMap<u64, Via>, end: Instant) -> bool {
        let is_waiting = unanswered.values().any(|via| matches!(via, Via::Own(_)));
        let behind = unanswered.into_values().map(|via| async move {
            match via.link().send(&self.release).await {
                Ok(_) | Err(Failure::Reply(_)) => {
                    if let Via::Own(own) = via {
                        own.park();
                    }
                    true
                }
                Err(Failure::Lost(_) | Failure::Unsent(_)) => false,
            }
        });
        let cancel_wait = async {
            let mut backoff = Backoff::up_to(WAITING_PAUSE_MAX);
            loop {
                self.release_once().await;
                sleep(backoff.pause(&self.endpoint.core.chance)).await;
            }
        };
        tokio::select! {
            biased;
            answered = join_all(behind) => answered.into_iter().all(|is_answered| is_answered),
            () = cancel_wait, if is_waiting => false,
            // The releases are on their way, and nothing can come between them and their requests.
            () = sleep_until(end) => true,
        }
    }

    /// Repeats the release for as long as a request on a connection that has ended could matter.
    async fn release_until(&self, end: Instant) {
        let mut backoff = Backoff::up_to(LOST_PAUSE_MAX);
        loop {
            self.release_once().await;
            let next = Instant::now() + backoff.pause(&self.endpoint.core.chance);
            if next >= end {
                sleep_until(end).await;
                self.release_once().await;
                return;
            }
            sleep_until(next).await;
        }
    }

    async fn release_once(&self) {
        let deadline = Instant::now() + self.endpoint.core.request_timeout;
        let _ = self.endpoint.call(self.spec.key(), &self.release, deadline, Effort::Persistent).await;
    }

    /// A planted fault: the release goes over another connection and may overtake the request.
    async fn release_first(&self) {
        let Ok(node) = self.endpoint.directory.locate(self.endpoint.directory.slot(self.spec.key())).await else {
            return;
        };
        if let Ok(link) = node.wait_link().await {
            let _ = link.send(&self.release).await;
            node.park(link);
        }
    }
}
