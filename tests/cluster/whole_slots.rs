//! Slots that move whole: CLUSTER MIGRATION IMPORT of Redis 8.4, CLUSTER MIGRATESLOTS of Valkey 9. Redis takes all keys of a slot
//! away at once and tells of none of them. What both nodes count and know of the locks in it is right all the same.

use std::cell::Cell;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use support::{
    acquire, assert_same, bound, clocks_can_be_wrong, judge_modes, key_in_slot, poll, say, skip, until, wait, waiter,
    Client, Cluster, ClusterLoad, Mode, Received, Server, Value,
};

/// The slots that move; node 0 has them at first.
const SLOTS: RangeInclusive<u16> = 0..=99;
/// A slot of node 0 that stays.
const OTHER: u16 = 200;
/// Within this time what is due is done, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Three primaries without replicas; `None`, and the skip is said, if slots cannot move whole here.
fn cluster() -> Option<Cluster> {
    let cluster = Cluster::start(3, 0);
    cluster.moves_slots_at_once().then_some(cluster)
}

/// One lock in each of these slots.
fn locks(slots: RangeInclusive<u16>) -> Vec<String> {
    slots.map(key_in_slot).collect()
}

/// Takes them all; their fences.
fn take_all(server: &Server, locks: &[String]) -> Vec<i64> {
    let mut client = server.client();
    locks.iter().map(|lock| acquire(&mut client, lock, "a")).collect()
}

fn fences(server: &Server, locks: &[String]) -> Vec<i64> {
    let mut client = server.client();
    locks.iter().map(|lock| client.cmd(&["LOCK.CHECK", lock, "a"]).array()[0].int()).collect()
}

#[track_caller]
fn count(server: &Server, name: &str) -> i64 {
    server.info_number("redislock", &format!("redislock_{name}"))
}

/// What is counted there: locks, those that operators removed, those that left with their slots. Waits until it is so.
#[track_caller]
fn counts(server: &Server, locks_held: i64, removed: i64, moved_away: i64) {
    let now = || {
        let counted = ["locks_held", "operator_removals", "moved_away"].map(|name| count(server, name));
        (server.cmd(&["DBSIZE"]).int(), counted)
    };
    let expected = (locks_held, [locks_held, removed, moved_away]);
    poll(SOON, || (now() == expected).then_some(()));
    assert_eq!(now(), expected, "keys, locks held, removals by operators, locks that moved away");
}

/// A client that is told of changed keys: with one, Redis removes keys one by one.
fn tracking_client(server: &Server) -> Client {
    let mut client = server.client();
    client.cmd(&["HELLO", "3"]);
    assert_eq!(client.cmd(&["CLIENT", "TRACKING", "ON"]), "OK");
    client
}

/// Redis 8.6 took 100 held locks away with their slots, and the module knew nothing of it: it counted 100 locks in an empty
/// server for ever, 101 when a slot came back and one was taken, and FLUSHALL booked them all as removed by an operator. With a
/// client that tracks keys each lock counted as removed by an operator at once.
fn count_right(watch: impl Fn(&Server) -> Option<Client>) {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let watching = [source, target].map(watch);
    let (moving, staying) = (locks(SLOTS), key_in_slot(OTHER));
    let before = take_all(source, &moving);
    acquire(&mut source.client(), &staying, "a");
    counts(source, 101, 0, 0);

    cluster.move_slots_at_once(SLOTS, 0, 1);
    counts(source, 1, 0, 100);
    counts(target, 100, 0, 0);
    assert_eq!(fences(target, &moving), before);

    for lock in &moving[..50] {
        assert_eq!(say(target, &format!("LOCK.RELEASE {lock} a")), 1);
    }
    cluster.move_slots_at_once(SLOTS, 1, 0);
    counts(target, 0, 0, 50);
    counts(source, 51, 0, 100);
    assert!(acquire(&mut source.client(), &moving[0], "a") > before[0]);
    counts(source, 52, 0, 100);
    assert_eq!(fences(source, &moving[50..]), before[50..]);

    assert_eq!(say(source, "FLUSHALL"), "OK");
    counts(source, 0, 52, 100);
    assert_eq!(say(target, "FLUSHALL"), "OK");
    counts(target, 0, 0, 50);
    drop(watching);
    (0..3).for_each(|n| cluster.node(n).assert_clean());
}

