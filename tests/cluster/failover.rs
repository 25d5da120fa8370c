//! A replica takes a primary's place in a cluster while clients take its locks: after a kill, by hand, by force. They get
//! them again at the new primary, its fences lie above the old one's, and what a failover forgot is counted.

use std::thread;
use std::time::Duration;

use support::{
    acquire, assert_both_clean, assert_same, judge, judge_modes, poll, say, terms, until, wait, Client, Cluster,
    ClusterLoad, Grant, Mode, Received, Server, Value,
};

/// How many clients take turns.
const CLIENTS: usize = 4;
/// A failover on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Three primaries with a replica each; the primary of `k`, and its replica.
fn cluster() -> (Cluster, usize, usize) {
    let cluster = Cluster::start(3, 1);
    let primary = cluster.first_home("k");
    (cluster, primary, primary + 3)
}

/// `replace` puts node `new` in the place of node `old` under load; `mend` brings the old one back.
fn under_load(replace: impl Fn(&Cluster, usize, usize), mend: impl Fn(&Server)) {
    let (cluster, old, new) = cluster();
    let port = |n: usize| cluster.node(n).port();
    let load = ClusterLoad::new(&["k"]);
    thread::scope(|scope| {
        let end = load.until_dropped();
        for n in 0..CLIENTS {
            let (load, nodes) = (&load, cluster.ports());
            scope.spawn(move || load.take_turns(&format!("c{n}"), nodes, |_, _| Mode::Alone));
        }
        load.until_granted(20, Some(port(old)), "at first");
        replace(&cluster, old, new);
        cluster.until_promoted(new);
        load.until_granted(20, Some(port(new)), "at the new primary");
        mend(cluster.node(old));
        cluster.until_replica_of(old, new);
        load.until_granted(20, Some(port(new)), "with the old one as a replica");
        drop(end);
    });
    let history: Vec<Grant> = load.into_histories()[0].iter().map(|hold| hold.grant).collect();
    let judgement = judge(history.clone(), &terms(&history, &[port(old), port(new)]));
    judgement.report("failover in a cluster", history.len());
    assert_same(cluster.node(new), cluster.node(old));
}

/// Tells the replica to take its primary's place, in a way of CLUSTER FAILOVER.
#[track_caller]
fn fail_over(replica: &Server, how: &str) {
    assert_eq!(say(replica, &format!("CLUSTER FAILOVER{how}")), "OK");
}

fn nothing(_: &Server) {}

#[test]
fn clients_go_on_at_the_replica_of_a_killed_primary() {
    under_load(|cluster, old, _| cluster.node(old).kill9(), Server::restart);
}

#[test]
fn clients_go_on_after_a_failover_by_force() {
    under_load(|cluster, _, new| fail_over(cluster.node(new), " FORCE"), nothing);
}

/// The replica asks nobody.
#[test]
fn clients_go_on_after_a_takeover() {
    under_load(|cluster, _, new| fail_over(cluster.node(new), " TAKEOVER"), nothing);
}

/// A manual failover waits until the replica has everything: there and back again nobody holds beside another.
#[test]
fn manual_failover_forgets_no_grant() {
    let (cluster, one, other) = cluster();
    let load = ClusterLoad::new(&["k", "{k}shared"]);
    let port = |n: usize| cluster.node(n).port();
    thread::scope(|scope| {
        let end = load.until_dropped();
        for n in 0..CLIENTS {
            let (load, nodes) = (&load, cluster.ports());
            let mode = |which, turn| if which == 1 && turn % 3 > 0 { Mode::Shared(2) } else { Mode::Alone };
            scope.spawn(move || load.take_turns(&format!("c{n}"), nodes, mode));
        }
        for (from, to) in [(one, other), (other, one), (one, other)] {
            load.until_granted(20, Some(port(from)), "at the primary");
            cluster.fail_over_by_hand(from, to);
        }
        load.until_granted(20, Some(port(other)), "at the last primary");
        drop(end);
    });
    for history in load.into_histories() {
        assert_eq!(judge_modes(&history), Vec::<String>::new());
    }
    assert_both_clean(cluster.node(other), cluster.node(one));
}

/// That client is let go: the server it waited at is no primary any more.
#[track_caller]
fn is_let_go(client: &mut Client) {
    match client.receive(SOON) {
        Received::Reply(Value::Error(text)) => {
            assert!(text.starts_with("UNBLOCKED ") || text.starts_with("TRYAGAIN "), "{text}");
        }
        Received::Closed => {}
        other => panic!("{other:?}"),
    }
}

