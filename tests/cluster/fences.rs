//! Fences rise whatever slots do: a free lock leaves nothing behind at the node that loses its slot, and that node may just
//! have started, or been promoted, and so give fences up to a minute ahead of the clock.

use std::thread;
use std::time::{Duration, Instant};

use support::{acquire, args, judge_modes, release, Cluster, ClusterLoad, Mode, Value};

/// Takes a free lock at a node and releases it: its fence.
#[track_caller]
fn fence_at(cluster: &Cluster, n: usize, key: &str) -> i64 {
    let mut client = cluster.node(n).client();
    let fence = acquire(&mut client, key, "a");
    release(&mut client, key, "a");
    fence
}

/// The same at a node that only imports the slot.
#[track_caller]
fn fence_asking(cluster: &Cluster, n: usize, key: &str) -> i64 {
    let mut client = cluster.node(n).client();
    let mut ask = |command: &[Vec<u8>]| {
        assert_eq!(client.cmd(&["ASKING"]), "OK");
        client.cmd(command).int()
    };
    let fence = ask(&args!["LOCK.ACQUIRE", key, "a"]);
    assert_eq!(ask(&args!["LOCK.RELEASE", key, "a"]), 1);
    fence
}

/// Each fence lies above the one before it.
#[track_caller]
fn assert_rising(fences: &[i64]) {
    assert!(fences.is_sorted_by(|earlier, later| earlier < later), "{fences:?}");
}

#[test]
fn fences_of_a_free_lock_rise_when_its_slot_leaves_a_node_that_has_just_started() {
    let cluster = Cluster::start(2, 0);
    let from = cluster.first_home("k");
    let to = 1 - from;
    let mut fences = vec![fence_at(&cluster, from, "k")];
    cluster.node(from).restart();
    cluster.until_ok();
    fences.push(fence_at(&cluster, from, "k"));
    cluster.move_slot("k", from, to);
    fences.push(fence_at(&cluster, to, "k"));
    assert_rising(&fences);
}

/// Between two of the looks that a node takes at its slots.
#[test]
fn fences_rise_while_a_slot_goes_back_and_forth_at_once() {
    let cluster = Cluster::start(2, 0);
    let home = cluster.first_home("k");
    // Both have granted, and know their slots.
    let mut fences = vec![fence_at(&cluster, home, "k")];
    for turn in 0..20 {
        let (from, to) = if turn % 2 == 0 { (home, 1 - home) } else { (1 - home, home) };
        cluster.move_slot("k", from, to);
        // More than one, so that a clock that only learnt of the first would give a smaller one.
        fences.extend((0..10).map(|_| fence_at(&cluster, to, "k")));
        cluster.until_epochs_agree();
    }
    assert_rising(&fences);
}

/// While a slot is on its way, free locks are asked for at its new node with ASKING; its old one restarts meanwhile.
#[test]
fn fences_rise_while_a_slot_is_on_its_way() {
    let cluster = Cluster::start(2, 0);
    let from = cluster.first_home("k");
    let to = 1 - from;
    fence_at(&cluster, to, &(0..).map(|n| format!("x{n}")).find(|key| cluster.first_home(key) == to).unwrap());
    let mut fences = vec![fence_at(&cluster, from, "k")];
    cluster.begin_move("k", from, to);
    fences.extend((0..3).map(|_| fence_asking(&cluster, to, "k")));
    // Nothing says that it went on importing, but for its own word.
    cluster.node(to).restart();
    cluster.until_ok();
    fences.extend((0..3).map(|_| fence_asking(&cluster, to, "k")));
    // The move is given up: the slot stays where it was.
    for n in [from, to] {
        assert_eq!(cluster.node(n).cmd(&args!["CLUSTER", "SETSLOT", cluster.slot("k"), "STABLE"]), "OK");
    }
    fences.extend((0..3).map(|_| fence_at(&cluster, from, "k")));
    cluster.node(from).restart();
    cluster.until_ok();
    fences.extend((0..3).map(|_| fence_at(&cluster, from, "k")));
    cluster.begin_move("k", from, to);
    fences.extend((0..3).map(|_| fence_asking(&cluster, to, "k")));
    cluster.end_move("k", from, to);
    fences.extend((0..3).map(|_| fence_at(&cluster, to, "k")));
    assert_rising(&fences);
}

