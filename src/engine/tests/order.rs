//! What comes before what, and what is never done.

use super::*;

const K: Name = (0, "k");

fn answered(client: u64, fence: u64) -> Did {
    Did::Answered(client, Reply::Granted(Fence::new(fence).unwrap(), None))
}

#[test]
fn a_release_is_recorded_and_replicated_before_the_waiter_is_answered() {
    let mut world = World::new();
    let first = world.grant(K, "a", 100).get();
    assert_eq!(world.did(), [Did::Replicated("0:k".into(), "a".into(), first), Did::Signalled("0:k".into())]);
    let client = world.wait(K, "b", 100, Patience::Endless);
    assert_eq!(world.did(), [], "joining the line is told to nobody");
    assert_eq!(world.release(K, "a"), Ok(true));
    let fence = first + 1;
    assert_eq!(
        world.did(),
        [
            Did::ClearedTtl("0:k".into()),
            Did::Replicated("0:k".into(), "b".into(), fence),
            Did::Signalled("0:k".into()),
            answered(client, fence),
        ]
    );
    assert_eq!(world.hold(K), Some(("b".into(), fence)));
    world.assert_deadlines();
}

#[test]
fn a_lease_that_ends_is_removed_everywhere_or_handed_on_as_one_change() {
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
    assert_eq!(
        done[1..],
        [Did::Replicated("0:k".into(), "b".into(), fence), Did::Signalled("0:k".into()), answered(client, fence)]
    );
    world.pass(10);
    assert_eq!(world.settle(), None, "nothing to come back for");
    assert_eq!(world.did(), [Did::Removed("0:k".into()), Did::Signalled("0:k".into())]);
    world.assert_deadlines();
}

/// Trap 51: refusals, waiting, extensions and repeated requests are no change to WATCH.
#[test]
fn only_grants_and_ends_are_signalled() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    world.did();
    assert_eq!(world.ask(K, "b", 100, Patience::None), Ok(Outcome::Refused));
    world.wait(K, "b", 100, Patience::Endless);
    assert_eq!(world.extend(K, "a", 500), Ok(true));
    world.grant(K, "a", 900);
    assert_eq!(world.release(K, "b"), Ok(false));
    assert!(!world.did().contains(&Did::Signalled("0:k".into())));
    assert_eq!(world.release(K, "a"), Ok(true));
    assert_eq!(world.did(), [Did::Removed("0:k".into()), Did::Signalled("0:k".into())]);
}

/// Traps 9, 20, 24: paused, loading, a replica.
#[test]
fn nothing_is_written_where_the_server_may_not_write_and_waits_still_run_out() {
    for standing in [Standing::Halted, Standing::Loading, Standing::Replica] {
        let mut world = World::new();
        world.grant(K, "a", 5);
        let long = world.wait(K, "b", 100, Patience::Endless);
        let short = world.wait(K, "c", 100, Patience::For(Millis(7)));
        let held = world.hold(K);
        world.did();
        world.fake.standing = standing;
        world.inbox.announce_fence = true;
        world.pass(6);
        let next = world.settle();
        assert!(next.is_some_and(|next| next <= world.ms(26)), "{standing:?}: {next:?}");
        assert_eq!(world.did(), [], "{standing:?}");
        world.pass(1);
        world.settle();
        assert_eq!(world.did(), [Did::Answered(short, Reply::Null)], "{standing:?}");
        assert_eq!(world.hold(K), held, "{standing:?}");

        world.fake.standing = Standing::Writable;
        world.settle();
        let done = world.did();
        assert!(matches!(done.last(), Some(Did::Answered(client, Reply::Granted(..))) if *client == long), "{done:?}");
        let announced = done.iter().any(|did| matches!(did, Did::ReplicatedFence(_)));
        assert_eq!(announced, standing != Standing::Replica, "a replica's own word is nothing to announce");
        world.assert_deadlines();
    }
}

