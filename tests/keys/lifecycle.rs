//! Locks are keys: eviction, reload, TTLs set by hand, and what WATCH and CLIENT TRACKING see of them.

use support::{
    acquire, aof_commands, args, assert_both_clean, digest, holds, release, said, say, until, until_some, until_synced,
    waiter, Client, Server,
};

use std::collections::HashMap;
use std::time::Duration;

/// A new client that waits for the lock without limit; what it is granted lasts so many milliseconds.
#[track_caller]
fn waiter_for(server: &Server, key: &str, owner: &str, lease_ms: u32) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &args!["LOCK.ACQUIRE", key, owner, "PX", lease_ms, "BLOCK", 0]);
    client
}

/// Puts the server under memory pressure, 1 MB above what it uses now, with this policy.
fn squeeze(server: &Server, policy: &str) {
    let limit = server.info_number("memory", "used_memory") + (1 << 20);
    assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory-policy", policy]), "OK");
    assert_eq!(server.cmd(&args!["CONFIG", "SET", "maxmemory", limit]), "OK");
}

/// Trap 18: policies that look at TTLs leave locks alone.
#[test]
fn volatile_policies_never_evict_a_lock() {
    let server = Server::start();
    let mut client = server.client();
    let fence = acquire(&mut client, "k", "a");
    let noise = "x".repeat(10_000);
    for policy in server.policies(&["volatile-lru", "volatile-random", "volatile-ttl", "volatile-lrm"]) {
        squeeze(&server, policy);
        let before = server.info_number("stats", "evicted_keys");
        for number in 0..500 {
            client.cmd(&args!["SET", format!("{policy}-{number}"), noise, "EX", 1000]);
        }
        assert!(server.info_number("stats", "evicted_keys") > before + 100, "{policy} evicted too little");
        assert_eq!(client.cmd(&args!["LOCK.EXTEND", "k", "a", "FENCE", fence]), 1, "{policy}");
        assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    }
    release(&mut client, "k", "a");
    server.assert_clean();
}

