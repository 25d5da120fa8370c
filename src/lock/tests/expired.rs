//! More leases that have run out than one step ends: what is left over counts for nobody.

use proptest::prelude::*;

use super::*;

const START: Now = Now { steady: Steady(1_000_000), unix: UnixMicros(1_000_000) };
/// More than a step ends, several times over.
const OWNERS: usize = 20;

fn owner(n: usize) -> Owner {
    OwnerRef::new(format!("owner {n}").as_bytes()).unwrap().to_owner()
}

fn after(ms: i64) -> Now {
    Now { steady: Steady(START.steady.0 + 1000 * ms), unix: UnixMicros(START.unix.0 + 1000 * ms as u64) }
}

/// What is asked of a lock.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Acquire(Mode, u64, bool),
    Release,
    Downgrade,
    Extend(u64),
    Nothing,
}

/// A lock, and what it told.
struct Lock {
    holders: Holders,
    queue: WaitQueue,
    fences: FenceClock,
    tickets: u64,
    returned: Vec<Effect>,
}

impl Lock {
    fn free() -> Lock {
        let (holders, queue, fences) = (Holders::Free, WaitQueue::default(), FenceClock::new());
        Lock { holders, queue, fences, tickets: 0, returned: Vec::new() }
    }

    /// A lock that all hold together for a millisecond from the start on.
    fn with_shared_holders() -> Lock {
        let mut lock = Lock::free();
        for n in 0..OWNERS {
            lock.step(START, n, Ask::Acquire(Mode::Shared(None), 1, false));
        }
        lock
    }

    /// What is answered, and how many holds this one step ended.
    fn step(&mut self, now: Now, n: usize, request: Ask) -> (Acquired, usize) {
        let (owner, mut effects) = (owner(n), Vec::new());
        let Lock { holders, queue, fences, .. } = self;
        let rights = &mut BTreeSet::new();
        let mut step = Step { holders, queue, fences, holders_max: OWNERS, now, rights, effects: &mut effects };
        let yes = |done| if done { Acquired::Waits } else { Acquired::Refused };
        let owner = owner.borrow();
        let answer = match request {
            Ask::Acquire(mode, lease, waits) => {
                self.tickets += 1;
                let wait = if waits { Wait::Join { ticket: Ticket(self.tickets), until: None } } else { Wait::No };
                step.acquire(Request { owner, mode, lease: Millis(lease), session: None, user: None }, wait)
            }
            Ask::Release => yes(step.release(owner, None)),
            Ask::Downgrade => yes(step.downgrade(owner, None)),
            Ask::Extend(lease) => {
                yes(step.extend(Extend { owner, lease: Some(Millis(lease)), fence: None, raise: None }))
            }
            Ask::Nothing => {
                step.advance();
                Acquired::Refused
            }
        };
        let ended = effects.iter().filter(|effect| matches!(effect, Effect::Ended(_, End::Expired))).count();
        for effect in effects {
            match effect {
                // They are told of later, one by one.
                Effect::Expired(holders) => {
                    let ends = holders.iter().map(|shared| Effect::Ended(shared.hold.clone(), End::Expired));
                    self.returned.extend(ends);
                }
                effect => self.returned.push(effect),
            }
        }
        (answer, ended)
    }

    /// Lets the timer ring until nothing is over.
    fn settle(&mut self, now: Now) {
        let mut steps = 0;
        while self.holders.first_expired(now.steady).is_some() {
            assert!(self.step(now, 0, Ask::Nothing).1 > 0, "nothing brings the next step");
            steps += 1;
            assert!(steps <= OWNERS, "it never ends");
        }
    }

    /// Who holds, how, and until when.
    fn held(&self, now: Now) -> Vec<(Owner, Mode, Fence, Steady)> {
        let running = self.holders.iter().filter(|(_, hold)| !hold.is_expired(now.steady));
        running.map(|(mode, hold)| (hold.owner.clone(), mode, hold.fence, hold.expires_at)).collect()
    }

