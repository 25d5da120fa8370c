//! What a test asks a server about itself. Every wait polls something the server reports.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use super::client::Client;
use super::server::Server;
use super::skip::skip;
use super::value::parse_value;
use super::{poll, until, until_some, UNTIL};

/// Words that a log holds only when something went badly wrong.
const BAD_WORDS: [&str; 4] = ["crash", "assertion", "panic", "bug report"];

/// Which server this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Valkey, not Redis.
    pub valkey: bool,
    /// Major, minor, patch: of Valkey when it is Valkey.
    pub number: (u32, u32, u32),
}

impl Version {
    /// Whether CLIENT UNBLOCK reaches clients that wait for a lock. Older servers would lose replies or crash, so there it
    /// answers 0.
    pub fn can_unblock_waiters(self) -> bool {
        self.number >= if self.valkey { (8, 0, 0) } else { (7, 4, 0) }
    }
}

impl Server {
    /// Whether the module may listen to RENAME and MOVE here. On Valkey 8.1.0 to 9.1.0 it may not: a module that listens makes
    /// what follows MOVE go wrong for everybody. The test that asks returns there: its skip is said already.
    pub fn hears_of_moved_keys(&self) -> bool {
        let version = self.version();
        let hears = !(version.valkey && ((8, 1, 0)..=(9, 1, 0)).contains(&version.number));
        if !hears {
            skip(
                "on Valkey 8.1.0 to 9.1.0 the module hears of no keyspace events: of renamed, moved and evicted locks",
            );
        }
        hears
    }

