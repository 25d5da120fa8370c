//! Locks are keys: what operators do to them several times within one turn of the server, and on the replica that is
//! promoted afterwards.

use support::{acquire, args, assert_same, digest, release, until, until_synced, waiter, Client, Server, Value};

/// Runs the commands in one transaction and gives their replies.
#[track_caller]
fn transaction(client: &mut Client, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let (multi, exec) = (args!["MULTI"], args!["EXEC"]);
    let all: Vec<&[Vec<u8>]> =
        [&multi[..]].into_iter().chain(commands.iter().map(Vec::as_slice)).chain([&exec[..]]).collect();
    let replies = client.pipeline(&all).pop().unwrap().array().to_vec();
    assert!(!replies.iter().any(Value::is_err), "{replies:?}");
    replies
}

/// Traps 11, 14, 16, 17: whoever asks in the very turn in which the lock was taken away comes behind those who waited.
#[test]
fn newcomer_does_not_slip_in_where_a_lock_was_removed() {
    let removals =
        [["DEL", "k", ""], ["RENAME", "k", "k2"], ["MOVE", "k", "1"], ["SWAPDB", "0", "1"], ["FLUSHALL", "ASYNC", ""]];
    for removal in removals {
        let primary = Server::builder().aof().start();
        let replica = Server::builder().replica_of(&primary).start();
        until_synced(&primary, &replica);
        let mut a = primary.client();
        let first = acquire(&mut a, "k", "a");
        let mut b = waiter(&primary, "k", "b");
        let remove = removal.iter().filter(|word| !word.is_empty()).flat_map(|word| args![*word]).collect();
        let ask = args!["LOCK.ACQUIRE", "k", "newcomer", "PX", 600_000].to_vec();
        let replies = transaction(&mut a, &[remove, ask]);
        assert!(replies[1].is_nil(), "{removal:?}: {replies:?}");
        assert!(b.read().int() > first, "{removal:?}");
        assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b"]), 1, "{removal:?}");
        until_synced(&primary, &replica);
        let data = digest(&primary);
        assert_eq!(digest(&replica), data, "{removal:?}");
        primary.restart();
        assert_eq!(digest(&primary), data, "{removal:?}");
        primary.assert_clean();
        replica.assert_clean();
    }
}

/// Traps 14 to 16: however often a lock moves within one turn, its lease ends it where it is then.
#[test]
fn lease_ends_a_lock_wherever_it_was_moved_to() {
    let server = Server::start();
    if !server.hears_of_moved_keys() {
        return;
    }
    let mut a = server.client();
    let mut b = Vec::new();
    let moves: [&[&[&str]]; 6] = [
        &[&["RENAME", "k", "k2"], &["RENAME", "k2", "k"]],
        &[&["RENAME", "k", "k2"], &["RENAME", "k2", "k3"]],
        &[&["MOVE", "k", "1"], &["SWAPDB", "0", "1"]],
        &[&["RENAME", "k", "k2"], &["SWAPDB", "0", "1"], &["SWAPDB", "1", "2"]],
        &[&["SWAPDB", "0", "1"], &["SWAPDB", "0", "1"]],
        &[&["RENAME", "k", "k2"], &["MOVE", "k2", "3"]],
    ];
    for moves in moves {
        acquire(&mut a, "k", "a");
        b.push(waiter(&server, "k", "b"));
        let extend = args!["LOCK.EXTEND", "k", "a", "PX", 50].to_vec();
        let moves = moves.iter().map(|words| words.iter().flat_map(|word| args![*word]).collect());
        let commands: Vec<_> = [extend].into_iter().chain(moves).collect();
        transaction(&mut a, &commands);
        b.pop().unwrap().read().int();
        release(&mut a, "k", "b");
        until(format!("the lease ended it after {commands:?}"), || server.info("keyspace").is_empty());
    }
    server.assert_clean();
}

/// Traps 15 and 16: a restored lock's lease is found although the databases change places in the same turn.
#[test]
fn restored_lock_ends_although_it_moved_at_once() {
    let server = Server::start();
    if !server.hears_of_moved_keys() {
        return;
    }
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let script = "redis.call('LOCK.EXTEND', 'k', 'a', 'PX', 100)
        local dump = redis.call('DUMP', 'k')
        redis.call('DEL', 'k')
        redis.call('RESTORE', 'k', 0, dump)
        redis.call('SWAPDB', 0, 1)
        redis.call('RESTORE', 'k', 0, dump)
        redis.call('RENAME', 'k', 'k2')
        return redis.call('SWAPDB', 1, 5)";
    assert_eq!(a.cmd(&["EVAL", script, "0"]), "OK");
    until("both are gone", || server.info("keyspace").is_empty());
    server.assert_clean();
}