/// Trap 18: a lock that allkeys-* evicts has lost its holder, and the head waiter is granted.
#[test]
fn evicted_lock_goes_to_its_waiter() {
    let server = Server::builder().config("notify-keyspace-events Ke").start();
    let (mut a, mut events) = (server.client(), server.client());
    let first = acquire(&mut a, "k", "a");
    let mut b = waiter(&server, "k", "b");
    events.cmd(&["SUBSCRIBE", "__keyspace@0__:k"]);
    squeeze(&server, "allkeys-random");
    let noise = "x".repeat(10_000);
    let mut number = 0;
    let granted = until_some("the lock is evicted and its waiter granted", || {
        number += 1;
        a.cmd(&args!["SET", format!("noise-{number}"), noise]);
        b.try_read(Duration::ZERO)
    });
    assert_eq!(server.cmd(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    assert!(granted.int() > first);
    assert_eq!(events.read().array()[2], "evicted");
    assert!(!holds(&mut a, "k", "a"));
    server.assert_clean();
}

/// Trap 21: DEBUG RELOAD puts every value into its key anew. Waiters still stand in their order, and the lease that ran
/// before ends the hold after it.
#[test]
fn waiters_keep_their_order_and_leases_their_ends_over_a_reload() {
    let server = Server::start();
    let mut admin = server.client();
    let first = acquire(&mut admin, "k", "a");
    let mut b = waiter_for(&server, "k", "b", 300);
    let mut c = waiter(&server, "k", "c");
    let mut d = waiter(&server, "k", "d");
    assert_eq!(admin.cmd(&["DEBUG", "RELOAD"]), "OK");
    for waiter in [&mut b, &mut c, &mut d] {
        server.assert_waiting(waiter);
    }
    assert_eq!(admin.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", first]), 1);
    let second = b.read().int();
    assert!(second > first);
    // The lease of b runs; whatever is left of it is over some time after this.
    assert_eq!(admin.cmd(&["DEBUG", "RELOAD"]), "OK");
    let third = c.read().int();
    assert!(third > second);
    server.assert_waiting(&mut d);
    assert_eq!(admin.cmd(&["DEBUG", "RELOAD"]), "OK");
    release(&mut admin, "k", "c");
    assert!(d.read().int() > third);
    release(&mut admin, "k", "d");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 54: a TTL set by hand goes with the hold it was set on. The next grant clears it, here and on the replica and
/// in the AOF, whichever way the lock was handed over.
#[test]
fn ttl_set_by_hand_does_not_reach_the_next_hold() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut admin = primary.client();
    for ending in [args!["LOCK.RELEASE", "k", "a"].to_vec(), args!["LOCK.EXTEND", "k", "a", "PX", 1].to_vec()] {
        acquire(&mut admin, "k", "a");
        let mut b = waiter(&primary, "k", "b");
        assert_eq!(admin.cmd(&["PEXPIRE", "k", "3600000"]), 1);
        assert_eq!(admin.cmd(&ending), 1);
        b.read().int();
        assert_eq!(admin.cmd(&["PTTL", "k"]), -1, "after {ending:?}");
        until_synced(&primary, &replica);
        assert_eq!(replica.cmd(&["PTTL", "k"]), -1, "on the replica after {ending:?}");
        assert_eq!(digest(&replica), digest(&primary));
        primary.restart();
        assert_eq!(primary.cmd(&["PTTL", "k"]), -1, "replayed after {ending:?}");
        admin = primary.client();
        release(&mut admin, "k", "b");
    }
    // A lock that became free takes its TTL along, too.
    admin.cmd(&["LOCK.ACQUIRE", "k", "a"]).int();
    assert_eq!(admin.cmd(&["PEXPIRE", "k", "3600000"]), 1);
    release(&mut admin, "k", "a");
    admin.cmd(&["LOCK.ACQUIRE", "k", "b"]).int();
    assert_eq!(admin.cmd(&["PTTL", "k"]), -1);
    release(&mut admin, "k", "b");
    assert_both_clean(&primary, &replica);
}

/// Trap 54: while the hold goes on, the TTL set on it stays whatever others do, and is replicated and saved. (What takes it off:
/// native_ttl.rs.)
#[test]
fn ttl_set_by_hand_stays_with_its_hold() {
    let primary = Server::builder().aof().start();
    let replica = Server::builder().replica_of(&primary).start();
    let mut client = primary.client();
    let fence = acquire(&mut client, "k", "a");
    assert_eq!(client.cmd(&["PEXPIRE", "k", "3600000"]), 1);
    assert!(client.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "b"]), 0);
    assert_eq!(client.cmd(&args!["LOCK.RELEASE", "k", "a", "FENCE", fence + 1]), 0);
    assert_eq!(client.cmd(&["LOCK.CHECK", "k", "a"]).array()[0], fence);
    assert!(client.cmd(&["PTTL", "k"]).int() > 0);
    until_synced(&primary, &replica);
    assert!(replica.cmd(&["PTTL", "k"]).int() > 0, "on the replica");
    assert_eq!(digest(&replica), digest(&primary));
    primary.restart();
    let mut client = primary.client();
    assert!(client.cmd(&["PTTL", "k"]).int() > 0, "replayed");
    release(&mut client, "k", "a");
    primary.assert_no_keys();
    primary.assert_clean();
    replica.assert_clean();
}

/// Trap 40: the module's own removal of a key is no operator's: a lock that is taken again in the same turn stays held,
/// its lease ends it, and nothing is recorded besides what was asked for.
#[test]
fn lock_taken_again_right_after_its_release_stays_held() {
    let server = Server::builder().aof().start();
    let mut client = server.client();
    let owners: Vec<String> = (0..20).map(|number| format!("owner-{number}")).collect();
    let mut commands = Vec::new();
    for owner in &owners {
        commands.push(args!["LOCK.ACQUIRE", "k", owner, "PX", 600_000].to_vec());
        commands.push(args!["LOCK.EXTEND", "k", owner, "PX", 500_000].to_vec());
        commands.push(args!["LOCK.RELEASE", "k", owner].to_vec());
    }
    commands.pop();
    let commands: Vec<&[Vec<u8>]> = commands.iter().map(Vec::as_slice).collect();
    assert!(client.pipeline(&commands).iter().all(|reply| reply.int() > 0));

    // Waits behind the last one, so that whatever a spurious note set off would have happened by now.
    let mut b = waiter(&server, "k", "b");
    assert!(holds(&mut client, "k", "owner-19"));
    assert_eq!(client.cmd(&["LOCK.EXTEND", "k", "owner-19", "PX", "50"]), 1);
    b.read().int();
    release(&mut client, "k", "b");

    let of_key = aof_commands(&server).into_iter().filter(|command| command.get(1).is_some_and(|key| key == b"k"));
    let (removals, effects): (Vec<_>, Vec<_>) =
        of_key.map(|command| said(&command)).partition(|effect| effect == "freed k");
    assert_eq!((removals.len(), effects.len()), (20, 20 * 2 + 3));
    server.assert_no_keys();
    server.assert_clean();
}

/// Which of the two ways of watching a key is looked at by [`seen`].
fn watch(server: &Server) -> (Client, Client) {
    let (mut watcher, mut tracker) = (server.client(), server.client());
    assert_eq!(watcher.cmd(&["WATCH", "k"]), "OK");
    tracker.resp3();
    assert_eq!(tracker.cmd(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "k"]), "OK");
    (watcher, tracker)
}

