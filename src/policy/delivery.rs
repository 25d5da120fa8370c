//! When a grant counts as delivered.
//!
//! A client whose output buffer overflows, or whose ACL user is deleted, is closed by the server only at the end of the
//! iteration of the event loop in which that happens. Until then it takes answers like any other client, and they are lost.
//! So a grant counts as delivered when that iteration is over, or when its client was closed in it and may have been sent
//! the grant.
//!
//! In doubt a grant was delivered. A grant that was not delivered ends with its lease. A grant that was delivered and is
//! taken back would be held twice.
//!
//! The iteration is over when the server has slept, before it reads from any client: a client that has read its grant and
//! leaves at once may be the first it reads from. The server tells its modules of every sleep if they ask for that, which
//! costs some 800 instructions an iteration. So it is asked only while grants are in flight.
//!
//! Known limit: if Valkey's I/O threads send an answer, the server learns of it later in its iteration. A client that
//! another client closes between the two (CLIENT KILL, ACL DELUSER), in the iteration of its grant, counts as not told.

use std::mem;

use super::client_list::Ending;
use crate::lock::{Millis, Steady};

/// How long an iteration may take after a grant, in milliseconds, if the server serves no other client in between.
const LONG: Millis = Millis(50);
/// How long nothing must have been granted to waiters before the server need not tell of its sleeps, in milliseconds.
const IDLE: Millis = Millis(1000);
/// For how many grants the memory is kept.
const KEPT: usize = 256;

// While grants are in flight they must not be taken for delivered because the server fell silent.
const _: () = assert!(LONG.0 < IDLE.0);

/// A grant on its way to a client's socket.
#[derive(Debug, PartialEq, Eq)]
pub struct InFlight<G> {
    /// The client's id.
    pub client: u64,
    /// What it was granted.
    pub grant: G,
}

/// What keeps the server busy, so that it may serve other clients without telling of a sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Business {
    /// A script runs, perhaps for long.
    pub is_in_script: bool,
    /// A data set is loaded.
    pub is_loading: bool,
}

/// The grants of the current iteration that are in flight.
#[derive(Debug)]
pub struct Deliveries<G> {
    in_flight: Vec<InFlight<G>>,
    /// When the first grant of the last iteration with grants was sent.
    since: Steady,
    /// Whether the server tells of its sleeps.
    is_told_of_sleeps: bool,
}

impl<G> Deliveries<G> {
    /// Nothing is in flight.
    pub const fn new() -> Deliveries<G> {
        Deliveries { in_flight: Vec::new(), since: Steady(0), is_told_of_sleeps: false }
    }

    /// Whether no grant of this iteration is in flight yet.
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Remembers when the first grant of an iteration is sent. True if the server must be asked to tell of its sleeps.
    pub fn begin(&mut self, now: Steady) -> bool {
        self.since = now;
        !self.is_told_of_sleeps
    }

    /// The server tells of its sleeps from now on.
    pub fn told_of_sleeps(&mut self) {
        self.is_told_of_sleeps = true;
    }

    /// Adds a grant that was sent to a client. True if it counts as delivered at once, because nobody would tell later.
    pub fn add(&mut self, client: u64, grant: G) -> bool {
        self.in_flight.push(InFlight { client, grant });
        !self.is_told_of_sleeps
    }

    /// Whether a grant to this client is in flight.
    pub fn has_grant_for(&self, client: u64) -> bool {
        self.in_flight.iter().any(|in_flight| in_flight.client == client)
    }

    /// Whether a client that ends like this was not sent what it was granted in this iteration.
    ///
    /// While the server is busy with a script, a load or another module's command for long, it serves other clients in
    /// between and tells of no sleep. Then the mark may be that of a client that was sent its grant and whose end was read
    /// since.
    pub fn is_lost(&self, ending: Ending, business: Business, now: Steady) -> bool {
        let may_have_served = business.is_in_script || business.is_loading || self.since + LONG < now;
        ending.has_unsent || (ending.is_marked && !may_have_served)
    }

    /// Takes out what was granted to this client.
    pub fn take_grants_of(&mut self, client: u64) -> Vec<G> {
        self.in_flight.extract_if(.., |in_flight| in_flight.client == client).map(|lost| lost.grant).collect()
    }

    /// Takes out everything: the iteration is over.
    pub fn take_all(&mut self) -> Vec<InFlight<G>> {
        mem::take(&mut self.in_flight)
    }

    /// Takes the memory of [`Deliveries::take_all`] back, unless it is much.
    pub fn reuse(&mut self, mut memory: Vec<InFlight<G>>) {
        if memory.capacity() <= KEPT {
            memory.clear();
            self.in_flight = memory;
        }
    }