#[test]
fn locks_that_leave_with_their_slots_are_counted_where_they_are() {
    count_right(|_| None);
}

#[test]
fn locks_that_leave_with_their_slots_are_counted_right_beside_a_tracking_client() {
    count_right(|server| Some(tracking_client(server)));
}

/// DEL in the slots that came, and in those that stayed, is an operator's doing.
#[test]
fn removals_by_operators_are_told_from_locks_that_moved() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let moving = locks(SLOTS);
    take_all(source, &moving);
    acquire(&mut source.client(), &key_in_slot(OTHER), "a");
    cluster.move_slots_at_once(SLOTS, 0, 1);
    for lock in &moving[..3] {
        assert_eq!(say(target, &format!("DEL {lock}")), 1);
    }
    assert_eq!(say(source, &format!("DEL {}", key_in_slot(OTHER))), 1);
    counts(source, 0, 1, 100);
    counts(target, 97, 3, 0);
}

/// A lease that ends in the old server's reckoning ends nothing there, and at the new server it ends on time: whoever waits is
/// granted then.
#[test]
fn leases_end_at_the_new_server_and_not_before() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let moving = locks(SLOTS);
    let mut client = source.client();
    let before: Vec<i64> =
        moving.iter().map(|lock| client.cmd(&["LOCK.ACQUIRE", lock, "a", "PX", "6000"]).int()).collect();
    cluster.move_slots_at_once(SLOTS, 0, 1);
    let held = moving.iter().zip(&before);
    let mut waiters: Vec<(Client, i64)> =
        held.map(|(lock, fence)| (wait(target, &format!("LOCK.ACQUIRE {lock} b BLOCK 0")), *fence)).collect();
    for (waiter, fence) in &mut waiters {
        match waiter.receive(SOON) {
            Received::Reply(Value::Int(next)) => assert!(next > *fence, "{next} after {fence}"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((count(target, "lease_ends"), count(source, "lease_ends")), (100, 0));
    counts(target, 100, 0, 0);
    counts(source, 0, 0, 100);
}

#[track_caller]
fn is_sent_away(client: &mut Client) {
    match client.receive(SOON) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("TRYAGAIN "), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn whoever_waits_in_slots_that_leave_is_sent_after_them() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let (moving, staying) = (locks(SLOTS), key_in_slot(OTHER));
    take_all(source, &moving);
    acquire(&mut source.client(), &staying, "a");
    let mut leaving: Vec<Client> = moving.iter().map(|lock| waiter(source, lock, "b")).collect();
    let mut stays = waiter(source, &staying, "b");
    cluster.move_slots_at_once(SLOTS, 0, 1);
    leaving.iter_mut().for_each(is_sent_away);
    until("one waits", || (count(source, "waiters"), count(source, "waits_redirected")) == (1, 100));
    assert_eq!(say(source, &format!("LOCK.RELEASE {staying} a")), 1);
    assert!(stays.read().int() > 0);

    let mut next = waiter(target, &moving[0], "b");
    assert_eq!(say(target, &format!("LOCK.RELEASE {} a", moving[0])), 1);
    assert!(next.read().int() > 0);
    counts(source, 1, 0, 100);
}

/// A session stays behind: its holds go on at the new server until their leases end, also when their slot comes back and their
/// connection closes then.
#[test]
fn sessions_stay_behind_and_leave_their_holds_to_the_lease() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let (moving, staying) = (key_in_slot(0), key_in_slot(OTHER));
    let mut session = source.client();
    let fence = bound(&mut session, &moving, "s");
    bound(&mut session, &staying, "s");
    let holder = |server: &Server| {
        let info = say(server, &format!("LOCK.INFO {moving}"));
        let holders = info.get("holders");
        let holder = &holders.array()[0];
        (holder.get("fence").int(), holder.get("session").int())
    };
    cluster.move_slots_at_once(SLOTS, 0, 1);
    assert_eq!(holder(target), (fence, 0));
    cluster.move_slots_at_once(SLOTS, 1, 0);
    session.close();
    until("the session's hold ends", || say(source, &format!("LOCK.INFO {staying}")).is_nil());
    assert_eq!(holder(source), (fence, 0));
    counts(source, 1, 0, 1);
    assert_eq!(count(source, "session_ends"), 1);
}

/// The hold is bound anew when its slot is back.
#[test]
fn session_binds_again_what_came_back() {
    let Some(cluster) = cluster() else { return };
    let source = cluster.node(0);
    let lock = key_in_slot(0);
    let mut session = source.client();
    let fence = bound(&mut session, &lock, "s");
    cluster.move_slots_at_once(SLOTS, 0, 1);
    cluster.move_slots_at_once(SLOTS, 1, 0);
    let again = bound(&mut session, &lock, "s");
    assert!(again >= fence);
    session.close();
    until("the hold ends with its connection", || say(source, &format!("LOCK.INFO {lock}")).is_nil());
}

/// The new server has some of the locks when the move is given up, and forgets them; the old one has them all, and they are
/// whoever's they were.
#[test]
fn move_that_is_given_up_leaves_nothing_at_the_new_server() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let moving = locks(SLOTS);
    let before = take_all(source, &moving);
    cluster.hold_moves_up(0, true);
    cluster.begin_move_at_once(SLOTS, 0, 1);
    let mut client = source.client();
    // In the stream beside the keys: one ends, one is removed by an operator, one goes from hand to hand.
    until("some of the locks have come", || count(target, "locks_held") > 0);
    assert_eq!(client.cmd(&["LOCK.RELEASE", &moving[0], "a"]), 1);
    assert_eq!(client.cmd(&["DEL", &moving[1]]), 1);
    assert_eq!(client.cmd(&["LOCK.RELEASE", &moving[2], "a"]), 1);
    acquire(&mut client, &moving[2], "b");
    cluster.give_moves_up(0, 1);
    cluster.hold_moves_up(0, false);
    counts(target, 0, 0, 0);
    counts(source, 98, 1, 0);
    assert_eq!(fences(source, &moving[3..]), before[3..]);

    // And once more, to the end.
    cluster.move_slots_at_once(SLOTS, 0, 1);
    counts(source, 0, 1, 98);
    counts(target, 98, 0, 0);
    assert_eq!(fences(target, &moving[3..]), before[3..]);
    assert_eq!(say(target, &format!("LOCK.RELEASE {} b", moving[2])), 1);
}