/// A client may lift a fence by RAISE as far as a start leaps.
#[test]
fn fences_rise_when_a_slot_leaves_whose_lock_was_raised() {
    let cluster = Cluster::start(2, 0);
    let from = cluster.first_home("k");
    let mut client = cluster.node(from).client();
    let now_us = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
    let raised = i64::try_from(now_us).unwrap() + 59_000_000;
    acquire(&mut client, "k", "a");
    assert_eq!(client.cmd(&args!["LOCK.EXTEND", "k", "a", "RAISE", raised]), 1);
    release(&mut client, "k", "a");
    cluster.move_slot("k", from, 1 - from);
    assert!(fence_at(&cluster, 1 - from, "k") > raised);
}

/// How long the upgrade goes on at least: longer than a leap.
const UPGRADE: Duration = Duration::from_secs(62);
/// Locks of each of the three primaries.
const LOCKS: [&str; 6] = ["{06S}a", "{06S}b", "k", "{k}2", "{x}1", "{x}2"];

/// As operators upgrade: one node after the other is replaced by its replica, restarts, and takes its place again; between
/// that slots move. All of it is planned, so nothing may be forgotten, and no fence may fall.
#[test]
fn no_fence_falls_during_a_rolling_upgrade() {
    let cluster = Cluster::start(3, 1);
    let load = ClusterLoad::new(&LOCKS);
    thread::scope(|scope| {
        let end = load.until_dropped();
        for n in 0..4 {
            let (load, nodes) = (&load, cluster.ports());
            scope.spawn(move || load.take_turns(&format!("c{n}"), nodes, |_, _| Mode::Alone));
        }
        let begun = Instant::now();
        // Which node is the primary of each third of the slots, and which its replica; where each lock's slot is.
        let mut pairs = [(0, 3), (1, 4), (2, 5)];
        let mut homes = LOCKS.map(|key| cluster.first_home(key));
        for round in 0.. {
            if begun.elapsed() > UPGRADE {
                break;
            }
            let which = round % 3;
            let (primary, replica) = pairs[which];
            cluster.fail_over_by_hand(primary, replica);
            cluster.node(primary).restart();
            cluster.until_ok();
            cluster.until_replica_of(primary, replica);
            pairs[which] = (replica, primary);
            // The node that was promoted a moment ago loses a slot, and gets it back.
            for (lock, key) in LOCKS.iter().enumerate().step_by(2) {
                let (from, to) = (homes[lock], (homes[lock] + 1 + round % 2) % 3);
                cluster.move_slot(key, pairs[from].0, pairs[to].0);
                cluster.until_all_send_to(pairs[to].0, key);
                homes[lock] = to;
                // Two locks are in each slot that moves.
                homes[lock + 1] = to;
            }
        }
        load.until_granted(5, None, "after the upgrade");
        drop(end);
    });
    let histories = load.into_histories();
    println!("{} grants", histories.iter().map(Vec::len).sum::<usize>());
    for history in histories {
        let faults = judge_modes(&history);
        assert!(faults.is_empty(), "{} faults, the first: {}", faults.len(), faults[0]);
    }
}

/// A lock that is held moves with its fence; what the new node gives after it lies above.
#[test]
fn fence_after_a_held_lock_moved_lies_above_it() {
    let cluster = Cluster::start(2, 0);
    let from = cluster.first_home("k");
    let to = 1 - from;
    cluster.node(from).restart();
    cluster.until_ok();
    let held = acquire(&mut cluster.node(from).client(), "k", "a");
    cluster.move_slot("k", from, to);
    let mut client = cluster.node(to).client();
    assert!(matches!(client.cmd(&["LOCK.CHECK", "k", "a"]), Value::Array(hold) if hold[0] == held));
    release(&mut client, "k", "a");
    assert!(fence_at(&cluster, to, "k") > held);
}
