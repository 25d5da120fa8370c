//! Leader election: one leads, the next takes over, and observers are told.

use std::time::Duration;

use crate::common::{locks_on, waiters, LONG};
use support::{until, Server};
use tokio::time::timeout;

/// The time limit of what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread")]
async fn next_candidate_leads_when_the_leader_resigns_and_observers_are_told() {
    let server = Server::start();
    let candidates = [locks_on(server.port()), locks_on(server.port())].map(|locks| locks.election("k").lease(LONG));
    let mut observer = locks_on(server.port()).election("k").observe();
    assert_eq!(observer.changed().await.unwrap(), None);
    let first = candidates[0].elect(LONG).await.unwrap();
    assert_eq!(timeout(SOON, observer.changed()).await.unwrap().unwrap().as_deref(), Some(first.owner()));
    let candidate = candidates[1].clone();
    let next = tokio::spawn(async move { candidate.elect(Duration::MAX).await });
    until("the second candidate waits", || waiters(&server) == 1);
    let fence = first.fence();
    assert!(first.is_leader());
    first.resign().await.unwrap();
    let second = timeout(SOON, next).await.unwrap().unwrap().unwrap();
    assert!(second.fence() > fence);
    let told = timeout(SOON, observer.changed()).await.expect("told by the server").unwrap();
    assert_eq!(told.as_deref(), Some(second.owner()));
    server.cmd(&["DEL", "k"]);
    timeout(SOON, second.lost()).await.unwrap();
    assert_eq!(timeout(SOON, observer.changed()).await.unwrap().unwrap(), None);
}

/// A leader whose process dies is followed at once, because its connection closes.
#[tokio::test(flavor = "multi_thread")]
async fn session_of_a_leader_ends_with_its_process() {
    let server = Server::start();
    let port = server.port();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let first = runtime.spawn(async move { locks_on(port).election("k").lease(LONG).session().elect(LONG).await });
    let first = first.await.unwrap().unwrap();
    let next = tokio::spawn(async move { locks_on(port).election("k").session().elect(Duration::MAX).await });
    until("the second candidate waits", || waiters(&server) == 1);
    runtime.shutdown_background();
    let second = timeout(SOON, next).await.expect("long before the lease ends").unwrap().unwrap();
    assert!(second.fence() > first.fence());
    second.resign().await.unwrap();
}
