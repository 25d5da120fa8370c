//! Trap 36: files that were damaged on disk. A server that is started with one loads valid locks, or refuses to start and
//! says why; it neither dies of a signal nor hangs nor takes memory for what is not there.

use std::fs;
use std::path::PathBuf;

use support::{acquire, aof_commands, args, digest, until, Chance, Server, Value};

/// Says why a server did not start: one of these stands in its log.
const REASONS: [&str; 6] = [
    "not able to load",
    "Bad file format",
    "Unexpected end of file",
    "Internal error in RDB",
    "RDB file contains",
    "short read or OOM",
];

/// Damages the bytes from `from` on, in up to three ways at once.
fn damaged(bytes: &[u8], from: usize, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=chance.below(3) {
        let at = from + chance.below(bytes.len() - from);
        match chance.below(4) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][chance.below(5)],
            2 => bytes.insert(at, chance.below(256) as u8),
            _ if bytes.len() > from + 1 => drop(bytes.remove(at)),
            _ => {}
        }
    }
    bytes
}

/// An exclusive lock, and one with three shared holders.
#[track_caller]
fn make_locks(server: &Server) {
    let mut client = server.client();
    acquire(&mut client, "alone", "owner");
    for (owner, limit) in [("ann", "9"), ("ben", "5"), ("cleo", "3")] {
        client.cmd(&["LOCK.ACQUIRE", "together", owner, "PX", "600000", "SHARED", "LIMIT", limit]).int();
    }
}

/// Every lock there is can be looked at, saved, loaded and removed, and larger fences are given than any of theirs.
#[track_caller]
fn assert_valid(server: &Server) {
    let mut client = server.client();
    let mut highest = 0;
    for key in client.cmd(&["KEYS", "*"]).array() {
        let key = key.bytes();
        assert_eq!(client.cmd(&args!["TYPE", key]), "redislock");
        let info = client.cmd(&args!["LOCK.INFO", key]);
        if info.is_nil() {
            continue; // Its leases have run out, and the timer comes for it.
        }
        for holder in info.get("holders").array() {
            let fence = holder.get("fence").int();
            assert!((1..1 << 53).contains(&fence), "{info:?}");
            highest = highest.max(fence);
            assert!((1..=365 * 24 * 60 * 60 * 1000).contains(&holder.get("ttl").int()), "{info:?}");
            assert!((1..=1024).contains(&holder.get("owner").bytes().len()), "{info:?}");
        }
        assert!(client.cmd(&args!["DUMP", key]).bytes().len() > 20);
    }
    let fence = client.cmd(&["LOCK.ACQUIRE", "another", "a"]).int();
    // Nothing is above the largest fence there can be.
    assert!(fence > highest || highest == (1 << 53) - 1, "{fence} is not above {highest}");
    assert_eq!(client.cmd(&["LOCK.RELEASE", "another", "a"]), 1);
    assert_eq!(client.cmd(&["DEBUG", "RELOAD"]), "OK");
    assert!(server.info_number("memory", "used_memory") < 100 << 20);
    server.assert_clean();
}

/// Removes the locks of which a lease ends before a slow server has started again.
fn remove_those_that_end(server: &Server) {
    const SOON_MS: i64 = 300_000;
    let mut client = server.client();
    for key in client.cmd(&["KEYS", "*"]).array() {
        let info = client.cmd(&args!["LOCK.INFO", key.bytes()]);
        let ends = |holder: &Value| holder.get("ttl").int() < SOON_MS;
        if info.is_nil() || info.get("holders").array().iter().any(ends) {
            client.cmd(&args!["DEL", key.bytes()]);
        }
    }
}

/// Starts the server with what was put into its directory. True if it loaded it.
#[track_caller]
fn start_with_damage(server: &Server, what: &str) -> bool {
    match server.try_restart() {
        Ok(()) => {
            assert_valid(server);
            server.kill9();
            true
        }
        Err(story) => {
            // It ended by itself. (With status 0 where redis-check-rdb, which does not ask the module, finds the file good.)
            assert!(story.starts_with("it ended: exit status: "), "{what}: {story}");
            assert!(!story.contains("a panic in"), "{what}: {story}");
            assert!(REASONS.iter().any(|reason| story.contains(reason)), "{what}: {story}");
            false
        }
    }
}

fn incremental_aof(server: &Server) -> PathBuf {
    let files = fs::read_dir(server.dir().join("appendonlydir")).unwrap().map(|file| file.unwrap().path());
    let mut incremental: Vec<_> = files.filter(|file| file.to_str().unwrap().ends_with(".incr.aof")).collect();
    assert_eq!(incremental.len(), 1, "{incremental:?}");
    incremental.remove(0)
}

fn command(args: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend([format!("${}\r\n", arg.len()).as_bytes(), arg, b"\r\n"].concat());
    }
    bytes
}

