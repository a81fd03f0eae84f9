//! Hands voices of calls to a speech engine. The node connects to it, once for each voice: so an engine
//! serves any number of nodes, may be restarted at any time, and nobody gets a voice by connecting here.
//!
//! A stream begins with a line of JSON ([`Head`]), then come frames of 20 ms, numbers little-endian: the
//! frame's number (4 bytes), what it is (1 byte, see [`kind`]), a zero, the bytes of sound that follow
//! (2 bytes, 320), and 160 samples of 16 bits at 8 kHz. Nothing is read from the engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotline_base::{AgentId, ContactId, TenantId, Timestamp};
use hotline_rtp::api::{MediaLegId, TapDirection};
use hotline_rtp::ear::Heard;
use hotline_rtp::tap::{TAP_SAMPLES, TapFrame, TapReader};
use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::config::{TapSection, TapTarget};
use crate::metrics::Metrics;
use crate::shared::Shared;

/// Frames that wait for a slow engine: two seconds.
const WAITING_FRAMES: usize = 100;
/// What the kernel may hold besides, bytes: an engine that fell behind is not to hear the distant past.
const SEND_BUFFER: usize = 16 << 10;
/// Bytes of a frame's head.
const HEAD: usize = 8;
/// How often frames are looked for.
const STEP: Duration = Duration::from_millis(20);
/// A connection must be there by then: less than what waits.
const CONNECTED: Duration = Duration::from_secs(1);
/// An engine that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(10);
/// The pause after the first failure, and the longest: it doubles.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The first line of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// Of this protocol: 1.
    pub version: u8,
    /// Whose call.
    pub tenant: Option<TenantId>,
    /// Which call.
    pub contact: ContactId,
    /// `caller`, `leg1`, …
    pub leg: String,
    /// `in`: what the party on this leg says.
    pub direction: &'static str,
    /// The agent on this leg, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The number that was dialled.
    pub number: String,
    /// Samples a second.
    pub rate: u32,
    /// Of the samples.
    pub format: &'static str,
    /// Samples of a frame.
    pub frame_samples: usize,
    /// The time of frame 0, milliseconds since 1970.
    pub started_at_ms: i64,
    /// How often the stream of this leg broke off before: frames are counted on.
    pub resumed: u32,
}

impl Head {
    /// What is known of a leg.
    pub fn new(contact: ContactId, leg: String, number: &str, now: Timestamp) -> Self {
        Self {
            version: 1,
            tenant: None,
            contact,
            leg,
            direction: "in",
            agent: None,
            number: number.into(),
            rate: 8_000,
            format: "s16le",
            frame_samples: TAP_SAMPLES,
            started_at_ms: now.as_millis(),
            resumed: 0,
        }
    }

    fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The speech engine, and how many voices it may get.
pub struct Taps {
    target: Option<TapTarget>,
    room: Arc<Semaphore>,
}

impl Taps {
    /// As configured.
    pub fn new(settings: &TapSection) -> Self {
        Self { target: settings.connect.clone(), room: Arc::new(Semaphore::new(settings.max_streams)) }
    }
}

/// Streams what a party says from now on, until its leg is gone.
pub fn begin(shared: &Arc<Shared>, leg: MediaLegId, head: Head) {
    let contact = head.contact;
    let refused = |why: &str| {
        Metrics::add(&shared.metrics.tap_refused);
        tracing::warn!(%contact, leg = head.leg, why, "a voice is not handed on");
    };
    let Some(target) = shared.taps.target.clone() else {
        return refused("tap.connect is empty: name the place where the speech engine listens");
    };
    let Ok(permit) = shared.taps.room.clone().try_acquire_owned() else {
        return refused("tap.max_streams is reached");
    };
    let reader = match shared.media.tap(leg, TapDirection::In, WAITING_FRAMES) {
        Ok(reader) => reader,
        Err(error) => return refused(&error.to_string()),
    };
    let (runtime, shared) = (shared.runtime.clone(), shared.clone());
    runtime.spawn(async move {
        Metrics::add(&shared.metrics.tap_streams);
        Feed { shared: shared.clone(), reader, target, head, counted: 0 }.run().await;
        Metrics::sub(&shared.metrics.tap_streams);
        drop(permit);
    });
}

/// What a frame is: 0 nothing came, 1 comfort noise, 2 made up for a loss, 3 as it came, 4 withheld
/// (secret keys, a pause of the recording).
fn kind(frame: &TapFrame) -> u8 {
    match frame.heard {
        _ if frame.withheld => 4,
        Heard::Nothing => 0,
        Heard::ComfortNoise => 1,
        Heard::Concealed => 2,
        Heard::Voice => 3,
    }
}

fn append(bytes: &mut Vec<u8>, frame: &TapFrame) {
    let number = (frame.at / TAP_SAMPLES as u64) as u32;
    bytes.extend(number.to_le_bytes());
    bytes.extend([kind(frame), 0]);
    bytes.extend((2 * TAP_SAMPLES as u16).to_le_bytes());
    bytes.extend(frame.samples.iter().flat_map(|sample| sample.to_le_bytes()));
}

impl TapTarget {
    async fn open(&self) -> std::io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
        let connecting = async {
            Ok::<Box<dyn AsyncWrite + Send + Unpin>, std::io::Error>(match self {
                TapTarget::Unix(path) => {
                    let stream = UnixStream::connect(path).await?;
                    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
                    Box::new(stream)
                }
                TapTarget::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
                    Box::new(stream)
                }
            })
        };
        timeout(CONNECTED, connecting).await?
    }
}

