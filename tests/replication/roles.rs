//! A primary decides and its replicas apply: what roles may do, and that nobody else ever grants.

use std::time::{Duration, Instant};

use support::{
    aof_commands, args, assert_same, digest, said, until, until_synced, waiter, Client, Received, Server,
    ServerBuilder, UNTIL,
};

/// A replica of that server, in step with it.
fn replica_of(primary: &Server) -> Server {
    replica_with(primary, Server::builder())
}

fn replica_with(primary: &Server, settings: ServerBuilder) -> Server {
    let replica = settings.replica_of(primary).start();
    until_synced(primary, &replica);
    // The stream begins up to a second after the data set is there. This one is replicated, and not recorded.
    primary.cmd(&["PUBLISH", "a", "b"]);
    until_synced(primary, &replica);
    replica
}

/// Makes `server` follow `primary` and waits until it has caught up; both then hold the same.
#[track_caller]
fn follow(server: &Server, primary: &Server) {
    assert_eq!(server.cmd(&args!["REPLICAOF", "127.0.0.1", primary.port()]), "OK");
    assert_same(primary, server);
}

/// What the AOF says of locks.
fn recorded(server: &Server) -> Vec<String> {
    let said = aof_commands(server).into_iter().map(|command| said(&command));
    said.filter(|said| ["granted ", "changed ", "freed ", "DEL ", "LOCK."].iter().any(|kind| said.starts_with(kind)))
        .collect()
}

/// How often the AOF holds this command of this key.
fn count(server: &Server, line: &str) -> usize {
    recorded(server).iter().filter(|recorded| *recorded == line).count()
}

/// The waiter is told that its server is no primary any more, and let go.
#[track_caller]
fn assert_unblocked(mut waiter: Client) {
    assert!(waiter.read().err_text().starts_with("UNBLOCKED "));
    waiter.expect_closed();
}

/// Trap 23: leases end by themselves, all of them, none stays because the timer rang on the very moment of its end; and
/// each end is told once, to the replica and the AOF.
#[test]
fn thousand_leases_end_by_themselves_and_once_each() {
    let primary = Server::builder().aof_fsync("no").start();
    let replica = replica_of(&primary);
    let mut client = primary.client();
    let commands: Vec<_> =
        (0..1000).map(|number| args!["LOCK.ACQUIRE", format!("k{number}"), "a", "PX", 50].to_vec()).collect();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    assert!(client.pipeline(&commands).iter().all(|reply| reply.int() > 0));
    until("all locks are gone", || primary.cmd(&["DBSIZE"]) == 0);
    until_synced(&primary, &replica);
    replica.assert_no_keys();
    for number in 0..1000 {
        client.cmd(&args!["PING", number]);
    }
    let recorded = recorded(&primary);
    assert_eq!(recorded.iter().filter(|line| line.starts_with("granted ")).count(), 1000);
    assert_eq!(recorded.iter().filter(|line| line.starts_with("freed ")).count(), 1000);
    primary.restart();
    primary.assert_no_keys();
    primary.assert_clean();
    replica.assert_clean();
}

/// Trap 24: a replica ends and grants nothing, whatever the clock says, until it is promoted; then it does, once.
#[test]
fn replica_of_a_frozen_primary_leaves_leases_alone_until_promoted() {
    const LEASE: Duration = Duration::from_secs(4);
    let primary = Server::start();
    let replica = replica_with(&primary, Server::builder().aof());
    let first = primary.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "4000"]).int();
    let begun = Instant::now();
    primary.cmd(&["LOCK.ACQUIRE", "waited", "a", "PX", "600000"]).int();
    until_synced(&primary, &replica);
    primary.sigstop();
    assert!(begun.elapsed() < LEASE, "the primary may have ended it");

    until("the lease has long run out", || begun.elapsed() > LEASE + Duration::from_secs(1));
    let data = digest(&replica);
    assert!(replica.cmd(&["LOCK.ACQUIRE", "k", "b"]).err_text().starts_with("READONLY "));
    assert_eq!(replica.cmd(&["EXISTS", "k"]), 1);
    assert_eq!((count(&replica, "freed k"), digest(&replica)), (0, data));

    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    until("the new primary ended the lease", || replica.cmd(&["EXISTS", "k"]) == 0);
    let mut b = waiter(&replica, "waited", "b");
    assert!(replica.cmd(&["LOCK.ACQUIRE", "k", "b", "PX", "600000"]).int() > first);
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "waited", "a"]), 1);
    assert!(b.read().int() > first);
    assert_eq!((count(&replica, "freed k"), count(&replica, "granted k")), (1, 2));

    primary.sigcont();
    follow(&primary, &replica);
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "waited", "b"]), 1);
    assert_same(&replica, &primary);
    replica.assert_no_keys();
    replica.assert_clean();
    primary.assert_clean();
}

