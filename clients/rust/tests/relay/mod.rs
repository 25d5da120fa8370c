//! A relay between a client and a server that loses an answer, or is late with a request.

// Each test file needs a part of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes bytes on between those who connect and a server on loopback.
pub struct Relay {
    port: u16,
    plan: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Default)]
struct Now {
    /// What is to happen to the next command with this word.
    next: Option<(&'static str, Fate)>,
    swallowed: usize,
    late: usize,
}

#[derive(Clone, Copy)]
enum Fate {
    /// Its answer is lost, and its connection with it.
    Swallowed,
    /// It does not go on until it is let go.
    Late,
}

impl Relay {
    /// A relay to the server on that port, as long as the test process lives.
    pub fn to(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::<Plan>::default();
        let of_connections = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, plan) = (client.unwrap(), Arc::clone(&of_connections));
                // A server that is gone refuses; so does the relay then.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    pass_on(client, server, plan);
                }
            }
        });
        Relay { port, plan }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn swallow_one_answer_to(&self, word: &'static str) {
        self.plan.now.lock().unwrap().next = Some((word, Fate::Swallowed));
    }

    /// How many answers were lost.
    pub fn swallowed(&self) -> usize {
        self.plan.now.lock().unwrap().swallowed
    }

    pub fn keep_back_one(&self, word: &'static str) {
        self.plan.now.lock().unwrap().next = Some((word, Fate::Late));
    }

    /// How many requests are kept back.
    pub fn kept_back(&self) -> usize {
        self.plan.now.lock().unwrap().late
    }

    /// What was kept back goes on its way.
    pub fn let_go(&self) {
        self.plan.now.lock().unwrap().late = 0;
        self.plan.changed.notify_all();
    }
}

impl Plan {
    /// The fate of a request, once it is decided.
    fn meet(&self, request: &[u8]) -> Option<Fate> {
        let mut now = self.now.lock().unwrap();
        let has = |word: &str| request.windows(word.len()).any(|part| part == word.as_bytes());
        let (_, fate) = now.next.filter(|(word, _)| has(word))?;
        now.next = None;
        match fate {
            Fate::Swallowed => now.swallowed += 1,
            Fate::Late => {
                now.late += 1;
                drop(self.changed.wait_while(now, |now| now.late > 0).unwrap());
            }
        }
        Some(fate)
    }
}

fn pass_on(client: TcpStream, server: TcpStream, plan: Arc<Plan>) {
    let is_doomed = Arc::<Mutex<bool>>::default();
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let doom = Arc::clone(&is_doomed);
    thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            if let Some(Fate::Swallowed) = plan.meet(bytes) {
                *doom.lock().unwrap() = true;
            }
            true
        });
    });
    thread::spawn(move || pump(server, client, |_| !*is_doomed.lock().unwrap()));
}

/// Passes bytes on as long as `may_pass` says so, then closes both ends.
fn pump(mut from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut bytes = [0; 16384];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !may_pass(&bytes[..length]) || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
