//! Faults that tests plant on purpose.

use std::cell::Cell;

use super::blocked::BlockedClient;
use super::call::{Answer, Answered, Call};
use super::state::MainThread;
use super::timer;
use crate::failpoints;

static TIMER: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// `LOCK.__FAILPOINT command | timer | block | list`: panics here, or when the timer rings next; or blocks the client for good and
/// keeps nothing of it, to see what that alone costs the server; or lists what `REDIS_LOCK_FAILPOINT` may name.
pub fn fault(call: &Call) -> Answered {
    if call.at.name == b"list" {
        call.ctx.reply_array(failpoints::ALL.len());
        failpoints::ALL.iter().for_each(|(name, _)| call.ctx.reply_bytes(name.as_bytes()));
        return Ok(Answer::Nothing);
    }
    if call.at.name == b"block" {
        BlockedClient::block(call.ctx);
        return Ok(Answer::Nothing);
    }
    if call.at.name == b"timer" {
        TIMER.get().set(true);
        timer::kick();
        return Ok(Answer::Ok);
    }
    #[allow(clippy::panic)]
    {
        panic!("planted in a command");
    }
}

/// Panics if it was asked to.
pub fn timer() {
    #[allow(clippy::panic)]
    if TIMER.get().take() {
        panic!("planted in the timer");
    }
}
