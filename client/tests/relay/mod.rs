//! A relay between a client and a server that can lose an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes bytes on between those who connect and a server on loopback.
pub struct Relay {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    /// The next answer to a command with this name is lost, and its connection with it.
    command: Option<&'static str>,
    swallowed: usize,
}

impl Relay {
    /// A relay to the server on that port, as long as the test process lives.
    pub fn to(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::<Mutex<Plan>>::default();
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

    pub fn swallow_one_answer_to(&self, command: &'static str) {
        self.plan.lock().unwrap().command = Some(command);
    }

    /// How many answers were lost.
    pub fn swallowed(&self) -> usize {
        self.plan.lock().unwrap().swallowed
    }
}

fn pass_on(client: TcpStream, server: TcpStream, plan: Arc<Mutex<Plan>>) {
    let is_doomed = Arc::<Mutex<bool>>::default();
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let doom = Arc::clone(&is_doomed);
    thread::spawn(move || {
        pump(from_client, to_server, |bytes| {
            let mut plan = plan.lock().unwrap();
            let asked = plan.command.is_some_and(|name| bytes.windows(name.len()).any(|part| part == name.as_bytes()));
            if asked {
                (plan.command, plan.swallowed) = (None, plan.swallowed + 1);
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
