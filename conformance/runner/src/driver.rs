//! One driver process: the requests that go to it, its answers and its events. PROTOCOL.md is the contract.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::{poll, process_state, signal, spawn};

use crate::outcome::{fail, Outcome};
use crate::transcript::Transcript;

/// How long a driver may take to end when its input has ended.
const END: Duration = Duration::from_secs(10);

/// An answer of a driver to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the runner read it.
    pub at: Instant,
    /// The member `ok`, or the kind and the message of the error.
    pub result: Result<Value, Refusal>,
}

/// An error that a driver answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// One of the kinds in PROTOCOL.md.
    pub kind: String,
    /// The client's own text.
    pub message: String,
}

/// Something that a driver said by itself.
#[derive(Clone, Debug)]
pub struct Event {
    /// When the runner read it.
    pub at: Instant,
    /// The whole object.
    pub body: Value,
}

impl Event {
    /// Whether it is of this kind and its member `name` is `value`.
    pub fn is(&self, kind: &str, name: &str, value: &str) -> bool {
        self.body["event"] == kind && self.body[name] == value
    }
}

#[derive(Default)]
struct State {
    answers: HashMap<u64, Answer>,
    events: Vec<Event>,
    /// What the driver wrote that is no answer and no event, if anything.
    nonsense: Option<String>,
    has_ended: bool,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

/// A driver that runs. When dropped, its process is killed.
pub struct Driver {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    input: Mutex<Option<ChildStdin>>,
    inbox: Arc<Inbox>,
    next: AtomicU64,
    log: PathBuf,
    transcript: Transcript,
    features: BTreeSet<String>,
    library: String,
}

impl Driver {
    /// Starts a driver and says hello to it. Its standard error goes to the file `log`.
    pub fn start(name: &str, mut command: Command, log: PathBuf, transcript: Transcript) -> Outcome<Driver> {
        let text = |error: std::io::Error| error.to_string();
        let file = File::create(&log).map_err(text)?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = spawn(command).map_err(|error| format!("the driver '{program}' cannot be run: {error}"))?;
        let (input, output) = (child.stdin.take(), child.stdout.take().ok_or("the driver has no output")?);
        let pid = child.id();
        transcript.say(format!("{name} is process {pid}"));
        let mut driver = Driver {
            name: name.to_owned(),
            child: Mutex::new(child),
            pid,
            input: Mutex::new(input),
            inbox: Arc::default(),
            next: AtomicU64::new(1),
            log,
            transcript: transcript.clone(),
            features: BTreeSet::new(),
            library: String::new(),
        };
        let (inbox, name) = (Arc::clone(&driver.inbox), name.to_owned());
        std::thread::spawn(move || listen(output, &inbox, &name, &transcript));
        let hello = driver.ask(json!({"do": "hello"}), Duration::from_secs(30))?;
        let words = hello["features"].as_array().cloned().unwrap_or_default();
        driver.features = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        driver.library = hello["library"].as_str().unwrap_or("unknown").to_owned();
        Ok(driver)
    }

    /// The name of the application in the scenario.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id of the driver.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The words under "Features" in PROTOCOL.md that apply to this client.
    pub fn features(&self) -> &BTreeSet<String> {
        &self.features
    }

    /// The name and version of the Redis client library.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// Sends one request. Returns its id.
    pub fn send(&self, request: Value) -> Outcome<u64> {
        Ok(self.send_all(vec![request])?.first().copied().unwrap_or_default())
    }

    /// Sends several requests in one write, so that the driver finds them all when it next looks. Returns their ids.
    pub fn send_all(&self, requests: Vec<Value>) -> Outcome<Vec<u64>> {
        let mut lines = String::new();
        let mut ids = Vec::with_capacity(requests.len());
        for mut request in requests {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            request["id"] = id.into();
            let line = request.to_string();
            self.transcript.say(format!("{} <- {line}", self.name));
            lines.push_str(&line);
            lines.push('\n');
            ids.push(id);
        }
        let mut input = held(&self.input);
        let written = input.as_mut().ok_or("its input is closed").map(|input| input.write_all(lines.as_bytes()));
        match written {
            Ok(Ok(())) => Ok(ids),
            Ok(Err(error)) => fail(format!("{} does not read its input: {error}\n{}", self.name, self.log_tail())),
            Err(error) => fail(format!("{}: {error}", self.name)),
        }
    }

    /// Waits for the answer to this request.
    pub fn wait(&self, id: u64, within: Duration) -> Outcome<Answer> {
        let end = Instant::now() + within;
        let mut state = self.inbox.state();
        loop {
            if let Some(answer) = state.answers.get(&id) {
                return Ok(answer.clone());
            }
            if let Some(line) = &state.nonsense {
                return fail(format!("{} wrote what is no answer and no event: {line}", self.name));
            }
            if state.has_ended {
                drop(state);
                return fail(format!("{} has ended without an answer to request {id}\n{}", self.name, self.log_tail()));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return fail(format!("{} has not answered request {id} within {within:?}", self.name));
            }
            state = self.inbox.wait(state, left);
        }
    }

    /// The answer to this request, if it is there already.
    pub fn answer(&self, id: u64) -> Option<Answer> {
        self.inbox.state().answers.get(&id).cloned()
    }

    /// Sends a request and waits for its answer, which must not be an error.
    pub fn ask(&self, request: Value, within: Duration) -> Outcome<Value> {
        let what = request["do"].as_str().unwrap_or_default().to_owned();
        let id = self.send(request)?;
        let answer = self.wait(id, within)?;
        answer.result.map_err(|it| format!("{} answered {what} with {}: {}", self.name, it.kind, it.message))
    }

