//! The two internal commands by which replicas and the AOF learn what was decided.

use std::ffi::CStr;

use super::api;
use super::call::{Answer, Answered, Call, Refusal, PANICKED};
use super::state;
use crate::lock::Fence;
use crate::wire;

/// Replicates how one lock stands.
pub const APPLY: &CStr = c"LOCK.__APPLY";
/// Replicates how far the fence clock has come.
pub const FENCE: &CStr = c"LOCK.__FENCE";

/// The error for effects that do not come from a primary or an AOF.
const INTERNAL: &str = "ERR this command is internal to replication, use LOCK.ACQUIRE, LOCK.RELEASE and LOCK.EXTEND";
const CORRUPT: &str = "ERR unknown lock effect, this replica or AOF is read by an older version of the module";

/// Effects come from the primary or from the AOF, not from clients.
fn check_source(call: &Call) -> Result<(), Refusal> {
    if call.ctx.flags().is_replicated() || call.ctx.is_aof_client() {
        return Ok(());
    }
    Err(INTERNAL.into())
}

/// `LOCK.__APPLY key effect`
pub fn apply(call: &Call) -> Answered {
    if state::OWN_QUESTION.is_set() {
        return Ok(Answer::Ok); // That the server let it come so far is the answer.
    }
    check_source(call)?;
    let effect = call.args.first().ok_or(Refusal::Arity)?;
    let news = wire::decode_effect(effect, api::now()).map_err(|_| CORRUPT)?;
    state::with_engine(|engine| engine.apply(call.at, &mut call.open(), news)).ok_or(PANICKED)?;
    call.ctx.replicate_verbatim();
    Ok(Answer::Ok)
}

/// `LOCK.__FENCE number`
pub fn learn_fence(call: &Call) -> Answered {
    check_source(call)?;
    // The number stands where other commands have their key.
    let number = std::str::from_utf8(call.at.name).ok().and_then(|digits| digits.parse().ok()).and_then(Fence::new);
    let fence = number.ok_or(CORRUPT)?;
    state::with_engine(|engine| engine.fences().observe(fence)).ok_or(PANICKED)?;
    call.ctx.replicate_verbatim();
    Ok(Answer::Ok)
}
