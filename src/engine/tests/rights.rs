//! A waiter whose user may not acquire the lock any more is never granted, whatever made the lock free.

use super::*;

const APP: u32 = 2;

/// A lock that `x` holds. Two clients of user 2 and one of another wait, in this order; then user 2 loses its rights.
fn denied() -> (World, [u64; 3]) {
    let mut world = World::new();
    world.grants(ask(K, "x").lease(1000).on(7));
    let a = world.waits(ask(K, "a").user(APP).block(0));
    let b = world.waits(ask(K, "b").user(APP).shared().block(0));
    let c = world.waits(ask(K, "c").user(3).block(0));
    world.deny(APP, K);
    world.did();
    (world, [a, b, c])
}

#[track_caller]
fn assert_only_the_last_is_granted(world: &World, [a, b, c]: [u64; 3]) {
    let answers = world.answers();
    let told: Vec<u64> = answers.iter().map(|(client, _)| *client).collect();
    assert_eq!(told, [a, b, c]);
    assert_eq!(answers[0].1, Reply::NoPermission);
    assert_eq!(answers[1].1, Reply::NoPermission);
    assert!(matches!(answers[2].1, Reply::Granted(..)), "{answers:?}");
    assert_eq!(world.engine.stats().waits_denied, 2);
    assert_eq!(world.engine.stats().grants_after_waiting, 1);
    assert_eq!(world.engine.waiters(), 0);
}

#[test]
fn whatever_frees_the_lock_the_next_with_the_right_is_served() {
    type Act = fn(&mut World);
    let acts: [(&str, Act); 6] = [
        ("a release", |world| done(world.release(K, "x"))),
        ("a lease's end", |world| world.pass(1000)),
        ("a session's end", |world| world.hang_up(7)),
        ("a removal", |world| done(world.unlink(K))),
        ("a flush", |world| done(world.flush(Scope::All))),
        ("a lock that is restored, and its end", |world| {
            world.restore(K, "z", 5, 2_000_000);
            world.settle();
            world.pass(5);
        }),
    ];
    for (name, act) in acts {
        let (mut world, clients) = denied();
        act(&mut world);
        world.rest();
        println!("{name}");
        assert_only_the_last_is_granted(&world, clients);
        world.assert_at_rest();
    }
}

#[test]
fn a_waiter_without_the_right_is_told_when_it_comes_first() {
    let (mut world, [a, _, _]) = denied();
    assert!(world.answers().is_empty(), "it waits as before");
    world.allow(APP, K);
    world.release(K, "x").unwrap();
    assert_eq!(world.granted(), [a], "what it may again when it is its turn it may");
}

#[test]
fn shared_holders_are_let_in_together_but_for_those_without_the_right() {
    let mut world = World::new();
    world.grants(ask(K, "x"));
    let clients: Vec<u64> = (0..4)
        .map(|n| world.waits(ask(K, ["a", "b", "c", "d"][n]).user(APP + n as u32 % 2).shared().block(0)))
        .collect();
    world.deny(APP, K);
    world.did();
    world.release(K, "x").unwrap();
    world.rest();
    let answers = world.answers();
    let granted: Vec<u64> =
        answers.iter().filter(|(_, reply)| matches!(reply, Reply::Granted(..))).map(|(client, _)| *client).collect();
    assert_eq!(granted, [clients[1], clients[3]]);
    assert_eq!(answers.len(), 4);
    assert_eq!(world.holders(K).len(), 2);
}

/// One owner, two users: the request of the one is not answered with the hold of the other.
#[test]
fn other_requests_of_the_owner_are_judged_by_their_own_users() {
    let mut world = World::new();
    world.grants(ask(K, "x"));
    let mine = world.waits(ask(K, "a").user(3).lease(10).block(0));
    let theirs = world.waits(ask(K, "a").user(APP).lease(5000).on(9).block(0));
    world.deny(APP, K);
    world.did();
    world.release(K, "x").unwrap();
    let answers = world.answers();
    assert_eq!(answers[0], (theirs, Reply::NoPermission));
    assert_eq!(answers[1].0, mine);
    // Neither its lease nor its session counts.
    world.hang_up(9);
    world.rest();
    assert_eq!(world.holders(K), ["a"]);
    world.pass(10);
    world.rest();
    assert_eq!(world.hold(K), None);
}

/// A lock is restored for an owner that waits for it: its request is judged too.
#[test]
fn request_of_an_owner_that_holds_by_a_restored_value_is_judged() {
    let mut world = World::new();
    world.grants(ask(K, "x"));
    let client = world.waits(ask(K, "a").user(APP).block(0));
    world.deny(APP, K);
    world.did();
    world.restore(K, "a", 5000, 2_000_000);
    world.rest();
    assert_eq!(world.answers(), [(client, Reply::NoPermission)]);
    assert_eq!(world.holders(K), ["a"], "what it holds it holds");
}

#[test]
fn wait_that_ran_out_is_null_and_no_denial() {
    let mut world = World::new();
    world.grants(ask(K, "x"));
    let client = world.waits(ask(K, "a").user(APP).block(5));
    world.deny(APP, K);
    world.did();
    world.pass(5);
    world.release(K, "x").unwrap();
    assert_eq!(world.answers(), [(client, Reply::Null)]);
    assert_eq!(world.engine.stats().waits_denied, 0);
}

/// A right is that of a user on a key, not on all.
#[test]
fn right_that_is_lost_for_one_lock_is_not_lost_for_another() {
    let mut world = World::new();
    world.grants(ask(K, "x"));
    world.grants(ask(K2, "x"));
    let gone = world.waits(ask(K, "a").user(APP).block(0));
    let there = world.waits(ask(K2, "a").user(APP).block(0));
    world.deny(APP, K);
    world.did();
    for key in [K, K2] {
        world.release(key, "x").unwrap();
    }
    let answers = world.answers();
    assert_eq!(answers[0], (gone, Reply::NoPermission));
    assert_eq!(answers[1].0, there);
    assert!(matches!(answers[1].1, Reply::Granted(..)));
}
