//! Locks of one server: alone, shared, as permits of a semaphore, and re-entrant.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1:6379 cargo run -p redis-lock-client --example lock
//! ```

use std::sync::Mutex;
use std::time::Duration;

use redis_lock_client::{Error, Guard, Lock, Locks};

/// What the lock is about. It remembers the largest fence it saw and rejects smaller ones: so a holder that was stopped beyond
/// its lease, and does not know it, spoils nothing.
#[derive(Default)]
struct Account(Mutex<(u64, i64)>);

impl Account {
    fn add(&self, amount: i64, fence: u64) -> Result<i64, &'static str> {
        let mut account = self.0.lock().map_err(|_| "somebody failed in the middle")?;
        if fence < account.0 {
            return Err("another holder came later");
        }
        *account = (fence, account.1 + amount);
        Ok(account.1)
    }
}

/// The tour.
pub async fn run(url: &str) -> Result<(), Error> {
    let locks = Lock::server(url)?;
    let account = Account::default();

    // Waits in the server's line up to 5 s. A dead holder keeps others out for 10 s at most; a living one renews its hold.
    let guard = locks.key("account:7").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5)).await?;
    println!("granted with fence {}", guard.fence());
    tokio::select! {
        () = guard.lost() => println!("somebody else may hold it now: stop"),
        balance = deposit(guard.clone(), &account) => println!("balance: {balance:?}"),
    }
    guard.release().await?;

    // Asks once.
    let alone = locks.key("account:7").try_acquire().await?;
    match locks.key("account:7").try_acquire().await {
        Err(Error::NotAcquired) => println!("busy, as it should be"),
        other => println!("unexpected: {other:?}"),
    }
    alone.release().await?;

    // Readers together, never beside a writer.
    let readers =
        [locks.key("report").shared().try_acquire().await?, locks.key("report").shared().try_acquire().await?];
    println!("{} readers", readers.len());
    for reader in readers {
        reader.release().await?;
    }

    // Two at a time.
    let _one = locks.key("printer").counted(2).try_acquire().await?;
    let _two = locks.key("printer").counted(2).try_acquire().await?;
    let third = locks.key("printer").counted(2).acquire(Duration::from_millis(100)).await;
    println!("a third one: {third:?}");
    Ok(())
    // What was not released is released when it is dropped.
}

/// Part of what its caller does under the same hold: it has a clone, and the hold ends with the last one.
async fn deposit(guard: Guard, account: &Account) -> Result<i64, &'static str> {
    account.add(100, guard.fence())
}

#[allow(dead_code)] // The tests call `run`.
#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    run(&url).await
}
