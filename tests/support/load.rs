//! Clients that take one lock again and again while servers fail, and what they saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::history::Grant;
use super::poll;
use super::value::Value;

// What the clients of a cluster do as well (cluster_load.rs).

/// The lease of every hold.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// How long a client waits in the server at a time.
pub(super) const BLOCK: Duration = Duration::from_secs(2);
/// A client that hears nothing for so long looks for its server anew.
pub(super) const SILENCE: Duration = Duration::from_secs(4);
/// How long a client holds the lock, if nothing else is said.
pub(super) const WORK: Duration = Duration::from_millis(2);
/// The pause before a client looks for a server again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// How long clients may take to find a server that grants, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that take turns with the lock `k`.
#[derive(Debug)]
pub struct Load {
    work: Duration,
    is_over: AtomicBool,
    history: Mutex<Vec<Grant>>,
}

/// The end of the load. When this is dropped, also by a test that fails, the clients finish what they are doing and stop.
pub struct LoadEnd<'a>(pub(super) &'a AtomicBool);

impl Drop for LoadEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Nobody yet (see [`Load::take_turns`]).
    #[expect(clippy::new_without_default, reason = "a load has no natural default")]
    pub fn new() -> Load {
        Load::with_work(WORK)
    }

    /// The same; each holds the lock for so long.
    pub fn with_work(work: Duration) -> Load {
        Load { work, is_over: AtomicBool::new(false), history: Mutex::new(Vec::new()) }
    }

    /// One client: takes and releases the lock until the [`LoadEnd`], each time under a new owner, and writes down each hold.
    /// `find` says where to ask, after each failure anew: the number of a server as in [`Grant::server`], and a connection.
    pub fn take_turns(&self, name: &str, find: impl Fn() -> Option<(u16, Client)>) {
        let mut connection = None;
        for n in 0_u64.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let Some((server, client)) = connection.as_mut() else {
                thread::sleep(PAUSE);
                connection = find().map(|(server, mut client)| {
                    client.set_deadline(SILENCE);
                    (server, client)
                });
                continue;
            };
            if !self.turn(*server, client, &format!("{name}-{n}")) {
                connection = None;
            }
        }
    }

    /// Whether to go on with this connection.
    fn turn(&self, server: u16, client: &mut Client, owner: &str) -> bool {
        let [lease, block] = [LEASE, BLOCK].map(|length| length.as_millis().to_string());
        let called = Instant::now();
        match client.try_cmd(&["LOCK.ACQUIRE", "k", owner, "PX", &lease, "BLOCK", &block]) {
            Ok(Value::Int(fence)) => {
                let granted = Instant::now();
                thread::sleep(self.work);
                let grant = Grant::until_now(called, granted, server, fence, LEASE);
                let released = client.try_cmd(&["LOCK.RELEASE", "k", owner]);
                self.seen().push(grant.released(released.as_ref().ok(), LEASE));
                released.is_ok()
            }
            Ok(Value::NullBulk) => true,
            // NOREPLICAS, CLUSTERDOWN: not now. UNBLOCKED, READONLY, MOVED, or gone: elsewhere.
            Ok(_) | Err(_) => false,
        }
    }

    /// Waits until this server, or any (`None`), has granted so many more holds.
    #[track_caller]
    pub fn until_granted(&self, more: usize, server: Option<u16>, when: &str) {
        let count = || self.seen().iter().filter(|grant| server.is_none_or(|server| grant.server == server)).count();
        let before = count();
        let gone_on = poll(PATIENCE, || (count() >= before + more).then_some(()));
        assert!(gone_on.is_some(), "grants do not go on: {when}");
    }

    /// To be kept as long as clients are to go on.
    pub fn until_dropped(&self) -> LoadEnd<'_> {
        LoadEnd(&self.is_over)
    }

    /// What all clients saw, in the order of the grants.
    pub fn into_history(self) -> Vec<Grant> {
        let mut history = self.history.into_inner().unwrap_or_else(PoisonError::into_inner);
        history.sort_by_key(|grant| grant.granted);
        history
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Grant>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
