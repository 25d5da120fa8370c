//! A primary of a cluster that hears of too few others stops granting, and tells its waiters. The others go on with its
//! replica, whose fences lie above.

use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use support::{
    acquire, args, assert_same, judge, say, terms, until, wait, Client, Cluster, ClusterLoad, Grant, Mode, Received,
    Server, Value,
};

/// How many clients take turns on each side.
const CLIENTS: usize = 2;
/// The node time-out of the tests' clusters is 2 s, the sweep comes within a second, and the machine is busy.
const TOLD: Duration = Duration::from_secs(30);

/// That client is told that the cluster is down.
#[track_caller]
fn is_told(client: &mut Client) {
    match client.receive(TOLD) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("CLUSTERDOWN "), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn grants(server: &Server) -> i64 {
    ["redislock_grants_at_once", "redislock_grants_after_waiting"]
        .map(|field| server.info_number("redislock", field))
        .iter()
        .sum()
}

/// The sides of the cut run one after the other: first the primary alone, then all others without it.
#[test]
fn primary_alone_stops_granting_and_its_replica_goes_on() {
    let cluster = Cluster::start(3, 1);
    let primary = cluster.first_home("k");
    let (old, new) = (cluster.node(primary), cluster.node(primary + 3));
    let others: Vec<&Server> = (0..6).filter(|n| *n != primary).map(|n| cluster.node(n)).collect();
    let fence = acquire(&mut old.client(), "{k}held", "a");
    let mut waiter = wait(old, "LOCK.ACQUIRE {k}held b BLOCK 0");
    assert_eq!(say(old, "WAIT 1 10000"), 1);

    let load = ClusterLoad::new(&["k"]);
    thread::scope(|scope| {
        let end = load.until_dropped();
        for (side, nodes) in
            [("inside", vec![old.port()]), ("outside", others.iter().map(|node| node.port()).collect())]
        {
            for n in 0..CLIENTS {
                let (load, nodes) = (&load, nodes.clone());
                scope.spawn(move || load.take_turns(&format!("{side}{n}"), nodes, |_, _| Mode::Alone));
            }
        }
        load.until_granted(20, Some(old.port()), "at first");
        others.iter().for_each(|node| node.sigstop());
        let alone = Instant::now();
        load.until_granted(20, Some(old.port()), "while the primary has not noticed");
        is_told(&mut waiter);
        println!("the waiter was told {:?} after the cut", alone.elapsed());
        assert!(say(old, "LOCK.ACQUIRE k x").err_text().starts_with("CLUSTERDOWN "));
        let granted = grants(old);
        // Leases of 3 s run out, and nobody gets what they held.
        until("every lease is over", || alone.elapsed() > Duration::from_secs(6));
        assert_eq!(grants(old), granted);

        old.sigstop();
        others.iter().for_each(|node| node.sigcont());
        cluster.until_promoted(primary + 3);
        load.until_granted(20, Some(new.port()), "at the new primary");
        old.sigcont();
        cluster.until_replica_of(primary, primary + 3);
        load.until_granted(20, Some(new.port()), "with the old one as a replica");
        drop(end);
    });
    let history: Vec<Grant> = load.into_histories()[0].iter().map(|hold| hold.grant).collect();
    let judgement = judge(history.clone(), &terms(&history, &[old.port(), new.port()]));
    judgement.report("failover in a cluster", history.len());

    assert_eq!(say(new, "LOCK.CHECK {k}held a").array()[0], fence);
    let mut waiter = wait(new, "LOCK.ACQUIRE {k}held b BLOCK 0");
    assert_eq!(say(new, "LOCK.RELEASE {k}held a"), 1);
    assert!(waiter.read().int() > fence);
    assert_same(new, old);
}

/// Both sides of a cut run at the same time: the primary with its clients, and all others with theirs.
#[test]
fn cut_off_primary_stops_and_the_majority_goes_on_without_it() {
    let cluster = Cluster::start_with_links(3, 1);
    let primary = cluster.first_home("k");
    let (old, new) = (cluster.node(primary), cluster.node(primary + 3));
    let (seen, new_seen) = (cluster.seen_at(primary), cluster.seen_at(primary + 3));
    let mut waiter = {
        acquire(&mut old.client(), "{k}held", "a");
        wait(old, "LOCK.ACQUIRE {k}held b BLOCK 0")
    };
    let load = ClusterLoad::new(&["k"]);
    thread::scope(|scope| {
        let end = load.until_dropped();
        let clients = |side: &'static str, nodes: Vec<u16>| {
            for n in 0..CLIENTS {
                let (load, nodes) = (&load, nodes.clone());
                scope.spawn(move || load.take_turns(&format!("{side}{n}"), nodes, |_, _| Mode::Alone));
            }
        };
        clients("inside", vec![old.port()]);
        load.until_granted(20, Some(old.port()), "at first");
        cluster.cut_off(primary);
        // As far as fences can be: the replica must leap over what it never heard of.
        let ahead = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap() + 59_000_000;
        assert_eq!(old.cmd(&args!["LOCK.EXTEND", "{k}held", "a", "RAISE", ahead]), 1);
        // Not before: whoever waits behind the cut is granted the lock and does not hear of it.
        clients("outside", (0..6).filter(|n| *n != primary).map(|n| cluster.seen_at(n)).collect());
        load.until_granted(20, Some(old.port()), "behind the cut");
        is_told(&mut waiter);
        cluster.until_promoted(primary + 3);
        load.until_granted(20, Some(new_seen), "at the new primary");
        assert!(say(old, "LOCK.ACQUIRE k x").err_text().starts_with("CLUSTERDOWN "));
        cluster.mend();
        cluster.until_replica_of(primary, primary + 3);
        load.until_granted(20, Some(new_seen), "when all are together again");
        drop(end);
    });
    // One server, whichever side it was reached from.
    let name = |server| if server == seen { old.port() } else { server };
    let grants = load.into_histories()[0]
        .iter()
        .map(|hold| Grant { server: name(hold.grant.server), ..hold.grant })
        .collect::<Vec<_>>();
    let judgement = judge(grants.clone(), &terms(&grants, &[old.port(), new_seen]));
    judgement.report("cut in a cluster", grants.len());
    assert_same(new, old);
}
