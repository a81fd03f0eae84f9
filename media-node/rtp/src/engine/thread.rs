//! A media thread: waits for packets, commands and ticks, and hands them to its shard.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::io::{Epoll, Timer, Wake};
use super::leg::{Latch, Leg};
use super::pace::Pace;
use super::ports::PortPool;
use super::shard::{Shard, Slot};
use super::tick::TICK_US;
use super::{MediaError, MediaMetrics};
use crate::api::MediaCommand;
use crate::stream::Micros;

/// Longer datagrams are cut off, which makes them invalid.
const MAX_DATAGRAM: usize = 2_048;
/// Events taken from one wait.
const MAX_EVENTS: usize = 512;
/// Ticks made up after a stall: half a second. What is older is silence.
const MAX_TICKS: u64 = 100;

/// With so many packets at one waking there is nothing to gain by waiting for more.
const BUSY_EVENTS: usize = 32;

const KEY_WAKE: u64 = u64::MAX;
const KEY_TIMER: u64 = u64::MAX - 1;

/// What is sent to a media thread.
pub(super) enum Message {
    Adopt(Box<Leg<UdpSocket>>),
    Command(MediaCommand),
    Stop,
}

/// What a media thread shares with everybody.
pub(super) struct Shared {
    ring: Mutex<VecDeque<Message>>,
    capacity: usize,
    wake: Wake,
    alive: AtomicBool,
    metrics: Metrics,
}

#[derive(Default)]
struct Metrics {
    legs: AtomicU64,
    recordings: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    rejected: AtomicU64,
    send_failures: AtomicU64,
}

impl Shared {
    pub fn new(capacity: usize) -> Result<Self, MediaError> {
        Ok(Self {
            ring: Mutex::default(),
            capacity,
            wake: Wake::new()?,
            alive: AtomicBool::new(true),
            metrics: Metrics::default(),
        })
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Message>> {
        self.ring.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Hands a message over; a full ring gives it back.
    pub fn send(&self, message: Message) -> Result<(), MediaError> {
        if !self.alive.load(Ordering::Acquire) {
            return Err(MediaError::Stopped);
        }
        let was_empty = {
            let mut ring = self.ring();
            // Legs that close make room: what ends something is never refused.
            let ends = matches!(
                message,
                Message::Stop | Message::Command(MediaCommand::Close { .. } | MediaCommand::StopRecording { .. })
            );
            if ring.len() >= self.capacity && !ends {
                return Err(MediaError::Busy);
            }
            ring.push_back(message);
            ring.len() == 1
        };
        if was_empty {
            self.wake.wake();
        }
        Ok(())
    }

    /// Adds this thread's counters.
    pub fn add_metrics(&self, into: &mut MediaMetrics) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        into.legs += read(&self.metrics.legs);
        into.recordings += read(&self.metrics.recordings);
        into.packets_received += read(&self.metrics.received);
        into.packets_sent += read(&self.metrics.sent);
        into.packets_rejected += read(&self.metrics.rejected);
        into.send_failures += read(&self.metrics.send_failures);
    }
}

/// Marks a thread as gone, also when it panics.
struct Alive<'a>(&'a Shared);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.alive.store(false, Ordering::Release);
    }
}

/// The leg's slot in the key of one of its sockets.
fn slot_of(key: u64) -> Slot {
    ((key & 0xFFFF_FFFF) >> 1) as Slot
}

pub(super) struct Thread {
    pub shared: Arc<Shared>,
    pub ports: Arc<Mutex<PortPool>>,
    pub shard: Shard<UdpSocket>,
    pub epoch: Instant,
    pub epoll: Epoll,
    pub timer: Timer,
    coalesce: Duration,
}

impl Thread {
    /// What can fail is done before the thread starts. `coalesce`: see `MediaConfig::coalesce_us`.
    pub fn new(
        shared: Arc<Shared>,
        ports: Arc<Mutex<PortPool>>,
        shard: Shard<UdpSocket>,
        epoch: Instant,
        coalesce: Duration,
    ) -> Result<Self, MediaError> {
        let (epoll, timer) = (Epoll::new()?, Timer::new()?);
        epoll.add(shared.wake.descriptor(), KEY_WAKE)?;
        epoll.add(timer.descriptor(), KEY_TIMER)?;
        Ok(Self { shared, ports, shard, epoch, epoll, timer, coalesce })
    }

    fn now(&self) -> Micros {
        self.epoch.elapsed().as_micros() as Micros
    }