/// Trap 24: a promoted replica takes the leases over where they stand: neither ended early nor started anew.
#[test]
fn promoted_replica_takes_running_leases_over() {
    const LEASE: Duration = Duration::from_millis(2500);
    let primary = Server::start();
    let replica = replica_of(&primary);
    let begun = Instant::now();
    primary.cmd(&args!["LOCK.ACQUIRE", "k", "a", "PX", LEASE.as_millis().to_string()]).int();
    until_synced(&primary, &replica);
    until("a part of the lease has passed", || begun.elapsed() > LEASE * 2 / 3);
    primary.kill9();
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    let promoted = Instant::now();
    replica.cmd(&["LOCK.ACQUIRE", "k", "b", "PX", "600000", "BLOCK", "0"]).int();
    assert!(begun.elapsed() >= LEASE, "the lease must not end early");
    assert!(promoted.elapsed() < LEASE, "the lease must not start anew");
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    replica.assert_no_keys();
    replica.assert_clean();
}

/// Trap 25: a primary that is made a replica lets its waiters go and writes nothing for them; then it holds what its
/// new primary holds.
#[test]
fn demoted_primary_lets_its_waiters_go_and_writes_nothing() {
    let new = Server::start();
    new.cmd(&["LOCK.ACQUIRE", "elsewhere", "n", "PX", "600000"]).int();
    new.save();
    new.kill9();
    let old = Server::builder().aof().start();
    old.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    old.cmd(&["LOCK.ACQUIRE", "short", "a", "PX", "600000"]).int();
    let waiters = [waiter(&old, "k", "b"), waiter(&old, "k", "c"), waiter(&old, "short", "b")];
    let before = (recorded(&old), digest(&old));
    // The new primary does not answer yet, so whatever is written now would stay.
    assert_eq!(old.cmd(&args!["REPLICAOF", "127.0.0.1", new.port()]), "OK");
    waiters.into_iter().for_each(assert_unblocked);
    old.until_blocked(0);
    assert!(old.cmd(&["LOCK.RELEASE", "k", "a"]).err_text().starts_with("READONLY "));
    assert_eq!((recorded(&old), digest(&old)), before);

    new.restart();
    assert_same(&new, &old);
    assert_eq!(old.cmd(&["DBSIZE"]), 1);
    assert_eq!(new.cmd(&["LOCK.RELEASE", "elsewhere", "n"]), 1);
    assert_same(&new, &old);
    old.assert_no_keys();
    old.assert_clean();
    new.assert_clean();
}

