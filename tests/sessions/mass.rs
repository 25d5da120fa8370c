//! SESSION (trap 42): thousands of connections that close at once, and one connection that holds thousands of locks.
//! The server goes on answering others, every lock is free afterwards, and the memory comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::{acquire, args, can_open, patience, release, until, waiter, Client, Server, Value};

/// How many connections close at once.
const SESSIONS: usize = 10_000;
/// How long an answer to somebody else may take meanwhile.
const ANSWER: Duration = Duration::from_secs(2);
/// Does `work` while another connection sends PING after PING: each is answered in time. How many there were.
fn while_answering(server: &Server, work: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut client = server.client();
            client.set_deadline(patience(ANSWER));
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(client.cmd(&["PING"]), "PONG");
                count += 1;
            }
            count
        });
        work();
        over.store(true, Ordering::Relaxed);
        pings.join().unwrap()
    })
}

/// As many connections, each with a lock of its own and a share in one that is common to all.
fn open_sessions(server: &Server) -> Vec<Client> {
    let open = |number: usize| {
        let mut client = server.client();
        client.send_many(&[
            &args!["LOCK.ACQUIRE", format!("k{number}"), "a", "PX", 600_000, "SESSION"][..],
            &args!["LOCK.ACQUIRE", "common", number, "PX", 600_000, "SHARED", "SESSION"],
        ]);
        client
    };
    let mut clients: Vec<Client> = (0..SESSIONS).map(open).collect();
    for client in &mut clients {
        client.read().int();
        client.read().int();
    }
    clients
}

#[test]
fn thousands_of_sessions_that_close_at_once_end_all_their_holds() {
    if !can_open(SESSIONS) {
        return;
    }
    let server = Server::builder().config("maxclients 12000").start();
    let mut before = None;
    for _ in 0..2 {
        let clients = open_sessions(&server);
        assert_eq!(server.cmd(&["DBSIZE"]).int(), i64::try_from(SESSIONS).unwrap() + 1);
        let mut last = waiter(&server, "common", "last");
        // So that the server learns of all in one turn.
        server.sigstop();
        drop(clients);
        server.sigcont();
        let answered = while_answering(&server, || {
            last.read().int();
            until("all other locks are free", || server.cmd(&["DBSIZE"]) == 1);
        });
        assert!(answered > 0);
        release(&mut last, "common", "last");
        server.assert_no_keys();
        last.close();
        server.until_clients(0);
        // What the first round left is what the server keeps at hand; the second one leaves no more.
        match before {
            None => before = Some(settled_memory(&server)),
            Some(before) => {
                let margin = 1 << 20;
                until("the memory is back", || server.info_number("memory", "used_memory") < before + margin);
            }
        }
    }
    server.assert_clean();
}

/// The memory in use once the server has given back what closed connections had (it does so a few a second).
fn settled_memory(server: &Server) -> i64 {
    let mut least = i64::MAX;
    let mut same = 0;
    until("the memory use has settled", || {
        let used = server.info_number("memory", "used_memory");
        same = if used + (64 << 10) < least { 0 } else { same + 1 };
        least = least.min(used);
        same > 100
    });
    least
}

#[test]
fn connection_with_thousands_of_locks_ends_them_all_while_others_are_answered() {
    const LOCKS: usize = 30_000;
    let server = Server::builder().aof_fsync("no").start();
    let (mut a, mut other) = (server.client(), server.client());
    let keys: Vec<String> = (0..LOCKS).map(|number| format!("k{number}")).collect();
    for some in keys.chunks(100) {
        let requests: Vec<_> =
            some.iter().map(|key| args!["LOCK.ACQUIRE", key, "a", "PX", 600_000, "SESSION"].to_vec()).collect();
        let requests: Vec<&[Vec<u8>]> = requests.iter().map(Vec::as_slice).collect();
        assert!(a.pipeline(&requests).iter().all(|fence| fence.int() > 0));
    }
    let fence = acquire(&mut other, "other", "a");
    let mut waiters: Vec<Client> =
        (0..LOCKS).step_by(LOCKS / 50).map(|number| waiter(&server, &keys[number], "b")).collect();
    while_answering(&server, || {
        a.close();
        for waiter in &mut waiters {
            waiter.read().int();
        }
        let left = i64::try_from(waiters.len()).unwrap() + 1;
        until("all are free but those that were waited for", || server.cmd(&["DBSIZE"]) == left);
    });
    for (waiter, key) in waiters.iter_mut().zip(keys.iter().step_by(LOCKS / 50)) {
        release(waiter, key, "b");
    }
    assert_eq!(other.cmd(&args!["LOCK.RELEASE", "other", "a", "FENCE", fence]), 1);
    server.restart();
    server.assert_no_keys();
    server.assert_clean();
}

/// A connection that stays open keeps nothing of the holds that ended before it.
#[test]
fn ended_holds_of_an_open_session_take_no_memory() {
    let server = Server::start();
    let mut a = server.client();
    let mut lap = 0;
    let mut come_and_go = |end: fn(&str) -> Vec<Vec<u8>>| {
        lap += 1;
        for round in 0..200 {
            // Other keys each time: what is left of the ones before would not be taken again.
            let keys: Vec<String> = (0..100).map(|number| format!("{lap}:{round}:{number}")).collect();
            let take = |key: &String| args!["LOCK.ACQUIRE", key, "a", "PX", 600_000, "SESSION"].to_vec();
            let requests: Vec<_> = keys.iter().map(take).chain(keys.iter().map(|key| end(key))).collect();
            let requests: Vec<&[Vec<u8>]> = requests.iter().map(Vec::as_slice).collect();
            assert!(!a.pipeline(&requests).iter().any(Value::is_err));
        }
        if a.cmd(&["DBSIZE"]) != 0 {
            assert_eq!(a.cmd(&["FLUSHALL"]), "OK");
        }
    };
    let release: fn(&str) -> Vec<Vec<u8>> = |key| args!["LOCK.RELEASE", key, "a"].to_vec();
    come_and_go(release);
    let before = settled_memory(&server);
    // The last one ends nothing: that is left to the FLUSHALL.
    for end in [release, |key| args!["DEL", key].to_vec(), |key| args!["EXISTS", key].to_vec()] {
        come_and_go(end);
        until(format!("the memory is back after {}", String::from_utf8_lossy(&end("k")[0])), || {
            server.info_number("memory", "used_memory") < before + 512 * 1024
        });
    }
    server.assert_no_keys();
    server.assert_clean();
}
