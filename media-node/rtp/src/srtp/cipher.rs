//! Session keys and what is done with them: AES in counter mode (§4.1.1) with HMAC-SHA1 (§4.2.1), or
//! AES-GCM (RFC 7714), which does both at once.

use aes::cipher::consts::U16;
use aes::cipher::{BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes256};
use hmac::{Hmac, Mac};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use sha1::Sha1;

use super::{GCM_TAG, MasterKey, SrtpError, Suite};

/// Blocks of key stream made at once: a packet of 20 ms of G.711.
const BLOCKS: usize = 10;

/// The session keys of one direction (§4.3.2, labels 0 to 5).
pub(super) struct SessionKeys {
    pub rtp: Protection,
    pub rtcp: Protection,
}

impl SessionKeys {
    pub fn derive(master: &MasterKey, suite: Suite) -> Self {
        let of = |label: u8| match suite {
            Suite::Aes128Sha1Tag80 | Suite::Aes128Sha1Tag32 => Protection::Counter(Box::new(Counter {
                cipher: Aes128::new(&derive::<16>(master, label).into()),
                mac: <Hmac<Sha1> as Mac>::new_from_slice(&derive::<20>(master, label + 1)).ok(),
                salt: derive::<14>(master, label + 2),
            })),
            Suite::Aes128Gcm => {
                Protection::Gcm(Box::new(Gcm::new(&AES_128_GCM, &derive::<16>(master, label), master, label)))
            }
            Suite::Aes256Gcm => {
                Protection::Gcm(Box::new(Gcm::new(&AES_256_GCM, &derive::<32>(master, label), master, label)))
            }
        };
        Self { rtp: of(0), rtcp: of(3) }
    }
}

/// The key for one purpose (§4.3.1, with a key derivation rate of 0).
pub(super) fn derive<const N: usize>(master: &MasterKey, label: u8) -> [u8; N] {
    let mut iv = [0; 16];
    let (front, _) = iv.split_at_mut(14);
    front.copy_from_slice(&master.salt);
    iv[7] ^= label;
    let mut out = [0; N];
    match master.key() {
        long if long.len() == 32 => key_stream(&Aes256::new(&master.key.into()), iv, &mut out),
        short => {
            let mut key = [0; 16];
            let length = short.len().min(16);
            key.iter_mut().zip(short.iter().take(length)).for_each(|(to, from)| *to = *from);
            key_stream(&Aes128::new(&key.into()), iv, &mut out);
        }
    }
    out
}

/// XORs the key stream that starts at `iv` over `data`.
pub(super) fn key_stream<C>(cipher: &C, iv: [u8; 16], data: &mut [u8])
where
    C: BlockEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let counter = u128::from_be_bytes(iv);
    for (turn, part) in data.chunks_mut(16 * BLOCKS).enumerate() {
        let mut blocks: [aes::Block; BLOCKS] =
            std::array::from_fn(|index| counter.wrapping_add((turn * BLOCKS + index) as u128).to_be_bytes().into());
        let count = part.len().div_ceil(16);
        cipher.encrypt_blocks(blocks.get_mut(..count).unwrap_or_default());
        for (bytes, block) in part.chunks_mut(16).zip(&blocks) {
            for (byte, key) in bytes.iter_mut().zip(block) {
                *byte ^= key;
            }
        }
    }
}

/// What protects RTP, or RTCP, in one direction.
pub(super) enum Protection {
    Counter(Box<Counter>),
    Gcm(Box<Gcm>),
}

/// Counter mode and a keyed hash.
pub(super) struct Counter {
    cipher: Aes128,
    /// Keyed already; `None` cannot be, as HMAC takes keys of any length.
    mac: Option<Hmac<Sha1>>,
    salt: [u8; 14],
}

impl Counter {
    /// Encrypts or decrypts what packet `index` of a source carries.
    pub fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut iv = [0; 16];
        let (front, _) = iv.split_at_mut(14);
        front.copy_from_slice(&self.salt);
        let mask = (u128::from(ssrc) << 64) | (u128::from(index) << 16);
        key_stream(&self.cipher, (u128::from_be_bytes(iv) ^ mask).to_be_bytes(), data);
    }

    /// The tag over a packet and what follows it unsent (the roll-over counter); cut to the suite's length.
    pub fn tag(&self, packet: &[u8], after: &[u8]) -> [u8; 20] {
        let Some(mut mac) = self.mac.clone() else { return [0; 20] };
        mac.update(packet);
        mac.update(after);
        mac.finalize().into_bytes().into()
    }

    /// Whether a tag is right, in a time that does not tell where it is wrong.
    pub fn verify(&self, packet: &[u8], after: &[u8], tag: &[u8]) -> bool {
        let Some(mut mac) = self.mac.clone() else { return false };
        mac.update(packet);
        mac.update(after);
        mac.verify_truncated_left(tag).is_ok()
    }
}

/// AES-GCM: one key does both.
pub(super) struct Gcm {
    /// `None` cannot be: the key is as long as the algorithm wants it.
    key: Option<LessSafeKey>,
    salt: [u8; 12],
}

impl Gcm {
    fn new(algorithm: &'static Algorithm, key: &[u8], master: &MasterKey, label: u8) -> Self {
        let key = UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new);
        Self { key, salt: derive::<12>(master, label + 2) }
    }

    /// The nonce of packet `index` of a source (RFC 7714 §8.1 and §9.1, which place both alike).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut salt = [0; 16];
        let (_, back) = salt.split_at_mut(4);
        back.copy_from_slice(&self.salt);
        let whole = u128::from_be_bytes(salt) ^ (u128::from(ssrc) << 48 | u128::from(index));
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(whole.to_be_bytes().iter().skip(4)).for_each(|(to, from)| *to = *from);
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `data` and gives the tag over it and `clear`.
    pub fn seal(&self, ssrc: u32, index: u64, clear: &[u8], data: &mut [u8]) -> Result<[u8; GCM_TAG], SrtpError> {
        let key = self.key.as_ref().ok_or(SrtpError::NoRoom)?;
        let tag = key
            .seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(clear), data)
            .map_err(|_| SrtpError::NoRoom)?;
        tag.as_ref().try_into().map_err(|_| SrtpError::NoRoom)
    }

    /// Decrypts `data`, which ends with its tag.
    pub fn open(&self, ssrc: u32, index: u64, clear: &[u8], data: &mut [u8]) -> Result<(), SrtpError> {
        let key = self.key.as_ref().ok_or(SrtpError::NotAuthentic)?;
        let opened = key.open_in_place(self.nonce(ssrc, index), Aad::from(clear), data);
        opened.map(|_| ()).map_err(|_| SrtpError::NotAuthentic)
    }
}
