//! Pauses between attempts.

use std::time::Duration;

use crate::chance::Chance;
use crate::fault::{is_planted, Fault};

/// The first step, unless another one is given.
const FIRST: Duration = Duration::from_millis(10);

/// Pauses that grow with every failure, and differ from client to client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// Pauses from at most 10 ms up to `most`.
    pub fn up_to(most: Duration) -> Backoff {
        Backoff::between(FIRST, most)
    }

    /// Pauses from at most `first` up to `most`.
    pub fn between(first: Duration, most: Duration) -> Backoff {
        Backoff { first, next: first, most }
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
        self.next = self.first;
    }
}
