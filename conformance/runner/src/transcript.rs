//! What happened in one scenario, in the order in which it happened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How many entries are kept: the last ones.
const KEPT: usize = 2000;
/// How many bytes of an entry are kept.
const WIDTH: usize = 400;

/// A log that the threads of one scenario share.
#[derive(Clone, Debug)]
pub struct Transcript {
    start: Instant,
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Transcript {
    /// An empty transcript whose clock starts now.
    pub fn new() -> Transcript {
        Transcript { start: Instant::now(), lines: Arc::default() }
    }

    /// Adds an entry, such as `A <- {"id":1}`, with the seconds since the start. Long ones are cut.
    pub fn say(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let mut entry = format!("{:9.3}  ", self.start.elapsed().as_secs_f64());
        entry.extend(text.chars().take(WIDTH));
        if text.chars().nth(WIDTH).is_some() {
            entry.push_str(" ...");
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(entry);
    }

    /// The last entries, the oldest first.
    pub fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_holds_the_last_entries_in_order_and_cuts_long_ones() {
        let transcript = Transcript::new();
        for n in 0..KEPT + 5 {
            transcript.say(format!("entry {n}"));
        }
        transcript.say("x".repeat(WIDTH + 1));
        let tail = transcript.tail(2);
        assert!(tail[0].ends_with(&format!("entry {}", KEPT + 4)), "{tail:?}");
        assert!(tail[1].ends_with("x ..."), "{tail:?}");
        assert_eq!(transcript.tail(KEPT * 2).len(), KEPT);
    }
}
