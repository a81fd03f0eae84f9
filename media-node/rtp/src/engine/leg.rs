//! One leg: who may send to it, what it has heard, what it sends.

use std::net::SocketAddr;

use super::io::MediaSocket;
use super::listen::{Scribe, Tap};
use super::play::Play;
use super::web::Shield;
use crate::api::{Law, LegStats, MediaLegId, Remote};
use crate::codec::Encoder;
use crate::dtmf::{EventReceiver, EventSender};
use crate::ear::Ear;
use crate::emodel::mos;
use crate::g711::mean_level;
use crate::goertzel::InbandReceiver;
use crate::mirror::Mirror;
use crate::packet::{COMFORT_NOISE_PT, Header};
use crate::rtcp::{self, Compound, MAX_REPORT_LEN, ReportBlock, SenderInfo};
use crate::srtp::{RTCP_OVERHEAD, RTP_OVERHEAD};
use crate::stream::{Micros, Receiver, Sender, Verdict};

/// Packets in order that a sender other than the one in the SDP must show.
const STRANGER_PACKETS: u8 = 5;
/// For so many packets the SDP's address may still take over from a stranger: 3 s.
const SETTLE_PACKETS: u16 = 150;
/// The mean level above which there is a voice, about −42 dBm0.
const VOICE_LEVEL: u32 = 250;

/// From where a leg takes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Latch {
    /// No valid packet yet; a stranger may be showing itself.
    Open { stranger: Option<(SocketAddr, u16, u8)> },
    /// A stranger was believed; the SDP's address may still come.
    Provisional { from: SocketAddr, packets: u16 },
    /// Nobody else.
    Settled { from: SocketAddr, connected: bool },
}

impl Latch {
    /// The address learnt.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Latch::Open { .. } => None,
            Latch::Provisional { from, .. } | Latch::Settled { from, .. } => Some(from),
        }
    }
}

/// What a received packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Audio,
    Event,
    ComfortNoise,
}

/// The verdict on a packet from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Rejected,
    /// `latched`: the address became known with this packet. `restart`: another stream began.
    Accepted {
        kind: Kind,
        latched: Option<SocketAddr>,
        restart: bool,
    },
}

/// Waits for the voice to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuietWatch {
    pub for_ms: u32,
    pub last_voice: Micros,
}

/// What every packet touches lies within so many bytes at the front of a [`Leg`].
pub(super) const HOT_BYTES: usize = 384;

/// State of a leg. `S` is its socket type. In the order written: what every packet touches first.
#[repr(C, align(64))]
pub(super) struct Leg<S> {
    pub id: MediaLegId,
    pub rtp: S,
    pub peer: Option<u32>,
    pub remote: Option<Remote>,
    pub latch: Latch,
    pub secret: bool,
    pub silent_told: bool,
    /// In the list of legs that are ticked every 20 ms.
    pub ticking: bool,
    pub inband_forced: bool,
    /// The peer has another codec and is sent what the ear hears.
    pub transcodes: bool,
    /// In the list of legs that are listened to every 20 ms.
    pub listening: bool,
    /// Slot of the recording and channel within it.
    pub recording: Option<(u32, u8)>,
    pub mix: Option<u32>,
    /// What the leg says is decoded.
    pub ear: Option<Box<Ear>>,
    pub tap: Option<Box<Tap>>,
    pub inband: Option<Box<InbandReceiver>>,
    pub play: Option<Box<Play>>,
    pub digits_out: Option<Box<EventSender>>,
    pub quiet: Option<Box<QuietWatch>>,
    /// What is heard and sent is protected.
    pub shield: Option<Box<Shield>>,
    /// Packets are copied there for a capture.
    pub mirror: Option<Box<Mirror>>,
    pub receiver: Receiver,
    pub sender: Sender,
    pub rejected: u64,
    pub rtcp: S,
    pub sink: usize,
    pub port: u16,
    pub remote_since: Micros,
    pub digits_out_at: u32,
    pub events: EventReceiver,
    /// The newest event passed on to this leg by its own clock: its timestamps there and here.
    pub relayed_event: Option<(u32, u32)>,
    /// Makes this leg's payloads where that takes more than a table.
    pub voice: Option<Box<Encoder>>,
    pub scribe: Option<Box<Scribe>>,
    /// The newest event that began in secret: its last packets may come after the secrecy.
    pub secret_event: Option<u32>,
    pub next_stats: Micros,
    rtcp_from: Option<SocketAddr>,
    cname: [u8; 8],
    round_trip_ms: Option<f32>,
    /// The middle of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Micros)>,
    packets_at_report: u32,
}

