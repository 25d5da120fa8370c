//! Clients that take several locks of a cluster again and again, alone and together, and what they saw.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::cluster_client::{Answer, ClusterClient};
use super::history::Grant;
use super::load::{LoadEnd, BLOCK, LEASE, PATIENCE, PAUSE, SILENCE, WORK};
use super::modes::{Hold, Mode};
use super::poll;
use super::value::Value;

/// Clients that take turns with some locks.
#[derive(Debug)]
pub struct ClusterLoad {
    keys: Vec<String>,
    is_over: AtomicBool,
    /// What was seen of each lock.
    seen: Vec<Mutex<Vec<Hold>>>,
}

impl ClusterLoad {
    /// Nobody yet (see [`ClusterLoad::take_turns`]).
    pub fn new(keys: &[&str]) -> ClusterLoad {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        ClusterLoad { seen: keys.iter().map(|_| Mutex::default()).collect(), keys, is_over: AtomicBool::new(false) }
    }

    /// To be kept as long as clients are to go on.
    pub fn until_dropped(&self) -> LoadEnd<'_> {
        LoadEnd(&self.is_over)
    }

    /// Whether clients are to stop.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One client of these nodes: takes and releases one lock after the other until the [`LoadEnd`], each time under a new owner,
    /// and writes down each hold. `mode` says how, given which lock and which turn it is.
    pub fn take_turns(&self, name: &str, nodes: Vec<u16>, mode: impl Fn(usize, usize) -> Mode) {
        let mut client = ClusterClient::new(nodes, SILENCE);
        for turn in 0.. {
            if self.is_over() {
                return;
            }
            let which = turn % self.keys.len();
            if !self.turn(&mut client, which, mode(which, turn), &format!("{name}-{turn}")) {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Whether there was somebody to ask.
    fn turn(&self, client: &mut ClusterClient, which: usize, mode: Mode, owner: &str) -> bool {
        let key = &self.keys[which];
        let [lease, block] = [LEASE, BLOCK].map(|length| length.as_millis().to_string());
        let mut request = vec!["LOCK.ACQUIRE", key, owner, "PX", &lease, "BLOCK", &block];
        let limit = mode.limit().to_string();
        if mode != Mode::Alone {
            request.extend(["SHARED", "LIMIT", &limit]);
        }
        let Some(Answer { called, server, value }) = client.ask(key, &request) else { return false };
        let fence = match value {
            Value::Int(fence) => fence,
            Value::NullBulk => return true,
            other => panic!("{request:?}: {other:?}"),
        };
        let granted = Instant::now();
        thread::sleep(WORK);
        let grant = Grant::until_now(called, granted, server, fence, LEASE);
        let released = client.ask(key, &["LOCK.RELEASE", key, owner]);
        let grant = grant.released(released.as_ref().map(|answer| &answer.value), LEASE);
        self.seen(which).push(Hold { grant, mode });
        released.is_some()
    }

    /// Waits until this server, or any (`None`), has granted so many more holds of each lock.
    #[track_caller]
    pub fn until_granted(&self, more: usize, server: Option<u16>, when: &str) {
        let is_meant = |hold: &&Hold| server.is_none_or(|server| hold.grant.server == server);
        let counts = || (0..self.keys.len()).map(|which| self.seen(which).iter().filter(is_meant).count());
        let before: Vec<usize> = counts().collect();
        let have_come = || counts().zip(&before).all(|(now, before)| now >= before + more);
        assert!(poll(PATIENCE, || have_come().then_some(())).is_some(), "grants do not go on: {when}");
    }

    /// What all clients saw of each lock, in the order of the grants.
    pub fn into_histories(self) -> Vec<Vec<Hold>> {
        let sorted = |seen: Mutex<Vec<Hold>>| {
            let mut history = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
            history.sort_by_key(|hold| hold.grant.granted);
            history
        };
        self.seen.into_iter().map(sorted).collect()
    }

    fn seen(&self, which: usize) -> MutexGuard<'_, Vec<Hold>> {
        self.seen[which].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
