//! Trap 39: one `.so` for every server. The short tour runs on the default server (or the one in `REDIS_SERVER`) and, by
//! way of this test binary started again, on each in `target/servers/list.tsv` (`make servers` fetches them).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{args, digest, module_path, skip, Server, Value};

/// Holds the version that the tour must find; set for the servers of the list.
const EXPECTED: &str = "REDIS_LOCK_EXPECTED_VERSION";
/// The test that the list's servers run.
const TOUR: &str = "every_server::module_loads_and_the_tour_works_on_the_default_server";

/// A row of the list: name, path, version.
struct Listed {
    name: String,
    path: PathBuf,
    version: String,
}

/// The servers in target/servers/list.tsv; `None` when nobody fetched any.
fn listed() -> Option<Vec<Listed>> {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/list.tsv");
    let text = std::fs::read_to_string(list).ok()?;
    let rows = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let [name, path, version] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("expected name, path and version with tabs between them: {line:?}");
        };
        Listed { name: name.to_owned(), path: path.into(), version: version.to_owned() }
    });
    Some(rows.collect())
}

/// Says something even though the test passes.
fn say(text: &str) {
    // The capture of a passing test's output reaches the printing macros only.
    let line = format!("every_server: {text}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Runs the tour on that server; `Err` holds what it printed.
fn tour_on(server: &Listed) -> Result<(), String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TOUR, "--nocapture"])
        .env("REDIS_SERVER", &server.path)
        .env("REDIS_LOCK_MODULE", module_path())
        .env(EXPECTED, &server.version)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    // A tour that was renamed would pass without having run.
    if output.status.success() && printed.contains("1 passed") {
        return Ok(());
    }
    Err(format!("--- {} {} ---\n{printed}", server.name, server.version))
}

/// Trap 39: the module loads on every server fetched, and locks work there.
#[test]
fn module_loads_and_the_tour_works_on_every_listed_server() {
    let Some(servers) = listed().filter(|servers| !servers.is_empty()) else {
        skip("no newer servers are there (make servers fetches them)");
        return;
    };
    let failures: Vec<String> = servers.iter().filter_map(|server| tour_on(server).err()).collect();
    let names: Vec<String> = servers.iter().map(|server| format!("{} {}", server.name, server.version)).collect();
    assert!(failures.is_empty(), "of {names:?}, {} failed:\n{}", failures.len(), failures.join("\n"));
    say(&format!("covered {}", names.join(", ")));
}

/// Trap 39: the module loads on this server, and locks work.
#[test]
fn module_loads_and_the_tour_works_on_the_default_server() {
    let server = Server::start();
    if let Ok(expected) = std::env::var(EXPECTED) {
        let (major, minor, patch) = server.version().number;
        assert_eq!(format!("{major}.{minor}.{patch}"), expected, "another server than the list says");
    }
    hold_and_hand_over(&server);
    end_by_itself(&server);
    survive_a_restart(&server);
    stay_loaded(&server);
    server.assert_no_keys();
    server.assert_clean();
}

/// Acquire, busy, reacquire, extend, wait, hand-off, release.
fn hold_and_hand_over(server: &Server) {
    let (mut a, mut b) = (server.client(), server.client());
    b.resp3();
    let first = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "60000"]).int();
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b"]), Value::Null);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "a"]), first);
    assert_eq!(a.cmd(&args!["LOCK.EXTEND", "k", "a", "EX", 60, "FENCE", first]), 1);
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "*", "BLOCK", "0"]);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    server.assert_waiting(&mut b);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    let granted = b.read();
    let [owner, fence] = granted.array() else { panic!("expected [owner, fence]: {granted:?}") };
    assert!(fence.int() > first);
    assert_eq!(b.cmd(&args!["LOCK.RELEASE", "k", owner.bytes(), "FENCE", fence.int()]), 1);
    assert_eq!(b.cmd(&["EXISTS", "k"]), 0);
}

/// A wait that runs out, a lease that ends, a waiter that goes, a key that is deleted.
fn end_by_itself(server: &Server) {
    let (mut a, mut b, mut c) = (server.client(), server.client(), server.client());
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "60000"]).int();
    assert_eq!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "30"]), Value::NullBulk);
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    b.reset();
    server.until_blocked(1);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1);
    c.read().int();
    server.send_to_wait(&mut a, &["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]);
    assert_eq!(c.cmd(&["DEL", "k"]), 1);
    a.read().int();
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
}

/// The hold, its fence and the fence clock come out of the RDB.
fn survive_a_restart(server: &Server) {
    let fence = server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    let before = digest(server);
    server.shutdown_saving();
    server.restart();
    assert_eq!(digest(server), before);
    assert_eq!(server.cmd(&["LOCK.ACQUIRE", "k", "b"]), Value::NullBulk);
    assert_eq!(server.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence]), 1);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(server.cmd(&["LOCK.ACQUIRE", "k", "b"]).int() > fence);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
}

/// MODULE UNLOAD is refused with a clear error, and the module is as alive as before.
fn stay_loaded(server: &Server) {
    let refused = server.cmd(&["MODULE", "UNLOAD", "redislock"]);
    assert!(refused.err_text().contains("data types"), "{refused:?}");
    server.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
}