impl<S> Leg<S> {
    #[expect(clippy::too_many_arguments, reason = "everything a leg cannot choose for itself")]
    pub fn new(
        id: MediaLegId,
        sink: usize,
        port: u16,
        rtp: S,
        rtcp: S,
        seed: u64,
        digits_at_start: bool,
        now: Micros,
    ) -> Self {
        let random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut cname = [0; 8];
        for (byte, nibble) in cname.iter_mut().zip(random.rotate_left(17).to_le_bytes()) {
            *byte = b'a' + nibble % 26;
        }
        Self {
            id,
            sink,
            port,
            rtp,
            rtcp,
            remote: None,
            remote_since: now,
            latch: Latch::Open { stranger: None },
            receiver: Receiver::default(),
            // Half of the sequence space: some receivers lose their way when it wraps at once.
            sender: Sender::new(random as u32, (random >> 32) as u16 & 0x7FFF, (seed ^ random.rotate_left(29)) as u32),
            rejected: 0,
            peer: None,
            play: None,
            digits_out: None,
            digits_out_at: 0,
            events: EventReceiver::new(digits_at_start),
            inband: None,
            inband_forced: false,
            secret: false,
            secret_event: None,
            recording: None,
            mix: None,
            ear: None,
            tap: None,
            transcodes: false,
            listening: false,
            relayed_event: None,
            voice: None,
            scribe: None,
            ticking: false,
            silent_told: false,
            quiet: None,
            shield: None,
            mirror: None,
            next_stats: now,
            rtcp_from: None,
            cname,
            round_trip_ms: None,
            last_report: None,
            packets_at_report: 0,
        }
    }

    /// Judges a packet: payload type, source address, stream. `from` is `None` where the kernel
    /// lets only the latched peer through.
    pub fn admit(&mut self, header: &Header, from: Option<SocketAddr>, now: Micros) -> Admission {
        let Some(remote) = &self.remote else {
            return Admission::Rejected;
        };
        let kind = match header.payload_type {
            pt if pt == remote.format.payload_type => Kind::Audio,
            pt if Some(pt) == remote.dtmf_pt => Kind::Event,
            COMFORT_NOISE_PT => Kind::ComfortNoise,
            _ => return Admission::Rejected,
        };
        if !remote.receives {
            return Admission::Rejected;
        }
        let sdp = remote.rtp;
        let mut latched = None;
        if let Some(from) = from {
            match &mut self.latch {
                Latch::Settled { from: known, .. } if *known == from => {}
                Latch::Settled { .. } => return Admission::Rejected,
                Latch::Provisional { from: known, packets } if *known == from => {
                    *packets += 1;
                    if *packets >= SETTLE_PACKETS {
                        self.latch = Latch::Settled { from, connected: false };
                    }
                }
                _ if from == sdp => {
                    if matches!(self.latch, Latch::Provisional { .. }) {
                        self.receiver.forget_source();
                    }
                    self.latch = Latch::Settled { from, connected: false };
                    latched = Some(from);
                }
                Latch::Provisional { .. } => return Admission::Rejected,
                Latch::Open { stranger } => {
                    let seen = match stranger {
                        Some((address, next, seen)) if *address == from && *next == header.sequence => *seen + 1,
                        _ => 1,
                    };
                    if seen < STRANGER_PACKETS {
                        *stranger = Some((from, header.sequence.wrapping_add(1), seen));
                        return Admission::Rejected;
                    }
                    self.latch = Latch::Provisional { from, packets: 0 };
                    latched = Some(from);
                }
            }
        }
        match self.receiver.receive(header.ssrc, header.sequence, header.timestamp, now) {
            Verdict::Accept => Admission::Accepted { kind, latched, restart: false },
            Verdict::Restart => Admission::Accepted { kind, latched, restart: true },
            Verdict::Duplicate | Verdict::Reject => Admission::Rejected,
        }
    }

