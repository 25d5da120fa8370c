//! What comes before what, and what is never done.

use super::*;

fn replicated(effect: &str) -> Did {
    Did::Replicated("0:k".into(), effect.into())
}

fn cleared() -> Did {
    Did::ClearedTtl("0:k".into())
}

fn signalled() -> Did {
    Did::Signalled("0:k".into())
}

fn published(event: KeyEvent) -> Did {
    Did::Published("0:k".into(), event)
}

#[test]
fn a_release_is_recorded_and_replicated_before_the_waiter_is_answered() {
    let mut world = World::new();
    let first = world.grant(K, "a", 100).get();
    let granted = replicated(&format!("granted a {first}"));
    assert_eq!(world.did(), [granted, signalled(), published(KeyEvent::Acquire)]);
    let client = world.wait(K, "b", 100, Patience::Endless);
    assert_eq!(world.did(), [published(KeyEvent::Contended)], "joining the queue changes nothing");
    assert_eq!(world.release(K, "a"), Ok(true));
    let fence = first + 1;
    let done = world.did();
    assert_eq!(done[..3], [Did::ClearedTtl("0:k".into()), replicated(&format!("granted b {fence}")), signalled()]);
    assert_eq!(done[4..], [published(KeyEvent::Release), published(KeyEvent::Acquire)], "when the turn is over");
    let Did::Answered(told, Reply::Granted(hold, _, None)) = done[3] else { panic!("{done:?}") };
    assert_eq!((told, hold.fence.get()), (client, fence));
    assert_eq!(world.hold(K), Some(("b".into(), fence)));
    world.assert_deadlines();
}

#[test]
fn a_lease_end_is_recorded_as_a_removal_or_together_with_the_next_grant() {
    let mut world = World::new();
    let first = world.grant(K, "a", 10).get();
    let client = world.wait(K, "b", 10, Patience::Endless);
    world.did();
    world.pass(9);
    assert_eq!(world.run(), Some(world.ms(10)), "not before the end");
    assert_eq!(world.did(), []);
    world.pass(1);
    assert_eq!(world.settle(), Some(world.ms(20)));
    let done = world.did();
    let fence = world.hold(K).unwrap().1;
    assert!(fence > first);
    let (expired, acquired) = (published(KeyEvent::Expire), published(KeyEvent::Acquire));
    assert_eq!(done[1..3], [replicated(&format!("granted b {fence}")), signalled()]);
    assert!(matches!(done[3], Did::Answered(told, Reply::Granted(..)) if told == client), "{done:?}");
    assert_eq!(done[4..], [expired.clone(), acquired]);
    world.pass(10);
    assert_eq!(world.settle(), None, "nothing to come back for");
    assert_eq!(world.did(), [replicated("freed"), signalled(), expired]);
    world.assert_deadlines();
}

/// Trap 51: refusals, waiting, extensions and repeated requests are no change to WATCH.
#[test]
fn only_grants_ends_and_mode_changes_are_signalled() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.did();
    assert_eq!(world.send(ask(K, "b")), Ok(Outcome::Busy));
    world.wait(K, "b", 100, Patience::Endless);
    assert_eq!(world.extend(K, "a", 500), Ok(true));
    world.grant(K, "a", 900);
    world.grants(ask(K, "a").on(5));
    assert_eq!(world.release(K, "b"), Ok(false));
    assert!(!world.did().contains(&signalled()));
    assert_eq!(world.downgrade(K, "a"), Ok(true));
    let changed = replicated(&format!("changed a {} shared", world.hold(K).unwrap().1));
    assert_eq!(world.did(), [cleared(), changed, signalled(), published(KeyEvent::Downgrade)]);
    assert_eq!(world.downgrade(K, "a"), Ok(true), "shared already");
    assert_eq!(world.did(), []);
    assert_eq!(world.release(K, "a"), Ok(true));
    assert_eq!(world.did(), [replicated("freed"), signalled(), published(KeyEvent::Release)]);
}

