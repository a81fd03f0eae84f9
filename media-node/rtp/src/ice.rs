//! Connectivity checks as an ICE-lite agent answers them (RFC 8445 §2.5, RFC 8489): Binding requests
//! are checked against the credentials of both sides, and nothing else is believed.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

const COOKIE: u32 = 0x2112_A442;
const HEAD: usize = 20;
/// The longest check believed; browsers send about 120 bytes.
const LONGEST: usize = 1_024;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const FAILURE: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
/// What the checksum is mixed with (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// A user fragment and its password (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// Shown in descriptions and checks.
    pub ufrag: String,
    /// Only in descriptions, and nowhere in logs.
    pub pwd: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

impl IceCredentials {
    /// Credentials made of a secret of the leg: others for each generation, which an ICE restart
    /// counts up. The user fragment has 40 random bits, the password 160.
    pub fn derive(secret: &[u8], generation: u32) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut chars = String::with_capacity(40);
        if let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) {
            mac.update(b"ice");
            mac.update(&generation.to_be_bytes());
            let bits = mac.finalize().into_bytes();
            for part in bits.chunks_exact(5) {
                let word = part.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
                let letters = (0..8).map(|turn| ALPHABET.get((word >> (5 * turn) & 31) as usize).copied());
                chars.extend(letters.flatten().map(char::from));
            }
        }
        let pwd = chars.split_off(8.min(chars.len()));
        Self { ufrag: chars, pwd: pwd.chars().take(32).collect() }
    }

    /// Whether both parts may stand in a description (RFC 8839 §5.4): the fragment has 4 to 256
    /// characters, the password 22 to 256.
    pub fn is_valid(&self) -> bool {
        let fits = |text: &str, least| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
        };
        fits(&self.ufrag, 4) && fits(&self.pwd, 22)
    }
}

/// A Binding request whose sender knows our password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// To be repeated in the answer.
    pub transaction: [u8; 12],
    /// The pair of addresses is to be used (USE-CANDIDATE).
    pub nominated: bool,
    /// The sender claims to be the controlled side, which a lite agent always is.
    pub conflict: bool,
    /// An attribute that must be understood and is not.
    pub unknown: Option<u16>,
}

/// Why a datagram is no check of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// Another kind of datagram, or a broken one.
    #[error("no STUN Binding request")]
    Malformed,
    /// For another user fragment, or from one.
    #[error("a check for somebody else")]
    Stranger,
    /// The sender does not know the password, or the message was changed.
    #[error("a check without the password")]
    NotAuthentic,
}

/// Whether a datagram's first byte says STUN (RFC 7983 §7).
pub fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(0..=3))
}

/// Whether a datagram's first byte says DTLS.
pub fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}

struct Attributes<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Attributes<'a> {
    /// Type, offset of its head within the message, value; `Err` where the lengths do not fit.
    type Item = Result<(u16, usize, &'a [u8]), StunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = || {
            let (head, rest) = self.rest.split_at_checked(4)?;
            let [a, b, c, d] = *head else { return None };
            let length = usize::from(u16::from_be_bytes([c, d]));
            let value = rest.get(..length)?;
            let next = rest.get(length.next_multiple_of(4)..)?;
            Some((u16::from_be_bytes([a, b]), value, next, 4 + length.next_multiple_of(4)))
        };
        let Some((kind, value, next, whole)) = read() else {
            self.rest = &[];
            return Some(Err(StunError::Malformed));
        };
        let offset = self.offset;
        self.rest = next;
        self.offset += whole;
        Some(Ok((kind, offset, value)))
    }
}

/// The type and the transaction of a message whose lengths fit.
fn head(datagram: &[u8]) -> Result<(u16, [u8; 12]), StunError> {
    let (head, body) = datagram.split_at_checked(HEAD).ok_or(StunError::Malformed)?;
    let [a, b, c, d, cookie @ ..] = *head.first_chunk::<8>().ok_or(StunError::Malformed)?;
    let length = usize::from(u16::from_be_bytes([c, d]));
    if u32::from_be_bytes(cookie) != COOKIE || length != body.len() || length % 4 != 0 || datagram.len() > LONGEST {
        return Err(StunError::Malformed);
    }
    let transaction = head.get(8..).and_then(|t| t.try_into().ok()).ok_or(StunError::Malformed)?;
    Ok((u16::from_be_bytes([a, b]), transaction))
}

