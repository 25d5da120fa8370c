//! Histories of clients of a quorum whose servers fail: holds never overlap beyond their limit, and fences rise.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::quorum::{quorum, start_servers};
use redis_lock_client::{Guard, Request};
use support::{judge, poll, until, Grant, Server};

const LEASE: Duration = Duration::from_millis(1000);
/// How long a client waits for the lock before it checks whether the test is done.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state that all clients of a test share.
#[derive(Default)]
struct Scenario {
    is_done: AtomicBool,
    history: Mutex<Vec<Entry>>,
    resource: Mutex<Resource>,
}

/// One hold of one client. `limit` is how many clients may hold the lock together with it, itself included; 1 if the
/// hold is exclusive.
#[derive(Clone, Copy, Debug)]
struct Entry {
    client: usize,
    limit: usize,
    grant: Grant,
}

/// The resource that the lock protects. It remembers the largest fence of an exclusive holder and rejects smaller ones.
#[derive(Default)]
struct Resource {
    largest: u64,
    /// The rejected writes of clients that were suspended beyond their lease.
    rejected: usize,
}

impl Resource {
    fn write(&mut self, fence: u64) -> bool {
        let is_accepted = fence >= self.largest;
        self.largest = self.largest.max(fence);
        is_accepted
    }
}

impl Scenario {
    /// Starts a client on a thread and a runtime of its own. In some of its holds it blocks that thread for `stall`, so
    /// that nothing of it runs, as in a process that is suspended.
    fn client(self: &Arc<Scenario>, client: usize, limit: usize, request: Request, stall: Duration) -> JoinHandle<()> {
        let scenario = Arc::clone(self);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !scenario.is_done.load(Ordering::Relaxed) {
                    let called = Instant::now();
                    let Ok(guard) = request.acquire(PATIENCE).await else { continue };
                    let granted = Instant::now();
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
                    let is_suspended = !stall.is_zero() && rand::random_ratio(1, 4);
                    if is_suspended {
                        thread::sleep(stall);
                        assert!(!guard.is_held(), "known at once, before anything else runs");
                    }
                    if limit == 1 {
                        scenario.write(&guard, is_suspended);
                    }
                    let (fence, is_held) = (guard.fence(), guard.is_held());
                    let ended = if is_held { Instant::now() } else { granted };
                    let grant = Grant { called, granted, server: 0, fence, ended, vanished: false };
                    scenario.history.lock().unwrap().push(Entry { client, limit, grant });
                    let _ = guard.release().await;
                    // Give the other clients a chance.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
                }
            });
        })
    }

    fn write(&self, guard: &Guard, is_suspended: bool) {
        let mut resource = self.resource.lock().unwrap();
        let is_accepted = resource.write(guard.fence());
        // A client that holds the lock after the write held it during the write.
        assert!(is_accepted || !guard.is_held(), "a holder's write was rejected: {guard:?}");
        resource.rejected += usize::from(is_suspended && !is_accepted);
    }

    fn count(&self) -> usize {
        self.history.lock().unwrap().len()
    }

    /// Waits for more grants.
    #[track_caller]
    fn wait_for_grants(&self, what: &str) {
        let before = self.count();
        // Clients of a quorum retry at random, so on a busy machine some rounds pass without a grant.
        let limit = Duration::from_secs(60);
        assert!(poll(limit, || (self.count() > before + 5).then_some(())).is_some(), "no grants: {what}");
    }

    /// Suspends one server, kills another, and restarts that one without data after the longest lease. `clock_s`
    /// changes its clock by so many seconds.
    fn fail_servers(&self, servers: &[Server], round: usize, clock_s: Option<i64>) {
        let (killed, suspended) = (&servers[round % servers.len()], &servers[(round + 1) % servers.len()]);
        suspended.sigstop();
        self.wait_for_grants("one server is suspended");
        if servers.len() >= 5 {
            killed.kill9();
            self.wait_for_grants("one is suspended and one dead");
            suspended.sigcont();
        } else {
            suspended.sigcont();
            self.wait_for_grants("the suspended server has resumed");
            killed.kill9();
        }
        self.wait_for_grants("one server is dead");
        thread::sleep(LEASE);
        if let Some(seconds) = clock_s {
            killed.reconfigure(|settings| settings.clock_off_by(seconds));
        }
        killed.restart();
        self.wait_for_grants("all servers are back");
    }

    /// Stops the clients and returns the history.
    fn finish(&self, clients: Vec<JoinHandle<()>>) -> Vec<Entry> {
        self.is_done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        self.history.lock().unwrap().clone()
    }
}

