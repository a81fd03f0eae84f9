//! The `a=crypto` attribute (RFC 4568 §9.1): reading and writing.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{MasterKey, Suite};

/// One offered or accepted way of protecting a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Names it within the section; an answer repeats the tag it took.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// The key of whoever wrote the description.
    pub key: MasterKey,
}

/// Why an attribute is of no use; others of the section may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SdesError {
    /// Not of the form `tag suite inline:key`.
    #[error("a=crypto: expected `<tag> <suite> inline:<key>`")]
    Syntax,
    /// A suite that is not spoken here.
    #[error("a=crypto: unknown suite")]
    Suite,
    /// Not as long as the suite wants it, in base64.
    #[error("a=crypto: the key must be key and salt of the suite in base64 (30 bytes for AES_CM_128)")]
    Key,
    /// Several keys, a master key identifier, or a session parameter that changes how packets look.
    #[error("a=crypto: several keys, key identifiers and session parameters are not spoken here")]
    Unsupported,
}

impl Crypto {
    /// Reads the attribute's value, what follows `a=crypto:`.
    ///
    /// # Errors
    /// [`SdesError`].
    pub fn parse(value: &str) -> Result<Crypto, SdesError> {
        let mut parts = value.split_ascii_whitespace();
        let (Some(tag), Some(suite), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SdesError::Syntax);
        };
        if tag.is_empty() || tag.len() > 9 || !tag.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SdesError::Syntax);
        }
        let tag = tag.parse().map_err(|_| SdesError::Syntax)?;
        let suite = match suite {
            "AES_CM_128_HMAC_SHA1_80" => Suite::Aes128Sha1Tag80,
            "AES_CM_128_HMAC_SHA1_32" => Suite::Aes128Sha1Tag32,
            "AEAD_AES_128_GCM" => Suite::Aes128Gcm,
            "AEAD_AES_256_GCM" => Suite::Aes256Gcm,
            _ => return Err(SdesError::Suite),
        };
        // The size hint of a replay window changes nothing; every other parameter does (§6.3).
        if parts.any(|part| !part.starts_with("WSH=")) || key.contains(';') {
            return Err(SdesError::Unsupported);
        }
        let (method, key) = key.split_once(':').ok_or(SdesError::Syntax)?;
        if !method.eq_ignore_ascii_case("inline") {
            return Err(SdesError::Syntax);
        }
        let mut key = key.split('|');
        let text = key.next().unwrap_or_default();
        // A lifetime has no colon, a master key identifier has one (§6.1).
        if key.any(|part| part.contains(':')) {
            return Err(SdesError::Unsupported);
        }
        let bytes = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).map_err(|_| SdesError::Key)?;
        let (key, salt) = bytes.split_at_checked(suite.key_bytes()).ok_or(SdesError::Key)?;
        let key = MasterKey::new(suite, key, salt).ok_or(SdesError::Key)?;
        Ok(Crypto { tag, suite, key })
    }

    /// The attribute's value. It holds the key: it belongs into a description and nowhere else.
    pub fn to_value(&self) -> String {
        let suite = match self.suite {
            Suite::Aes128Sha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::Aes128Sha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::Aes128Gcm => "AEAD_AES_128_GCM",
            Suite::Aes256Gcm => "AEAD_AES_256_GCM",
        };
        let salt = self.key.salt().get(..self.suite.salt_bytes()).unwrap_or_default();
        let key = [self.key.key(), salt].concat();
        format!("{} {suite} inline:{}", self.tag, STANDARD.encode(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 4568 §9.1 and §6.1: a lifetime; no lifetime; a key identifier.
        let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let read = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20")).unwrap();
        assert_eq!((read.tag, read.suite), (1, Suite::Aes128Sha1Tag80));
        assert_eq!(read.key.key(), b"YS___semctl () {");
        assert_eq!(read.to_value(), format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"));
        assert_eq!(Crypto::parse(&read.to_value()), Ok(read.clone()));
        assert!(!format!("{read:?}").contains("89"), "the key is not shown");
        let short = Crypto::parse(&format!("2 AES_CM_128_HMAC_SHA1_32 INLINE:{key} WSH=64")).unwrap();
        assert_eq!((short.tag, short.suite), (2, Suite::Aes128Sha1Tag32));
    }

    #[test]
    fn what_is_of_no_use_says_why() {
        let key = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        for (value, error) in [
            (String::new(), SdesError::Syntax),
            (format!("1 inline:{key}"), SdesError::Syntax),
            (format!("x AES_CM_128_HMAC_SHA1_80 inline:{key}"), SdesError::Syntax),
            (format!("1 AES_CM_128_HMAC_SHA1_80 outline:{key}"), SdesError::Syntax),
            (format!("1 F8_128_HMAC_SHA1_80 inline:{key}"), SdesError::Suite),
            ("1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".into(), SdesError::Key),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}AAAA"), SdesError::Key),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4"), SdesError::Unsupported),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key};inline:{key}"), SdesError::Unsupported),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key} UNENCRYPTED_SRTP"), SdesError::Unsupported),
        ] {
            assert_eq!(Crypto::parse(&value), Err(error), "{value}");
        }
    }
}
