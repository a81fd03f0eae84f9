//! What an enemy sends while honest callers call: floods of requests from one source and from many,
//! messages as large as a datagram can be, and RTP at ports where others talk.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// Packets in one system call.
const BATCH: usize = 32;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// INVITE, REGISTER and OPTIONS in turn, each of a call of its own.
    Requests,
    /// A request of 60 kB.
    Large,
    /// G.711 with the right payload type, to all ports of a range in turn.
    Rtp {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
    },
}

/// A flood under way; it ends when dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Sends `per_s` packets a second to `to` from `sources` addresses of the loopback that nobody trusts.
    ///
    /// # Errors
    /// No sockets.
    pub fn start(kind: Kind, to: SocketAddrV4, sources: u16, per_s: u64) -> io::Result<Flood> {
        let sockets = (0..sources.max(1)).map(source).collect::<io::Result<Vec<_>>>()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (until, count) = (stop.clone(), sent.clone());
        let thread = std::thread::Builder::new()
            .name("flood".into())
            .spawn(move || run(kind, to, &sockets, per_s, &until, &count))?;
        Ok(Flood { stop, sent, thread: Some(thread) })
    }

    /// Ends it; packets sent.
    pub fn end(mut self) -> u64 {
        self.finish();
        self.sent.load(Ordering::Relaxed)
    }

    fn finish(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.finish();
    }
}

fn source(number: u16) -> io::Result<UdpSocket> {
    // None is the same as another, and none is 127.66.0.0.
    let [high, low] = number.saturating_add(1).to_be_bytes();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // What comes back is dropped by the kernel.
    socket.set_recv_buffer_size(4_096)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 66, high, low), 0)).into())?;
    Ok(socket.into())
}

/// The `number`th packet.
fn packet(kind: Kind, to: SocketAddrV4, number: u64, into: &mut Vec<u8>) -> SocketAddrV4 {
    into.clear();
    if let Kind::Rtp { first, last } = kind {
        let ports = u64::from((last - first) / 2 + 1);
        into.extend([0x80, 0]);
        into.extend(((number / ports) as u16).to_be_bytes());
        into.extend(((number / ports) as u32).wrapping_mul(160).to_be_bytes());
        into.extend(0xBAD_BADu32.to_be_bytes());
        into.extend([0x55; 160]);
        return SocketAddrV4::new(*to.ip(), first + 2 * (number % ports) as u16);
    }
    let method = ["INVITE", "REGISTER", "OPTIONS"][(number % 3) as usize];
    let text = format!(
        "{method} sip:700@{to} SIP/2.0\r\nVia: SIP/2.0/UDP 127.66.0.1:5060;branch=z9hG4bKx{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:x{number}@127.66.0.1>;tag=x{number}\r\nTo: <sip:700@{to}>\r\nCall-ID: x{number}@flood\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:x@127.66.0.1>\r\n"
    );
    into.extend(text.as_bytes());
    if kind == Kind::Large {
        while into.len() < 60_000 {
            into.extend(b"X-Filler: ");
            into.extend([b'a'; 4_000]);
            into.extend(b"\r\n");
        }
    }
    into.extend(b"Content-Length: 0\r\n\r\n");
    to
}

fn run(kind: Kind, to: SocketAddrV4, sockets: &[UdpSocket], per_s: u64, stop: &AtomicBool, sent: &AtomicU64) {
    let begin = Instant::now();
    let mut number = 0u64;
    let mut packets = vec![Vec::new(); BATCH];
    let mut targets = [to; BATCH];
    while !stop.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_micros() as u64).saturating_mul(per_s) / 1_000_000;
        while number < due && !stop.load(Ordering::Relaxed) {
            let count = BATCH.min((due - number) as usize);
            for index in 0..count {
                targets[index] = packet(kind, to, number + index as u64, &mut packets[index]);
            }
            let socket = &sockets[(number / BATCH as u64) as usize % sockets.len()];
            send(socket, packets.get(..count).unwrap_or_default(), &targets);
            number += count as u64;
            sent.store(number, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn send(socket: &UdpSocket, packets: &[Vec<u8>], targets: &[SocketAddrV4; BATCH]) {
    // SAFETY: zero is a valid value of these plain structures.
    let (mut names, mut vectors, mut headers): (
        [libc::sockaddr_in; BATCH],
        [libc::iovec; BATCH],
        [libc::mmsghdr; BATCH],
    ) = unsafe { std::mem::zeroed() };
    for (index, (packet, target)) in packets.iter().zip(targets).enumerate() {
        names[index].sin_family = libc::AF_INET as libc::sa_family_t;
        names[index].sin_port = target.port().to_be();
        names[index].sin_addr.s_addr = u32::from_ne_bytes(target.ip().octets());
        vectors[index] = libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
        headers[index].msg_hdr.msg_name = (&raw mut names[index]).cast();
        headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
        headers[index].msg_hdr.msg_iovlen = 1;
    }
    let mut done = 0;
    while done < packets.len() {
        // SAFETY: the headers from `done` on point at live names, vectors and packets, which are only read.
        let taken =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), &raw mut headers[done], (packets.len() - done) as u32, 0) };
        // An ICMP answer to an earlier packet is reported here once; a packet is left out for it.
        done += taken.max(1) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_arrives_from_as_many_sources_as_said() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(to) = target.local_addr().unwrap() else { panic!("bound to IPv4") };
        let flood = Flood::start(Kind::Requests, to, 3, 50_000).unwrap();
        let mut sources = std::collections::BTreeSet::new();
        let mut buffer = [0; 2_048];
        while sources.len() < 3 {
            let (length, from) = target.recv_from(&mut buffer).unwrap();
            assert!(buffer[..length].ends_with(b"Content-Length: 0\r\n\r\n"));
            sources.insert(from.ip());
        }
        assert!(flood.end() > 0);
        let mut large = Vec::new();
        packet(Kind::Large, to, 1, &mut large);
        assert!((60_000..65_000).contains(&large.len()));
        let there = packet(Kind::Rtp { first: 20_000, last: 20_009 }, to, 7, &mut large);
        assert_eq!((there.port(), large.len()), (20_004, 172));
    }
}