/// Trap 50: too few replicas, disk errors.
#[test]
fn a_halted_verdict_leaves_the_work_for_a_later_try() {
    let mut world = World::new();
    for key in [(0, "k1"), (0, "k2"), (0, "k3")] {
        world.grant(key, "a", 5);
    }
    let client = world.wait((0, "k2"), "b", 100, Patience::Endless);
    world.did();
    world.fake.verdict = Verdict::Halted;
    for _ in 0..10 {
        world.pass(20);
        world.fake.asked = 0;
        let now = world.fake.now.steady;
        let next = world.run().unwrap();
        assert!(next > now && next <= now + Millis(20), "back in a while, not at once");
        assert_eq!(world.fake.asked, 1, "the server is asked once a try");
        assert_eq!(world.did(), []);
    }
    world.fake.verdict = Verdict::Accepts;
    world.settle();
    assert_eq!(world.fake.data.len(), 1);
    assert_eq!(world.hold((0, "k2")).unwrap().0, "b");
    assert_eq!(world.answers().len(), 1);
    assert_eq!(world.engine.waiters.len(), 0, "client {client} is answered");
    world.assert_deadlines();
}

#[test]
fn a_value_of_another_type_turns_the_line_away_and_refuses_every_command() {
    let mut world = World::new();
    world.grant(K, "a", 100);
    let (one, two) = (world.wait(K, "b", 1, Patience::Endless), world.wait(K, "c", 1, Patience::For(Millis(50))));
    world.did();
    world.set(K);
    assert_eq!(world.settle(), None, "no lease, no wait is left");
    assert_eq!(world.did(), [Did::Answered(one, Reply::WrongType), Did::Answered(two, Reply::WrongType)]);
    assert_eq!(world.ask(K, "a", 1, Patience::Endless), Err(WrongType));
    assert_eq!(world.release(K, "a"), Err(WrongType));
    assert_eq!(world.extend(K, "a", 5), Err(WrongType));
    assert!(matches!(world.fake.data.values().next(), Some(Value::Other)), "the value is untouched");
    assert_eq!(world.did(), []);
    world.assert_deadlines();
}

/// Traps 4, 7, 49.
#[test]
fn a_grant_that_found_nobody_goes_on_unless_its_owner_knows_of_it() {
    let mut world = World::new();
    let lost = |world: &mut World, fence| world.inbox.undelivered.push((at(K).to_id(), fence));
    world.grant(K, "x", 100);
    for who in ["a", "a", "b", "c"] {
        world.wait(K, who, 100, Patience::Endless);
    }
    world.release(K, "x").unwrap();
    let [(1, Reply::Granted(fence, _)), (2, Reply::Granted(same, _))] = world.answers()[..] else { panic!() };
    assert_eq!(fence, same);
    lost(&mut world, fence);
    world.settle();
    assert_eq!(world.hold(K), Some(("a".into(), fence.get())), "the second answer may still arrive");
    lost(&mut world, fence);
    world.settle();
    let [(3, Reply::Granted(next, _))] = world.answers()[..] else { panic!("b was not granted") };
    assert!(next > fence);
    lost(&mut world, fence);
    world.settle();
    assert_eq!(world.hold(K).unwrap().0, "b", "an old grant takes nothing from a newer one");
    world.engine.delivered(at(K), next);
    lost(&mut world, next);
    world.settle();
    assert_eq!(world.hold(K), Some(("b".into(), next.get())));
    world.assert_deadlines();
}

/// Traps 5 and 6.
#[test]
fn a_client_that_leaves_is_let_go_once_and_never_granted() {
    let mut world = World::new();
    world.grant(K, "a", 10);
    let (gone, stays) = (world.wait(K, "b", 5, Patience::For(Millis(3))), world.wait(K, "c", 5, Patience::Endless));
    world.did();
    assert!(world.engine.leave(gone));
    assert!(!world.engine.leave(gone));
    assert_eq!(world.did(), [Did::Abandoned(gone)]);
    assert_eq!(world.engine.waiters.first_end(), None, "its wait is forgotten");
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
    let asked = Asked { owner: made, lease: Millis(5), patience: Patience::Endless };
    let outcome = world.engine.acquire(at(K), &mut world.fake.open(at(K)).unwrap(), now, asked);
    let Ok(Outcome::Waits(ticket)) = outcome else { panic!("{outcome:?}") };
    world.engine.park(ticket, Client { id: 7, log: world.fake.log.clone() }, at(K), Some(made.to_owner()));
    world.release(K, "a").unwrap();
    let answers = world.answers();
    let [(7, Reply::Granted(_, Some(named)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(**named, made.to_owner());
}
