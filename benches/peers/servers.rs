//! The servers: one Redis with the module for every peer that runs on Redis, and what others need.

use std::time::Duration;

use support::{Server, Value};

use crate::bench::report::Report;
use crate::commands;
use crate::etcd::Etcd;
use crate::postgres::Postgres;
use crate::workers::Row;

/// How long the server may take to notice that all connections of a worker are closed.
const GONE: Duration = Duration::from_secs(10);

pub struct Servers {
    pub redis: Server,
    pub counts_abandoned_waits: bool,
    etcd: Result<Etcd, String>,
    postgres: Result<Postgres, String>,
}

impl Servers {
    pub fn start(report: &mut Report) -> Servers {
        let redis = Server::start();
        let counts_abandoned_waits = commands::counts_abandoned_waits(&redis);
        let servers = Servers { redis, counts_abandoned_waits, etcd: Etcd::start(), postgres: Postgres::start() };
        let of = |version: Result<&str, &String>| version.map_or_else(Clone::clone, str::to_owned);
        report.know("etcd", of(servers.etcd.as_ref().map(|etcd| etcd.version.as_str())));
        report.know("PostgreSQL", of(servers.postgres.as_ref().map(|postgres| postgres.version.as_str())));
        servers
    }

    pub fn redis_address(&self) -> String {
        format!("127.0.0.1:{}", self.redis.port())
    }

    pub fn etcd_address(&self) -> String {
        self.etcd.as_ref().map(Etcd::address).unwrap_or_default()
    }

    pub fn postgres_url(&self) -> String {
        self.postgres.as_ref().map(Postgres::url).unwrap_or_default()
    }

    /// Why the row cannot be tried here, if it cannot.
    pub fn lack(&self, row: &Row) -> Option<String> {
        match row.about.peer.as_str() {
            "etcd" => self.etcd.as_ref().err().cloned(),
            "postgres" => self.postgres.as_ref().err().cloned(),
            "set-nx-delex" if !self.knows("delex") && !self.knows("delifeq") => {
                Some("the server has neither DELEX nor DELIFEQ: Redis 8.4 and Valkey 9.0 do".into())
            }
            _ => None,
        }
    }

    /// Removes what a worker left behind, such as locks that it was given as it ended.
    ///
    /// Held locks of ours are released first: once an operator removed one, the module listens to all key events, and every
    /// DEL of every peer costs more from then on.
    pub fn tidy(&self) {
        let is_left =
            support::poll(GONE, || (self.redis.info_number("redislock", "redislock_waiters") == 0).then_some(()));
        assert!(is_left.is_some(), "waiters of a worker that has ended");
        if self.redis.info_number("redislock", "redislock_locks_held") > 0 {
            for key in self.redis.cmd(&["KEYS", "*"]).array().iter().map(Value::text) {
                self.release(&key);
            }
        }
        self.redis.cmd(&["FLUSHALL"]);
        assert_eq!(self.redis.info_number("redislock", "redislock_operator_removals"), 0);
    }

    /// Ends whatever holds the key, if it is one of our locks.
    fn release(&self, key: &str) {
        if self.redis.cmd(&["TYPE", key]) != "redislock" {
            return;
        }
        for holder in self.redis.cmd(&["LOCK.INFO", key]).get("holders").array() {
            self.redis.cmd(&["LOCK.RELEASE", key, &holder.get("owner").text()]);
        }
    }

    fn knows(&self, command: &str) -> bool {
        self.redis.cmd(&["COMMAND", "INFO", command]).array().iter().any(|found| !found.is_nil())
    }
}
