//! Payloads of shared locks that anybody may hand to RESTORE (trap 36), effects that nobody may send (trap 35), and a lock
//! with a thousand holders as one value.
//!
//! The stored form (src/wire/format.rs) is written with the test's own hands: what a release has stored must be read by every
//! later one.

use super::payload::{number, restore, unix_us, FOOT, HEAD, REFUSED};
use support::{aof_commands, args, digest, say, until, Server, Value};

/// A server that does not look at checksums, and what DUMP said of a lock that `aa` and `bb` share there.
fn server_and_dump() -> (Server, Vec<u8>) {
    let server = Server::builder().config("rdbcompression no").start();
    assert_eq!(say(&server, "DEBUG SET-SKIP-CHECKSUM-VALIDATION 1"), "OK");
    for asks in ["aa SHARED LIMIT 7", "bb SHARED"] {
        say(&server, &format!("LOCK.ACQUIRE k {asks} PX 600000")).int();
    }
    let dump = say(&server, "DUMP k").bytes().to_vec();
    assert_eq!(say(&server, "DEL k"), 1);
    (server, dump)
}

/// One hold in its stored form; `limit` `None` = exclusive, 0 = shared without a limit.
#[derive(Clone)]
struct Stored {
    limit: Option<u64>,
    owner: &'static str,
    fence: u64,
    end_ms: u64,
}

/// A sound one: ten minutes of a lease of twenty are left.
fn hold(limit: impl Into<Option<u64>>, owner: &'static str) -> Stored {
    let now = unix_us();
    Stored { limit: limit.into(), owner, fence: now, end_ms: now / 1000 + 600_000 }
}

/// The whole payload of a lock, in the frame of `dump`: opcode "string", 32-bit length, the bytes, opcode "end".
fn payload(dump: &[u8], holds: &[Stored]) -> Vec<u8> {
    let mut stored = [&[1][..], &number(holds.len() as u64)].concat();
    for hold in holds {
        match hold.limit {
            None => stored.push(0),
            Some(limit) => stored.extend([&[1][..], &number(limit)].concat()),
        }
        stored.extend([&number(hold.owner.len() as u64)[..], hold.owner.as_bytes()].concat());
        for value in [hold.fence, hold.end_ms, 1_200_000, 0] {
            stored.extend(number(value));
        }
    }
    let length = u32::try_from(stored.len()).unwrap().to_be_bytes();
    [&dump[..HEAD], &[5, 0x80], &length, &stored, &[0], &dump[dump.len() - FOOT..]].concat()
}

