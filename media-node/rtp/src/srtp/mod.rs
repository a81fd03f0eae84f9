//! SRTP and SRTCP (RFC 3711) with keys from session descriptions (SDES, RFC 4568): AES in counter
//! mode, HMAC-SHA1, replay windows. One [`Srtp`] holds both directions of a leg.

mod cipher;
mod replay;
mod sdes;

pub use sdes::{Crypto, SdesError};

use cipher::SessionKeys;
use replay::{Window, estimate};

/// Bytes a protected RTP packet may be longer than a plain one.
pub const RTP_OVERHEAD: usize = 10;
/// Bytes a protected RTCP packet may be longer than a plain one: index and tag.
pub const RTCP_OVERHEAD: usize = 14;
/// Sources remembered in one direction; a peer that shows more is not believed.
const MAX_SOURCES: usize = 16;
/// The flag of an encrypted SRTCP packet, before its index.
const ENCRYPTED: u32 = 1 << 31;

/// A crypto suite of RFC 4568 §6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES_CM_128_HMAC_SHA1_80.
    Aes128Sha1Tag80,
    /// AES_CM_128_HMAC_SHA1_32: RTCP keeps the long tag.
    Aes128Sha1Tag32,
}

impl Suite {
    /// Bytes of the tag of an RTP packet.
    fn tag(self) -> usize {
        match self {
            Suite::Aes128Sha1Tag80 => 10,
            Suite::Aes128Sha1Tag32 => 4,
        }
    }
}

/// A master key and its salt: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    /// 128 bits.
    pub key: [u8; 16],
    /// 112 bits.
    pub salt: [u8; 14],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// What protects both directions of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The negotiated suite.
    pub suite: Suite,
    /// What the peer protects with: from its description.
    pub inbound: MasterKey,
    /// What we protect with: from ours.
    pub outbound: MasterKey,
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Too short, or not of version 2.
    #[error("no SRTP packet")]
    Malformed,
    /// The tag is wrong: changed on the way, or not from who has the key.
    #[error("the packet is not authentic")]
    NotAuthentic,
    /// Seen before, or too old to tell (RFC 3711 §3.3.2).
    #[error("the packet came before, or is too old")]
    Replayed,
    /// More sources than are remembered.
    #[error("too many sources")]
    TooManySources,
    /// The buffer has no room for what protection adds.
    #[error("no room for the tag")]
    NoRoom,
}

/// A source in one direction: RTP's roll-over counter and what was seen.
#[derive(Debug, Clone)]
struct Source {
    ssrc: u32,
    /// RTP: the highest 48-bit index; `None` before the first packet.
    highest: Option<u64>,
    seen: Window,
    /// RTCP: inbound what was seen, outbound the next index.
    reports: Window,
    next_report: u32,
}

struct Direction {
    keys: SessionKeys,
    sources: Vec<Source>,
}

impl Direction {
    fn new(key: &MasterKey) -> Self {
        Self { keys: SessionKeys::derive(key), sources: Vec::with_capacity(1) }
    }

    fn place_of(&self, ssrc: u32) -> Option<usize> {
        self.sources.iter().position(|source| source.ssrc == ssrc)
    }

    fn source(&mut self, ssrc: u32) -> Result<&mut Source, SrtpError> {
        let place = match self.place_of(ssrc) {
            Some(place) => place,
            None if self.sources.len() >= MAX_SOURCES => return Err(SrtpError::TooManySources),
            None => {
                self.sources.push(Source {
                    ssrc,
                    highest: None,
                    seen: Window::default(),
                    reports: Window::default(),
                    next_report: 0,
                });
                self.sources.len() - 1
            }
        };
        self.sources.get_mut(place).ok_or(SrtpError::TooManySources)
    }
}

/// Both directions of a leg.
pub struct Srtp {
    master: SrtpKeys,
    suite: Suite,
    inbound: Direction,
    outbound: Direction,
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").field("suite", &self.suite).finish_non_exhaustive()
    }
}

fn long(bytes: &[u8], at: usize) -> Result<u32, SrtpError> {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map(u32::from_be_bytes).ok_or(SrtpError::Malformed)
}

/// Source, sequence number, and where the payload begins: sources and extension stay in clear (§3.1).
fn rtp_front(packet: &[u8]) -> Result<(u32, u16, usize), SrtpError> {
    let first = long(packet, 0)?;
    let ssrc = long(packet, 8)?;
    if first >> 30 != 2 {
        return Err(SrtpError::Malformed);
    }
    let mut start = 12 + 4 * (first >> 24 & 15) as usize;
    if first >> 28 & 1 == 1 {
        start += 4 + 4 * (long(packet, start)? & 0xFFFF) as usize;
    }
    if start > packet.len() {
        return Err(SrtpError::Malformed);
    }
    Ok((ssrc, first as u16, start))
}