/// The tag over the first `until` bytes of a message, its length as if it ended with the attribute.
fn integrity(message: &[u8], until: usize, password: &str) -> Option<Hmac<Sha1>> {
    let mut mac = <Hmac<Sha1> as Mac>::new_from_slice(password.as_bytes()).ok()?;
    let length = (until + 24).checked_sub(HEAD)? as u16;
    mac.update(message.get(..2)?);
    mac.update(&length.to_be_bytes());
    mac.update(message.get(4..until)?);
    Some(mac)
}

fn checksum(message: &[u8], until: usize) -> Option<u32> {
    let length = (until + 8).checked_sub(HEAD)? as u16;
    let mut crc = crc32fast::Hasher::new();
    crc.update(message.get(..2)?);
    crc.update(&length.to_be_bytes());
    crc.update(message.get(4..until)?);
    Some(crc.finalize() ^ FINGERPRINT_XOR)
}

/// What a message holds besides its head, once tag and checksum are right.
struct Verified<'a> {
    username: Option<&'a [u8]>,
    mapped: Option<&'a [u8]>,
    nominated: bool,
    controlled: bool,
    unknown: Option<u16>,
}

fn verify<'a>(datagram: &'a [u8], password: &str) -> Result<Verified<'a>, StunError> {
    let mut found = Verified { username: None, mapped: None, nominated: false, controlled: false, unknown: None };
    let (mut signed, mut summed) = (false, false);
    let rest = datagram.get(HEAD..).unwrap_or_default();
    for attribute in (Attributes { rest, offset: HEAD }) {
        let (kind, offset, value) = attribute?;
        if summed {
            return Err(StunError::Malformed);
        }
        match kind {
            FINGERPRINT => {
                let told = value.try_into().map(u32::from_be_bytes).map_err(|_| StunError::Malformed)?;
                if checksum(datagram, offset) != Some(told) {
                    return Err(StunError::Malformed);
                }
                summed = true;
            }
            // What follows the tag is not protected by it and does not count (RFC 8489 §14.5).
            _ if signed => {}
            MESSAGE_INTEGRITY => {
                let mac = integrity(datagram, offset, password).ok_or(StunError::Malformed)?;
                mac.verify_slice(value).map_err(|_| StunError::NotAuthentic)?;
                signed = true;
            }
            USERNAME => found.username = Some(value),
            XOR_MAPPED_ADDRESS => found.mapped = Some(value),
            USE_CANDIDATE => found.nominated = true,
            ICE_CONTROLLED => found.controlled = true,
            PRIORITY | ICE_CONTROLLING | MESSAGE_INTEGRITY_SHA256 => {}
            other if other < 0x8000 => found.unknown = found.unknown.or(Some(other)),
            _ => {}
        }
    }
    if signed && summed { Ok(found) } else { Err(StunError::NotAuthentic) }
}

/// Checks a datagram: a Binding request from `remote_ufrag` to us, with our password.
///
/// # Errors
/// [`StunError`]: not to be answered.
pub fn check(datagram: &[u8], local: &IceCredentials, remote_ufrag: &str) -> Result<Check, StunError> {
    let (kind, transaction) = head(datagram)?;
    if kind != REQUEST {
        return Err(StunError::Malformed);
    }
    let found = verify(datagram, &local.pwd)?;
    let user = found.username.and_then(|name| std::str::from_utf8(name).ok()).and_then(|name| name.split_once(':'));
    if user != Some((&local.ufrag, remote_ufrag)) {
        return Err(StunError::Stranger);
    }
    Ok(Check { transaction, nominated: found.nominated, conflict: found.controlled, unknown: found.unknown })
}