#[test]
fn reacquiring_publishes_no_event_and_an_extension_does() {
    let mut world = World::new();
    let fence = world.grant(K, "a", 100).get();
    world.did();
    let changed = |fence| replicated(&format!("changed a {fence}"));
    world.grant(K, "a", 50);
    assert_eq!(world.did(), [cleared(), changed(fence)], "its end did not move, but WAIT is to mean something");
    world.grant(K, "a", 200);
    assert_eq!(world.did(), [cleared(), changed(fence)]);
    world.extend(K, "a", 20).unwrap();
    assert_eq!(world.did(), [cleared(), changed(fence), published(KeyEvent::Extend)]);
    assert_eq!(world.engine.first_deadline(), Some(world.ms(20)));
    world.raise(K, "a", fence + 7).unwrap();
    assert_eq!(world.did(), [cleared(), changed(fence + 7), published(KeyEvent::Extend)]);
    assert_eq!(world.extend(K, "z", 20), Ok(false));
    assert_eq!(world.did(), []);
    world.assert_ends();
}

#[test]
fn changes_are_only_counted_if_nobody_listens() {
    let mut world = World::new();
    world.fake.is_heard = false;
    let counted = || Did::Counted("0:k".into());
    world.grant(K, "a", 100);
    assert_eq!(world.did(), [counted(), signalled(), published(KeyEvent::Acquire)]);
    world.extend(K, "a", 200).unwrap();
    assert_eq!(world.did(), [cleared(), counted(), published(KeyEvent::Extend)]);
    world.grant(K, "a", 50);
    assert_eq!(world.did(), [cleared()], "nothing changed, and there is nobody to be told");
    let client = world.wait(K, "b", 5, Patience::Endless);
    assert_eq!(world.did(), [published(KeyEvent::Contended)]);
    world.release(K, "a").unwrap();
    let done = world.did();
    assert_eq!(done[..3], [cleared(), counted(), signalled()]);
    assert!(matches!(done[done.len() - 3], Did::Answered(told, Reply::Granted(..)) if told == client));
    world.release(K, "b").unwrap();
    assert_eq!(world.did(), [counted(), signalled(), published(KeyEvent::Release)]);
    assert_eq!(world.hold(K), None);
}

/// Traps 9, 20, 24: paused, loading, a replica.
#[test]
fn nothing_is_written_while_the_server_may_not_write_and_waits_still_run_out() {
    for state in [ServerState::Halted, ServerState::Loading, ServerState::Replica] {
        let mut world = World::new();
        world.grant(K, "a", 5);
        let long = world.wait(K, "b", 100, Patience::Endless);
        let short = world.wait(K, "c", 100, Patience::For(Millis(7)));
        let held = world.hold(K);
        world.did();
        world.fake.state = state;
        world.inbox.announce_fence = true;
        world.pass(6);
        let next = world.settle();
        assert!(next.is_some_and(|next| next <= world.ms(26)), "{state:?}: {next:?}");
        assert_eq!(world.did(), [], "{state:?}");
        world.pass(1);
        world.settle();
        assert_eq!(world.did(), [Did::Answered(short, Reply::Null)], "{state:?}");
        assert_eq!(world.hold(K), held, "{state:?}");

        world.fake.state = ServerState::Writable;
        world.settle();
        let done = world.did();
        let told = |did: &Did| matches!(did, Did::Answered(client, Reply::Granted(..)) if *client == long);
        assert!(done.iter().any(told), "{done:?}");
        let announced = done.iter().any(|did| matches!(did, Did::ReplicatedFence(_)));
        assert_eq!(announced, state != ServerState::Replica, "a replica's own word is nothing to announce");
        world.assert_deadlines();
    }
}