/// Trap 25: a primary that is demoted and promoted again before anything else happened serves whoever asks then.
#[test]
fn demoted_and_promoted_again_serves_new_waiters() {
    let server = Server::builder().aof().start();
    let first = server.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    let gone = waiter(&server, "k", "b");
    let mut client = server.client();
    client.send_many(&[&["REPLICAOF", "127.0.0.1", "1"][..], &["REPLICAOF", "NO", "ONE"]]);
    assert_unblocked(gone);
    let mut c = waiter(&server, "k", "c");
    assert_eq!(server.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1);
    assert!(c.read().int() > first);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert_eq!(server.cmd(&["LOCK.RELEASE", "k", "c"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 26: Sentinel promotes and demotes inside a transaction that also kills every client. Nothing is written in
/// there, and later all agree.
#[test]
fn sentinel_transactions_promote_and_demote_cleanly() {
    let one = Server::builder().aof().start();
    let other = replica_with(&one, Server::builder().aof());
    let third = replica_of(&other);
    let first = one.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    one.cmd(&["LOCK.ACQUIRE", "ending", "a", "PX", "200"]).int();
    let waiters = [waiter(&one, "k", "b"), waiter(&one, "k", "c")];
    until_synced(&one, &other);

    transaction(&other, &args!["REPLICAOF", "NO", "ONE"]);
    transaction(&one, &args!["REPLICAOF", "127.0.0.1", other.port()]);
    // Killed in the same turn, so the reason may not have reached them.
    for mut waiter in waiters {
        while let Received::Reply(reply) = waiter.receive(UNTIL) {
            assert!(reply.err_text().starts_with("UNBLOCKED "));
        }
    }
    one.until_blocked(0);
    assert_same(&other, &one);
    let mut b = waiter(&other, "k", "b");
    until("the lease that was taken over ends", || other.cmd(&["EXISTS", "ending"]) == 0);
    assert_eq!(other.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", first]), 1);
    assert!(b.read().int() > first);
    assert_same(&other, &one);
    assert_same(&other, &third);
    assert_eq!(other.cmd(&["LOCK.RELEASE", "k", "b"]), 1);
    for replica in [&one, &third] {
        assert_same(&other, replica);
        replica.assert_no_keys();
        replica.assert_clean();
    }
    other.assert_clean();
}

/// What Sentinel sends. Ends every other connection; this one, too, when the role changes, after the reply.
#[track_caller]
fn transaction(server: &Server, role: &[Vec<u8>]) {
    let mut sentinel = server.client();
    let kill = args!["CLIENT", "KILL", "TYPE", "normal"];
    let replies = sentinel.pipeline(&[&args!["MULTI"][..], role, &kill, &args!["EXEC"]]);
    assert_eq!(replies[3].array()[0], "OK", "{replies:?}");
}

/// Trap 34: a primary that comes back, also one that its replica just reads on from, tells it which leases ran out
/// while it was away.
#[test]
fn primary_that_was_away_agrees_with_its_replica() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    primary.cmd(&["LOCK.ACQUIRE", "over", "a", "PX", "1500"]).int();
    let begun = Instant::now();
    let fence = primary.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    until_synced(&primary, &replica);
    primary.shutdown_saving();
    until("the lease has run out", || begun.elapsed() > Duration::from_millis(1500));
    assert_eq!(replica.cmd(&["EXISTS", "over"]), 1);
    primary.restart();
    until("the primary ended the lease", || primary.cmd(&["EXISTS", "over"]) == 0);
    assert_same(&primary, &replica);
    assert_eq!(primary.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence]), 1);
    assert_same(&primary, &replica);
    replica.assert_no_keys();
    replica.assert_clean();
    primary.assert_clean();
}

/// Trap 28: a replica that lets clients write lets nobody decide about locks; what its primary decided still applies.
#[test]
fn writable_replica_decides_nothing() {
    let primary = Server::start();
    let replica = replica_with(&primary, Server::builder().config("replica-read-only no"));
    let fence = primary.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    assert_same(&primary, &replica);
    let mut client = replica.client();
    assert_eq!(client.cmd(&["SET", "text", "x"]), "OK");
    let mut refused = |command: &[&str]| {
        assert!(client.cmd(command).err_text().starts_with("READONLY "), "{command:?}");
    };
    refused(&["LOCK.ACQUIRE", "free", "b"]);
    refused(&["LOCK.ACQUIRE", "k", "a"]);
    refused(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    refused(&["LOCK.RELEASE", "k", "a"]);
    refused(&["LOCK.EXTEND", "k", "a"]);
    refused(&["EVAL", "return redis.call('LOCK.ACQUIRE', KEYS[1], 'b')", "1", "free"]);
    assert_eq!(client.cmd(&["DEL", "text"]), 1);
    assert_same(&primary, &replica);
    assert_eq!(primary.cmd(&args!["LOCK.EXTEND", "k", "a", "PX", 50, "FENCE", fence]), 1);
    until("the lease ended", || primary.cmd(&["DBSIZE"]) == 0);
    assert_same(&primary, &replica);
    replica.assert_no_keys();
    replica.assert_clean();
    primary.assert_clean();
}

/// Trap 48: the link to the primary is a client too, and closes; nobody's session ends by that, and nothing is written.
#[test]
fn replica_that_loses_its_primary_keeps_all_holds_and_writes_nothing() {
    let primary = Server::start();
    let replica = replica_of(&primary);
    let mut sessions: Vec<Client> = (0..20).map(|_| primary.client()).collect();
    for (number, session) in sessions.iter_mut().enumerate() {
        session.cmd(&args!["LOCK.ACQUIRE", format!("k{number}"), "a", "PX", 600_000, "SESSION"]).int();
    }
    assert_same(&primary, &replica);
    let held = digest(&replica);
    let syncs = || ["sync_full", "sync_partial_ok"].iter().map(|name| primary.info_number("stats", name)).sum::<i64>();
    for _ in 0..5 {
        let before = syncs();
        assert_eq!(replica.cmd(&["CLIENT", "KILL", "TYPE", "master"]), 1);
        support::until("the link is made anew", || syncs() > before);
        until_synced(&primary, &replica);
        assert_eq!(digest(&replica), held);
    }
    primary.kill9();
    support::until("the link is down", || replica.info_field("replication", "master_link_status") == "down");
    let offset = || replica.info_number("replication", "master_repl_offset");
    let written = offset();
    // Turns of its timer, by what it does for us.
    let commands = || replica.info_number("stats", "total_commands_processed");
    let before = commands();
    support::until("time passes", || commands() > before + 100);
    assert_eq!((digest(&replica), offset()), (held, written));
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    for number in 0..20 {
        assert_eq!(replica.cmd(&args!["LOCK.RELEASE", format!("k{number}"), "a"]), 1);
    }
    replica.assert_no_keys();
}
