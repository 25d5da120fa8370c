//! The workers: one folder a language, of which only build.sh and run.sh are known here.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use crate::bench::progress;
use crate::bench::report::Report;
use crate::process::{output, tail};
use crate::protocol::{About, Event, Found, Job};

/// How a peer's clients wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// In the server's line: redis-lock.
    Line,
    /// They ask again.
    Poll,
    /// They are told by Redis that it may be their turn: pub/sub, tracking, a list.
    Push,
    /// In another server than Redis.
    Elsewhere,
}

/// A row of the comparison.
#[derive(Clone, Debug)]
pub struct Row {
    pub language: String,
    pub about: About,
}

impl Row {
    pub fn name(&self) -> String {
        format!("{} {} ({})", self.language, self.about.peer, self.about.row)
    }

    pub fn is_redis_lock(&self) -> bool {
        self.about.peer == "redis-lock"
    }

    /// It may delete what another holds: there to show how cheap that is, and never compared with.
    pub fn is_unsafe(&self) -> bool {
        self.about.peer == "set-nx-del"
    }

    pub fn is_same_peer(&self, other: &Row) -> bool {
        (&self.language, &self.about.peer) == (&other.language, &other.about.peer)
    }

    /// How many times as long as others it runs before it is measured: a JVM compiles what it runs as it goes.
    pub fn warmup_factor(&self) -> f64 {
        if self.language == "java" {
            6.0
        } else {
            1.0
        }
    }

    pub fn wait(&self) -> Wait {
        match self.about.peer.as_str() {
            "redis-lock" => Wait::Line,
            "rueidislock" | "redisson" | "redisson-fair" | "python-redis-lock" => Wait::Push,
            "etcd" | "postgres" => Wait::Elsewhere,
            _ => Wait::Poll,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(sources(&self.language).join("run.sh"));
        command.arg(built(&self.language));
        command
    }
}

fn workers() -> PathBuf {
    support::root().join("benches/peers/workers")
}

fn sources(language: &str) -> PathBuf {
    workers().join(language)
}

/// Where tools/bench-setup.sh builds it, too.
fn built(language: &str) -> PathBuf {
    support::root().join("target/peers").join(language)
}

/// Builds every worker and asks it for its rows. What cannot be built is told to the report.
pub fn rows(report: &mut Report) -> Vec<Row> {
    let folders = fs::read_dir(workers()).expect("the workers' folder").flatten();
    let mut languages: Vec<String> = folders
        .filter(|entry| entry.path().join("build.sh").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    languages.sort();
    let mut rows = Vec::new();
    for language in languages {
        progress(&format!("building the worker for {language}"));
        match ask(&language) {
            Ok(all) => rows.extend(all.into_iter().map(|about| Row { language: language.clone(), about })),
            Err(why) => report.remark(format!("Left out: {language} ({why}).")),
        }
    }
    rows
}

fn ask(language: &str) -> Result<Vec<About>, String> {
    output(Command::new(sources(language).join("build.sh")).arg(built(language)))?;
    let list = output(Command::new(sources(language).join("run.sh")).arg(built(language)).arg("peers"))?;
    serde_json::from_str(&list).map_err(|error| format!("its list of peers: {error}"))
}

/// A worker with a job.
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    log: File,
}

impl Worker {
    pub fn start(row: &Row, job: &Job) -> Worker {
        let log = tempfile::tempfile().unwrap();
        let mut command = row.command();
        command.arg(serde_json::to_string(job).unwrap());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        let mut child = support::spawn(command).expect("run.sh starts");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // Ends with the worker.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Worker { child, stdin, lines, log }
    }

    /// Until it is warm. An error is why it is not.
    pub fn until_ready(&mut self, limit: Duration) -> Result<(), String> {
        match self.event(limit)? {
            Event::Ready => Ok(()),
            Event::Result(found) => Err(found.error.unwrap_or_else(|| "a result before it was ready".into())),
        }
    }

    pub fn go(&mut self) {
        // If it has ended, so has its output, and that is found out next.
        let _ = self.stdin.write_all(b"go\n");
    }

    pub fn result(&mut self, limit: Duration) -> Result<Found, String> {
        match self.event(limit)? {
            Event::Result(found) => Ok(*found),
            Event::Ready => Err("it was ready twice".into()),
        }
    }

    /// Waits for its end.
    pub fn end(&mut self, limit: Duration) -> Result<(), String> {
        let status = support::poll(limit, || self.child.try_wait().unwrap());
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("it ended with {status}")),
            None => Err(format!("it did not end within {limit:?}")),
        }
    }

    fn event(&mut self, limit: Duration) -> Result<Event, String> {
        let begin = Instant::now();
        let line = self.lines.recv_timeout(limit).map_err(|_| {
            let waited = begin.elapsed().as_secs();
            format!("it said nothing for {waited} s; its log: {}", tail(&self.log).replace('\n', " / "))
        })?;
        serde_json::from_str(&line).map_err(|error| format!("{error} in {line}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
