//! A relay between clients and a server that injects faults: it delays, drops, half-closes and stops.
//!
//! It reads the commands that pass, so a fault can be planned for the commands that bear a word (see [`Relay::plan`]).
//! Faults of the whole line ([`Relay::hold`], [`Relay::refuse`], [`Relay::half_close`]) strike whatever passes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::command::{split_command, Command};

/// The direction in which bytes pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server: commands.
    ToServer,
    /// From the server to the client: replies.
    ToClient,
}

/// What happens to a command.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The server gets it this much after the relay, and what follows it on the same connection not before it, as in a
    /// slow network: the delays of several commands overlap. Each command draws its own delay from the range.
    Delay(Range<Duration>),
    /// The relay keeps it until [`Relay::let_go`].
    Keep,
    /// The server gets it, but the client does not get the reply: the relay closes the connection instead.
    DropReply,
    /// The server does not get it: the relay closes the connection.
    Close,
    /// The server answers it with this error, such as `TRYAGAIN not now`, and does nothing else.
    Refuse(String),
}

/// A fault that is planned for commands.
#[derive(Debug)]
struct Plan {
    word: String,
    /// How many commands it still strikes; `None` for all.
    left: Option<usize>,
    fault: Fault,
}

/// Passes bytes on between clients and a server on loopback. Ends when dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    server: u16,
    plans: Vec<Plan>,
    /// Whether nothing passes, by direction.
    is_held: [bool; 2],
    refuses: bool,
    is_over: bool,
    /// Both ends of every connection: the client's and the server's.
    ends: Vec<(TcpStream, TcpStream)>,
    /// When connections were opened, those that were refused included.
    opened: Vec<Instant>,
    /// How many commands a planned fault struck, and when.
    struck: Vec<Instant>,
    /// How many commands are kept by [`Fault::Keep`].
    kept: usize,
    /// How many pieces were read and have not been passed on.
    under_way: usize,
    chance: super::Chance,
}

