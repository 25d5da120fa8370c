//! More holds expire together than one step ends. Those that are left over must keep nobody out.

use proptest::prelude::*;

use super::*;

/// The time at which every test begins.
const START: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };
/// The number of owners: several times as many as one step ends.
const OWNERS: usize = 20;

/// The n-th owner.
fn owner(n: usize) -> Owner {
    OwnerRef::new(format!("owner {n}").as_bytes()).unwrap().to_owner()
}

/// The time so many milliseconds after the start.
fn at(ms: i64) -> Now {
    Now { steady: Steady(START.steady.0 + 1000 * ms), unix: UnixMicros(START.unix.0 + 1000 * ms as u64) }
}

/// An input to a lock. Times are in milliseconds.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// Asks for the lock: mode, lease, and whether to wait.
    Acquire(Mode, u64, bool),
    /// Releases it.
    Release,
    /// Makes an exclusive hold shared.
    Downgrade,
    /// Sets the lease.
    Extend(u64),
    /// A step of the timer.
    Timer,
}

/// A lock, and the effects of all its steps so far.
struct Lock {
    holders: Holders,
    queue: WaitQueue,
    fences: FenceClock,
    /// The number of tickets that were given.
    tickets: u64,
    effects_so_far: Vec<Effect>,
}

impl Lock {
    /// A free lock.
    fn free() -> Lock {
        let (holders, queue, fences) = (Holders::Free, WaitQueue::default(), FenceClock::new());
        Lock { holders, queue, fences, tickets: 0, effects_so_far: Vec::new() }
    }

    /// A lock that all owners hold together from the start on, for one millisecond.
    fn with_shared_holders() -> Lock {
        let mut lock = Lock::free();
        for n in 0..OWNERS {
            lock.step(START, n, Input::Acquire(Mode::Shared(None), 1, false));
        }
        lock
    }

    /// Applies an input of the n-th owner. Returns the result, and how many expired holds this step ended.
    fn step(&mut self, now: Now, n: usize, input: Input) -> (Acquired, usize) {
        let (owner, mut effects) = (owner(n), Vec::new());
        let Lock { holders, queue, fences, .. } = self;
        let rights = &mut BTreeSet::new();
        let mut step =
            Step { holders, queue, fences, holders_max: OWNERS, may_grant: true, now, rights, effects: &mut effects };
        let as_acquired = |done| if done { Acquired::Waits } else { Acquired::Refused };
        let owner = owner.borrow();
        let result = match input {
            Input::Acquire(mode, lease, waits) => {
                self.tickets += 1;
                let wait = if waits { Wait::Join { ticket: Ticket(self.tickets), until: None } } else { Wait::No };
                step.acquire(
                    Request { owner, mode, lease: Millis(lease), max: None, delay: None, session: None, user: None },
                    wait,
                )
            }
            Input::Release => as_acquired(step.release(owner, None, None) == Released::Yes),
            Input::Downgrade => as_acquired(step.downgrade(owner, None)),
            Input::Extend(lease) => {
                as_acquired(step.extend(Extend { owner, lease: Some(Millis(lease)), fence: None, raise: None }))
            }
            Input::Timer => {
                step.advance();
                Acquired::Refused
            }
        };
        let ended = effects.iter().filter(|effect| matches!(effect, Effect::Ended(_, End::Expired))).count();
        for effect in effects {
            match effect {
                // The engine reports these later, one by one.
                Effect::Expired(holders) => {
                    let ends = holders.iter().map(|shared| Effect::Ended(shared.hold.clone(), End::Expired));
                    self.effects_so_far.extend(ends);
                }
                effect => self.effects_so_far.push(effect),
            }
        }
        (result, ended)
    }

    /// Lets the timer run until no expired hold is left.
    fn end_all_expired(&mut self, now: Now) {
        let mut steps = 0;
        while self.holders.first_expired(now.steady).is_some() {
            assert!(
                self.step(now, 0, Input::Timer).1 > 0,
                "a step of the timer ended nothing, so no other would follow"
            );
            steps += 1;
            assert!(steps <= OWNERS, "the timer needs too many steps");
        }
    }

    /// The holds that have not expired: owner, mode, fence, and when the lease expires.
    fn held(&self, now: Now) -> Vec<(Owner, Mode, Fence, Steady)> {
        let running = self.holders.iter().filter(|(_, hold)| !hold.is_expired(now.steady));
        running.map(|(mode, hold)| (hold.owner.clone(), mode, hold.fence, hold.expires_at)).collect()
    }

