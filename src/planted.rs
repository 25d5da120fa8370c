//! Faults in what the module does, planted to see whether the tests find them.
//!
//! Only a build with the feature `planted-faults` has them, and it behaves well until the environment variable
//! `REDIS_LOCK_FAULT` names one: so one faulty module serves for all. In every other build [`is`] is false at compile time and
//! nothing is left of them. A fault is a row here and an `if planted::is(Fault::...)` where it goes wrong; `tests/planted_faults.rs`
//! then wants to know which test finds it.
//!
//! It stands beside the folders, not in one: the rules, the engine and the edge all use it, and it uses nothing.

/// Makes the list out of one row a fault.
macro_rules! faults {
    ($($fault:ident $name:literal $what:literal)+) => {
        /// What goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $what] $fault,)+
        }

        /// Each fault's name in `REDIS_LOCK_FAULT`, and the fault.
        #[cfg(feature = "planted-faults")]
        pub const ALL: &[(&str, Fault)] = &[$(($name, Fault::$fault),)+];
    };
}

faults! {
    GrantOutOfOrder "grant-out-of-order" "The last in the queue is served first."
    NewcomerPasses "newcomer-passes" "Who finds the lock free, or shared, is granted although others wait."
    FenceNotRaised "fence-not-raised" "A grant gets the number of the one before it."
    FenceNotLeapt "fence-not-leapt" "A server that starts or is promoted goes on where its data left off."
    NewFenceWhenReacquired "new-fence-when-asked-again" "A holder that asks again is given another fence."
    WaiterStays "waiter-stays" "A waiter whose connection closed stays in the queue."
    UndeliveredGrantKept "undelivered-grant-kept" "A grant that nobody could be told of goes on."
    ReleaseByAnyone "release-by-anyone" "Any owner releases the hold that there is."
    ReleaseIgnoresFence "release-ignores-fence" "A late duplicate ends a newer hold."
    LeaseEndsEarly "lease-ends-early" "A lease lasts half as long as was asked for."
    LeaseEndsLate "lease-ends-late" "The next is let in half a second after the lease ended."
    LeaseByWallClock "lease-by-wall-clock" "A step of the wall clock ends leases, or lengthens them."
    ReleaseNotReplicated "release-not-replicated" "Replicas and the AOF are not told that a lock became free."
    ExtensionNotReplicated "extension-not-replicated" "Replicas and the AOF are not told of another end of a lease."
    LimitOffByOne "limit-off-by-one" "One shared holder too many is let in."
    RemovalUnnoticed "removal-unnoticed" "Nobody looks who waits for a lock that an operator removed."
    WriterBesideReader "writer-beside-reader" "A lock that one reader holds is taken over by who asks for it alone."
    ReleaseLeavesWaits "release-leaves-waits" "A release does not withdraw what its owner still waits for."
    ExtensionAddsUp "extension-adds-up" "An extension counts from the end of the lease, not from now."
    DowngradeLetsNobodyIn "downgrade-lets-nobody-in" "A downgraded hold stays exclusive."
    OldSessionEndsHold "old-session-ends-hold" "A hold stays bound to the connection that asked first."
    RightsNotAsked "rights-not-asked" "A waiter is granted although its user may not ask for the lock any more."
    SessionOutlivesConnection "session-outlives-connection" "A hold goes on when the connection that it ends with closes."
}

/// Whether this fault is planted in this process.
#[cfg(feature = "planted-faults")]
pub fn is(fault: Fault) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let name = std::env::var("REDIS_LOCK_FAULT").ok()?;
        ALL.iter().find(|(known, _)| *known == name).map(|(_, fault)| *fault)
    });
    *chosen == Some(fault)
}

/// No fault is.
#[cfg(not(feature = "planted-faults"))]
pub const fn is(_: Fault) -> bool {
    false
}
