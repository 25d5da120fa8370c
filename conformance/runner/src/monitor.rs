//! The commands that a server ran, as MONITOR tells them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::{Client, Received, Server, Value};

use crate::outcome::{fail, Outcome};

/// A command that the server ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When the runner read the line.
    pub at: Instant,
    /// The connection's address, as CLIENT LIST shows it.
    pub from: String,
    /// The command and its arguments.
    pub words: Vec<String>,
}

/// A connection in MONITOR. It ends when dropped.
pub struct Monitor {
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Starts to record what this server runs.
    pub fn start(server: &Server) -> Outcome<Monitor> {
        let mut client = Client::connect(server.port()).map_err(|error| error.to_string())?;
        let started = client.try_cmd(&["MONITOR"]).map_err(|error| error.to_string())?;
        if started != "OK" {
            return fail(format!("MONITOR: {started:?}"));
        }
        let (seen, is_over) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicBool>::default());
        let (record, end) = (Arc::clone(&seen), Arc::clone(&is_over));
        let reader = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                match client.receive(Duration::from_millis(100)) {
                    Received::Reply(Value::Simple(line)) => {
                        let entry = parse(&line);
                        record.lock().unwrap_or_else(PoisonError::into_inner).extend(entry);
                    }
                    Received::Closed => return,
                    Received::Reply(_) | Received::Silence => {}
                }
            }
        });
        Ok(Monitor { seen, is_over, reader: Some(reader) })
    }

    /// The commands up to now whose name or arguments include this word, in any case of letters.
    pub fn seen(&self, word: &str) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bears = |entry: &&Seen| entry.words.iter().any(|own| own.eq_ignore_ascii_case(word));
        seen.iter().filter(bears).cloned().collect()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A line such as `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
fn parse(line: &str) -> Option<Seen> {
    let (_, rest) = line.split_once(" [")?;
    let (place, command) = rest.split_once("] ")?;
    let from = place.split_once(' ')?.1.to_owned();
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (&mut word, letter) {
            (None, '"') => word = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => words.extend(word.take()),
            (Some(text), '\\') => text.extend(letters.next()),
            (Some(text), letter) => text.push(letter),
        }
    }
    Some(Seen { at: Instant::now(), from, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_monitor_is_understood() {
        let seen = parse(r#"1339518083.107412 [0 127.0.0.1:60866] "LOCK.ACQUIRE" "k \"1\"" "o""#).unwrap();
        assert_eq!(seen.from, "127.0.0.1:60866");
        assert_eq!(seen.words, ["LOCK.ACQUIRE", "k \"1\"", "o"]);
        assert!(parse("OK").is_none());
    }
}