    /// Runs until `Stop`.
    pub fn run(mut self) {
        let shared = self.shared.clone();
        let _alive = Alive(&shared);
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; MAX_EVENTS];
        let mut buffer = [0u8; MAX_DATAGRAM];
        let mut messages = VecDeque::new();
        let mut pace = Pace::default();
        super::io::precise_sleeps();
        loop {
            let count = self.epoll.wait(&mut events).len();
            let now = self.now();
            let (mut woken, mut ticks) = (false, 0);
            let keys = events.get(..count).unwrap_or_default();
            for (index, event) in keys.iter().enumerate() {
                // What the next packets need is brought into the cache while this one is in the kernel.
                if let Some(next) = keys.get(index + 1) {
                    self.shard.prefetch_peer(slot_of(next.u64));
                }
                if let Some(next) = keys.get(index + 2) {
                    self.shard.prefetch(slot_of(next.u64));
                }
                match event.u64 {
                    KEY_WAKE => woken = true,
                    KEY_TIMER => ticks = self.timer.passed(),
                    key => self.receive(key, &mut buffer, now),
                }
            }
            for _ in 0..ticks.min(MAX_TICKS) {
                self.shard.tick(now);
            }
            pace.took(count);
            if ticks > 0 {
                self.publish();
                pace.passed(ticks, super::io::wakings);
            }
            if woken && !self.drain(&mut messages, now) {
                break;
            }
            if count < BUSY_EVENTS && pace.sleeps() && !self.coalesce.is_zero() {
                std::thread::sleep(self.coalesce);
            }
        }
        let now = self.now();
        self.shard.close_all(now);
        self.release_ports(now);
        self.publish();
    }

    fn drain(&mut self, messages: &mut VecDeque<Message>, now: Micros) -> bool {
        self.shared.wake.clear();
        std::mem::swap(&mut *self.shared.ring(), messages);
        for message in messages.drain(..) {
            match message {
                Message::Adopt(leg) => self.adopt(*leg, now),
                Message::Command(command) => self.shard.command(command, now),
                Message::Stop => return false,
            }
        }
        self.release_ports(now);
        self.timer.set(self.shard.open_legs() > 0, TICK_US);
        self.publish();
        true
    }

    fn adopt(&mut self, leg: Leg<UdpSocket>, now: Micros) {
        let (rtp, rtcp) = (leg.rtp.as_raw_fd(), leg.rtcp.as_raw_fd());
        // The low half of the id is unique enough to tell a leg from the one before it in its slot.
        let generation = (leg.id.0 & 0x7FFF_FFFF) << 32;
        let slot = self.shard.adopt(leg, now);
        for (descriptor, kind) in [(rtp, 0), (rtcp, 1)] {
            if let Err(error) = self.epoll.add(descriptor, generation | u64::from(slot) << 1 | kind) {
                tracing::error!(%error, "a media leg hears nothing");
            }
        }
    }

    fn receive(&mut self, key: u64, buffer: &mut [u8], now: Micros) {
        let slot = slot_of(key);
        let Some(leg) = self.shard.leg(slot).filter(|leg| leg.id.0 & 0x7FFF_FFFF == key >> 32) else {
            return;
        };
        // One packet a turn: level-triggered waiting comes back for more, and that is cheaper than
        // asking each socket twice. An error (an ICMP answer to something we sent) is no packet.
        if key & 1 == 1 {
            if let Ok((length, from)) = leg.rtcp.recv_from(buffer) {
                self.shard.rtcp(slot, buffer.get(..length).unwrap_or_default(), from, now);
            }
        } else if matches!(leg.latch, Latch::Settled { connected: true, .. }) {
            if let Ok(length) = leg.rtp.recv(buffer) {
                self.shard.rtp(slot, buffer.get_mut(..length).unwrap_or_default(), None, now);
            }
        } else if let Ok((length, from)) = leg.rtp.recv_from(buffer) {
            self.shard.rtp(slot, buffer.get_mut(..length).unwrap_or_default(), Some(from), now);
        }
    }

    fn release_ports(&mut self, now: Micros) {
        if self.shard.closed_ports.is_empty() {
            return;
        }
        let mut ports = self.ports.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for port in self.shard.closed_ports.drain(..) {
            ports.give_back(port, now);
        }
    }

    fn publish(&self) {
        let metrics = &self.shared.metrics;
        metrics.legs.store(self.shard.open_legs() as u64, Ordering::Relaxed);
        metrics.recordings.store(self.shard.recording_tokens.len() as u64, Ordering::Relaxed);
        metrics.received.store(self.shard.counters.received, Ordering::Relaxed);
        metrics.sent.store(self.shard.counters.sent, Ordering::Relaxed);
        metrics.rejected.store(self.shard.counters.rejected, Ordering::Relaxed);
        metrics.send_failures.store(self.shard.counters.send_failures, Ordering::Relaxed);
    }
}
