//! The limit of the machine: a relay of sockets that does nothing but relay.
//!
//! It waits with epoll, receives and sends: what any relay with a socket for each leg must do. It
//! looks at no packet, keeps no count and opens no RTCP port.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::Subject;

/// The first of its ports; a call has two.
const FIRST_PORT: u16 = 50_000;
/// The most calls its ports are enough for.
pub const MOST_CALLS: u16 = 7_000;
/// As many threads as the node has for media on two cores.
const THREADS: usize = 2;
const READY: &str = "ready";

fn port(call: usize, leg: usize) -> u16 {
    FIRST_PORT + (call * 2 + leg) as u16
}

/// Relays between the two peers of `calls` calls until the process is stopped.
///
/// # Errors
/// A port is taken, or the system has no descriptors left.
pub fn relay(calls: u16, peers: [u16; 2]) -> Result<()> {
    let mut shards: Vec<Vec<[UdpSocket; 2]>> = (0..THREADS).map(|_| Vec::new()).collect();
    for call in 0..usize::from(calls.min(MOST_CALLS)) {
        let legs = [leg(call, 0, peers[0])?, leg(call, 1, peers[1])?];
        shards[call % THREADS].push(legs);
    }
    println!("{READY}");
    let threads: Vec<_> = shards.into_iter().map(|pairs| std::thread::spawn(move || serve(&pairs))).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a thread of the relay ended"))??;
    }
    Ok(())
}

fn leg(call: usize, leg: usize, peer: u16) -> Result<UdpSocket> {
    let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port(call, leg));
    let socket = UdpSocket::bind(local).with_context(|| format!("binding {local}"))?;
    socket.set_nonblocking(true)?;
    socket.connect((Ipv4Addr::LOCALHOST, peer))?;
    Ok(socket)
}

fn serve(pairs: &[[UdpSocket; 2]]) -> io::Result<()> {
    // SAFETY: no pointers.
    let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if poll < 0 {
        return Err(io::Error::last_os_error());
    }
    for (index, pair) in pairs.iter().enumerate() {
        for (leg, socket) in pair.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: (index * 2 + leg) as u64 };
            // SAFETY: both descriptors are open, `event` is alive.
            if unsafe { libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
    let mut packet = [0u8; 2_048];
    loop {
        // SAFETY: `events` has room for as many as are asked for.
        let count = unsafe { libc::epoll_wait(poll, events.as_mut_ptr(), events.len() as i32, -1) };
        for event in events.iter().take(count.max(0) as usize) {
            let which = event.u64 as usize;
            let Some(pair) = pairs.get(which / 2) else { continue };
            if let Ok(length) = pair[which % 2].recv(&mut packet) {
                let _ = pair[1 - which % 2].send(&packet[..length]);
            }
        }
    }
}

/// Starts it as a process of its own, so that its CPU time is counted as every subject's.
///
/// # Errors
/// It does not start.
pub fn start(calls: u16, scratch: &Path) -> Result<Subject> {
    let (program, log) = (std::env::current_exe()?, scratch.join("relay.log"));
    let calls = calls.to_string();
    Subject::start(&program, &["--bare-relay", &calls], &log, || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains(READY))
    })
}

/// Where callers and agents of its calls send to.
pub fn pairs(calls: u16) -> Vec<(SocketAddrV4, SocketAddrV4)> {
    let at = |call, leg| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port(call, leg));
    (0..usize::from(calls)).map(|call| (at(call, 0), at(call, 1))).collect()
}