/// Traps 13 and 16: a value of another type that comes by SWAPDB turns the waiters away as one that was written does.
#[test]
fn value_of_another_type_that_is_swapped_in_turns_waiters_away() {
    let server = Server::start();
    let (mut zero, mut one) = (server.client(), server.client());
    one.select(1);
    acquire(&mut zero, "k", "a");
    assert_eq!(one.cmd(&["SET", "k", "x"]), "OK");
    let mut b = waiter(&server, "k", "b");
    assert_eq!(zero.cmd(&["SWAPDB", "0", "1"]), "OK");
    assert!(b.read().err_text().starts_with("WRONGTYPE "));
    assert_eq!(zero.cmd(&["GET", "k"]), "x");
    release(&mut one, "k", "a");
    assert_eq!(zero.cmd(&["DEL", "k"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 15: a waiter whose own hold is put onto the key is answered with it.
#[test]
fn waiter_whose_own_hold_is_restored_is_answered_with_it() {
    let server = Server::start();
    let mut a = server.client();
    let first = acquire(&mut a, "k", "b");
    let dump = a.cmd(&["DUMP", "k"]).bytes().to_vec();
    release(&mut a, "k", "b");
    acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    let mut c = waiter(&server, "k", "c");
    assert_eq!(a.cmd(&args!["RESTORE", "k", 0, dump, "REPLACE"]), "OK");
    // A hold that did not come from this server's own grant draws a new fence.
    let fence = b.read().int();
    assert!(fence > first);
    server.assert_waiting(&mut c);
    assert_eq!(a.cmd(&args!["LOCK.RELEASE", "k", "b", "FENCE", fence]), 1);
    assert!(c.read().int() > fence);
    release(&mut a, "k", "c");
    server.assert_no_keys();
    server.assert_clean();
}

/// Traps 14 to 17 and 24: a replica that only applied what happened to its locks knows, when it is promoted, where each
/// of them is and when it ends.
#[test]
fn promoted_replica_ends_leases_of_locks_that_had_moved() {
    let primary = Server::start();
    if !primary.hears_of_moved_keys() {
        return;
    }
    let replica = Server::builder().replica_of(&primary).start();
    until_synced(&primary, &replica);
    let mut a = primary.client();
    acquire(&mut a, "flushed", "a");
    assert_eq!(a.cmd(&["FLUSHALL"]), "OK");
    until_synced(&primary, &replica);
    for key in ["flushed", "renamed", "moved", "onto", "other", "restored", "ttl"] {
        a.cmd(&["LOCK.ACQUIRE", key, "a", "PX", "3000"]).int();
    }
    let dump = a.cmd(&["DUMP", "restored"]).bytes().to_vec();
    for command in [
        args!["RENAME", "renamed", "new name"].to_vec(),
        args!["MOVE", "moved", 3].to_vec(),
        args!["RENAME", "onto", "other"].to_vec(),
        args!["RESTORE", "restored", 0, dump, "REPLACE"].to_vec(),
        args!["RESTORE", "again", 0, dump].to_vec(),
        args!["SWAPDB", 3, 4].to_vec(),
        args!["PEXPIRE", "ttl", 600_000].to_vec(),
        args!["SWAPDB", 0, 5].to_vec(),
    ] {
        let reply = a.cmd(&command);
        assert!(!reply.is_err(), "{reply:?}");
    }
    assert_same(&primary, &replica);
    primary.kill9();
    assert_eq!(replica.info("keyspace").len(), 2, "the leases must end on the replica");
    assert_eq!(replica.cmd(&["REPLICAOF", "NO", "ONE"]), "OK");
    until("every lease has ended", || replica.info("keyspace").is_empty());
    replica.assert_clean();
}

/// To commands that know nothing of locks, one is a key like any other, without a TTL.
#[test]
fn lock_looks_like_a_key() {
    let server = Server::start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    assert_eq!(a.cmd(&["SET", "text", "x"]), "OK");
    assert_eq!(a.cmd(&["TYPE", "k"]), "redislock");
    assert_eq!(a.cmd(&["EXISTS", "k"]), 1);
    assert_eq!(a.cmd(&["TTL", "k"]), -1);
    let scanned = a.cmd(&["SCAN", "0", "COUNT", "100", "TYPE", "redislock"]);
    assert_eq!(scanned.array()[1], Value::Array(vec![Value::Bulk(b"k".to_vec())]));
    assert!(a.cmd(&["MEMORY", "USAGE", "k"]).int() > 0);
    assert!(a.cmd(&["GET", "k"]).err_text().starts_with("WRONGTYPE "));
    release(&mut a, "k", "a");
    assert_eq!(a.cmd(&["TYPE", "k"]), "none");
    assert_eq!(a.cmd(&["DEL", "text"]), 1);
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 14: a lock that was renamed or moved before a restart from the AOF is found by its lease after it.
#[test]
fn lock_that_had_moved_ends_after_a_restart_from_the_aof() {
    let server = Server::builder().aof().config("aof-use-rdb-preamble no").start();
    if !server.hears_of_moved_keys() {
        return;
    }
    let mut a = server.client();
    for key in ["renamed", "moved", "stays"] {
        a.cmd(&["LOCK.ACQUIRE", key, "a", "PX", "2000"]).int();
    }
    assert_eq!(a.cmd(&["RENAME", "renamed", "new name"]), "OK");
    assert_eq!(a.cmd(&["MOVE", "moved", "3"]), 1);
    server.kill9();
    server.restart();
    until("every lease has ended", || server.info("keyspace").is_empty());
    server.assert_clean();
}

/// The next in the queue is killed in the turn in which the lock becomes its own, and the lock goes elsewhere in that turn: what
/// nobody was told of blocked its new place for the whole lease.
#[test]
fn hold_of_a_killed_waiter_ends_wherever_its_lock_went() {
    let moves: [(&[&[&str]], u32, &str); 6] = [
        (&[&["RENAME", "k", "k2"]], 0, "k2"),
        (&[&["RENAME", "k", "k2"], &["RENAME", "k2", "k3"]], 0, "k3"),
        (&[&["MOVE", "k", "1"]], 1, "k"),
        (&[&["SWAPDB", "0", "1"]], 1, "k"),
        (&[&["RENAME", "k", "k2"], &["MOVE", "k2", "3"]], 3, "k2"),
        (&[&["RENAME", "k", "k2"], &["SWAPDB", "0", "1"], &["SWAPDB", "1", "2"]], 2, "k2"),
    ];
    for (moves, db, place) in moves {
        // The old key may hold another type by the time the loss of the answer is known.
        for (kills_first, is_overwritten) in [(true, false), (false, false), (true, true)] {
            let server = Server::builder().aof().start();
            if !server.hears_of_moved_keys() {
                return;
            }
            let mut holder = server.client();
            let first = acquire(&mut holder, "k", "h");
            let mut killed = server.client();
            let id = killed.id();
            server.send_to_wait(&mut killed, &["LOCK.ACQUIRE", "k", "w", "PX", "600000", "BLOCK", "0"]);
            let mut next = waiter(&server, "k", "n");
            let kill = args!["CLIENT", "KILL", "ID", id].to_vec();
            let mut commands = vec![args!["LOCK.RELEASE", "k", "h"].to_vec()];
            commands.extend(moves.iter().map(|words| words.iter().flat_map(|word| args![*word]).collect()));
            commands.insert(if kills_first { 1 } else { commands.len() }, kill);
            if is_overwritten {
                commands.push(args!["SET", "k", "x"].to_vec());
            }
            transaction(&mut holder, &commands);
            if is_overwritten {
                assert!(next.read().err_text().starts_with("WRONGTYPE "), "{commands:?}");
                assert_eq!(server.cmd(&["DEL", "k"]), 1);
            } else {
                assert!(next.read().int() > first, "{commands:?}");
            }
            killed.expect_closed();
            let mut client = server.client();
            client.select(db);
            until(format!("{place} is free after {commands:?}"), || client.cmd(&["LOCK.INFO", place]).is_nil());
            assert_eq!(server.info_field("redislock", "redislock_undelivered_grants"), "1");
            let holds_on = !is_overwritten;
            assert_eq!(server.info_field("redislock", "redislock_locks_held"), i64::from(holds_on).to_string());
            if holds_on {
                release(&mut server.client(), "k", "n");
            }
            server.assert_no_keys();
            server.assert_clean();
        }
    }
}
