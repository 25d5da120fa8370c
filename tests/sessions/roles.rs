//! SESSION when the server loads data, restarts or changes its role: afterwards only the lease ends the hold.

use super::{close, close_and_settle};
use support::{
    acquire, aof_commands, args, assert_both_clean, assert_same, bound, digest, release, said, until, until_synced,
    waiter, Client, Server, ServerBuilder, Value,
};

/// The `session` of the only holder, as LOCK.INFO tells it.
#[track_caller]
fn session_of(server: &Server, key: &str) -> i64 {
    server.cmd(&["LOCK.INFO", key]).get("holders").array()[0].get("session").int()
}

/// A connection of that id, which the server has yet to give.
#[track_caller]
fn client_of_id(server: &Server, id: i64) -> Client {
    loop {
        let mut client = server.client();
        match client.id() {
            found if found == id => return client,
            found => assert!(found < id, "the server is at {found} already"),
        }
    }
}

/// The hold of `a` is still there, under that fence, and its lease ends it.
#[track_caller]
fn assert_lease_alone_ends_it(server: &Server, fence: i64) {
    assert_eq!(server.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence]), 1);
    let mut b = waiter(server, "k", "b");
    assert_eq!(server.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1);
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
}

/// Trap 10: the connection closes during the pause in which a failover waits for its replica.
#[test]
fn session_that_closes_during_a_failover_leaves_its_hold_to_the_lease() {
    let old = Server::builder().aof().start();
    let new = Server::builder().aof().replica_of(&old).start();
    assert_same(&old, &new);
    let mut a = old.client();
    let fence = bound(&mut a, "k", "a");
    let mut b = waiter(&old, "k", "b");
    let before = begin_failover(&old, &new);
    close(&old, a);
    old.assert_waiting(&mut b);
    assert_eq!(digest(&old), before);
    new.sigcont();
    until("the replica took over", || new.info_field("replication", "role") == "master");
    assert!(b.read().err_text().starts_with("UNBLOCKED "));
    assert_same(&new, &old);
    assert_eq!((session_of(&new, "k"), session_of(&old, "k")), (0, 0));
    assert_lease_alone_ends_it(&new, fence);
    assert_both_clean(&new, &old);
}

/// Trap 10: the failover is given up; the server goes on as before, and ends the session.
#[test]
fn session_that_closes_during_a_failover_that_fails_ends_after_it() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    assert_same(&primary, &replica);
    let mut a = primary.client();
    let fence = bound(&mut a, "k", "a");
    let mut b = waiter(&primary, "k", "b");
    let before = begin_failover(&primary, &replica);
    close(&primary, a);
    primary.assert_waiting(&mut b);
    assert_eq!(digest(&primary), before);
    assert_eq!(primary.cmd(&["FAILOVER", "ABORT"]), "OK");
    assert!(b.read().int() > fence);
    replica.sigcont();
    assert_same(&primary, &replica);
    release(&mut b, "k", "b");
    assert_both_clean(&primary, &replica);
}

/// Begins a failover that cannot go on, since the replica is frozen and lacks a part of the data. The digest.
#[track_caller]
fn begin_failover(primary: &Server, replica: &Server) -> String {
    until_synced(primary, replica);
    until("the primary sees its replica online", || {
        primary.info_field("replication", "slave0").contains("state=online")
    });
    replica.sigstop();
    assert_eq!(primary.cmd(&["PUBLISH", "channel", "not received yet"]), 0);
    assert_eq!(primary.cmd(&args!["FAILOVER", "TO", "127.0.0.1", replica.port()]), "OK");
    assert_eq!(primary.info_field("replication", "master_failover_state"), "waiting-for-sync");
    digest(primary)
}

/// Fills the server so that loading takes a while, in which it looks at its connections again and again.
fn slow_to_load(settings: ServerBuilder) -> ServerBuilder {
    settings.config("rdbcompression no").config("loading-process-events-interval-bytes 1024")
}

fn fill(server: &Server) {
    let mut client = server.client();
    for number in 0..200 {
        assert_eq!(client.cmd(&args!["SET", format!("filler{number}"), vec![b'x'; 2048]]), "OK");
    }
}

fn load_slowly(server: &Server) {
    assert_eq!(server.cmd(&["CONFIG", "SET", "key-load-delay", "5000"]), "OK");
}

/// Waits until the server loads, and closes the connection in the middle of it.
fn close_while_loading(server: &Server, client: Client) {
    let loading = || matches!(server.cmd(&["EXISTS", "k"]), Value::Error(text) if text.starts_with("LOADING "));
    until("the server loads", loading);
    client.close();
    // Events are looked at between two answers.
    for _ in 0..3 {
        assert!(loading(), "loaded too early for this test");
    }
}

