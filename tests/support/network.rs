//! A network between two servers that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

/// Passes bytes on between those who connect to its port and a server, until it is cut: then connections stay open and
/// nothing arrives any more, as when packets are lost.
#[derive(Debug)]
pub struct Link {
    port: u16,
    wire: Arc<Wire>,
}

/// The node of a cluster that opened a connection, once it said who it is.
type Speaker = OnceLock<Vec<u8>>;

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
    /// The node of a cluster whose words do not get through.
    cut_from: Option<Vec<u8>>,
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

    /// From now on nothing gets through of connections by that node of a cluster: the link leads to another's bus.
    pub fn cut_from(&self, node: &str) {
        self.wire.state().cut_from = Some(node.into());
    }

    /// New connections get through again; those from before are closed, as TCP does when it has tried for too long.
    pub fn mend(&self) {
        let mut state = self.wire.state();
        (state.is_cut, state.cut_from) = (false, None);
        close(&mut state);
        self.wire.mended.notify_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.wire.state();
        (state.is_over, state.is_cut, state.cut_from) = (true, false, None);
        close(&mut state);
        self.wire.mended.notify_all();
        drop(state);
        // The thread that listens looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The node that sent this message over the bus of a cluster (struct clusterMsg): its id.
fn sender(message: &[u8]) -> Option<&[u8]> {
    message.get(40..80).filter(|_| message.starts_with(b"RCmb"))
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

    /// Waits as long as nothing of this one gets through.
    fn until_mended(&self, speaker: &Speaker) -> MutexGuard<'_, State> {
        let is_cut =
            |state: &mut State| state.is_cut || state.cut_from.as_ref().is_some_and(|node| speaker.get() == Some(node));
        self.mended.wait_while(self.state(), is_cut).unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection, to its end.
    fn carry(self: Arc<Self>, client: TcpStream) {
        let speaker = Arc::new(Speaker::new());
        let mut state = self.until_mended(&speaker);
        let Ok(server) = TcpStream::connect_timeout(&([127, 0, 0, 1], state.server).into(), Duration::from_secs(1))
        else {
            return;
        };
        state.ends.extend([&client, &server].map(|end| end.try_clone().unwrap()));
        drop(state);
        let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let (back, known) = (Arc::clone(&self), Arc::clone(&speaker));
        let there = thread::spawn(move || self.pump(from_client, to_server, &speaker, true));
        back.pump(server, client, &known, false);
        there.join().unwrap();
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, speaker: &Speaker, is_speaking: bool) {
        let mut bytes = [0; 16384];
        while let Ok(length @ 1..) = from.read(&mut bytes) {
            if let Some(node) = sender(&bytes[..length]).filter(|_| is_speaking) {
                speaker.get_or_init(|| node.to_vec());
            }
            // What comes while it is cut is lost, and its connection with it when the link is mended.
            drop(self.until_mended(speaker));
            if to.write_all(&bytes[..length]).is_err() {
                break;
            }
        }
        // An end that closes behind a cut is not heard of either.
        drop(self.until_mended(speaker));
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
