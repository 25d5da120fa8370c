//! What one scenario has: its servers, its applications and their holds.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{patience, MachineSleep};
use tempfile::TempDir;

use crate::clients::ClientSpec;
use crate::deployment::Deployment;
use crate::driver::{Answer, Driver};
use crate::monitor::Monitor;
use crate::outcome::{fail, Outcome};
use crate::transcript::Transcript;

/// How long a step waits for what should happen at once, on a busy machine.
pub fn soon() -> Duration {
    patience(Duration::from_secs(15))
}

/// A client under test: how its driver is started, and the fault that is planted in it.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The client.
    pub client: ClientSpec,
    /// The planted fault, by its name in PROTOCOL.md.
    pub fault: Option<String>,
    /// The project's directory.
    pub root: PathBuf,
}

/// A request of an application for one or several locks.
#[derive(Clone, Debug)]
pub struct Acquisition {
    /// The application.
    pub app: String,
    /// The keys.
    pub keys: Vec<String>,
    /// The id of the request.
    pub request: u64,
    /// What the driver answered, if a step has waited for it.
    pub answer: Option<Answer>,
}

impl Acquisition {
    /// The owner that the driver named.
    pub fn owner(&self) -> Outcome<&str> {
        self.granted()?["owner"].as_str().ok_or_else(|| "the driver did not name the owner".to_owned())
    }

    /// The fences that the driver named, in the order of the keys.
    pub fn fences(&self) -> Outcome<Vec<i64>> {
        let ok = self.granted()?;
        let fences = match &ok["fences"] {
            Value::Array(fences) => fences.iter().filter_map(Value::as_i64).collect(),
            _ => Vec::from_iter(ok["fence"].as_i64()),
        };
        if fences.len() != self.keys.len() {
            return fail(format!("the driver named {} fences for {} locks", fences.len(), self.keys.len()));
        }
        Ok(fences)
    }

    fn granted(&self) -> Outcome<&Value> {
        match self.answer.as_ref().map(|answer| &answer.result) {
            Some(Ok(ok)) => Ok(ok),
            Some(Err(refusal)) => fail(format!("it was not granted: {}: {}", refusal.kind, refusal.message)),
            None => fail("no step has waited for the grant"),
        }
    }
}

/// The state of one scenario. When dropped, all its processes end.
pub struct World {
    /// The client under test.
    pub subject: Subject,
    /// Everything that happened.
    pub transcript: Transcript,
    /// The applications by name. They stand before the servers, so that they end first.
    pub apps: BTreeMap<String, Driver>,
    /// MONITOR of the server, if a step asked for it.
    pub monitor: Option<Monitor>,
    /// The servers.
    pub deployment: Option<Deployment>,
    /// The requests for locks by the names of their holds.
    pub holds: BTreeMap<String, Acquisition>,
    /// The ids of other requests that steps wait for later, by a name.
    pub requests: HashMap<String, (String, u64)>,
    /// The largest fence that each fenced resource has seen.
    pub resources: HashMap<String, i64>,
    /// Counters at the moment from which a step counts.
    pub counted_from: HashMap<String, i64>,
    /// The locks that the runner itself has taken, as an operator.
    pub taken: Vec<String>,
    /// The fences that a bulk step was granted, by key.
    pub bulk: BTreeMap<String, i64>,
    /// The sleep of each application's machine.
    pub machines: HashMap<String, MachineSleep>,
    /// When the scenario last did something to the servers or an application.
    pub acted: Option<Instant>,
    /// What steps measured, for the report.
    pub notes: Vec<String>,
    /// The name and version of the library that the client uses.
    pub library: String,
    /// Whether the scenario means to leave locks behind.
    pub leaves_locks: bool,
    /// What the client must have, as the first driver's hello is compared with it; the scenario is skipped if it lacks one.
    pub needs: Vec<String>,
    /// The feature that the client lacks.
    pub lacks: Option<String>,
    /// Where the drivers' logs are kept.
    pub logs: TempDir,
}

impl World {
    /// An empty world.
    pub fn new(subject: Subject, needs: Vec<String>) -> Outcome<World> {
        let logs = tempfile::Builder::new().prefix("redis-lock-conformance-").tempdir();
        Ok(World {
            subject,
            transcript: Transcript::new(),
            apps: BTreeMap::new(),
            monitor: None,
            deployment: None,
            holds: BTreeMap::new(),
            requests: HashMap::new(),
            resources: HashMap::new(),
            counted_from: HashMap::new(),
            taken: Vec::new(),
            bulk: BTreeMap::new(),
            machines: HashMap::new(),
            acted: None,
            notes: Vec::new(),
            library: String::new(),
            leaves_locks: false,
            needs,
            lacks: None,
            logs: logs.map_err(|error| error.to_string())?,
        })
    }

    /// The servers.
    pub fn deployment(&self) -> Outcome<&Deployment> {
        self.deployment.as_ref().ok_or_else(|| "the scenario has no servers yet".to_owned())
    }

    /// An application.
    pub fn app(&self, name: &str) -> Outcome<&Driver> {
        self.apps.get(name).ok_or_else(|| format!("there is no application {name}"))
    }

    /// A request for a lock.
    pub fn hold(&self, name: &str) -> Outcome<&Acquisition> {
        self.holds.get(name).ok_or_else(|| format!("nobody has asked for {name}"))
    }

    /// Waits for the answer to the request for this hold, and keeps it.
    pub fn answer_of(&mut self, hold: &str, within: Duration) -> Outcome<Answer> {
        let acquisition = self.hold(hold)?;
        if let Some(answer) = &acquisition.answer {
            return Ok(answer.clone());
        }
        let answer = self.app(&acquisition.app)?.wait(acquisition.request, within)?;
        if let Some(acquisition) = self.holds.get_mut(hold) {
            acquisition.answer = Some(answer.clone());
        }
        Ok(answer)
    }

    /// Keeps a measured value for the report.
    pub fn note(&mut self, text: String) {
        self.transcript.say(format!("   measured: {text}"));
        self.notes.push(text);
    }
}
