//! Whether anybody listens to what this server replicates: an AOF, a replica, the backlog that a replica may ask for.
//!
//! Replicating one effect costs some 2400 instructions on Redis 7.0 even where it then goes nowhere, a third of what a lock
//! costs. So the module finds out when there is nobody, and then only counts its changes.
//!
//! # Why that is safe
//! The AOF is a flag; INFO tells of replicas and the backlog. From a moment on when there is none of them, nobody can get to
//! hear what is replicated before the server has forked:
//!
//! 1. Without a backlog no replica can go on where it was; it needs a full copy, and its stream begins with the copy.
//! 2. A copy is made by a child process. Redis tells of every such child at its birth, within the iteration of the event loop in
//!    which the copy begins, before any later command runs.
//! 3. What is written between a replica's request and the child's birth goes at most into a backlog that begins there and
//!    that nobody can ask for: it carries a new replication id, which nobody knows before the first copy.
//!
//! 4. An AOF that is switched on (CONFIG SET appendonly) begins with a rewrite: nothing is written to it before the child that
//!    writes its base is born.
//!
//! So the answer "nobody" holds until a child is born or the role changes, and is asked for anew after that.

use std::cell::Cell;

use super::api::{self, Ctx};
use super::state::MainThread;
use crate::lock::{Millis, Steady};

/// How often INFO is asked while the answer is not known to be "nobody", in milliseconds.
const ASK_EVERY: Millis = Millis(1000);

static NOBODY: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));
static ASK_AT: MainThread<Cell<Steady>> = MainThread::new(Cell::new(Steady(i64::MIN)));

/// Whether nobody listens now.
pub fn has_no_listeners() -> bool {
    NOBODY.get().get()
}

/// Something happened after which somebody may listen.
pub fn listeners_may_have_come() {
    NOBODY.get().set(false);
}

/// Asks again, once in a while; to be called outside commands.
pub fn refresh() {
    let now = api::now().steady;
    if NOBODY.get().get() || now < ASK_AT.get().get() {
        return;
    }
    ASK_AT.get().set(now + ASK_EVERY);
    let ctx = Ctx::detached();
    let flags = ctx.flags();
    // A cluster may also move slots, which INFO does not tell.
    let settled = !(flags.is_loading() || flags.is_replica() || flags.has_aof() || flags.is_cluster());
    NOBODY.get().set(settled && !ctx.serves_replicas());
}
