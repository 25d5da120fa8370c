//! What a request asks for, and the commands that carry it.

use std::time::Duration;

use redis::Cmd;
use tokio::time::Instant;

use crate::clock::Moment;
use crate::error::Error;

/// The shortest lease. A shorter one would expire before a renewal could cross the network.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// The longest lease that a server accepts in its default configuration.
const LEASE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The lease of a request that names none.
const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest delay that a server accepts.
const DELAY_MAX: Duration = Duration::from_secs(60 * 60);
/// The largest limit of a semaphore that a server accepts.
const LIMIT_MAX: u32 = 1_000_000;
/// The most keys that a server takes in one request.
const KEYS_MAX: usize = 64;

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// By one owner.
    Exclusive,
    /// By any number of shared holders, and never together with an exclusive one.
    Shared,
    /// By shared holders that take so many of `limit` units together.
    Counted { limit: u32, weight: u32 },
}

/// The locks that a request asks for, and how it wants to hold them.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub keys: Vec<Vec<u8>>,
    /// In whole milliseconds.
    pub lease: Duration,
    pub mode: Mode,
    /// The hold ends at the latest this long after its grant.
    pub max: Option<Duration>,
    /// How long the lock cools if the hold is not released.
    pub delay: Option<Duration>,
    /// Whether the hold ends with its connection.
    pub session: bool,
    /// How many replicas must confirm the grant, and in what time.
    pub durable: Option<(u32, Duration)>,
    /// Whether the hold is renewed in the background.
    pub renew: bool,
}

impl Spec {
    /// An exclusive lock of these keys with the default lease of 30 s.
    pub fn new(keys: Vec<Vec<u8>>) -> Spec {
        Spec {
            keys,
            lease: LEASE_DEFAULT,
            mode: Mode::Exclusive,
            max: None,
            delay: None,
            session: false,
            durable: None,
            renew: true,
        }
    }

    /// The first key, which decides the server.
    pub fn key(&self) -> &[u8] {
        self.keys.first().map_or(&[], Vec::as_slice)
    }

    /// Checks what a server would refuse.
    pub fn check_ranges(&self) -> Result<(), Error> {
        check_lease(self.lease)?;
        if self.keys.is_empty() || self.keys.len() > KEYS_MAX {
            return Err(Error::Invalid("a request must name 1 to 64 keys"));
        }
        let is_exclusive = self.mode == Mode::Exclusive;
        match self.mode {
            Mode::Counted { limit, .. } if !(1..=LIMIT_MAX).contains(&limit) => {
                return Err(Error::Invalid("a limit must be from 1 to 1000000"))
            }
            Mode::Counted { limit, weight } if !(1..=limit).contains(&weight) => {
                return Err(Error::Invalid("a weight must be from 1 to the limit"))
            }
            Mode::Exclusive | Mode::Shared | Mode::Counted { .. } => {}
        }
        if self.max.is_some_and(|max| max < Duration::from_millis(1) || max > LEASE_MAX) {
            return Err(Error::Invalid("the longest hold must be from 1 ms to 365 days"));
        }
        if self.delay.is_some_and(|delay| delay < Duration::from_millis(1) || delay > DELAY_MAX) {
            return Err(Error::Invalid("a delay must be from 1 ms to an hour"));
        }
        if self.delay.is_some() && !is_exclusive {
            return Err(Error::Invalid("only an exclusive hold can have a delay"));
        }
        if self.keys.len() > 1 && (self.delay.is_some() || matches!(self.mode, Mode::Counted { .. })) {
            return Err(Error::Invalid("a request for several keys has no limit and no delay"));
        }
        if self.durable.is_some_and(|(replicas, _)| replicas == 0) {
            return Err(Error::Invalid("a durable grant needs at least one replica"));
        }
        Ok(())
    }

    /// The moment up to which this lease is surely valid if its command was sent at `sent_at`. The clocks of client and
    /// server may drift apart, so a hundredth of the lease and 2 ms are taken off.
    pub fn valid_until(lease: Duration, sent_at: Moment) -> Moment {
        let drift = lease / 100 + Duration::from_millis(2);
        sent_at + lease.saturating_sub(drift)
    }

