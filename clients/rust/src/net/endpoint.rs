//! Sends commands to the server that has the key, and sends them again if the reply is lost or the key has moved.
//!
//! Short commands share one connection to each server. A wait has a connection of its own, because the server executes
//! nothing that follows a waiting command on the same connection.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at, Instant};

use super::address::Address;
use super::directory::Directory;
use super::events::Events;
use super::link::Link;
use super::node::Node;
use super::supervise::{suspect, watch};
use crate::backoff::Backoff;
use crate::core::{trace, Core};
use crate::error::{Error, Failure};
use crate::fault::{is_planted, Fault};
use crate::reply::{Released, Reply};
use crate::spec::{block_ms, Spec};

/// The first pause before a command is sent again, so that many that are refused together do not come again together.
const PAUSE_FIRST: Duration = Duration::from_millis(60);
/// The longest pause before a command is sent again.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How many redirections in a row are followed without a pause. Nodes that disagree redirect a client to and fro.
const REDIRECTIONS: u32 = 3;

/// One deployment to which commands are sent: a server, the primary that Sentinels name, or a cluster.
pub(crate) struct Endpoint {
    pub core: Arc<Core>,
    pub directory: Arc<Directory>,
    pub events: Events,
    /// How many waits may have a connection of their own.
    wait_slots: Option<Arc<Semaphore>>,
}

/// How often a command is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Until a reply comes that does not mean "later" or "elsewhere".
    Persistent,
    /// Until the server replies, or cannot be reached.
    Once,
}

/// How long a request may wait for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    Until(Instant),
    Endless,
}

impl Patience {
    /// The argument of BLOCK; `None` if the request must not wait any more.
    fn block_ms(self) -> Option<u64> {
        match self {
            Patience::None => None,
            Patience::Until(deadline) => block_ms(Some(deadline)),
            Patience::Endless => block_ms(None),
        }
    }
}

/// The connection of one wait.
pub(crate) struct WaitLink {
    pub link: Arc<Link>,
    node: Arc<Node>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl WaitLink {
    /// Leaves the connection to later waits. No command may be under way on it.
    pub fn park(self) {
        self.node.park(self.link);
    }
}

/// The connection on which a request is sent.
pub(crate) enum Via {
    Shared(Arc<Link>),
    Own(WaitLink),
}

impl Via {
    pub fn link(&self) -> &Arc<Link> {
        match self {
            Via::Shared(link) => link,
            Via::Own(wait) => &wait.link,
        }
    }
}

/// Somebody who keeps account of requests whose reply has not come, so that they can be withdrawn.
pub(crate) trait Account: Send + Sync {
    fn spec(&self) -> &Spec;
    fn owner(&self) -> &str;
    /// A request is about to be sent. Returns a number for it.
    fn begin(&self, via: Via) -> u64;
    /// The request was answered. Returns its connection, on which no command is under way any more.
    fn answered(&self, number: u64) -> Option<Via>;
    /// The connection ended before an answer came.
    fn lost(&self, number: u64);
}

/// The answer to LOCK.ACQUIRE.
pub(crate) struct Answer {
    pub value: Value,
    /// The moment before the request was sent, which is the earliest at which the lease can have begun.
    pub sent_at: crate::clock::Moment,
    /// The connection on which the request was sent, if that is its own.
    pub own: Option<WaitLink>,
}

impl Endpoint {
    pub fn new(core: &Arc<Core>, events: Events, directory: Directory) -> Arc<Endpoint> {
        let wait_slots = core.wait_connections.map(|count| Arc::new(Semaphore::new(count)));
        Arc::new(Endpoint { core: Arc::clone(core), directory: Arc::new(directory), events, wait_slots })
    }

    /// Sends a command about this key on the shared connection.
    pub async fn call(
        self: &Arc<Self>,
        key: &[u8],
        cmd: &Cmd,
        deadline: Instant,
        effort: Effort,
    ) -> Result<Reply, Error> {
        let slot = self.directory.slot(key);
        let (value, is_retried) = self
            .repeat(slot, Some(deadline), Some(deadline), effort, |node, is_asking| {
                let endpoint = Arc::clone(self);
                async move {
                    let link = match effort {
                        Effort::Persistent => node.shared().await?,
                        Effort::Once => node.shared_at_once().await?,
                    };
                    endpoint.exchange(&node, &link, cmd, is_asking).await
                }
            })
            .await?;
        Ok(Reply { value, is_retried })
    }

