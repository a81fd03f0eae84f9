//! SRTP and SRTCP (RFC 3711) with keys from session descriptions (SDES, RFC 4568) or from DTLS
//! (RFC 5764): AES in counter mode with HMAC-SHA1, or AES-GCM (RFC 7714), and replay windows. One
//! [`Srtp`] holds both directions of a leg.

mod cipher;
mod replay;
mod sdes;

pub use sdes::{Crypto, SdesError};

use cipher::{Protection, SessionKeys};
use hmac::{Hmac, Mac};
use replay::{Window, estimate};
use sha2::Sha256;

/// Bytes a protected RTP packet may be longer than a plain one.
pub const RTP_OVERHEAD: usize = GCM_TAG;
/// Bytes a protected RTCP packet may be longer than a plain one: index and tag.
pub const RTCP_OVERHEAD: usize = 4 + GCM_TAG;
/// Bytes of the tag of AES-GCM.
const GCM_TAG: usize = 16;
/// Bytes of the tag of HMAC-SHA1 on RTCP, also where RTP has the short one.
const REPORT_TAG: usize = 10;
/// Sources remembered in one direction; a peer that shows more is not believed.
const MAX_SOURCES: usize = 16;
/// The flag of an encrypted SRTCP packet, before its index.
const ENCRYPTED: u32 = 1 << 31;

/// How packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES_CM_128_HMAC_SHA1_80 (RFC 4568 §6.2).
    Aes128Sha1Tag80,
    /// AES_CM_128_HMAC_SHA1_32: RTCP keeps the long tag.
    Aes128Sha1Tag32,
    /// AEAD_AES_128_GCM (RFC 7714).
    Aes128Gcm,
    /// AEAD_AES_256_GCM.
    Aes256Gcm,
}

impl Suite {
    /// Bytes of the tag of an RTP packet.
    fn tag(self) -> usize {
        match self {
            Suite::Aes128Sha1Tag80 => 10,
            Suite::Aes128Sha1Tag32 => 4,
            Suite::Aes128Gcm | Suite::Aes256Gcm => GCM_TAG,
        }
    }

    /// Bytes of the tag of an RTCP packet.
    fn report_tag(self) -> usize {
        match self {
            Suite::Aes128Sha1Tag80 | Suite::Aes128Sha1Tag32 => REPORT_TAG,
            Suite::Aes128Gcm | Suite::Aes256Gcm => GCM_TAG,
        }
    }

    /// Bytes of the master key.
    pub fn key_bytes(self) -> usize {
        if self == Suite::Aes256Gcm { 32 } else { 16 }
    }

    /// Bytes of the master salt.
    pub fn salt_bytes(self) -> usize {
        match self {
            Suite::Aes128Sha1Tag80 | Suite::Aes128Sha1Tag32 => 14,
            Suite::Aes128Gcm | Suite::Aes256Gcm => 12,
        }
    }
}

/// A master key and its salt: never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    key: [u8; 32],
    key_bytes: usize,
    /// A shorter one is filled up with zeros on its right (RFC 7714 §11).
    salt: [u8; 14],
}

impl MasterKey {
    /// `None` unless key and salt are as long as the suite wants them.
    pub fn new(suite: Suite, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != suite.key_bytes() || salt.len() != suite.salt_bytes() {
            return None;
        }
        let mut whole = Self { key: [0; 32], key_bytes: key.len(), salt: [0; 14] };
        whole.key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        whole.salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
        Some(whole)
    }

