//! A relay between a client and a server that drops a reply, or delays a request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Passes bytes on between clients and a server on loopback.
pub struct Relay {
    port: u16,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The fault of the next request that contains this word.
    next: Option<(&'static str, Fault)>,
    dropped_replies: usize,
    delayed_requests: usize,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The relay drops the reply and closes the connection.
    DropReply,
    /// The relay keeps the request until it is told to release it.
    DelayRequest,
}

impl Relay {
    /// Starts a relay to the server on this port. It runs as long as the test process.
    pub fn start(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::<Faults>::default();
        let shared_faults = Arc::clone(&faults);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, faults) = (client.unwrap(), Arc::clone(&shared_faults));
                // If the server refuses the connection, the relay closes it.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    pass_on(client, server, faults);
                }
            }
        });
        Relay { port, faults }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Drops the reply to the next request that contains this word, and closes its connection.
    pub fn drop_next_reply_to(&self, word: &'static str) {
        self.faults.state.lock().unwrap().next = Some((word, Fault::DropReply));
    }

    pub fn dropped_replies(&self) -> usize {
        self.faults.state.lock().unwrap().dropped_replies
    }

    /// Delays the next request that contains this word until [`Relay::send_delayed`].
    pub fn delay_next(&self, word: &'static str) {
        self.faults.state.lock().unwrap().next = Some((word, Fault::DelayRequest));
    }

    /// The number of requests that are delayed now.
    pub fn delayed_requests(&self) -> usize {
        self.faults.state.lock().unwrap().delayed_requests
    }

    /// Sends the requests that are delayed.
    pub fn send_delayed(&self) {
        self.faults.state.lock().unwrap().delayed_requests = 0;
        self.faults.changed.notify_all();
    }
}

impl Faults {
    /// Applies the planned fault if the request contains its word. A delay ends before this returns.
    fn apply(&self, request: &[u8]) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        let has = |word: &str| request.windows(word.len()).any(|part| part == word.as_bytes());
        let (_, fault) = state.next.filter(|(word, _)| has(word))?;
        state.next = None;
        match fault {
            Fault::DropReply => state.dropped_replies += 1,
            Fault::DelayRequest => {
                state.delayed_requests += 1;
                drop(self.changed.wait_while(state, |state| state.delayed_requests > 0).unwrap());
            }
        }
        Some(fault)
    }
}

/// Passes bytes on in both directions, each in a thread of its own.
fn pass_on(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let drops_replies = Arc::<Mutex<bool>>::default();
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let drop_replies = Arc::clone(&drops_replies);
    thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            if let Some(Fault::DropReply) = faults.apply(bytes) {
                *drop_replies.lock().unwrap() = true;
            }
            true
        });
    });
    thread::spawn(move || pump(server, client, |_| !*drops_replies.lock().unwrap()));
}

/// Passes bytes on until `may_pass` returns false or a connection ends. Then it closes both connections.
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
