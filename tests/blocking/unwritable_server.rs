//! A server that does not accept writes: it is paused, out of memory, cannot save, or has too few replicas. It grants
//! nobody and writes nothing; waits still time out, and the queue moves on afterwards.

use std::cell::Cell;
use std::fs;

use support::{
    aof_commands, assert_both_clean, assert_same, digest, exec, holds, release, until, until_synced, Client, Server,
    Value,
};

/// A server that will not write, seen by its waiters: `k` is held under a lease that ends meanwhile.
///
/// `stop` begins that state and `go_on` ends it. Returns with `k` held by `b`.
fn outlast(server: &Server, stop: impl FnOnce(), go_on: impl FnOnce()) -> Client {
    let [mut a, mut b, mut c] = [(); 3].map(|()| server.client());
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "700"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "1000"]);
    stop();
    let before = digest(server);
    // The wait that began after the grant and is longer than the lease runs out, so the lease is over too.
    assert_eq!(c.read(), Value::NullBulk);
    server.assert_waiting(&mut b);
    assert_eq!(server.cmd(&["EXISTS", "k"]), 1);
    assert_eq!(digest(server), before, "something was written");

    go_on();
    assert!(b.read().int() > fence);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a"]), 0);
    assert_eq!(a.cmd(&["LOCK.ACQUIRE", "k", "c"]), Value::NullBulk);
    assert!(holds(&mut b, "k", "b"));
    b
}

fn pause(server: &Server) {
    assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
}

fn unpause(server: &Server) {
    assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
}

/// Trap 9: a lease and a wait end during CLIENT PAUSE WRITE, with an AOF that a write would have to go to.
#[test]
fn paused_server_with_an_aof_grants_nobody_until_the_pause_is_over() {
    let server = Server::builder().aof().start();
    let in_aof = Cell::new(0);
    let mut b = outlast(
        &server,
        || {
            pause(&server);
            in_aof.set(aof_commands(&server).len());
        },
        || {
            assert_eq!(aof_commands(&server).len(), in_aof.get(), "something was replicated during the pause");
            unpause(&server);
        },
    );
    let before = digest(&server);
    assert_eq!(server.cmd(&["DEBUG", "LOADAOF"]), "OK");
    assert_eq!(digest(&server), before);
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 9: the same with a replica.
#[test]
fn paused_server_with_a_replica_grants_nobody_until_the_pause_is_over() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut b = outlast(
        &primary,
        || pause(&primary),
        || {
            assert_same(&primary, &replica);
            unpause(&primary);
        },
    );
    assert_same(&primary, &replica);
    release(&mut b, "k", "b");
    assert_both_clean(&primary, &replica);
}

/// Trap 9: a grant finds its waiter dead, and what follows from it falls into a pause that begins in the same turn.
#[test]
fn undelivered_grant_is_taken_back_after_the_pause() {
    let server = Server::builder().aof().start();
    let [mut a, mut b, mut c] = [(); 3].map(|()| server.client());
    let b_id = b.id();
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    exec(&mut a, &["LOCK.RELEASE k a", &format!("CLIENT KILL ID {b_id}"), "CLIENT PAUSE 100000 WRITE"]);
    b.expect_closed();
    let before = digest(&server);
    server.assert_waiting(&mut c);
    unpause(&server);
    c.read().int();
    assert_ne!(digest(&server), before);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    release(&mut c, "k", "c");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 9: CLIENT PAUSE ALL, which ends by itself.
#[test]
fn server_paused_for_all_commands_serves_the_queue_afterwards() {
    let server = Server::builder().aof().start();
    let [mut a, mut b] = [(); 2].map(|()| server.client());
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "300"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    assert_eq!(server.cmd(&["CLIENT", "PAUSE", "600", "ALL"]), "OK");
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 47: out of memory under noeviction. Only a new hold is refused.
#[test]
fn server_out_of_memory_refuses_requests_and_lets_holds_end_and_waiters_follow() {
    let server = Server::builder().config("maxmemory-policy noeviction").start();
    let [mut a, mut b, mut c] = [(); 3].map(|()| server.client());
    a.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    a.cmd(&["LOCK.ACQUIRE", "lapsing", "a", "PX", "300"]).int();
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "PX", "200", "BLOCK", "0"]);
    server.send_to_wait(&mut c, &["LOCK.ACQUIRE", "k", "c", "BLOCK", "0"]);
    assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory", "1"]), "OK");

    for command in [&["LOCK.ACQUIRE", "new", "d"][..], &["LOCK.ACQUIRE", "k", "d", "BLOCK", "0"]] {
        let refused = server.cmd(command);
        assert!(refused.err_text().starts_with("OOM "), "{refused:?}");
    }
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "60000"]), 1);
    release(&mut a, "k", "a");
    // After the release, and after the end of that lease.
    let fence = b.read().int();
    assert!(c.read().int() > fence);
    release(&mut c, "k", "c");
    until("the other lease ends", || server.cmd(&["EXISTS", "lapsing"]) == 0);
    assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    a.cmd(&["LOCK.ACQUIRE", "lapsing", "d"]).int();
    release(&mut a, "lapsing", "d");
    server.assert_no_keys();
    server.assert_clean();
}

