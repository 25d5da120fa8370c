//! Faults that tests plant on purpose.

use std::cell::Cell;

use super::alarm;
use super::blocked::BlockedClient;
use super::call::{Answer, Answered, Call};
use super::state::MainThread;

static TIMER: MainThread<Cell<bool>> = MainThread::new(Cell::new(false));

/// `LOCK.__FAULT command | timer | block`: panics here, or when the timer rings next; or blocks the client for good and
/// keeps nothing of it, to see what that alone costs the server.
pub fn fault(call: &Call) -> Answered {
    if call.at.name == b"block" {
        BlockedClient::block(call.ctx);
        return Ok(Answer::Nothing);
    }
    if call.at.name == b"timer" {
        TIMER.get().set(true);
        alarm::kick();
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
