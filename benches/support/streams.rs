//! What others see: connections that send PING, GET and SET at a steady pace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::report::quantile;
use super::wire::{command, Wire};
use support::Server;

/// How often each connection sends.
pub const PACE: Duration = Duration::from_micros(250);
/// How long they send at least: a share of the answers says nothing beside one of another time.
pub const LEAST: Duration = Duration::from_secs(1);
/// The only key that is left when a load is over.
const KEY: &str = "bystander";

/// Connections, and what each sends.
pub struct Streams {
    wires: [(Wire, Vec<u8>); 3],
    pace: Duration,
    least: Duration,
}

/// The times of the answers in milliseconds, least first, and how long the load took.
pub struct Seen {
    pub ping: Vec<f64>,
    pub get: Vec<f64>,
    pub set: Vec<f64>,
    total: f64,
    /// How many requests each stream sent: PING, GET, SET.
    pub sent: [usize; 3],
}

impl Seen {
    /// In milliseconds.
    pub fn longest_ping_ms(&self) -> f64 {
        quantile(&self.ping, 1.0)
    }
}

/// A row of each table.
type Figure = fn(&Seen) -> f64;

pub const FIGURES: [(&str, Figure); 10] = [
    ("longest PING", Seen::longest_ping_ms),
    ("GET p50", |seen| quantile(&seen.get, 0.5)),
    ("GET p99", |seen| quantile(&seen.get, 0.99)),
    ("GET p99.9", |seen| quantile(&seen.get, 0.999)),
    ("longest GET", |seen| quantile(&seen.get, 1.0)),
    ("SET p50", |seen| quantile(&seen.set, 0.5)),
    ("SET p99", |seen| quantile(&seen.set, 0.99)),
    ("SET p99.9", |seen| quantile(&seen.set, 0.999)),
    ("longest SET", |seen| quantile(&seen.set, 1.0)),
    ("all over after", |seen| seen.total),
];

impl Streams {
    /// On a server that answers; it may stand still afterwards.
    pub fn connect(server: &Server) -> Streams {
        let ping = command(&["PING"]);
        let [get, set] = [command(&["GET", KEY]), command(&["SET", KEY, "0123456789abcdef"])];
        let wires = [ping, get, set].map(|words| {
            let mut wire = Wire::connect(server);
            wire.ask(&command(&["SET", KEY, "0123456789abcdef"]));
            (wire, words)
        });
        Streams { wires, pace: PACE, least: LEAST }
    }

    /// For a load that takes its own time: another pace, and the streams end with it.
    pub fn beside(server: &Server, pace: Duration) -> Streams {
        Streams { pace, least: Duration::ZERO, ..Streams::connect(server) }
    }

    /// Does what `event` does while the streams run. `over` waits for the end of it.
    pub fn watch(self, event: impl FnOnce(), over: impl FnOnce()) -> Seen {
        let Streams { wires, pace, least } = self;
        let (begin, is_over) = (Barrier::new(wires.len() + 1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let streams = wires.map(|(wire, words)| {
                let (begin, is_over) = (&begin, &is_over);
                scope.spawn(move || {
                    begin.wait();
                    stream(wire, &words, pace, is_over)
                })
            });
            begin.wait();
            let start = Instant::now();
            event();
            over();
            let total = ms(start.elapsed());
            std::thread::sleep(least.saturating_sub(start.elapsed()));
            is_over.store(true, Ordering::Relaxed);
            let [(ping, pings), (get, gets), (set, sets)] = streams.map(|stream| stream.join().unwrap());
            Seen { ping, get, set, total, sent: [pings, gets, sets] }
        })
    }
}

/// One connection, until all is over: how long each request waited, least first, and how many it sent.
fn stream(mut wire: Wire, words: &[u8], pace: Duration, is_over: &AtomicBool) -> (Vec<f64>, usize) {
    let (mut waited, mut sent) = (Vec::new(), 0);
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        // Whoever wakes up late asks late; that is not the server's doing.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        wire.ask(words);
        let answered = Instant::now();
        sent += 1;
        waited.push(ms(answered - asked));
        due = asked + pace;
        while due < answered {
            // Somebody else would have asked then.
            waited.push(ms(answered - due));
            due += pace;
        }
    }
    waited.sort_by(f64::total_cmp);
    (waited, sent)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
