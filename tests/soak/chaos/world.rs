//! The servers, the clients and what is known: takes one step after the other.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use support::{args, Client, Value};

use super::clients::Clients;
use super::ledger::Ledger;
use super::plan::{is_of_one_request, ALL_RIGHTS, KEYS, USER};
use super::servers::{Servers, Setup};
use super::step::{Deed, Step, Words};

/// How long a server may take to answer the driver.
const ANSWER: Duration = Duration::from_secs(20);
/// For how long an answer may be on its way that was written before a user lost its rights.
const ON_ITS_WAY: Duration = Duration::from_millis(10);
/// Runs commands, each a word with `~` for the blanks.
const SCRIPT: &str = "local answers = {}
for n, line in ipairs(ARGV) do
    local words = {}
    for word in line:gmatch('[^~]+') do words[#words + 1] = word end
    answers[n] = redis.pcall(unpack(words))
end
return answers";

/// All there is.
pub struct World {
    /// The servers.
    pub servers: Servers,
    /// The clients.
    pub clients: Clients,
    /// What is known.
    pub ledger: Ledger,
    /// How long it may take until nothing more is due.
    pub rest_limit: Duration,
    /// The driver's own connection to the primary.
    control: Option<Client>,
}

impl World {
    /// A primary, and nobody connected.
    pub fn start(setup: Setup, rest_limit: Duration) -> World {
        let servers = Servers::start(setup);
        let clients = Clients::new(servers.primary().port());
        World { servers, clients, ledger: Ledger::new(), rest_limit, control: None }
    }

    /// Takes a step. `Err`: what is wrong.
    pub fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send { client, db, commands } => self.send(*client, *db, commands),
            Step::Do(deed) => self.act(*deed)?,
        }
        self.clients.hear(&mut self.ledger);
        match self.ledger.wrong().iter().find(|wrong| !is_known(wrong)) {
            Some(wrong) => Err(wrong.clone()),
            None => Ok(()),
        }
    }

    /// Asks the primary over the driver's own connection.
    pub fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Value, String> {
        self.ask_all(&[command]).map(|mut answers| answers.remove(0))
    }

    /// The same for several commands in one write. They are sent again if the connection was killed with all others.
    pub fn ask_all<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> Result<Vec<Value>, String> {
        let asked = self.ask_once(commands).or_else(|_| {
            self.control = None;
            self.ask_once(commands)
        });
        asked.map_err(|error| format!("crash: the primary does not answer ({error})"))
    }

    fn ask_once<A: AsRef<[u8]>>(&mut self, commands: &[&[A]]) -> io::Result<Vec<Value>> {
        let control = match &mut self.control {
            Some(control) => control,
            None => self.control.insert(Client::connect(self.servers.primary().port())?),
        };
        control.set_deadline(ANSWER);
        control.try_pipeline(commands)
    }

    fn send(&mut self, client: usize, db: u32, commands: &[Words]) {
        if !self.clients.is_free(client, &mut self.ledger) {
            return;
        }
        let is_about_rights = |words: &Words| words.iter().any(|word| word == "SETUSER");
        let rights = commands.iter().find(|words| is_about_rights(words)).map(|words| words.join(" "));
        if rights.as_ref().is_some_and(|rights| rights.ends_with(ALL_RIGHTS)) {
            self.ledger.set_rights(false);
        }
        let filled = commands.iter().map(|words| (words.clone(), self.filled(db, words))).collect();
        self.clients.send(client, db, filled, &mut self.ledger);
        self.look_for_in_line(client);
        if rights.is_some_and(|rights| rights.contains("resetkeys") || rights.contains("-lock.acquire")) {
            std::thread::sleep(ON_ITS_WAY);
            self.clients.hear(&mut self.ledger);
            let answer = self.ask(&["ACL", "DRYRUN", USER, "LOCK.ACQUIRE", KEYS[0], "o"]);
            self.ledger.set_rights(answer.is_ok_and(|answer| answer != "OK"));
        }
    }

    /// Takes note of it if the client stands in the queue now.
    fn look_for_in_line(&mut self, client: usize) {
        let Some(asked) = self.clients.waits_for(client).filter(|asked| asked.may_wait()) else { return };
        let (db, key, owner) = (asked.db, asked.key().to_owned(), asked.owner().unwrap_or_default().to_owned());
        let is_in_line = is_of_one_request(&owner) && self.listed(db, &key, "queue").contains(&owner);
        if let Some(asked) = self.clients.waits_for(client) {
            asked.is_in_line = is_in_line;
        }
    }

    /// The words as they are sent.
    fn filled(&mut self, db: u32, words: &[String]) -> Vec<Vec<u8>> {
        words.iter().map(|word| self.filled_in(db, word)).collect()
    }

    /// A word as it is sent: what begins with `@` is filled in, also inside a line of a script.
    fn filled_in(&mut self, db: u32, word: &str) -> Vec<u8> {
        if word.contains('~') && word.contains('@') {
            let parts: Vec<Vec<u8>> = word.split('~').map(|part| self.filled_in(db, part)).collect();
            return parts.join(&b'~');
        }
        let Some(name) = word.strip_prefix('@') else { return word.as_bytes().to_vec() };
        let (name, of) = name.split_once(':').unwrap_or((name, ""));
        match name {
            "holder" => self.first_listed(db, of, "holders").into_bytes(),
            "next" => {
                let owner = self.first_listed(db, of, "queue");
                self.clients.id_of(db, of, &owner).to_string().into_bytes()
            }
            "id" => self.clients.id(of.parse().unwrap_or_default()).to_string().into_bytes(),
            // CLIENT UNBLOCK of a client that a pause holds up ends Redis 7.0.
            "waiting" => self.clients.id_in_line(of.parse().unwrap_or_default()).to_string().into_bytes(),
            "promise" => {
                let last = self.ledger.promises().last();
                last.map_or(0, |promise| promise.number).to_string().into_bytes()
            }
            "in" => (now_ms() + of.parse::<u128>().unwrap_or_default()).to_string().into_bytes(),
            "dump" => self.ledger.restored(),
            "script" => SCRIPT.as_bytes().to_vec(),
            _ => word.as_bytes().to_vec(),
        }
    }

    /// The owners in this list of LOCK.INFO.
    fn listed(&mut self, db: u32, key: &str, list: &str) -> Vec<String> {
        match self.ask_all(&[&args!["SELECT", db][..], &args!["LOCK.INFO", key][..]]) {
            Ok(answers) if !answers[1].is_nil() && !answers[1].is_err() => {
                answers[1].get(list).array().iter().map(|one| one.get("owner").text()).collect()
            }
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// The first of them, or a name that nobody has.
    fn first_listed(&mut self, db: u32, key: &str, list: &str) -> String {
        self.listed(db, key, list).into_iter().next().unwrap_or_else(|| "nobody".to_owned())
    }

    fn act(&mut self, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::HangUp(client) => self.clients.close(client, false, &mut self.ledger),
            Deed::Reset(client) => self.clients.close(client, true, &mut self.ledger),
            Deed::Attach => self.servers.attach("disabled"),
            Deed::AttachSwapdb => self.servers.attach("swapdb"),
            Deed::Detach => self.servers.detach(),
            Deed::Promote => self.promote(false),
            Deed::KillAndPromote => self.promote(true),
            Deed::KillAndStart => self.start_again(false),
            Deed::SaveAndStart => self.start_again(true),
            Deed::Wait(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Deed::Rest => return self.rest(),
        }
        Ok(())
    }

    fn promote(&mut self, kills: bool) {
        if self.servers.promote(kills) {
            self.primary_is_new();
        }
    }

    fn start_again(&mut self, saves: bool) {
        self.servers.start_again(saves);
        self.primary_is_new();
    }

    /// Everybody goes to the primary.
    fn primary_is_new(&mut self) {
        self.control = None;
        self.clients.move_to(self.servers.primary().port(), &mut self.ledger);
        self.ledger.set_rights(false);
        self.ledger.forget_promises();
    }
}

/// The word that tells one kind of violation from the others.
pub fn kind(wrong: &str) -> &str {
    wrong.split(':').next().unwrap_or(wrong)
}

/// Whether the search is to go on although this is wrong: `SOAK_KNOWN=rights,keys`.
pub fn is_known(wrong: &str) -> bool {
    std::env::var("SOAK_KNOWN").is_ok_and(|known| known.split(',').any(|known| known == kind(wrong)))
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
