//! CLIENT TRACKING after LOCK.CHECK: the server tells a holder by itself that its hold changed, and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use support::{acquire, args, release, until, waiter, Client, Server, Value};

/// A RESP3 connection that is told of what changes after its reads.
#[track_caller]
fn tracker(server: &Server) -> Client {
    let mut client = server.client();
    client.resp3();
    assert_eq!(client.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    client
}

/// Asks whether `a` holds `k`. From here on the first change is told.
#[track_caller]
fn check(client: &mut Client) -> bool {
    !client.cmd(&["LOCK.CHECK", "k", "a"]).is_nil()
}

/// The server tells that `k` changed, without being asked, and only once.
#[track_caller]
fn assert_told(client: &mut Client, what: &str) {
    let key = Value::Array(vec![Value::Bulk(b"k".to_vec())]);
    assert_eq!(client.read_push(), Value::Push(vec![Value::Bulk(b"invalidate".to_vec()), key]), "{what}");
    assert_untold(client);
}

/// The server has told nothing else.
#[track_caller]
fn assert_untold(client: &mut Client) {
    let told = client.pushes();
    assert!(told.is_empty(), "{told:?}");
}

/// `a` holds `k` and a client has asked for that; after `change` that client is told. The lock may be anybody's then.
#[track_caller]
fn assert_tells(what: &str, change: impl FnOnce(&Server, Client)) {
    let server = Server::start();
    let mut tracker = tracker(&server);
    let mut a = server.client();
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000", "SESSION"]).int();
    assert!(check(&mut tracker));
    assert_untold(&mut tracker);
    change(&server, a);
    assert_told(&mut tracker, what);
    server.assert_clean();
}

#[test]
fn tracking_tells_of_a_release() {
    assert_tells("a release", |_, mut a| release(&mut a, "k", "a"));
    assert_tells("a release by another connection", |server, _a| {
        assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    });
}

#[test]
fn tracking_tells_of_a_lease_end() {
    assert_tells("a lease end", |_, mut a| assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1));
}

#[test]
fn tracking_tells_of_a_session_end() {
    assert_tells("a session end", |_, a| a.close());
}

#[test]
fn tracking_tells_of_removals_by_operators() {
    for removal in [&["DEL", "k"][..], &["UNLINK", "k"], &["SET", "k", "x"], &["RENAME", "k", "k2"]] {
        assert_tells(removal[0], |server, _a| assert!(!server.cmd(removal).is_err()));
    }
}

#[test]
fn tracking_tells_of_a_hand_off() {
    assert_tells("a hand-off", |server, mut a| {
        let mut b = waiter(server, "k", "b");
        release(&mut a, "k", "a");
        b.read().int();
    });
}

#[test]
fn tracking_tells_of_a_downgrade() {
    assert_tells("a downgrade", |_, mut a| assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1));
}

#[test]
fn tracking_tells_of_a_grant_after_a_check_that_found_no_hold() {
    let server = Server::start();
    let (mut tracker, mut a) = (tracker(&server), server.client());
    assert!(!check(&mut tracker));
    acquire(&mut a, "k", "a");
    assert_told(&mut tracker, "a grant");
    // Told once: who wants to know more asks again.
    release(&mut a, "k", "a");
    assert_untold(&mut tracker);
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn tracking_tells_shared_holders_of_one_another() {
    let server = Server::start();
    let (mut tracker, mut client) = (tracker(&server), server.client());
    let shared = |client: &mut Client, owner: &str| {
        client.cmd(&["LOCK.ACQUIRE", "k", owner, "SHARED", "PX", "600000"]).int();
    };
    shared(&mut client, "a");
    assert!(check(&mut tracker));
    shared(&mut client, "b");
    assert_told(&mut tracker, "another one came in");
    assert!(check(&mut tracker));
    release(&mut client, "k", "b");
    assert_told(&mut tracker, "another one left");
    assert!(check(&mut tracker));
    shared(&mut client, "b");
    assert_told(&mut tracker, "it came again");
    release(&mut client, "k", "b");
    release(&mut client, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

#[test]
fn tracking_does_not_tell_of_extensions_refusals_and_waiting() {
    let server = Server::start();
    let (mut tracker, mut a, mut b) = (tracker(&server), server.client(), server.client());
    let fence = acquire(&mut a, "k", "a");
    assert!(check(&mut tracker));
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "700000"]), 1);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "800000"]), fence);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "a", "SESSION"]), fence);
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "SHARED"]).is_nil());
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "20"]).is_nil());
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert!(b.read().is_nil());
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b", "DOWNGRADE"]), 0);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence + 1]), 0);
    a.cmd(&["LOCK.CHECK", "k", "b"]);
    a.cmd(&["LOCK.INFO", "k"]);
    assert_untold(&mut tracker);
    // It would have been told of a change, and still is.
    release(&mut a, "k", "a");
    assert_told(&mut tracker, "the release");
    // And a downgrade of what is shared already is none.
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "SHARED"]).int();
    assert!(check(&mut tracker));
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a", "DOWNGRADE"]), 1);
    assert_untold(&mut tracker);
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// A client that watches its own hold while it waits for nothing else: asked once, it learns the end by itself.
#[test]
fn holder_learns_of_the_end_of_its_own_hold_on_its_own_connection() {
    let server = Server::start();
    let mut a = tracker(&server);
    assert_eq!(a.cmd(&["CLIENT", "TRACKING", "OFF"]), "OK");
    assert_eq!(a.cmd(&["CLIENT", "TRACKING", "ON", "NOLOOP"]), "OK");
    acquire(&mut a, "k", "a");
    assert!(check(&mut a));
    // What it does itself it need not be told.
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "500"]), 1);
    assert_told(&mut a, "the end of its lease");
    assert!(!check(&mut a));
    until("the key is gone", || server.cmd(&["DBSIZE"]) == 0);
    server.assert_clean();
}

/// The same with the client that everybody has.
#[test]
fn redis_cli_shows_that_the_lock_it_checked_was_lost() {
    let server = Server::start();
    let fence = acquire(&mut server.client(), "k", "a");
    let mut cli = Command::new("redis-cli")
        .args(["-3", "--show-pushes", "yes", "-h", "127.0.0.1", "-p", &server.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = cli.stdin.take().unwrap();
    let mut lines = BufReader::new(cli.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = |count| (&mut lines).take(count).collect::<Vec<String>>();

    stdin.write_all(b"CLIENT TRACKING ON\nLOCK.CHECK k a\n").unwrap();
    assert_eq!(next(2), ["OK".to_string(), fence.to_string()]);
    let ttl: u64 = next(1)[0].parse().unwrap();
    assert!((1..=600_000).contains(&ttl), "{ttl}");
    release(&mut server.client(), "k", "a");
    // redis-cli reads what was pushed when it has something to do.
    stdin.write_all(b"LOCK.CHECK k a\n").unwrap();
    assert_eq!(next(2), ["invalidate", "k"]);
    drop(stdin);
    assert!(cli.wait().unwrap().success());
    server.assert_no_keys();
    server.assert_clean();
}
