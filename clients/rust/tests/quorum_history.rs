//! Histories of clients over independent servers that fail: whoever relies on a hold has it alone, and fences rise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod independent;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use independent::{quorum, servers};
use redis_lock_client::{Guard, Request};
use support::{judge, until, Grant, Server};

const LEASE: Duration = Duration::from_millis(1000);
/// How long a client asks before it looks whether all is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// What all clients of a test share.
#[derive(Default)]
struct Scene {
    is_over: AtomicBool,
    grants: Mutex<Vec<Hold>>,
    resource: Mutex<Resource>,
}

/// One hold: whose, and with how many others it may be; 1 for an exclusive one.
#[derive(Clone, Copy, Debug)]
struct Hold {
    client: usize,
    limit: usize,
    grant: Grant,
}

/// What the lock is about: it remembers the largest fence it saw from an exclusive holder and rejects smaller ones.
#[derive(Default)]
struct Resource {
    largest: u64,
    /// Of those who were stopped beyond their lease.
    rejected: usize,
}

impl Resource {
    fn write(&mut self, fence: u64) -> bool {
        let is_accepted = fence >= self.largest;
        self.largest = self.largest.max(fence);
        is_accepted
    }
}

impl Scene {
    /// A client on a thread and a runtime of its own. `stall`: so long it stands still now and then while it holds: nothing of
    /// it runs, as in a process that is stopped.
    fn client(self: &Arc<Scene>, client: usize, limit: usize, request: Request, stall: Duration) -> JoinHandle<()> {
        let scene = Arc::clone(self);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !scene.is_over.load(Ordering::Relaxed) {
                    let called = Instant::now();
                    let Ok(guard) = request.acquire(PATIENCE).await else { continue };
                    let granted = Instant::now();
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
                    let is_stopped = !stall.is_zero() && rand::random_ratio(1, 4);
                    if is_stopped {
                        thread::sleep(stall);
                        assert_eq!(guard.held_until(), None, "seen at once, before anything else runs");
                    }
                    if limit == 1 {
                        scene.write(&guard, is_stopped);
                    }
                    let (fence, until) = (guard.fence(), guard.held_until());
                    let ended = until.map_or(granted, |until| until.min(Instant::now()));
                    let grant = Grant { called, granted, server: 0, fence, ended, vanished: false };
                    scene.grants.lock().unwrap().push(Hold { client, limit, grant });
                    let _ = guard.release().await;
                    // Others want it too.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..10))).await;
                }
            });
        })
    }

    fn write(&self, guard: &Guard, is_stopped: bool) {
        let mut resource = self.resource.lock().unwrap();
        let is_accepted = resource.write(guard.fence());
        // Whoever still has it after the write had it when it wrote.
        assert!(is_accepted || guard.held_until().is_none(), "a holder's write was rejected: {guard:?}");
        resource.rejected += usize::from(is_stopped && !is_accepted);
    }

    fn count(&self) -> usize {
        self.grants.lock().unwrap().len()
    }

    /// Waits for some grants more.
    #[track_caller]
    fn go_on(&self, what: &str) {
        let before = self.count();
        until(format!("grants go on: {what}"), || self.count() > before + 5);
    }

    /// One server stands still, another one dies and comes back with nothing, after the longest lease; its clock may be set on
    /// meanwhile.
    fn fail(&self, servers: &[Server], round: usize, clock_s: Option<i64>) {
        let (killed, stopped) = (&servers[round % servers.len()], &servers[(round + 1) % servers.len()]);
        stopped.sigstop();
        self.go_on("one is stopped");
        if servers.len() >= 5 {
            killed.kill9();
            self.go_on("and one killed");
            stopped.sigcont();
        } else {
            stopped.sigcont();
            self.go_on("the one goes on");
            killed.kill9();
        }
        self.go_on("one is killed");
        thread::sleep(LEASE);
        if let Some(seconds) = clock_s {
            killed.reconfigure(|settings| settings.clock_off_by(seconds));
        }
        killed.restart();
        self.go_on("all are back");
    }

    fn end(&self, clients: Vec<JoinHandle<()>>) -> Vec<Hold> {
        self.is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        self.grants.lock().unwrap().clone()
    }
}