impl Relay {
    /// Starts a relay to the server on this port.
    pub fn start(server: u16) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            server,
            plans: Vec::new(),
            is_held: [false; 2],
            refuses: false,
            is_over: false,
            ends: Vec::new(),
            opened: Vec::new(),
            struck: Vec::new(),
            kept: 0,
            under_way: 0,
            chance: super::Chance::new(u64::from(port) + 1),
        };
        let line = Arc::new(Line { state: Mutex::new(state), changed: Condvar::new() });
        let relay = Relay { port, line: Arc::clone(&line) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if line.state().is_over {
                    return;
                }
                line.accept(client);
            }
        });
        relay
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to the server on this port.
    pub fn lead_to(&self, server: u16) {
        self.line.state().server = server;
    }

    /// Plans a fault for the next `times` commands that bear `word` as their name or as an argument, in any case of
    /// letters; `None` for all of them, until [`Relay::forget_plans`].
    pub fn plan(&self, word: &str, times: Option<usize>, fault: Fault) {
        self.line.state().plans.push(Plan { word: word.to_owned(), left: times, fault });
    }

    /// Forgets all planned faults, and passes on what [`Fault::Keep`] kept.
    pub fn forget_plans(&self) {
        self.line.state().plans.clear();
        self.let_go();
    }

    /// Passes on what [`Fault::Keep`] kept.
    pub fn let_go(&self) {
        self.line.state().kept = 0;
        self.line.changed.notify_all();
    }

    /// How many commands [`Fault::Keep`] keeps now.
    pub fn kept(&self) -> usize {
        self.line.state().kept
    }

    /// Lets nothing pass in this direction until [`Relay::resume`]: connections stay open, as when a process is stopped
    /// or packets are lost.
    pub fn hold(&self, way: Way) {
        self.line.state().is_held[way as usize] = true;
    }

    /// Ends [`Relay::hold`] in both directions. What came meanwhile passes now.
    pub fn resume(&self) {
        self.line.state().is_held = [false; 2];
        self.line.changed.notify_all();
    }

    /// Closes new connections at once, or stops doing so. A client sees that the server hangs up.
    pub fn refuse(&self, refuses: bool) {
        self.line.state().refuses = refuses;
    }

    /// Closes every connection, on both sides.
    pub fn close_all(&self) {
        for (client, server) in self.line.state().ends.drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Ends the stream of every connection in this direction only: the receiver sees the end, and the other direction
    /// stays open.
    pub fn half_close(&self, way: Way) {
        for (client, server) in &self.line.state().ends {
            let receiver = if way == Way::ToServer { server } else { client };
            let _ = receiver.shutdown(Shutdown::Write);
        }
    }

    /// When connections were opened, those that were refused included.
    pub fn opened(&self) -> Vec<Instant> {
        self.line.state().opened.clone()
    }

    /// When planned faults struck commands.
    pub fn struck(&self) -> Vec<Instant> {
        self.line.state().struck.clone()
    }

    /// Whether all that was read has been passed on.
    pub fn is_quiet(&self) -> bool {
        self.line.state().under_way == 0
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.line.state();
        (state.is_over, state.is_held, state.kept) = (true, [false; 2], 0);
        drop(state);
        self.close_all();
        self.line.changed.notify_all();
        // The thread that listens looks up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A command that the relay has read.
struct Arrived {
    command: Command,
    bytes: Vec<u8>,
    at: Instant,
    under_way: UnderWay,
}

/// A command that has been read and not been passed on, as long as this value lives.
struct UnderWay(Arc<Line>);

impl UnderWay {
    fn begin(line: &Arc<Line>) -> UnderWay {
        line.state().under_way += 1;
        UnderWay(Arc::clone(line))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

/// What becomes of a command after its fault.
enum Fate {
    Pass(Vec<u8>),
    PassAndDropReply(Vec<u8>),
    Close,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state();
        state.opened.push(Instant::now());
        if state.refuses {
            return;
        }
        // If the server refuses the connection, the relay closes it.
        let Ok(server) = TcpStream::connect(("127.0.0.1", state.server)) else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let clone = |stream: &TcpStream| stream.try_clone().unwrap();
        state.ends.retain(|(client, _)| client.peer_addr().is_ok());
        state.ends.push((clone(&client), clone(&server)));
        drop(state);
        let drops_replies = Arc::new(AtomicBool::new(false));
        let (queue, arrived) = channel();
        let (line, from) = (Arc::clone(self), clone(&client));
        thread::spawn(move || line.read_commands(from, &queue));
        let (line, drops, from, to) = (Arc::clone(self), Arc::clone(&drops_replies), clone(&client), clone(&server));
        thread::spawn(move || line.pass_commands(&arrived, &from, to, &drops));
        let line = Arc::clone(self);
        thread::spawn(move || line.pass_replies(server, client, &drops_replies));
    }

    /// Reads commands until the client closes or the connection ends. The other thread passes them on.
    fn read_commands(self: &Arc<Self>, mut from: TcpStream, queue: &Sender<Arrived>) {
        let mut unread = Vec::new();
        let mut chunk = [0; 16384];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            unread.extend_from_slice(&chunk[..length]);
            while let Some((command, length)) = split_command(&unread) {
                let bytes = unread.drain(..length).collect();
                let under_way = UnderWay::begin(self);
                if queue.send(Arrived { command, bytes, at: Instant::now(), under_way }).is_err() {
                    return;
                }
            }
        }
    }

    fn pass_commands(
        &self,
        queue: &Receiver<Arrived>,
        from: &TcpStream,
        mut to: TcpStream,
        drops_replies: &AtomicBool,
    ) {
        while let Ok(arrived) = queue.recv() {
            let fate = self.fate(&arrived.command, arrived.bytes, arrived.at);
            let passed = self.pass(&mut to, fate, drops_replies);
            drop(arrived.under_way);
            if !passed {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
        self.until_free(Way::ToServer);
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Applies the planned fault, which ends a delay before this returns.
    fn fate(&self, command: &Command, bytes: Vec<u8>, at: Instant) -> Fate {
        let mut state = self.state();
        let strikes = |plan: &Plan| plan.left != Some(0) && command.bears(&plan.word);
        let Some(plan) = state.plans.iter_mut().find(|plan| strikes(plan)) else { return Fate::Pass(bytes) };
        plan.left = plan.left.map(|left| left - 1);
        let fault = plan.fault.clone();
        state.struck.push(Instant::now());
        match fault {
            Fault::Delay(range) => {
                let span = range.end.saturating_sub(range.start).as_micros().try_into().unwrap_or(usize::MAX);
                let extra = state.chance.below(span.max(1));
                drop(state);
                let delay = range.start + Duration::from_micros(extra as u64);
                thread::sleep((at + delay).saturating_duration_since(Instant::now()));
                Fate::Pass(bytes)
            }
            Fault::Keep => {
                state.kept += 1;
                let go = self.changed.wait_while(state, |state| state.kept > 0);
                drop(go.unwrap_or_else(PoisonError::into_inner));
                Fate::Pass(bytes)
            }
            Fault::DropReply => Fate::PassAndDropReply(bytes),
            Fault::Close => Fate::Close,
            Fault::Refuse(text) => Fate::Pass(refusal(&text)),
        }
    }

    /// Whether the connection goes on.
    fn pass(&self, to: &mut TcpStream, fate: Fate, drops_replies: &AtomicBool) -> bool {
        self.until_free(Way::ToServer);
        let bytes = match fate {
            Fate::Pass(bytes) => bytes,
            Fate::PassAndDropReply(bytes) => {
                drops_replies.store(true, Ordering::SeqCst);
                bytes
            }
            Fate::Close => return false,
        };
        to.write_all(&bytes).is_ok()
    }

    fn pass_replies(&self, mut from: TcpStream, mut to: TcpStream, drops_replies: &AtomicBool) {
        let mut chunk = [0; 65536];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            if drops_replies.load(Ordering::SeqCst) {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
            self.until_free(Way::ToClient);
            if to.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        self.until_free(Way::ToClient);
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits while nothing may pass in this direction.
    fn until_free(&self, way: Way) {
        let state = self.changed.wait_while(self.state(), |state| state.is_held[way as usize]);
        drop(state.unwrap_or_else(PoisonError::into_inner));
    }
}

/// A command that the server answers with this error, so that its answer keeps its place among the others.
fn refusal(text: &str) -> Vec<u8> {
    let script = format!("return redis.error_reply('{}')", text.replace('\\', "\\\\").replace('\'', "\\'"));
    format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::{Client, Received, Server};
    use super::*;

    fn server_and_relay() -> (Server, Relay) {
        let server = Server::builder().without_module().start();
        let relay = Relay::start(server.port());
        (server, relay)
    }

    fn client(relay: &Relay) -> Client {
        Client::connect(relay.port()).unwrap()
    }

    #[test]
    fn commands_and_replies_pass() {
        let (_server, relay) = server_and_relay();
        let mut client = client(&relay);
        assert_eq!(client.cmd(&["SET", "k", "v"]), "OK");
        assert_eq!(client.pipeline(&[&["GET", "k"][..], &["PING"][..]]).len(), 2);
        assert_eq!(relay.opened().len(), 1);
        assert!(relay.is_quiet() && relay.struck().is_empty());
    }

    #[test]
    fn a_delayed_command_is_late_and_other_connections_are_not() {
        let (_server, relay) = server_and_relay();
        let (mut slow, mut fast) = (client(&relay), client(&relay));
        relay.plan("incr", Some(1), Fault::Delay(Duration::from_millis(300)..Duration::from_millis(400)));
        let begun = Instant::now();
        slow.send(&["INCR", "n"]);
        super::super::until("the command is delayed", || relay.struck().len() == 1);
        assert_eq!(fast.cmd(&["INCR", "n"]), 1);
        assert_eq!(slow.read(), 2);
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }

    #[test]
    fn delays_of_several_commands_on_one_connection_overlap() {
        let (_server, relay) = server_and_relay();
        let mut client = client(&relay);
        relay.plan("PING", None, Fault::Delay(Duration::from_millis(200)..Duration::from_millis(201)));
        let begun = Instant::now();
        let pings = [&["PING"][..]; 50];
        assert_eq!(client.pipeline(&pings).len(), 50);
        assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&begun.elapsed()));
    }

    #[test]
    fn a_kept_command_arrives_although_its_client_has_gone() {
        let (server, relay) = server_and_relay();
        relay.plan("SET", Some(1), Fault::Keep);
        let mut gone = client(&relay);
        gone.send(&["SET", "k", "v"]);
        super::super::until("the command is kept", || relay.kept() == 1);
        gone.close();
        assert!(!relay.is_quiet());
        assert!(server.cmd(&["GET", "k"]).is_nil());
        relay.let_go();
        super::super::until("the command has arrived", || server.cmd(&["GET", "k"]) == "v");
    }

    #[test]
    fn the_server_runs_a_command_whose_reply_is_dropped_and_not_one_that_is_closed() {
        let (server, relay) = server_and_relay();
        relay.plan("INCR", Some(1), Fault::DropReply);
        relay.plan("DECR", Some(1), Fault::Close);
        assert!(client(&relay).try_cmd(&["INCR", "n"]).is_err());
        assert!(client(&relay).try_cmd(&["DECR", "n"]).is_err());
        assert_eq!(server.cmd(&["GET", "n"]), "1");
        assert_eq!(client(&relay).cmd(&["INCR", "n"]), 2);
    }

    #[test]
    fn a_refused_command_is_answered_in_its_turn() {
        let (server, relay) = server_and_relay();
        relay.plan("GET", Some(1), Fault::Refuse("TRYAGAIN it's not the time".to_owned()));
        let mut client = client(&relay);
        let replies = client.pipeline(&[&["PING"][..], &["GET", "k"][..], &["PING"][..]]);
        assert_eq!(replies[0], "PONG");
        assert_eq!(replies[1].err_text(), "TRYAGAIN it's not the time");
        assert_eq!(replies[2], "PONG");
        assert!(client.cmd(&["GET", "k"]).is_nil());
        assert_eq!(server.info_number("server", "process_id"), i64::from(server.pid()));
    }

    #[test]
    fn nothing_passes_a_held_direction_until_it_is_resumed() {
        let (server, relay) = server_and_relay();
        let mut client = client(&relay);
        assert_eq!(client.cmd(&["PING"]), "PONG");
        relay.hold(Way::ToClient);
        client.send(&["SET", "k", "v"]);
        super::super::until("the server gets the command", || server.cmd(&["GET", "k"]) == "v");
        assert_eq!(client.receive(Duration::from_millis(50)), Received::Silence);
        relay.hold(Way::ToServer);
        relay.resume();
        assert_eq!(client.read(), "OK");
    }

    #[test]
    fn a_half_closed_connection_ends_for_its_receiver_only() {
        let (server, relay) = server_and_relay();
        let mut client = client(&relay);
        assert_eq!(client.cmd(&["PING"]), "PONG");
        relay.half_close(Way::ToClient);
        client.expect_closed();
        client.send(&["SET", "k", "v"]);
        super::super::until("the server still hears the client", || server.cmd(&["GET", "k"]) == "v");
    }

    #[test]
    fn refused_and_closed_connections_end() {
        let (_server, relay) = server_and_relay();
        let mut before = client(&relay);
        assert_eq!(before.cmd(&["PING"]), "PONG");
        relay.refuse(true);
        relay.close_all();
        before.expect_closed();
        client(&relay).expect_closed();
        relay.refuse(false);
        assert_eq!(client(&relay).cmd(&["PING"]), "PONG");
        assert_eq!(relay.opened().len(), 3);
    }
}
