//! Whether a connected client runs a command, or a script, a function or another module does.
//!
//! Scripts, functions and calls from other modules run on a client of the server's own. It never closes, may have no user,
//! and may bear the id of a connection that it has nothing to do with: the server lends it from a pool, and a client that
//! served a thread of a module there keeps the id of the connection for which it did.

use super::client_list::Activity;

/// What the server's flags tell of how a command runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// A script or a function runs.
    pub is_in_script: bool,
    /// The command may not wait.
    pub forbids_waiting: bool,
    /// A transaction is executed.
    pub is_in_transaction: bool,
}

/// Whether the server has other modules, which alone call commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherModules {
    /// It never had any that call commands.
    Absent,
    /// It has some, or had: what they left in the pool of clients stays there.
    Present,
}

/// What decides whether another module's call may be hidden from the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Whether the server has other modules that may call.
    pub others: OtherModules,
    /// Whether the server lets such a call wait (Redis 7.2 and later), so that no flag tells it from a client's command.
    pub calls_can_wait: bool,
}

impl Environment {
    /// Whether a command may be another module's call although no flag says so, so that its connection must be looked for
    /// before its client is blocked.
    pub fn may_hide_calls(self) -> bool {
        self.others == OtherModules::Present && self.calls_can_wait
    }

    /// Whether [`Run::is_call`] is the whole truth about this command. If not, only CLIENT LIST tells a call from a command.
    pub fn shows_calls(self, run: Run) -> bool {
        match self.others {
            OtherModules::Absent => true,
            OtherModules::Present => !(run.is_in_transaction || self.calls_can_wait),
        }
    }
}

/// This module, and those that Redis and Valkey are shipped with. They call no commands of others, except for scripts.
const CALL_NOTHING: [&[u8]; 9] =
    [b"redislock", b"vectorset", b"lua", b"search", b"ReJSON", b"json", b"timeseries", b"bf", b"ldap"];

/// Whether the module of this name calls no commands of other modules.
pub fn calls_nothing(module: &[u8]) -> bool {
    CALL_NOTHING.contains(&module)
}

impl Run {
    /// Whether a script, a function or another module's call runs, as far as the flags tell. They do not tell of a call in a
    /// transaction, nor of a call that may wait.
    pub fn is_call(self) -> bool {
        self.is_in_script || (self.forbids_waiting && !self.is_in_transaction)
    }

    /// Whether a connection that does this runs the command, a LOCK.ACQUIRE. A call in a transaction that bears the id of
    /// the very connection whose transaction it is cannot be told from that connection's own command, and passes for it.
    pub fn is_run_by(self, activity: Activity) -> bool {
        if self.is_in_transaction {
            activity.is_in_transaction && activity.is_executing
        } else {
            activity.is_acquiring && activity.has_arguments && !activity.is_blocked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Run = Run { is_in_script: false, forbids_waiting: false, is_in_transaction: false };

    fn environment(others: OtherModules, calls_can_wait: bool) -> Environment {
        Environment { others, calls_can_wait }
    }

    #[test]
    fn scripts_and_commands_that_may_not_wait_are_calls() {
        assert!(!PLAIN.is_call());
        assert!(Run { is_in_script: true, ..PLAIN }.is_call());
        assert!(Run { is_in_script: true, is_in_transaction: true, ..PLAIN }.is_call());
        assert!(Run { forbids_waiting: true, ..PLAIN }.is_call());
        let in_transaction = Run { forbids_waiting: true, is_in_transaction: true, ..PLAIN };
        assert!(!in_transaction.is_call(), "a transaction may not wait either");
    }

    #[test]
    fn flags_tell_all_without_other_modules() {
        let in_transaction = Run { is_in_transaction: true, ..PLAIN };
        for run in [PLAIN, in_transaction] {
            assert!(environment(OtherModules::Absent, true).shows_calls(run));
        }
        assert!(environment(OtherModules::Present, false).shows_calls(PLAIN));
        assert!(!environment(OtherModules::Present, true).shows_calls(PLAIN));
        assert!(!environment(OtherModules::Present, false).shows_calls(in_transaction));
    }

    #[test]
    fn a_connection_runs_a_command_whose_arguments_it_sent() {
        let acquiring = Activity { is_acquiring: true, has_arguments: true, ..Activity::default() };
        assert!(PLAIN.is_run_by(acquiring));
        assert!(!PLAIN.is_run_by(Activity { is_blocked: true, ..acquiring }), "it waits in an earlier one");
        assert!(!PLAIN.is_run_by(Activity { has_arguments: false, ..acquiring }));
        assert!(!PLAIN.is_run_by(Activity { is_acquiring: false, ..acquiring }));
    }

    #[test]
    fn a_connection_runs_a_command_of_the_transaction_that_it_executes() {
        let run = Run { is_in_transaction: true, ..PLAIN };
        let executing = Activity { is_in_transaction: true, is_executing: true, ..Activity::default() };
        assert!(run.is_run_by(executing));
        assert!(!run.is_run_by(Activity { is_executing: false, ..executing }));
        assert!(!run.is_run_by(Activity { is_in_transaction: false, ..executing }));
        assert!(!run.is_run_by(Activity { is_acquiring: true, has_arguments: true, ..Activity::default() }));
    }

    #[test]
    fn a_hidden_call_needs_another_module_and_a_server_that_lets_calls_wait() {
        assert!(environment(OtherModules::Present, true).may_hide_calls());
        assert!(!environment(OtherModules::Present, false).may_hide_calls());
        assert!(!environment(OtherModules::Absent, true).may_hide_calls());
    }

    #[test]
    fn modules_that_call_nothing_are_known_by_their_exact_name() {
        assert!(calls_nothing(b"redislock") && calls_nothing(b"ReJSON"));
        assert!(!calls_nothing(b"rejson") && !calls_nothing(b"") && !calls_nothing(b"mycaller"));
    }
}