/// Five servers with clocks apart, five clients, one of which stands still beyond its lease now and then.
#[test]
fn fences_rise_and_nobody_holds_twice_while_servers_and_clients_fail() {
    const CLOCKS: [i64; 5] = [0, 1, 2, 0, 1];
    // A server that binds modules to the C library before what is preloaded has a clock that is right.
    let servers = CLOCKS.map(|seconds| Server::builder().clock_off_by(seconds).start());
    let scene = Arc::<Scene>::default();
    let clients = (0..5).map(|n| {
        let stall = if n == 0 { LEASE * 3 / 2 } else { Duration::ZERO };
        scene.client(n, 1, quorum(&servers).key("k").lease(LEASE), stall)
    });
    let clients = clients.collect();
    for (round, clock) in CLOCKS.into_iter().enumerate() {
        scene.fail(&servers, round, Some(clock + 1));
    }
    until("a write of the one that stood still was rejected", || scene.resource.lock().unwrap().rejected > 0);
    let history = scene.end(clients);
    let of_each: Vec<usize> = (0..5).map(|n| history.iter().filter(|hold| hold.client == n).count()).collect();
    println!("grants of each client: {of_each:?}");
    assert!(of_each.iter().all(|grants| *grants > 0), "some never got in: {of_each:?}");
    let judgement = judge(history.into_iter().map(|hold| hold.grant).collect(), &[0]);
    assert_eq!(judgement.faults, Vec::<String>::new());
}

/// Holds that were relied on at the same time although there were too many of them: more than the smallest limit among them.
fn crowds(history: &[Hold]) -> Vec<Vec<Hold>> {
    let beside = |at: Instant| history.iter().filter(move |hold| hold.grant.granted <= at && at < hold.grant.ended);
    let crowds = history.iter().map(|hold| beside(hold.grant.granted).copied().collect::<Vec<_>>());
    crowds.filter(|holds| holds.iter().map(|hold| hold.limit).min().is_some_and(|least| holds.len() > least)).collect()
}

/// Readers, writers and holders of permits.
#[test]
fn limits_are_kept_while_servers_fail() {
    const LIMIT: u32 = 3;
    let servers = servers(3);
    let scene = Arc::<Scene>::default();
    let clients = (0..6).map(|n| {
        let request = quorum(&servers).key("k").lease(LEASE);
        match n {
            0 => scene.client(n, 1, request, Duration::ZERO),
            _ => scene.client(n, LIMIT as usize, request.counted(LIMIT), Duration::ZERO),
        }
    });
    let clients = clients.collect();
    for round in 0..3 {
        scene.fail(&servers, round, None);
    }
    let writes = || scene.grants.lock().unwrap().iter().any(|hold| hold.limit == 1);
    until("somebody had it alone", writes);
    let history = scene.end(clients);
    let together = |hold: &&Hold| {
        let at = hold.grant.granted;
        history.iter().filter(|other| other.grant.granted <= at && at < other.grant.ended).count() > 1
    };
    println!("{} grants, {} of them beside others", history.len(), history.iter().filter(together).count());
    assert!(history.iter().any(|hold| together(&hold)), "permits are held together");
    assert!(crowds(&history).is_empty(), "{:?}", crowds(&history));
}

#[test]
fn crowd_is_seen() {
    let start = Instant::now();
    let hold = |granted, ended, limit| {
        let [granted, ended] = [granted, ended].map(|ms| start + Duration::from_millis(ms));
        Hold {
            client: 0,
            limit,
            grant: Grant { called: granted, granted, server: 0, fence: 1, ended, vanished: false },
        }
    };
    let right = [hold(0, 5, 2), hold(1, 3, 2), hold(3, 6, 2), hold(6, 7, 1)];
    assert!(crowds(&right).is_empty());
    for wrong in [hold(2, 4, 3), hold(2, 4, 1)] {
        assert!(!crowds(&[&right[..], &[wrong]].concat()).is_empty());
    }
}