    /// A new description of the peer. `true`: the source address is to be learnt again.
    pub fn set_remote(&mut self, remote: Remote, now: Micros) -> bool {
        let moved = self.remote.is_none_or(|before| before.rtp != remote.rtp);
        // Where a browser is, its checks say.
        let relatch = (remote.relatch || moved) && !self.is_web();
        if relatch {
            self.latch = Latch::Open { stranger: None };
            self.receiver.forget_source();
            self.rtcp_from = None;
        }
        let khz = remote.format.codec.clock_khz();
        self.receiver.set_khz(khz);
        self.sender.set_khz(khz);
        self.events.set_khz(remote.dtmf_khz);
        self.remote = Some(remote);
        self.remote_since = now;
        self.silent_told = false;
        relatch
    }

    /// The peer's reports may come from elsewhere from now on.
    pub fn forget_reports(&mut self) {
        self.rtcp_from = None;
    }

    /// Where RTP goes: `Err` with nothing to send to, `Ok(None)` to the peer connected to.
    pub fn destination(&self) -> Result<Option<SocketAddr>, ()> {
        match (&self.remote, self.latch) {
            (Some(remote), _) if !remote.sends => Err(()),
            (None, _) => Err(()),
            (_, Latch::Settled { connected: true, .. }) => Ok(None),
            (_, Latch::Settled { from, .. } | Latch::Provisional { from, .. }) => Ok(Some(from)),
            (Some(_), Latch::Open { .. }) if self.is_web() => Err(()),
            (Some(remote), Latch::Open { .. }) => Ok(Some(remote.rtp)),
        }
    }

    /// Follows the voice for `QuietWatch`; gives the length of the silence once it is long enough.
    pub fn watch_quiet(&mut self, audio: Option<(&[u8], Law)>, now: Micros) -> Option<u32> {
        let quiet = self.quiet.as_mut()?;
        if audio.is_some_and(|(audio, law)| mean_level(audio, law) > VOICE_LEVEL) {
            quiet.last_voice = now;
        }
        let for_ms = (now.saturating_sub(quiet.last_voice) / 1_000) as u32;
        if for_ms < quiet.for_ms {
            return None;
        }
        self.quiet = None;
        Some(for_ms)
    }

    /// How long the peer has been silent although it should send.
    pub fn silent_ms(&self, now: Micros) -> u32 {
        if !self.remote.is_some_and(|remote| remote.receives) {
            return 0;
        }
        let since = self.remote_since.max(self.receiver.last_at());
        (now.saturating_sub(since) / 1_000) as u32
    }

    /// Measured so far.
    pub fn stats(&self) -> LegStats {
        let (packets, lost) = (self.receiver.received(), self.receiver.lost());
        let loss = lost as f32 / (packets + lost).max(1) as f32;
        let jitter_ms = self.receiver.jitter_ms();
        LegStats {
            packets,
            lost,
            sent: u64::from(self.sender.packets()),
            rejected: self.rejected,
            jitter_ms,
            round_trip_ms: self.round_trip_ms,
            mos: mos(loss, jitter_ms, self.round_trip_ms.unwrap_or_default() / 2.0),
        }
    }

