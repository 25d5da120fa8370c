//! Thousands of clients, as far as the limit of open files allows.

use std::collections::HashMap;
use std::env;

use super::client::Client;
use super::server::Server;
use super::skip::skip;
use super::{poll, until, UNTIL};

/// What a server needs besides its connections.
const OTHER_FILES: usize = 200;
/// The deadline for thousands of clients, in multiples of [`UNTIL`].
const MANY_PATIENCE: u32 = 6;

/// How many clients a test of overload connects: `REDIS_LOCK_CLIENTS`, or so many as `usual`.
pub fn client_count(usual: usize) -> usize {
    env::var("REDIS_LOCK_CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Lets this process, and the servers it starts, open as many files as it may. Returns how many.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes into `limit`, which outlives the call.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(read, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: setrlimit reads `limit`, which outlives the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0);
    limit.rlim_cur
}

/// Whether so many connections are possible, with the limit of open files raised.
pub fn can_open(connections: usize) -> bool {
    let files = raise_open_files();
    let enough = usize::try_from(files).unwrap_or(usize::MAX) >= connections + OTHER_FILES;
    if !enough {
        skip(format!("{connections} connections need more than the {files} files this process may open"));
    }
    enough
}

impl Server {
    /// Connects so many clients. The server has answered each of them once.
    #[track_caller]
    pub fn connect_many(&self, count: usize) -> Vec<Client> {
        (0..count)
            .map(|_| {
                let mut client = self.client();
                assert_eq!(client.cmd(&["PING"]), "PONG");
                client
            })
            .collect()
    }

    /// [`Server::until_blocked`] with a deadline for thousands of clients: the server unblocks some 500 a second.
    #[track_caller]
    pub fn until_many_blocked(&self, count: usize) {
        let blocked = || usize::try_from(self.blocked()) == Ok(count);
        let done = poll(UNTIL * MANY_PATIENCE, || blocked().then_some(()));
        assert!(done.is_some(), "{} clients are blocked and not {count}", self.blocked());
    }
}

/// Clients that wait for one lock, by owner.
pub type Waiters = HashMap<String, Client>;

impl Server {
    /// Releases this lock for its holder, and for each waiter that is granted it then, until it is free. Reads the answers
    /// of those in `waiting`, takes them out, and asserts that each fence is above the one before. Returns how many held.
    #[track_caller]
    pub fn serve(&self, key: &str, waiting: &mut Waiters) -> usize {
        let (mut last, mut served) = (0, 0);
        loop {
            let info = self.cmd(&["LOCK.INFO", key]);
            if info.is_nil() {
                return served;
            }
            let holders = info.get("holders");
            let hold = &holders.array()[0];
            let (owner, fence) = (hold.get("owner").text(), hold.get("fence").int());
            assert!(fence > last, "{owner} holds under {fence}, after {last}");
            if let Some(mut client) = waiting.remove(&owner) {
                assert_eq!(client.read(), fence);
            }
            assert_eq!(self.cmd(&["LOCK.RELEASE", key, &owner]), 1);
            (last, served) = (fence, served + 1);
        }
    }

    /// Asserts at the end of a test of overload that no lock is held, nobody waits, no key is left, and that by the counters
    /// every hold that began has ended.
    #[track_caller]
    pub fn assert_all_ended(&self) {
        let count = |name: &str| self.info_number("redislock", &format!("redislock_{name}"));
        until("nothing is held and nobody waits", || count("locks_held") == 0 && count("waiters") == 0);
        let ends = ["releases", "lease_ends", "session_ends", "undelivered_grants", "operator_removals", "evictions"];
        let grants = count("grants_at_once") + count("grants_after_waiting");
        let ended = ends.map(count);
        assert_eq!(grants, ended.iter().sum::<i64>(), "grants, and how holds ended: {ends:?} {ended:?}");
        self.assert_no_keys();
        self.assert_clean();
    }
}
