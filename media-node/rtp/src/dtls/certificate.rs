//! The node's certificate, fingerprints, and the public key in a peer's certificate.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// SHA-256 of a certificate (RFC 8122 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// Not 32 bytes as hexadecimal digits with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 32 bytes as AB:CD:…")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            let part = parts.next().filter(digits).ok_or(FingerprintError)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| FingerprintError)?;
        }
        if parts.next().is_some() { Err(FingerprintError) } else { Ok(Self(bytes)) }
    }
}

/// A fresh self-signed certificate for ECDSA over P-256 and its key in PKCS #8, both in DER.
pub(super) fn make() -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    // A name says nothing here: peers compare the fingerprint.
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new())?.self_signed(&key)?;
    Ok((certificate.der().to_vec(), key.serialize_der()))
}

/// The public key of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    /// On the curve P-384 and not on P-256.
    pub p384: bool,
    /// Uncompressed.
    pub point: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const VERSION: u8 = 0xA0;
/// id-ecPublicKey with the named curve, as the content of an AlgorithmIdentifier (RFC 5480 §2.1.1).
const EC_P256: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
const EC_P384: &[u8] = &[0x06, 7, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 2, 1, 0x06, 5, 0x2B, 0x81, 4, 0, 0x22];

/// One element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7F => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
        // Nothing in a certificate that fits a handshake is longer.
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(tag, ..)| *tag == SEQUENCE).map(|(_, content, rest)| (content, rest))
}

/// The key for ECDSA in a certificate (RFC 5280 §4.1); `None` where it is another kind or broken.
pub(super) fn public_key(certificate: &[u8]) -> Option<PublicKey<'_>> {
    let (certificate, _) = sequence(certificate)?;
    let (mut rest, _) = sequence(certificate)?;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // Serial number, signature algorithm, issuer, validity, subject.
    for _ in 0..5 {
        (_, _, rest) = element(rest)?;
    }
    let (info, _) = sequence(rest)?;
    let (algorithm, rest) = sequence(info)?;
    let p384 = match algorithm {
        EC_P256 => false,
        EC_P384 => true,
        _ => return None,
    };
    match element(rest)? {
        // The first byte counts unused bits, of which there are none.
        (BIT_STRING, [0, point @ ..], _) => Some(PublicKey { p384, point }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_key_of_a_certificate_is_found_and_cuts_are_survived() {
        let (certificate, _) = make().unwrap();
        let key = public_key(&certificate).unwrap();
        assert!(!key.p384 && key.point.len() == 65 && key.point[0] == 4);
        for end in 0..certificate.len() {
            let _ = public_key(&certificate[..end]);
        }
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let other = rcgen::CertificateParams::new(vec!["x".to_string()]).unwrap().self_signed(&other).unwrap();
        assert!(public_key(other.der()).unwrap().p384);
        let odd = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let odd = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&odd).unwrap();
        assert_eq!(public_key(odd.der()), None);
    }

    #[test]
    fn fingerprints_as_descriptions_write_them() {
        let print = Fingerprint::of(b"abc");
        let text = print.to_string();
        assert!(text.starts_with("BA:78:16:BF:") && text.len() == 95);
        assert_eq!(text.parse(), Ok(print));
        assert_eq!(text.to_lowercase().parse(), Ok(print));
        for wrong in ["", "BA", &text[3..], &format!("{text}:00"), &text.replace(':', ""), &text.replace("BA", "+A")] {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(FingerprintError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = public_key(&bytes);
        }
    }
}
