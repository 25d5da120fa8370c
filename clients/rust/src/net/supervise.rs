//! Servers that do not answer: is only one connection dead, does the server hang, or has another one taken its place?
//!
//! A command that gets no reply in time goes on waiting, because a stall may pass. Meanwhile one task looks at the
//! server for all who wait for it. A connection is given up only if the server answers on another one, and a server
//! only if Sentinel or the cluster names another one.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::directory::Directory;
use super::link::Link;
use super::node::Node;
use crate::core::trace;
use crate::sync::lock;

/// How often a server that does not answer is looked up.
const LOOKUP_PERIOD: Duration = Duration::from_secs(1);
/// How often a server at which requests wait is asked whether it answers. A random half is taken off.
const BEAT_PERIOD: Duration = Duration::from_secs(2);
/// After how many beats Sentinel or the cluster is asked although the server answers.
const BEATS_PER_LOOKUP: u32 = 3;

/// Looks at a server that has not answered in time on this connection, unless somebody does already.
pub(crate) fn suspect(directory: &Arc<Directory>, node: &Arc<Node>, link: &Arc<Link>) {
    let mut inquiry = lock(&node.inquiry);
    if inquiry.as_ref().is_some_and(|task| !task.is_finished()) {
        return;
    }
    trace!(WARN, server = %super::dial::shown(&node.address), "the server does not answer");
    let task = inquire(Arc::clone(directory), Arc::clone(node), Arc::clone(link));
    *inquiry = Some(Handle::current().spawn(task));
}

/// Finds out why there is no answer. Returns when the server has answered, or the connection or the server is given up.
async fn inquire(directory: Arc<Directory>, node: Arc<Node>, link: Arc<Link>) {
    let patience = node.core.request_timeout;
    let cmd = redis::cmd("PING");
    let mut ping = Box::pin(link.send(&cmd));
    let mut trial = Box::pin(node.trial());
    let mut other: Option<Arc<Link>> = None;
    let mut replies = link.replies();
    let mut grace = Box::pin(sleep(patience));
    let mut lookup = Box::pin(sleep(node.core.chance.up_to(LOOKUP_PERIOD)));
    loop {
        tokio::select! {
            biased;
            // The stall is over, or the connection has ended by itself.
            _ = &mut ping => return,
            () = node.abandoned() => return,
            opened = &mut trial, if other.is_none() => {
                other = Some(opened);
                replies = link.replies();
                grace.set(sleep(patience));
            }
            () = &mut grace, if other.is_some() => {
                if link.replies() == replies {
                    // The server answers on the other connection, and nothing at all has come on this one.
                    if let Some(other) = other {
                        node.replace(&link, other);
                    }
                    return;
                }
                replies = link.replies();
                grace.set(sleep(patience));
            }
            () = &mut lookup, if directory.can_move() => {
                if has_been_replaced(&directory, &node).await {
                    directory.abandon(&node);
                    return;
                }
                lookup.set(sleep(node.core.chance.around(LOOKUP_PERIOD)));
            }
        }
    }
}

/// Whether Sentinel or the cluster now names another server in place of this one.
async fn has_been_replaced(directory: &Arc<Directory>, node: &Arc<Node>) -> bool {
    directory.look().await.is_ok() && !directory.has_primary(&node.address)
}

/// A request that waits at a server. While there is one, a task looks whether the server answers.
pub(crate) struct Watch(Arc<Node>);

/// Begins to look whether the server answers.
pub(crate) fn watch(directory: &Arc<Directory>, node: &Arc<Node>) -> Watch {
    let mut beat = lock(&node.beat);
    beat.waits += 1;
    if beat.task.as_ref().is_none_or(|task| task.is_finished()) {
        beat.task = Some(Handle::current().spawn(beats(Arc::clone(directory), Arc::clone(node))));
    }
    Watch(Arc::clone(node))
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.0.beat).waits -= 1;
    }
}

/// Asks the server from time to time whether it answers, as long as requests wait there.
async fn beats(directory: Arc<Directory>, node: Arc<Node>) {
    let ping = redis::cmd("PING");
    for number in 1_u32.. {
        sleep(node.core.chance.around(BEAT_PERIOD)).await;
        {
            let mut beat = lock(&node.beat);
            if beat.waits == 0 || node.is_abandoned() {
                beat.task = None;
                return;
            }
        }
        let answered = async {
            let Ok(link) = node.shared().await else { return false };
            match timeout(node.core.request_timeout, link.send(&ping)).await {
                Ok(_) => true,
                Err(_) => {
                    suspect(&directory, &node, &link);
                    false
                }
            }
        };
        let is_alive = timeout(node.core.request_timeout * 2, answered).await.unwrap_or(false);
        // A primary that is cut off from the Sentinels still answers.
        let is_due = !is_alive || number % BEATS_PER_LOOKUP == 0;
        if is_due && directory.can_move() && has_been_replaced(&directory, &node).await {
            directory.abandon(&node);
        }
    }
}