    /// Sends a command to one server, and gives up after twice the request timeout.
    pub async fn ask(&self, node: &Arc<Node>, cmd: &Cmd) -> Result<Value, Error> {
        let asked = async {
            let link = node.shared().await?;
            self.exchange(node, &link, cmd, false).await
        };
        let answered = timeout(self.core.request_timeout * 2, asked).await;
        Ok(answered.map_err(|_| silence(&node.address.0))??)
    }

    /// Releases every hold of this owner and cancels its waits, or only the hold of one fence: what `cmd` says.
    pub async fn release(self: &Arc<Self>, spec: &Spec, cmd: &Cmd, deadline: Instant) -> Result<Released, Error> {
        let reply = self.call(spec.key(), cmd, deadline, Effort::Persistent).await?;
        Ok(Released::from_reply(&reply, spec.all()))
    }

    /// Sends LOCK.ACQUIRE until it is answered. It is first tried on the shared connection, and waits on one of its own
    /// if the lock is taken. Gives up at `deadline`.
    pub async fn acquire(
        self: &Arc<Self>,
        account: &dyn Account,
        patience: Patience,
        deadline: Option<Instant>,
        effort: Effort,
    ) -> Result<Answer, Error> {
        let slot = self.directory.slot(account.spec().key());
        let grace = if patience == Patience::None { Duration::ZERO } else { self.core.request_timeout };
        let give_up = deadline.and_then(|deadline| deadline.checked_add(grace));
        let (answer, _) = self
            .repeat(slot, deadline, give_up, effort, |node, is_asking| {
                self.acquire_once(account, patience, node, is_asking, effort)
            })
            .await?;
        Ok(answer)
    }

    async fn acquire_once(
        self: &Arc<Self>,
        account: &dyn Account,
        patience: Patience,
        node: Arc<Node>,
        is_asking: bool,
        effort: Effort,
    ) -> Result<Answer, Failure> {
        let spec = account.spec();
        // A session ends with its connection, and WAIT holds up what follows it.
        if !spec.session && spec.durable.is_none() {
            let link = match effort {
                Effort::Persistent => node.shared().await?,
                Effort::Once => node.shared_at_once().await?,
            };
            let sent_at = self.core.clock.now();
            let cmd = spec.acquire(account.owner(), None);
            let number = account.begin(Via::Shared(Arc::clone(&link)));
            let replied = self.exchange(&node, &link, &cmd, is_asking).await;
            settle(account, number, &replied);
            let value = replied?;
            if value != Value::Nil || patience.block_ms().is_none() {
                return Ok(Answer { value, sent_at, own: None });
            }
        }
        self.wait(account, patience, node, is_asking).await
    }

    /// Sends LOCK.ACQUIRE on a connection of its own.
    async fn wait(
        self: &Arc<Self>,
        account: &dyn Account,
        patience: Patience,
        node: Arc<Node>,
        is_asking: bool,
    ) -> Result<Answer, Failure> {
        let slot = match (&self.wait_slots, patience) {
            (None, _) => None,
            (Some(slots), Patience::Until(deadline)) => {
                match timeout_at(deadline, Arc::clone(slots).acquire_owned()).await {
                    Ok(slot) => slot.ok(),
                    // The other waits took too long.
                    Err(_) => return Ok(Answer { value: Value::Nil, sent_at: self.core.clock.now(), own: None }),
                }
            }
            (Some(slots), Patience::None | Patience::Endless) => Arc::clone(slots).acquire_owned().await.ok(),
        };
        let _watch = watch(&self.directory, &node);
        let left = || Failure::Lost("another server has taken the place of this one".to_owned());
        let link = tokio::select! {
            biased;
            link = node.wait_link() => link?,
            () = node.abandoned() => return Err(left()),
        };
        let cmd = account.spec().acquire(account.owner(), patience.block_ms());
        let sent_at = self.core.clock.now();
        let own = WaitLink { link: Arc::clone(&link), node: Arc::clone(&node), _slot: slot };
        let number = account.begin(Via::Own(own));
        let replied = tokio::select! {
            biased;
            replied = send(&link, &cmd, is_asking) => replied,
            () = node.abandoned() => {
                link.break_up();
                Err(left())
            }
        };
        let own = match settle(account, number, &replied) {
            Some(Via::Own(own)) => Some(own),
            _ => None,
        };
        match replied {
            Ok(value) => Ok(Answer { value, sent_at, own }),
            Err(failure) => {
                if let Some(own) = own {
                    own.park();
                }
                Err(failure)
            }
        }
    }

