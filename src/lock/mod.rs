//! The rules of a lock. Pure: no clock, no chance, no Redis; time is an argument and results are values.
//!
//! State is two types. [`Holders`] is what is saved and replicated; [`WaitQueue`] (waiters, and grants on their way to them)
//! never is. [`Step`] takes both, one reading of the clocks and one input, and leaves a list of [`Effect`]s. The caller
//! records the changes first, and only then gives the answers.
//!
//! # Invariants
//! Checked after every step of every test in this folder.
//!
//! * **I1** A lock has one exclusive holder, or shared holders only, never more than the smallest limit among them.
//! * **I2** While the server may grant, nobody is first in the queue who could be let in: every step serves the queue, or as
//!   many of it as one step may and says that there are more.
//! * **I3** Every grant's fence is larger than every fence before it; nothing else draws one, but for the owner of an
//!   inherited hold that asks again.
//! * **I4** Waiters are granted in the order of their tickets; no newcomer is granted while one waits.
//! * **I5** A waiter is answered once: granting, withdrawing and timing out all take it out of the queue first.
//! * **I6** A waiter whose wait has run out, or who left, is never granted.
//! * **I7** Nobody waits for a lock that its own owner holds.
//! * **I8** A waiter whose user may not ask for the lock any more is never granted: it is told so when it is its turn.

#![forbid(unsafe_code)]

mod effect;
mod fence;
mod hold;
mod holders;
mod owner;
mod queue;
mod rights;
mod rules;
mod shared;
mod time;

pub use effect::{Answer, Effect, End, HoldChange};
pub use fence::{Fence, FenceClock};
pub use hold::{Hold, HoldId, Limit, Mode, Origin, Session, User};
pub use holders::Holders;
pub use owner::{Owner, OwnerRef, OWNER_LEN_MAX};
pub use queue::{Ticket, WaitQueue};
pub use rights::Rights;
pub use rules::{Acquire, Acquired, Extend, Step, Wait};
pub use shared::SharedHolders;
pub use time::{Millis, Now, Steady, UnixMicros};

#[cfg(any(test, fuzzing))]
pub mod tests;
