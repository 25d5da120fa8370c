//! Random sequences of everything that commands, clients, operators and time can do to a small data set. Whenever the
//! timer comes to rest, each lock has its one deadline, nothing that is over is left, and nobody waits for a free lock.

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;

#[derive(Clone, Debug)]
enum Event {
    Try(Name, &'static str, u64),
    Wait(Name, &'static str, u64, u64),
    Release(Name, &'static str),
    Extend(Name, &'static str, u64),
    Leave(u64),
    Unlink(Name),
    Set(Name),
    Rename(Name, Name),
    Restore(Name, &'static str, u64),
    Flush(Scope),
    Swap(i32, i32),
    Pass(u64),
    Ring,
    Standing(Standing),
    Verdict(Verdict),
    Foreign(Name),
    /// Hand over the answers that are on their way, or lose them.
    Deliver(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let name = || prop::sample::select(vec![(0, "k"), (0, "l"), (1, "k"), (1, "l")]);
    let who = || prop::sample::select(vec!["a", "b", "c"]);
    let standing =
        prop::sample::select(vec![Standing::Writable, Standing::Halted, Standing::Loading, Standing::Replica]);
    let verdict = prop::sample::select(vec![Verdict::Accepts, Verdict::Halted]);
    let scope = prop::sample::select(vec![Scope::All, Scope::Db(0), Scope::Db(1)]);
    prop_oneof![
        4 => (name(), who(), 1..9u64).prop_map(|(name, who, lease)| Event::Try(name, who, lease)),
        6 => (name(), who(), 1..9u64, 0..9u64).prop_map(|(name, who, lease, ms)| Event::Wait(name, who, lease, ms)),
        4 => (name(), who()).prop_map(|(name, who)| Event::Release(name, who)),
        2 => (name(), who(), 1..9u64).prop_map(|(name, who, lease)| Event::Extend(name, who, lease)),
        1 => (1..9u64).prop_map(Event::Leave),
        1 => name().prop_map(Event::Unlink),
        1 => name().prop_map(Event::Set),
        2 => (name(), name()).prop_map(|(from, to)| Event::Rename(from, to)),
        2 => (name(), who(), 1..9u64).prop_map(|(name, who, lease)| Event::Restore(name, who, lease)),
        1 => scope.prop_map(Event::Flush),
        1 => Just(Event::Swap(0, 1)),
        5 => (1..6u64).prop_map(Event::Pass),
        5 => Just(Event::Ring),
        1 => standing.prop_map(Event::Standing),
        1 => verdict.prop_map(Event::Verdict),
        1 => name().prop_map(Event::Foreign),
        2 => any::<bool>().prop_map(Event::Deliver),
    ]
}

/// A world, and what is on the way in it.
struct Story {
    world: World,
    flying: Vec<(Name, Fence)>,
    clients: BTreeMap<u64, Name>,
    answered: BTreeSet<u64>,
    fences: u64,
}

impl Story {
    fn happen(&mut self, event: &Event) {
        let may_command = self.may_command();
        let world = &mut self.world;
        match *event {
            Event::Try(key, who, lease) => {
                if may_command {
                    let told = world.ask(key, who, lease, Patience::None);
                    assert!(!matches!(told, Ok(Outcome::Waits(_))));
                }
            }
            Event::Wait(key, who, lease, ms) => {
                let patience = if ms == 0 { Patience::Endless } else { Patience::For(Millis(ms)) };
                if may_command {
                    if let Ok(Outcome::Waits(_)) = world.ask(key, who, lease, patience) {
                        self.clients.insert(world.clients, key);
                    }
                }
            }
            Event::Release(key, who) if may_command => drop(world.release(key, who)),
            Event::Extend(key, who, lease) if may_command => drop(world.extend(key, who, lease)),
            Event::Release(..) | Event::Extend(..) => {}
            Event::Leave(client) => drop(world.engine.leave(client)),
            Event::Unlink(key) => drop(world.unlink(key)),
            Event::Set(key) => world.set(key),
            Event::Rename(from, to) if from != to => world.rename(from, to),
            Event::Rename(..) => {}
            Event::Restore(key, who, lease) => {
                self.fences += 100_000;
                world.restore(key, who, lease, self.fences);
            }
            Event::Flush(scope) => world.flush(scope),
            Event::Swap(one, other) => world.swap(one, other),
            Event::Pass(ms) => world.pass(ms),
            Event::Ring => drop(world.run()),
            Event::Standing(standing) => {
                world.fake.standing = standing;
                // A server that is demoted lets all its blocked clients go.
                for client in (1..=world.clients).filter(|_| standing == Standing::Replica) {
                    world.engine.leave(client);
                }
            }
            Event::Verdict(verdict) => world.fake.verdict = verdict,
            Event::Foreign(key) => match world.fake.foreign.iter().position(|foreign| *foreign == key) {
                Some(n) => drop(world.fake.foreign.remove(n)),
                None => world.fake.foreign.push(key),
            },
            Event::Deliver(arrives) => self.deliver(arrives),
        }
        self.read_log();
    }

    /// Commands that decide are refused on a replica and while loading.
    fn may_command(&self) -> bool {
        matches!(self.world.fake.standing, Standing::Writable | Standing::Halted)
    }

    fn deliver(&mut self, arrives: bool) {
        for (key, fence) in std::mem::take(&mut self.flying) {
            if arrives {
                self.world.engine.delivered(at(key), fence);
            } else {
                self.world.inbox.undelivered.push((at(key).to_id(), fence));
            }
        }
    }

    fn read_log(&mut self) {
        for did in self.world.did() {
            match did {
                Did::Answered(client, reply) => {
                    assert!(self.answered.insert(client), "client {client} was answered twice");
                    if let Reply::Granted(fence, _) = reply {
                        self.flying.push((self.clients[&client], fence));
                    }
                }
                Did::Abandoned(client) => assert!(self.answered.insert(client), "client {client} was let go twice"),
                Did::Replicated(..) | Did::Removed(_) | Did::ReplicatedFence(_) => {}
                Did::ClearedTtl(_) | Did::Signalled(_) => {}
            }
        }
    }

    /// The server writes again, and the timer rings until it has nothing to do.
    fn settle(&mut self) {
        let fake = &mut self.world.fake;
        (fake.standing, fake.verdict) = (Standing::Writable, Verdict::Accepts);
        fake.foreign.clear();
        self.world.settle();
        self.read_log();
        assert!(self.world.inbox.is_empty() && self.world.engine.postponed.is_empty());
        self.world.assert_deadlines();
        let now = self.world.fake.now.steady;
        assert!(self.world.engine.first_deadline().is_none_or(|first| first > now), "something is over");
        for key in self.world.engine.waited_for() {
            let data = self.world.fake.data.get(&(key.db, key.name.to_vec()));
            let waiting = self.world.engine.lines.get_mut(key.borrow()).map_or(0, |line| line.len());
            assert!(waiting == 0 || matches!(data, Some(Value::Lock(_))), "{key:?} is free and waited for");
        }
    }

    /// Everything ends: then every client was answered or let go, and nothing is kept.
    fn end(mut self) {
        while self.world.engine.waiters.len() > 0 {
            self.world.pass(10);
            self.settle();
        }
        self.deliver(true);
        assert!(self.clients.keys().all(|client| self.answered.contains(client)), "somebody was never answered");
        assert!(self.world.engine.waited_for().is_empty(), "a line of nobody is kept");
        self.world.assert_ends();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_lock_keeps_one_deadline_and_every_client_gets_one_answer(
        stretches in prop::collection::vec(prop::collection::vec(event(), 1..12), 1..5)
    ) {
        let (world, flying) = (World::new(), Vec::new());
        let (clients, answered) = (BTreeMap::new(), BTreeSet::new());
        let mut story = Story { world, flying, clients, answered, fences: 1_000_000 };
        for stretch in &stretches {
            for event in stretch {
                story.happen(event);
            }
            story.settle();
        }
        story.end();
    }
}
