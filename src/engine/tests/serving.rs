//! Queues that take several steps to serve (in tests a step serves two waiters), and first waiters that leave.

use super::*;

fn wait_all(world: &mut World, count: usize) -> Vec<u64> {
    (0..count).map(|n| world.waits(ask(K, &format!("w{n}")).shared().lease(60_000).block(0))).collect()
}

#[test]
fn a_queue_of_shared_waiters_is_let_in_step_by_step_without_another_event() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    let clients = wait_all(&mut world, 9);
    world.did();
    world.release(K, "x").unwrap();
    let at_once = world.granted();
    assert!(!at_once.is_empty() && at_once.len() < clients.len(), "{at_once:?}");
    assert_eq!(world.engine.first_deadline(), Some(Steady(i64::MIN)), "the timer rings at once");
    world.settle();
    assert_eq!([at_once, world.granted()].concat(), clients, "in the order in which they came");
    world.assert_at_rest();
}

/// I4: newcomers that could be let in stand behind waiters that could be let in, and were not yet.
#[test]
fn newcomers_between_the_steps_pass_nobody() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    let clients = wait_all(&mut world, 14);
    world.did();
    world.release(K, "x").unwrap();
    let mut served = world.granted();
    // A tick in which the server accepts no write.
    world.fake.state = ServerState::Halted;
    world.run();
    assert_eq!(world.send(ask(K, "new").shared()), Ok(Outcome::Busy), "others wait");
    let late = world.waits(ask(K, "late").shared().block(0));
    let alone = world.waits(ask(K, "alone").block(0));
    served.extend(world.granted());
    assert!(served.len() < clients.len(), "each step serves a few");
    world.fake.state = ServerState::Writable;
    world.settle();
    served.extend(world.granted());
    assert_eq!(served, [clients, vec![late]].concat());
    assert_eq!(world.engine.waiters(), 1);
    for who in world.holders(K) {
        world.release(K, &who).unwrap();
    }
    world.settle();
    assert_eq!(world.granted(), [alone]);
    world.assert_at_rest();
}

/// Waits run out while the queue is being served. These waiters are told so when they come first.
#[test]
fn waits_that_run_out_between_the_steps_are_never_granted() {
    let mut world = World::new();
    world.grant(K, "x", 100);
    for n in 0..8 {
        world.waits(ask(K, &format!("w{n}")).shared().block(5));
    }
    world.release(K, "x").unwrap();
    let granted = world.granted().len();
    world.pass(5);
    world.settle();
    let answers = world.answers();
    assert_eq!(answers.len() + granted, 8);
    assert!(answers.iter().all(|(_, reply)| *reply == Reply::Null), "{answers:?}");
    assert_eq!((world.engine.stats().wait_timeouts, world.engine.waiters()), (8 - granted as u64, 0));
    world.assert_at_rest();
}

/// Shared holders, an exclusive waiter at the head, and shared ones behind it that nothing but the head keeps out.
fn behind_a_head(patience: u64) -> (World, u64, Vec<u64>) {
    let mut world = World::new();
    world.grants(ask(K, "x").shared().lease(60_000));
    let head = world.waits(ask(K, "head").block(patience));
    let clients = wait_all(&mut world, 3);
    world.did();
    (world, head, clients)
}

#[test]
fn those_behind_a_head_that_leaves_are_let_in() {
    let (mut world, head, clients) = behind_a_head(0);
    assert!(world.engine.leave(head));
    assert!(world.engine.has_ready_work(), "the timer is asked to ring");
    world.settle();
    assert_eq!(world.granted(), clients);
    world.assert_at_rest();
}

#[test]
fn those_behind_a_head_that_waited_long_enough_are_let_in() {
    let (mut world, head, clients) = behind_a_head(7);
    world.pass(7);
    world.settle();
    let answers = world.answers();
    assert_eq!(answers[0], (head, Reply::Null));
    assert_eq!(answers.iter().skip(1).map(|(client, _)| *client).collect::<Vec<_>>(), clients);
    world.assert_at_rest();
}

#[test]
fn those_behind_a_head_that_is_withdrawn_are_let_in() {
    let (mut world, head, clients) = behind_a_head(0);
    assert_eq!(world.release(K, "head"), Ok(false));
    let answers = world.answers();
    assert_eq!(answers[0], (head, Reply::Null));
    world.settle();
    let later = world.granted();
    assert_eq!(answers.iter().skip(1).map(|(client, _)| *client).chain(later).collect::<Vec<_>>(), clients);
    assert_eq!(world.engine.stats().waits_withdrawn, 1);
    world.assert_at_rest();
}

/// A head that leaves while the server may not write: those behind it are let in afterwards.
#[test]
fn those_behind_a_head_that_left_while_the_server_was_halted_are_let_in_later() {
    for (state, write_check) in [
        (ServerState::Halted, WriteCheck::Accepts),
        (ServerState::Writable, WriteCheck::Halted),
        (ServerState::Writable, WriteCheck::Foreign),
    ] {
        let (mut world, head, clients) = behind_a_head(7);
        (world.fake.state, world.fake.write_check) = (state, write_check);
        world.pass(7);
        world.settle();
        assert_eq!(world.answers(), [(head, Reply::Null)]);
        (world.fake.state, world.fake.write_check) = (ServerState::Writable, WriteCheck::Accepts);
        world.pass(20);
        world.settle();
        assert_eq!(world.granted(), clients, "{state:?} {write_check:?}");
        world.assert_at_rest();
    }
}

/// One in the middle that leaves changes nothing for those before it, and the next head is still the right one.
#[test]
fn one_that_leaves_from_the_middle_lets_nobody_pass() {
    let mut world = World::new();
    world.grants(ask(K, "x").shared().lease(60_000));
    let head = world.waits(ask(K, "head").block(0));
    let middle = world.waits(ask(K, "middle").block(0));
    let behind = wait_all(&mut world, 1);
    world.did();
    assert!(world.engine.leave(middle));
    world.settle();
    assert_eq!(world.granted(), [0; 0]);
    assert!(world.engine.leave(head));
    world.settle();
    assert_eq!(world.granted(), behind);
}

/// A small limit at the head holds back those behind it, until there is room for it.
#[test]
fn a_head_with_a_small_limit_holds_back_the_rest() {
    let mut world = World::new();
    world.grants(ask(K, "a").shared());
    world.grants(ask(K, "b").shared());
    let small = world.waits(ask(K, "small").limit(2).block(0));
    let rest = wait_all(&mut world, 1);
    world.settle();
    assert_eq!(world.granted(), [0; 0]);
    world.release(K, "a").unwrap();
    world.settle();
    assert_eq!(world.granted(), [small]);
    world.release(K, "b").unwrap();
    world.settle();
    assert_eq!(world.granted(), rest, "two are in now, as the limit in force allows");
    assert_eq!(world.send(ask(K, "c").shared()), Ok(Outcome::Busy));
    world.assert_at_rest();
}
