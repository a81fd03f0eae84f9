//! The media engine: threads of its own, each owning whole calls.

mod events;
mod io;
mod leg;
mod listen;
mod mix;
mod pace;
mod play;
mod ports;
pub mod probe;
mod recording;
mod relay;
mod shard;
mod thread;
mod tick;
mod web;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use events::{EventReceiver, EventSender, event_queue};

use crate::api::{MediaCommand, MediaLegId};
use crate::dtls::{Fingerprint, Identity, IdentityError};
use crate::spool::{Spool, SpoolWriter, Uploader, UploaderConfig};
use crate::stream::Micros;
use crate::tap::{TapDirection, TapReader, tap_ring};
use leg::Leg;
use ports::PortPool;
use shard::{Shard, ShardConfig, SpoolAccess};
use thread::{Message, Shared, Thread};
use web::DtlsContext;

/// Messages waiting for a media thread above which it counts as too slow.
const RING_CAPACITY: usize = 65_536;
/// Ports tried in a row where other processes hold them.
const BIND_TRIES: usize = 32;
/// Where the number of the thread lies in a leg's id.
const THREAD_SHIFT: u32 = 56;

/// The ports RTP may use: even ones for RTP, the next odd one for its RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// How the engine runs; all of it is checked by [`MediaEngine::start`].
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// Media threads, 1 to 64.
    pub threads: usize,
    /// The address media sockets bind to.
    pub bind_ip: IpAddr,
    /// The port range; one pair a leg.
    pub ports: PortRange,
    /// A freed port rests so long before it is used again, so that late packets of an old call
    /// meet nobody.
    pub port_quarantine_ms: u32,
    /// The folder recordings are spooled to; created where it is missing.
    pub spool_dir: PathBuf,
    /// New recordings are refused while the spool holds more.
    pub spool_limit_bytes: u64,
    /// New recordings are refused while the disk has less than this left.
    pub spool_min_free_bytes: u64,
    /// `Silent` is reported after so long without a packet from a peer that should send; 0: never.
    pub silence_ms: u32,
    /// `Stats` is reported and RTCP sent this often.
    pub stats_interval_ms: u32,
    /// Digits are reported at their first packet instead of their end.
    pub digits_at_start: bool,
    /// Most legs open at a time.
    pub max_legs: usize,
    /// A thread that every packet wakes waits so long between two looks at its sockets: several
    /// are then taken at one waking, for a delay of half of it on average. 0: it never waits.
    pub coalesce_us: u32,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            bind_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: PortRange { first: 20_000, last: 39_999 },
            port_quarantine_ms: 2_000,
            spool_dir: PathBuf::from("spool"),
            spool_limit_bytes: 10 << 30,
            spool_min_free_bytes: 256 << 20,
            silence_ms: 30_000,
            stats_interval_ms: 5_000,
            digits_at_start: false,
            max_legs: 10_000,
            coalesce_us: 150,
        }
    }
}

/// Names a call: legs opened with equal keys live on one thread and may be bridged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(pub u64);

/// A freshly opened leg: what goes into the SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedLeg {
    /// The leg.
    pub leg: MediaLegId,
    /// Where it receives RTP.
    pub rtp: SocketAddr,
    /// Where it receives RTCP: the next port.
    pub rtcp: SocketAddr,
}

/// Why the engine refused.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A configured value is out of range.
    #[error("{field}: {problem}")]
    Config {
        /// The field of [`MediaConfig`].
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// All port pairs are in use or resting.
    #[error("no RTP port pair is free in {first}-{last} ({in_use} in use); widen the range")]
    NoPort {
        /// The configured range.
        first: u16,
        /// The configured range.
        last: u16,
        /// Pairs in use.
        in_use: usize,
    },
    /// The configured number of legs is open.
    #[error("{0} media legs are open, the configured most")]
    TooManyLegs(usize),
    /// A media thread does not keep up with its commands; worth another try.
    #[error("the command ring of the media thread is full")]
    Busy,
    /// The engine was shut down, or its thread died.
    #[error("the media engine has stopped")]
    Stopped,
    /// There is no certificate for browsers.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The leg's id was never given out by this engine.
    #[error("no such media leg")]
    UnknownLeg,
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: std::io::Error,
    },
}

