//! Calls between nodes: a caller's node rings a phone that is registered at another one. The INVITE
//! carries a signed header; who cannot sign is nobody's node.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use hotline_base::{AgentId, OfferId, Timestamp};
use sha2::Sha256;

use crate::config::FleetKey;

/// The header.
pub const RING_HEADER: &str = "X-Hotline-Ring";
/// How long a signature is good, milliseconds.
const LIFE_MS: i64 = 30_000;
/// The longest life believed, milliseconds: clocks of nodes differ.
const LONGEST_LIFE_MS: i64 = 60_000;
/// Signatures remembered until they are over.
const REMEMBERED: usize = 20_000;

/// Why a ring of another node is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// This node has no key.
    #[error("node.fleet_key is not set here")]
    NoKey,
    /// It is not what another node writes.
    #[error("the header cannot be read")]
    Malformed,
    /// Another key, or another call than the one that was signed.
    #[error("the signature is wrong: is node.fleet_key the same on all nodes?")]
    Signature,
    /// Too old, or from too far in the future.
    #[error("it is out of date: do the clocks of the nodes agree?")]
    Expired,
    /// It was used before.
    #[error("it was used before")]
    Replayed,
}

/// What another node says of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    /// Which offer.
    pub offer: OfferId,
    /// Whom it is for.
    pub agent: AgentId,
    expires: Timestamp,
    signature: String,
}

fn mac(key: &FleetKey, offer: &str, agent: &str, expires: &str, user: &str) -> Option<Hmac<Sha256>> {
    // A key of any length will do.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.0.as_bytes()).ok()?;
    mac.update(format!("hotline-ring\n{offer}\n{agent}\n{expires}\n{user}").as_bytes());
    Some(mac)
}

/// The header's value for a call to `user`.
pub fn sign(key: &FleetKey, offer: OfferId, agent: AgentId, user: &str, now: Timestamp) -> String {
    let (offer, agent) = (offer.to_string(), agent.to_string());
    let expires = now.plus_ms(LIFE_MS).as_millis().to_string();
    let mac = mac(key, &offer, &agent, &expires, user);
    let signature = mac.map(|mac| hex::encode(mac.finalize().into_bytes())).unwrap_or_default();
    format!("offer={offer};agent={agent};expires={expires};signature={signature}")
}

/// Checks a header's value; the signature is compared in constant time.
///
/// # Errors
/// [`RingError`]: answer with 403.
pub fn verify(key: Option<&FleetKey>, value: &str, user: &str, now: Timestamp) -> Result<Ring, RingError> {
    let key = key.ok_or(RingError::NoKey)?;
    let part = |name: &str| {
        let mut parts = value.split(';').filter_map(|part| part.trim().split_once('='));
        parts.find(|(key, _)| *key == name).map(|(_, value)| value).ok_or(RingError::Malformed)
    };
    if value.len() > 512 {
        return Err(RingError::Malformed);
    }
    let (offer, agent, expires) = (part("offer")?, part("agent")?, part("expires")?);
    let signature = part("signature")?;
    let bytes = hex::decode(signature).map_err(|_| RingError::Malformed)?;
    let mac = mac(key, offer, agent, expires, user).ok_or(RingError::NoKey)?;
    mac.verify_slice(&bytes).map_err(|_| RingError::Signature)?;
    let expires = Timestamp::from_millis(expires.parse().map_err(|_| RingError::Malformed)?);
    let left = expires.since_ms(now);
    if !(0..=LONGEST_LIFE_MS).contains(&left) {
        return Err(RingError::Expired);
    }
    Ok(Ring {
        offer: offer.parse().map_err(|_| RingError::Malformed)?,
        agent: agent.parse().map_err(|_| RingError::Malformed)?,
        expires,
        signature: signature.to_ascii_lowercase(),
    })
}

/// Rings taken lately: each is taken once.
#[derive(Debug, Default)]
pub struct Rings(Mutex<HashMap<(OfferId, String), Timestamp>>);

impl Rings {
    /// Takes a ring.
    ///
    /// # Errors
    /// [`RingError::Replayed`], also where too many are remembered to know.
    pub fn take(&self, ring: &Ring, now: Timestamp) -> Result<(), RingError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED {
            taken.retain(|_, expires| *expires >= now);
        }
        let key = (ring.offer, ring.signature.clone());
        if taken.len() >= REMEMBERED || taken.contains_key(&key) {
            return Err(RingError::Replayed);
        }
        taken.insert(key, ring.expires);
        Ok(())
    }
}

/// The user part of a URI, escaped where it must be (RFC 3261 §25.1).
pub fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> FleetKey {
        FleetKey(text.into())
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn a_ring_is_taken_once_and_only_as_it_was_signed() {
        let (ours, theirs) = (key("0123456789abcdef"), key("another key it is"));
        let (offer, agent) = (OfferId::from_u128(5), AgentId::from_u128(6));
        let value = sign(&ours, offer, agent, "fang.demo", at(0));
        let ring = verify(Some(&ours), &value, "fang.demo", at(10)).unwrap();
        assert_eq!((ring.offer, ring.agent), (offer, agent));
        let rings = Rings::default();
        assert_eq!(rings.take(&ring, at(10)), Ok(()));
        assert_eq!(rings.take(&ring, at(11)), Err(RingError::Replayed));
        // The same offer again, signed anew.
        let again = verify(Some(&ours), &sign(&ours, offer, agent, "fang.demo", at(20)), "fang.demo", at(20)).unwrap();
        assert_eq!(rings.take(&again, at(20)), Ok(()));

        let no = |key: Option<&FleetKey>, value: &str, user: &str, now| verify(key, value, user, now).unwrap_err();
        assert_eq!(no(None, &value, "fang.demo", at(0)), RingError::NoKey);
        assert_eq!(no(Some(&theirs), &value, "fang.demo", at(0)), RingError::Signature);
        assert_eq!(no(Some(&ours), &value, "wang.demo", at(0)), RingError::Signature);
        assert_eq!(no(Some(&ours), &value, "fang.demo", at(LIFE_MS + 1)), RingError::Expired);
        assert_eq!(no(Some(&ours), &value, "fang.demo", at(-40_000)), RingError::Expired);
        let other = value.replace(&offer.to_string(), &OfferId::from_u128(7).to_string());
        assert_eq!(no(Some(&ours), &other, "fang.demo", at(0)), RingError::Signature);
        for wrong in ["", "x", "offer=;agent=;expires=;signature=", "offer=a;agent=b;expires=c;signature=zz"] {
            assert!(verify(Some(&ours), wrong, "fang.demo", at(0)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn users_are_escaped() {
        assert_eq!(escape_user("fang.demo"), "fang.demo");
        assert_eq!(escape_user("a@b c;"), "a%40b%20c%3B");
    }
}
