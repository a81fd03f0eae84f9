//! What a shard asks of the network, behind a trait: sockets and epoll here, memory in tests.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use super::MediaError;

/// Expedited forwarding (RFC 3246), for voice.
const TOS_EF: u32 = 0xB8;

/// A datagram socket as a leg uses it.
pub(super) trait MediaSocket {
    /// Sends to `to`, or, where that is `None`, to the peer connected to. `false`: not taken.
    fn send(&mut self, to: Option<SocketAddr>, datagram: &[u8]) -> bool;
    /// Lets only this peer through from now on (`None`: everybody again). `false`: unchanged.
    fn connect(&mut self, peer: Option<SocketAddr>) -> bool;
}

impl MediaSocket for UdpSocket {
    fn send(&mut self, to: Option<SocketAddr>, datagram: &[u8]) -> bool {
        let sent = match to {
            Some(to) => self.send_to(datagram, to),
            None => UdpSocket::send(self, datagram),
        };
        sent.is_ok()
    }

    fn connect(&mut self, peer: Option<SocketAddr>) -> bool {
        if let Some(peer) = peer {
            return UdpSocket::connect(self, peer).is_ok();
        }
        // SAFETY: an all-zero `sockaddr` is a valid value of it.
        let mut nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
        nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
        // SAFETY: the descriptor is open, the address lives until the call returns.
        unsafe { libc::connect(self.as_raw_fd(), &nobody, size_of::<libc::sockaddr>() as libc::socklen_t) == 0 }
    }
}

/// Binds a socket for media; the error's kind is `AddrInUse` where the port is taken.
pub(super) fn bind(ip: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if ip.is_ipv4() {
        // Without it packets only lack their priority.
        let _ = socket.set_tos_v4(TOS_EF);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn checked(what: &'static str, result: libc::c_int) -> Result<libc::c_int, MediaError> {
    if result < 0 { Err(MediaError::Io { what, source: io::Error::last_os_error() }) } else { Ok(result) }
}

fn owned(what: &'static str, result: libc::c_int) -> Result<OwnedFd, MediaError> {
    let descriptor = checked(what, result)?;
    // SAFETY: fresh from the kernel and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets this thread's sleeps end within microseconds of what was asked for instead of 50 later.
pub(super) fn precise_sleeps() {
    // SAFETY: no pointers are involved. A refusal only costs precision.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000, 0, 0, 0) };
}

/// How often this thread has slept and been woken since its start.
pub(super) fn wakings() -> u64 {
    // SAFETY: zero is a valid value of this plain structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives until the call returns.
    let result = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    if result == 0 { usage.ru_nvcsw.max(0) as u64 } else { 0 }
}

/// Brings `bytes` of memory behind a reference into the cache, where this processor is known.
pub(super) fn prefetch<T>(value: &T, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..bytes.min(size_of::<T>()).div_ceil(64) {
        let place = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line * 64);
        // SAFETY: a hint to the processor, which reads nothing that the program could see.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (value, bytes);
}

/// An epoll instance, level-triggered.
#[derive(Debug)]
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> Result<Self, MediaError> {
        // SAFETY: no pointers are involved.
        owned("epoll_create1", unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    /// Watches a descriptor for input; it leaves by being closed.
    pub fn add(&self, descriptor: RawFd, key: u64) -> Result<(), MediaError> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key };
        // SAFETY: both descriptors are open, the event lives until the call returns.
        checked("epoll_ctl", unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, descriptor, &mut event)
        })
        .map(|_| ())
    }

    /// Waits for input and returns the keys of what has some.
    pub fn wait<'a>(&self, events: &'a mut [libc::epoll_event]) -> &'a [libc::epoll_event] {
        let most = events.len().min(1_024) as libc::c_int;
        // SAFETY: the kernel writes at most `most` events into a slice at least that long.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), most, -1) };
        // Interrupted by a signal: nothing, and the caller waits again.
        events.get(..count.max(0) as usize).unwrap_or_default()
    }
}

/// Wakes a thread from its wait.
#[derive(Debug)]
pub(super) struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> Result<Self, MediaError> {
        // SAFETY: no pointers are involved.
        owned("eventfd", unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(Self)
    }

    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn wake(&self) {
        // SAFETY: eight bytes from a value that outlives the call. A full counter wakes as well.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const ONE).cast(), 8) };
    }

    pub fn clear(&self) {
        read_counter(&self.0);
    }
}

static ONE: u64 = 1;

/// Reads an eventfd or timerfd: how often since the last time; 0 where not at all.
fn read_counter(descriptor: &OwnedFd) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight bytes into a value that is eight bytes long.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), (&raw mut count).cast(), 8) };
    if read == 8 { count } else { 0 }
}

/// A periodic timer.
#[derive(Debug)]
pub(super) struct Timer {
    descriptor: OwnedFd,
    running: bool,
}

impl Timer {
    pub fn new() -> Result<Self, MediaError> {
        // SAFETY: no pointers are involved.
        let result = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        Ok(Self { descriptor: owned("timerfd_create", result)?, running: false })
    }

    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Starts or stops it.
    pub fn set(&mut self, running: bool, period_us: u32) {
        if running == self.running {
            return;
        }
        let period = libc::timespec { tv_sec: 0, tv_nsec: if running { i64::from(period_us) * 1_000 } else { 0 } };
        let setting = libc::itimerspec { it_interval: period, it_value: period };
        // SAFETY: the descriptor is open, the setting lives until the call returns.
        let result = unsafe { libc::timerfd_settime(self.descriptor.as_raw_fd(), 0, &setting, std::ptr::null_mut()) };
        if result == 0 {
            self.running = running;
        }
    }

    /// How many periods have passed since the last call.
    pub fn passed(&self) -> u64 {
        read_counter(&self.descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_connected_socket_hears_one_peer_until_it_is_let_go() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // A port chosen by the kernel is lost with the connection; a leg's is always named.
        let mut socket = (33_000..33_100).find_map(|port| bind(local, port).ok()).unwrap();
        let address = socket.local_addr().unwrap();
        let (friend, foe) = (bind(local, 0).unwrap(), bind(local, 0).unwrap());
        let mut buffer = [0; 8];
        assert!(MediaSocket::connect(&mut socket, Some(friend.local_addr().unwrap())));
        foe.send_to(b"foe", address).unwrap();
        friend.send_to(b"friend", address).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 6);
        assert!(socket.recv(&mut buffer).is_err());
        assert!(MediaSocket::connect(&mut socket, None));
        assert_eq!(socket.local_addr().unwrap(), address);
        foe.send_to(b"foe", address).unwrap();
        assert_eq!(socket.recv(&mut buffer).unwrap(), 3);
        assert!(MediaSocket::send(&mut socket, Some(friend.local_addr().unwrap()), b"x"));
        assert_eq!(friend.recv(&mut buffer).unwrap(), 1);
    }

    #[test]
    fn wakes_and_timers_reach_the_wait() {
        let (epoll, wake, mut timer) = (Epoll::new().unwrap(), Wake::new().unwrap(), Timer::new().unwrap());
        epoll.add(wake.descriptor(), 1).unwrap();
        epoll.add(timer.descriptor(), 2).unwrap();
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        wake.wake();
        wake.wake();
        assert_eq!({ epoll.wait(&mut events)[0].u64 }, 1);
        wake.clear();
        timer.set(true, 1_000);
        assert_eq!({ epoll.wait(&mut events)[0].u64 }, 2);
        assert!(timer.passed() >= 1);
        timer.set(false, 1_000);
        assert_eq!(timer.passed(), 0);
    }
}