/// The answer to a check: the address that it came from, or why it is refused (487 where both sides
/// claim to be controlled, 420 for an attribute that is not understood).
pub fn answer(check: &Check, from: SocketAddr, local: &IceCredentials) -> Vec<u8> {
    let refused = |code: u16, reason: &str| {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend(reason.as_bytes());
        value
    };
    let mut message = match (check.unknown, check.conflict) {
        (Some(unknown), _) => {
            let mut message = Message::new(FAILURE, check.transaction);
            message.add(ERROR_CODE, &refused(420, "Unknown Attribute"));
            message.add(UNKNOWN_ATTRIBUTES, &unknown.to_be_bytes());
            message
        }
        (None, true) => {
            let mut message = Message::new(FAILURE, check.transaction);
            message.add(ERROR_CODE, &refused(487, "Role Conflict"));
            message
        }
        (None, false) => {
            let mut message = Message::new(SUCCESS, check.transaction);
            message.add(XOR_MAPPED_ADDRESS, &xor_address(from, &check.transaction));
            message
        }
    };
    message.sign(&local.pwd);
    message.bytes
}

/// A check as the controlling peer sends it: `local` is the sender here.
pub fn request(transaction: [u8; 12], local: &IceCredentials, remote: &IceCredentials, nominate: bool) -> Vec<u8> {
    let mut message = Message::new(REQUEST, transaction);
    message.add(USERNAME, format!("{}:{}", remote.ufrag, local.ufrag).as_bytes());
    message.add(PRIORITY, &0x6E00_01FFu32.to_be_bytes());
    message.add(ICE_CONTROLLING, &[7; 8]);
    if nominate {
        message.add(USE_CANDIDATE, &[]);
    }
    message.sign(&remote.pwd);
    message.bytes
}