/// Whether the change since [`watch`] aborts EXEC, and whether the tracking client was told of it.
fn seen((mut watcher, mut tracker): (Client, Client)) -> (bool, bool) {
    assert_eq!(watcher.cmd(&["MULTI"]), "OK");
    assert_eq!(watcher.cmd(&["PING"]), "QUEUED");
    let aborted = watcher.cmd(&["EXEC"]).is_nil();
    (aborted, !tracker.pushes().is_empty())
}

/// Trap 41: WATCH and CLIENT TRACKING see nothing of refusals, of waiting, of a wait that ran out or was withdrawn, of
/// extensions and repeated requests.
#[test]
fn waiting_and_looking_do_not_disturb_a_watch() {
    let server = Server::start();
    let mut a = server.client();
    acquire(&mut a, "k", "a");
    let watched = watch(&server);
    let mut b = server.client();
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b"]).is_nil());
    assert!(b.cmd(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "20"]).is_nil());
    server.send_to_wait(&mut b, &["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "b"]), 0);
    assert!(b.read().is_nil());
    let gone = waiter_for(&server, "k", "c", 1000);
    gone.close();
    server.until_blocked(0);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "500000"]), 1);
    a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "700000"]).int();
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b"]), 0);
    assert_eq!(seen(watched), (false, false));
    release(&mut a, "k", "a");
    server.assert_no_keys();
    server.assert_clean();
}

/// Trap 41: they see every grant, release, hand-off and lease end.
#[test]
fn watch_and_tracking_see_every_grant_and_end() {
    let server = Server::start();
    let mut a = server.client();

    let watched = watch(&server);
    acquire(&mut a, "k", "a");
    assert_eq!(seen(watched), (true, true), "a grant");

    let mut b = waiter(&server, "k", "b");
    let watched = watch(&server);
    release(&mut a, "k", "a");
    b.read().int();
    assert_eq!(seen(watched), (true, true), "a hand-off");

    let watched = watch(&server);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "b", "PX", "50"]), 1);
    until("the lease ended", || server.cmd(&["DBSIZE"]) == 0);
    assert_eq!(seen(watched), (true, true), "a lease end");

    acquire(&mut a, "k", "a");
    let mut c = waiter(&server, "k", "c");
    let watched = watch(&server);
    assert_eq!(a.cmd(&["LOCK.EXTEND", "k", "a", "PX", "50"]), 1);
    c.read().int();
    assert_eq!(seen(watched), (true, true), "a hand-off at a lease end");

    let watched = watch(&server);
    release(&mut a, "k", "c");
    assert_eq!(seen(watched), (true, true), "a release");
    server.assert_no_keys();
    server.assert_clean();
}

/// Two locks that differ in what they promise have different digests, so a replica that lost an option is noticed.
#[test]
fn digest_tells_options_and_cooling_apart() {
    let options = ["", " DELAY 5", " DELAY 6", " MAX 60000", " SHARED", " SHARED LIMIT 5", " SHARED LIMIT 5 WEIGHT 2"];
    let servers: Vec<_> = options.iter().map(|_| Server::start()).collect();
    let acquire =
        |(server, options): (&Server, &&str)| say(server, &format!("LOCK.ACQUIRE k a PX 60000{options}")).int();
    // All get the same fence, so that they do not differ in that.
    let fence = servers.iter().zip(&options).map(acquire).max().unwrap() + 1;
    let mut seen = HashMap::new();
    for (server, options) in servers.iter().zip(options) {
        assert_eq!(say(server, &format!("LOCK.EXTEND k a RAISE {fence}")), 1);
        assert_eq!(say(server, "LOCK.CHECK k a").array()[0], fence);
        let other = seen.insert(digest(server), options);
        assert_eq!(other, None, "{options:?} has the same digest");
        server.assert_clean();
    }
    let server = &servers[0];
    for length in ["600000", "700000"] {
        assert_eq!(say(server, "DEL k"), 1);
        say(server, "LOCK.ACQUIRE k a").int();
        assert_eq!(say(server, &format!("LOCK.RELEASE k a COOL {length}")), 1);
        assert_eq!(seen.insert(digest(server), length), None);
    }
}
