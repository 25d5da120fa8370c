//! Whether anybody listens to what this server replicates. [`crate::policy::propagation`] says why the answer holds.

use super::ffi::{clock, Ctx};
use super::state::module;
use crate::policy::propagation::Circumstances;

/// Something happened after which there may be listeners.
pub fn listeners_may_have_come() {
    let mut propagation = module().propagation.get();
    propagation.listeners_may_have_come();
    module().propagation.set(propagation);
}

/// Asks the server again from time to time. To be called outside commands.
pub fn refresh() {
    let ctx = Ctx::detached();
    let circumstances = || {
        let flags = ctx.flags();
        Circumstances {
            is_loading: flags.is_loading(),
            is_replica: flags.is_replica(),
            has_aof: flags.has_aof(),
            is_cluster: flags.is_cluster(),
        }
    };
    let mut propagation = module().propagation.get();
    propagation.refresh(clock::now().steady, circumstances, || ctx.serves_replicas());
    module().propagation.set(propagation);
}