/// Every lock command is refused with this code word.
#[track_caller]
fn assert_all_refused(server: &Server, code: &str) {
    let commands: [&[&str]; 4] = [
        &["LOCK.ACQUIRE", "k", "d"],
        &["LOCK.ACQUIRE", "k", "d", "BLOCK", "0"],
        &["LOCK.RELEASE", "k", "a"],
        &["LOCK.EXTEND", "k", "a"],
    ];
    for command in commands {
        let refused = server.cmd(command);
        assert!(refused.err_text().starts_with(code), "{command:?}: {refused:?}");
    }
}

/// Saves in the background and waits for this result.
fn bgsave(server: &Server, result: &str) {
    let started = server.cmd(&["BGSAVE"]);
    assert!(!started.is_err(), "{started:?}");
    until(format!("BGSAVE ends: {result}"), || {
        let info = server.info("persistence");
        info["rdb_bgsave_in_progress"] == "0" && info["rdb_last_bgsave_status"] == result
    });
}

/// Trap 47: the last save failed, and the server stops writes.
#[test]
fn server_that_cannot_save_refuses_all_and_grants_nobody_until_it_can() {
    let server = Server::builder().config("save 3600 1").start();
    // A file cannot be renamed onto a directory.
    let in_the_way = server.dir().join("dump.rdb");
    let mut b = outlast(
        &server,
        || {
            fs::create_dir(&in_the_way).unwrap();
            bgsave(&server, "err");
            assert_all_refused(&server, "MISCONF ");
        },
        || {
            assert_all_refused(&server, "MISCONF ");
            fs::remove_dir(&in_the_way).unwrap();
            bgsave(&server, "ok");
        },
    );
    release(&mut b, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 47: fewer replicas than min-replicas-to-write.
#[test]
fn server_with_too_few_replicas_refuses_all_lock_commands() {
    let server = Server::start();
    let mut a = server.client();
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "500"]).int();
    assert_eq!(server.cmd(&["CONFIG", "SET", "min-replicas-to-write", "1"]), "OK");
    assert_all_refused(&server, "NOREPLICAS ");
    assert_eq!(server.cmd(&["CONFIG", "SET", "min-replicas-to-write", "0"]), "OK");
    // The lease has gone on meanwhile.
    assert!(a.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]).int() > fence);
    release(&mut a, "k", "b");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 50: a lease and a wait end while too few replicas are there; then one comes.
#[test]
fn server_with_too_few_replicas_serves_the_queue_when_they_are_back() {
    let primary = Server::start();
    let mut replica = None;
    let mut b = outlast(
        &primary,
        || assert_eq!(primary.cmd(&["CONFIG", "SET", "min-replicas-to-write", "1"]), "OK"),
        || {
            assert_all_refused(&primary, "NOREPLICAS ");
            replica = Some(Server::builder().replica_of(&primary).start());
        },
    );
    let replica = replica.unwrap();
    assert_same(&primary, &replica);

    release(&mut b, "k", "b");
    assert_both_clean(&primary, &replica);
}
