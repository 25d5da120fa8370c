//! Locks in memory behave as those of a server. `scenarios` runs over both; the others are about memory and its clock.

use std::time::Duration;

use crate::common::LONG;
use redis_lock_client::{Error, Filter, Locks, Loss, MemoryServer};
use support::Server;
use tokio::time::{sleep, timeout, Instant};

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

async fn until_waiting(locks: &Locks, key: &str, count: u64) {
    let all_wait = async {
        while locks.info(key).await.unwrap().is_none_or(|info| info.waiters != count) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, all_wait).await.expect("they wait");
}

/// What every kind of server does.
async fn scenarios(locks: [Locks; 2]) {
    let [mine, yours] = locks;
    // Exclusive, with fences that rise.
    let first = mine.key("k").lease(LONG).acquire(SOON).await.unwrap();
    assert!(matches!(yours.key("k").try_acquire().await, Err(Error::NotAcquired)));
    assert!(matches!(yours.key("k").acquire(Duration::from_millis(50)).await, Err(Error::NotAcquired)));
    let waiter = tokio::spawn({
        let request = yours.key("k").lease(LONG);
        async move { request.acquire(SOON).await }
    });
    until_waiting(&mine, "k", 1).await;
    let fence = first.fence();
    first.release().await.unwrap();
    let second = waiter.await.unwrap().unwrap();
    assert!(second.fence() > fence && second.check().await.unwrap().is_some());
    second.extend_to(LONG / 2).await.unwrap();
    // Downgrade, shared and counted holds.
    second.downgrade().await.unwrap();
    let reader = mine.key("k").shared().lease(LONG).try_acquire().await.unwrap();
    assert!(matches!(mine.key("k").try_acquire().await, Err(Error::NotAcquired)));
    assert_eq!(mine.info("k").await.unwrap().unwrap().holders_count, 2);
    second.release().await.unwrap();
    reader.release().await.unwrap();
    assert_eq!(mine.info("k").await.unwrap(), None);
    let heavy = mine.key("k").weighted(5, 3).try_acquire().await.unwrap();
    assert!(matches!(yours.key("k").weighted(5, 3).try_acquire().await, Err(Error::NotAcquired)));
    yours.key("k").weighted(5, 2).try_acquire().await.unwrap().release().await.unwrap();
    heavy.release().await.unwrap();
    // Several keys, all or none.
    let one = mine.key("b").lease(LONG).try_acquire().await.unwrap();
    assert!(matches!(yours.keys(["a", "b"]).try_acquire().await, Err(Error::NotAcquired)));
    assert_eq!(mine.info("a").await.unwrap(), None);
    one.release().await.unwrap();
    let both = yours.keys(["a", "b"]).lease(LONG).try_acquire().await.unwrap();
    assert_eq!(both.fences().len(), 2);
    let listed = mine.list(&Filter::all().held_by(both.owner())).await.unwrap();
    assert_eq!(listed.iter().map(|lock| lock.key.as_slice()).collect::<Vec<_>>().len(), 2);
    both.release().await.unwrap();
    // Cooling.
    mine.key("c").try_acquire().await.unwrap().release_and_cool(LONG).await.unwrap();
    assert!(matches!(yours.key("c").try_acquire().await, Err(Error::NotAcquired)));
    assert_eq!(mine.info("c").await.unwrap().unwrap().mode, "cooling");
    // Deadlocks.
    let (a, b) = (mine.owner(), yours.owner());
    let first = a.key("x").lease(LONG).try_acquire().await.unwrap();
    let second = b.key("y").lease(LONG).try_acquire().await.unwrap();
    let waiter = tokio::spawn({
        let request = a.key("y").lease(LONG);
        async move { request.acquire(Duration::MAX).await }
    });
    until_waiting(&mine, "y", 1).await;
    match b.key("x").acquire(Duration::MAX).await {
        Err(Error::Deadlock(error)) => assert!(error.text().contains("waits for"), "{error}"),
        other => panic!("{other:?}"),
    }
    second.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    first.release().await.unwrap();
    // A dropped request leaves nothing.
    let held = mine.key("k").lease(LONG).try_acquire().await.unwrap();
    let dropped = timeout(Duration::from_millis(50), yours.key("k").lease(LONG).acquire(LONG)).await;
    assert!(dropped.is_err());
    until_waiting(&mine, "k", 0).await;
    drop(held);
    timeout(SOON, mine.key("k").acquire(SOON)).await.unwrap().unwrap().release().await.unwrap();
    // Election.
    let mut observer = mine.election("leader").observe();
    assert_eq!(observer.changed().await.unwrap(), None);
    let leader = yours.election("leader").elect(SOON).await.unwrap();
    assert_eq!(timeout(SOON, observer.changed()).await.unwrap().unwrap().as_deref(), Some(leader.owner()));
    leader.resign().await.unwrap();
    assert_eq!(timeout(SOON, observer.changed()).await.unwrap().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_server_pass_the_scenarios() {
    let server = Server::start();
    scenarios([crate::common::locks_on(server.port()), crate::common::locks_on(server.port())]).await;
}

#[tokio::test(start_paused = true)]
async fn locks_in_memory_pass_the_scenarios() {
    let server = MemoryServer::new();
    scenarios([(); 2].map(|()| Locks::builder().memory(&server).unwrap())).await;
}

/// Time is that of the runtime: a test of an hour takes no time.
#[tokio::test(start_paused = true)]
async fn holds_are_renewed_and_lost_by_the_clock_of_the_runtime() {
    let server = MemoryServer::new();
    let locks = Locks::builder().memory(&server).unwrap();
    let renewed = locks.key("k").lease(Duration::from_secs(10)).try_acquire().await.unwrap();
    let once = locks.key("l").lease(Duration::from_secs(10)).without_renewal().try_acquire().await.unwrap();
    let begun = Instant::now();
    assert_eq!(once.lost().await, Loss::Expired);
    assert!(begun.elapsed() > Duration::from_secs(9) && begun.elapsed() < Duration::from_secs(11));
    sleep(Duration::from_secs(3600)).await;
    assert!(renewed.is_held() && locks.stats().renewals > 1000);
    assert!(server.remove("k"));
    assert_eq!(renewed.lost().await, Loss::Removed);
    let begun = Instant::now();
    let bounded =
        locks.key("m").max(Duration::from_secs(60)).delay(Duration::from_secs(60)).try_acquire().await.unwrap();
    let next = locks.key("m").acquire(Duration::MAX).await.unwrap();
    assert!(!bounded.is_held());
    assert!(begun.elapsed() >= Duration::from_secs(119), "it was held for a minute, and cooled for another");
    next.release().await.unwrap();
}
