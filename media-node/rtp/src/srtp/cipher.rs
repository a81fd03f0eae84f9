//! Session keys and what is done with them: AES in counter mode (§4.1.1), HMAC-SHA1 (§4.2.1).

use aes::Aes128;
use aes::cipher::{BlockEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::MasterKey;

/// Blocks of key stream made at once: a packet of 20 ms of G.711.
const BLOCKS: usize = 10;

/// The session keys of one direction (§4.3.2, labels 0 to 5).
pub(super) struct SessionKeys {
    pub rtp: Protection,
    pub rtcp: Protection,
}

impl SessionKeys {
    pub fn derive(master: &MasterKey) -> Self {
        let of = |label: u8| Protection {
            cipher: Aes128::new(&derive::<16>(master, label).into()),
            mac: <Hmac<Sha1> as Mac>::new_from_slice(&derive::<20>(master, label + 1)).ok(),
            salt: derive::<14>(master, label + 2),
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
    key_stream(&Aes128::new(&master.key.into()), iv, &mut out);
    out
}

/// XORs the key stream that starts at `iv` over `data`.
pub(super) fn key_stream(cipher: &Aes128, iv: [u8; 16], data: &mut [u8]) {
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
pub(super) struct Protection {
    cipher: Aes128,
    /// Keyed already; `None` cannot be, as HMAC takes keys of any length.
    mac: Option<Hmac<Sha1>>,
    salt: [u8; 14],
}

impl Protection {
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
