//! One connection: writes commands, reads replies, and never waits without a deadline.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::value::{parse_value, Value};
use super::{args, patience};

/// How long a reply may take before the test fails: a hung server must not hang the test.
const DEADLINE: Duration = Duration::from_secs(20);

/// What came of waiting for a reply.
#[derive(Debug, PartialEq)]
pub enum Received {
    /// A reply.
    Reply(Value),
    /// Nothing within the time given.
    Silence,
    /// The server closed the connection.
    Closed,
}

/// A blocking RESP client. RESP2 until [`Client::resp3`].
///
/// RESP3 push messages never count as replies: they are put aside for [`Client::read_push`].
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    pushes: VecDeque<Value>,
    id: Option<i64>,
    deadline: Duration,
}

impl Client {
    /// Connects to a port on the loopback interface.
    pub fn connect(port: u16) -> io::Result<Client> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = patience(DEADLINE);
        let stream = TcpStream::connect_timeout(&address, deadline)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(Client { stream, unread: Vec::new(), pushes: VecDeque::new(), id: None, deadline })
    }

    /// Sets the deadline of [`Client::read`] and all that use it (default 20 s times the patience).
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Sends one command and reads its reply. An error reply is a value: see [`Value::err_text`].
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Value {
        self.send(command);
        match self.receive(self.deadline) {
            Received::Reply(value) => value,
            other => panic!("no reply to {}: {other:?}", shown(command)),
        }
    }

    /// Like [`Client::cmd`], but a broken connection or a missing reply is an `Err`.
    pub fn try_cmd<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Value> {
        self.try_send(command)?;
        self.next_reply()
    }

    /// The next reply; no reply within the deadline is an `Err`.
    fn next_reply(&mut self) -> io::Result<Value> {
        match self.receive(self.deadline) {
            Received::Reply(value) => Ok(value),
            Received::Silence => Err(ErrorKind::TimedOut.into()),
            Received::Closed => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// Like [`Client::send`], but a broken connection is an `Err`.
    pub fn try_send<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<()> {
        self.stream.write_all(&encoded(command))
    }

    /// Sends one command without reading.
    #[track_caller]
    pub fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) {
        self.send_bytes(&encoded(command));
    }

    /// Sends several commands in one write, so that the server reads them in one turn of its loop.
    /// (As long as they fit into its 16 KB read buffer.)
    #[track_caller]
    pub fn send_many<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) {
        let bytes: Vec<u8> = commands.iter().flat_map(|one| encoded(one)).collect();
        self.send_bytes(&bytes);
    }

    /// Like [`Client::send_many`], but a broken connection is an `Err`.
    pub fn try_send_many<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> io::Result<()> {
        let bytes: Vec<u8> = commands.iter().flat_map(|one| encoded(one)).collect();
        self.stream.write_all(&bytes)
    }

    /// [`Client::send_many`], then one reply for each command.
    #[track_caller]
    pub fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> Vec<Value> {
        self.send_many(commands);
        commands.iter().map(|_| self.read()).collect()
    }

    /// Like [`Client::pipeline`], but a broken connection or a missing reply is an `Err`.
    pub fn try_pipeline<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> io::Result<Vec<Value>> {
        self.try_send_many(commands)?;
        commands.iter().map(|_| self.next_reply()).collect()
    }

    /// Sends bytes as they are: for what no well-behaved client would say.
    #[track_caller]
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("write to the server failed: {error}"));
    }

    /// The next reply; panics when none comes within the deadline (20 s) or the connection is closed.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        match self.receive(self.deadline) {
            Received::Reply(value) => value,
            other => panic!("expected a reply: {other:?} (deadline {:?})", self.deadline),
        }
    }

    /// The next reply, or `None` when none came within that time; panics when the connection is closed.
    ///
    /// Silence alone proves little. To show that a client still waits use `Server::assert_waiting`, which asks the
    /// server; to show that an action answered nobody, do something afterwards whose answer can be waited for.
    #[track_caller]
    pub fn try_read(&mut self, within: Duration) -> Option<Value> {
        match self.receive(within) {
            Received::Reply(value) => Some(value),
            Received::Silence => None,
            Received::Closed => panic!("the server closed the connection"),
        }
    }

    /// Waits for the next reply and tells silence from a closed connection. `Duration::ZERO` = what is there already.
    pub fn receive(&mut self, within: Duration) -> Received {
        self.receive_where(within, |client, value| match value {
            Value::Push(_) => {
                client.pushes.push_back(value);
                None
            }
            reply => Some(reply),
        })
    }

    /// Whether [`Client::receive`] would find something at once, or does within this time: a reply, or the end.
    pub fn has_news(&self, within: Duration) -> bool {
        if parse_value(&self.unread).is_some() {
            return true;
        }
        let mut poll = libc::pollfd { fd: self.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one entry, lives during the call, and its descriptor is open as long as `self` lives.
        unsafe { libc::poll(&raw mut poll, 1, ms) > 0 }
    }

    /// Waits until the server closes the connection; panics on a reply, or when it stays open.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let received = self.receive(self.deadline);
        assert_eq!(received, Received::Closed, "expected the connection closed");
    }

    /// The next push message (RESP3), waiting up to the deadline.
    #[track_caller]
    pub fn read_push(&mut self) -> Value {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        let received = self.receive_where(self.deadline, |_, value| Some(value));
        match received {
            Received::Reply(push @ Value::Push(_)) => push,
            other => panic!("expected a push message: {other:?}"),
        }
    }

    /// All push messages that the server sent up to now: asks PING, so nothing sent before can be missing.
    #[track_caller]
    pub fn pushes(&mut self) -> Vec<Value> {
        self.cmd(&["PING"]);
        self.pushes.drain(..).collect()
    }

    /// This connection's CLIENT ID. Asked once, so ask before the client waits for anything.
    #[track_caller]
    pub fn id(&mut self) -> i64 {
        if let Some(id) = self.id {
            return id;
        }
        let id = self.cmd(&["CLIENT", "ID"]).int();
        self.id = Some(id);
        id
    }

    /// This side's address, as CLIENT LIST shows it in `addr=`. Needs no answer from the server.
    pub fn address(&self) -> String {
        self.stream.local_addr().unwrap().to_string()
    }

    /// Switches to RESP3.
    #[track_caller]
    pub fn resp3(&mut self) {
        let hello = self.cmd(&["HELLO", "3"]);
        assert!(matches!(hello, Value::Map(_)), "HELLO 3: {hello:?}");
    }

    /// SELECTs a database.
    #[track_caller]
    pub fn select(&mut self, database: u32) {
        assert_eq!(self.cmd(&args!["SELECT", database]), "OK");
    }

    /// Closes the connection in order (FIN).
    pub fn close(self) {}

    /// Closes the connection hard (RST), as a killed machine behind a firewall would.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let length = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
        // SAFETY: the descriptor is open as long as `self` lives, and `linger` outlives the call that reads it.
        let done = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                length,
            )
        };
        assert_eq!(done, 0, "SO_LINGER: {}", io::Error::last_os_error());
    }

    /// Reads values until `wanted` takes one, the time is over, or the connection is.
    fn receive_where(
        &mut self,
        within: Duration,
        mut wanted: impl FnMut(&mut Client, Value) -> Option<Value>,
    ) -> Received {
        let end = Instant::now() + within;
        loop {
            while let Some((value, length)) = parse_value(&self.unread) {
                self.unread.drain(..length);
                if let Some(value) = wanted(self, value) {
                    return Received::Reply(value);
                }
            }
            // The socket is looked at at least once; a read time-out of zero would mean "for ever".
            let left = end.saturating_duration_since(Instant::now());
            match self.fill(left.max(Duration::from_millis(1))) {
                Some(0) => return Received::Closed,
                Some(_) => {}
                None if Instant::now() >= end => return Received::Silence,
                None => {}
            }
        }
    }

    /// One read from the socket: how many bytes (0 = closed), or `None` when the time ran out.
    fn fill(&mut self, within: Duration) -> Option<usize> {
        self.stream.set_read_timeout(Some(within)).unwrap();
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk) {
            Ok(length) => {
                self.unread.extend_from_slice(&chunk[..length]);
                Some(length)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => None,
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Some(0),
                _ => panic!("read from the server failed: {error}"),
            },
        }
    }
}

/// A command as an array of bulk strings.
fn encoded<A: AsRef<[u8]>>(command: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for arg in command {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A command for a failure message, long ones cut.
fn shown<A: AsRef<[u8]>>(command: &[A]) -> String {
    let mut text = String::new();
    for arg in command {
        let arg = arg.as_ref();
        let head = arg.get(..arg.len().min(80)).unwrap_or_default();
        text.push_str(&format!("{} ", head.escape_ascii()));
    }
    text.trim_end().to_owned()
}
