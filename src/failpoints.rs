//! Failpoints: places where the module misbehaves on purpose, to see whether the tests notice.
//!
//! Only a build with the feature `failpoints` has them. It behaves well until the environment variable
//! `REDIS_LOCK_FAILPOINT` names one, so a single build serves for all of them. In every other build [`is_on`] is false at
//! compile time, and nothing is left of them in the module.
//!
//! To add one, add a row to the table below and an `if failpoints::is_on(Failpoint::...)` at the place that misbehaves. The
//! test program `failpoints` then demands to know which test notices it.
//!
//! This file lies below every folder: all of them use it, and it uses nothing.

/// Makes the enum and the list of names out of one row for each failpoint.
macro_rules! failpoints {
    ($($failpoint:ident $name:literal $what:literal)+) => {
        /// What the module does wrong while the failpoint is on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failpoint {
            $(#[doc = $what] $failpoint,)+
        }

        /// The name of each failpoint in `REDIS_LOCK_FAILPOINT`.
        #[cfg(feature = "failpoints")]
        pub const ALL: &[(&str, Failpoint)] = &[$(($name, Failpoint::$failpoint),)+];
    };
}

failpoints! {
    GrantOutOfOrder "grant-out-of-order" "The last in the queue is served first."
    NewcomerPasses "newcomer-passes" "A newcomer that finds the lock free or shared gets it although others wait."
    FenceNotRaised "fence-not-raised" "A grant gets the fence of the grant before it."
    FenceNotLeapt "fence-not-leapt" "A server that starts or is promoted does not leap ahead of the fences in its data."
    NewFenceWhenReacquired "new-fence-when-reacquired" "A holder that reacquires the lock is given another fence."
    WaiterStays "waiter-stays" "A waiter whose connection closed stays in the queue."
    UndeliveredGrantKept "undelivered-grant-kept" "A grant whose answer could not be delivered stays."
    ReleaseByAnyone "release-by-anyone" "Any owner can release the hold of another."
    ReleaseIgnoresFence "release-ignores-fence" "A release that names an older fence ends the hold."
    LeaseEndsEarly "lease-ends-early" "A lease lasts half as long as was asked for."
    LeaseEndsLate "lease-ends-late" "The next waiter is served half a second after the lease ended."
    LeaseByWallClock "lease-by-wall-clock" "A step of the wall clock ends leases, or lengthens them."
    ReleaseNotReplicated "release-not-replicated" "Replicas and the AOF are not told that a lock became free."
    ExtensionNotReplicated "extension-not-replicated" "Replicas and the AOF are not told of another end of a lease."
    LimitOffByOne "limit-off-by-one" "One shared holder too many is let in."
    RemovalUnnoticed "removal-unnoticed" "The waiters of a lock that an operator removed are forgotten."
    WriterBesideReader "writer-beside-reader" "A request for the exclusive hold is granted beside a single reader."
    ReleaseLeavesWaits "release-leaves-waits" "A release does not withdraw the waiting requests of its owner."
    ExtensionAddsUp "extension-adds-up" "An extension counts from the end of the lease, not from now."
    DowngradeLetsNobodyIn "downgrade-lets-nobody-in" "A downgraded hold stays exclusive."
    OldSessionEndsHold "old-session-ends-hold" "A hold stays bound to the connection that asked first."
    RightsNotAsked "rights-not-asked" "A waiter gets the lock although its user has lost the right to it."
    MaxIgnored "max-ignored" "An extension reaches beyond what MAX allows."
    CoolingIgnored "cooling-ignored" "A lock is granted while it is cooling."
    DelayIgnored "delay-ignored" "A lock is free at once after a hold with DELAY whose lease expired."
    QuarantineIgnored "quarantine-ignored" "A server grants locks at once after its start."
    WeightIgnored "weight-ignored" "Every shared holder counts as one unit."
    MultiKeyGrantedEarly "multi-key-granted-early" "A request that waits for several locks gets all of them when one is ready."
    MultiKeyStaysInQueues "multi-key-stays-in-queues" "A request for several locks that ended at one stays in the queues of the others."
    SessionOutlivesConnection "session-outlives-connection" "A session hold outlives its connection."
}

/// Whether this failpoint is on in this process.
#[cfg(feature = "failpoints")]
pub fn is_on(failpoint: Failpoint) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Failpoint>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("REDIS_LOCK_FAILPOINT").ok()?;
        ALL.iter().find(|(known, _)| *known == name).map(|(_, failpoint)| *failpoint)
    });
    *chosen == Some(failpoint)
}

/// Without the feature no failpoint is ever on.
#[cfg(not(feature = "failpoints"))]
pub const fn is_on(_: Failpoint) -> bool {
    false
}
