//! Payloads that anybody may hand to RESTORE: a lock comes of them or "Bad data format", and the server lives.
//!
//! The tests write the stored form, version 1 (src/wire/format.rs), with their own hands: what a release has stored must
//! be read by every later one.

use super::payload::{number, restore, unix_us, FOOT, HEAD, REFUSED};
use support::{args, skip, until, Chance, Client, Server, Value};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HOUR_US: u64 = 60 * 60 * 1_000_000;

/// A server that does not look at checksums, and what DUMP said of a held lock there.
fn server_and_dump() -> (Server, Vec<u8>) {
    let server = Server::start();
    assert_eq!(server.cmd(&["DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1"]), "OK");
    server.cmd(&["LOCK.ACQUIRE", "k", "owner", "PX", "600000"]).int();
    let dump = server.cmd(&["DUMP", "k"]).bytes().to_vec();
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "owner"]), 1);
    (server, dump)
}

/// A lock in its stored form, field by field, each free to be wrong.
#[derive(Clone)]
struct Stored {
    version: u8,
    count: u64,
    mode: u8,
    owner_length: u64,
    owner: Vec<u8>,
    fence: u64,
    end_ms: u64,
    lease_ms: u64,
    grown_ms: u64,
    rest: Vec<u8>,
}

impl Stored {
    /// One that is sound: ten minutes of a lease of twenty are left.
    fn sound() -> Stored {
        let now = unix_us();
        Stored {
            version: 1,
            count: 1,
            mode: 0,
            owner_length: 5,
            owner: b"owner".to_vec(),
            fence: now,
            end_ms: now / 1000 + 600_000,
            lease_ms: 1_200_000,
            grown_ms: 0,
            rest: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut Stored)) -> Stored {
        let mut stored = Stored::sound();
        change(&mut stored);
        stored
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version];
        bytes.extend(number(self.count));
        bytes.push(self.mode);
        bytes.extend(number(self.owner_length));
        bytes.extend(&self.owner);
        for value in [self.fence, self.end_ms, self.lease_ms, self.grown_ms] {
            bytes.extend(number(value));
        }
        bytes.extend(&self.rest);
        bytes
    }

    /// The whole payload, in the frame of `dump`: opcode "string", 32-bit length, the bytes, opcode "end".
    fn payload(&self, dump: &[u8]) -> Vec<u8> {
        let stored = self.bytes();
        let length = u32::try_from(stored.len()).unwrap().to_be_bytes();
        [&dump[..HEAD], &[5, 0x80], &length, &stored, &[0], &dump[dump.len() - FOOT..]].concat()
    }
}

