//! The RTP generator: one socket for all callers and one for all agents, batched system calls,
//! kernel timestamps at arrival. Each packet carries its stream, its number and when it left.

use std::collections::HashMap;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Packets of one system call.
const BATCH: usize = 64;
/// Packets that leave with the same time stamp: few, for their own way is in the delay.
const SEND_BATCH: usize = 8;
/// Bytes of an RTP packet with 20 ms of G.711.
const PACKET: usize = 172;
/// Marks our own packets: the node's prompts do not carry it.
const MAGIC: u32 = 0x484C_4C44;
/// Delays above this many microseconds are counted as this much.
const MAX_DELAY_US: usize = 1_000_000;

/// Which side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Caller,
    Agent,
}

/// Names a stream: it may be that of a caller or of an agent.
pub type StreamId = u32;

#[derive(Debug, Clone)]
struct Stream {
    to: SocketAddrV4,
    side: Side,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    speaks: bool,
    measured: bool,
    phase: u64,
    sent: u32,
    received: u32,
    last_transit_us: i64,
    jitter_us: f64,
    /// The first stream that was heard here.
    heard: Option<StreamId>,
}

/// What a measured interval showed.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub sent: u64,
    pub received: u64,
    /// Microseconds, one-way, through the subject.
    pub delay_p50_us: f64,
    pub delay_p99_us: f64,
    pub delay_max_us: f64,
    /// RFC 3550 jitter, the 99th percentile over streams.
    pub jitter_p99_us: f64,
}

impl Figures {
    /// Packets that did not arrive.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

/// Sends and receives for all calls.
pub struct Rtp {
    sockets: [UdpSocket; 2],
    streams: HashMap<StreamId, Stream>,
    /// The streams whose turn it is at each of the 20 milliseconds of a frame.
    phases: Vec<Vec<StreamId>>,
    by_source: HashMap<(u16, bool), StreamId>,
    next: StreamId,
    millisecond: u64,
    /// Counts up with each measured interval; 0: none runs.
    window: u32,
    windows: u32,
    sent: u64,
    received: u64,
    delays: Vec<u32>,
    buffers: Box<[[u8; 2_048]; BATCH]>,
}

fn now_ns() -> u64 {
    let mut time: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn bind(port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&address.into()).with_context(|| format!("UDP port {port} of the load tool"))?;
    socket.set_nonblocking(true)?;
    let on: libc::c_int = 1;
    let buffer: libc::c_int = 16 << 20;
    for (option, value) in [(libc::SO_TIMESTAMPNS, on), (libc::SO_RCVBUFFORCE, buffer), (libc::SO_SNDBUFFORCE, buffer)]
    {
        // SAFETY: an int of the size stated. Without the rights for it the buffer stays small.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            );
        }
    }
    Ok(socket.into())
}

impl Rtp {
    /// Binds the two ports.
    ///
    /// # Errors
    /// A port is taken.
    pub fn new(caller_port: u16, agent_port: u16) -> Result<Rtp> {
        Ok(Rtp {
            sockets: [bind(caller_port)?, bind(agent_port)?],
            streams: HashMap::new(),
            phases: vec![Vec::new(); 20],
            by_source: HashMap::new(),
            next: 1,
            millisecond: 0,
            window: 0,
            windows: 0,
            sent: 0,
            received: 0,
            delays: vec![0; MAX_DELAY_US + 1],
            buffers: Box::new([[0; 2_048]; BATCH]),
        })
    }

    /// A stream to the subject's port; with `speaks` it sends a packet every 20 ms from now on.
    pub fn add(&mut self, to: SocketAddrV4, side: Side, speaks: bool) -> StreamId {
        let id = self.next;
        self.next += 1;
        let phase = u64::from(id).wrapping_mul(7) % 20;
        let random = id.wrapping_mul(2_654_435_761);
        let stream = Stream {
            to,
            side,
            ssrc: random,
            sequence: random as u16,
            timestamp: random.rotate_left(9),
            speaks,
            measured: true,
            phase,
            sent: 0,
            received: 0,
            last_transit_us: 0,
            jitter_us: 0.0,
            heard: None,
        };
        self.by_source.insert((to.port(), side == Side::Agent), id);
        self.phases[phase as usize].push(id);
        self.streams.insert(id, stream);
        id
    }

