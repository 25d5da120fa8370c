//! Stalls of the server that are shorter than the lease lose no hold, and cost few connections.

use std::time::{Duration, Instant};

use crate::common::locks_on;
use redis_lock_client::{Guard, Locks};
use support::{spawn, Server};

const LEASE: Duration = Duration::from_secs(10);
/// How much of every lease must be left when the server stops.
const LEFT: Duration = Duration::from_millis(6500);
/// How many connections a client may have opened after a stall.
const CONNECTIONS: u64 = 10;

/// Programs that keep the machine busy until this is dropped.
struct Load(Vec<std::process::Child>);

impl Load {
    fn start(count: usize) -> Load {
        let busy = || {
            let mut command = std::process::Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            spawn(command).unwrap()
        };
        Load((0..count).map(|_| busy()).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

async fn acquire_many(locks: &Locks, count: usize) -> Vec<Guard> {
    let acquiring = (0..count).map(|n| {
        let request = locks.key(format!("k{n}")).lease(LEASE);
        tokio::spawn(async move { request.acquire(Duration::from_secs(60)).await })
    });
    let mut guards = Vec::new();
    for acquiring in acquiring.collect::<Vec<_>>() {
        guards.push(acquiring.await.unwrap().unwrap());
    }
    guards
}

/// Stops the server for so long while it has so many holds. Nobody may lose one.
async fn stall(count: usize, length: Duration, busy: usize) {
    let server = Server::start();
    let _load = Load::start(busy);
    let locks = locks_on(server.port());
    let guards = acquire_many(&locks, count).await;
    // Stop in the midst of renewals, when the leases are as different as they get.
    let begun = Instant::now();
    while locks.stats().renewals < count as u64 || guards.iter().any(|guard| guard.remaining() < LEFT) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the holds are not renewed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let renewals = locks.stats().renewals;
    server.sigstop();
    tokio::time::sleep(length).await;
    server.sigcont();
    let begun = Instant::now();
    while locks.stats().renewals < renewals + count as u64 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", locks.stats());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stats = locks.stats();
    println!("{count} holds, {length:?}, {busy} busy: {} lost, {stats:?}", stats.lost);
    assert_eq!(guards.iter().filter(|guard| !guard.is_held()).count(), 0, "{stats:?}");
    assert_eq!(stats.lost, 0);
    assert!(stats.connections_opened <= CONNECTIONS, "{stats:?}");
    let releasing: Vec<_> = guards.into_iter().map(|guard| tokio::spawn(guard.release())).collect();
    for releasing in releasing {
        releasing.await.unwrap().unwrap();
    }
    server.assert_no_keys();
}

#[tokio::test(flavor = "multi_thread")]
async fn stall_shorter_than_the_lease_loses_no_hold() {
    stall(500, Duration::from_secs(4), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: `make nightly` runs it"]
async fn stall_of_six_seconds_loses_none_of_2000_holds() {
    stall(2000, Duration::from_secs(6), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute: `make nightly` runs it"]
async fn stall_of_five_seconds_loses_none_of_5000_holds() {
    stall(5000, Duration::from_secs(5), 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "keeps the machine busy for a minute: `make nightly` runs it"]
async fn stall_loses_no_hold_on_a_busy_machine() {
    stall(2000, Duration::from_secs(6), 2).await;
    stall(5000, Duration::from_secs(5), 2).await;
}
