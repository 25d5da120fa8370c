//! The cluster client of the `redis` crate routes LOCK.* commands by their key without any configuration.

#![allow(clippy::unwrap_used)]

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{cmd, Value};
use support::Cluster;

/// The number of redirections that the nodes have sent.
fn redirections(cluster: &Cluster) -> usize {
    let count = |n: usize| {
        let errors = cluster.node(n).info("errorstats");
        let of = |name: &str| errors.get(name)?.strip_prefix("count=")?.parse::<usize>().ok();
        ["errorstat_MOVED", "errorstat_ASK"].into_iter().filter_map(of).sum::<usize>()
    };
    (0..3).map(count).sum()
}

fn connect(cluster: &Cluster) -> ClusterConnection {
    let nodes = cluster.ports().into_iter().map(|port| format!("redis://127.0.0.1:{port}"));
    ClusterClient::new(nodes).unwrap().get_connection().unwrap()
}

#[test]
fn every_command_goes_directly_to_the_node_of_its_key() {
    let cluster = Cluster::start(3, 0);
    let mut client = connect(&cluster);
    for n in 0..30 {
        let key = format!("lock:{n}");
        let mut ask = |line: &str| {
            let (name, words) = line.split_once(' ').unwrap_or((line, ""));
            let words: Vec<&str> = words.split_whitespace().collect();
            cmd(name).arg(&key).arg(words).query::<Value>(&mut client).unwrap()
        };
        assert!(matches!(ask("LOCK.ACQUIRE a PX 60000 BLOCK 1000"), Value::Int(_)));
        assert!(matches!(ask("LOCK.CHECK a"), Value::Array(_)));
        assert_eq!(ask("LOCK.EXTEND a PX 60000"), Value::Int(1));
        assert!(matches!(ask("LOCK.INFO"), Value::Array(_)));
        assert_eq!(ask("LOCK.RELEASE a"), Value::Int(1));
    }
    assert_eq!(redirections(&cluster), 0);
    for n in 0..3 {
        assert!(cluster.node(n).info_number("redislock", "redislock_grants_at_once") > 0, "node {n} has granted locks");
    }
}

/// The client follows one redirection, and knows the new node from then on.
#[test]
fn client_follows_a_lock_whose_slot_has_moved() {
    let cluster = Cluster::start(3, 0);
    let mut client = connect(&cluster);
    let fence: i64 = cmd("LOCK.ACQUIRE").arg("k").arg("a").query(&mut client).unwrap();
    let from = cluster.first_home("k");
    cluster.move_slot("k", from, (from + 1) % 3);
    for _ in 0..10 {
        let (still, _): (i64, i64) = cmd("LOCK.CHECK").arg("k").arg("a").query(&mut client).unwrap();
        assert_eq!(still, fence);
    }
    assert_eq!(redirections(&cluster), 1);
}