    /// A key of our own for a description, made of a secret of the leg.
    pub fn derive(suite: Suite, secret: &[u8]) -> Self {
        let mut whole = Self { key: [0; 32], key_bytes: suite.key_bytes(), salt: [0; 14] };
        for (label, half) in [(0u8, &mut whole.key[..]), (1, &mut whole.salt[..])] {
            let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) else { continue };
            mac.update(&[b's', suite as u8, label]);
            half.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        }
        let unused = whole.salt.iter_mut().skip(suite.salt_bytes());
        unused.for_each(|byte| *byte = 0);
        whole.key.iter_mut().skip(suite.key_bytes()).for_each(|byte| *byte = 0);
        whole
    }

    /// The key without its salt.
    pub(crate) fn key(&self) -> &[u8] {
        self.key.get(..self.key_bytes).unwrap_or_default()
    }

    /// The salt, with its zeros.
    pub(crate) fn salt(&self) -> &[u8] {
        &self.salt
    }
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
    fn new(key: &MasterKey, suite: Suite) -> Self {
        Self { keys: SessionKeys::derive(key, suite), sources: Vec::with_capacity(1) }
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
            inbound: Direction::new(&keys.inbound, keys.suite),
            outbound: Direction::new(&keys.outbound, keys.suite),
        }
    }

    /// Takes other keys. A direction whose key stays goes on counting: from the start again, two
    /// packets would have one key stream (§9.1).
    pub fn change(&mut self, keys: &SrtpKeys) {
        let suite_stays = keys.suite == self.suite;
        if !suite_stays || keys.inbound != self.master.inbound {
            self.inbound = Direction::new(&keys.inbound, keys.suite);
        }
        if !suite_stays || keys.outbound != self.master.outbound {
            self.outbound = Direction::new(&keys.outbound, keys.suite);
        }
        self.suite = keys.suite;
        self.master = keys.clone();
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
        match &self.outbound.keys.rtp {
            Protection::Counter(keys) => {
                keys.apply(ssrc, index, front.get_mut(start..).unwrap_or_default());
                let whole = keys.tag(front, &((index >> 16) as u32).to_be_bytes());
                into.copy_from_slice(whole.get(..tag).unwrap_or_default());
            }
            Protection::Gcm(keys) => {
                let (clear, data) = front.split_at_mut_checked(start).ok_or(SrtpError::Malformed)?;
                into.copy_from_slice(&keys.seal(ssrc, index, clear, data)?);
            }
        }
        Ok(length + tag)
    }

    /// Checks a protected RTP packet and makes it plain in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; what the packet holds then is of no use.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let length = packet.len().checked_sub(self.suite.tag()).ok_or(SrtpError::Malformed)?;
        let (ssrc, sequence, start) = rtp_front(packet.get(..length).ok_or(SrtpError::Malformed)?)?;
        let known = self.inbound.place_of(ssrc).and_then(|place| self.inbound.sources.get(place));
        let index = estimate(known.and_then(|source| source.highest), sequence);
        if known.is_some_and(|source| !source.seen.admits(index)) {
            return Err(SrtpError::Replayed);
        }
        match &self.inbound.keys.rtp {
            Protection::Counter(keys) => {
                let (front, tag) = packet.split_at_mut_checked(length).ok_or(SrtpError::Malformed)?;
                if !keys.verify(front, &((index >> 16) as u32).to_be_bytes(), tag) {
                    return Err(SrtpError::NotAuthentic);
                }
            }
            Protection::Gcm(keys) => {
                let (clear, data) = packet.split_at_mut_checked(start).ok_or(SrtpError::Malformed)?;
                keys.open(ssrc, index, clear, data)?;
            }
        }
        // Only who has the key makes us remember a source.
        let source = self.inbound.source(ssrc)?;
        source.highest = source.highest.max(Some(index));
        source.seen.mark(index);
        if let Protection::Counter(keys) = &self.inbound.keys.rtp {
            keys.apply(ssrc, index, packet.get_mut(start..length).unwrap_or_default());
        }
        Ok(length)
    }

    /// Protects the RTCP packet at the front of `buffer` in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; the packet must not be sent then.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SrtpError> {
        let ssrc = long(buffer.get(..length).ok_or(SrtpError::NoRoom)?, 4)?;
        let tag = self.suite.report_tag();
        let whole = length + 4 + tag;
        let source = self.outbound.source(ssrc)?;
        let index = source.next_report;
        let packet = buffer.get_mut(..whole).ok_or(SrtpError::NoRoom)?;
        source.next_report = (index + 1) & !ENCRYPTED;
        let word = (index | ENCRYPTED).to_be_bytes();
        let (front, back) = packet.split_at_mut_checked(length).ok_or(SrtpError::NoRoom)?;
        let (head, data) = front.split_at_mut_checked(8).ok_or(SrtpError::Malformed)?;
        match &self.outbound.keys.rtcp {
            Protection::Counter(keys) => {
                keys.apply(ssrc, u64::from(index), data);
                back.get_mut(..4).ok_or(SrtpError::NoRoom)?.copy_from_slice(&word);
                let (signed, into) = packet.split_at_mut_checked(length + 4).ok_or(SrtpError::NoRoom)?;
                into.copy_from_slice(keys.tag(signed, &[]).get(..tag).unwrap_or_default());
            }
            Protection::Gcm(keys) => {
                let sealed = keys.seal(ssrc, u64::from(index), &report_aad(head, word), data)?;
                let (into, end) = back.split_at_mut_checked(tag).ok_or(SrtpError::NoRoom)?;
                into.copy_from_slice(&sealed);
                end.copy_from_slice(&word);
            }
        }
        Ok(whole)
    }

    /// Checks a protected RTCP packet and makes it plain in place; its new length.
    ///
    /// # Errors
    /// [`SrtpError`]; what the packet holds then is of no use.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let tag = self.suite.report_tag();
        let length = packet.len().checked_sub(4 + tag).filter(|length| *length >= 8);
        let length = length.ok_or(SrtpError::Malformed)?;
        let gcm = matches!(self.inbound.keys.rtcp, Protection::Gcm(_));
        let word = long(packet, if gcm { length + tag } else { length })?;
        let (ssrc, index) = (long(packet, 4)?, u64::from(word & !ENCRYPTED));
        let known = self.inbound.place_of(ssrc).and_then(|place| self.inbound.sources.get(place));
        if known.is_some_and(|source| !source.reports.admits(index)) {
            return Err(SrtpError::Replayed);
        }
        match &self.inbound.keys.rtcp {
            Protection::Counter(keys) => {
                let (front, tag) = packet.split_at_mut_checked(length + 4).ok_or(SrtpError::Malformed)?;
                if !keys.verify(front, &[], tag) {
                    return Err(SrtpError::NotAuthentic);
                }
                if word & ENCRYPTED != 0 {
                    keys.apply(ssrc, index, front.get_mut(8..length).unwrap_or_default());
                }
            }
            // Nobody sends reports in clear under this suite.
            Protection::Gcm(_) if word & ENCRYPTED == 0 => return Err(SrtpError::NotAuthentic),
            Protection::Gcm(keys) => {
                let (head, rest) = packet.split_at_mut_checked(8).ok_or(SrtpError::Malformed)?;
                let data = rest.get_mut(..length + tag - 8).ok_or(SrtpError::Malformed)?;
                keys.open(ssrc, index, &report_aad(head, word.to_be_bytes()), data)?;
            }
        }
        self.inbound.source(ssrc)?.reports.mark(index);
        Ok(length)
    }
}

/// What a protected report signs besides what it encrypts (RFC 7714 §9.2): its head and its index.
fn report_aad(head: &[u8], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad.iter_mut().zip(head.iter().take(8).chain(&word)).for_each(|(to, from)| *to = *from);
    aad
}

#[cfg(test)]
mod tests;