    /// Those of these eviction policies that the server has. The ones by the last change of a key (lrm) came with Redis 8.6.
    pub fn policies<'a>(&self, policies: &[&'a str]) -> Vec<&'a str> {
        let before = self.cmd(&["CONFIG", "GET", "maxmemory-policy"]).get("maxmemory-policy").text().to_owned();
        let has = |policy: &str| self.cmd(&["CONFIG", "SET", "maxmemory-policy", policy]) == "OK";
        let known = policies.iter().copied().filter(|policy| has(policy)).collect();
        assert!(has(&before));
        known
    }

    /// The fields of an INFO section (`"everything"` for all, modules included).
    #[track_caller]
    pub fn info(&self, section: &str) -> HashMap<String, String> {
        self.cmd(&["INFO", section])
            .text()
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// One field of INFO; panics when it is missing.
    #[track_caller]
    pub fn info_field(&self, section: &str, field: &str) -> String {
        match self.info(section).remove(field) {
            Some(value) => value,
            None => panic!("INFO {section} has no field {field}"),
        }
    }

    /// One field of INFO as a number.
    #[track_caller]
    pub fn info_number(&self, section: &str, field: &str) -> i64 {
        let text = self.info_field(section, field);
        text.parse().unwrap_or_else(|_| panic!("INFO {section}: {field} is no number: {text}"))
    }

    /// Which server and version runs here.
    #[track_caller]
    pub fn version(&self) -> Version {
        let info = self.info("server");
        let valkey = info.get("valkey_version");
        let text = valkey.unwrap_or_else(|| &info["redis_version"]);
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        Version { valkey: valkey.is_some(), number: (part(), part(), part()) }
    }

    /// How many clients the server counts as blocked, waiters of every kind.
    #[track_caller]
    pub fn blocked(&self) -> i64 {
        self.info_number("clients", "blocked_clients")
    }

    /// Waits until exactly `count` clients are blocked.
    #[track_caller]
    pub fn until_blocked(&self, count: i64) {
        until(format!("{count} clients blocked"), || self.blocked() == count);
    }

    /// The line of CLIENT LIST about this client, found by its address, so the client itself may be waiting.
    #[track_caller]
    pub fn client_line(&self, client: &Client) -> Option<String> {
        let address = format!(" addr={} ", client.address());
        let list = self.cmd(&["CLIENT", "LIST"]).text();
        list.lines().find(|line| line.contains(&address)).map(str::to_owned)
    }

    /// Whether the server has this very client blocked at this moment. This, and not silence, shows that it waits.
    #[track_caller]
    pub fn is_waiting(&self, client: &Client) -> bool {
        self.client_line(client).is_some_and(|line| {
            line.split(' ').filter_map(|field| field.strip_prefix("flags=")).any(|flags| flags.contains('b'))
        })
    }

    /// Panics when this client does not wait, showing what it got instead.
    #[track_caller]
    pub fn assert_waiting(&self, client: &mut Client) {
        if !self.is_waiting(client) {
            let got = client.receive(Duration::from_millis(100));
            panic!("expected the client to wait, it got {got:?}");
        }
    }

    /// Waits until this client is blocked; panics after 10 s.
    #[track_caller]
    pub fn until_waiting(&self, client: &Client) {
        until("the client is blocked", || self.is_waiting(client));
    }

    /// Sends a command that is to block and waits until it does: clients that are sent to wait one after the other
    /// stand in the queue in that order.
    #[track_caller]
    pub fn send_to_wait<A: AsRef<[u8]>>(&self, client: &mut Client, command: &[A]) {
        client.send(command);
        poll(UNTIL, || self.is_waiting(client).then_some(()));
        // Shows what the client got if it was answered instead.
        self.assert_waiting(client);
    }

    /// Waits until the server knows this many normal connections besides its control connection, for closed clients
    /// that it has yet to notice.
    #[track_caller]
    pub fn until_clients(&self, count: usize) {
        until(format!("{count} connections"), || {
            let list = self.cmd(&["CLIENT", "LIST", "TYPE", "normal"]).text();
            list.lines().count() == count + 1
        });
    }

    /// Waits until the log holds this text.
    #[track_caller]
    pub fn until_logged(&self, text: &str) {
        until(format!("the log says {text:?}"), || self.log().contains(text));
    }

    /// The end of a test: alive, no client blocked (clients that were just closed are waited for), nothing alarming
    /// in the log.
    #[track_caller]
    pub fn assert_clean(&self) {
        self.assert_clean_except(&[]);
    }

    /// [`Server::assert_clean`] for tests of failpoints: log lines that hold one of these texts are expected.
    #[track_caller]
    pub fn assert_clean_except(&self, expected: &[&str]) {
        assert!(self.is_alive(), "the server is dead");
        self.until_blocked(0);
        let log = self.log();
        let alarming: Vec<&str> = log
            .lines()
            .filter(|line| !expected.iter().any(|text| line.contains(text)))
            .filter(|line| {
                let line = line.to_lowercase();
                BAD_WORDS.iter().any(|word| line.contains(word))
            })
            .collect();
        assert!(alarming.is_empty(), "the log says {alarming:#?}");
    }

    /// Panics when a key is left in any database.
    #[track_caller]
    pub fn assert_no_keys(&self) {
        let keyspace = self.info("keyspace");
        assert!(keyspace.is_empty(), "keys are left: {keyspace:?}");
    }

    /// SAVE: writes dump.rdb now.
    #[track_caller]
    pub fn save(&self) {
        assert_eq!(self.cmd(&["SAVE"]), "OK");
    }

    /// BGREWRITEAOF, and waits until it is through and was successful.
    #[track_caller]
    pub fn rewrite_aof(&self) {
        // The first rewrite at start, or one that runs already, must not be taken for ours.
        self.until_aof_idle();
        let answer = self.cmd(&["BGREWRITEAOF"]);
        assert!(!answer.is_err(), "BGREWRITEAOF: {answer:?}");
        self.until_aof_idle();
        let result = self.info_field("persistence", "aof_last_bgrewrite_status");
        assert_eq!(result, "ok", "BGREWRITEAOF");
    }

    #[track_caller]
    fn until_aof_idle(&self) {
        until("no AOF rewrite runs or is due", || {
            let info = self.info("persistence");
            info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0"
        });
    }

    /// The AOF files in the order of the manifest: whether it is the base, and the content.
    #[track_caller]
    fn aof_files(&self) -> Vec<(bool, Vec<u8>)> {
        let dir = self.dir().join("appendonlydir");
        // A rewrite may replace files between the manifest and them.
        until_some("the AOF can be read", || {
            let manifest = fs::read_to_string(dir.join("appendonly.aof.manifest")).ok()?;
            manifest.lines().filter_map(manifest_entry).try_fold(Vec::new(), |mut files, (name, base)| {
                files.push((base, fs::read(dir.join(name)).ok()?));
                Some(files)
            })
        })
    }
}