/// The address in the answer to a check of ours; `None`: no such answer.
pub fn answered(datagram: &[u8], transaction: [u8; 12], remote: &IceCredentials) -> Option<SocketAddr> {
    let (kind, of) = head(datagram).ok()?;
    let found = verify(datagram, &remote.pwd).ok()?;
    if kind != SUCCESS || of != transaction {
        return None;
    }
    let plain = |bytes: &[u8]| -> Vec<u8> {
        let mask = COOKIE.to_be_bytes().into_iter().chain(transaction);
        bytes.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
    };
    let (front, address) = found.mapped?.split_at_checked(4)?;
    let [_, family, high, low] = *front else { return None };
    let port = u16::from_be_bytes([high, low]) ^ (COOKIE >> 16) as u16;
    let ip = match family {
        1 => IpAddr::from(<[u8; 4]>::try_from(plain(address)).ok()?),
        2 => IpAddr::from(<[u8; 16]>::try_from(plain(address)).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn xor_address(address: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let port = (address.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
    let mask = COOKIE.to_be_bytes().into_iter().chain(*transaction);
    let (family, bytes) = match address.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let hidden = bytes.into_iter().zip(mask).map(|(byte, mask)| byte ^ mask);
    [0, family].into_iter().chain(port).chain(hidden).collect()
}

struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, transaction: [u8; 12]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE.to_be_bytes());
        bytes.extend(transaction);
        Self { bytes }
    }

    fn add(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend((value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - HEAD) as u16;
        if let Some(place) = self.bytes.get_mut(2..4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Adds the tag and the checksum.
    fn sign(&mut self, password: &str) {
        if let Some(mac) = integrity(&self.bytes, self.bytes.len(), password) {
            let tag: [u8; 20] = mac.finalize().into_bytes().into();
            self.add(MESSAGE_INTEGRITY, &tag);
        }
        if let Some(sum) = checksum(&self.bytes, self.bytes.len()) {
            self.add(FINGERPRINT, &sum.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex.replace([' ', '\n'], "")).unwrap()
    }

    fn published() -> IceCredentials {
        IceCredentials { ufrag: "evtj".into(), pwd: "VOkJxbRl1RmTxUk/WvJxBt".into() }
    }

    const TRANSACTION: &str = "b7e7a701bc34d686fa87dfae";

    #[test]
    fn the_published_request() {
        // RFC 5769 §2.1.
        let request = bytes(
            "000100582112a442b7e7a701bc34d686fa87dfae 802200105354554e207465737420636c69656e74 002400046e0001ff
             80290008932ff9b151263b36 000600096576746a3a68367659202020 000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
             80280004e57a3bcf",
        );
        let check = check(&request, &published(), "h6vY").unwrap();
        assert_eq!(check.transaction.to_vec(), bytes(TRANSACTION));
        assert!(check.conflict && !check.nominated && check.unknown.is_none());
        assert_eq!(super::check(&request, &published(), "other"), Err(StunError::Stranger));
        let wrong = IceCredentials { pwd: "VOkJxbRl1RmTxUk/WvJxBT".into(), ..published() };
        assert_eq!(super::check(&request, &wrong, "h6vY"), Err(StunError::NotAuthentic));
        for at in 0..request.len() {
            let mut changed = request.clone();
            changed[at] ^= 1;
            assert!(super::check(&changed, &published(), "h6vY").is_err(), "byte {at}");
            assert!(super::check(&request[..at], &published(), "h6vY").is_err());
        }
    }

    #[test]
    fn the_published_responses() {
        // RFC 5769 §2.2 and §2.3.
        let v4 = bytes(
            "0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 002000080001a147e112a643
             000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96",
        );
        let transaction: [u8; 12] = bytes(TRANSACTION).try_into().unwrap();
        assert_eq!(answered(&v4, transaction, &published()), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = bytes(
            "010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220
             002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9 00080014a382954e4be67bf11784c97c8292c275bfe3ed41
             80280004c8fb0b4c",
        );
        let address = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
        assert_eq!(answered(&v6, transaction, &published()), Some(address));
        assert_eq!(answered(&v6, [0; 12], &published()), None);
    }

    #[test]
    fn a_check_and_its_answer() {
        let (browser, node) = (IceCredentials::derive(b"browser", 0), IceCredentials::derive(b"node", 3));
        assert!(browser.is_valid() && node.is_valid());
        assert_ne!(node, IceCredentials::derive(b"node", 4));
        assert!(!format!("{node:?}").contains(&node.pwd));
        for nominate in [false, true] {
            let sent = request([9; 12], &browser, &node, nominate);
            let got = check(&sent, &node, &browser.ufrag).unwrap();
            assert_eq!((got.nominated, got.conflict, got.unknown), (nominate, false, None));
            for from in ["198.51.100.7:4242", "[2001:db8::7]:9"] {
                let from = from.parse().unwrap();
                let reply = answer(&got, from, &node);
                assert_eq!(answered(&reply, [9; 12], &node), Some(from));
                assert_eq!(answered(&reply, [9; 12], &browser), None);
            }
            assert_eq!(check(&sent, &browser, &browser.ufrag), Err(StunError::NotAuthentic));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_a_reason() {
        let (browser, node) = (IceCredentials::derive(b"browser", 0), IceCredentials::derive(b"node", 0));
        let mut message = Message::new(REQUEST, [1; 12]);
        message.add(USERNAME, format!("{}:{}", node.ufrag, browser.ufrag).as_bytes());
        message.add(0x7777, b"?");
        message.sign(&node.pwd);
        let got = check(&message.bytes, &node, &browser.ufrag).unwrap();
        assert_eq!(got.unknown, Some(0x7777));
        let reply = answer(&got, "192.0.2.1:1".parse().unwrap(), &node);
        assert_eq!(reply[..2], FAILURE.to_be_bytes());
        assert_eq!(reply[24..28], [0, 0, 4, 20]);
        let conflict = answer(&Check { unknown: None, conflict: true, ..got }, "192.0.2.1:1".parse().unwrap(), &node);
        assert_eq!(conflict[24..28], [0, 0, 4, 87]);
    }

    #[test]
    fn kinds_of_datagrams() {
        assert!(is_stun(&[0]) && is_stun(&[3]) && !is_stun(&[4]) && !is_stun(&[]));
        assert!(is_dtls(&[20]) && is_dtls(&[63]) && !is_dtls(&[64]) && !is_dtls(&[0x80]));
    }

    proptest! {
        #[test]
        fn noise_is_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut noise = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
            noise.extend([5; 12]);
            noise.extend(&body);
            noise.resize(noise.len().next_multiple_of(4), 0);
            let length = (noise.len() - HEAD) as u16;
            noise[2..4].copy_from_slice(&length.to_be_bytes());
            prop_assert!(check(&noise, &published(), "x").is_err());
            prop_assert!(check(&body, &published(), "x").is_err());
        }
    }
}
