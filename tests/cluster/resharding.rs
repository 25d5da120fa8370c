//! Slots that move back and forth while clients take the locks in them: nobody holds beside another, fences rise, locks keep
//! what they are, and whoever waits waits on at the new node.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    acquire, assert_same, judge_modes, poll, until, Cluster, ClusterClient, ClusterLoad, Mode, Server, Value,
};

/// Slots 0 and 1: `redis-cli --cluster reshard` moves a node's first slots.
const ALONE: &str = "{06S}alone";
const MIXED: &str = "{06S}mixed";
const COUNTED: &str = "{Qi}counted";
/// A lock beside them that one client holds all the time, and others wait for.
const HELD: &str = "{06S}held";
/// The slots to move, by a key in each.
const SLOTS: [&str; 2] = [ALONE, COUNTED];
/// How many clients take turns, and how many wait.
const CLIENTS: usize = 6;
const WAITERS: i64 = 3;
/// Within this time whoever waited is at the new node: the contract's 2 s, and the machine's share.
const TOLD: Duration = Duration::from_secs(30);
/// Longer than any test.
const LONG: Duration = Duration::from_secs(120);

/// Some hold them alone, some together, and two at most of them count.
fn mode(which: usize, turn: usize) -> Mode {
    match (which, turn % 4) {
        (0, _) | (1 | 2, 0) => Mode::Alone,
        (1, _) => Mode::Shared(1000),
        _ => Mode::Shared(2),
    }
}

/// What stays the same of the held lock, and how much of its lease is left.
fn hold(node: &Server) -> Option<(i64, i64)> {
    match node.cmd(&["LOCK.CHECK", HELD, "holder"]) {
        Value::Array(hold) => Some((hold[0].int(), hold[1].int())),
        _ => None,
    }
}

fn waiters(node: &Server) -> i64 {
    match node.cmd(&["LOCK.INFO", HELD]) {
        info @ Value::Array(_) => info.get("waiters").int(),
        _ => 0,
    }
}

/// Has the slots moved from node to node under load: `shift(from, to)` moves them.
fn under_load(cluster: &Cluster, route: &[usize], shift: impl Fn(usize, usize)) {
    let load = ClusterLoad::new(&[ALONE, MIXED, COUNTED]);
    let home = |n: usize| cluster.node(n).port();
    let fence = acquire(&mut cluster.node(route[0]).client(), HELD, "holder");
    thread::scope(|scope| {
        let end = load.until_dropped();
        for n in 0..CLIENTS {
            let (load, nodes) = (&load, cluster.ports());
            scope.spawn(move || load.take_turns(&format!("c{n}"), nodes, mode));
        }
        let waits = (0..WAITERS).map(|n| {
            let mut client = ClusterClient::new(cluster.ports(), LONG);
            scope.spawn(move || {
                let owner = format!("waiter{n}");
                let granted = client.ask(HELD, &["LOCK.ACQUIRE", HELD, &owner, "BLOCK", "0"]).unwrap();
                client.ask(HELD, &["LOCK.RELEASE", HELD, &owner]).unwrap();
                granted.value.int()
            })
        });
        let waits: Vec<_> = waits.collect();
        until("they wait", || waiters(cluster.node(route[0])) == WAITERS);
        let mut slowest = Duration::ZERO;
        for (from, to) in route.iter().zip(&route[1..]) {
            load.until_granted(20, Some(home(*from)), "before the move");
            let begun = Instant::now();
            let left = hold(cluster.node(*from)).unwrap().1;
            shift(*from, *to);
            let moved = Instant::now();
            poll(TOLD, || (waiters(cluster.node(*to)) == WAITERS).then_some(())).expect("the waiters wait on");
            slowest = slowest.max(moved.elapsed());
            let (fence_there, left_there) = hold(cluster.node(*to)).expect("the lock is held on");
            assert_eq!(fence_there, fence);
            let gone_by = i64::try_from(begun.elapsed().as_millis()).unwrap();
            // Each server reckons in milliseconds of its own.
            assert!((left - gone_by - 5..=left + 1).contains(&left_there), "{left} ms were left, {left_there} are");
        }
        let last = cluster.node(*route.last().unwrap());
        load.until_granted(10, Some(last.port()), "after the last move");
        println!("the last of the waiters waited on at the new node {slowest:?} after the end of a move");
        assert_eq!(last.cmd(&["LOCK.RELEASE", HELD, "holder"]), 1);
        let mut fences: Vec<i64> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
        fences.sort_unstable();
        assert!(fences[0] > fence, "{fences:?} after {fence}");
        drop(end);
    });
    for history in load.into_histories() {
        println!("{} holds", history.len());
        assert_eq!(judge_modes(&history), Vec::<String>::new());
    }
    for n in 0..3 {
        until("nobody waits", || cluster.node(n).info_field("redislock", "redislock_waiters") == "0");
        assert_same(cluster.node(n), cluster.node(n + 3));
        cluster.node(n).assert_clean();
    }
}

#[test]
fn locks_go_on_while_their_slots_move_key_by_key() {
    let cluster = Cluster::start(3, 1);
    under_load(&cluster, &[0, 1, 2, 0, 2, 1, 0, 1, 2, 1, 0, 2, 0], |from, to| {
        for key in SLOTS {
            cluster.move_slot(key, from, to);
        }
    });
}

#[test]
fn locks_go_on_while_their_slots_move_whole() {
    let cluster = Cluster::start(3, 1);
    if !cluster.moves_slots_at_once() {
        return;
    }
    under_load(&cluster, &[0, 1, 2, 0, 2, 1, 0, 1, 2, 1, 0, 2, 0], |from, to| {
        for key in SLOTS {
            cluster.move_slot_at_once(key, from, to);
        }
    });
}

/// The tool that operators use: some slots go, and the balance is found again.
#[test]
fn locks_go_on_while_redis_cli_reshards_and_rebalances() {
    let cluster = Cluster::start(3, 1);
    let node = format!("127.0.0.1:{}", cluster.node(0).port());
    under_load(&cluster, &[0, 1, 0], |from, to| {
        if to == 1 {
            let (from, to) = (cluster.id(from), cluster.id(to));
            let slots = ["--cluster-from", from, "--cluster-to", to, "--cluster-slots", "100", "--cluster-yes"];
            redis_cli(&[&["reshard", &node], &slots[..]].concat());
        } else {
            redis_cli(&["rebalance", &node, "--cluster-threshold", "1"]);
        }
    });
}

/// Runs `redis-cli --cluster` once all nodes know of what was moved before.
///
/// From 8.0 on Valkey replicates CLUSTER SETSLOT first, and refuses it while the node's replica is not connected. Then the tool
/// gives up in the middle of a move, and says that `fix` completes it.
#[track_caller]
fn redis_cli(arguments: &[&str]) {
    let run = |arguments: &[&str]| Command::new("redis-cli").arg("--cluster").args(arguments).output().unwrap();
    let node = arguments[1];
    let done = poll(LONG, || {
        let _ = run(&["fix", node, "--cluster-yes"]);
        poll(LONG, || run(&["check", node]).status.success().then_some(())).expect("all nodes agree");
        let Output { status, stdout, stderr } = run(arguments);
        let said = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert!(status.success() || said.contains("NOREPLICAS"), "{arguments:?}: {said}");
        status.success().then_some(())
    });
    assert!(done.is_some(), "{arguments:?} is refused for {LONG:?}");
}
