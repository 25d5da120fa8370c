//! Slots that move with locks that are held and waited for, and clusters that go down (traps 29 to 32).

use std::time::Duration;

use support::{acquire, args, say, until, Client, Cluster, Received, Server, Value};

/// Within this time whoever waits at the wrong server is told so: the contract's 2 s, and the machine's share.
const TOLD: Duration = Duration::from_secs(10);

/// Three primaries, the node that has `k`, and another.
fn cluster() -> (Cluster, usize, usize) {
    let cluster = Cluster::start(3, 0);
    let from = cluster.first_home("k");
    (cluster, from, (from + 1) % 3)
}

fn waiter(server: &Server, owner: &str) -> Client {
    let mut client = server.client();
    server.send_to_wait(&mut client, &["LOCK.ACQUIRE", "k", owner, "PX", "600000", "BLOCK", "0"]);
    client
}

/// That client is told to ask again, and nothing else.
#[track_caller]
fn is_sent_away(client: &mut Client, with: &str) {
    match client.receive(TOLD) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with(with), "{text}"),
        other => panic!("{with} expected: {other:?}"),
    }
    assert_eq!(client.cmd(&["PING"]), Value::Simple("PONG".into()), "one answer");
}

/// The hold of `k` at that server.
fn check(server: &Server, owner: &str) -> (i64, i64) {
    let answer = server.cmd(&["LOCK.CHECK", "k", owner]);
    let [fence, ttl] = answer.array() else { panic!("{owner} does not hold k: {answer:?}") };
    (fence.int(), ttl.int())
}

/// One lock left this server with its slot, and no operator removed any.
#[track_caller]
fn one_has_moved_away(server: &Server) {
    let count = |name: &str| server.info_number("redislock", &format!("redislock_{name}"));
    until("it has moved away", || count("moved_away") == 1);
    assert_eq!((count("locks_held"), count("operator_removals")), (0, 0));
}

#[track_caller]
fn nobody_waits(server: &Server) {
    until("nobody is blocked", || server.info_field("clients", "blocked_clients") == "0");
    assert_eq!(server.info_field("redislock", "redislock_waiters"), "0");
}

