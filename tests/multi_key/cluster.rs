//! Several locks in a cluster: one slot, and what becomes of a wait whose slot moves.

use std::time::Duration;

use support::{run, say, Cluster, Received, Value};

use super::fences;

/// Within this time whoever waits at the wrong server is told so.
const TOLD: Duration = Duration::from_secs(10);

#[test]
fn keys_of_several_slots_are_refused_and_those_of_one_are_not() {
    let cluster = Cluster::start(3, 0);
    let home = cluster.node(cluster.first_home("{k}"));
    let crossed = say(home, "LOCK.MACQUIRE 2 {k}a {l}a me");
    assert!(crossed.err_text().starts_with("CROSSSLOT "), "{crossed:?}");
    let elsewhere = cluster.node((cluster.first_home("{k}") + 1) % 3);
    let moved = say(elsewhere, "LOCK.MACQUIRE 2 {k}a {k}b me");
    assert!(moved.err_text().starts_with("MOVED "), "{moved:?}");
    assert_eq!(fences(&say(home, "LOCK.MACQUIRE 2 {k}a {k}b me")).len(), 2);
    assert_eq!(say(home, "LOCK.MEXTEND 2 {k}a {k}b me"), 2);
    assert_eq!(say(home, "LOCK.MRELEASE 2 {k}a {k}b me"), 2);
    home.assert_clean();
}

#[test]
fn wait_whose_slot_moves_is_sent_after_it_and_stands_in_no_queue() {
    let cluster = Cluster::start(3, 0);
    let from = cluster.first_home("{k}");
    let to = (from + 1) % 3;
    let (source, target) = (cluster.node(from), cluster.node(to));
    say(source, "LOCK.ACQUIRE {k}a x PX 600000").int();
    let mut waiting = source.client();
    source.send_to_wait(&mut waiting, &"LOCK.MACQUIRE 2 {k}b {k}a me PX 600000 BLOCK 0".split(' ').collect::<Vec<_>>());
    cluster.move_slot("{k}a", from, to);
    match waiting.receive(TOLD) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("TRYAGAIN "), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(source.info_number("redislock", "redislock_waiters"), 0);
    assert!(say(source, "LOCK.TOP").array().is_empty());
    // It asks again, where the slot is now.
    let mut again = target.client();
    target.send_to_wait(&mut again, &"LOCK.MACQUIRE 2 {k}b {k}a me PX 600000 BLOCK 0".split(' ').collect::<Vec<_>>());
    assert_eq!(say(target, "LOCK.RELEASE {k}a x"), 1);
    assert_eq!(fences(&again.read()).len(), 2);
    assert_eq!(run(&mut again, "LOCK.MRELEASE 2 {k}a {k}b me"), 2);
    cluster.node(from).assert_clean();
    cluster.node(to).assert_clean();
}

/// One of the locks is still here, and another was taken at the server that the slot moves to.
#[test]
fn nothing_is_granted_while_the_slot_is_leaving_and_a_key_is_gone() {
    let cluster = Cluster::start(2, 0);
    let from = cluster.first_home("{k}");
    let to = 1 - from;
    let (source, target) = (cluster.node(from), cluster.node(to));
    say(source, "LOCK.ACQUIRE {k}a x PX 600000").int();
    let mut waiting = source.client();
    let request = "LOCK.MACQUIRE 2 {k}a {k}b me PX 600000 BLOCK 0 SHARED";
    source.send_to_wait(&mut waiting, &request.split(' ').collect::<Vec<_>>());
    cluster.begin_move("{k}a", from, to);
    let mut other = target.client();
    assert_eq!(run(&mut other, "ASKING"), "OK");
    run(&mut other, "LOCK.ACQUIRE {k}b y PX 600000").int();
    assert_eq!(say(source, "LOCK.RELEASE {k}a x DOWNGRADE"), 1);
    match waiting.receive(TOLD) {
        Received::Reply(Value::Error(text)) => assert!(text.starts_with("TRYAGAIN "), "{text}"),
        other => panic!("{other:?}"),
    }
    assert!(say(source, "LOCK.CHECK {k}a me").is_nil());
    assert_eq!(source.info_number("redislock", "redislock_waiters"), 0);
    source.assert_clean();
    target.assert_clean();
}