/// The stored form as this test knows it is the one that the module writes and reads.
#[test]
fn stored_form_is_the_one_of_version_1() {
    let (server, dump) = server_and_dump();
    let stored = Stored::sound();
    assert_eq!(restore(&server, &stored.payload(&dump)), "OK");
    assert_eq!(server.cmd(&["TYPE", "k"]), "redislock");
    let dump = server.cmd(&["DUMP", "k"]).bytes().to_vec();
    let value = &dump[..dump.len() - FOOT - 1];
    // The end went through the clock and back, which may round it.
    let near = stored.end_ms - 1..=stored.end_ms + 1;
    let mut written = near.map(|end_ms| Stored { end_ms, ..stored.clone() }.bytes());
    assert!(written.any(|bytes| value.ends_with(&bytes)), "{:?} is not in {:?}", stored.bytes(), value);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "owner"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 36: counts and lengths that lie, and values outside what a lock may have, are bad data; nothing is allocated
/// for them.
#[test]
fn impossible_locks_are_bad_data() {
    let (server, dump) = server_and_dump();
    let before = server.info_number("memory", "used_memory");
    let impossible = [
        ("version 0", Stored::with(|lock| lock.version = 0)),
        ("version 255", Stored::with(|lock| lock.version = 255)),
        ("no hold", Stored::with(|lock| lock.count = 0)),
        ("two holds, one there", Stored::with(|lock| lock.count = 2)),
        ("a huge count", Stored::with(|lock| lock.count = u64::MAX)),
        ("an unknown mode", Stored::with(|lock| lock.mode = 255)),
        ("an empty owner", Stored::with(|lock| (lock.owner_length, lock.owner) = (0, vec![]))),
        ("an owner too long", Stored::with(|lock| (lock.owner_length, lock.owner) = (1025, vec![b'o'; 1025]))),
        ("an owner cut off", Stored::with(|lock| lock.owner_length = 500)),
        ("a huge owner", Stored::with(|lock| lock.owner_length = u64::MAX >> 1)),
        ("the hugest owner", Stored::with(|lock| lock.owner_length = u64::MAX)),
        ("fence 0", Stored::with(|lock| lock.fence = 0)),
        ("a fence of 2^53", Stored::with(|lock| lock.fence = 1 << 53)),
        ("a fence more than an hour ahead", Stored::with(|lock| lock.fence += HOUR_US + 60_000_000)),
        ("no lease", Stored::with(|lock| lock.lease_ms = 0)),
        ("a lease of more than a year", Stored::with(|lock| lock.lease_ms = 365 * DAY_MS + 1)),
        ("a huge lease", Stored::with(|lock| lock.lease_ms = u64::MAX)),
        ("an end in more than a year", Stored::with(|lock| lock.end_ms += 366 * DAY_MS)),
        ("a huge end", Stored::with(|lock| lock.end_ms = u64::MAX)),
        ("bytes left over", Stored::with(|lock| lock.rest = vec![0])),
        ("a second lock left over", Stored::with(|lock| lock.rest = Stored::sound().bytes())),
    ];
    for (what, stored) in impossible {
        let answer = restore(&server, &stored.payload(&dump));
        assert!(matches!(&answer, Value::Error(text) if text == REFUSED), "{what}: {answer:?}");
        server.assert_no_keys();
    }
    let grown = server.info_number("memory", "used_memory") - before;
    assert!(grown < 10 << 20, "{grown} bytes were kept");
    server.assert_clean();
}

/// Trap 36: what lies at the edge of what is allowed is a lock like any other.
#[test]
fn possible_locks_at_the_edge_are_let_in() {
    let (server, dump) = server_and_dump();
    let mut client = server.client();
    let possible = [
        Stored::with(|lock| lock.fence += HOUR_US - 60_000_000),
        Stored::with(|lock| lock.fence = 1),
        Stored::with(|lock| lock.lease_ms = 365 * DAY_MS),
        Stored::with(|lock| lock.grown_ms = u64::MAX),
        Stored::with(|lock| (lock.owner_length, lock.owner) = (1024, vec![255; 1024])),
        Stored::with(|lock| (lock.owner_length, lock.owner) = (1, vec![0])),
    ];
    let mut largest = 0;
    for stored in possible {
        assert_eq!(restore(&server, &stored.payload(&dump)), "OK");
        largest = largest.max(i64::try_from(stored.fence).unwrap());
        assert!(client.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
        assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", stored.owner, "FENCE", stored.fence]), 1);
    }
    // Whatever was brought in, the next fence of the key is above it.
    assert!(client.cmd(&["LOCK.ACQUIRE", "k", "b"]).int() > largest);
    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// A payload whose leases have all ended leaves no key, and holds nobody up.
#[test]
fn payload_whose_lease_has_ended_leaves_no_key() {
    let (server, dump) = server_and_dump();
    for end_ms in [unix_us() / 1000 - 1, 1, 0] {
        let payload = Stored::with(|lock| lock.end_ms = end_ms).payload(&dump);
        restore(&server, &payload);
        until("the key is gone", || server.cmd(&["EXISTS", "k"]) == 0);

        let mut client = server.client();
        let restore = args!["RESTORE", "k", 0, payload, "REPLACE"];
        let replies = client.pipeline(&[&restore[..], &args!["LOCK.ACQUIRE", "k", "b"]]);
        replies[1].int();
        assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Damages everything between the type byte and the footer, in up to four ways at once.
fn damaged(dump: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut body = dump[1..dump.len() - FOOT].to_vec();
    for _ in 0..=chance.below(4) {
        // Mostly behind the module id, which is refused at once when it is damaged.
        let from = if chance.below(8) == 0 { 0 } else { HEAD - 1 };
        let at = (from + chance.below(body.len().saturating_sub(from).max(1))).min(body.len().saturating_sub(1));
        match chance.below(5) {
            0 => body.truncate(at),
            1 => body.insert(at, chance.below(256) as u8),
            2 if !body.is_empty() => body[at] ^= 1 << chance.below(8),
            3 if !body.is_empty() => body[at] = [0, 0x7f, 0x80, 0x81, 0xff][chance.below(5)],
            4 if !body.is_empty() => body[at] = chance.below(256) as u8,
            _ => body.extend([0xff; 9]),
        }
        if body.is_empty() {
            break;
        }
    }
    [&dump[..1], &body, &dump[dump.len() - FOOT..]].concat()
}

/// Restores each payload, asks what came of it, and removes it. How many were let in.
#[track_caller]
fn feed(client: &mut Client, payloads: &[Vec<u8>]) -> usize {
    let commands: Vec<_> = payloads
        .iter()
        .flat_map(|payload| {
            [
                args!["RESTORE", "k", 0, payload, "REPLACE"].to_vec(),
                args!["LOCK.ACQUIRE", "k", "somebody else"].to_vec(),
                args!["DUMP", "k"].to_vec(),
                args!["DEL", "k"].to_vec(),
            ]
        })
        .collect();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    let replies = client.pipeline(&commands);
    let mut let_in = 0;
    for (reply, payload) in replies.chunks(4).zip(payloads) {
        let shown = payload.escape_ascii();
        match &reply[0] {
            Value::Error(text) => assert_eq!(text, REFUSED, "{shown}"),
            restored => {
                assert!(*restored == "OK", "{restored:?}: {shown}");
                let_in += 1;
            }
        }
        // A refused or ended one leaves the lock free, a valid one holds it. In both cases there is a lock now.
        assert!(reply[0] == "OK" || !reply[1].is_nil(), "{shown}");
        assert!(reply[1].opt_int().is_none_or(|fence| fence < 1 << 53), "{shown}");
        assert!(!reply[2].is_nil() && reply[3] == 1, "{reply:?}: {shown}");
    }
    let_in
}

/// Trap 36: 10 000 damaged payloads; each is bad data or a lock that works, and the server lives. The seed replays it.
#[test]
fn damaged_payloads_are_bad_data_or_valid_locks() {
    const SEED: u64 = 0x5eed_0001;
    let (server, dump) = server_and_dump();
    let mut client = server.client();
    // Every truncation first.
    let cuts: Vec<_> = (1..dump.len() - FOOT).map(|len| [&dump[..len], &dump[dump.len() - FOOT..]].concat()).collect();
    feed(&mut client, &cuts);

    let mut chance = Chance::new(SEED);
    let mut let_in = 0;
    for _ in 0..100 {
        let payloads: Vec<_> = (0..100).map(|_| damaged(&dump, &mut chance)).collect();
        let_in += feed(&mut client, &payloads);
    }
    assert!((100..9_900).contains(&let_in), "{let_in} of 10000 let in: seed {SEED:#x} tries too little");
    // An owner, a fence, a grant: nothing of it stays behind.
    client.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    assert_eq!(client.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// A server that never granted a lock writes an RDB that it can read.
#[test]
fn rdb_without_any_lock_ever_granted_loads() {
    let server = Server::start();
    assert_eq!(server.cmd(&["SET", "text", "x"]), "OK");
    assert!(server.cmd(&["LOCK.EXTEND", "k", "a"]) == 0);
    server.shutdown_saving();
    server.restart();
    assert_eq!(server.cmd(&["GET", "text"]), "x");
    server.assert_clean();
}

/// From 7.2 on a module may leave out what it has nothing to say in, so a server without the module can read it too.
#[test]
fn rdb_without_any_lock_ever_granted_loads_without_the_module() {
    let server = Server::start();
    if server.version().number < (7, 2, 0) {
        return skip("on Redis 7.0 every RDB that was written with the module needs it");
    }
    assert_eq!(server.cmd(&["SET", "text", "x"]), "OK");
    assert!(server.cmd(&["LOCK.EXTEND", "k", "a"]) == 0);
    server.shutdown_saving();
    server.restart();
    server.shutdown_saving();
    server.reconfigure(|settings| settings.without_module());
    server.restart();
    assert_eq!(server.cmd(&["GET", "text"]), "x");
    server.assert_clean();
}
