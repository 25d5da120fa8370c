//! Files that were written by an earlier build are read for ever: RDB, AOF, and the stream of a primary.
//!
//! `tests/golden/v<n>/` was written once by a build whose stored form has version n (src/wire/format.rs), on Redis 7.0, which
//! every server can read; `locks.txt` there says what it holds. A new version adds a folder and changes none. The clock was
//! set 70 years ahead then, so that no lease ends; at no time is more than its length left of one, so each begins anew when it
//! is loaded now.
//!
//! To write the folder of a new version: `cargo test --test persistence golden_files -- --ignored`, with Redis 7.0.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;

use support::{args, parse_value, until, Server, ServerBuilder};

/// The version of the stored form that this build writes.
const VERSION: u32 = 2;
/// 365 days, in milliseconds: the longest lease.
const LEASE_MS: i64 = 31_536_000_000;
/// The last command of the recorded stream.
const END: &[u8] = b"golden-end";

fn folder(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{version}"))
}

/// Locks of every kind.
fn fill(server: &Server) {
    let mut client = server.client();
    let acquire = |key: &[u8], owner: &[u8], options: &str| {
        let mut command = args!["LOCK.ACQUIRE", key, owner, "PX", LEASE_MS].to_vec();
        command.extend(options.split_whitespace().map(|word| word.as_bytes().to_vec()));
        server.cmd(&command).int()
    };
    acquire(b"plain", b"a", "");
    acquire(b"long", &[b'x'; 1024], "");
    acquire(b"binary\0\r\n\xff", b"\0\r\n\xff", "");
    for (owner, options) in [("r1", "SHARED"), ("r2", "SHARED LIMIT 5"), ("r3", "SHARED LIMIT 1000000")] {
        acquire(b"shared", owner.as_bytes(), options);
    }
    for n in 0..90 {
        acquire(b"crowd", format!("r{n}").as_bytes(), "SHARED");
    }
    for key in ["raised", "downgraded", "extended", "freed", "left"] {
        acquire(key.as_bytes(), b"a", "");
    }
    acquire(b"left", b"a", "");
    let raised = acquire(b"again", b"a", "") + 1_000_000;
    client.cmd(&args!["LOCK.EXTEND", "raised", "a", "RAISE", raised]);
    client.cmd(&["LOCK.RELEASE", "downgraded", "a", "DOWNGRADE"]);
    client.cmd(&args!["LOCK.ACQUIRE", "downgraded", "b", "PX", LEASE_MS, "SHARED"]);
    client.cmd(&args!["LOCK.EXTEND", "extended", "a", "PX", LEASE_MS - 1]);
    client.cmd(&["LOCK.RELEASE", "freed", "a"]);
    client.cmd(&["LOCK.RELEASE", "crowd", "r7"]);
    client.cmd(&["DEL", "left"]);
    for (key, owner, options) in [
        ("max", "a", "MAX 31536000000"),
        ("delay", "a", "DELAY 3600000"),
        ("both", "a", "DELAY 1 MAX 31536000000"),
        ("units", "heavy", "SHARED LIMIT 1000000 WEIGHT 999990"),
        ("units", "light", "SHARED LIMIT 1000000"),
        ("units", "bounded", "SHARED LIMIT 1000000 WEIGHT 2 MAX 31536000000"),
        ("cooling", "a", ""),
    ] {
        acquire(key.as_bytes(), owner.as_bytes(), options);
    }
    client.cmd(&args!["LOCK.RELEASE", "cooling", "a", "COOL", LEASE_MS]);
    client.select(1);
    client.cmd(&args!["LOCK.ACQUIRE", "other", "a", "PX", LEASE_MS]);
}

/// All locks of a server: a line for each hold, and none has lost more of its lease than the test can have taken.
fn locks(server: &Server) -> String {
    let mut lines = Vec::new();
    for db in 0..2 {
        let mut client = server.client();
        client.select(db);
        let found = client.cmd(&["SCAN", "0", "TYPE", "redislock", "COUNT", "1000"]);
        for key in found.array()[1].array() {
            let info = client.cmd(&args!["LOCK.INFO", key.bytes()]);
            let mode = info.get("mode").text();
            if mode == "cooling" {
                lines.push(format!("{db} {} {mode}\n", key.bytes().escape_ascii()));
                let left = info.get("cooling").int();
                assert!(left <= LEASE_MS && left > LEASE_MS - 3_600_000, "{key:?}: {left} ms left");
            }
            for holder in info.get("holders").array() {
                let (owner, limit) =
                    (holder.get("owner").bytes().escape_ascii().to_string(), holder.get("limit").int());
                let (fence, key) = (holder.get("fence").int(), key.bytes().escape_ascii());
                let mut options = String::new();
                if holder.get("weight") != 1 {
                    options += &format!(" weight {}", holder.get("weight").int());
                }
                if holder.get("max") != 0 {
                    options += " max";
                }
                lines.push(format!("{db} {key} {mode} {owner} {fence} {limit}{options}\n"));
                let left = holder.get("ttl").int();
                assert!(left <= LEASE_MS && left > LEASE_MS - 3_600_000, "{key}: {left} ms left");
            }
        }
    }
    lines.sort();
    lines.concat()
}

fn expected(version: u32) -> String {
    fs::read_to_string(folder(version).join("locks.txt")).unwrap()
}

/// A server that finds these files when it starts for the second time.
fn with_files(settings: ServerBuilder, files: &[(PathBuf, &str)]) -> Server {
    let server = settings.start();
    server.kill9();
    let _ = fs::remove_dir_all(server.dir().join("appendonlydir"));
    for (from, to) in files {
        let to = server.dir().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
    server.restart();
    server
}

/// The files of a recorded appendonlydir, and where they go.
fn aof_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), format!("appendonlydir/{}", path.file_name().unwrap().to_str().unwrap()))).collect()
}