/// Trap 50: too few replicas, disk errors.
#[test]
fn a_halted_write_check_leaves_the_work_for_a_later_try() {
    let mut world = World::new();
    for key in [(0, "k1"), (0, "k2"), (0, "k3")] {
        world.grant(key, "a", 5);
    }
    let client = world.wait((0, "k2"), "b", 100, Patience::Endless);
    world.did();
    world.fake.write_check = WriteCheck::Halted;
    for _ in 0..10 {
        world.pass(20);
        world.fake.asked = 0;
        let now = world.fake.now.steady;
        let next = world.run().unwrap();
        assert!(next > now && next <= now + Millis(20), "back in a while, not at once");
        assert_eq!(world.fake.asked, 1, "the server is asked once a try");
        assert_eq!(world.did(), []);
    }
    world.fake.write_check = WriteCheck::Accepts;
    world.settle();
    assert_eq!(world.fake.data.len(), 1);
    assert_eq!(world.hold((0, "k2")).unwrap().0, "b");
    assert_eq!(world.answers().len(), 1);
    assert_eq!(world.engine.waits.len(), 0, "client {client} is answered");
    world.assert_deadlines();
}

#[test]
fn a_value_of_another_type_dissolves_the_queue_and_refuses_every_command() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let (one, two) = (world.wait(K, "b", 1, Patience::Endless), world.wait(K, "c", 1, Patience::For(Millis(50))));
    world.did();
    world.set(K);
    assert_eq!(world.settle(), None, "no lease, no wait is left");
    assert_eq!(world.did(), [Did::Answered(one, Reply::WrongType), Did::Answered(two, Reply::WrongType)]);
    assert_eq!(world.send(ask(K, "a").block(0)), Err(WrongType));
    assert_eq!(world.release(K, "a"), Err(WrongType));
    assert_eq!(world.extend(K, "a", 5), Err(WrongType));
    assert!(matches!(world.fake.data.values().next(), Some(Value::Other)), "the value is untouched");
    assert_eq!(world.did(), []);
    world.assert_deadlines();
}

/// Traps 5 and 6.
#[test]
fn a_client_that_leaves_is_abandoned_once_and_never_granted() {
    let mut world = World::new();
    world.grant(K, "a", 10);
    let (gone, stays) = (world.wait(K, "b", 5, Patience::For(Millis(3))), world.wait(K, "c", 5, Patience::Endless));
    world.did();
    assert!(world.engine.leave(gone));
    assert!(!world.engine.leave(gone));
    assert_eq!(world.did(), [Did::Abandoned(gone)]);
    assert_eq!(world.engine.waits.first_timeout(), None, "its wait is forgotten");
    world.pass(10);
    world.settle();
    assert!(matches!(world.answers()[..], [(client, Reply::Granted(..))] if client == stays));
    assert!(!world.engine.leave(stays), "its answer is on the way");
}

#[test]
fn an_owner_that_the_server_made_is_named_in_the_answer() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let (now, made) = (world.fake.now, owner("made"));
    let (patience, mode) = (Patience::Endless, Mode::Exclusive);
    let asked = Request { owner: made, mode, lease: Millis(5), max: None, delay: None, session: None, user: None };
    let mut seen = world.fake.seen();
    let outcome = world.engine.acquire(at(K), &mut world.fake.open(at(K)).unwrap(), now, asked, patience, &mut seen);
    let Ok(Outcome::Waits(ticket)) = outcome else { panic!("{outcome:?}") };
    world.engine.park(ticket, Client { id: 7, log: world.fake.log.clone() }, at(K), true);
    world.release(K, "a").unwrap();
    let answers = world.answers();
    let [(7, Reply::Granted(_, _, Some(named)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(**named, made.to_owner());
}

#[test]
fn a_client_that_is_parked_after_its_queue_was_dissolved_is_abandoned() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let client = Client { id: 7, log: world.fake.log.clone() };
    world.did();
    world.engine.park(Ticket(99), client, at(K), false);
    assert_eq!(world.did(), [Did::Abandoned(7)]);
    assert_eq!(world.engine.waiters(), 0);
}