    /// What it told: the ends of leases, in no order, and the rest.
    fn sorted(&self) -> (Vec<String>, Vec<String>) {
        let is_end = |effect: &&Effect| matches!(effect, Effect::Ended(_, End::Expired));
        let (mut ends, others): (Vec<&Effect>, Vec<&Effect>) = self.returned.iter().partition(is_end);
        let show = |effects: &[&Effect]| effects.iter().map(|effect| format!("{effect:?}")).collect::<Vec<_>>();
        ends.sort_by_key(|effect| format!("{effect:?}"));
        (show(&ends), show(&others))
    }
}

#[test]
fn a_step_ends_some_and_in_the_end_all_are_told_of_once() {
    let mut lock = Lock::with_shared_holders();
    let (_, ended) = lock.step(after(1), 0, Ask::Nothing);
    assert!((1..OWNERS / 2).contains(&ended), "{ended}");
    lock.settle(after(1));
    assert_eq!(lock.holders, Holders::Free);
    assert_eq!(lock.sorted().0.len(), OWNERS);
}

#[test]
fn requests_meet_a_free_lock_when_all_are_over() {
    for mode in [Mode::Exclusive, Mode::Shared(Limit::new(1)), Mode::Shared(None)] {
        let mut lock = Lock::with_shared_holders();
        // The last of them: no step has come to its old hold yet.
        let (answer, ended) = lock.step(after(1), OWNERS - 1, Ask::Acquire(mode, 5, false));
        assert!(matches!(answer, Acquired::Granted(_)), "{mode:?}: {answer:?}");
        assert!(ended < OWNERS / 2, "{ended} in one step");
        assert_eq!(lock.held(after(1)).len(), 1);
        lock.settle(after(1));
        assert_eq!(lock.sorted().0.len(), OWNERS);
        assert_eq!(lock.holders.len(), 1);
    }
}

fn request() -> impl Strategy<Value = Ask> {
    let mode = prop_oneof![
        2 => Just(Mode::Exclusive),
        4 => Just(Mode::Shared(None)),
        2 => (1..4u64).prop_map(|holders| Mode::Shared(Limit::new(holders))),
    ];
    prop_oneof![
        6 => (mode, 1..6u64, any::<bool>()).prop_map(|(mode, lease, waits)| Ask::Acquire(mode, lease, waits)),
        2 => Just(Ask::Release),
        1 => Just(Ask::Downgrade),
        2 => (1..6u64).prop_map(Ask::Extend),
        1 => Just(Ask::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whether the timer came in time or not, everybody is answered the same.
    #[test]
    fn a_lock_that_lags_behind_answers_as_one_that_does_not(
        groups in prop::collection::vec(prop::collection::vec((0..OWNERS, request(), 0..2i64), 0..12), 1..4),
    ) {
        let (mut lags, mut settled, mut ms) = (Lock::free(), Lock::free(), 0);
        for requests in groups {
            for n in 0..OWNERS {
                let together = Ask::Acquire(Mode::Shared(None), 1 + n as u64 % 3, false);
                prop_assert_eq!(lags.step(after(ms), n, together).0, settled.step(after(ms), n, together).0);
            }
            ms += 2;
            for (n, request, passed) in requests {
                ms += passed;
                settled.settle(after(ms));
                let request = match request {
                    // A step serves no more of a queue than that.
                    Ask::Acquire(mode, lease, waits) => {
                        Ask::Acquire(mode, lease, waits && settled.queue.len() < 2)
                    }
                    other => other,
                };
                let (theirs, expected) = (lags.step(after(ms), n, request), settled.step(after(ms), n, request));
                prop_assert_eq!(theirs.0, expected.0, "{:?} of {}", request, n);
                prop_assert!(theirs.1 <= OWNERS / 2, "{} ends in one step", theirs.1);
                prop_assert_eq!(lags.held(after(ms)), settled.held(after(ms)));
                prop_assert_eq!(lags.queue.len(), settled.queue.len());
                lags.queue.assert_sound();
            }
        }
        lags.settle(after(ms));
        settled.settle(after(ms));
        prop_assert_eq!(lags.sorted(), settled.sorted());
        prop_assert_eq!(lags.holders, settled.holders);
    }
}
