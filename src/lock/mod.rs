//! The rules of a lock. They are pure: they read no clock, draw no random numbers and know nothing of Redis. Time is an
//! argument, and results are values.
//!
//! The state of a lock has two parts. [`Holders`] is saved and replicated; [`WaitQueue`] (waiters, and answers in flight) never
//! is. A [`Step`] takes both, one reading of the clocks and one input, and appends [`Effect`]s to a list. The caller records
//! the changes first, and only then gives the answers.
//!
//! An option of LOCK.ACQUIRE that the rules must know is a field of [`Request`]; if the hold keeps it, it is a field of [`Hold`]
//! as well.
//!
//! # Invariants
//! They are checked after every step of every test in this folder.
//!
//! * **I1** A lock has one exclusive holder, or shared holders only, and never more than the smallest limit among them.
//! * **I2** While the server may grant ([`Step::may_grant`]), the first waiter of the queue is one that cannot be let in, or one
//!   that waits for several locks. Every step serves the queue, or as many waiters as one step may and says that there are more.
//! * **I3** The fence of every grant is larger than every fence before it. Nothing else takes a fence from the clock, except
//!   the owner of an inherited hold that reacquires the lock.
//! * **I4** Waiters are granted in the order of their tickets; no newcomer is granted while one waits. (An owner that holds the
//!   lock passes them all.)
//! * **I5** A waiter is answered once: granting, withdrawing and timing out all take it out of the queue first.
//! * **I6** A waiter whose wait has timed out, or that left, is never granted.
//! * **I7** No owner waits for a lock that it holds itself, unless it waits for several locks and others hold the rest of them.
//! * **I8** A waiter whose user may not acquire the lock any more is never granted. It is told so when it comes first.
//! * **I9** While a lock is cooling nobody is granted it. It is cooling after a release with COOL, and after an exclusive hold
//!   with DELAY that expired or whose connection closed.
//! * **I10** No hold lasts longer than its MAX.
//! * **I11** A request for several locks is granted all of them at one moment, or none: see [`multi_key`]. It has one ticket,
//!   and stands in the queue of each lock until it is granted or ends.

#![forbid(unsafe_code)]

mod ask;
mod effect;
mod fence;
mod hold;
mod holders;
mod multi_key;
mod owner;
mod queue;
mod request;
mod rights;
mod shared;
mod step;
mod time;

pub use ask::{Acquired, Extend, Released, Wait};
pub use effect::{Answer, Effect, End, HoldChange};
pub use fence::{Fence, FenceClock};
pub use hold::{Cooling, Hold, HoldId, Limit, Mode, Origin, Session, Terms, User};
pub use holders::Holders;
pub use multi_key::Readiness;
pub use owner::{Owner, OwnerRef, OWNER_LEN_MAX};
pub use queue::{Loss, Ticket, WaitQueue, Waiter};
pub use request::Request;
pub use rights::Rights;
pub use shared::SharedHolders;
pub use step::Step;
pub use time::{Millis, Now, Steady, UnixMicros};

#[cfg(any(test, fuzzing))]
pub mod tests;
