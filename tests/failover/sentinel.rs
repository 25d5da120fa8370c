//! Sentinel replaces a primary while clients take a lock again and again: they get it again at the new one, its fences rise
//! also over writes that were lost, and when the old one is back all have the same data.

use std::thread;
use std::time::Duration;

use support::{
    acquire, args, assert_same, judge, until, wait, Client, Judgement, Load, Received, Server, Value, Watched, PRIMARY,
};

/// How many clients take turns.
const CLIENTS: usize = 4;

/// Runs the load while `fail` does away with the primary; checks what the clients saw, and that all servers agree in the
/// end.
fn under_load(fail: impl Fn(&Server), mend: impl Fn(&Server)) {
    let watched = Watched::start(2);
    let load = Load::new();
    thread::scope(|scope| {
        let _end = load.until_dropped();
        for n in 0..CLIENTS {
            let (watched, load) = (&watched, &load);
            scope.spawn(move || load.take_turns(&format!("c{n}"), || watched.find_primary(1)));
        }
        load.until_granted(20, None, "at first");
        fail(watched.server(0));
        watched.until_failover(0);
        load.until_granted(20, None, "at the new primary");
        mend(watched.server(0));
        watched.until_whole();
        load.until_granted(20, None, "with the old one as a replica");
    });
    let history = load.into_history();
    judge(history.clone(), &watched.terms()).report("failover under load", history.len());
    let primary = watched.server(watched.primary());
    for n in (0..3).filter(|n| watched.server(*n).port() != primary.port()) {
        assert_same(primary, watched.server(n));
    }
}

#[test]
fn clients_go_on_after_the_primary_was_killed() {
    under_load(Server::kill9, Server::restart);
}

#[test]
fn clients_go_on_after_the_primary_stood_still() {
    under_load(Server::sigstop, Server::sigcont);
}

/// The replicas hear nothing of the last grants; the promoted one gives larger fences all the same.
#[test]
fn fences_rise_over_writes_that_no_replica_has() {
    let watched = Watched::start(2);
    let old = watched.server(0);
    acquire(&mut old.client(), "before", "a");
    assert_eq!(old.cmd(&["WAIT", "2", "10000"]), 2);
    // They hang: the primary goes on without them for a moment.
    watched.server(1).sigstop();
    watched.server(2).sigstop();
    let mut a = old.client();
    let mut last = 0;
    for n in 0..1000 {
        let owner = format!("a{n}");
        last = acquire(&mut a, "k", &owner);
        a.cmd(&["LOCK.RELEASE", "k", &owner]);
    }
    // What lies in the replicas' sockets is lost with the primary's machine.
    for n in [1, 2] {
        watched.server(n).kill9();
    }
    old.kill9();
    for n in [1, 2] {
        watched.server(n).reconfigure(|settings| settings.config("save \"\""));
        watched.server(n).restart();
    }
    let new = watched.until_failover(0);
    let fence = acquire(&mut watched.server(new).client(), "k", "b");
    assert!(fence > last, "{fence} after {last}");
}

/// Who waits at a primary that was replaced is told so and let go, and nothing it held back is granted there.
#[test]
fn waiters_of_a_demoted_primary_are_let_go() {
    let watched = Watched::start(1);
    let old = watched.server(0);
    let fence = acquire(&mut old.client(), "k", "a");
    let mut b = wait(old, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(old.cmd(&["WAIT", "1", "10000"]), 1);
    let asked = watched.sentinels()[0].cmd(&["SENTINEL", "FAILOVER", PRIMARY]);
    assert_eq!(asked, "OK");
    let new = watched.until_failover(0);
    watched.until_whole();
    match b.receive(Duration::from_secs(10)) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("UNBLOCKED "), "{text}"),
        // Sentinel also kills the clients of a server that it demotes.
        Received::Closed => {}
        other => panic!("{other:?}"),
    }
    let new = watched.server(new);
    assert_eq!(new.cmd(&["LOCK.CHECK", "k", "a"]).array()[0].int(), fence);
    let mut b = wait(new, "LOCK.ACQUIRE k b BLOCK 0");
    assert_eq!(new.cmd(&["LOCK.RELEASE", "k", "a"]), 1);
    assert!(b.read().int() > fence);
    assert_same(new, old);
}

/// FAILOVER waits until the replica has everything: no grant is forgotten, whoever waits is sent to the other server, and
/// there and back again nobody holds beside another.
#[test]
fn planned_failover_forgets_no_grant() {
    let one = Server::start();
    let other = Server::builder().replica_of(&one).start();
    let both = [&one, &other];
    until("the replica is in step", || other.info_field("replication", "master_link_status") == "up");
    let is_primary = |server: &Server| server.info_field("replication", "role") == "master";
    let find = || {
        let primary = both.into_iter().find(|server| is_primary(server))?;
        Some((primary.port(), Client::connect(primary.port()).ok()?))
    };
    let load = Load::new();
    thread::scope(|scope| {
        let _end = load.until_dropped();
        for n in 0..CLIENTS {
            let (load, find) = (&load, &find);
            scope.spawn(move || load.take_turns(&format!("c{n}"), find));
        }
        for (from, to) in [(&one, &other), (&other, &one), (&one, &other)] {
            load.until_granted(20, Some(from.port()), "at the primary");
            // The replica says that it is in step a little before the primary knows.
            until("the failover begins", || from.cmd(&args!["FAILOVER", "TO", "127.0.0.1", to.port()]) == "OK");
            until("the roles are changed", || is_primary(to) && !is_primary(from));
            until("the replica is in step", || from.info_field("replication", "master_link_status") == "up");
        }
        load.until_granted(20, Some(other.port()), "at the last primary");
    });
    // One lock that goes from server to server, without exceptions for a change of the primary.
    let mut history = load.into_history();
    history.iter_mut().for_each(|grant| grant.server = 0);
    let Judgement { faults, lost, forgotten } = judge(history, &[0]);
    assert_eq!((faults, lost, forgotten), (Vec::<String>::new(), 0, 0));
    assert_same(&other, &one);
}

/// While writes are paused nobody is granted; afterwards the line goes on where it was.
#[test]
fn paused_primary_grants_nobody_and_goes_on_afterwards() {
    let server = Server::start();
    let load = Load::new();
    thread::scope(|scope| {
        let _end = load.until_dropped();
        for n in 0..CLIENTS {
            let (load, server) = (&load, &server);
            scope.spawn(move || load.take_turns(&format!("c{n}"), || Some((server.port(), server.client()))));
        }
        for _ in 0..3 {
            load.until_granted(20, None, "before the pause");
            assert_eq!(server.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]), "OK");
            let grants = || server.info_number("redislock", "redislock_grants_at_once");
            let paused_at = grants();
            let waited = || server.info_number("redislock", "redislock_grants_after_waiting");
            let handed_off = waited();
            // Two looks of the server's own timer.
            let looks = || server.info_number("stats", "total_commands_processed");
            let before = looks();
            until("the server does other things", || looks() > before + 50);
            assert_eq!((grants(), waited()), (paused_at, handed_off));
            assert_eq!(server.cmd(&["CLIENT", "UNPAUSE"]), "OK");
        }
        load.until_granted(20, None, "after the pause");
    });
    let Judgement { faults, lost, forgotten } = judge(load.into_history(), &[server.port()]);
    assert_eq!((faults, lost, forgotten), (Vec::<String>::new(), 0, 0));
}
