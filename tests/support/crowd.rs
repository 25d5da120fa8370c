//! Thousands of connections, as far as this process may open files.

use std::collections::HashMap;
use std::env;

use super::client::Client;
use super::server::Server;
use super::skip::skip;
use super::{poll, until, UNTIL};

/// What a server needs besides its connections.
const OTHER_FILES: usize = 200;
/// How often [`UNTIL`] a crowd may take.
const CROWD_PATIENCE: u32 = 6;

/// How many connections a test of crowds makes: `REDIS_LOCK_CROWD`, or so many.
pub fn crowd_size(usual: usize) -> usize {
    env::var("REDIS_LOCK_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
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
    /// So many connections, each answered once.
    #[track_caller]
    pub fn crowd(&self, count: usize) -> Vec<Client> {
        (0..count)
            .map(|_| {
                let mut client = self.client();
                assert_eq!(client.cmd(&["PING"]), "PONG");
                client
            })
            .collect()
    }

    /// [`Server::until_blocked`] with the patience that thousands need: the server gives them back some 500 a second.
    #[track_caller]
    pub fn until_crowd_blocked(&self, count: usize) {
        let blocked = || usize::try_from(self.blocked()) == Ok(count);
        let done = poll(UNTIL * CROWD_PATIENCE, || blocked().then_some(()));
        assert!(done.is_some(), "{} clients are blocked and not {count}", self.blocked());
    }
}

/// Clients that wait, by owner.
pub type Line = HashMap<String, Client>;

impl Server {
    /// Whoever holds this lock releases it, and so on down the line until it is free. Those of the line are read their
    /// answers, each with a fence above the one before, and stay in `line` unless they were served. How many held.
    #[track_caller]
    pub fn serve(&self, key: &str, line: &mut Line) -> usize {
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
            if let Some(mut client) = line.remove(&owner) {
                assert_eq!(client.read(), fence);
            }
            assert_eq!(self.cmd(&["LOCK.RELEASE", key, &owner]), 1);
            (last, served) = (fence, served + 1);
        }
    }

    /// The end of a test of crowds: no lock is held, nobody waits, no key is left, and the counters agree that whatever began
    /// has ended.
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
