//! What is asked for.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use redis::Cmd;

use crate::back::Back;
use crate::error::Error;
use crate::guard::Guard;

/// The shortest lease: below it, renewal would not keep up with the network.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// The longest lease that a server accepts without being set otherwise.
const LEASE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How a lock is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    #[default]
    Exclusive,
    /// With other shared holders, never beside an exclusive one.
    Shared,
    /// With fewer than so many other shared holders (1 to 1 000 000): a semaphore.
    Counted(NonZeroU32),
}

/// A lock to be asked for.
#[derive(Clone)]
pub struct Request {
    back: Arc<Back>,
    asked: Asked,
}

/// The part of it that is sent.
#[derive(Clone)]
pub(crate) struct Asked {
    pub key: Vec<u8>,
    pub lease: Duration,
    pub mode: Mode,
}

impl Request {
    pub(crate) fn new(back: Arc<Back>, key: Vec<u8>) -> Request {
        Request { back, asked: Asked { key, lease: Duration::from_secs(30), mode: Mode::Exclusive } }
    }

    /// How long the hold lasts if it is not renewed (10 ms to 365 days, in whole milliseconds; 30 s if left out). It is
    /// renewed after every third of it, so this is how long others wait when this process dies.
    pub fn lease(mut self, lease: Duration) -> Request {
        self.asked.lease = lease;
        self
    }

    /// Held with other shared holders.
    pub fn shared(mut self) -> Request {
        self.asked.mode = Mode::Shared;
        self
    }

    /// Held with fewer than `limit` other shared holders. Over a quorum more than `limit` can never have it together, but
    /// fewer may get in than could.
    pub fn counted(mut self, limit: NonZeroU32) -> Request {
        self.asked.mode = Mode::Counted(limit);
        self
    }

    /// Asks once. [`Error::NotAcquired`] if it is busy.
    pub async fn try_acquire(&self) -> Result<Guard, Error> {
        self.acquire(Duration::ZERO).await
    }

    /// Waits up to so long: on one server in its line, first come, first served; over a quorum by asking again and again.
    /// Dropping the future withdraws the request.
    pub async fn acquire(&self, within: Duration) -> Result<Guard, Error> {
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.asked.lease) {
            return Err(Error::Invalid("a lease must be from 10 ms to 365 days"));
        }
        let grant = Back::acquire(&self.back, &self.asked, within).await?;
        Ok(Guard::new(Arc::clone(&self.back), self.asked.clone(), grant))
    }
}

impl Asked {
    /// The lease as it is sent, in milliseconds.
    pub fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// LOCK.ACQUIRE, waiting in the server for so long.
    pub fn acquire(&self, owner: &str, block: Option<Duration>) -> Cmd {
        let mut cmd = self.command("LOCK.ACQUIRE", owner);
        cmd.arg("PX").arg(self.lease_ms());
        // BLOCK 0 would be without limit.
        if let Some(ms) = block.map(|block| block.as_millis()).filter(|ms| *ms > 0) {
            cmd.arg("BLOCK").arg(u64::try_from(ms).unwrap_or(u64::MAX >> 1));
        }
        match self.mode {
            Mode::Exclusive => {}
            Mode::Shared => {
                cmd.arg("SHARED");
            }
            Mode::Counted(limit) => {
                cmd.arg("SHARED").arg("LIMIT").arg(limit.get());
            }
        }
        cmd
    }

    /// LOCK.EXTEND of the hold with this fence.
    pub fn extend(&self, owner: &str, fence: u64) -> Cmd {
        let mut cmd = self.command("LOCK.EXTEND", owner);
        cmd.arg("PX").arg(self.lease_ms()).arg("FENCE").arg(fence);
        cmd
    }

    /// LOCK.EXTEND that raises the hold's fence to this one.
    pub fn raise(&self, owner: &str, fence: u64) -> Cmd {
        let mut cmd = self.command("LOCK.EXTEND", owner);
        cmd.arg("PX").arg(self.lease_ms()).arg("RAISE").arg(fence);
        cmd
    }

    /// LOCK.RELEASE of the owner's hold and waits, whatever its fence: nobody else ever has this owner's name.
    pub fn release(&self, owner: &str) -> Cmd {
        self.command("LOCK.RELEASE", owner)
    }

    fn command(&self, name: &str, owner: &str) -> Cmd {
        let mut cmd = redis::cmd(name);
        cmd.arg(self.key.as_slice()).arg(owner);
        cmd
    }
}