/// The new server has some of the locks already when their leases run out, and leaves them to the old one, whose slot it is.
#[test]
fn leases_that_run_out_during_a_move_end_once() {
    let Some(cluster) = cluster() else { return };
    let (source, target) = (cluster.node(0), cluster.node(1));
    let moving = locks(SLOTS);
    let mut client = source.client();
    for lock in &moving {
        client.cmd(&["LOCK.ACQUIRE", lock, "a", "PX", "500"]).int();
    }
    cluster.hold_moves_up(0, true);
    cluster.begin_move_at_once(SLOTS, 0, 1);
    until("the leases are over", || source.cmd(&["DBSIZE"]) == 0);
    cluster.hold_moves_up(0, false);
    cluster.until_moved(SLOTS, 0, 1);
    counts(target, 0, 0, 0);
    counts(source, 0, 0, 0);
    assert_eq!((count(source, "lease_ends"), count(target, "lease_ends")), (100, 0));
}

/// The replica of the server that lost the slots forgets their locks as well, and counts none of them once it is promoted.
#[test]
fn replicas_forget_locks_that_left() {
    let cluster = Cluster::start(3, 1);
    if !cluster.moves_slots_at_once() {
        return;
    }
    let moving = locks(SLOTS);
    let fences_before = take_all(cluster.node(0), &moving);
    acquire(&mut cluster.node(0).client(), &key_in_slot(OTHER), "a");
    until("the replica has them", || count(cluster.node(3), "locks_held") == 101);
    cluster.move_slots_at_once(SLOTS, 0, 1);
    counts(cluster.node(3), 1, 0, 0);
    counts(cluster.node(4), 100, 0, 0);
    assert_same(cluster.node(0), cluster.node(3));
    assert_same(cluster.node(1), cluster.node(4));
    cluster.fail_over_by_hand(1, 4);
    cluster.fail_over_by_hand(0, 3);
    cluster.move_slots_at_once(SLOTS, 4, 3);
    counts(cluster.node(4), 0, 0, 100);
    counts(cluster.node(3), 101, 0, 0);
    assert_eq!(fences(cluster.node(3), &moving), fences_before);
}

