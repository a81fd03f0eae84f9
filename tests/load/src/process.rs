//! The system under test: started, watched from outside through `/proc`, stopped.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A process started by the load tool; it is stopped when this is dropped.
pub struct Subject {
    child: Child,
    /// From its start to its first answer, seconds.
    pub start_s: f64,
}

impl Subject {
    /// Starts a program with its output in `log` and waits until `ready` says so.
    ///
    /// # Errors
    /// The program cannot be started, ends, or is not ready within ten seconds.
    pub fn start(program: &Path, args: &[&str], log: &Path, mut ready: impl FnMut() -> bool) -> Result<Subject> {
        let output = File::create(log).with_context(|| format!("{}", log.display()))?;
        let begin = Instant::now();
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        while !ready() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}; see {}", program.display(), log.display());
            }
            if begin.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
                bail!("{} does not answer; see {}", program.display(), log.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(Subject { child, start_s: begin.elapsed().as_secs_f64() })
    }

    /// The processes whose figures count: the child and its children (Kamailio forks workers).
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let mut all = vec![own];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1))
                .and_then(|text| text.parse().ok());
            if parent == Some(own) {
                all.push(pid);
            }
        }
        all
    }

    /// CPU time used so far, seconds, user and system, to the nanosecond (`schedstat`).
    pub fn cpu_s(&self) -> f64 {
        self.processes().into_iter().map(cpu_of).sum()
    }

    /// Resident memory, kilobytes; shared pages are counted in each process.
    pub fn memory_kb(&self) -> u64 {
        let resident = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0)
        };
        self.processes().into_iter().map(resident).sum()
    }

    /// Open descriptors, and how many of them are UDP sockets.
    pub fn descriptors(&self) -> (u64, u64) {
        let inodes = |table: &str| -> Vec<String> {
            let text = fs::read_to_string(table).unwrap_or_default();
            text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9).map(str::to_string)).collect()
        };
        let udp: HashSet<String> =
            ["/proc/net/udp", "/proc/net/udp6"].into_iter().flat_map(inodes).map(|n| format!("socket:[{n}]")).collect();
        let (mut all, mut ports) = (0, 0);
        for pid in self.processes() {
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                all += 1;
                let target = fs::read_link(entry.path()).unwrap_or_default();
                ports += u64::from(target.to_str().is_some_and(|text| udp.contains(text)));
            }
        }
        (all, ports)
    }

    /// Asks it to stop and waits.
    pub fn stop(&mut self) {
        // SAFETY: a signal to a child that has not been waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        for _ in 0..500 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.stop();
    }
}

/// CPU seconds of a process's living threads.
fn cpu_of(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds: u64 = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    nanoseconds as f64 / 1e9
}

/// CPU seconds of this process.
pub fn own_cpu_s() -> f64 {
    cpu_of(std::process::id())
}

/// A probe for [`Subject::start`]: an OPTIONS request to a SIP address is answered.
///
/// # Errors
/// No socket for it.
pub fn answers_options(to: std::net::SocketAddr) -> Result<impl FnMut() -> bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    let mut count = 0;
    Ok(move || {
        count += 1;
        let request = format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKprobe{count};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:probe@{local}>;tag=p\r\nTo: <sip:{to}>\r\nCall-ID: probe-{count}@load\r\nCSeq: {count} OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = socket.send_to(request.as_bytes(), to);
        socket.recv(&mut [0; 4_096]).is_ok()
    })
}
