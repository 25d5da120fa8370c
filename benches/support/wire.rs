//! The client's side: commands written out beforehand, replies read by blocking calls. Nothing here may take longer for
//! one side of a comparison than for the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use support::{parse_value, Server, Value};

/// A server that says nothing for so long hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// A connection.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub fn connect(server: &Server) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("the server takes connections");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Wire { stream, unread: Vec::new() }
    }

    /// Sends bytes that [`command`] made.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next reply, which must be no error: a benchmark of refused commands would look fast.
    pub fn read(&mut self) -> Value {
        loop {
            if let Some((value, length)) = parse_value(&self.unread) {
                self.unread.drain(..length);
                assert!(!value.is_err(), "the server refused a command: {value:?}");
                return value;
            }
            let mut chunk = [0; 16_384];
            let length = self.stream.read(&mut chunk).expect("the server answers");
            assert!(length > 0, "the server closed the connection");
            self.unread.extend_from_slice(&chunk[..length]);
        }
    }

    /// Sends a command and reads its reply.
    pub fn ask(&mut self, bytes: &[u8]) -> Value {
        self.send(bytes);
        self.read()
    }

    /// Returns when the server has read everything that was sent to it before, on any connection it has taken: what arrived earlier is
    /// read at the latest in the same turn of its loop as the first PING, so before the second.
    pub fn settle(&mut self) {
        for _ in 0..2 {
            assert_eq!(self.ask(b"PING\r\n"), "PONG");
        }
    }
}

/// A command as it goes over the wire.
pub fn command(args: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len());
    for arg in args {
        bytes.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    bytes.into_bytes()
}