    /// When the server need not tell of its sleeps any more, if nothing is granted until then.
    pub fn idle_at(&self) -> Steady {
        self.since + IDLE
    }

    /// What to do about the server's telling of sleeps.
    pub fn check_idle(&mut self, now: Steady) -> Idle {
        if !self.is_told_of_sleeps {
            return Idle::NotTold;
        }
        let idle_at = self.idle_at();
        if idle_at > now {
            return Idle::CheckAt(idle_at);
        }
        self.is_told_of_sleeps = false;
        Idle::Unsubscribe
    }
}

/// What to do about the server's telling of sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: the server does not tell.
    NotTold,
    /// Look again at this moment.
    CheckAt(Steady),
    /// Ask the server to tell no more.
    Unsubscribe,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKED: Ending = Ending { is_marked: true, has_unsent: false };
    const UNSENT: Ending = Ending { is_marked: false, has_unsent: true };
    const FREE: Business = Business { is_in_script: false, is_loading: false };

    fn granted(now: Steady) -> Deliveries<&'static str> {
        let mut deliveries = Deliveries::new();
        assert!(deliveries.begin(now), "the server must be asked");
        deliveries.told_of_sleeps();
        assert!(!deliveries.add(7, "a"));
        deliveries
    }

    #[test]
    fn a_client_with_unsent_answers_lost_its_grant() {
        let deliveries = granted(Steady(0));
        for business in [FREE, Business { is_in_script: true, is_loading: true }] {
            assert!(deliveries.is_lost(UNSENT, business, Steady(0)));
            assert!(deliveries.is_lost(UNSENT, business, Steady(9_000_000)));
        }
    }

    #[test]
    fn a_marked_client_lost_its_grant_within_50_ms() {
        let deliveries = granted(Steady(1_000));
        assert!(deliveries.is_lost(MARKED, FREE, Steady(1_000)));
        assert!(deliveries.is_lost(MARKED, FREE, Steady(51_000)));
        assert!(!deliveries.is_lost(MARKED, FREE, Steady(51_001)), "others may have been served");
    }

    #[test]
    fn a_marked_client_may_have_been_sent_its_grant_while_the_server_is_busy() {
        let deliveries = granted(Steady(0));
        assert!(!deliveries.is_lost(MARKED, Business { is_in_script: true, ..FREE }, Steady(0)));
        assert!(!deliveries.is_lost(MARKED, Business { is_loading: true, ..FREE }, Steady(0)));
    }

    #[test]
    fn in_doubt_a_grant_was_delivered() {
        assert!(!granted(Steady(0)).is_lost(Ending::default(), FREE, Steady(0)));
    }

    #[test]
    fn only_the_closed_clients_grants_are_taken_out() {
        let mut deliveries = granted(Steady(0));
        deliveries.add(8, "b");
        deliveries.add(7, "c");
        assert!(deliveries.has_grant_for(7) && deliveries.has_grant_for(8) && !deliveries.has_grant_for(9));
        assert_eq!(deliveries.take_grants_of(7), ["a", "c"]);
        assert!(!deliveries.has_grant_for(7));
        assert_eq!(deliveries.take_all(), [InFlight { client: 8, grant: "b" }]);
        assert!(deliveries.is_empty());
    }

    #[test]
    fn a_grant_counts_at_once_if_the_server_does_not_tell_of_sleeps() {
        let mut deliveries = Deliveries::new();
        assert!(deliveries.begin(Steady(0)));
        assert!(deliveries.add(7, "a"));
        deliveries.told_of_sleeps();
        assert!(!deliveries.begin(Steady(1)), "it tells already");
        assert!(!deliveries.add(7, "b"));
    }

    #[test]
    fn the_server_tells_of_sleeps_until_a_second_after_the_last_first_grant() {
        let mut deliveries = granted(Steady(5));
        assert_eq!(deliveries.idle_at(), Steady(1_000_005));
        assert_eq!(deliveries.check_idle(Steady(1_000_004)), Idle::CheckAt(Steady(1_000_005)));
        assert_eq!(deliveries.check_idle(Steady(1_000_005)), Idle::Unsubscribe);
        assert_eq!(deliveries.check_idle(Steady(1_000_005)), Idle::NotTold);
        assert!(deliveries.begin(Steady(2_000_000)), "it must be asked again");
    }

    #[test]
    fn the_memory_of_many_grants_is_given_back() {
        let mut deliveries = granted(Steady(0));
        let memory = deliveries.take_all();
        deliveries.reuse(memory);
        assert!(deliveries.is_empty());
        deliveries.reuse(Vec::with_capacity(KEPT + 1));
        assert!(deliveries.in_flight.capacity() <= KEPT);
    }
}