    /// Takes an RTCP datagram; one from another host than the RTP is ignored.
    pub fn receive_rtcp(&mut self, datagram: &[u8], from: SocketAddr, now: Micros, now_ntp: u64) {
        let Some(remote) = &self.remote else { return };
        let media = self.latch.address().unwrap_or(remote.rtp);
        if from.ip() != media.ip() && from != remote.rtcp {
            return;
        }
        let Some(Compound { sender, block, .. }) = rtcp::read(datagram, self.sender.ssrc()) else {
            return;
        };
        self.rtcp_from = Some(from);
        if let Some(sender) = sender {
            self.last_report = Some((rtcp::ntp_middle(sender.ntp), now));
        }
        if let Some(trip) = block.and_then(|block| rtcp::round_trip_ms(&block, rtcp::ntp_middle(now_ntp))) {
            self.round_trip_ms = Some(trip);
        }
    }

    /// Writes this leg's report and says where it goes.
    pub fn report(
        &mut self,
        into: &mut [u8; MAX_REPORT_LEN],
        now: Micros,
        now_ntp: u64,
    ) -> Option<(usize, SocketAddr)> {
        let remote = self.remote.as_ref()?;
        let to = match (self.rtcp_from, self.latch.address()) {
            (Some(from), _) => from,
            (None, Some(media)) if media.ip() != remote.rtp.ip() => {
                SocketAddr::new(media.ip(), media.port().checked_add(1)?)
            }
            _ => remote.rtcp,
        };
        let sent = self.sender.packets();
        let sender = (sent != self.packets_at_report).then(|| SenderInfo {
            ntp: now_ntp,
            timestamp: self.sender.timestamp_at(now),
            packets: sent,
            octets: self.sender.octets(),
        });
        self.packets_at_report = sent;
        let fraction_lost = self.receiver.take_fraction_lost();
        let about = self.receiver.ssrc().map(|ssrc| ReportBlock {
            ssrc,
            fraction_lost,
            lost: self.receiver.lost().min(0x007F_FFFF) as u32,
            highest_sequence: self.receiver.extended_max(),
            jitter: self.receiver.jitter(),
            last_report: self.last_report.map_or(0, |(middle, _)| middle),
            delay_since: self.last_report.map_or(0, |(_, at)| (now.saturating_sub(at) * 65_536 / 1_000_000) as u32),
        });
        if sender.is_none() && about.is_none() {
            return None;
        }
        Some((rtcp::write(into, self.sender.ssrc(), sender, about, self.cname), to))
    }
}

/// Room for a protected packet: as long as one that is received, and its tag.
const PROTECTED: usize = 2_048 + RTP_OVERHEAD;

impl<S: MediaSocket> Leg<S> {
    /// Sends an RTP packet, protected where the leg is. `false`: not taken.
    pub fn send_rtp(&mut self, to: Option<SocketAddr>, datagram: &[u8]) -> bool {
        let Some(shield) = &mut self.shield else {
            self.reflect(to, datagram);
            return self.rtp.send(to, datagram);
        };
        let Some(srtp) = &mut shield.srtp else {
            return false;
        };
        let mut buffer = [0; PROTECTED];
        let Some(front) = buffer.get_mut(..datagram.len()) else {
            return false;
        };
        front.copy_from_slice(datagram);
        match srtp.protect_rtp(&mut buffer, datagram.len()) {
            Ok(length) => {
                let protected = buffer.get(..length).unwrap_or_default();
                self.reflect(to, protected);
                self.rtp.send(to, protected)
            }
            Err(_) => false,
        }
    }

    /// A packet on its way to the peer, for a capture.
    fn reflect(&self, to: Option<SocketAddr>, datagram: &[u8]) {
        if let Some(mirror) = &self.mirror
            && let Some(to) = to.or_else(|| self.latch.address())
        {
            mirror.went(to, datagram, self.secret);
        }
    }

