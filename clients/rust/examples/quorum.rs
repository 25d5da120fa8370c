//! A lock of a quorum: a majority of three independent servers must grant it. It survives the loss of one server.
//!
//! ```sh
//! REDIS_URLS='redis://a:6379 redis://b:6379 redis://c:6379' cargo run -p redis-lock-client --example quorum
//! ```

use std::time::Duration;

use redis_lock_client::{Error, Locks};

/// Acquires the lock twice, one grant after the other.
pub async fn run(urls: &[&str]) -> Result<(), Error> {
    let locks = Locks::quorum(urls.iter().copied())?;
    let request = locks.key("nightly-report").lease(Duration::from_secs(10));

    let guard = request.acquire(Duration::from_secs(5)).await?;
    println!("a majority of the servers has the fence {}", guard.fence());
    match request.try_acquire().await {
        Err(Error::NotAcquired) => println!("no other client gets a majority"),
        other => println!("unexpected: {other:?}"),
    }
    let fence = guard.fence();
    guard.release().await?;

    // The next majority has a server in common with this one, so its fence is larger.
    let next = request.acquire(Duration::from_secs(5)).await?;
    println!("the next fence is larger by {}", next.fence() - fence);
    next.release().await
}

#[allow(dead_code)] // The tests call only `run`.
#[tokio::main]
async fn main() -> Result<(), Error> {
    let urls = std::env::var("REDIS_URLS").unwrap_or_default();
    let urls: Vec<&str> = urls.split_whitespace().collect();
    run(&urls).await
}
