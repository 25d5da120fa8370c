//! What is asked for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Cmd;

use crate::back::Back;
use crate::error::Error;
use crate::guard::Guard;

/// The shortest lease: below it, renewal would not keep up with the network.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// The longest lease that a server accepts without being set otherwise.
const LEASE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long a hold lasts if nothing is said.
const LEASE: Duration = Duration::from_secs(30);
/// The largest limit of a semaphore that servers accept.
const LIMIT_MAX: u32 = 1_000_000;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Alone.
    Exclusive,
    /// With other shared holders, never beside an exclusive one.
    Shared,
    /// With fewer than so many other shared holders.
    Counted(u32),
}

/// A lock to be asked for. It is asked for as often as one likes; each time is an acquisition of its own.
#[derive(Clone)]
#[must_use = "nothing is asked until `acquire` or `try_acquire`"]
pub struct Request {
    back: Arc<Back>,
    asked: Asked,
}

/// The part of it that is sent.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub key: Vec<u8>,
    /// In whole milliseconds.
    pub lease: Duration,
    pub mode: Mode,
}

impl Request {
    pub(crate) fn new(back: Arc<Back>, key: Vec<u8>) -> Request {
        Request { back, asked: Asked { key, lease: LEASE, mode: Mode::Exclusive } }
    }

    /// How long the hold lasts if it is not renewed: 10 ms to 365 days, in whole milliseconds; 30 s if left out. It is renewed
    /// after every third of it, so this is how long others wait when this process dies.
    pub fn lease(mut self, lease: Duration) -> Request {
        self.asked.lease = Duration::from_millis(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Held together with other shared holders, never beside an exclusive one.
    pub fn shared(mut self) -> Request {
        self.asked.mode = Mode::Shared;
        self
    }

    /// Held together with fewer than `limit` other shared holders (1 to 1 000 000): a semaphore of so many permits. All who
    /// ask for it must name the same limit.
    ///
    /// **Over a quorum** never more than `limit` hold it together, but some permits stay unused. Every holder has a majority of
    /// the servers, and two majorities need not be the same: if each of 3 servers let 2 in, 3 could have two servers each. So
    /// each server lets in fewer: of 3 servers about two thirds of the limit, of 5 three fifths. That many always get
    /// in, up to `limit` may. (Limit 2 gives 1 permit over 3 servers, limit 3 gives 2, limit 10 gives 7.)
    pub fn counted(mut self, limit: u32) -> Request {
        self.asked.mode = Mode::Counted(limit);
        self
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if others hold it, [`Error::NoQuorum`], [`Error::Invalid`], [`Error::Server`]. A server that does
    /// not answer is given up after 2 s.
    pub async fn try_acquire(&self) -> Result<Guard, Error> {
        self.acquire(Duration::ZERO).await
    }

    /// Waits up to so long ([`Duration::MAX`]: without limit): on one server in its line, first come, first served; over a
    /// quorum by asking again and again. A wait goes on at the new primary after a failover, and where the slot is after a
    /// move, at the end of the line there.
    ///
    /// Dropping the future withdraws the request: whatever it got or may still get is given back in the background.
    ///
    /// # Errors
    /// [`Error::NotAcquired`] if others held it all the time, [`Error::NoQuorum`], [`Error::Invalid`], [`Error::Server`]. A
    /// server that cannot be asked is tried again until the time is over.
    pub async fn acquire(&self, within: Duration) -> Result<Guard, Error> {
        self.asked.check_ranges()?;
        let runtime =
            tokio::runtime::Handle::try_current().map_err(|_| Error::Invalid("locks need a tokio runtime"))?;
        // What is too far away to be a moment is no limit.
        let until = Instant::now().checked_add(within);
        let grant = Back::acquire(&self.back, &self.asked, until, &runtime).await?;
        Ok(Guard::new(Arc::clone(&self.back), self.asked.clone(), grant, runtime))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { key, lease, mode } = &self.asked;
        let key = String::from_utf8_lossy(key);
        f.debug_struct("Request").field("key", &key).field("lease", lease).field("mode", mode).finish_non_exhaustive()
    }
}

/// BLOCK for a wait until then: `None`: it is over, so it is asked without waiting.
pub(crate) fn block_ms(until: Option<Instant>) -> Option<u64> {
    // BLOCK 0 is without limit.
    let Some(until) = until else { return Some(0) };
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    let most = u128::from(i64::MAX.unsigned_abs());
    u64::try_from(left.min(most)).ok().filter(|ms| *ms > 0)
}

impl Asked {
    fn check_ranges(&self) -> Result<(), Error> {
        if !(LEASE_MIN..=LEASE_MAX).contains(&self.lease) {
            return Err(Error::Invalid("a lease must be from 10 ms to 365 days"));
        }
        match self.mode {
            Mode::Counted(limit) if !(1..=LIMIT_MAX).contains(&limit) => {
                Err(Error::Invalid("a limit must be from 1 to 1000000"))
            }
            Mode::Exclusive | Mode::Shared | Mode::Counted(_) => Ok(()),
        }
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    /// LOCK.ACQUIRE, waiting in the server for so many milliseconds (0: without limit).
    pub fn acquire(&self, owner: &str, block_ms: Option<u64>) -> Cmd {
        let mut cmd = self.command("LOCK.ACQUIRE", owner);
        cmd.arg("PX").arg(self.lease_ms());
        if let Some(ms) = block_ms {
            cmd.arg("BLOCK").arg(ms);
        }
        match self.mode {
            Mode::Exclusive => {}
            Mode::Shared => {
                cmd.arg("SHARED");
            }
            Mode::Counted(limit) => {
                cmd.arg("SHARED").arg("LIMIT").arg(limit);
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

    /// LOCK.CHECK.
    pub fn check(&self, owner: &str) -> Cmd {
        self.command("LOCK.CHECK", owner)
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