/// Counted over all threads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaMetrics {
    /// Legs open now.
    pub legs: u64,
    /// Recordings running now.
    pub recordings: u64,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets dropped: wrong source, payload type, SSRC or sequence window.
    pub packets_rejected: u64,
    /// Packets the kernel would not take (full send buffer, unreachable peer).
    pub send_failures: u64,
    /// Bytes in spool files.
    pub spool_bytes: u64,
}

/// The engine; dropping it stops its threads and closes all legs and recordings.
#[derive(Debug)]
pub struct MediaEngine {
    handle: MediaHandle,
    threads: Vec<JoinHandle<()>>,
    writer: SpoolWriter,
    writer_thread: Option<JoinHandle<()>>,
}

struct Inner {
    shards: Vec<Arc<Shared>>,
    ports: Arc<Mutex<PortPool>>,
    spool: Arc<Spool>,
    config: MediaConfig,
    epoch: Instant,
    sinks: usize,
    next_leg: AtomicU64,
    random: RandomState,
    fingerprint: Fingerprint,
}

/// Talks to the engine from any thread.
#[derive(Clone)]
pub struct MediaHandle(Arc<Inner>);

impl std::fmt::Debug for MediaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaHandle({} threads)", self.0.shards.len())
    }
}

impl MediaConfig {
    /// Everything that is wrong with it.
    pub fn problems(&self) -> Vec<MediaError> {
        let mut problems = Vec::new();
        let mut say = |field, problem: String| problems.push(MediaError::Config { field, problem });
        if !(1..=64).contains(&self.threads) {
            say("threads", format!("{} is not within 1 to 64", self.threads));
        }
        if self.ports.first < 1_024 || self.ports.last <= self.ports.first {
            say("ports", format!("{}-{} is no range of ports above 1023", self.ports.first, self.ports.last));
        }
        if self.port_quarantine_ms > 600_000 {
            say("port_quarantine_ms", format!("{} is more than 600000", self.port_quarantine_ms));
        }
        if !(500..=600_000).contains(&self.stats_interval_ms) {
            say("stats_interval_ms", format!("{} is not within 500 to 600000", self.stats_interval_ms));
        }
        if !(1..=1_000_000).contains(&self.max_legs) {
            say("max_legs", format!("{} is not within 1 to 1000000", self.max_legs));
        }
        if self.coalesce_us > 5_000 {
            say("coalesce_us", format!("{} is more than 5000", self.coalesce_us));
        }
        if self.spool_dir.as_os_str().is_empty() {
            say("spool_dir", "is empty; name a folder".into());
        }
        problems
    }
}

