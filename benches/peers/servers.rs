//! The servers: one Redis with the module for every peer that runs on Redis, and what others need.

use support::Server;

use crate::bench::report::Report;
use crate::etcd::Etcd;
use crate::postgres::Postgres;
use crate::workers::Row;

pub struct Servers {
    pub redis: Server,
    etcd: Result<Etcd, String>,
    postgres: Result<Postgres, String>,
}

impl Servers {
    pub fn start(report: &mut Report) -> Servers {
        let servers = Servers { redis: Server::start(), etcd: Etcd::start(), postgres: Postgres::start() };
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

    fn knows(&self, command: &str) -> bool {
        self.redis.cmd(&["COMMAND", "INFO", command]).array().iter().any(|found| !found.is_nil())
    }
}
