//! One real server process: its directory, its port, its log, its life and death.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::builder::ServerBuilder;
use super::client::Client;
use super::process::{signal, spawn, state, Port};
use super::value::Value;
use super::{poll, until};

/// How long a server may take to load its data and answer.
const START: Duration = Duration::from_secs(30);
/// How long a server may take to end after SHUTDOWN (it waits up to 10 s for lagging replicas).
const STOP: Duration = Duration::from_secs(30);
/// After how long it is asked again to end.
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// How often another port is tried when somebody took the one we chose.
const TRIES: usize = 5;
/// How many lines of the log a failed test shows.
const TAIL: usize = 60;

/// The program of all servers that start from now on, before `REDIS_SERVER`.
static PROGRAM: Mutex<Option<OsString>> = Mutex::new(None);

/// All servers that this process starts from now on run this program.
pub fn use_program(program: impl Into<OsString>) {
    *held(&PROGRAM) = Some(program.into());
}

/// The program that a server runs.
fn program() -> OsString {
    let chosen = held(&PROGRAM).clone();
    chosen.or_else(|| std::env::var_os("REDIS_SERVER")).unwrap_or_else(|| "redis-server".into())
}

/// A running (or killed, or stopped) server. All methods take `&self`, so it can be shared between threads.
///
/// When dropped, its process is killed and its directory removed; while the test is panicking the tail of its log is
/// printed first. The kernel kills the process if the test binary dies without dropping anything.
pub struct Server {
    settings: Mutex<ServerBuilder>,
    port: Port,
    dir: TempDir,
    /// `None` once it was waited for.
    child: Mutex<Option<Child>>,
    /// The connection behind [`Server::cmd`], made when first needed and again after it broke.
    control: Mutex<Option<Client>>,
}

impl Server {
    /// The settings of a server to be started.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// A server with the module and nothing else.
    #[track_caller]
    pub fn start() -> Server {
        Server::builder().start()
    }

    pub(super) fn launch(settings: ServerBuilder) -> Result<Server, String> {
        let mut story = String::new();
        for _ in 0..TRIES {
            let mut dir =
                tempfile::Builder::new().prefix("redis-lock-").tempdir().map_err(|error| error.to_string())?;
            dir.disable_cleanup(std::env::var_os("REDIS_LOCK_KEEP").is_some());
            let server = Server {
                settings: Mutex::new(settings.clone()),
                port: Port::reserve(),
                dir,
                child: Mutex::new(None),
                control: Mutex::new(None),
            };
            match server.run() {
                Ok(()) => return Ok(server),
                Err(reason) => story = reason,
            }
            if !story.contains("Address already in use") {
                break;
            }
        }
        Err(story)
    }