/// Trap 20: the connection closes while its own server loads its data again. The lease ends what was loaded.
#[test]
fn session_that_closes_during_a_reload_ends_nothing() {
    let server = slow_to_load(Server::builder().aof()).start();
    fill(&server);
    let (mut a, mut admin) = (server.client(), server.client());
    let fence = bound(&mut a, "k", "a");
    bound(&mut a, "k2", "a");
    let mut b = waiter(&server, "k", "b");
    load_slowly(&server);
    admin.send(&["DEBUG", "RELOAD"]);
    close_while_loading(&server, a);
    assert_eq!(admin.read(), "OK");
    for key in ["k", "k2"] {
        assert_eq!(server.cmd(&["LOCK.CHECK", key, "a"]).array().len(), 2, "{key}");
        assert_eq!(session_of(&server, key), 0, "{key}");
    }
    server.assert_waiting(&mut b);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k2", "a"]), 1);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
    release(&mut b, "k", "b");
    assert_eq!(server.cmd(&["DBSIZE"]), 200);
    server.assert_clean();
}

/// Trap 20: it closes while its server, which was made a replica, takes over another's data.
#[test]
fn session_that_closes_during_a_full_sync_writes_nothing() {
    for diskless in ["disabled", "swapdb"] {
        let new = slow_to_load(Server::builder()).start();
        fill(&new);
        let kept = new.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
        let old = slow_to_load(Server::builder()).config(format!("repl-diskless-load {diskless}")).start();
        let mut a = old.client();
        bound(&mut a, "k", "a");
        bound(&mut a, "k2", "a");
        load_slowly(&old);
        assert_eq!(old.cmd(&args!["REPLICAOF", "127.0.0.1", new.port()]), "OK");
        // With another's history there is no asynchronous load: LOADING it is, either way.
        close_while_loading(&old, a);
        until_synced(&new, &old);
        assert_eq!(old.cmd(&["CONFIG", "SET", "key-load-delay", "0"]), "OK");
        assert_same(&new, &old);
        assert_eq!(new.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", kept]), 1);
        assert_same(&new, &old);
        old.assert_clean();
        new.assert_clean();
    }
}

/// Trap 21: what a reload reads is taken over as after a restart: the session is not saved, and the lease alone ends the hold.
#[test]
fn hold_that_was_reloaded_is_left_to_its_lease() {
    let server = Server::builder().aof().start();
    for reload in [&["DEBUG", "RELOAD"][..], &["DEBUG", "LOADAOF"]] {
        let mut a = server.client();
        let fence = bound(&mut a, "k", "a");
        let mut b = waiter(&server, "k", "b");
        assert_eq!(server.cmd(reload), "OK");
        assert_eq!(session_of(&server, "k"), 0, "{reload:?}");
        close_and_settle(&server, a);
        assert_eq!(server.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence, "{reload:?}");
        server.assert_waiting(&mut b);
        assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
        assert!(b.read().int() > fence, "{reload:?}");
        release(&mut b, "k", "b");
    }
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 22: the ids of connections begin anew with the process. A connection that happens to have the id of a session
/// from before ends nothing.
#[test]
fn session_is_not_taken_over_by_a_connection_of_the_same_id_after_a_restart() {
    const ID: i64 = 150;
    let plain_aof = |builder: ServerBuilder| builder.aof().aof_preamble(false);
    type End = fn(&Server);
    let ways: [(&str, ServerBuilder, End); 5] = [
        ("RDB", Server::builder(), |server| server.shutdown_saving()),
        ("AOF", Server::builder().aof(), |server| server.shutdown()),
        ("AOF after a crash", Server::builder().aof(), |server| server.kill9()),
        ("AOF with an RDB in it", Server::builder().aof(), |server| server.rewrite_aof()),
        ("rewritten AOF of commands", plain_aof(Server::builder()), |server| server.rewrite_aof()),
    ];
    for (way, settings, end) in ways {
        let server = settings.start();
        let mut a = client_of_id(&server, ID);
        let fence = bound(&mut a, "k", "a");
        assert_eq!(session_of(&server, "k"), ID);
        end(&server);
        server.restart();
        assert_eq!(server.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence, "{way}");
        assert_eq!(session_of(&server, "k"), 0, "{way}");
        close_and_settle(&server, client_of_id(&server, ID));
        assert_lease_alone_ends_it(&server, fence);
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// The end by a session is recorded and replicated like any other, once.
#[test]
fn session_end_is_told_to_the_replica_and_the_aof() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().aof().replica_of(&primary).start();
    assert_same(&primary, &replica);
    // The replica's file begins anew after the first copy of the data.
    replica.rewrite_aof();
    let mut a = primary.client();
    bound(&mut a, "k", "a");
    until_synced(&primary, &replica);
    assert_eq!(replica.cmd(&["EXISTS", "k"]), 1);
    close_and_settle(&primary, a);
    until_synced(&primary, &replica);
    for server in [&primary, &replica] {
        let said: Vec<String> = aof_commands(server).iter().map(|command| said(command)).collect();
        assert_eq!(said.iter().filter(|said| *said == "freed k").count(), 1, "{said:?}");
    }
    assert_both_clean(&primary, &replica);
    primary.restart();
    primary.assert_no_keys();
}

/// A replica has no sessions: neither a connection of its own with the same id nor a promotion makes one.
#[test]
fn session_ends_nothing_on_a_replica_nor_after_its_promotion() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    const ID: i64 = 150;
    let mut a = client_of_id(&primary, ID);
    let fence = bound(&mut a, "k", "a");
    let twin = client_of_id(&replica, ID);
    let next_twin = client_of_id(&replica, ID + 1);
    until_synced(&primary, &replica);
    assert_eq!((session_of(&primary, "k"), session_of(&replica, "k")), (ID, 0));
    close(&replica, twin);
    assert_same(&primary, &replica);

    let mut a = client_of_id(&primary, ID + 1);
    assert_eq!(bound(&mut a, "k", "a"), fence);
    until_synced(&primary, &replica);
    primary.kill9();
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(session_of(&replica, "k"), 0);
    close_and_settle(&replica, next_twin);
    assert_lease_alone_ends_it(&replica, fence);
    replica.assert_no_keys();
    replica.assert_clean();
}

/// Trap 25: a primary that was a replica for a while, however short, has no sessions from before.
#[test]
fn demotion_unbinds_what_was_bound() {
    let one = Server::builder().aof().start();
    let other = Server::builder().replica_of(&one).start();
    until_synced(&one, &other);
    let [mut a, mut again, mut admin] = [(); 3].map(|()| one.client());
    let fence = bound(&mut a, "k", "a");
    bound(&mut again, "again", "a");
    until_synced(&one, &other);
    assert_eq!(other.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(admin.cmd(&args!["REPLICAOF", "127.0.0.1", other.port()]), "OK");
    assert_same(&other, &one);
    assert_eq!(session_of(&one, "k"), 0);
    assert_eq!(one.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    assert_eq!(session_of(&one, "k"), 0);
    // An owner that reacquires is bound again.
    assert!(bound(&mut again, "again", "a") > fence);
    close_and_settle(&one, a);
    assert_eq!(one.cmd(&["EXISTS", "k", "again"]), 2);
    close_and_settle(&one, again);
    assert_eq!(one.cmd(&["EXISTS", "k", "again"]), 1);
    assert_lease_alone_ends_it(&one, fence);

    // The same within one turn, and nothing loaded.
    let mut a = one.client();
    let fence = bound(&mut a, "k", "a");
    admin.send_many(&[&["REPLICAOF", "127.0.0.1", "1"][..], &["REPLICAOF", "NO", "ONE"]]);
    assert_eq!((admin.read(), admin.read()), (Value::Simple("OK".into()), Value::Simple("OK".into())));
    close_and_settle(&one, a);
    // Nor does what happens to its key bring the session back.
    for (from, to) in [("k", "k2"), ("k2", "k")] {
        assert_eq!(one.cmd(&["RENAME", from, to]), "OK");
        close_and_settle(&one, one.client());
    }
    assert_lease_alone_ends_it(&one, fence);
    one.assert_no_keys();
    one.assert_clean();
    other.assert_clean();
}

/// Trap 25: the connection closes while its server is a replica.
#[test]
fn session_that_closes_on_a_demoted_primary_writes_nothing() {
    let server = Server::builder().aof().start();
    let mut a = server.client();
    let fence = bound(&mut a, "k", "a");
    let before = digest(&server);
    assert_eq!(server.cmd(&["REPLICAOF", "127.0.0.1", "1"]), "OK");
    close(&server, a);
    assert_eq!(digest(&server), before);
    assert_eq!(server.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    let mut later = server.client();
    acquire(&mut later, "other", "a");
    release(&mut later, "other", "a");
    assert_lease_alone_ends_it(&server, fence);
    server.assert_no_keys();
    server.assert_clean();
}
