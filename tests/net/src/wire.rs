//! The wire: frames of one link go out at the other, some of them not, late, twice or too early.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

/// The largest frame of a link.
const FRAME: usize = 2_048;
/// Frames on the wire at most; above it they are lost, as in a full queue.
const FLYING: usize = 100_000;
/// Ethernet and the least IPv4 header.
const HEADERS: usize = 14 + 20;

/// What the wire does to datagrams; everything else (ARP) passes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weather {
    /// The share that is lost, 0 to 1.
    pub loss: f64,
    /// The share that comes twice.
    pub duplicate: f64,
    /// The share that overtakes the others: it is not delayed.
    pub reorder: f64,
    /// All others take so long,
    pub delay: Duration,
    /// give or take up to this much.
    pub jitter: Duration,
}

/// What the wire did to datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
}

#[derive(Default)]
struct Counters {
    passed: AtomicU64,
    lost: AtomicU64,
    duplicated: AtomicU64,
    reordered: AtomicU64,
}

/// A wire between two links; it is cut when dropped.
pub struct Wire {
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

/// A frame under way: when it arrives, its number, by which link, itself. The first that arrives comes
/// first, of those that arrive together the first that was sent.
type Flying = (Instant, u64, usize, Vec<u8>);

/// When copies of a datagram arrive, counted from now; none where it is lost.
fn fate(weather: &Weather, random: &mut Rng, counters: &Counters) -> Vec<Duration> {
    // Always the same number of draws: what happens to one packet does not change that of the next.
    let [loss, duplicate, reorder, jitter, second] = std::array::from_fn(|_| random.f64());
    let add = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    if loss < weather.loss {
        add(&counters.lost);
        return Vec::new();
    }
    add(&counters.passed);
    let late = |share: f64| {
        let least = weather.delay.saturating_sub(weather.jitter);
        least + (weather.delay + weather.jitter).saturating_sub(least).mul_f64(share)
    };
    let mut arrivals = vec![late(jitter)];
    if reorder < weather.reorder {
        add(&counters.reordered);
        arrivals = vec![Duration::ZERO];
    }
    if duplicate < weather.duplicate {
        add(&counters.duplicated);
        arrivals.push(late(second));
    }
    arrivals
}

/// Whether a frame is a UDP datagram; its checksum, which the sending link left to be made by a card
/// that is not there, is taken out (RFC 768: 0 means none).
fn datagram(frame: &mut [u8]) -> bool {
    let (Some([0x08, 0x00]), Some(first), Some(17)) =
        (frame.get(12..14).and_then(|t| <[u8; 2]>::try_from(t).ok()), frame.get(14).copied(), frame.get(23).copied())
    else {
        return false;
    };
    let header = 14 + usize::from(first & 0x0f) * 4;
    if frame.len() < HEADERS {
        return false;
    }
    if let Some(checksum) = frame.get_mut(header + 6..header + 8) {
        checksum.fill(0);
    }
    true
}

/// All frames of a link.
fn tap(link: &str) -> Result<OwnedFd> {
    let name = CString::new(link)?;
    // SAFETY: a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    let all = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, i32::from(all)) };
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("no raw socket: run this test as root");
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = index as i32;
    // SAFETY: the address lives through the call and has the size stated.
    let bound = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    };
    if bound != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("no raw socket on {link}"));
    }
    Ok(fd)
}

/// The next frame that came in by a link.
fn receive(fd: &OwnedFd, buffer: &mut [u8; FRAME]) -> Option<usize> {
    loop {
        // SAFETY: zero is a valid value of this plain structure.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: buffer and address live through the call and have the sizes stated.
        let got = unsafe {
            let (to, from) = (buffer.as_mut_ptr().cast(), (&raw mut from).cast());
            libc::recvfrom(fd.as_raw_fd(), to, FRAME, libc::MSG_DONTWAIT, from, &raw mut size)
        };
        let length = usize::try_from(got).ok()?;
        // What we send ourselves is seen here as well.
        if from.sll_pkttype != libc::PACKET_OUTGOING {
            return Some(length);
        }
    }
}

fn send(fd: &OwnedFd, frame: &[u8]) {
    // SAFETY: the frame lives through the call. What cannot be sent is lost.
    unsafe { libc::send(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), libc::MSG_DONTWAIT) };
}

