//! Pauses between attempts.

use std::time::Duration;

use crate::chance::Chance;
use crate::fault::{is_planted, Fault};

const FIRST: Duration = Duration::from_millis(10);

/// Pauses that grow with every failure, and differ from client to client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses from at most 10 ms up to `most`.
    pub fn up_to(most: Duration) -> Backoff {
        Backoff { next: FIRST, most }
    }

    /// The next pause: at random between half of the step and all of it. Each step is twice as long as the last.
    pub fn pause(&mut self, chance: &Chance) -> Duration {
        if is_planted(Fault::NoJitter) {
            return Duration::from_millis(1);
        }
        let step = self.next;
        self.next = (step * 2).min(self.most);
        chance.around(step)
    }

    /// Starts again with the shortest pause.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}