/// It holds what the files say, and still does after it saved them itself.
#[track_caller]
fn assert_read_and_saved(server: &Server, version: u32) {
    assert_eq!(locks(server), expected(version), "as loaded");
    server.cmd(&["DEBUG", "RELOAD"]);
    assert_eq!(locks(server), expected(version), "saved and loaded again");
    // Fences go on from there.
    let last = server.cmd(&["LOCK.CHECK", "raised", "a"]).array()[0].int();
    assert!(server.cmd(&["LOCK.ACQUIRE", "new", "a"]).int() > last);
}

#[test]
fn rdb_of_each_version_is_read() {
    for version in 1..=VERSION {
        let server = with_files(Server::builder(), &[(folder(version).join("dump.rdb"), "dump.rdb")]);
        assert_read_and_saved(&server, version);
    }
}

#[test]
fn aof_of_each_version_is_read_with_and_without_an_rdb_in_front() {
    for version in 1..=VERSION {
        for kind in ["aof-rdb", "aof-commands"] {
            let files = aof_files(&folder(version).join(kind));
            let files: Vec<(PathBuf, &str)> = files.iter().map(|(from, to)| (from.clone(), to.as_str())).collect();
            let server = with_files(Server::builder().aof(), &files);
            assert_read_and_saved(&server, version);
        }
    }
}

/// A primary that plays back what was recorded.
fn play_back(version: u32) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = move |name: &str| fs::read(folder(version).join(name)).unwrap();
    let (rdb, stream) = (read("sync.rdb"), read("sync.stream"));
    thread::spawn(move || {
        for replica in listener.incoming() {
            let _ = serve(replica.unwrap(), &rdb, &stream);
        }
    });
    port
}

fn serve(replica: TcpStream, rdb: &[u8], stream: &[u8]) -> std::io::Result<()> {
    let mut to = replica.try_clone()?;
    let mut from = BufReader::new(replica);
    let mut unread = Vec::new();
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        unread.push(byte[0]);
        let Some((command, _)) = parse_value(&unread) else { continue };
        unread.clear();
        match command.array()[0].text().to_uppercase().as_str() {
            "PING" => to.write_all(b"+PONG\r\n")?,
            "PSYNC" => {
                write!(to, "+FULLRESYNC {} 0\r\n${}\r\n", "0".repeat(40), rdb.len())?;
                to.write_all(rdb)?;
                to.write_all(stream)?;
            }
            _ if command.array()[1].text().eq_ignore_ascii_case("ACK") => {}
            _ => to.write_all(b"+OK\r\n")?,
        }
    }
}

#[test]
fn replica_reads_the_stream_of_a_primary_of_each_version() {
    for version in 1..=VERSION {
        let replica = Server::start();
        assert_eq!(replica.cmd(&args!["REPLICAOF", "127.0.0.1", play_back(version)]), "OK");
        until("all is read", || replica.cmd(&args!["EXISTS", END]) == 1);
        assert_eq!(locks(&replica), expected(version));
        assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
        assert_read_and_saved(&replica, version);
    }
}

/// Records what a replica is sent: the data set, and the stream until `act` is through.
fn record(server: &Server, act: impl FnOnce()) -> (Vec<u8>, Vec<u8>) {
    let mut replica = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    replica.write_all(b"SYNC\r\n").unwrap();
    let mut from = BufReader::new(replica);
    let mut head = String::new();
    // New lines keep the connection alive meanwhile.
    while !head.starts_with('$') {
        head.clear();
        std::io::BufRead::read_line(&mut from, &mut head).unwrap();
    }
    let mut rdb = vec![0; head[1..].trim_end().parse().unwrap()];
    from.read_exact(&mut rdb).unwrap();
    act();
    server.cmd(&args!["SET", END, ""]);
    let mut stream = Vec::new();
    let end = b"$0\r\n\r\n";
    while !(stream.ends_with(end) && stream.windows(END.len()).any(|window| window == END)) {
        let mut byte = [0];
        from.read_exact(&mut byte).unwrap();
        stream.push(byte[0]);
    }
    (rdb, stream)
}

#[test]
#[ignore = "writes the files of a new version"]
fn write_the_files_of_this_version() {
    let to = folder(VERSION);
    assert!(!to.exists(), "the files of a version are written once");
    let ahead = || Server::builder().clock_off_by(70 * 365 * 24 * 60 * 60);
    let server = ahead().aof_fsync("always").config("repl-diskless-sync no").start();
    assert_eq!(server.version().number.0, 7);
    server.cmd(&args!["LOCK.ACQUIRE", "first", "a", "PX", LEASE_MS]);
    let (rdb, stream) = record(&server, || fill(&server));
    fs::create_dir_all(&to).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(to.join(name), bytes).unwrap();
    write("sync.rdb", &rdb);
    write("sync.stream", &stream);
    write("locks.txt", locks(&server).as_bytes());
    server.save();
    write("dump.rdb", &fs::read(server.dir().join("dump.rdb")).unwrap());
    for (kind, preamble) in [("aof-rdb", "yes"), ("aof-commands", "no")] {
        server.cmd(&["CONFIG", "SET", "aof-use-rdb-preamble", preamble]);
        server.rewrite_aof();
        // Behind the base something is to follow.
        server.cmd(&args!["LOCK.EXTEND", "again", "a", "PX", LEASE_MS]);
        fs::create_dir_all(to.join(kind)).unwrap();
        for (file, name) in aof_files(&server.dir().join("appendonlydir")) {
            fs::copy(file, to.join(kind).join(name.trim_start_matches("appendonlydir/"))).unwrap();
        }
    }
}
