//! A network between two servers that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Passes bytes on between those who connect to its port and a server, until it is cut: then connections stay open and
/// nothing arrives any more, as when packets are lost.
#[derive(Debug)]
pub struct Link {
    port: u16,
    wire: Arc<Wire>,
}

#[derive(Debug, Default)]
struct Wire {
    state: Mutex<State>,
    mended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The server's port; 0 while it is not known.
    server: u16,
    is_cut: bool,
    is_over: bool,
    /// Both ends of every connection since the last cut.
    ends: Vec<TcpStream>,
}

impl Link {
    /// A link that leads nowhere yet (see [`Link::lead_to`]).
    #[expect(clippy::new_without_default, reason = "it listens from now on, which no default should")]
    pub fn new() -> Link {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let link = Link { port, wire: Arc::default() };
        let wire = Arc::clone(&link.wire);
        thread::spawn(move || {
            for client in listener.incoming() {
                if wire.state().is_over {
                    return;
                }
                let wire = Arc::clone(&wire);
                thread::spawn(move || wire.carry(client.unwrap()));
            }
        });
        link
    }

    /// From now on it leads to this port.
    pub fn lead_to(&self, server: u16) {
        self.wire.state().server = server;
    }

    /// Where to connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing gets through.
    pub fn cut(&self) {
        self.wire.state().is_cut = true;
    }

    /// New connections get through again; those from before are closed, as TCP does when it has tried for too long.
    pub fn mend(&self) {
        let mut state = self.wire.state();
        state.is_cut = false;
        close(&mut state);
        self.wire.mended.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.wire.state();
        (state.is_over, state.is_cut) = (true, false);
        close(&mut state);
        self.wire.mended.notify_all();
        drop(state);
        // The thread that listens looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn close(state: &mut State) {
    for end in state.ends.drain(..) {
        let _ = end.shutdown(Shutdown::Both);
    }
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as nothing gets through.
    fn until_mended(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        self.mended.wait_while(state, |state| state.is_cut).unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, to its end.
    fn carry(self: Arc<Self>, client: TcpStream) {
        let mut state = self.until_mended();
        let Ok(server) = TcpStream::connect_timeout(&([127, 0, 0, 1], state.server).into(), Duration::from_secs(1))
        else {
            return;
        };
        state.ends.extend([&client, &server].map(|end| end.try_clone().unwrap()));
        drop(state);
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let back = Arc::clone(&self);
        let there = thread::spawn(move || self.pump(from_client, to_server));
        back.pump(server, client);
        there.join().unwrap();
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = [0; 16384];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            // What comes while it is cut is lost, and its connection with it when the link is mended.
            drop(self.until_mended());
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        // An end that closes behind a cut is not heard of either.
        drop(self.until_mended());
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(client: &mut TcpStream) -> Option<u8> {
        let mut answer = [0];
        client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        client.write_all(b"x").ok()?;
        client.read_exact(&mut answer).ok().map(|()| answer[0])
    }

    /// A server that answers every byte with the next one.
    fn server() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                thread::spawn(move || {
                    let mut byte = [0];
                    while client.read_exact(&mut byte).is_ok() {
                        let _ = client.write_all(&[byte[0] + 1]);
                    }
                });
            }
        });
        port
    }

    #[test]
    fn nothing_passes_a_cut_link_and_old_connections_end_when_it_is_mended() {
        let link = Link::new();
        link.lead_to(server());
        let mut before = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        assert_eq!(ask(&mut before), Some(b'y'));
        link.cut();
        assert_eq!(ask(&mut before), None);
        let mut meanwhile = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        assert_eq!(ask(&mut meanwhile), None);
        link.mend();
        before.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert!(matches!(before.read(&mut [0]), Ok(0) | Err(_)), "the old connection is closed");
        let mut after = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        assert_eq!(ask(&mut after), Some(b'y'));
    }
}
