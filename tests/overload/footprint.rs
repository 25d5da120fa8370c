//! What the module leaves behind on a server that does not need it, or no longer does.

use support::{aof_commands, args, until, until_synced, Server};

/// 10 000 short holds, a hundred in one write.
fn come_and_go(server: &Server) {
    let mut client = server.client();
    for round in 0..100 {
        let pairs: Vec<_> = (0..100)
            .flat_map(|number| {
                let key = format!("k{}", round * 100 + number);
                [args!["LOCK.ACQUIRE", key, "a"].to_vec(), args!["LOCK.RELEASE", key, "a"].to_vec()]
            })
            .collect();
        let pairs: Vec<&[Vec<u8>]> = pairs.iter().map(Vec::as_slice).collect();
        client.pipeline(&pairs);
    }
}

/// No more memory than before, give or take what the server itself keeps at hand.
fn assert_back_to(before: i64, server: &Server) {
    until("the memory is back", || server.info_number("memory", "used_memory") < before + 512 * 1024);
}

#[test]
fn an_aof_of_locks_long_released_takes_no_memory() {
    let server = Server::builder().aof_fsync("no").config("aof-use-rdb-preamble no").start();
    let before = server.info_number("memory", "used_memory");
    come_and_go(&server);
    server.shutdown();
    server.restart();
    server.assert_no_keys();
    assert_back_to(before, &server);
    server.assert_clean();
}

#[test]
fn released_locks_take_no_memory_on_a_replica() {
    let small_backlog = || Server::builder().config("repl-backlog-size 64kb");
    let primary = small_backlog().start();
    let replica = small_backlog().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let before = replica.info_number("memory", "used_memory");
    come_and_go(&primary);
    until_synced(&primary, &replica);
    assert_back_to(before, &replica);
    for server in [&primary, &replica] {
        server.assert_no_keys();
        server.assert_clean();
    }
}

#[test]
fn locks_that_come_and_go_take_no_memory() {
    let server = Server::start();
    come_and_go(&server);
    let before = server.info_number("memory", "used_memory");
    come_and_go(&server);
    assert_back_to(before, &server);
    server.assert_clean();
}

/// Whoever loads the module and uses no lock can go on without it.
#[test]
fn a_server_without_locks_writes_nothing_of_the_module_into_its_aof() {
    let server = Server::builder().aof().config("aof-use-rdb-preamble no").start();
    assert_eq!(server.cmd(&["SET", "x", "1"]), "OK");
    server.rewrite_aof();
    server.restart();
    assert_eq!(server.cmd(&["SET", "x", "2"]), "OK");
    let commands = aof_commands(&server);
    assert!(commands.iter().all(|command| !command[0].starts_with(b"LOCK")), "{commands:?}");
    server.reconfigure(|builder| builder.without_module());
    server.restart();
    assert_eq!(server.cmd(&["GET", "x"]), "2");
    server.assert_clean();
}

/// Keys of other types that are renamed or moved are none of the module's business, also once it listens to such events.
#[test]
fn keys_of_others_that_move_take_no_memory() {
    let server = Server::builder().databases(10_000).start();
    let mut client = server.client();
    client.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    assert_eq!(client.cmd(&["DEL", "k"]), 1);
    let mut moves = || {
        for _ in 0..300 {
            assert_eq!(client.cmd(&["SET", "x", "1"]), "OK");
            assert_eq!(client.cmd(&["MOVE", "x", "1"]), 1);
            assert_eq!(client.pipeline(&[&["SELECT", "1"][..], &["DEL", "x"], &["SELECT", "0"]])[1], 1);
        }
    };
    moves();
    let before = server.info_number("memory", "used_memory");
    let peak_before = server.info_number("memory", "used_memory_peak");
    moves();
    assert_back_to(before, &server);
    assert!(server.info_number("memory", "used_memory_peak") < peak_before + 10 * 1024 * 1024);
    server.assert_no_keys();
    server.assert_clean();
}

/// How many locks the tests below take: just more than fit into tables that double when they are full.
const MANY: usize = 135_000;
/// Commands in one write.
const AT_ONCE: usize = 500;

/// The name of the i-th lock, 16 bytes.
fn lock(i: usize) -> String {
    format!("lock:{i:011}")
}

/// Says a command for each of these locks, and expects an integer above 0.
fn each(server: &Server, locks: std::ops::Range<usize>, words: impl Fn(String) -> Vec<Vec<u8>>) {
    let mut client = server.client();
    let locks: Vec<usize> = locks.collect();
    for some in locks.chunks(AT_ONCE) {
        let commands: Vec<_> = some.iter().map(|i| words(lock(*i))).collect();
        let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
        assert!(client.pipeline(&commands).iter().all(|reply| reply.int() > 0));
    }
}

/// The tables of leases once doubled when they were full, and just after that a lock took 300 bytes.
#[test]
fn a_held_lock_takes_as_little_memory_just_after_tables_grew() {
    let server = Server::start();
    let before = server.info_number("memory", "used_memory");
    each(&server, 0..MANY, |key| args!["LOCK.ACQUIRE", key, "owner-0123456789", "PX", 86_400_000].to_vec());
    let bytes = (server.info_number("memory", "used_memory") - before) / MANY as i64;
    assert!(bytes <= 250, "a lock with a key and an owner of 16 bytes takes {bytes} bytes");
    assert_eq!(server.cmd(&["FLUSHALL"]), "OK");
    assert_back_to(before, &server);
    server.assert_clean();
}

/// The memory of a crowd of locks once stayed until the very last one was gone.
#[test]
fn released_locks_give_their_memory_back_while_others_are_held() {
    let server = Server::start();
    let acquire = |key| args!["LOCK.ACQUIRE", key, "owner-0123456789", "PX", 86_400_000].to_vec();
    let kept = 500;
    each(&server, 0..kept, acquire);
    let before = server.info_number("memory", "used_memory");
    each(&server, kept..MANY, acquire);
    each(&server, kept..MANY, |key| args!["LOCK.RELEASE", key, "owner-0123456789"].to_vec());
    assert_back_to(before, &server);
    assert_eq!(server.info_number("redislock", "redislock_locks_held"), kept as i64);
    assert_eq!(server.cmd(&["FLUSHALL"]), "OK");
    server.assert_clean();
}
