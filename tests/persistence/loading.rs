//! While a data set is being loaded nothing is decided, whatever happens to clients and leases meanwhile; afterwards
//! what is looked at is the data set that is there.

use support::{acquire, args, assert_same, digest, release, until, until_synced, waiter, Server};

/// How many keys besides the locks, so that loading takes its time.
const NOISE: usize = 300;

/// Keys whose saving or loading can be slowed down, big enough that the server looks at its clients between two.
fn make_noise(server: &Server) {
    let value = "x".repeat(2048);
    for number in 0..NOISE {
        assert_eq!(server.cmd(&args!["SET", format!("noise-{number}"), value]), "OK");
    }
}

fn set(server: &Server, name: &str, value: &str) {
    assert_eq!(server.cmd(&["CONFIG", "SET", name, value]), "OK");
}

/// Has the server load its data with `command` while a waiter and its connection go, another's wait and a lease run out.
fn disturb_loading(server: &Server, command: &[&str]) {
    let mut a = server.client();
    let first = acquire(&mut a, "k", "a");
    acquire(&mut a, "ending", "a");
    let gone = waiter(server, "k", "gone");
    let mut c = waiter(server, "k", "c");
    let mut timed_out = server.client();
    server.send_to_wait(&mut timed_out, &["LOCK.ACQUIRE", "k", "d", "PX", "600000", "BLOCK", "1000"]);
    let mut heir = waiter(server, "ending", "heir");
    let address = gone.address();
    assert_eq!(a.cmd(&["LOCK.EXTEND", "ending", "a", "PX", "300"]), 1);

    let mut loader = server.client();
    loader.send(command);
    until("the server is loading", || server.info_field("persistence", "loading") == "1");
    gone.close();
    until("the closed connection is noticed", || !server.cmd(&["CLIENT", "LIST"]).text().contains(&address));
    assert!(server.cmd(&["LOCK.ACQUIRE", "free", "a"]).err_text().starts_with("LOADING "));
    assert_eq!(server.info_field("persistence", "loading"), "1", "the load was over too soon to disturb it");
    assert_eq!(loader.read(), "OK");

    assert!(heir.read().int() > first);
    assert!(timed_out.read().is_nil());
    server.assert_waiting(&mut c);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", first]), 1);
    assert!(c.read().int() > first);
    for (key, owner, held) in [("k", "gone", 0), ("k", "c", 1), ("ending", "heir", 1)] {
        assert_eq!(a.cmd(&["LOCK.RELEASE", key, owner]), held);
    }
    assert_eq!(server.cmd(&["DBSIZE"]), i64::try_from(NOISE).unwrap());
    server.assert_clean();
}

/// Trap 20: clients that go, waits and leases that end while an RDB is loaded.
#[test]
fn clients_may_go_and_leases_end_while_an_rdb_is_loaded() {
    let server = Server::start();
    make_noise(&server);
    set(&server, "loading-process-events-interval-bytes", "1024");
    set(&server, "key-load-delay", "5000");
    disturb_loading(&server, &["DEBUG", "RELOAD"]);
}

/// Trap 20: the same while an AOF is replayed. What was decided afterwards is in the AOF as well.
#[test]
fn clients_may_go_and_leases_end_while_an_aof_is_replayed() {
    let server = Server::builder().aof_fsync("no").aof_preamble(false).start();
    make_noise(&server);
    let mut client = server.client();
    // Clients are looked at once in 1024 commands.
    for _ in 0..60 {
        let command = args!["SET", "noise-0", "x"];
        client.pipeline(&[command.as_slice(); 100]);
    }
    set(&server, "key-load-delay", "300");
    disturb_loading(&server, &["DEBUG", "LOADAOF"]);
    let data = digest(&server);
    set(&server, "key-load-delay", "0");
    server.restart();
    assert_eq!(digest(&server), data);
    server.assert_clean();
}

/// A primary, and a replica that is in the middle of loading a new data set of it beside the one it has.
struct Resync {
    primary: Server,
    replica: Server,
    /// DEBUG DIGEST of what the replica had before.
    old: String,
}

