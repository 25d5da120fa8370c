//! Whether this server decides, or follows a primary that does.

use crate::wire::Trust;

/// The server's role in replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It decides.
    Primary,
    /// It applies what its primary decided.
    Replica,
}

impl Role {
    /// Whether commands of clients may change locks here. A replica never decides, even if it lets clients write.
    pub fn may_decide(self) -> bool {
        match self {
            Role::Primary => true,
            Role::Replica => false,
        }
    }
}

/// Whether the data set is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataSet {
    /// It is.
    Complete,
    /// The server loads it.
    Loading,
}

/// Who runs one of the internal commands of replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectSource {
    /// The primary that this server follows.
    Primary,
    /// The AOF that is being loaded.
    AppendOnlyFile,
    /// Anybody else.
    Client,
}

impl EffectSource {
    /// Whether the effect is applied. A client cannot decide in the server's place.
    pub fn may_apply(self) -> bool {
        match self {
            EffectSource::Primary | EffectSource::AppendOnlyFile => true,
            EffectSource::Client => false,
        }
    }
}

/// How far a stored lock is trusted when it is loaded.
pub fn trust(role: Role, data_set: DataSet) -> Trust {
    match (data_set, role) {
        (DataSet::Loading, Role::Primary | Role::Replica) => Trust::OwnData,
        (DataSet::Complete, Role::Replica) => Trust::Stream,
        (DataSet::Complete, Role::Primary) => Trust::Payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_primary_decides() {
        assert!(Role::Primary.may_decide());
        assert!(!Role::Replica.may_decide());
    }

    #[test]
    fn effects_come_from_the_primary_or_the_aof() {
        assert!(EffectSource::Primary.may_apply() && EffectSource::AppendOnlyFile.may_apply());
        assert!(!EffectSource::Client.may_apply());
    }

    #[test]
    fn a_payload_from_a_client_is_trusted_least() {
        assert_eq!(trust(Role::Primary, DataSet::Complete), Trust::Payload);
        assert_eq!(trust(Role::Replica, DataSet::Complete), Trust::Stream);
        assert_eq!(trust(Role::Primary, DataSet::Loading), Trust::OwnData);
        assert_eq!(trust(Role::Replica, DataSet::Loading), Trust::OwnData);
    }
}