    /// Ends a stream.
    pub fn remove(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            self.by_source.remove(&(stream.to.port(), stream.side == Side::Agent));
            self.phases[stream.phase as usize].retain(|other| *other != id);
        }
    }

    /// Whether packets that a stream sends from now on are measured while an interval runs.
    pub fn measure(&mut self, id: StreamId, measured: bool) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.measured = measured;
        }
    }

    /// Packets that reached the address of a stream, whatever they carried.
    pub fn heard(&self, id: StreamId) -> u32 {
        self.streams.get(&id).map_or(0, |stream| stream.received)
    }

    /// The first stream of ours whose audio came out at this one.
    pub fn heard_from(&self, id: StreamId) -> Option<StreamId> {
        self.streams.get(&id)?.heard
    }

    /// Sends a key as RFC 4733 telephone events of payload type 101.
    pub fn press(&mut self, id: StreamId, event: u8) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let socket = &self.sockets[usize::from(stream.side == Side::Agent)];
        for step in 1..=7u16 {
            stream.sequence = stream.sequence.wrapping_add(1);
            let [high, low] = (160 * step.min(4)).to_be_bytes();
            let mut packet = vec![0x80, if step == 1 { 0x80 | 101 } else { 101 }];
            packet.extend(stream.sequence.to_be_bytes());
            packet.extend(stream.timestamp.to_be_bytes());
            packet.extend(stream.ssrc.to_be_bytes());
            packet.extend([event, if step > 4 { 0x8A } else { 0x0A }, high, low]);
            let _ = socket.send_to(&packet, stream.to);
        }
        stream.timestamp = stream.timestamp.wrapping_add(640);
    }

    /// Packets sent from now on are measured.
    pub fn start_window(&mut self) {
        self.windows += 1;
        self.window = self.windows;
        self.sent = 0;
        self.received = 0;
        self.delays.fill(0);
        for stream in self.streams.values_mut() {
            stream.jitter_us = 0.0;
            stream.last_transit_us = 0;
        }
    }

    /// Packets sent from now on are not; those under way still count.
    pub fn stop_window(&mut self) {
        self.window = 0;
    }

    /// Packets that all measured streams together send in a second.
    pub fn rate_per_s(&self) -> u64 {
        self.streams.values().filter(|stream| stream.speaks && stream.measured).count() as u64 * 50
    }

    /// Ends all streams.
    pub fn clear(&mut self) {
        self.streams.clear();
        self.by_source.clear();
        self.phases.iter_mut().for_each(Vec::clear);
    }

    /// What the last interval showed.
    pub fn figures(&self) -> Figures {
        let percentile = |share: f64| {
            let wanted = (self.received as f64 * share).ceil().max(1.0) as u64;
            let mut seen = 0u64;
            self.delays.iter().position(|count| {
                seen += u64::from(*count);
                seen >= wanted
            })
        };
        let mut jitters: Vec<f64> = self.streams.values().map(|stream| stream.jitter_us).collect();
        jitters.sort_by(f64::total_cmp);
        Figures {
            sent: self.sent,
            received: self.received,
            delay_p50_us: percentile(0.5).unwrap_or(0) as f64,
            delay_p99_us: percentile(0.99).unwrap_or(0) as f64,
            delay_max_us: self.delays.iter().rposition(|count| *count > 0).unwrap_or(0) as f64,
            jitter_p99_us: jitters
                .get((jitters.len() * 99 / 100).min(jitters.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0.0),
        }
    }

    /// Does what is due at this millisecond (any clock that counts them): sends, then receives.
    pub fn tick(&mut self, millisecond: u64) {
        if self.millisecond == 0 || millisecond > self.millisecond + 200 {
            self.millisecond = millisecond.saturating_sub(1);
        }
        while self.millisecond < millisecond {
            self.millisecond += 1;
            let phase = (self.millisecond % 20) as usize;
            let ids = std::mem::take(&mut self.phases[phase]);
            for side in [Side::Caller, Side::Agent] {
                self.send_phase(&ids, side);
            }
            self.phases[phase] = ids;
            self.receive();
        }
        self.receive();
    }

    fn send_phase(&mut self, ids: &[StreamId], side: Side) {
        let mut packets = [[0xFFu8; PACKET]; BATCH];
        let mut targets = [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0); BATCH];
        let mut count = 0;
        for id in ids {
            let Some(stream) = self.streams.get_mut(id).filter(|stream| stream.side == side && stream.speaks) else {
                continue;
            };
            stream.sequence = stream.sequence.wrapping_add(1);
            stream.timestamp = stream.timestamp.wrapping_add(160);
            stream.sent += 1;
            let packet = &mut packets[count];
            packet[0] = 0x80;
            packet[1] = 0;
            packet[2..4].copy_from_slice(&stream.sequence.to_be_bytes());
            packet[4..8].copy_from_slice(&stream.timestamp.to_be_bytes());
            packet[8..12].copy_from_slice(&stream.ssrc.to_be_bytes());
            packet[12..16].copy_from_slice(&MAGIC.to_be_bytes());
            let window = if stream.measured { self.window } else { 0 };
            packet[16..20].copy_from_slice(&window.to_be_bytes());
            self.sent += u64::from(window > 0);
            packet[20..24].copy_from_slice(&id.to_be_bytes());
            targets[count] = stream.to;
            count += 1;
            if count == SEND_BATCH {
                self.send_batch(side, &mut packets, &targets, count);
                count = 0;
            }
        }
        self.send_batch(side, &mut packets, &targets, count);
    }

    fn send_batch(
        &mut self,
        side: Side,
        packets: &mut [[u8; PACKET]; BATCH],
        targets: &[SocketAddrV4; BATCH],
        count: usize,
    ) {
        if count == 0 {
            return;
        }
        let now = now_ns().to_be_bytes();
        // SAFETY: zero is a valid value of these plain structures.
        let (mut names, mut vectors, mut headers): (
            [libc::sockaddr_in; BATCH],
            [libc::iovec; BATCH],
            [libc::mmsghdr; BATCH],
        ) = unsafe { zeroed() };
        for index in 0..count {
            packets[index][24..32].copy_from_slice(&now);
            names[index].sin_family = libc::AF_INET as libc::sa_family_t;
            names[index].sin_port = targets[index].port().to_be();
            names[index].sin_addr.s_addr = u32::from_ne_bytes(targets[index].ip().octets());
            vectors[index] = libc::iovec { iov_base: packets[index].as_mut_ptr().cast(), iov_len: PACKET };
            headers[index].msg_hdr.msg_name = (&raw mut names[index]).cast();
            headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            headers[index].msg_hdr.msg_iov = &raw mut vectors[index];
            headers[index].msg_hdr.msg_iovlen = 1;
        }
        let socket = self.sockets[usize::from(side == Side::Agent)].as_raw_fd();
        let mut sent = 0;
        while sent < count {
            // SAFETY: the headers from `sent` to `count` point at live names, vectors and packets.
            let done = unsafe { libc::sendmmsg(socket, &raw mut headers[sent], (count - sent) as u32, 0) };
            // An ICMP answer to an earlier packet is reported here once; the packet itself is not sent.
            sent += done.max(1) as usize;
        }
    }

    fn receive(&mut self) {
        for side in [Side::Caller, Side::Agent] {
            while self.receive_batch(side) == BATCH {}
        }
    }

    fn receive_batch(&mut self, side: Side) -> usize {
        #[repr(align(8))]
        struct Control([u8; 64]);
        let mut controls: [Control; BATCH] = std::array::from_fn(|_| Control([0; 64]));
        // SAFETY: zero is a valid value of these plain structures.
        let (mut names, mut vectors, mut headers): (
            [libc::sockaddr_in; BATCH],
            [libc::iovec; BATCH],
            [libc::mmsghdr; BATCH],
        ) = unsafe { zeroed() };
        for index in 0..BATCH {
            vectors[index] = libc::iovec { iov_base: self.buffers[index].as_mut_ptr().cast(), iov_len: 2_048 };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = (&raw mut names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = controls[index].0.as_mut_ptr().cast();
            header.msg_controllen = 64;
        }
        let socket = self.sockets[usize::from(side == Side::Agent)].as_raw_fd();
        // SAFETY: all headers point at live buffers of the stated sizes.
        let count = unsafe {
            libc::recvmmsg(socket, headers.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        let count = count.max(0) as usize;
        for index in 0..count {
            let length = headers[index].msg_len as usize;
            let source = u16::from_be(names[index].sin_port);
            // SAFETY: the kernel filled the control buffer that this header points at.
            let arrived = unsafe { arrival_ns(&headers[index].msg_hdr) }.unwrap_or_else(now_ns);
            let mut packet = [0u8; 32];
            let known = length.min(32);
            packet[..known].copy_from_slice(&self.buffers[index][..known]);
            self.arrived(side, source, &packet, length, arrived);
        }
        count
    }

    fn arrived(&mut self, side: Side, source: u16, packet: &[u8; 32], length: usize, arrived_ns: u64) {
        // RTCP comes from the odd ports; it belongs to no stream.
        let Some(here) = self.by_source.get(&(source, side == Side::Agent)).copied() else { return };
        if let Some(stream) = self.streams.get_mut(&here) {
            stream.received += 1;
        }
        let number = |at: usize| u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        if length != PACKET || number(12) != MAGIC {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&here) {
            stream.heard.get_or_insert(number(20));
        }
        if number(16) == 0 || number(16) != self.windows {
            return;
        }
        let sent_ns = (u64::from(number(24)) << 32) | u64::from(number(28));
        let delay_us = arrived_ns.saturating_sub(sent_ns) / 1_000;
        self.received += 1;
        self.delays[(delay_us as usize).min(MAX_DELAY_US)] += 1;
        if let Some(from) = self.streams.get_mut(&number(20)) {
            let transit = delay_us as i64;
            if from.last_transit_us > 0 {
                from.jitter_us += ((transit - from.last_transit_us).abs() as f64 - from.jitter_us) / 16.0;
            }
            from.last_transit_us = transit;
        }
    }
}

/// When the kernel took a datagram in (`SO_TIMESTAMPNS`).
///
/// # Safety
/// `header` must be as `recvmmsg` left it, its control buffer alive.
unsafe fn arrival_ns(header: &libc::msghdr) -> Option<u64> {
    // SAFETY: promised by the caller; the macros stay within the control buffer.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}

/// Whether so many datagrams a second can be handled at all without losing any: the machine's own
/// floor for a send and a receive, in microseconds of CPU.
///
/// # Errors
/// No sockets.
pub fn udp_floor_us() -> io::Result<f64> {
    let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    a.connect(b.local_addr()?)?;
    b.connect(a.local_addr()?)?;
    let (packet, mut buffer) = ([0u8; PACKET], [0u8; 2_048]);
    let begin = crate::process::own_cpu_s();
    for _ in 0..100_000 {
        a.send(&packet)?;
        b.recv(&mut buffer)?;
    }
    Ok((crate::process::own_cpu_s() - begin) * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_echoed_is_measured_and_what_is_dropped_is_lost() {
        let mut rtp = Rtp::new(0, 0).unwrap();
        let (near, far) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let port = |socket: &UdpSocket| match socket.local_addr().unwrap() {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => unreachable!("bound to IPv4"),
        };
        let agent_address = rtp.sockets[1].local_addr().unwrap();
        let caller = rtp.add(port(&near), Side::Caller, true);
        let agent = rtp.add(port(&far), Side::Agent, false);
        rtp.start_window();
        let mut buffer = [0; 2_048];
        for frame in 0..10u64 {
            for millisecond in 1..=20 {
                rtp.tick(1_000 + frame * 20 + millisecond);
            }
            let length = near.recv(&mut buffer).unwrap();
            // Two of ten do not reach the other side.
            if frame % 5 != 4 {
                far.send_to(&buffer[..length], agent_address).unwrap();
            }
        }
        rtp.stop_window();
        rtp.tick(2_000);
        let figures = rtp.figures();
        assert_eq!((figures.sent, figures.received, figures.lost()), (10, 8, 2));
        assert!(figures.delay_p50_us > 0.0 && figures.delay_p99_us >= figures.delay_p50_us);
        assert_eq!((rtp.heard(agent), rtp.heard(caller)), (8, 0));
        rtp.press(caller, 1);
        assert_eq!(near.recv(&mut buffer).unwrap(), 16);
        rtp.remove(caller);
        rtp.remove(agent);
        assert!(rtp.streams.is_empty() && rtp.by_source.is_empty());
    }
}
