//! Programs that are started here and end with this one, whatever happens.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::poll;

/// How long a server may take to end in order before it is killed.
const END: Duration = Duration::from_secs(10);
/// How much of what it said is shown.
const TAIL: usize = 2000;

/// A running server; dropped, it is stopped. The kernel kills it if this program dies.
pub struct Process {
    child: Child,
    log: File,
    /// What asks it to end in order.
    stop: i32,
}

impl Process {
    /// Standard output and error go into a file without a name.
    pub fn start(mut command: Command, stop: i32) -> std::io::Result<Process> {
        let log = tempfile::tempfile()?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        Ok(Process { child: support::spawn(command)?, log, stop })
    }

    /// The end of what it has said.
    pub fn said(&self) -> String {
        tail(&self.log)
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        support::signal(&self.child, self.stop);
        if poll(END, || self.has_ended().then_some(())).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The last part of a file that somebody else writes, without moving the place where they go on.
pub fn tail(file: &File) -> String {
    let length = file.metadata().map_or(0, |data| data.len());
    let mut bytes = [0; TAIL];
    let read = file.read_at(&mut bytes, length.saturating_sub(TAIL as u64)).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
}

/// A program in PATH, or where else its package may put it.
pub fn find(name: &str, elsewhere: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(elsewhere.iter().cloned()).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// What a program prints, in one line.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    if output.status.success() {
        return Ok(out);
    }
    Err(err.lines().last().unwrap_or("it failed and said nothing").to_owned())
}
