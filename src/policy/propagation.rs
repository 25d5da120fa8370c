//! Whether anybody listens to what this server replicates: an AOF, a replica, or the backlog that a replica may ask for.
//!
//! Replicating one effect costs some 2400 instructions on Redis 7.0 even if it then goes nowhere. That is a third of what a
//! lock costs. So the module finds out when there is nobody, and then only counts its changes.
//!
//! # Why that is safe
//! The AOF is a flag; INFO tells of replicas and the backlog. After a moment in which there is none of them, nobody can get
//! to hear what is replicated before the server has forked:
//!
//! 1. Without a backlog no replica can continue where it was. It needs a full copy, and its stream begins with the copy.
//! 2. A child process makes the copy. Redis tells of every such child at its birth, within the iteration of the event loop
//!    in which the copy begins and before any later command runs.
//! 3. What is written between a replica's request and the child's birth goes at most into a backlog that begins there and
//!    that nobody can ask for: it carries a new replication id, which nobody knows before the first copy.
//! 4. An AOF that is switched on (CONFIG SET appendonly) begins with a rewrite. Nothing is written to it before the child
//!    that writes its base is born.
//!
//! So the answer "nobody" holds until a child is born or the role changes. After that the server is asked again.

use crate::lock::{Millis, Steady};

/// How often INFO is asked while the answer is not known to be "nobody", in milliseconds.
const ASK_EVERY: Millis = Millis(1000);

/// What the server's flags tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The server loads a data set.
    pub is_loading: bool,
    /// The server follows a primary.
    pub is_replica: bool,
    /// The server writes an AOF.
    pub has_aof: bool,
    /// The server is a node of a cluster. It may also move slots, which INFO does not tell.
    pub is_cluster: bool,
}

impl Circumstances {
    /// Whether INFO could tell that nobody listens.
    fn may_be_alone(self) -> bool {
        !(self.is_loading || self.is_replica || self.has_aof || self.is_cluster)
    }
}

/// What is known of those who listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    has_no_listeners: bool,
    ask_at: Steady,
}

impl Propagation {
    /// At the start somebody may listen.
    pub const fn new() -> Propagation {
        Propagation { has_no_listeners: false, ask_at: Steady(i64::MIN) }
    }

    /// Whether nobody listens now.
    pub fn has_no_listeners(&self) -> bool {
        self.has_no_listeners
    }

    /// A child was born or the role changed: somebody may listen from now on.
    pub fn listeners_may_have_come(&mut self) {
        self.has_no_listeners = false;
    }

    /// Asks the server again, once in a while. `circumstances` and `serves_replicas` are asked only then.
    pub fn refresh(
        &mut self,
        now: Steady,
        circumstances: impl FnOnce() -> Circumstances,
        serves_replicas: impl FnOnce() -> bool,
    ) {
        if self.has_no_listeners || now < self.ask_at {
            return;
        }
        self.ask_at = now + ASK_EVERY;
        self.has_no_listeners = circumstances().may_be_alone() && !serves_replicas();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALONE: Circumstances =
        Circumstances { is_loading: false, is_replica: false, has_aof: false, is_cluster: false };

    fn refreshed(circumstances: Circumstances, serves_replicas: bool) -> Propagation {
        let mut propagation = Propagation::new();
        propagation.refresh(Steady(0), || circumstances, || serves_replicas);
        propagation
    }

    #[test]
    fn somebody_may_listen_until_the_server_says_otherwise() {
        assert!(!Propagation::new().has_no_listeners());
        assert!(refreshed(ALONE, false).has_no_listeners());
        assert!(!refreshed(ALONE, true).has_no_listeners());
    }

    #[test]
    fn each_circumstance_alone_is_a_listener() {
        for circumstances in [
            Circumstances { is_loading: true, ..ALONE },
            Circumstances { is_replica: true, ..ALONE },
            Circumstances { has_aof: true, ..ALONE },
            Circumstances { is_cluster: true, ..ALONE },
        ] {
            assert!(!refreshed(circumstances, false).has_no_listeners(), "{circumstances:?}");
        }
    }

    #[test]
    fn info_is_not_asked_when_a_flag_has_told_it() {
        Propagation::new().refresh(Steady(0), || Circumstances { has_aof: true, ..ALONE }, || panic!("asked"));
    }

    #[test]
    fn the_server_is_asked_once_a_second_while_somebody_listens() {
        let mut propagation = refreshed(ALONE, true);
        propagation.refresh(Steady(999_999), || panic!("too early"), || false);
        propagation.refresh(Steady(1_000_000), || ALONE, || true);
        assert!(!propagation.has_no_listeners());
        propagation.refresh(Steady(2_000_000), || ALONE, || false);
        assert!(propagation.has_no_listeners());
        propagation.refresh(Steady(9_000_000), || panic!("it is known"), || true);
    }

    #[test]
    fn a_child_or_a_role_ends_what_was_known() {
        let mut propagation = refreshed(ALONE, false);
        propagation.listeners_may_have_come();
        assert!(!propagation.has_no_listeners());
        propagation.refresh(Steady(1_000_000), || ALONE, || false);
        assert!(propagation.has_no_listeners());
    }
}