impl Srtp {
    /// Derives the session keys (§4.3).
    pub fn new(keys: &SrtpKeys) -> Self {
        Self {
            master: keys.clone(),
            suite: keys.suite,
            inbound: Direction::new(&keys.inbound),
            outbound: Direction::new(&keys.outbound),
        }
    }

    /// Whether these are its keys: then its counters must go on, not start anew.
    pub fn has(&self, keys: &SrtpKeys) -> bool {
        self.master == *keys
    }

    /// Protects the RTP packet at the front of `buffer`, `length` bytes long, in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet must not be sent then.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let (ssrc, sequence, start) = rtp_front(buffer.get(..length).ok_or(SrtpError::NoRoom)?)?;
        let tag = self.suite.tag();
        let (front, rest) = buffer.split_at_mut_checked(length).ok_or(SrtpError::NoRoom)?;
        let into = rest.get_mut(..tag).ok_or(SrtpError::NoRoom)?;
        let source = self.outbound.source(ssrc)?;
        let index = estimate(source.highest, sequence);
        // Two packets under one index would give away both (§9.1).
        if !source.seen.admits(index) {
            return Err(SrtpError::Replayed);
        }
        source.seen.mark(index);
        source.highest = source.highest.max(Some(index));
        let keys = &self.outbound.keys;
        keys.rtp.apply(ssrc, index, front.get_mut(start..).unwrap_or_default());
        into.copy_from_slice(keys.rtp.tag(front, &((index >> 16) as u32).to_be_bytes()).get(..tag).unwrap_or_default());
        Ok(length + tag)
    }

    /// Checks a protected RTP packet and makes it plain in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; nothing was changed then.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let length = packet.len().checked_sub(self.suite.tag()).ok_or(SrtpError::Malformed)?;
        let (front, tag) = packet.split_at_mut_checked(length).ok_or(SrtpError::Malformed)?;
        let (ssrc, sequence, start) = rtp_front(front)?;
        let known = self.inbound.place_of(ssrc).and_then(|place| self.inbound.sources.get(place));
        let index = estimate(known.and_then(|source| source.highest), sequence);
        if known.is_some_and(|source| !source.seen.admits(index)) {
            return Err(SrtpError::Replayed);
        }
        let keys = &self.inbound.keys;
        if !keys.rtp.verify(front, &((index >> 16) as u32).to_be_bytes(), tag) {
            return Err(SrtpError::NotAuthentic);
        }
        // Only who has the key makes us remember a source.
        let source = self.inbound.source(ssrc)?;
        source.highest = source.highest.max(Some(index));
        source.seen.mark(index);
        self.inbound.keys.rtp.apply(ssrc, index, front.get_mut(start..).unwrap_or_default());
        Ok(length)
    }

    /// Protects the RTCP packet at the front of `buffer` in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet must not be sent then.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let ssrc = long(buffer.get(..length).ok_or(SrtpError::NoRoom)?, 4)?;
        let whole = length + RTCP_OVERHEAD;
        let source = self.outbound.source(ssrc)?;
        let index = source.next_report;
        let packet = buffer.get_mut(..whole).ok_or(SrtpError::NoRoom)?;
        source.next_report = (index + 1) & !ENCRYPTED;
        let keys = &self.outbound.keys;
        keys.rtcp.apply(ssrc, u64::from(index), packet.get_mut(8..length).unwrap_or_default());
        let (front, tag) = packet.split_at_mut_checked(length + 4).ok_or(SrtpError::NoRoom)?;
        if let Some(place) = front.get_mut(length..) {
            place.copy_from_slice(&(index | ENCRYPTED).to_be_bytes());
        }
        tag.copy_from_slice(keys.rtcp.tag(front, &[]).get(..10).unwrap_or_default());
        Ok(whole)
    }

    /// Checks a protected RTCP packet and makes it plain in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; nothing was changed then.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let length = packet.len().checked_sub(RTCP_OVERHEAD).filter(|length| *length >= 8);
        let length = length.ok_or(SrtpError::Malformed)?;
        let (front, tag) = packet.split_at_mut_checked(length + 4).ok_or(SrtpError::Malformed)?;
        let (ssrc, word) = (long(front, 4)?, long(front, length)?);
        let index = u64::from(word & !ENCRYPTED);
        let known = self.inbound.place_of(ssrc).and_then(|place| self.inbound.sources.get(place));
        if known.is_some_and(|source| !source.reports.admits(index)) {
            return Err(SrtpError::Replayed);
        }
        if !self.inbound.keys.rtcp.verify(front, &[], tag) {
            return Err(SrtpError::NotAuthentic);
        }
        self.inbound.source(ssrc)?.reports.mark(index);
        if word & ENCRYPTED != 0 {
            self.inbound.keys.rtcp.apply(ssrc, index, front.get_mut(8..length).unwrap_or_default());
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