    /// The port it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its directory: dump.rdb, appendonlydir, redis.conf, server.log.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id; panics when it is not running.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        held(&self.child).as_ref().expect("the server is not running").id()
    }

    /// A new connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port()).unwrap_or_else(|error| panic!("cannot connect to the server: {error}"))
    }

    /// One command over the server's own control connection (always database 0, RESP2). That connection is made anew
    /// when it broke, and the command is sent again then.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&self, command: &[A]) -> Value {
        let mut control = held(&self.control);
        if let Some(client) = control.as_mut() {
            if let Ok(value) = client.try_cmd(command) {
                return value;
            }
        }
        let client = control.insert(self.client());
        client.cmd(command)
    }

    /// Whether the process runs (a stopped one does).
    pub fn is_alive(&self) -> bool {
        self.exit_status().is_none() && held(&self.child).is_some()
    }

    /// Kills it with SIGKILL and waits for its end. Nothing is saved.
    pub fn kill9(&self) {
        self.forget_control();
        if let Some(mut child) = held(&self.child).take() {
            // Fails only for a process that has ended already.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Ends it in order by SHUTDOWN NOSAVE (an AOF is flushed) and waits for that.
    #[track_caller]
    pub fn shutdown(&self) {
        self.end(&["SHUTDOWN", "NOSAVE"]);
    }

    /// Ends it in order by SHUTDOWN SAVE, which writes dump.rdb, and waits for that.
    #[track_caller]
    pub fn shutdown_saving(&self) {
        self.end(&["SHUTDOWN", "SAVE"]);
    }

    /// Starts it again on the same port and directory; panics when it does not start. A server that still runs is
    /// shut down first (NOSAVE). The data are those of the AOF, or without AOF of the last dump.rdb.
    #[track_caller]
    pub fn restart(&self) {
        if let Err(story) = self.try_restart() {
            panic!("the server did not restart: {story}");
        }
    }

    /// Like [`Server::restart`] for servers that are expected to refuse: `Err` holds the reason and the log.
    #[track_caller]
    pub fn try_restart(&self) -> Result<(), String> {
        if self.is_alive() {
            self.shutdown();
        }
        self.run()
    }

    /// Changes the settings that the next restart uses: `server.reconfigure(|b| b.config("maxmemory 10mb"))`.
    pub fn reconfigure(&self, change: impl FnOnce(ServerBuilder) -> ServerBuilder) {
        let mut settings = held(&self.settings);
        *settings = change(settings.clone());
    }

    /// Freezes the process (SIGSTOP) and waits until it stands still.
    #[track_caller]
    pub fn sigstop(&self) {
        self.signal(libc::SIGSTOP);
        let pid = self.pid();
        until("the server process stops", || state(pid) == Some('T'));
    }

    /// Lets a frozen process go on (SIGCONT).
    #[track_caller]
    pub fn sigcont(&self) {
        self.signal(libc::SIGCONT);
        let pid = self.pid();
        until("the server process goes on", || state(pid) != Some('T'));
    }

    /// Sends any signal, without waiting for an effect.
    #[track_caller]
    pub fn signal(&self, number: i32) {
        assert!(self.is_alive(), "the server is not running");
        signal(held(&self.child).as_ref().unwrap(), number);
    }

    /// All that the server wrote to its log, standard output and standard error, over all restarts.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How the process ended, when it ended by itself and nobody noticed yet.
    fn exit_status(&self) -> Option<ExitStatus> {
        let mut child = held(&self.child);
        let status = child.as_mut()?.try_wait().unwrap()?;
        *child = None;
        Some(status)
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("server.log")
    }

    pub(super) fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    fn forget_control(&self) {
        *held(&self.control) = None;
    }

    fn end(&self, command: &[&str]) {
        let mut client = self.client();
        client.send(command);
        self.forget_control();
        let ended = poll(STOP, || self.exit_status());
        let refused = client.receive(Duration::ZERO);
        assert!(ended.is_some(), "the server did not obey {command:?}: {refused:?}");
    }

    /// Starts the process and waits until it answers.
    fn run(&self) -> Result<(), String> {
        let conf = self.dir().join("redis.conf");
        let settings = held(&self.settings).clone();
        fs::write(&conf, settings.redis_conf(self.port(), self.dir())).unwrap();
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let server = program();
        let mut command = Command::new(&server);
        command
            .arg(&conf)
            .args(settings.is_sentinel().then_some("--sentinel"))
            .envs(settings.environment().iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = spawn(command).map_err(|error| format!("{server:?}: {error}"))?;
        let pid = child.id();
        *held(&self.child) = Some(child);
        self.wait_ready(pid).map_err(|reason| {
            self.kill9();
            format!("{reason}\n{}", self.log_tail())
        })
    }

    /// Waits until PING is answered by this very process, and not with LOADING.
    fn wait_ready(&self, pid: u32) -> Result<(), String> {
        let mut last = String::from("no connection");
        let ready = poll(START, || {
            if let Some(status) = self.exit_status() {
                return Some(Err(format!("it ended: {status}")));
            }
            match self.answers(pid) {
                Ok(()) => Some(Ok(())),
                Err(why) => {
                    last = why;
                    None
                }
            }
        });
        ready.unwrap_or_else(|| Err(format!("not ready within {START:?}: {last}")))
    }

    fn answers(&self, pid: u32) -> Result<(), String> {
        let shown = |error: std::io::Error| error.to_string();
        let mut client = Client::connect(self.port()).map_err(shown)?;
        match client.try_cmd(&["PING"]).map_err(shown)? {
            Value::Error(text) if text.starts_with("NOAUTH") => return Ok(()),
            Value::Error(text) => return Err(text),
            _ => {}
        }
        let info = client.try_cmd(&["INFO", "server"]).map_err(shown)?;
        // Otherwise somebody else listens on this port, or the wrapper in REDIS_SERVER did not `exec`.
        if info.text().lines().any(|line| line == format!("process_id:{pid}")) {
            return Ok(());
        }
        Err(format!("another process than {pid} answers (REDIS_SERVER must exec the server)"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- log of the server on port {} (last {TAIL} lines) ---\n{}\n---",
                self.port(),
                self.log_tail()
            );
        }
        // A tool that watches the server reports when it ends by itself.
        if std::env::var_os("REDIS_LOCK_END_IN_ORDER").is_some() && self.is_alive() {
            // A server that writes the first base of its AOF refuses, and forgets about it.
            let ask = || held(&self.child).iter().for_each(|child| signal(child, libc::SIGTERM));
            let mut asked = Instant::now();
            ask();
            let _ = poll(STOP, || {
                if asked.elapsed() > ASKED_AGAIN {
                    asked = Instant::now();
                    ask();
                }
                self.exit_status()
            });
        }
        self.kill9();
    }
}

/// The content of a mutex, also after a panic elsewhere: a failed test must still kill its server.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