    /// The effects so far, as text: first those that tell of expired holds, sorted, because their order does not
    /// matter; then all others.
    fn sorted_effects(&self) -> (Vec<String>, Vec<String>) {
        let is_end = |effect: &&Effect| matches!(effect, Effect::Ended(_, End::Expired));
        let (mut ends, others): (Vec<&Effect>, Vec<&Effect>) = self.effects_so_far.iter().partition(is_end);
        let show = |effects: &[&Effect]| effects.iter().map(|effect| format!("{effect:?}")).collect::<Vec<_>>();
        ends.sort_by_key(|effect| format!("{effect:?}"));
        (show(&ends), show(&others))
    }
}

#[test]
fn one_step_ends_some_expired_holds_and_later_steps_report_every_other_one_once() {
    let mut lock = Lock::with_shared_holders();
    let (_, ended) = lock.step(at(1), 0, Input::Timer);
    assert!((1..OWNERS / 2).contains(&ended), "{ended}");
    lock.end_all_expired(at(1));
    assert_eq!(lock.holders, Holders::Free);
    assert_eq!(lock.sorted_effects().0.len(), OWNERS);
}

#[test]
fn requests_find_a_free_lock_when_all_leases_have_expired() {
    for mode in [Mode::Exclusive, Mode::Shared(Limit::new(1)), Mode::Shared(None)] {
        let mut lock = Lock::with_shared_holders();
        // The owner whose expired hold is ended last, so that it is still there.
        let (answer, ended) = lock.step(at(1), OWNERS - 1, Input::Acquire(mode, 5, false));
        assert!(matches!(answer, Acquired::Granted(_)), "{mode:?}: {answer:?}");
        assert!(ended < OWNERS / 2, "{ended} holds ended in one step");
        assert_eq!(lock.held(at(1)).len(), 1);
        lock.end_all_expired(at(1));
        assert_eq!(lock.sorted_effects().0.len(), OWNERS);
        assert_eq!(lock.holders.len(), 1);
    }
}

/// Generates any input.
fn input() -> impl Strategy<Value = Input> {
    let mode = prop_oneof![
        2 => Just(Mode::Exclusive),
        4 => Just(Mode::Shared(None)),
        2 => (1..4u64).prop_map(|holders| Mode::Shared(Limit::new(holders))),
    ];
    prop_oneof![
        6 => (mode, 1..6u64, any::<bool>()).prop_map(|(mode, lease, waits)| Input::Acquire(mode, lease, waits)),
        2 => Just(Input::Release),
        1 => Just(Input::Downgrade),
        2 => (1..6u64).prop_map(Input::Extend),
        1 => Just(Input::Timer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Compares a lock whose timer never runs in time with one whose timer ends every expired hold at once.
    #[test]
    fn a_lock_whose_timer_is_late_answers_like_one_whose_timer_is_punctual(
        groups in prop::collection::vec(prop::collection::vec((0..OWNERS, input(), 0..2i64), 0..12), 1..4),
    ) {
        let (mut late, mut punctual, mut ms) = (Lock::free(), Lock::free(), 0);
        for inputs in groups {
            for n in 0..OWNERS {
                let together = Input::Acquire(Mode::Shared(None), 1 + n as u64 % 3, false);
                prop_assert_eq!(late.step(at(ms), n, together).0, punctual.step(at(ms), n, together).0);
            }
            ms += 2;
            for (n, input, passed) in inputs {
                ms += passed;
                punctual.end_all_expired(at(ms));
                let input = match input {
                    // One step serves at most two waiters.
                    Input::Acquire(mode, lease, waits) => {
                        Input::Acquire(mode, lease, waits && punctual.queue.len() < 2)
                    }
                    other => other,
                };
                let (result, expected) = (late.step(at(ms), n, input), punctual.step(at(ms), n, input));
                prop_assert_eq!(result.0, expected.0, "{:?} of owner {}", input, n);
                prop_assert!(result.1 <= OWNERS / 2, "{} holds ended in one step", result.1);
                prop_assert_eq!(late.held(at(ms)), punctual.held(at(ms)));
                prop_assert_eq!(late.queue.len(), punctual.queue.len());
                late.queue.assert_sound();
            }
        }
        late.end_all_expired(at(ms));
        punctual.end_all_expired(at(ms));
        prop_assert_eq!(late.sorted_effects(), punctual.sorted_effects());
        prop_assert_eq!(late.holders, punctual.holders);
    }
}
