//! One member of etcd, as its package sets it: it writes to disk before it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use support::{poll, Port};
use tempfile::TempDir;

use crate::process::{find, output, Process};

const READY: Duration = Duration::from_secs(30);

pub struct Etcd {
    pub version: String,
    port: Port,
    _process: Process,
    _dir: TempDir,
    _peers: Port,
}

impl Etcd {
    pub fn start() -> Result<Etcd, String> {
        let program = find("etcd", &[]).ok_or("etcd is not installed: tools/bench-setup.sh")?;
        let version = output(Command::new(&program).arg("--version"))?.lines().next().unwrap_or_default().to_owned();
        let dir = tempfile::Builder::new().prefix("redis-lock-etcd-").tempdir().map_err(|error| error.to_string())?;
        let (port, peers) = (Port::reserve(), Port::reserve());
        let url = |port: &Port| format!("http://127.0.0.1:{}", port.number());
        let mut command = Command::new(program);
        command.arg("--data-dir").arg(dir.path());
        command.args(["--listen-client-urls", &url(&port), "--advertise-client-urls", &url(&port)]);
        command.args(["--listen-peer-urls", &url(&peers), "--initial-advertise-peer-urls", &url(&peers)]);
        command.args(["--initial-cluster", &format!("default={}", url(&peers))]);
        let mut process = Process::start(command, libc::SIGTERM).map_err(|error| error.to_string())?;
        let ready = poll(READY, || (process.has_ended() || is_healthy(&port)).then_some(()));
        if ready.is_none() || process.has_ended() {
            return Err(format!("etcd did not start: {}", process.said()));
        }
        Ok(Etcd { version, port, _process: process, _dir: dir, _peers: peers })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }
}

fn is_healthy(port: &Port) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port.number()))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"true\""))
}