    /// All events up to now.
    pub fn events(&self) -> Vec<Event> {
        self.inbox.state().events.clone()
    }

    /// Waits for an event that `wanted` takes.
    pub fn until_event(&self, within: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Event> {
        let end = Instant::now() + within;
        let mut state = self.inbox.state();
        loop {
            if let Some(event) = state.events.iter().find(|event| wanted(event)) {
                return Some(event.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.inbox.wait(state, left);
        }
    }

    /// Suspends the process (SIGSTOP) and waits until it stands still.
    pub fn suspend(&self) -> Outcome<()> {
        signal(&held(&self.child), libc::SIGSTOP);
        self.until_state("stops", |state| state == Some('T'))
    }

    /// Lets a suspended process go on (SIGCONT).
    pub fn resume(&self) -> Outcome<()> {
        signal(&held(&self.child), libc::SIGCONT);
        self.until_state("goes on", |state| state != Some('T'))
    }

    fn until_state(&self, what: &str, is: impl Fn(Option<char>) -> bool) -> Outcome<()> {
        let done = poll(END, || is(process_state(self.pid)).then_some(()));
        done.ok_or_else(|| format!("{}: the process never {what}", self.name))
    }

    /// Kills the process (SIGKILL) and waits for its end.
    pub fn kill(&self) {
        let mut child = held(&self.child);
        // Fails only for a process that has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Ends the driver's input, and waits until the process has ended in order.
    pub fn end(&self) -> Outcome<()> {
        held(&self.input).take();
        let ended = poll(END, || held(&self.child).try_wait().ok().flatten());
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => fail(format!("{} ended with {status}\n{}", self.name, self.log_tail())),
            None => fail(format!("{} has not ended within {END:?} after its input has", self.name)),
        }
    }

    /// The last lines of what the driver wrote to its standard error.
    pub fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
        let (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        state
    }
}

/// Reads what the driver writes until it ends.
fn listen(output: ChildStdout, inbox: &Inbox, name: &str, transcript: &Transcript) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        let at = Instant::now();
        transcript.say(format!("{name} -> {line}"));
        let mut state = inbox.state();
        match understand(&line) {
            Some(Said::Answer(id, result)) => {
                if state.answers.insert(id, Answer { at, result }).is_some() {
                    state.nonsense = Some(format!("a second answer to request {id}: {line}"));
                }
            }
            Some(Said::Event(body)) => state.events.push(Event { at, body }),
            None => state.nonsense = Some(line),
        }
        drop(state);
        inbox.changed.notify_all();
    }
    inbox.state().has_ended = true;
    inbox.changed.notify_all();
}

enum Said {
    Answer(u64, Result<Value, Refusal>),
    Event(Value),
}

/// What a line says; `None` if it is neither an answer nor an event.
fn understand(line: &str) -> Option<Said> {
    let body: Value = serde_json::from_str(line).ok()?;
    if body.get("event").is_some_and(Value::is_string) {
        return Some(Said::Event(body));
    }
    let id = body.get("id")?.as_u64()?;
    if let Some(ok) = body.get("ok") {
        return Some(Said::Answer(id, Ok(ok.clone())));
    }
    let error = body.get("error")?;
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let refusal = Refusal { kind: text("kind")?, message: text("message").unwrap_or_default() };
    Some(Said::Answer(id, Err(refusal)))
}

/// The content of a mutex, also after a panic elsewhere.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(script: &str) -> Outcome<Driver> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = std::env::temp_dir().join(format!("conformance-driver-{}-{script:.8}.log", std::process::id()));
        let driver = Driver::start("A", command, log.clone(), Transcript::new());
        let _ = std::fs::remove_file(log);
        driver
    }

    const HELLO: &str = r#"read line; echo '{"id":1,"ok":{"features":["shared"],"library":"sh 1"}}'; "#;

    #[test]
    fn answers_find_their_requests_whatever_the_order() {
        let script = format!(
            "{HELLO} read a; read b; echo '{{\"event\":\"lost\",\"hold\":\"h\"}}'; \
             echo '{{\"id\":3,\"ok\":{{}}}}'; echo '{{\"id\":2,\"error\":{{\"kind\":\"timeout\",\"message\":\"m\"}}}}'; \
             read end"
        );
        let driver = driver(&script).unwrap();
        assert!(driver.features().contains("shared"));
        let ids = driver.send_all(vec![json!({"do": "a"}), json!({"do": "b"})]).unwrap();
        assert_eq!(driver.wait(ids[0], END).unwrap().result.unwrap_err().kind, "timeout");
        assert!(driver.wait(ids[1], END).unwrap().result.is_ok());
        assert!(driver.until_event(END, |event| event.is("lost", "hold", "h")).is_some());
        assert!(driver.until_event(Duration::ZERO, |event| event.is("lost", "hold", "other")).is_none());
    }

    #[test]
    fn a_driver_that_breaks_the_protocol_is_named() {
        let error = |script: &str| driver(script).err().unwrap_or_default();
        assert!(error("read line; echo oops; sleep 9").contains("no answer and no event: oops"));
        assert!(error("read line").contains("ended without an answer to request 1"));
        let twice = driver(&format!("{HELLO} echo '{{\"id\":1,\"ok\":{{}}}}'; sleep 9")).unwrap();
        let id = twice.send(json!({"do": "x"})).unwrap();
        assert!(twice.wait(id, END).unwrap_err().contains("second answer"));
    }
}