/// The clocks of five servers differ, and one of five clients is suspended beyond its lease now and then.
#[test]
fn fences_rise_and_holds_never_overlap_while_servers_and_clients_fail() {
    const CLOCKS: [i64; 5] = [0, 1, 2, 0, 1];
    // If a server binds modules to the C library before what is preloaded, the module sees the right clock.
    let servers = CLOCKS.map(|seconds| Server::builder().clock_off_by(seconds).start());
    let scenario = Arc::<Scenario>::default();
    let clients = (0..5).map(|n| {
        let stall = if n == 0 { LEASE * 3 / 2 } else { Duration::ZERO };
        scenario.client(n, 1, quorum(&servers).key("k").lease(LEASE), stall)
    });
    let clients = clients.collect();
    for (round, clock) in CLOCKS.into_iter().enumerate() {
        scenario.fail_servers(&servers, round, Some(clock + 1));
    }
    until("a write of the suspended client was rejected", || scenario.resource.lock().unwrap().rejected > 0);
    let history = scenario.finish(clients);
    let grants_per_client: Vec<usize> =
        (0..5).map(|n| history.iter().filter(|hold| hold.client == n).count()).collect();
    println!("grants of each client: {grants_per_client:?}");
    assert!(
        grants_per_client.iter().all(|grants| *grants > 0),
        "some clients never got the lock: {grants_per_client:?}"
    );
    let judgement = judge(history.into_iter().map(|hold| hold.grant).collect(), &[0]);
    assert_eq!(judgement.faults, Vec::<String>::new());
}

/// The groups of holds that overlap although they are more than the smallest limit among them.
fn overlaps_above_limit(history: &[Entry]) -> Vec<Vec<Entry>> {
    let held_at = |at: Instant| history.iter().filter(move |hold| hold.grant.granted <= at && at < hold.grant.ended);
    let overlaps = history.iter().map(|hold| held_at(hold.grant.granted).copied().collect::<Vec<_>>());
    overlaps
        .filter(|holds| holds.iter().map(|hold| hold.limit).min().is_some_and(|least| holds.len() > least))
        .collect()
}

/// One client asks for exclusive holds, the others for permits of a semaphore.
#[test]
fn limits_are_kept_while_servers_fail() {
    const LIMIT: u32 = 3;
    let servers = start_servers(3);
    let scenario = Arc::<Scenario>::default();
    let clients = (0..6).map(|n| {
        let request = quorum(&servers).key("k").lease(LEASE);
        match n {
            0 => scenario.client(n, 1, request, Duration::ZERO),
            _ => scenario.client(n, LIMIT as usize, request.counted(LIMIT), Duration::ZERO),
        }
    });
    let clients = clients.collect();
    for round in 0..3 {
        scenario.fail_servers(&servers, round, None);
    }
    let has_exclusive_hold = || scenario.history.lock().unwrap().iter().any(|hold| hold.limit == 1);
    until("one client had an exclusive hold", has_exclusive_hold);
    let history = scenario.finish(clients);
    let together = |hold: &&Entry| {
        let at = hold.grant.granted;
        history.iter().filter(|other| other.grant.granted <= at && at < other.grant.ended).count() > 1
    };
    println!("{} grants, {} of them together with others", history.len(), history.iter().filter(together).count());
    assert!(history.iter().any(|hold| together(&hold)), "permits are held together");
    assert!(overlaps_above_limit(&history).is_empty(), "{:?}", overlaps_above_limit(&history));
}

#[test]
fn overlap_above_the_limit_is_found() {
    let start = Instant::now();
    let hold = |granted, ended, limit| {
        let [granted, ended] = [granted, ended].map(|ms| start + Duration::from_millis(ms));
        Entry {
            client: 0,
            limit,
            grant: Grant { called: granted, granted, server: 0, fence: 1, ended, vanished: false },
        }
    };
    let right = [hold(0, 5, 2), hold(1, 3, 2), hold(3, 6, 2), hold(6, 7, 1)];
    assert!(overlaps_above_limit(&right).is_empty());
    for wrong in [hold(2, 4, 3), hold(2, 4, 1)] {
        assert!(!overlaps_above_limit(&[&right[..], &[wrong]].concat()).is_empty());
    }
}