/// Trap 36: crowds that the rules would never have let in are bad data.
#[test]
fn impossible_shared_holders_are_bad_data() {
    let (server, dump) = server_and_dump();
    let impossible = [
        ("one owner twice", vec![hold(0, "a"), hold(0, "a")]),
        ("one owner twice among others", vec![hold(0, "a"), hold(0, "b"), hold(5, "a")]),
        ("two writers", vec![hold(None, "a"), hold(None, "b")]),
        ("a reader beside a writer", vec![hold(None, "a"), hold(0, "b")]),
        ("a writer beside a reader", vec![hold(0, "a"), hold(None, "b")]),
        ("a writer who also reads", vec![hold(None, "a"), hold(0, "a")]),
        ("more than a limit", vec![hold(2, "a"), hold(0, "b"), hold(0, "c")]),
        ("two beside LIMIT 1", vec![hold(0, "a"), hold(1, "b")]),
        ("a limit out of range", vec![hold(1_000_001, "a")]),
        ("a huge limit", vec![hold(u64::MAX, "a")]),
        ("an unsound one among sound ones", vec![hold(0, "a"), Stored { fence: 0, ..hold(0, "b") }, hold(0, "c")]),
        (
            "a fence too far ahead",
            vec![hold(0, "a"), Stored { fence: unix_us() + (2 * 3600 * 1_000_000), ..hold(0, "b") }],
        ),
    ];
    for (what, holds) in impossible {
        assert_eq!(restore(&server, &payload(&dump, &holds)), Value::Error(REFUSED.into()), "{what}");
        server.assert_no_keys();
    }
    // The same with the module's own payload, in which one name is put in the other's place.
    let at = dump.windows(2).position(|pair| pair == b"bb").unwrap();
    let twice = [&dump[..at], b"aa", &dump[at + 2..]].concat();
    assert_eq!(restore(&server, &dump), "OK");
    assert_eq!(say(&server, "DEL k"), 1);
    assert_eq!(restore(&server, &twice), Value::Error(REFUSED.into()));
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 36: what the rules allow is let in: equal fences (RAISE makes them), full limits, leases that have ended beside some
/// that have not.
#[test]
fn possible_shared_holders_are_let_in() {
    let (server, dump) = server_and_dump();
    let fence = unix_us();
    let same = |limit, owner| Stored { fence, ..hold(limit, owner) };
    let over = |limit, owner| Stored { end_ms: fence / 1000 - 1, ..hold(limit, owner) };
    let possible = [
        (vec![hold(1_000_000, "a")], vec!["a"]),
        (vec![same(0, "a"), same(0, "b"), same(3, "c")], vec!["a", "b", "c"]),
        (vec![hold(0, "a"), over(0, "b"), hold(9, "c"), over(0, "d")], vec!["a", "c"]),
        (vec![over(0, "a"), over(1_000_000, "b")], vec![]),
    ];
    for (holds, left) in possible {
        let answer = restore(&server, &payload(&dump, &holds));
        assert!(answer == "OK" || left.is_empty(), "{answer:?}");
        let mut owners: Vec<String> = match say(&server, "LOCK.INFO k") {
            info if info.is_nil() => Vec::new(),
            info => info.get("holders").array().iter().map(|hold| hold.get("owner").text()).collect(),
        };
        owners.sort();
        assert_eq!(owners, left);
        for owner in &left {
            assert_eq!(say(&server, &format!("LOCK.RELEASE k {owner}")), 1);
        }
        until("no key is left", || say(&server, "EXISTS k") == 0);
        say(&server, "LOCK.ACQUIRE k w").int();
        assert_eq!(say(&server, "LOCK.RELEASE k w"), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 36: 4000 damaged payloads of a shared lock; each is bad data or a lock that works, and the server lives.
#[test]
fn damaged_payloads_of_shared_locks_are_bad_data_or_valid_locks() {
    let (server, dump) = server_and_dump();
    let mut client = server.client();
    let mut seed: u64 = 0x5eed_0002;
    let mut chance = |limit: usize| {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    };
    let mut let_in = 0;
    for _ in 0..40 {
        let mut commands = Vec::new();
        for _ in 0..100 {
            let mut body = dump[..dump.len() - FOOT].to_vec();
            for _ in 0..=chance(3) {
                let at = HEAD + chance(body.len() - HEAD);
                match chance(4) {
                    0 => body.truncate(at + 1),
                    1 => body.insert(at, chance(256) as u8),
                    2 => body[at] ^= 1 << chance(8),
                    _ => body[at] = [0, 1, 2, 0x7f, 0x80, 0xff][chance(6)],
                }
            }
            let damaged = [&body[..], &dump[dump.len() - FOOT..]].concat();
            commands.push(args!["RESTORE", "k", 0, damaged, "REPLACE"].to_vec());
            commands.push(args!["LOCK.ACQUIRE", "k", "somebody else", "SHARED"].to_vec());
            commands.push(args!["LOCK.INFO", "k"].to_vec());
            commands.push(args!["DEL", "k"].to_vec());
        }
        let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
        for reply in client.pipeline(&commands).chunks(4) {
            match &reply[0] {
                Value::Error(text) => assert_eq!(text, REFUSED),
                restored => {
                    assert_eq!(*restored, "OK");
                    let_in += 1;
                }
            }
            assert!(reply[1].opt_int().is_none_or(|fence| fence < 1 << 53));
            assert!(!reply[2].is_nil() && reply[3] == 1, "{reply:?}");
        }
    }
    assert!((50..3_950).contains(&let_in), "{let_in} of 4000 let in tries too little");
    server.assert_no_keys();
    server.assert_clean();
}

/// A lock with a thousand shared holders is one value, as DUMP and RESTORE see it.
#[test]
fn lock_of_a_thousand_shared_holders_is_dumped_and_restored_whole() {
    let server = Server::start();
    let mut client = server.client();
    let ask = |number: usize| args!["LOCK.ACQUIRE", "k", format!("o{number}"), "SHARED", "LIMIT", 2000, "PX", 600_000];
    let commands: Vec<Vec<Vec<u8>>> = (0..1000).map(|number| ask(number).to_vec()).collect();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    let fences: Vec<i64> = client.pipeline(&commands).iter().map(Value::int).collect();
    let (data, dump) = (digest(&server), say(&server, "DUMP k").bytes().to_vec());
    assert_eq!(say(&server, "DEL k"), 1);
    assert_eq!(restore(&server, &dump), "OK");
    assert_eq!(digest(&server), data);
    assert_eq!(say(&server, "LOCK.INFO k").get("holders-count"), 1000);
    assert!(say(&server, "LOCK.ACQUIRE k w").is_nil());
    for (number, fence) in fences.iter().enumerate() {
        assert_eq!(say(&server, &format!("LOCK.RELEASE k o{number} FENCE {fence}")), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 35: effects of shared holds come from a primary or an AOF and from nobody else.
#[test]
fn effects_of_shared_holds_sent_by_a_client_are_refused() {
    let server = Server::builder().aof().start();
    for command in ["ACQUIRE k a SHARED", "ACQUIRE k b SHARED LIMIT 3", "RELEASE k b", "EXTEND k a", "RELEASE k a"] {
        say(&server, &format!("LOCK.{command}")).int();
    }
    let effects: Vec<_> = aof_commands(&server).into_iter().filter(|command| command[0] == b"LOCK.__APPLY").collect();
    assert_eq!(effects.len(), 5);
    for effect in &effects {
        assert!(server.cmd(effect).err_text().contains("internal to replication"));
    }
    server.assert_no_keys();
    server.assert_clean();
}