/// Name and "is it the base" of a line `file <name> seq <n> type <b|i|h>`; history files are left out.
fn manifest_entry(line: &str) -> Option<(&str, bool)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        // Redis 8 adds where an incremental file starts.
        ["file", name, "seq", _, "type", kind @ ("b" | "i"), ..] => Some((name, *kind == "b")),
        _ => None,
    }
}

/// What a recorded command says: `granted k`, `changed k` and `freed k` for effects, else its first two words.
pub fn said(command: &[Vec<u8>]) -> String {
    let word = |at: usize| command.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let name = word(0).to_uppercase();
    let kind = match command.get(2).and_then(|effect| effect.get(1)) {
        Some(1) if name == "LOCK.__APPLY" => "granted",
        Some(2) if name == "LOCK.__APPLY" => "changed",
        Some(3) if name == "LOCK.__APPLY" => "freed",
        _ => &name,
    };
    format!("{kind} {}", word(1)).trim_end().to_owned()
}

/// DEBUG DIGEST: equal for equal data sets, locks included.
#[track_caller]
pub fn digest(server: &Server) -> String {
    server.cmd(&["DEBUG", "DIGEST"]).text()
}

/// Waits until the replica's link is up and it has applied all that the primary had written when this was called.
#[track_caller]
pub fn until_synced(primary: &Server, replica: &Server) {
    until("the replica is in step with its primary", || {
        let above = primary.info("replication");
        let below = replica.info("replication");
        let offset = |info: &HashMap<String, String>, name: &str| -> Option<i64> { info.get(name)?.parse().ok() };
        let up = below.get("master_link_status").map(String::as_str) == Some("up");
        let same_history = above.get("master_replid") == below.get("master_replid");
        let reached = offset(&below, "slave_repl_offset") >= offset(&above, "master_repl_offset");
        up && same_history && reached
    });
}

/// The replica, once in step, holds what its primary holds.
#[track_caller]
pub fn assert_same(primary: &Server, replica: &Server) {
    until_synced(primary, replica);
    assert_eq!(digest(replica), digest(primary), "the replica differs from its primary");
}

/// The end of a test, when all locks are free: primary and replica are in step, empty and clean.
#[track_caller]
pub fn assert_both_clean(primary: &Server, replica: &Server) {
    until_synced(primary, replica);
    for server in [primary, replica] {
        server.assert_no_keys();
        server.assert_clean();
    }
}

/// All AOF files of the server, base first, as the manifest names them. What a reply told is in there.
#[track_caller]
pub fn aof_bytes(server: &Server) -> Vec<u8> {
    let files = server.aof_files();
    files.into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// The commands in the AOF's incremental files, in order; each the list of its arguments.
/// (SELECT, MULTI and EXEC are among them; what a rewrite moved into the base is not.)
#[track_caller]
pub fn aof_commands(server: &Server) -> Vec<Vec<Vec<u8>>> {
    let mut commands = Vec::new();
    for (_, bytes) in server.aof_files().into_iter().filter(|(base, _)| !base) {
        let mut rest = bytes.as_slice();
        while let Some((command, length)) = parse_value(rest) {
            let args = command.array().iter();
            commands.push(args.map(|arg| arg.bytes().to_vec()).collect());
            rest = &rest[length..];
        }
    }
    commands
}
