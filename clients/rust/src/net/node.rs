//! The connections to one server.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::address::Address;
use super::dial::{Dialer, Purpose};
use super::events::Event;
use super::link::Link;
use super::single_flight::SingleFlight;
use crate::backoff::Backoff;
use crate::core::Core;
use crate::error::Failure;
use crate::sync::lock;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one trial of a server that does not answer may take. It is longer, so that a stall costs few connections.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How many connections of past waits are kept for later ones, and for how long.
const IDLE_MAX: usize = 64;
const IDLE_TIME: Duration = Duration::from_secs(30);
/// How many connections for waits are opened at one time.
const DIALS_MAX: usize = 16;

/// One server: the connection that all share, and those of waits.
pub(crate) struct Node {
    pub address: Address,
    pub core: Arc<Core>,
    dialer: Dialer,
    shared: Mutex<Option<Arc<Link>>>,
    connecting: SingleFlight<Arc<Link>>,
    retry: Mutex<Retry>,
    /// Connections of past waits, on which no command is under way, and since when.
    idle: Mutex<Vec<(Arc<Link>, Instant)>>,
    dials: Semaphore,
    /// Cancelled when the client has found another server in place of this one.
    abandoned: CancellationToken,
    pub beat: Mutex<Beat>,
    /// The task that looks at the server because it does not answer.
    pub inquiry: Mutex<Option<JoinHandle<()>>>,
}

/// Who looks whether the server answers while requests wait at it.
#[derive(Default)]
pub(crate) struct Beat {
    /// How many requests wait.
    pub waits: usize,
    pub task: Option<JoinHandle<()>>,
}

/// When the next attempt to connect may be made.
struct Retry {
    backoff: Backoff,
    not_before: Instant,
    last: Failure,
}

impl Node {
    pub fn new(address: Address, dialer: Dialer) -> Arc<Node> {
        let retry = Retry {
            backoff: Backoff::up_to(PAUSE_MAX),
            not_before: Instant::now(),
            last: Failure::Unsent("no attempt to connect has been made".to_owned()),
        };
        Arc::new(Node {
            address,
            core: Arc::clone(&dialer.core),
            dialer,
            shared: Mutex::default(),
            connecting: SingleFlight::default(),
            retry: Mutex::new(retry),
            idle: Mutex::default(),
            dials: Semaphore::new(DIALS_MAX),
            abandoned: CancellationToken::new(),
            beat: Mutex::default(),
            inquiry: Mutex::default(),
        })
    }

    /// The connection that all share. It is opened once, however many wait for it, after a pause if the last attempt
    /// failed.
    pub async fn shared(self: &Arc<Self>) -> Result<Arc<Link>, Failure> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let node = Arc::clone(self);
        let connected = self.connecting.join(|| async move { node.connect().await });
        tokio::select! {
            biased;
            connected = connected => connected,
            () = self.abandoned() => Err(Failure::Unsent("another server has taken the place of this one".to_owned())),
        }
    }

    /// Like [`Node::shared`], but fails at once if the last attempt has just failed.
    pub async fn shared_at_once(self: &Arc<Self>) -> Result<Arc<Link>, Failure> {
        if self.current().is_none() {
            let retry = lock(&self.retry);
            if retry.not_before > Instant::now() {
                return Err(retry.last.clone());
            }
        }
        self.shared().await
    }

    /// The shared connection, if it is open.
    pub fn current(&self) -> Option<Arc<Link>> {
        lock(&self.shared).clone().filter(|link| !link.is_broken())
    }

    async fn connect(self: Arc<Self>) -> Result<Arc<Link>, Failure> {
        if let Some(link) = self.current() {
            return Ok(link);
        }
        let not_before = lock(&self.retry).not_before;
        tokio::time::sleep_until(not_before).await;
        match self.dialer.dial(&self.address, Purpose::Shared, CONNECT_TIMEOUT).await {
            Ok(link) => {
                lock(&self.retry).backoff.reset();
                *lock(&self.shared) = Some(Arc::clone(&link));
                Ok(link)
            }
            Err(failure) => {
                let mut retry = lock(&self.retry);
                retry.not_before = Instant::now() + retry.backoff.pause(&self.core.chance);
                retry.last = failure.clone();
                Err(failure)
            }
        }
    }

    /// Opens a second connection to a server that does not answer on the first. Returns when the server accepts it.
    pub async fn trial(&self) -> Arc<Link> {
        let mut backoff = Backoff::up_to(PAUSE_MAX);
        loop {
            if let Ok(link) = self.dialer.dial(&self.address, Purpose::Shared, TRIAL_TIMEOUT).await {
                return link;
            }
            tokio::time::sleep(PAUSE_MAX / 2 + backoff.pause(&self.core.chance)).await;
        }
    }

    /// Puts another connection in the place of this one, unless a newer one has it already.
    pub fn replace(&self, old: &Arc<Link>, new: Arc<Link>) {
        let mut shared = lock(&self.shared);
        if shared.as_ref().is_none_or(|current| Arc::ptr_eq(current, old)) {
            *shared = Some(new);
        }
        drop(shared);
        old.break_up();
        self.tell_of_loss();
    }

    /// A connection for one wait: one that a past wait has left, or a new one.
    pub async fn wait_link(&self) -> Result<Arc<Link>, Failure> {
        loop {
            let idle = lock(&self.idle).pop();
            match idle {
                Some((link, _)) if link.is_broken() => {}
                Some((link, _)) => return Ok(link),
                None => break,
            }
        }
        let _permit = self.dials.acquire().await;
        self.dialer.dial(&self.address, Purpose::Wait, CONNECT_TIMEOUT).await
    }

    /// Keeps the connection of a wait for a later one. No command may be under way on it.
    pub fn park(&self, link: Arc<Link>) {
        let mut idle = lock(&self.idle);
        idle.retain(|(link, since)| !link.is_broken() && since.elapsed() < IDLE_TIME);
        if idle.len() < IDLE_MAX && !link.is_broken() && !self.abandoned.is_cancelled() {
            idle.push((link, Instant::now()));
        }
    }

    /// Gives the server up, because another one has taken its place: every command and every wait there fails, and is
    /// sent to the other one.
    pub fn abandon(&self) {
        self.abandoned.cancel();
        let shared = lock(&self.shared).take();
        if let Some(link) = shared {
            link.break_up();
        }
        lock(&self.idle).clear();
        self.tell_of_loss();
    }

    /// Throws away every connection that no wait uses.
    pub fn forget_connections(&self) {
        let shared = lock(&self.shared).take();
        if let Some(link) = shared {
            link.break_up();
        }
        lock(&self.idle).clear();
        self.tell_of_loss();
    }

    /// A connection that this client closes reports no changes any more, and does not say so.
    fn tell_of_loss(&self) {
        if let Some(events) = &self.dialer.events {
            events.publish(Event::Unknown);
        }
    }

    /// Returns when another server has taken the place of this one.
    pub fn abandoned(&self) -> impl Future<Output = ()> + '_ {
        self.abandoned.cancelled()
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.is_cancelled()
    }
}