/// What left with its slots stays away when the AOF is read again.
#[test]
fn restart_from_the_aof_counts_no_lock_that_left() {
    let cluster = Cluster::start_with(3, 0, |node| node.aof());
    if !cluster.moves_slots_at_once() {
        return;
    }
    let (source, target) = (cluster.node(0), cluster.node(1));
    let moving = locks(SLOTS);
    let before = take_all(source, &moving);
    acquire(&mut source.client(), &key_in_slot(OTHER), "a");
    cluster.move_slots_at_once(SLOTS, 0, 1);
    counts(source, 1, 0, 100);
    for node in [source, target] {
        node.kill9();
        node.restart();
    }
    cluster.until_ok();
    counts(source, 1, 0, 0);
    counts(target, 100, 0, 0);
    assert_eq!(fences(target, &moving), before);
}

/// The fence clock goes along: also where the old server's wall clock is far ahead, and no leap of the new one would do.
#[test]
fn fences_of_a_free_lock_rise_over_those_of_a_server_whose_clock_is_ahead() {
    let is_first = Cell::new(true);
    let cluster = Cluster::start_with(3, 0, |node| match is_first.replace(false) {
        true => node.clock_off_by(1800),
        false => node,
    });
    if !(cluster.moves_slots_at_once() && clocks_can_be_wrong()) {
        return;
    }
    if cluster.node(0).version().valkey {
        return skip("Valkey has no call by which a module's clock goes along with slots");
    }
    let lock = key_in_slot(0);
    let take = |server: &Server| {
        let fence = acquire(&mut server.client(), &lock, "a");
        assert_eq!(say(server, &format!("LOCK.RELEASE {lock} a")), 1);
        fence
    };
    let before = take(cluster.node(0));
    cluster.move_slots_at_once(SLOTS, 0, 1);
    let after = take(cluster.node(1));
    assert!(after > before, "{after} after {before}");
    // It goes from server to server: clients cannot set the clock.
    let refused = say(cluster.node(1), &format!("LOCK.__FENCE {}", after + 1_000_000));
    assert!(refused.err_text().starts_with("ERR this command is internal"), "{refused:?}");
    assert!(take(cluster.node(1)) < after + 1_000_000);
}

/// Clients take locks all the time, alone and together, while their slots move to and fro and some moves are given up.
#[test]
fn nobody_holds_beside_another_while_slots_move_whole_and_back() {
    let Some(cluster) = cluster() else { return };
    let keys: Vec<String> = (0..4).map(|slot| format!("{}lock", key_in_slot(slot))).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let load = ClusterLoad::new(&keys);
    let home = |n: usize| Some(cluster.node(n).port());
    take_all(cluster.node(0), &locks(50..=99));
    thread::scope(|scope| {
        let end = load.until_dropped();
        for n in 0..6 {
            let (load, nodes) = (&load, cluster.ports());
            let mode = |which, turn| if which % 2 == 1 && turn % 3 > 0 { Mode::Shared(2) } else { Mode::Alone };
            scope.spawn(move || load.take_turns(&format!("c{n}"), nodes, mode));
        }
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] {
            load.until_granted(10, home(from), "before the move");
            cluster.hold_moves_up(from, true);
            cluster.begin_move_at_once(SLOTS, from, to);
            load.until_granted(10, home(from), "while it moves");
            cluster.give_moves_up(from, to);
            cluster.hold_moves_up(from, false);
            cluster.move_slots_at_once(SLOTS, from, to);
        }
        load.until_granted(10, home(0), "after the last move");
        drop(end);
    });
    for history in load.into_histories() {
        assert_eq!(judge_modes(&history), Vec::<String>::new());
    }
    counts(cluster.node(0), 50, 0, count(cluster.node(0), "moved_away"));
    for n in [1, 2] {
        counts(cluster.node(n), 0, 0, count(cluster.node(n), "moved_away"));
    }
}