    /// LOCK.ACQUIRE or LOCK.MACQUIRE. With `block_ms` the owner waits that many milliseconds in the server's queue; 0
    /// waits without limit.
    pub fn acquire(&self, owner: &str, block_ms: Option<u64>) -> Cmd {
        let mut cmd = self.command("ACQUIRE", owner);
        cmd.arg("PX").arg(millis(self.lease));
        if let Some(ms) = block_ms {
            cmd.arg("BLOCK").arg(ms);
        }
        match self.mode {
            Mode::Exclusive => {}
            Mode::Shared => {
                cmd.arg("SHARED");
            }
            Mode::Counted { limit, weight } => {
                cmd.arg("SHARED").arg("LIMIT").arg(limit);
                if weight > 1 {
                    cmd.arg("WEIGHT").arg(weight);
                }
            }
        }
        if self.session {
            cmd.arg("SESSION");
        }
        if let Some(max) = self.max {
            cmd.arg("MAX").arg(millis(max));
        }
        if let Some(delay) = self.delay {
            cmd.arg("DELAY").arg(millis(delay));
        }
        cmd
    }

    /// LOCK.EXTEND for the hold that has this fence, or LOCK.MEXTEND.
    pub fn extend(&self, owner: &str, fence: u64, lease: Duration) -> Cmd {
        let mut cmd = self.command("EXTEND", owner);
        cmd.arg("PX").arg(millis(lease));
        if self.keys.len() == 1 {
            cmd.arg("FENCE").arg(fence);
        }
        cmd
    }

    /// LOCK.EXTEND that also raises the fence of the hold to this one.
    pub fn raise(&self, owner: &str, fence: u64, lease: Duration) -> Cmd {
        let mut cmd = self.command("EXTEND", owner);
        cmd.arg("PX").arg(millis(lease)).arg("RAISE").arg(fence);
        cmd
    }

    /// LOCK.RELEASE for every hold and wait of this owner, with any fence, or LOCK.MRELEASE.
    pub fn release(&self, owner: &str) -> Cmd {
        self.command("RELEASE", owner)
    }

    /// LOCK.RELEASE for the hold that has this fence, or LOCK.MRELEASE. With `cool` the lock then cools for so long.
    pub fn release_hold(&self, owner: &str, fence: u64, cool: Option<Duration>) -> Cmd {
        let mut cmd = self.command("RELEASE", owner);
        if self.keys.len() == 1 {
            cmd.arg("FENCE").arg(fence);
            if let Some(cool) = cool {
                cmd.arg("COOL").arg(millis(cool));
            }
        }
        cmd
    }

    /// LOCK.RELEASE that turns the exclusive hold of this fence into a shared one.
    pub fn downgrade(&self, owner: &str, fence: u64) -> Cmd {
        let mut cmd = self.command("RELEASE", owner);
        cmd.arg("FENCE").arg(fence).arg("DOWNGRADE");
        cmd
    }

    /// LOCK.CHECK of one key.
    pub fn check(key: &[u8], owner: &str) -> Cmd {
        let mut cmd = redis::cmd("LOCK.CHECK");
        cmd.arg(key).arg(owner);
        cmd
    }

    /// The reply to LOCK.EXTEND, LOCK.RELEASE and their relatives if the owner held all locks.
    pub fn all(&self) -> i64 {
        i64::try_from(self.keys.len()).unwrap_or(i64::MAX)
    }

    fn command(&self, name: &str, owner: &str) -> Cmd {
        if let [key] = self.keys.as_slice() {
            let mut cmd = redis::cmd(&format!("LOCK.{name}"));
            cmd.arg(key.as_slice()).arg(owner);
            return cmd;
        }
        let mut cmd = redis::cmd(&format!("LOCK.M{name}"));
        cmd.arg(self.keys.len());
        for key in &self.keys {
            cmd.arg(key.as_slice());
        }
        cmd.arg(owner);
        cmd
    }
}

/// Checks that a server can accept the lease.
pub(crate) fn check_lease(lease: Duration) -> Result<(), Error> {
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        Ok(())
    } else {
        Err(Error::Invalid("a lease must be from 10 ms to 365 days"))
    }
}

/// Checks that a server can accept this time of cooling.
pub(crate) fn check_cooling(cool: Duration) -> Result<(), Error> {
    if (Duration::from_millis(1)..=LEASE_MAX).contains(&cool) {
        Ok(())
    } else {
        Err(Error::Invalid("a lock can cool from 1 ms to 365 days"))
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The argument of BLOCK for a wait up to `deadline`, in milliseconds. `None` as a deadline means without limit, for
/// which BLOCK takes 0. The result is `None` if the deadline has passed, so that the request must not wait.
pub(crate) fn block_ms(deadline: Option<Instant>) -> Option<u64> {
    let Some(deadline) = deadline else { return Some(0) };
    let remaining = deadline.saturating_duration_since(Instant::now()).as_millis();
    let most = u128::from(i64::MAX.unsigned_abs());
    u64::try_from(remaining.min(most)).ok().filter(|ms| *ms > 0)
}
