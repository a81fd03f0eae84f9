//! Processes: starting, stopping, who owns a port, how much memory they hold. Linux only.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts a program in its own process group with its output appended to a log file.
pub fn spawn(command: &mut Command, log: &Path) -> Result<Child> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let out = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
    let name = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))
}

/// Sends a signal; `false` where the process is gone.
pub fn signal(pid: u32, signal: i32) -> bool {
    // SAFETY: kill(2) takes plain integers and touches no memory of ours.
    unsafe { libc::kill(pid as i32, signal) == 0 }
}

/// Whether a process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

/// Asks a child to stop and waits; kills it after `patience`. `true`: it stopped by itself.
pub fn stop(child: &mut Child, patience: Duration) -> Result<bool> {
    if child.try_wait()?.is_some() {
        return Ok(true);
    }
    signal(child.id(), libc::SIGTERM);
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

/// Waits until a process is gone; `false` after `patience`.
pub fn wait_gone(pid: u32, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        if !alive(pid) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    !alive(pid)
}

/// Fails with the owner's name where a TCP port cannot be bound.
pub fn check_tcp_port(bind: IpAddr, port: u16, what: &str, setting: &str) -> Result<()> {
    match TcpListener::bind(SocketAddr::new(bind, port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(taken(bind, port, "tcp", what, setting, &error)),
    }
}

/// Fails with the owner's name where a UDP port cannot be bound.
pub fn check_udp_port(bind: IpAddr, port: u16, what: &str, setting: &str) -> Result<()> {
    match UdpSocket::bind(SocketAddr::new(bind, port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!(taken(bind, port, "udp", what, setting, &error)),
    }
}

fn taken(bind: IpAddr, port: u16, protocol: &str, what: &str, setting: &str, error: &std::io::Error) -> String {
    let owner = owner(port, protocol).map_or_else(String::new, |o| format!(", held by {o}"));
    format!(
        "{what} cannot use {protocol} port {port} on {bind}: {error}{owner}.\n  \
         Stop that program, or set `{setting}` in hotline.toml to a free port."
    )
}

/// `name (pid 123)` of the process that holds a local port.
pub fn owner(port: u16, protocol: &str) -> Option<String> {
    let mut inodes = BTreeSet::new();
    for table in [protocol.to_owned(), format!("{protocol}6")] {
        let text = std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = fields.get(1).and_then(|a| a.rsplit(':').next());
            let listening = protocol == "udp" || fields.get(3) == Some(&"0A");
            if listening && local.and_then(|p| u16::from_str_radix(p, 16).ok()) == Some(port) {
                inodes.extend(fields.get(9).map(|i| format!("socket:[{i}]")));
            }
        }
    }
    let processes = std::fs::read_dir("/proc").ok()?;
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for file in files.flatten() {
            let link = std::fs::read_link(file.path()).unwrap_or_default();
            if inodes.contains(link.to_string_lossy().as_ref()) {
                let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                return Some(format!("{} (pid {pid})", name.trim()));
            }
        }
    }
    None
}

/// Resident memory of a process and all its descendants, MiB.
pub fn resident_mib(root: u32) -> u64 {
    let mut parents = Vec::new();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let parent = fields.get(1).and_then(|p| p.parse::<u32>().ok()).unwrap_or(0);
        let pages = fields.get(21).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0);
        parents.push((pid, parent, pages));
    }
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        for (pid, parent, _) in &parents {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            break;
        }
    }
    parents.iter().filter(|(pid, ..)| family.contains(pid)).map(|(.., pages)| pages * 4 / 1024).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_owner() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_tcp_port(IpAddr::from([127, 0, 0, 1]), port, "the local cloud", "cloud_port").unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        assert!(text.contains("cloud_port"), "{text}");
    }

    #[test]
    fn own_memory_is_seen() {
        assert!(resident_mib(std::process::id()) > 0);
    }
}
