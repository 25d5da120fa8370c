//! What a request asks for, and the commands that carry it.

use std::time::{Duration, Instant};

use redis::Cmd;

use crate::error::Error;

/// The shortest lease. A shorter one would expire before a renewal could cross the network.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// The longest lease that a server accepts in its default configuration.
const LEASE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The lease of a request that names none.
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// The largest limit of a semaphore that a server accepts.
const LIMIT_MAX: u32 = 1_000_000;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By one owner.
    Exclusive,
    /// By any number of shared holders, and never together with an exclusive one.
    Shared,
    /// By at most this many shared holders.
    Counted(u32),
}

/// The lock that a request asks for, and how it wants to hold it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub key: Vec<u8>,
    /// In whole milliseconds.
    pub lease: Duration,
    pub mode: Mode,
}

impl Spec {
    /// An exclusive lock of this key with the default lease of 30 s.
    pub fn new(key: Vec<u8>) -> Spec {
        Spec { key, lease: LEASE_DEFAULT, mode: Mode::Exclusive }
    }

    /// Checks that a server can accept the lease and the limit.
    pub fn check_ranges(&self) -> Result<(), Error> {
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

    /// The moment up to which a lease is surely valid if its command was sent at `sent_at`. The clocks of client and
    /// server may drift apart, so a hundredth of the lease and 2 ms are taken off.
    pub fn valid_until(&self, sent_at: Instant) -> Instant {
        let drift = self.lease / 100 + Duration::from_millis(2);
        sent_at + self.lease.saturating_sub(drift)
    }

    /// LOCK.ACQUIRE. With `block_ms` the owner waits that many milliseconds in the server's queue; 0 waits without
    /// limit.
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

    /// LOCK.EXTEND for the hold that has this fence.
    pub fn extend(&self, owner: &str, fence: u64) -> Cmd {
        let mut cmd = self.command("LOCK.EXTEND", owner);
        cmd.arg("PX").arg(self.lease_ms()).arg("FENCE").arg(fence);
        cmd
    }

    /// LOCK.EXTEND that also raises the fence of the hold to this one.
    pub fn raise(&self, owner: &str, fence: u64) -> Cmd {
        let mut cmd = self.command("LOCK.EXTEND", owner);
        cmd.arg("PX").arg(self.lease_ms()).arg("RAISE").arg(fence);
        cmd
    }

    /// LOCK.CHECK for the hold of this owner.
    pub fn check(&self, owner: &str) -> Cmd {
        self.command("LOCK.CHECK", owner)
    }

    /// LOCK.RELEASE for every hold and wait of this owner, with any fence. Owner names are never reused, so this cannot
    /// release the hold of a later request.
    pub fn release(&self, owner: &str) -> Cmd {
        self.command("LOCK.RELEASE", owner)
    }

    fn lease_ms(&self) -> u64 {
        u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX)
    }

    fn command(&self, name: &str, owner: &str) -> Cmd {
        let mut cmd = redis::cmd(name);
        cmd.arg(self.key.as_slice()).arg(owner);
        cmd
    }
}

/// The argument of BLOCK for a wait up to `deadline`, in milliseconds. `None` as a deadline means without limit, for
/// which BLOCK takes 0. The result is `None` if the deadline has passed, so that the request must not wait.
pub(crate) fn block_ms(deadline: Option<Instant>) -> Option<u64> {
    let Some(deadline) = deadline else { return Some(0) };
    let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
    let most = u128::from(i64::MAX.unsigned_abs());
    u64::try_from(remaining.min(most)).ok().filter(|ms| *ms > 0)
}
