//! A waiting connection has other state: pipelined commands, RESP3, replies turned off, WATCH.

use support::{aof_commands, args, digest, held, holds, release, until, Client, Server, Value};

/// Trap 44: what is pipelined behind a blocking ACQUIRE.
#[test]
fn commands_behind_a_wait_run_after_the_grant_in_order_or_not_at_all() {
    let (server, mut a, fence) = held();
    let [mut b, mut c] = [(); 2].map(|()| server.client());
    b.send_many(&[
        &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"][..],
        &["APPEND", "s", "1"],
        &["APPEND", "s", "2"],
        &["GET", "s"],
    ]);
    server.until_waiting(&b);
    c.send_many(&[&["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"][..], &["APPEND", "s", "3"]]);
    server.until_waiting(&c);
    assert_eq!(server.cmd(&["EXISTS", "s"]), 0);

    release(&mut a, "k", "a");
    assert!(b.read().int() > fence);
    assert_eq!([b.read(), b.read(), b.read()], [Value::Int(1), Value::Int(2), Value::Bulk(b"12".to_vec())]);
    // The other one leaves: neither its wait nor what it sent behind it happens.
    server.assert_waiting(&mut c);
    c.close();
    server.until_clients(2);
    release(&mut b, "k", "b");
    assert_eq!(server.cmd(&["GET", "s"]), "12");
    assert_eq!(server.cmd(&["DEL", "s"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 45: a waiter that speaks RESP3.
#[test]
fn waiters_in_resp3_get_replies_of_resp3() {
    let (server, mut a, fence) = held();
    let [mut named, mut unnamed, mut late] = [(); 3].map(|()| server.client());
    for client in [&mut named, &mut unnamed, &mut late] {
        client.resp3();
    }
    server.send_to_wait(&mut named, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    server.send_to_wait(&mut unnamed, &["LOCK.ACQUIRE", "k", "*", "BLOCK", "0"]);
    assert_eq!(late.cmd(&["LOCK.ACQUIRE", "k", "*", "BLOCK", "20"]), Value::Null);

    release(&mut a, "k", "a");
    assert!(matches!(named.read(), Value::Int(granted) if granted > fence));
    release(&mut named, "k", "b");
    match unnamed.read() {
        Value::Array(pair) => match pair.as_slice() {
            [Value::Bulk(owner), Value::Int(fence)] => {
                assert_eq!(unnamed.cmd(&args!["LOCK.RELEASE", "k", owner, "FENCE", fence]), 1);
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
    for client in [&mut named, &mut unnamed, &mut late] {
        assert_eq!(client.cmd(&["PING"]), "PONG");
        assert!(client.pushes().is_empty());
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 45: a waiter that turned its replies off, or skips the next one. The grant counts as delivered.
#[test]
fn waiters_without_replies_are_granted_and_told_nothing() {
    for (silence, ends) in [("OFF", "BLOCK 0"), ("SKIP", "BLOCK 0"), ("OFF", "BLOCK 30"), ("SKIP", "BLOCK 30")] {
        let (server, mut a, _) = held();
        let mut b = server.client();
        b.send(&["CLIENT", "REPLY", silence]);
        b.send(&format!("LOCK.ACQUIRE k b {ends}").split(' ').collect::<Vec<_>>());
        let endless = ends == "BLOCK 0";
        if endless {
            server.until_waiting(&b);
        } else {
            until("the wait has begun and run out", || {
                let line = server.client_line(&b).unwrap();
                line.contains(" cmd=lock.acquire ") && !server.is_waiting(&b)
            });
        }
        release(&mut a, "k", "a");
        assert_eq!(holds(&mut a, "k", "b"), endless, "{silence} {ends}");
        if silence == "OFF" {
            b.send(&["CLIENT", "REPLY", "ON"]);
            assert_eq!(b.read(), "OK", "{silence} {ends}");
        }
        assert_eq!(b.cmd(&["PING"]), "PONG", "{silence} {ends}");
        assert_eq!(b.cmd(&["LOCK.RELEASE", "k", "b"]), i64::from(endless));
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// Trap 45: one that turned its replies off and leaves while it waits, or with the grant made and its end unread.
#[test]
fn waiter_without_replies_leaves_the_queue_when_it_disconnects() {
    let (server, mut a, _) = held();
    let [mut b, mut c] = [(); 2].map(|()| server.client());
    b.send(&["CLIENT", "REPLY", "OFF"]);
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    b.close();
    server.until_blocked(1);
    release(&mut a, "k", "a");
    c.read().int();
    release(&mut c, "k", "c");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 46: a request comes after the lease's end and before any timer could run.
#[test]
fn request_after_a_lease_no_timer_has_ended_is_granted_and_replicated_as_one_change() {
    let server = Server::builder().aof().start();
    let mut a = server.client();
    let wanted: &[&[&str]] = &[
        &["LOCK.ACQUIRE", "k", "a", "PX", "20"],
        &["DEBUG", "SLEEP", "0.05"],
        &["LOCK.ACQUIRE", "k", "b", "PX", "60000"],
        &["LOCK.EXTEND", "k", "a"],
    ];
    let answers = a.pipeline(wanted);
    let fence = answers[2].int();
    assert!(fence > answers[0].int());
    assert_eq!(answers[3], 0);

    // Two changes of the key stand in the AOF: the end of one hold and the grant of the next are one.
    let of_key = aof_commands(&server).iter().filter(|command| command.iter().any(|arg| arg == b"k")).count();
    assert_eq!(of_key, 2);
    let before = digest(&server);
    assert_eq!(server.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(digest(&server), before);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", fence]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// `client` has WATCHed `k`: whether a transaction of it goes through now. It ends the WATCH.
#[track_caller]
fn transaction_goes_through(client: &mut Client) -> bool {
    assert_eq!(client.cmd(&["MULTI"]), "OK");
    assert_eq!(client.cmd(&["PING"]), "QUEUED");
    !client.cmd(&["EXEC"]).is_nil()
}

/// Trap 51: what neither gives nor takes the lock.
#[test]
fn watch_of_a_lock_is_not_disturbed_by_refusals_waiters_or_extensions() {
    let (server, mut a, fence) = held();
    let mut other = server.client();
    let quiet: [&[&str]; 8] = [
        &["LOCK.ACQUIRE", "k", "b"],
        &["LOCK.ACQUIRE", "k", "b", "BLOCK", "5"],
        &["LOCK.RELEASE", "k", "b"],
        &["LOCK.EXTEND", "k", "b"],
        &["LOCK.EXTEND", "k", "a"],
        &["LOCK.EXTEND", "k", "a", "PX", "50000"],
        &["LOCK.ACQUIRE", "k", "a"],
        &["LOCK.ACQUIRE", "k", "a", "PX", "90000"],
    ];
    for command in quiet {
        assert_eq!(a.cmd(&["WATCH", "k"]), "OK");
        other.cmd(command);
        assert!(transaction_goes_through(&mut a), "{command:?}");
    }

    assert_eq!(a.cmd(&["WATCH", "k"]), "OK");
    server.send_to_wait(&mut other, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    assert!(transaction_goes_through(&mut a), "a waiter joined");
    assert_eq!(a.cmd(&["WATCH", "k"]), "OK");
    other.close();
    server.until_blocked(0);
    assert!(transaction_goes_through(&mut a), "a waiter left");
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 51: what gives or takes it.
#[test]
fn watch_of_a_lock_sees_grants_releases_and_ends() {
    let (server, mut a, _) = held();
    let mut watcher = server.client();
    let mut b = server.client();
    let mut watch = |what: &str, act: &mut dyn FnMut()| {
        assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
        act();
        assert!(!transaction_goes_through(&mut watcher), "not aborted by {what}");
    };
    watch("a release", &mut || release(&mut a, "k", "a"));
    watch("a grant", &mut || {
        a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "30"]).int();
    });
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "1000"]).int();
    watch("the end of a lease", &mut || until("the lease is over", || server.cmd(&["EXISTS", "k"]) == 0));
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0", "PX", "1000"]);
    watch("a hand-off", &mut || {
        release(&mut a, "k", "a");
        b.read().int();
    });
    server.send_to_wait(&mut a, &["LOCK.ACQUIRE", "k", "a", "BLOCK", "0"]);
    watch("a hand-off by the end of a lease", &mut || {
        a.read().int();
    });
    watch("an operator", &mut || assert_eq!(server.cmd(&["DEL", "k"]), 1));
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 52: RELEASE is pipelined behind a blocking ACQUIRE, so it runs where the server goes on with unblocked clients.
/// A line of 60 such clients is through before a read's deadline of 20 s, in which the server's own cron, once a second
/// here, could have helped no more than 20 of them.
#[test]
fn release_pipelined_behind_a_wait_serves_the_next_waiter() {
    let server = Server::builder().config("hz 1").config("dynamic-hz no").start();
    let mut a = server.client();
    let mut fence = a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    let mut clients: Vec<Client> = (0..60).map(|_| server.client()).collect();
    for (n, client) in (0..).zip(&mut clients) {
        let owner = format!("w{n}");
        client.send_many(&[&["LOCK.ACQUIRE", "k", &owner, "BLOCK", "0"][..], &["LOCK.RELEASE", "k", &owner]]);
        server.until_blocked(n + 1);
    }
    release(&mut a, "k", "a");
    let mut tail = clients.pop().unwrap();
    let last = tail.read().int();
    for client in &mut clients {
        let granted = client.read().int();
        assert!(granted > fence);
        fence = granted;
        assert_eq!(client.read(), 1);
    }
    assert!(last > fence);
    assert_eq!(tail.read(), 1);
    server.assert_no_keys();
    server.assert_clean();
}