/// The frame of the AOF is whole, 5000 effects in it are damaged: each is applied as the change that it says now, or
/// left out, and the log says so.
#[test]
fn damaged_effects_in_an_aof_are_left_out_or_give_valid_locks() {
    const SEED: u64 = 0x5eed_0003;
    const EFFECTS: usize = 5000;
    let server = Server::builder().aof().start();
    make_locks(&server);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "together", "ben"]), 1);
    server.cmd(&["LOCK.EXTEND", "alone", "owner", "PX", "700000"]).int();
    let effects: Vec<Vec<u8>> = aof_commands(&server)
        .into_iter()
        .filter(|command| command[0].eq_ignore_ascii_case(b"LOCK.__APPLY"))
        .map(|mut command| command.remove(2))
        .collect();
    assert_eq!(effects.len(), 6, "a grant each, an end, an extension");
    server.shutdown();

    let mut chance = Chance::new(SEED);
    let mut bytes = command(&args!["SELECT", 0]);
    for n in 0..EFFECTS {
        let effect = damaged(&effects[n % effects.len()], 0, &mut chance);
        bytes.extend(command(&args!["LOCK.__APPLY", format!("k{}", n % 50), effect]));
    }
    fs::write(incremental_aof(&server), bytes).unwrap();
    server.restart();
    let refused = server.log().matches("unknown lock effect").count();
    assert!((EFFECTS / 10..EFFECTS - EFFECTS / 10).contains(&refused), "{refused} were left out: seed {SEED:#x}");
    assert_valid(&server);

    // What was made of it can be saved and loaded as any other data set.
    remove_those_that_end(&server);
    assert_ne!(server.cmd(&["DBSIZE"]), 0);
    server.rewrite_aof();
    let before = digest(&server);
    server.restart();
    assert_eq!(digest(&server), before);
    assert_eq!(server.cmd(&["FLUSHALL"]), "OK");
    server.assert_no_keys();
    server.assert_clean();
}

/// An AOF that is damaged anywhere.
#[test]
fn damaged_aof_is_refused_or_gives_valid_locks() {
    const SEED: u64 = 0x5eed_0004;
    let server = Server::builder().aof().start();
    make_locks(&server);
    server.shutdown();
    let file = incremental_aof(&server);
    let whole = fs::read(&file).unwrap();
    let mut chance = Chance::new(SEED);
    for n in 0..15 {
        let damaged = match n {
            0 => whole[..whole.len() / 2].to_vec(),
            _ => damaged(&whole, 0, &mut chance),
        };
        fs::write(&file, &damaged).unwrap();
        start_with_damage(&server, &format!("seed {SEED:#x}, round {n}"));
        // The server cuts off what is incomplete at the end, and writes on.
        fs::write(&file, &whole).unwrap();
    }
    server.restart();
    assert_valid(&server);
}

/// An RDB file without a checksum: whatever is damaged reaches the module.
#[test]
fn damaged_rdb_is_refused_or_gives_valid_locks() {
    const SEED: u64 = 0x5eed_0005;
    // Whether a compressed value can still be read after the damage would be a matter of its bytes.
    let server = Server::builder().config("rdbchecksum no").config("rdbcompression no").start();
    make_locks(&server);
    server.shutdown_saving();
    let file = server.dir().join("dump.rdb");
    let whole = fs::read(&file).unwrap();
    // From the key's name on: the module's id, the stored form and its frame. What stands before is Redis's alone.
    let place = |name: &[u8]| whole.windows(name.len()).rposition(|bytes| bytes == name).unwrap() + name.len();
    let from = place(b"alone").min(place(b"together"));
    let mut chance = Chance::new(SEED);
    let loaded = (0..40).filter(|round| {
        fs::write(&file, damaged(&whole, from, &mut chance)).unwrap();
        start_with_damage(&server, &format!("seed {SEED:#x}, round {round}"))
    });
    let loaded = loaded.count();
    assert!((1..40).contains(&loaded), "{loaded} of 40 loaded: seed {SEED:#x} tries too little");
    fs::write(&file, &whole).unwrap();
    server.restart();
    assert_valid(&server);
}

/// The same with a checksum: nothing of it is believed.
#[test]
fn damaged_rdb_with_a_checksum_is_refused() {
    let server = Server::start();
    make_locks(&server);
    server.shutdown_saving();
    let file = server.dir().join("dump.rdb");
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    // The last letter of an owner, which leaves a lock as valid as before.
    let owner = whole.windows(5).rposition(|bytes| bytes == b"owner").unwrap();
    damaged[owner + 4] = b's';
    fs::write(&file, damaged).unwrap();
    let story = server.try_restart().expect_err("the checksum is wrong");
    assert!(story.starts_with("it ended: exit status: 1"), "{story}");
    until("the log says why", || server.log().to_lowercase().contains("checksum"));
    fs::write(&file, &whole).unwrap();
    server.restart();
    assert_valid(&server);
}