/// The locks of the old data set are `old` and `both`, those of the new one `new` and `both`. `both` is another hold in
/// each; `new` and `old` have a short lease. Redis 8 can send the RDB over a connection of its own.
fn begin_resync(rdb_channel: &str) -> Resync {
    // Compressed, the noise would fit into one write.
    let primary = Server::builder().config("repl-backlog-size 16kb").config("rdbcompression no").start();
    make_noise(&primary);
    let replica = Server::builder()
        .config("repl-diskless-load swapdb")
        .config("loading-process-events-interval-bytes 1024")
        .replica_of(&primary)
        .start();
    for server in [&primary, &replica] {
        // An error where there is no such setting.
        server.cmd(&["CONFIG", "SET", "repl-rdb-channel", rdb_channel]);
    }
    // The stream begins up to a second after the data set is there.
    primary.cmd(&["PUBLISH", "a", "b"]);
    until_synced(&primary, &replica);
    primary.cmd(&["LOCK.ACQUIRE", "old", "a", "PX", "3000"]).int();
    primary.cmd(&["LOCK.ACQUIRE", "both", "a", "PX", "3000"]).int();
    until_synced(&primary, &replica);
    let old = digest(&replica);

    // More is written than a replica that comes back could catch up with.
    replica.sigstop();
    assert_eq!(primary.cmd(&["CLIENT", "KILL", "TYPE", "replica"]), 1);
    primary.cmd(&["LOCK.RELEASE", "old", "a"]);
    primary.cmd(&["LOCK.RELEASE", "both", "a"]);
    primary.cmd(&["LOCK.ACQUIRE", "both", "b", "PX", "600000", "BLOCK", "0"]).int();
    make_noise(&primary);
    set(&primary, "rdb-key-save-delay", "5000");
    primary.cmd(&["LOCK.ACQUIRE", "new", "b", "PX", "4000"]).int();
    let mut bystander = replica.client();
    replica.sigcont();
    until("the replica loads beside its data set", || replica.info_field("persistence", "async_loading") == "1");
    assert_eq!(digest(&replica), old);
    assert!(bystander.cmd(&["LOCK.ACQUIRE", "new", "c"]).is_err());
    assert_eq!(bystander.cmd(&["EXISTS", "old", "new"]), 1);
    bystander.close();
    Resync { primary, replica, old }
}

/// Trap 27: a data set that was loaded beside the old one takes its place: its leases end, and only its.
#[test]
fn data_set_swapped_in_by_a_resync_keeps_its_own_leases() {
    let Resync { primary, replica, old } = begin_resync("yes");
    until_synced(&primary, &replica);
    let new = digest(&primary);
    assert_ne!(new, old);
    assert_eq!(digest(&replica), new);
    primary.sigstop();
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    // Nobody asks for it: only a timer can know of its end.
    until("the lease of the new data set ends", || replica.cmd(&["EXISTS", "new"]) == 0);
    let mut c = waiter(&replica, "both", "c");
    assert_eq!(replica.cmd(&["LOCK.EXTEND", "both", "a"]), 0);
    assert_eq!(replica.cmd(&["LOCK.EXTEND", "both", "b", "PX", "50"]), 1);
    c.read().int();
    assert_eq!(replica.cmd(&["LOCK.RELEASE", "both", "c"]), 1);
    primary.sigcont();
    finish(&primary, &replica);
}

/// Trap 27: when the transfer breaks off, the old data set stays, with its leases.
#[test]
fn broken_resync_leaves_the_old_data_set_with_its_leases() {
    let Resync { primary, replica, old } = begin_resync("no");
    // (A channel of its own would outlive the primary: the child that saves feeds it.)
    primary.kill9();
    until("the load is given up", || replica.info_field("persistence", "async_loading") == "0");
    assert_eq!(digest(&replica), old);
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    until("the leases of the old data set end", || replica.cmd(&["EXISTS", "old", "both", "new"]) == 0);
    let mut client = replica.client();
    for key in ["old", "both", "new"] {
        client.cmd(&["LOCK.ACQUIRE", key, "c", "BLOCK", "0"]).int();
        release(&mut client, key, "c");
    }
    primary.restart();
    finish(&primary, &replica);
}

/// The old primary follows the replica that was promoted; no lock is left.
#[track_caller]
fn finish(primary: &Server, replica: &Server) {
    assert_eq!(primary.cmd(&args!["REPLICAOF", "127.0.0.1", replica.port()]), "OK");
    assert_same(replica, primary);
    assert_eq!(replica.cmd(&["DBSIZE"]), i64::try_from(NOISE).unwrap());
    primary.assert_clean();
    replica.assert_clean();
}

/// Redis 7.0 and 7.2 say database 0 of every key that they load beside the data set they serve. A lock of another database was
/// not found there: after a promotion its lease never ended, and whoever asked for it by LOCK.ACQUIRE alone ever noticed.
#[test]
fn leases_of_all_databases_end_on_a_promoted_replica_that_loaded_aside() {
    let primary = Server::start();
    let replica = Server::builder().config("repl-diskless-load swapdb").start();
    let mut client = primary.client();
    for (db, key) in [(0, "one"), (1, "one"), (1, "two"), (15, "three")] {
        client.select(db);
        client.cmd(&["LOCK.ACQUIRE", key, "a", "PX", "2000"]).int();
    }
    client.select(5);
    // No lock, in a place where one of that name is elsewhere.
    assert_eq!(client.cmd(&["SET", "one", "x"]), "OK");
    assert_eq!(replica.cmd(&args!["REPLICAOF", "127.0.0.1", primary.port()]), "OK");
    until_synced(&primary, &replica);
    assert_same(&primary, &replica);
    assert!(replica.log().contains("Swapping active DB"), "it loaded aside");
    until("the replica knows its locks", || replica.info_field("redislock", "redislock_locks_held") == "4");
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    until("every lease has ended", || replica.cmd(&["INFO", "keyspace"]).text().matches("db").count() == 1);
    assert_eq!(replica.info_field("redislock", "redislock_lease_ends"), "4");
    assert_eq!(replica.info_field("redislock", "redislock_locks_held"), "0");
    replica.assert_clean();
}
