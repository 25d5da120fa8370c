//! A primary and its replica that must hold the same data.

use super::inspect::{assert_both_clean, digest, until_synced};
use super::server::Server;

/// A primary with an AOF, and its replica.
pub struct Pair {
    /// The primary.
    pub primary: Server,
    /// The replica, in step with the primary at first.
    pub replica: Server,
}

impl Pair {
    /// Starts both servers and waits until the replica is in step.
    pub fn start() -> Pair {
        let primary = Server::builder().aof().start();
        let replica = Server::builder().replica_of(&primary).start();
        until_synced(&primary, &replica);
        Pair { primary, replica }
    }

    /// A pair of servers that tell their modules which keys move; `None` if this version of the server does not.
    pub fn hearing_of_moves() -> Option<Pair> {
        let pair = Pair::start();
        pair.primary.hears_of_moved_keys().then_some(pair)
    }

    /// The replica and the replayed AOF hold what the primary holds. Ends every connection to the primary.
    #[track_caller]
    pub fn assert_same_everywhere(&self) {
        until_synced(&self.primary, &self.replica);
        let data = digest(&self.primary);
        assert_eq!(digest(&self.replica), data, "the replica differs from its primary");
        self.primary.restart();
        assert_eq!(digest(&self.primary), data, "the replayed AOF differs from what was written");
        until_synced(&self.primary, &self.replica);
        assert_eq!(digest(&self.replica), data, "the replica differs from its restarted primary");
    }

    /// The end of a test: all locks are free, and neither server has logged an error.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_both_clean(&self.primary, &self.replica);
    }
}
