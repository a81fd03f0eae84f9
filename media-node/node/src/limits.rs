//! Limits of the operating system: checked at the start, and explained.

use std::io;
use std::net::SocketAddr;

/// Descriptors that are not media: sockets, files, the cloud's connections.
const SPARE: u64 = 512;

/// Raises the limit of open descriptors as far as is allowed, for legs and streams of sound; what is
/// short, in words.
pub fn raise_descriptors(max_legs: u64, streams: u64) -> Option<String> {
    let wanted = max_legs * 2 + streams + SPARE;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Some(format!("the limit of descriptors cannot be read: {}", io::Error::last_os_error()));
    }
    if limit.rlim_cur < wanted {
        let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
        // SAFETY: `raised` is a valid limit to read from.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    (limit.rlim_cur < wanted).then(|| {
        format!(
            "{} descriptors are allowed; {max_legs} media legs need {wanted} (two each): raise LimitNOFILE or `ulimit -n`, or narrow media.ports",
            limit.rlim_cur
        )
    })
}

/// Why a socket cannot be bound, with the owner of the port where that can be found.
pub fn explain(setting: &str, transport: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let owner = owner_of(transport, address.port()).unwrap_or_else(|| "another process".into());
            format!(
                "{setting}: {transport} port {} of {} is taken by {owner}: stop it or choose another port",
                address.port(),
                address.ip()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{setting}: {transport} port {} needs a privilege: choose a port above 1023", address.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{setting}: {} is no address of this machine", address.ip())
        }
        _ => format!("{setting}: {transport} {address}: {error}"),
    }
}

/// The process that has a port bound: its name and id.
fn owner_of(transport: &str, port: u16) -> Option<String> {
    let inode = ["", "6"].iter().find_map(|suffix| {
        let table = std::fs::read_to_string(format!("/proc/net/{transport}{suffix}")).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let local = fields.get(1)?.rsplit(':').next()?;
            let state = *fields.get(3)?;
            // 0A is LISTEN; UDP sockets have no such state.
            let bound = transport == "udp" || state == "0A";
            (bound && u16::from_str_radix(local, 16).ok()? == port)
                .then(|| fields.get(9).map(ToString::to_string))
                .flatten()
        })
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        // `/proc/self` and the like say the same twice.
        if process.file_name().to_string_lossy().parse::<u32>().is_err() {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let owns =
            files.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|l| l.as_os_str() == wanted.as_str()));
        if owns {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_owner() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let error = std::net::UdpSocket::bind(address).unwrap_err();
        let text = explain("sip.listen", "udp", address, &error);
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
        assert!(text.starts_with("sip.listen: udp port"));
    }

    #[test]
    fn a_limit_nobody_grants_is_explained() {
        assert!(raise_descriptors(1, 1).is_none());
        let short = raise_descriptors(u64::from(u32::MAX), 0).unwrap();
        assert!(short.contains("ulimit -n"), "{short}");
    }
}