impl Wire {
    /// Between two links of the calling thread's namespace.
    pub fn start(links: [&str; 2], weather: Arc<Mutex<Weather>>, seed: u64) -> Result<Wire> {
        let [near, far] = links;
        let taps = [tap(near)?, tap(far)?];
        let (stop, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Counters::default()));
        let (until, counts) = (stop.clone(), counters.clone());
        let thread = std::thread::Builder::new()
            .name("wire".into())
            .spawn(move || carry(&taps, &weather, &mut Rng::with_seed(seed), &counts, &until))?;
        Ok(Wire { stop, counters, thread: Some(thread) })
    }

    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            passed: of(&counters.passed),
            lost: of(&counters.lost),
            duplicated: of(&counters.duplicated),
            reordered: of(&counters.reordered),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn carry(taps: &[OwnedFd; 2], weather: &Mutex<Weather>, random: &mut Rng, counters: &Counters, stop: &AtomicBool) {
    let mut flying: BinaryHeap<Reverse<Flying>> = BinaryHeap::new();
    let mut buffer = [0u8; FRAME];
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let next = flying.peek().map(|Reverse((at, ..))| at.saturating_duration_since(Instant::now()));
        let wait = next.unwrap_or(Duration::from_millis(50)).min(Duration::from_millis(50));
        let mut polls =
            [0, 1].map(|side| libc::pollfd { fd: taps[side].as_raw_fd(), events: libc::POLLIN, revents: 0 });
        let limit = libc::timespec { tv_sec: 0, tv_nsec: wait.as_nanos() as libc::c_long };
        // SAFETY: the pointers and the count describe `polls` and `limit`, which live through the call.
        unsafe { libc::ppoll(polls.as_mut_ptr(), 2, &raw const limit, std::ptr::null()) };
        let current = *weather.lock().unwrap_or_else(PoisonError::into_inner);
        for side in [0, 1] {
            while let Some(length) = receive(&taps[side], &mut buffer) {
                let frame = &mut buffer[..length];
                let other = 1 - side;
                if !datagram(frame) {
                    send(&taps[other], frame);
                    continue;
                }
                for late in fate(&current, random, counters) {
                    number += 1;
                    if late.is_zero() {
                        send(&taps[other], frame);
                    } else if flying.len() < FLYING {
                        flying.push(Reverse((Instant::now() + late, number, other, frame.to_vec())));
                    }
                }
            }
        }
        let now = Instant::now();
        while flying.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            if let Some(Reverse((_, _, side, frame))) = flying.pop() {
                send(&taps[side], &frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weather_is_as_told_and_the_same_for_a_seed() {
        let weather = Weather {
            loss: 0.05,
            duplicate: 0.01,
            reorder: 0.01,
            delay: Duration::from_millis(40),
            jitter: Duration::from_millis(30),
        };
        let run = |seed| {
            let (mut random, counters) = (Rng::with_seed(seed), Counters::default());
            let fates: Vec<_> = (0..100_000).map(|_| fate(&weather, &mut random, &counters)).collect();
            (fates, counters)
        };
        let (fates, counters) = run(1);
        assert_eq!(fates, run(1).0);
        assert_ne!(fates, run(2).0);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(count(&counters.lost) + count(&counters.passed), 100_000);
        assert!((4_700..5_300).contains(&count(&counters.lost)), "{}", count(&counters.lost));
        assert!(
            (850..1_100).contains(&count(&counters.duplicated)) && (850..1_100).contains(&count(&counters.reordered))
        );
        let late = fates.iter().flatten().filter(|late| !late.is_zero());
        assert!(late.clone().all(|late| (10..=70).contains(&late.as_millis())));
        let mean = late.clone().map(Duration::as_secs_f64).sum::<f64>() / late.count() as f64;
        assert!((0.039..0.041).contains(&mean), "{mean}");
        let (mut random, counters) = (Rng::with_seed(1), Counters::default());
        assert_eq!(fate(&Weather::default(), &mut random, &counters), [Duration::ZERO]);
    }

    #[test]
    fn datagrams_are_told_from_the_rest() {
        let mut frame = vec![0u8; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        frame[14] = 0x45;
        frame[23] = 17;
        frame[40..42].copy_from_slice(&[0xAB, 0xCD]);
        assert!(datagram(&mut frame) && frame[40..42] == [0, 0]);
        frame[23] = 6;
        assert!(!datagram(&mut frame));
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        assert!(!datagram(&mut frame) && !datagram(&mut []));
    }
}