impl MediaEngine {
    /// Starts the threads. Events of a leg go to the sink it was opened with; `sinks` holds one
    /// queue for each owner (one, or one a worker). Spool files left by a process that died are
    /// kept for the [`MediaEngine::uploader`].
    pub fn start(config: MediaConfig, sinks: Vec<EventSender>) -> Result<MediaEngine, MediaError> {
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(problem);
        }
        if sinks.is_empty() {
            return Err(MediaError::Config {
                field: "sinks",
                problem: "is empty; at least one event queue is needed".into(),
            });
        }
        let failed = |what| move |source| MediaError::Io { what, source };
        let spool = Spool::open(&config.spool_dir, config.spool_limit_bytes, config.spool_min_free_bytes)
            .map_err(failed("spool_dir"))?;
        let random = RandomState::new();
        let identity = Identity::make()?;
        let pool = PortPool::new(config.ports, config.port_quarantine_ms, random.hash_one(0u8));
        let ports = Arc::new(Mutex::new(pool));
        let epoch = Instant::now();
        let wall_start_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let (writer, writer_thread) = SpoolWriter::start(spool.clone()).map_err(failed("spool thread"))?;
        let inner = Inner {
            shards: (0..config.threads).map(|_| Shared::new(RING_CAPACITY).map(Arc::new)).collect::<Result<_, _>>()?,
            ports,
            spool: spool.clone(),
            epoch,
            sinks: sinks.len(),
            next_leg: AtomicU64::new(1),
            random,
            fingerprint: identity.fingerprint(),
            config,
        };
        let mut engine = MediaEngine {
            handle: MediaHandle(Arc::new(inner)),
            threads: Vec::new(),
            writer: writer.clone(),
            writer_thread: Some(writer_thread),
        };
        let inner = engine.handle.0.clone();
        let coalesce = Duration::from_micros(u64::from(inner.config.coalesce_us));
        for (number, shared) in inner.shards.iter().enumerate() {
            let config = ShardConfig {
                silence_ms: inner.config.silence_ms,
                stats_interval_us: Micros::from(inner.config.stats_interval_ms) * 1_000,
                digits_at_start: inner.config.digits_at_start,
                connect: true,
                wall_start_us,
                dtls: DtlsContext { identity: identity.clone(), epoch },
            };
            let access = SpoolAccess { spool: spool.clone(), writer: writer.clone() };
            let shard = Shard::new(config, sinks.clone(), access, (number as u64) << THREAD_SHIFT);
            let thread = Thread::new(shared.clone(), inner.ports.clone(), shard, epoch, coalesce)?;
            let spawned = std::thread::Builder::new()
                .name(format!("media-{number}"))
                .stack_size(512 * 1024)
                .spawn(move || thread.run());
            engine.threads.push(spawned.map_err(failed("media thread"))?);
        }
        Ok(engine)
    }

    /// A handle for other threads.
    pub fn handle(&self) -> MediaHandle {
        self.handle.clone()
    }

    /// What uploads this engine's recordings, and those an earlier process left. One is enough.
    pub fn uploader(&self, config: UploaderConfig) -> Uploader {
        Uploader::new(self.handle.0.spool.clone(), config)
    }

    /// Stops the threads: recordings are ended in their files, legs closed.
    pub fn shutdown(self) {}
}

