//! Child processes that die with the test binary, and ports that nobody else picks.

use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{channel, Sender};
use std::sync::{Mutex, OnceLock, PoisonError};

type Order = (Command, Sender<io::Result<Child>>);

/// Starts a child that the kernel kills when this process dies, however it dies.
///
/// PR_SET_PDEATHSIG follows the *thread* that forked, and a test's thread ends with the test. So one thread that
/// lives as long as the process starts all children: a server may outlive the test that started it or move between
/// threads.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();

    let parent = std::process::id();
    let die_with_parent = move || {
        // SAFETY: prctl only sets a flag of the calling process; it is async-signal-safe, as code after fork must be.
        let set = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if set != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: getppid has no preconditions.
        let parent_now = unsafe { libc::getppid() };
        // The parent may have died before the flag was set.
        if u32::try_from(parent_now) != Ok(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and touches no memory that another thread could have locked.
    unsafe { command.pre_exec(die_with_parent) };

    let (answer, child) = channel();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, work) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in work {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    spawner
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .expect("the spawner thread lives as long as the process");
    child.recv().expect("the spawner answers every order")
}

/// Sends a signal to a child that has not been waited for (so that the pid is still its own).
pub fn signal(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: kill has no memory preconditions; the pid belongs to a child that we have not reaped.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "kill: {}", io::Error::last_os_error());
}

/// The state letter of a process in /proc (`T` = stopped), if it exists.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// A loopback port that is ours as long as this value lives, also while no server listens on it.
///
/// Why not bind port 0 and let go? The kernel hands the same number out again, as some client's end of a connection
/// too, and a killed server could then not come back to it. So: a number below the kernel's own range, a lock file
/// that every test process respects, and a bind to see that no stranger listens. The cluster bus (+10000) stays below
/// that range as well.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

/// First port tried; the last is `FIRST + COUNT - 1`.
const FIRST: u16 = 12_000;
const COUNT: u16 = 10_000;

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        // SAFETY: getuid has no preconditions.
        let user = unsafe { libc::getuid() };
        let dir = std::env::temp_dir().join(format!("redis-lock-test-ports-{user}"));
        DirBuilder::new().recursive(true).create(&dir).unwrap();
        for attempt in 0..1000_u32 {
            let chance = RandomState::new().hash_one(attempt);
            let offset = u16::try_from(chance % u64::from(COUNT)).unwrap();
            let number = FIRST + offset;
            let lock = File::create(dir.join(number.to_string())).unwrap();
            // SAFETY: flock takes a descriptor that is open as long as `lock` lives.
            let locked = unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
            if locked == 0 && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port from {FIRST} on");
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