/// Trap 29: the lock goes with its holder, the waiters are told, and nobody is granted it in between.
#[test]
fn migrated_lock_keeps_owner_fence_and_end_and_its_waiters_are_sent_after_it() {
    let (cluster, from, to) = cluster();
    let (source, target) = (cluster.node(from), cluster.node(to));
    let fence = acquire(&mut source.client(), "k", "a");
    let before = check(source, "a").1;
    let mut waiters = [waiter(source, "b"), waiter(source, "c")];

    cluster.begin_move("k", from, to);
    assert_eq!(cluster.migrate("k", from, to), "OK");
    for client in &mut waiters {
        is_sent_away(client, "TRYAGAIN ");
    }
    nobody_waits(source);
    one_has_moved_away(source);
    cluster.end_move("k", from, to);

    let moved = source.cmd(&["LOCK.ACQUIRE", "k", "b"]);
    assert!(moved.err_text().starts_with("MOVED "), "{moved:?}");
    let (fence_there, left) = check(target, "a");
    assert_eq!(fence_there, fence);
    assert!(left <= before && left > before - 60_000, "{before} ms were left, now {left}");
    assert_eq!(target.cmd(&["LOCK.ACQUIRE", "k", "b"]), Value::NullBulk);

    let mut next = waiter(target, "b");
    assert_eq!(target.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(next.read().int() > fence);
}

/// Trap 30: a key that has not gone yet is still served here, by a hand-off in place.
#[test]
fn lock_of_a_leaving_slot_is_handed_off_where_it_still_is() {
    let (cluster, from, to) = cluster();
    let source = cluster.node(from);
    let fence = acquire(&mut source.client(), "k", "a");
    let mut b = waiter(source, "b");
    cluster.begin_move("k", from, to);
    assert_eq!(source.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    let next = b.read().int();
    assert!(next > fence);
    assert_eq!(source.cmd(&["EXISTS", "k"]), 1);

    assert_eq!(cluster.migrate("k", from, to), "OK");
    cluster.end_move("k", from, to);
    assert_eq!(check(cluster.node(to), "b").0, next);
}

/// Trap 30: once the key would be gone, this server may not make it again.
#[test]
fn lock_that_is_deleted_in_a_leaving_slot_is_granted_to_nobody_there() {
    let (cluster, from, to) = cluster();
    let source = cluster.node(from);
    let fence = acquire(&mut source.client(), "k", "a");
    let mut b = waiter(source, "b");
    cluster.begin_move("k", from, to);
    assert_eq!(source.cmd(&["DEL", "k"]), 1);
    is_sent_away(&mut b, "TRYAGAIN ");
    nobody_waits(source);

    let mut there = cluster.node(to).client();
    there.cmd(&["ASKING"]);
    assert!(there.cmd(&["LOCK.ACQUIRE", "k", "b"]).int() > fence);
}

/// Who was sent after a key of a slot that is still coming in waits there; it is told to ask again, as its slot may go
/// back, and is served in the end.
#[test]
fn waiter_in_an_incoming_slot_retries_until_it_is_served() {
    let (cluster, from, to) = cluster();
    let target = cluster.node(to);
    let fence = acquire(&mut cluster.node(from).client(), "k", "a");
    cluster.begin_move("k", from, to);
    assert_eq!(cluster.migrate("k", from, to), "OK");
    let mut b = target.client();
    b.cmd(&["ASKING"]);
    b.send(&["LOCK.ACQUIRE", "k", "b", "BLOCK", "0"]);
    is_sent_away(&mut b, "TRYAGAIN ");
    cluster.end_move("k", from, to);
    let mut b = waiter(target, "b");
    assert_eq!(target.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
}

/// Trap 31: the slot is taken away with the keys in it.
#[test]
fn slot_taken_away_with_its_keys_sends_the_waiters_away() {
    let (cluster, from, to) = cluster();
    let (source, target) = (cluster.node(from), cluster.node(to));
    let fence = acquire(&mut source.client(), "k", "a");
    let mut b = waiter(source, "b");
    // The new node claims it with a higher epoch, and the old one drops what it has there.
    let slot = cluster.slot("k");
    target.cmd(&args!["CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.id(from)]);
    assert_eq!(target.cmd(&args!["CLUSTER", "SETSLOT", slot, "NODE", cluster.id(to)]), "OK");
    is_sent_away(&mut b, "TRYAGAIN ");
    nobody_waits(source);
    until("the keys are gone", || source.cmd(&["DBSIZE"]) == 0);
    one_has_moved_away(source);
    until("the new node serves", || target.cmd(&["LOCK.INFO", "k"]) == Value::NullBulk);
    assert!(acquire(&mut target.client(), "k", "b") > fence);
}

/// Trap 32: nobody is granted anything by a cluster that is down, and nobody waits for ever.
#[test]
fn waiters_of_a_cluster_that_is_down_are_told() {
    let (cluster, home, other) = cluster();
    let server = cluster.node(home);
    let mut a = server.client();
    let fence = a.cmd(&["LOCK.ACQUIRE", "k", "a", "PX", "600000"]).int();
    let mut b = waiter(server, "b");
    cluster.node(other).kill9();
    cluster.node(3 - home - other).kill9();
    is_sent_away(&mut b, "CLUSTERDOWN ");
    nobody_waits(server);
    assert!(a.cmd(&["LOCK.RELEASE", "k", "a"]).err_text().starts_with("CLUSTERDOWN "));

    cluster.node(other).restart();
    cluster.node(3 - home - other).restart();
    cluster.until_ok();
    assert_eq!(check(server, "a").0, fence, "the hold is what it was");
    let mut b = waiter(server, "b");
    assert_eq!(a.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
}

/// Valkey 9 and Redis 8.4 move a slot whole, by a stream of its own.
#[test]
fn slot_that_moves_at_once_takes_locks_along_and_sends_waiters_after_them() {
    let (cluster, from, to) = cluster();
    let (source, target) = (cluster.node(from), cluster.node(to));
    if !cluster.moves_slots_at_once() {
        return;
    }
    let fence = acquire(&mut source.client(), "k", "a");
    let shared = say(source, "LOCK.ACQUIRE {k}s s1 SHARED LIMIT 2").int();
    let mut b = waiter(source, "b");
    cluster.move_slot_at_once("k", from, to);
    is_sent_away(&mut b, "TRYAGAIN ");
    nobody_waits(source);
    assert_eq!(check(target, "a").0, fence);
    assert_eq!(target.cmd(&["LOCK.CHECK", "{k}s", "s1"]).array()[0].int(), shared);
    let mut b = waiter(target, "b");
    assert_eq!(target.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
}