impl Drop for MediaEngine {
    fn drop(&mut self) {
        for shard in &self.handle.0.shards {
            // A thread that is gone already has nothing to be told.
            let _ = shard.send(Message::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.writer.stop();
        if let Some(thread) = self.writer_thread.take() {
            let _ = thread.join();
        }
    }
}

impl MediaHandle {
    fn now(&self) -> Micros {
        self.0.epoch.elapsed().as_micros() as Micros
    }

    fn ports(&self) -> MutexGuard<'_, PortPool> {
        self.0.ports.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Opens a leg on the call's thread: binds its port pair. `sink` is an index into the sinks
    /// the engine was started with.
    pub fn open_leg(&self, call: CallKey, sink: usize) -> Result<OpenedLeg, MediaError> {
        let inner = &self.0;
        if sink >= inner.sinks {
            return Err(MediaError::Config {
                field: "sink",
                problem: format!("{sink} of {} event queues", inner.sinks),
            });
        }
        let open = self.ports().in_use();
        if open >= inner.config.max_legs {
            return Err(MediaError::TooManyLegs(open));
        }
        let (port, rtp, rtcp) = self.bind_pair()?;
        let mut mixed = inner.random.build_hasher();
        mixed.write_u64(call.0);
        let thread = (call.0 ^ (call.0 >> 32)) as usize % inner.shards.len();
        let number = inner.next_leg.fetch_add(1, Ordering::Relaxed);
        let id = MediaLegId((thread as u64) << THREAD_SHIFT | (number & ((1 << THREAD_SHIFT) - 1)));
        mixed.write_u64(number);
        let leg = Leg::new(id, sink, port, rtp, rtcp, mixed.finish(), inner.config.digits_at_start, self.now());
        let shard = inner.shards.get(thread).ok_or(MediaError::Stopped)?;
        if let Err(error) = shard.send(Message::Adopt(Box::new(leg))) {
            self.ports().give_back(port, self.now());
            return Err(error);
        }
        let ip = inner.config.bind_ip;
        Ok(OpenedLeg { leg: id, rtp: SocketAddr::new(ip, port), rtcp: SocketAddr::new(ip, port + 1) })
    }

    fn bind_pair(&self) -> Result<(u16, std::net::UdpSocket, std::net::UdpSocket), MediaError> {
        let (ip, range) = (self.0.config.bind_ip, self.0.config.ports);
        for _ in 0..BIND_TRIES {
            let now = self.now();
            let taken = { self.ports().take(now) };
            let Some(port) = taken else {
                return Err(MediaError::NoPort { first: range.first, last: range.last, in_use: self.ports().in_use() });
            };
            let bound = io::bind(ip, port).and_then(|rtp| Ok((rtp, io::bind(ip, port + 1)?)));
            match bound {
                Ok((rtp, rtcp)) => return Ok((port, rtp, rtcp)),
                Err(error) => {
                    self.ports().give_back(port, now);
                    if error.kind() != std::io::ErrorKind::AddrInUse {
                        return Err(MediaError::Io { what: "binding an RTP port", source: error });
                    }
                }
            }
        }
        Err(MediaError::NoPort { first: range.first, last: range.last, in_use: self.ports().in_use() })
    }

    /// Hands a command to the thread of its leg; order is kept. Commands to a leg that has been
    /// closed are ignored.
    pub fn send(&self, command: MediaCommand) -> Result<(), MediaError> {
        let leg = match &command {
            MediaCommand::SetRemote { leg, .. }
            | MediaCommand::Secure { leg, .. }
            | MediaCommand::Play { leg, .. }
            | MediaCommand::StopPlay { leg }
            | MediaCommand::Bridge { a: leg, .. }
            | MediaCommand::Unbridge { leg }
            | MediaCommand::StartRecording { legs: crate::api::RecordLegs { left: leg, .. }, .. }
            | MediaCommand::RecordLeg { leg, .. }
            | MediaCommand::WatchQuiet { leg, .. }
            | MediaCommand::InbandDigits { leg, .. }
            | MediaCommand::Tap { leg, .. }
            | MediaCommand::Mirror { leg, .. }
            | MediaCommand::Secret { leg, .. }
            | MediaCommand::SendDigits { leg, .. }
            | MediaCommand::Close { leg } => *leg,
            MediaCommand::Mix { legs } => match legs.first() {
                Some(first) => first.leg,
                None => return Ok(()),
            },
            // Only the thread that runs it knows the token.
            MediaCommand::PauseRecording { token, paused } => {
                return self.to_all(|| MediaCommand::PauseRecording { token: *token, paused: *paused });
            }
            MediaCommand::StopRecording { token } => {
                return self.to_all(|| MediaCommand::StopRecording { token: *token });
            }
        };
        let shard = self.0.shards.get((leg.0 >> THREAD_SHIFT) as usize).ok_or(MediaError::UnknownLeg)?;
        shard.send(Message::Command(command))
    }

    /// Listens to a leg from outside, through a ring for so many frames of 20 ms (50 are a second
    /// of one direction). A leg has one such listener: a new one takes the place of the one before.
    pub fn tap(&self, leg: MediaLegId, direction: TapDirection, frames: usize) -> Result<TapReader, MediaError> {
        let (into, reader) = tap_ring(frames);
        self.send(MediaCommand::Tap { leg, direction, into })?;
        Ok(reader)
    }

    fn to_all(&self, command: impl Fn() -> MediaCommand) -> Result<(), MediaError> {
        for shard in &self.0.shards {
            shard.send(Message::Command(command()))?;
        }
        Ok(())
    }

    /// Of the certificate that this engine's handshakes use, for descriptions.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Port pairs, in use and in all.
    pub fn port_pairs(&self) -> (usize, usize) {
        let ports = self.ports();
        (ports.in_use(), ports.size())
    }

    /// Counters.
    pub fn metrics(&self) -> MediaMetrics {
        let mut metrics = MediaMetrics { spool_bytes: self.0.spool.used_bytes(), ..MediaMetrics::default() };
        for shard in &self.0.shards {
            shard.add_metrics(&mut metrics);
        }
        metrics
    }
}

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod recording_tests;
#[cfg(test)]
mod shard_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod web_tests;