    /// Sends an RTCP packet, protected where the leg is.
    pub fn send_rtcp(&mut self, to: SocketAddr, report: &[u8; MAX_REPORT_LEN], length: usize) {
        let Some(shield) = &mut self.shield else {
            let report = report.get(..length).unwrap_or_default();
            if let Some(mirror) = &self.mirror {
                mirror.report_went(to, report, false);
            }
            self.rtcp.send(Some(to), report);
            return;
        };
        let Shield { srtp: Some(srtp), web } = &mut **shield else {
            return;
        };
        let mut buffer = [0; MAX_REPORT_LEN + RTCP_OVERHEAD];
        let (front, _) = buffer.split_at_mut(MAX_REPORT_LEN);
        front.copy_from_slice(report);
        let Ok(length) = srtp.protect_rtcp(&mut buffer, length) else {
            return;
        };
        let report = buffer.get(..length).unwrap_or_default();
        let (to, muxed) = match (web, self.latch.address()) {
            (None, _) => (to, false),
            (Some(_), Some(peer)) => (peer, true),
            (Some(_), None) => return,
        };
        if let Some(mirror) = &self.mirror {
            mirror.report_went(to, report, muxed);
        }
        if muxed {
            self.rtp.send(Some(to), report);
        } else {
            self.rtcp.send(Some(to), report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn leg() -> Leg<()> {
        let mut leg = Leg::new(MediaLegId(1), 0, 20_000, (), (), 7, false, 0);
        leg.set_remote(remote("10.0.0.1:4000"), 0);
        leg
    }

    fn remote(rtp: &str) -> Remote {
        let rtp = address(rtp);
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        Remote {
            rtp,
            rtcp,
            format: Law::Mu.into(),
            dtmf_pt: Some(101),
            dtmf_khz: 8,
            receives: true,
            sends: true,
            relatch: false,
        }
    }

    fn packet(payload_type: u8, ssrc: u32, sequence: u16) -> Header {
        Header {
            payload_type,
            marker: false,
            sequence,
            timestamp: u32::from(sequence) * 160,
            ssrc,
            payload_start: 12,
            payload_end: 172,
        }
    }

    fn accepted(leg: &mut Leg<()>, from: &str, header: Header, now: Micros) -> bool {
        leg.admit(&header, Some(address(from)), now) != Admission::Rejected
    }

    #[test]
    fn what_every_packet_touches_lies_at_the_front() {
        let end = std::mem::offset_of!(Leg<std::net::UdpSocket>, rejected);
        assert!(end <= HOT_BYTES && HOT_BYTES < end + 64, "HOT_BYTES should be {}: {end}", end.next_multiple_of(64));
    }

    #[test]
    fn the_address_of_the_sdp_is_believed_at_once_and_nobody_else_then() {
        let mut leg = leg();
        assert!(!accepted(&mut leg, "10.0.0.1:4000", packet(8, 1, 1), 0), "a payload type that was not negotiated");
        let first = leg.admit(&packet(0, 1, 1), Some(address("10.0.0.1:4000")), 0);
        assert_eq!(
            first,
            Admission::Accepted { kind: Kind::Audio, latched: Some(address("10.0.0.1:4000")), restart: true }
        );
        for sequence in 2..20 {
            assert!(!accepted(&mut leg, "10.0.0.1:4002", packet(0, 1, sequence), 0));
            assert!(accepted(&mut leg, "10.0.0.1:4000", packet(0, 1, sequence), 0));
        }
    }

    #[test]
    fn a_caller_behind_nat_is_learnt_and_the_sdp_address_may_still_take_over() {
        let mut leg = leg();
        let heard: Vec<bool> =
            (1..=7).map(|sequence| accepted(&mut leg, "198.51.100.9:777", packet(0, 1, sequence), 0)).collect();
        assert_eq!(heard, [false, false, false, false, true, true, true]);
        assert_eq!(leg.destination(), Ok(Some(address("198.51.100.9:777"))));
        assert!(!accepted(&mut leg, "198.51.100.9:778", packet(0, 1, 8), 0));
        assert!(accepted(&mut leg, "10.0.0.1:4000", packet(0, 9, 500), 1_000));
        assert_eq!(leg.destination(), Ok(Some(address("10.0.0.1:4000"))));
        assert!(!accepted(&mut leg, "198.51.100.9:777", packet(0, 1, 9), 2_000));
    }

    #[test]
    fn a_settled_stranger_stays_until_a_new_offer() {
        let mut leg = leg();
        for sequence in 1..=160u16 {
            accepted(&mut leg, "198.51.100.9:777", packet(0, 1, sequence), Micros::from(sequence) * 20_000);
        }
        assert!(!accepted(&mut leg, "10.0.0.1:4000", packet(0, 1, 161), 4_000_000));
        assert!(!leg.set_remote(remote("10.0.0.1:4000"), 4_000_000));
        assert!(leg.set_remote(Remote { relatch: true, ..remote("10.0.0.1:4000") }, 4_000_000));
        assert!(accepted(&mut leg, "10.0.0.1:4000", packet(0, 1, 162), 4_000_001));
    }

    #[test]
    fn hold_is_obeyed_in_both_directions() {
        let mut leg = leg();
        leg.set_remote(Remote { receives: false, sends: false, ..remote("10.0.0.1:4000") }, 0);
        assert!(!accepted(&mut leg, "10.0.0.1:4000", packet(0, 1, 1), 0));
        assert_eq!(leg.destination(), Err(()));
        assert_eq!(leg.silent_ms(99_000_000), 0);
    }

    #[test]
    fn two_legs_measure_their_round_trip() {
        let (mut near, mut far) = (leg(), leg());
        far.sender = Sender::new(99, 0, 0);
        let mut buffer = [0; MAX_REPORT_LEN];
        let ntp = |now: Micros| rtcp::ntp(1_700_000_000_000_000 + now);
        let tell =
            |from: &mut Leg<()>, to: &mut Leg<()>, buffer: &mut [u8; MAX_REPORT_LEN], sent: Micros, arrives: Micros| {
                let (length, _) = from.report(buffer, sent, ntp(sent)).unwrap();
                to.receive_rtcp(&buffer[..length], address("10.0.0.1:4001"), arrives, ntp(arrives));
            };
        for leg in [&mut near, &mut far] {
            leg.sender.next_local(0, 160, 0);
            leg.sender.sent(160);
        }
        let (near_ssrc, far_ssrc) = (near.sender.ssrc(), far.sender.ssrc());
        accepted(&mut near, "10.0.0.1:4000", packet(0, far_ssrc, 1), 0);
        accepted(&mut far, "10.0.0.1:4000", packet(0, near_ssrc, 1), 0);
        // Each way takes 30 ms.
        tell(&mut near, &mut far, &mut buffer, 1_000_000, 1_030_000);
        tell(&mut far, &mut near, &mut buffer, 3_000_000, 3_030_000);
        let trip = near.stats().round_trip_ms.unwrap();
        assert!((59.0..61.0).contains(&trip), "{trip}");
        assert!(near.stats().mos > 4.0);
        far.receive_rtcp(&buffer, address("192.0.2.1:9"), 0, 0);
        assert_ne!(far.rtcp_from, Some(address("192.0.2.1:9")));
    }

    #[test]
    fn quiet_is_told_once_when_the_voice_stops() {
        let mut leg = leg();
        leg.quiet = Some(Box::new(QuietWatch { for_ms: 1_000, last_voice: 0 }));
        assert_eq!(leg.watch_quiet(Some((&[0x90; 160], Law::Mu)), 900_000), None);
        assert_eq!(leg.watch_quiet(Some((&[0xFF; 160], Law::Mu)), 1_800_000), None);
        assert_eq!(leg.watch_quiet(None, 1_900_000), Some(1_000));
        assert_eq!(leg.watch_quiet(None, 9_000_000), None);
    }
}
