//! -DEADLOCK under traffic: owners that take several locks in any order, and give up what they hold when they are
//! refused, all get through. One cycle that is not seen, and they would wait for one another for ever.

use std::hash::{BuildHasher, RandomState};
use std::thread;

use support::{release, Client, Server, Value};

const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const CLIENTS: u64 = 6;
const ROUNDS: u64 = 100;

/// A sequence that a seed replays (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// Takes those locks one after the other, each in one of those modes, and gives them up again. False if it was refused
/// on the way: then it has given up what it had.
#[track_caller]
fn take_all(client: &mut Client, owner: &str, keys: &[&str], modes: &[&str], chance: &mut Chance) -> bool {
    for (number, key) in keys.iter().enumerate() {
        let mode = modes[chance.below(modes.len())];
        let mut request = vec!["LOCK.ACQUIRE", key, owner, "PX", "600000", "BLOCK", "0"];
        request.extend(mode.split_whitespace());
        match client.cmd(&request) {
            Value::Int(_) => {}
            Value::Error(text) if text.starts_with("DEADLOCK ") => {
                keys[..number].iter().for_each(|held| release(client, held, owner));
                return false;
            }
            other => panic!("{request:?}: {other:?}"),
        }
    }
    keys.iter().for_each(|held| release(client, held, owner));
    true
}

/// Every client takes 2 to 4 locks a round in an order of its own, again and again until it is not refused.
#[track_caller]
fn assert_all_get_through(modes: &[&str]) {
    let seed = RandomState::new().hash_one("seed") | 1;
    eprintln!("seed {seed}");
    let server = Server::start();
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (mut client, mut chance) = (server.client(), Chance(seed.wrapping_mul(2 * number + 1)));
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    for attempt in 0.. {
                        let mut keys = KEYS;
                        (1..keys.len()).rev().for_each(|at| keys.swap(at, chance.below(at + 1)));
                        let some = &keys[..2 + chance.below(3)];
                        let owner = format!("client{number}.{round}.{attempt}");
                        if take_all(&mut client, &owner, some, modes, &mut chance) {
                            break;
                        }
                    }
                }
            });
        }
    });
    let refused = server.info_number("redislock", "redislock_deadlocks_refused");
    assert!(refused > 0, "no two met");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn owners_of_exclusive_holds_in_any_order_all_get_through() {
    assert_all_get_through(&[""]);
}

#[test]
fn owners_of_holds_in_any_mode_and_order_all_get_through() {
    assert_all_get_through(&["", "SHARED", "SHARED", "SHARED LIMIT 1"]);
}
