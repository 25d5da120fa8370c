//! Sentinel replaces a primary while clients take a lock again and again: they get it again at the new one, its fences rise
//! also over writes that were lost, and when the old one is back all have the same data.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::{acquire, assert_same, judge, poll, wait, Client, Grant, Received, Server, Value, Watched, PRIMARY};

/// The lease of clients under load, in milliseconds.
const LEASE_MS: u64 = 3000;
/// How long a client waits in the server at a time, in milliseconds.
const BLOCK_MS: u64 = 2000;
/// A client that hears nothing for so long asks the Sentinels anew.
const SILENCE: Duration = Duration::from_secs(4);

/// How long clients may take to find a new primary.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whom a Sentinel calls the primary, and its port; `None` if nobody can be asked.
fn primary(watched: &Watched) -> Option<(u16, Client)> {
    let answer = watched.sentinels()[1].cmd(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", PRIMARY]);
    let port = answer.array()[1].text().parse().unwrap();
    let mut client = Client::connect(port).ok()?;
    client.set_deadline(SILENCE);
    Some((port, client))
}

/// Takes and releases the lock until it is over, each time under a new owner, and writes down each hold.
fn load(watched: &Watched, name: usize, is_over: &AtomicBool, history: &Mutex<Vec<Grant>>) {
    let mut connection = None;
    for n in 0_u64.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let Some((server, client)) = connection.as_mut() else {
            thread::sleep(Duration::from_millis(20));
            connection = primary(watched);
            continue;
        };
        let owner = format!("{name}-{n}");
        let (lease, block) = (LEASE_MS.to_string(), BLOCK_MS.to_string());
        let called = Instant::now();
        match client.try_cmd(&["LOCK.ACQUIRE", "k", &owner, "PX", &lease, "BLOCK", &block]) {
            Ok(Value::Int(fence)) => {
                let granted = Instant::now();
                thread::sleep(Duration::from_millis(2));
                // The lease began when it was granted, which was after it was asked for.
                let lapsed = called + Duration::from_millis(LEASE_MS);
                let ended = Instant::now().min(lapsed.max(granted));
                history.lock().unwrap().push(Grant {
                    called,
                    granted,
                    server: *server,
                    fence: fence.unsigned_abs(),
                    ended,
                });
                if client.try_cmd(&["LOCK.RELEASE", "k", &owner]).is_err() {
                    connection = None;
                }
            }
            Ok(Value::NullBulk) => {}
            // UNBLOCKED, READONLY, or gone: the Sentinels know.
            Ok(_) | Err(_) => connection = None,
        }
    }
}

/// Runs the load while `fail` does away with the primary; checks what the clients saw, and that all servers agree in the
/// end.
fn under_load(fail: impl Fn(&Server), mend: impl Fn(&Server)) {
    let watched = Watched::start(2);
    let (is_over, history) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let grants = || history.lock().unwrap().len();
    let go_on = |what: &str| {
        let before = grants();
        let gone_on = poll(PATIENCE, || (grants() > before + 20).then_some(()));
        assert!(gone_on.is_some(), "grants do not go on: {what}");
    };
    let new = thread::scope(|scope| {
        for name in 0..4 {
            let (watched, is_over, history) = (&watched, &is_over, &history);
            scope.spawn(move || load(watched, name, is_over, history));
        }
        go_on("at first");
        fail(watched.server(0));
        let new = watched.until_failover(0);
        go_on("at the new primary");
        mend(watched.server(0));
        watched.until_whole();
        go_on("with the old one as a replica");
        is_over.store(true, Ordering::Relaxed);
        new
    });
    let mut history = history.into_inner().unwrap();
    history.sort_by_key(|grant| grant.granted);
    // On a busy machine the Sentinels may replace the new primary as well.
    let mut primaries = vec![watched.server(0).port(), watched.server(new).port()];
    for grant in &history {
        if !primaries.contains(&grant.server) {
            primaries.push(grant.server);
        }
    }
    let judgement = judge(history, &primaries);
    println!("pairs of holds side by side because of the failover: {}", judgement.lost);
    assert_eq!(judgement.faults, Vec::<String>::new());
    let primary = watched.server(watched.primary());
    for n in (0..3).filter(|n| watched.server(*n).port() != primary.port()) {
        assert_same(primary, watched.server(n));
    }
}

#[test]
fn clients_go_on_after_the_primary_was_killed() {
    under_load(Server::kill9, Server::restart);
}

#[test]
fn clients_go_on_after_the_primary_stood_still() {
    under_load(Server::sigstop, Server::sigcont);
}

/// The replicas hear nothing of the last grants; the promoted one gives larger fences all the same.
#[test]
fn fences_rise_over_writes_that_no_replica_has() {
    let watched = Watched::start(2);
    let old = watched.server(0);
    acquire(&mut old.client(), "before", "a");
    assert_eq!(old.cmd(&["WAIT", "2", "10000"]), 2);
    // They hang: the primary goes on without them for a moment.
    watched.server(1).sigstop();
    watched.server(2).sigstop();
    let mut a = old.client();
    let mut last = 0;
    for n in 0..1000 {
        let owner = format!("a{n}");
        last = acquire(&mut a, "k", &owner);
        a.cmd(&["LOCK.RELEASE", "k", &owner]);
    }
    // What lies in the replicas' sockets is lost with the primary's machine.
    for n in [1, 2] {
        watched.server(n).kill9();
    }
    old.kill9();
    for n in [1, 2] {
        watched.server(n).reconfigure(|settings| settings.config("save \"\""));
        watched.server(n).restart();
    }
    let new = watched.until_failover(0);
    let fence = acquire(&mut watched.server(new).client(), "k", "b");
    assert!(fence > last, "{fence} after {last}");
}

/// Who waits at a primary that was replaced is told so and let go, and nothing it held back is granted there.
#[test]
fn waiters_of_a_demoted_primary_are_let_go() {
    let watched = Watched::start(1);
    let old = watched.server(0);
    let fence = acquire(&mut old.client(), "k", "a");
    let mut b = wait(old, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(old.cmd(&["WAIT", "1", "10000"]), 1);
    let asked = watched.sentinels()[0].cmd(&["SENTINEL", "FAILOVER", PRIMARY]);
    assert_eq!(asked, "OK");
    let new = watched.until_failover(0);
    watched.until_whole();
    match b.receive(Duration::from_secs(10)) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("UNBLOCKED "), "{text}"),
        // Sentinel also kills the clients of a server that it demotes.
        Received::Closed => {}
        other => panic!("{other:?}"),
    }
    let new = watched.server(new);
    assert_eq!(new.cmd(&["LOCK.CHECK", "k", "a"]).array()[0].int(), fence);
    let mut b = wait(new, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(new.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
    assert_same(new, old);
}