    /// Sends a command and waits for its reply, however long that takes. Looks at the server if it takes long.
    async fn exchange(&self, node: &Arc<Node>, link: &Arc<Link>, cmd: &Cmd, is_asking: bool) -> Result<Value, Failure> {
        let mut replied = std::pin::pin!(send(link, cmd, is_asking));
        loop {
            match timeout(self.core.request_timeout, &mut replied).await {
                Ok(replied) => return replied,
                Err(_) => {
                    if is_planted(Fault::ForgetAll) {
                        node.forget_connections();
                    }
                    suspect(&self.directory, node, link);
                }
            }
        }
    }

    /// Makes attempts at the server of this slot until one succeeds or fails for good, up to `deadline`. An attempt may
    /// take until `give_up`. The result tells whether an earlier attempt may have been executed.
    async fn repeat<T, F>(
        &self,
        slot: u16,
        deadline: Option<Instant>,
        give_up: Option<Instant>,
        effort: Effort,
        mut attempt: impl FnMut(Arc<Node>, bool) -> F,
    ) -> Result<(T, bool), Error>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut backoff = match effort {
            Effort::Persistent => Backoff::between(PAUSE_FIRST, PAUSE_MAX),
            Effort::Once => Backoff::up_to(PAUSE_MAX),
        };
        let (mut ask, mut is_retried, mut redirections) = (None::<Address>, false, 0);
        let mut last: Option<Failure> = None;
        loop {
            let located = async {
                match ask.take() {
                    Some(address) => Ok((self.directory.node(&address), true)),
                    None => Ok((self.directory.locate(slot).await?, false)),
                }
            };
            let mut host = String::new();
            let made = async {
                let (node, is_asking) = located.await?;
                host.clone_from(&node.address.0);
                attempt(node, is_asking).await
            };
            let failure = match run_until(give_up, made).await {
                Some(Ok(value)) => return Ok((value, is_retried)),
                Some(Err(failure)) => failure,
                None => return Err(last.map_or_else(|| silence(&host), Error::from)),
            };
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let is_final = match effort {
                Effort::Persistent => !failure.is_transient(self.directory.is_cluster()),
                Effort::Once => !matches!(failure, Failure::Lost(_)),
            };
            if is_late || is_final || is_planted(Fault::NoRetry) {
                return Err(failure.into());
            }
            trace!(DEBUG, ?failure, "a command is sent again");
            self.core.counters.retries.add_one();
            is_retried |= matches!(failure, Failure::Lost(_));
            let (moved, asked) = (failure.redirection("MOVED", &host), failure.redirection("ASK", &host));
            let is_redirected = moved.is_some() || asked.is_some();
            if let Some(address) = moved {
                self.directory.record_move(slot, address);
                // Other slots have probably moved too. One look serves all who find out.
                let directory = Arc::clone(&self.directory);
                tokio::spawn(async move { directory.look().await });
            }
            ask = asked;
            if is_redirected && redirections < REDIRECTIONS {
                redirections += 1;
                continue;
            }
            redirections = 0;
            let next = Instant::now() + backoff.pause(&self.core.chance);
            tokio::time::sleep_until(deadline.map_or(next, |deadline| deadline.min(next))).await;
            if !is_redirected && !is_try_again(&failure) && self.directory.can_move() {
                // The next attempt tells what became of it.
                let _ = run_until(deadline, self.directory.look()).await;
            }
            last = Some(failure);
        }
    }
}

/// Reports the outcome of a request to its account. Returns its connection if the request was answered.
fn settle(account: &dyn Account, number: u64, replied: &Result<Value, Failure>) -> Option<Via> {
    match replied {
        Ok(_) | Err(Failure::Reply(_)) => account.answered(number),
        Err(Failure::Lost(_) | Failure::Unsent(_)) => {
            account.lost(number);
            None
        }
    }
}

async fn send(link: &Link, cmd: &Cmd, is_asking: bool) -> Result<Value, Failure> {
    if is_asking {
        link.send_asking(cmd).await
    } else {
        link.send(cmd).await
    }
}

/// Whether the same server will do later.
fn is_try_again(failure: &Failure) -> bool {
    matches!(failure, Failure::Reply(error) if matches!(error.code(), "TRYAGAIN" | "LOADING" | "BUSY"))
}

fn silence(host: &str) -> Error {
    Error::Unreachable(match host {
        "" => "no server could be found in time".to_owned(),
        host => format!("no answer from the server on {host} in time"),
    })
}

/// Runs the future up to `deadline`, without limit if that is `None`. The result is `None` if the future took too long.
pub(crate) async fn run_until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, future).await.ok(),
        None => Some(future.await),
    }
}