/// One voice on its way.
struct Feed {
    shared: Arc<Shared>,
    reader: TapReader,
    target: TapTarget,
    head: Head,
    /// Frames counted as lost so far.
    counted: u64,
}

impl Feed {
    /// Until the leg is gone; an engine that is away is tried again.
    async fn run(mut self) {
        let (mut pause, longest) = PAUSES;
        let Some(mut first) = self.first().await else { return };
        loop {
            let begun = Instant::now();
            match self.stream(&mut first).await {
                Ok(()) => return,
                Err(error) => {
                    Metrics::add(&self.shared.metrics.tap_failures);
                    let (contact, leg, target) = (self.head.contact, &self.head.leg, &self.target);
                    tracing::warn!(%contact, leg, %target, %error, "the speech engine does not take a voice");
                }
            }
            if begun.elapsed() > longest {
                pause = PAUSES.0;
            }
            self.head.resumed += 1;
            if self.skip(Instant::now() + pause).await {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// The first sound: nobody is connected to for a phone that only rings. `None`: there was none.
    async fn first(&mut self) -> Option<Vec<u8>> {
        let mut steps = steps();
        while !self.reader.is_over() {
            steps.tick().await;
            while let Some(frame) = self.reader.read() {
                if kind(&frame) != 0 {
                    let mut bytes = Vec::with_capacity(HEAD + 2 * TAP_SAMPLES);
                    append(&mut bytes, &frame);
                    return Some(bytes);
                }
            }
        }
        None
    }

    /// Frames as they come; `waiting` goes first. `Ok`: the leg is gone.
    async fn stream(&mut self, waiting: &mut Vec<u8>) -> std::io::Result<()> {
        let mut frames = waiting.len() / (HEAD + 2 * TAP_SAMPLES);
        let mut bytes = std::mem::take(waiting);
        let mut stream = self.target.open().await?;
        write(&mut stream, &self.head.line()).await?;
        let mut steps = steps();
        loop {
            while let Some(frame) = self.reader.read() {
                append(&mut bytes, &frame);
                frames += 1;
            }
            self.count_lost(0);
            if !bytes.is_empty() {
                if let Err(error) = self.patiently(write(&mut stream, &bytes)).await {
                    self.count_lost(frames as u64);
                    return Err(error);
                }
                self.shared.metrics.tap_frames.fetch_add(frames as u64, Ordering::Relaxed);
                bytes.clear();
                frames = 0;
            } else if self.reader.is_over() {
                // The engine may be gone too.
                let _ = timeout(STALLED, stream.shutdown()).await;
                return Ok(());
            }
            steps.tick().await;
        }
    }

    /// Waits for the engine, counting what is lost meanwhile.
    async fn patiently(&mut self, writing: impl Future<Output = std::io::Result<()>>) -> std::io::Result<()> {
        let mut writing = std::pin::pin!(writing);
        let mut steps = steps();
        loop {
            tokio::select! {
                biased;
                written = &mut writing => return written,
                _ = steps.tick() => self.count_lost(0),
            }
        }
    }

    /// Lets frames go by until a moment; whether the leg is gone.
    async fn skip(&mut self, until: Instant) -> bool {
        let mut steps = steps();
        while Instant::now() < until && !self.reader.is_over() {
            steps.tick().await;
            let mut skipped = 0;
            while self.reader.read().is_some() {
                skipped += 1;
            }
            self.count_lost(skipped);
        }
        self.reader.is_over()
    }

    /// Frames that the engine did not get: these, and those that the ring had no room for.
    fn count_lost(&mut self, more: u64) {
        let lost = self.reader.lost();
        self.shared.metrics.tap_frames_lost.fetch_add(lost - self.counted + more, Ordering::Relaxed);
        self.counted = lost;
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    timeout(STALLED, stream.write_all(bytes)).await?
}

fn steps() -> tokio::time::Interval {
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_rtp::tap::TapWay;

    #[test]
    fn a_frame_is_as_documented() {
        let mut samples = [0; TAP_SAMPLES];
        (samples[0], samples[1]) = (-2, 0x1234);
        let frame = TapFrame {
            at: 3 * TAP_SAMPLES as u64,
            rtp_timestamp: 9,
            way: TapWay::In,
            heard: Heard::Concealed,
            withheld: false,
            samples,
        };
        let mut bytes = Vec::new();
        append(&mut bytes, &frame);
        assert_eq!(bytes[..12], [3, 0, 0, 0, 2, 0, 0x40, 1, 0xfe, 0xff, 0x34, 0x12]);
        assert_eq!(bytes.len(), HEAD + 320);
        assert_eq!(kind(&TapFrame { withheld: true, ..frame }), 4);
    }

    #[test]
    fn the_first_line_says_whose_voice_it_is() {
        let contact = ContactId::from_u128(7);
        let head = Head::new(contact, "caller".into(), "600", Timestamp::from_millis(5));
        let line = head.line();
        assert_eq!(line.last(), Some(&b'\n'));
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((read["leg"].as_str(), read["rate"].as_u64()), (Some("caller"), Some(8_000)));
        assert_eq!(read["contact"], contact.to_string());
        assert!(read.get("agent").is_none() && read["tenant"].is_null());
    }
}
