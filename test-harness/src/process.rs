//! Child processes that cannot outlive the rig, free ports, and waiting until something is ready.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Between two looks at whether something is ready.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running child process with a log file. It is killed when this is dropped, and by the kernel (on Linux) when the
/// process that started it dies in whatever way. It leads its own process group, so that Ctrl-C in a terminal
/// reaches only the rig, which then stops its children in its own order.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// Where the standard streams of a [`Process`] go; standard error always goes to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Standard output to the log, no standard input.
    Log,
    /// Standard input and output are pipes: see [`Process::take_pipes`].
    Pipes,
}

impl Process {
    /// Starts `command`. `name` is what errors call it; `log` is created or cut to nothing.
    ///
    /// # Errors
    /// If the log cannot be written or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path, streams: Streams) -> Result<Self> {
        // Append mode: some programs open /dev/stdout anew, and would overwrite each other's lines.
        File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
        let log_file = OpenOptions::new().append(true).open(log)?;
        match streams {
            Streams::Log => command.stdin(Stdio::null()).stdout(log_file.try_clone()?),
            Streams::Pipes => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
        };
        command.stderr(log_file).process_group(0);
        die_with_parent(&mut command);
        let program = command.get_program().to_os_string();
        let child = on_spawner_thread(move || command.spawn())
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipes of a process that was started with [`Streams::Pipes`]; `None` the second time.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Everything that the process has logged.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The path of the log.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of the log; empty if it cannot be read.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log().unwrap_or_default();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// How the process ended, if it has.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until `ready` gives a value, and gives it back.
    ///
    /// # Errors
    /// If the process ends first, or after `limit`; both with the tail of its log.
    pub async fn wait_until<T, F, Fut>(&mut self, limit: Duration, mut ready: F) -> Result<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Option<T>>,
    {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = ready().await {
                return Ok(value);
            }
            if let Some(status) = self.exit_status()? {
                bail!("{} ended ({}) before it was ready\n{}", self.name, describe(status), self.log_tail(40));
            }
            if Instant::now() >= deadline {
                bail!("{} was not ready after {limit:?}\n{}", self.name, self.log_tail(40));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// If it still runs after `limit`, with the tail of its log.
    pub async fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still ran after {limit:?}\n{}", self.name, self.log_tail(40));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Sends a signal, for example `libc::SIGTERM`, `SIGSTOP` or `SIGCONT`.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.exit_status()?.is_some() {
            bail!("{} has ended", self.name);
        }
        let pid = libc::pid_t::try_from(self.id())?;
        // SAFETY: kill(2) takes no pointers; the child has not been waited for, so the id is still its own.
        match unsafe { libc::kill(pid, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()).with_context(|| format!("cannot signal {}", self.name)),
        }
    }

    /// Asks the process to end (SIGTERM), and kills it if it has not within `limit`.
    ///
    /// # Errors
    /// If the system cannot tell how it ended.
    pub async fn stop(mut self, limit: Duration) -> Result<()> {
        if self.exit_status()?.is_none() {
            self.signal(libc::SIGTERM)?;
            let _killed_below_if_still_there = self.wait_exit(limit).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no status".to_owned(),
    }
}

/// Makes the kernel kill the child when its parent dies, also when the parent is killed itself.
fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        // SAFETY: runs between fork and exec, where only async-signal-safe calls are allowed: prctl, getppid and
        // the construction of an error from a number are.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // The parent may have died before prctl.
                if libc::getppid().unsigned_abs() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Runs `spawn` on a thread that lives as long as the program: Linux sends the parent-death signal when the *thread*
/// that forked ends, and a test's thread ends long before processes that tests share.
fn on_spawner_thread(spawn: impl FnOnce() -> io::Result<Child> + Send + 'static) -> Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static JOBS: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("rig-spawner".to_owned())
            .spawn(move || receiver.iter().for_each(|job| job()))
            .expect("the system refuses a thread");
        Mutex::new(sender)
    });
    let (answer, spawned) = mpsc::channel();
    jobs.lock()
        .map_err(|_| anyhow!("the spawner thread is gone"))?
        .send(Box::new(move || drop(answer.send(spawn()))))
        .map_err(|_| anyhow!("the spawner thread is gone"))?;
    Ok(spawned.recv()??)
}

/// A TCP port on 127.0.0.1 that nothing listens on, and that no other call gives out while this program runs, nor
/// one in another program that uses the rig. It lies below the range from which Linux takes the local ports of
/// outgoing connections, so that it stays free until it is used, and between restarts.
///
/// # Errors
/// If none is left.
pub fn free_port() -> Result<u16> {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());

    let locks = std::env::temp_dir().join("farebox-rig-ports");
    std::fs::create_dir_all(&locks)?;
    let mut taken = TAKEN.lock().map_err(|_| anyhow!("the table of ports is gone"))?;
    let start = u16::try_from(std::process::id() % u32::from(RANGE.end - RANGE.start))?;
    for step in 0..RANGE.end - RANGE.start {
        let port = RANGE.start + (start + step) % (RANGE.end - RANGE.start);
        if taken.contains(&port) {
            continue;
        }
        let lock = OpenOptions::new().create(true).append(true).open(locks.join(port.to_string()))?;
        if lock.try_lock().is_err() || TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        taken.insert(port);
        LOCKS.lock().map_err(|_| anyhow!("the table of ports is gone"))?.push(lock);
        return Ok(port);
    }
    bail!("no free port in {RANGE:?} on 127.0.0.1")
}

/// Waits until `ready` gives a value, and gives it back.
///
/// # Errors
/// After `limit`, naming `what` was waited for.
pub async fn wait_for<T, F, Fut>(what: &str, limit: Duration, mut ready: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready().await {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