/// Trap 10: who waits is let go, and nothing but the hold goes on at the new primary.
#[test]
fn waiters_are_let_go_by_a_manual_failover_and_the_new_primary_has_one_holder() {
    let (cluster, from, to) = cluster();
    let (old, new) = (cluster.node(from), cluster.node(to));
    let fence = acquire(&mut old.client(), "k", "a");
    let mut waiters = ["b", "c"].map(|owner| wait(old, &format!("LOCK.ACQUIRE k {owner} BLOCK 0")));
    cluster.fail_over_by_hand(from, to);
    waiters.iter_mut().for_each(is_let_go);
    assert_eq!(say(new, "LOCK.CHECK k a").array()[0], fence);
    let info = say(new, "LOCK.INFO k");
    assert_eq!((info.get("holders-count").int(), info.get("waiters").int()), (1, 0));
    assert!(say(old, "LOCK.ACQUIRE k b").err_text().starts_with("MOVED "));
    let mut b = wait(new, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(say(new, "LOCK.RELEASE k a"), 1);
    assert!(b.read().int() > fence);
    assert_eq!(say(new, "LOCK.RELEASE k b"), 1);
    assert_both_clean(new, old);
}

/// Trap 10: the failover hangs, as nobody votes, and its pause goes on. A lease and a session end meanwhile, and the waiters
/// behind them are granted nothing before it is over.
#[test]
fn ends_during_the_pause_of_a_manual_failover_grant_nobody_there() {
    // Nobody is to be called failing while they stand still.
    let cluster = Cluster::start_with(3, 1, |node| node.config("cluster-node-timeout 60000"));
    let (from, key) = (cluster.first_home("k"), "k");
    let (old, new) = (cluster.node(from), cluster.node(from + 3));
    let fence = say(old, "LOCK.ACQUIRE k a PX 4000").int();
    let mut session = old.client();
    session.cmd(&["LOCK.ACQUIRE", "{k}s", "a", "PX", "600000", "SESSION"]);
    let mut waiters = [key, "{k}s"].map(|key| wait(old, &format!("LOCK.ACQUIRE {key} b BLOCK 0")));
    let others = (0..3).filter(|n| *n != from).map(|n| cluster.node(n));
    others.clone().for_each(Server::sigstop);

    // The replica says it once, and the link to its primary may be a new one at that moment.
    let asked = || {
        fail_over(new, "");
        poll(Duration::from_secs(1), || old.log().contains("Manual failover requested by").then_some(())).is_some()
    };
    until("the primary is asked for its place", asked);
    session.close();
    until("the lease is over", || say(old, "LOCK.INFO k").get("mode").text() == "free");
    assert_eq!(old.info_field("redislock", "redislock_grants_after_waiting"), "0");
    others.clone().for_each(Server::sigcont);
    cluster.until_promoted(from + 3);
    cluster.until_ok();

    waiters.iter_mut().for_each(is_let_go);
    assert!(say(new, "LOCK.ACQUIRE k b").int() > fence, "the lease ended there, too");
    cluster.until_replica_of(from, from + 3);
    assert_eq!(say(new, "LOCK.RELEASE k b"), 1);
    assert_eq!(say(new, "LOCK.RELEASE {k}s a"), 1, "the session's hold is left to its lease");
    assert_both_clean(new, old);
}

/// What the replica never heard of lies below what it gives once it is promoted.
#[test]
fn fences_rise_over_writes_that_the_replica_has_not() {
    let (cluster, old, new) = cluster();
    // Killed while the primary goes on, it comes back without data, and the primary is dead by then.
    cluster.node(new).kill9();
    let mut a = cluster.node(old).client();
    let last = (0..1000).map(|n| {
        let owner = format!("a{n}");
        let fence = acquire(&mut a, "k", &owner);
        assert_eq!(a.cmd(&["LOCK.RELEASE", "k", &owner]), 1);
        fence
    });
    let last = last.max().unwrap();
    cluster.node(old).kill9();
    cluster.node(new).restart();
    cluster.until_promoted(new);
    cluster.until_ok();
    let fence = acquire(&mut cluster.node(new).client(), "k", "b");
    assert!(fence > last, "{fence} after {last}");
}
