//! INFO redislock under traffic of every kind: whatever began has ended in exactly one way, and the server counts what
//! its clients were told.

use std::hash::{BuildHasher, RandomState};
use std::thread;

use support::{args, until, Client, Server, Value};

/// How many clients, each in a thread, and how many requests each makes.
const CLIENTS: u64 = 6;
const REQUESTS: u64 = 400;

/// A sequence that a seed replays (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

/// What the clients were told.
#[derive(Default, Debug, PartialEq, Eq)]
struct Told {
    releases: i64,
    extensions: i64,
    deadlocks: i64,
    /// Requests whose answers nobody read.
    unread: i64,
}

/// A request to acquire: few keys, few owners, tiny leases, so that they meet.
fn acquire(chance: &mut Chance) -> Vec<Vec<u8>> {
    let (key, owner) = (chance.one_of(&["k1", "k2", "k3"]), chance.one_of(&["a", "b", "c", "d", "e"]));
    let mut request = args!["LOCK.ACQUIRE", key, owner, "PX", 1 + chance.below(30)].to_vec();
    let mode = chance.one_of(&["", "", "SHARED", "SHARED LIMIT 1", "SHARED LIMIT 2"]);
    let wait = chance.one_of(&["", "BLOCK 1", "BLOCK 10", "BLOCK 1000"]);
    let session = chance.one_of(&["", "", "SESSION"]);
    request.extend([mode, wait, session].iter().flat_map(|words| words.split_whitespace()).map(|word| word.into()));
    request
}

/// One request of any kind and its answer.
fn step(server: &Server, client: &mut Client, chance: &mut Chance, told: &mut Told) {
    let (key, owner) = (chance.one_of(&["k1", "k2", "k3"]), chance.one_of(&["a", "b", "c", "d", "e"]));
    match chance.below(12) {
        0..6 => match client.cmd(&acquire(chance)) {
            Value::Error(text) if text.starts_with("DEADLOCK ") => told.deadlocks += 1,
            Value::Error(text) => assert!(text.contains("release"), "{text}"),
            answer => assert!(answer.opt_int().is_none_or(|fence| fence > 0)),
        },
        6..8 => told.releases += client.cmd(&["LOCK.RELEASE", key, owner]).int(),
        8 => drop(client.cmd(&["LOCK.RELEASE", key, owner, "DOWNGRADE"])),
        9..11 => told.extensions += client.cmd(&args!["LOCK.EXTEND", key, owner, "PX", 1 + chance.below(30)]).int(),
        _ => {
            // Goes away without waiting for the answer.
            client.send(&acquire(chance));
            told.unread += 1;
            *client = server.client();
        }
    }
}

#[test]
fn whatever_began_has_ended_in_one_way_and_is_counted_once() {
    let seed = RandomState::new().hash_one("seed") | 1;
    eprintln!("seed {seed}");
    let server = Server::start();
    let told: Vec<Told> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    let (mut client, mut chance) = (server.client(), Chance(seed.wrapping_mul(2 * number + 1)));
                    let mut told = Told::default();
                    (0..REQUESTS).for_each(|_| step(server, &mut client, &mut chance, &mut told));
                    told
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    server.until_blocked(0);
    until("every lease has ended", || server.cmd(&["DBSIZE"]) == 0);

    let count = |name: &str| server.info_number("redislock", &format!("redislock_{name}"));
    until("nothing is held and nobody waits", || count("locks_held") == 0 && count("waiters") == 0);
    let sum = |pick: fn(&Told) -> i64| told.iter().map(pick).sum::<i64>();
    assert_eq!(count("releases"), sum(|told| told.releases));
    assert_eq!(count("extensions"), sum(|told| told.extensions));
    let deadlocks = count("deadlocks_refused") - sum(|told| told.deadlocks);
    assert!((0..=sum(|told| told.unread)).contains(&deadlocks), "{deadlocks} that nobody was told of");
    let grants = count("grants_at_once") + count("grants_after_waiting");
    let ends = ["releases", "lease_ends", "session_ends", "undelivered_grants"].map(count);
    assert_eq!(grants, ends.iter().sum::<i64>(), "grants, and how holds ended: {ends:?}");
    assert_eq!((count("operator_removals"), count("evictions")), (0, 0));
    assert!(ends[0] > 0 && ends[1] > 0 && ends[2] > 0 && count("wait_timeouts") > 0, "the traffic met: {ends:?}");
    server.assert_no_keys();
    server.assert_clean();
}
