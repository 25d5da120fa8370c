//! Locks of one server: exclusive, shared, counted (a semaphore), and re-entrant.
//!
//! ```sh
//! REDIS_URL=redis://127.0.0.1:6379 cargo run -p redis-lock-client --example lock
//! ```

use std::sync::Mutex;
use std::time::Duration;

use redis_lock_client::{Error, Guard, Locks};

/// The resource that the lock protects. It remembers the largest fence it has seen and rejects smaller ones. So a
/// holder that was suspended beyond its lease, and does not know it, does no harm.
#[derive(Default)]
struct Account(Mutex<(u64, i64)>);

impl Account {
    fn add(&self, amount: i64, fence: u64) -> Result<i64, &'static str> {
        let mut account = self.0.lock().map_err(|_| "another thread panicked during its update")?;
        if fence < account.0 {
            return Err("another client has held the lock since");
        }
        *account = (fence, account.1 + amount);
        Ok(account.1)
    }
}

/// Shows each kind of lock once.
pub async fn run(url: &str) -> Result<(), Error> {
    let locks = Locks::server(url)?;
    let account = Account::default();

    // Wait in the server's queue for up to 5 s. A dead holder keeps others out for at most 10 s; a live one renews its
    // hold.
    let guard = locks.key("account:7").lease(Duration::from_secs(10)).acquire(Duration::from_secs(5)).await?;
    println!("granted with fence {}", guard.fence());
    tokio::select! {
        loss = guard.lost() => println!("another client may hold the lock now ({loss:?}): stop"),
        balance = deposit(guard.clone(), &account) => println!("balance: {balance:?}"),
    }
    guard.release().await?;

    // Ask once, without waiting.
    let exclusive = locks.key("account:7").try_acquire().await?;
    match locks.key("account:7").try_acquire().await {
        Err(Error::NotAcquired) => println!("the lock is taken, as expected"),
        other => println!("unexpected: {other:?}"),
    }
    exclusive.release().await?;

    // Readers share the lock, but never with a writer.
    let readers =
        [locks.key("report").shared().try_acquire().await?, locks.key("report").shared().try_acquire().await?];
    println!("{} readers", readers.len());
    for reader in readers {
        reader.release().await?;
    }

    // A semaphore with two permits.
    let _one = locks.key("printer").counted(2).try_acquire().await?;
    let _two = locks.key("printer").counted(2).try_acquire().await?;
    let third = locks.key("printer").counted(2).acquire(Duration::from_millis(100)).await;
    println!("the third request: {third:?}");
    Ok(())
    // The guards that are still alive release their permits here, when they are dropped.
}

/// Works under the hold of its caller. It gets a clone of the guard, and the hold ends with the last clone.
async fn deposit(guard: Guard, account: &Account) -> Result<i64, &'static str> {
    account.add(100, guard.fence())
}

#[allow(dead_code)] // The tests call only `run`.
#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    run(&url).await
}
