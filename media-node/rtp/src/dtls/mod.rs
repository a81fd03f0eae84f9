//! DTLS-SRTP (RFC 5764): a handshake with a peer whose certificate's fingerprint is known, which ends
//! with the keys for SRTP. Records and retransmission are `dimpl`'s, the cryptography `ring`'s.

mod certificate;
mod provider;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};

pub use certificate::{Fingerprint, FingerprintError};

use crate::ice::IceCredentials;
use crate::srtp::{MasterKey, SrtpKeys, Suite};

/// A handshake must be over by then.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// The first pause before a flight is repeated; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// How often a flight is repeated within the limit.
const REPEATS: usize = 5;
/// Room for a record; the library says where it needs more.
const RECORD: usize = 2_048;

/// Which side begins the handshake (RFC 8842: `a=setup`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// `passive`: waits for the peer.
    Server,
    /// `active`.
    Client,
}

/// A peer whose media is protected by DTLS-SRTP and found by ICE, as its description and ours say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DtlsPeer {
    /// Our ICE credentials.
    pub local: IceCredentials,
    /// The peer's.
    pub remote: IceCredentials,
    /// Of the peer's certificate.
    pub fingerprint: Fingerprint,
    /// Our part.
    pub role: DtlsRole,
}

/// The certificate that all handshakes of a process use. Its key is never shown.
#[derive(Debug, Clone)]
pub struct Identity {
    config: Arc<dimpl::Config>,
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
}

/// No certificate can be made, or the cryptography does not work on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the certificate for DTLS cannot be made: {0}")]
pub struct IdentityError(String);

impl Identity {
    /// Makes a key and a certificate.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn make() -> Result<Self, IdentityError> {
        let (certificate, private_key) = certificate::make().map_err(|error| IdentityError(error.to_string()))?;
        let config = dimpl::Config::builder()
            .with_crypto_provider(provider::provider())
            // Nobody gets this far without a password for ICE.
            .use_server_cookie(false)
            .handshake_timeout(HANDSHAKE_LIMIT)
            .flight_start_rto(FIRST_PAUSE)
            .flight_retries(REPEATS)
            .build()
            .map_err(|error| IdentityError(error.to_string()))?;
        let fingerprint = Fingerprint::of(&certificate);
        Ok(Self { config: Arc::new(config), certificate: DtlsCertificate { certificate, private_key }, fingerprint })
    }

    /// What our descriptions say of it.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtlsFailure {
    /// The peer's certificate is not the one of its description.
    #[error("the peer's certificate does not have the fingerprint of its description")]
    WrongCertificate,
    /// No common protection, a broken handshake, or no answer.
    #[error("the DTLS handshake failed")]
    Handshake,
    /// The peer ended the association.
    #[error("the peer closed the DTLS association")]
    Closed,
}

/// One association with a peer.
pub struct Association {
    dtls: Dtls,
    role: DtlsRole,
    expected: Fingerprint,
    known: bool,
    wake: Option<Instant>,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Association({:?})", self.role)
    }
}

impl Association {
    /// Waits for the peer, or begins at the first [`Association::pass`].
    pub fn new(identity: &Identity, role: DtlsRole, expected: Fingerprint, now: Instant) -> Self {
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(role == DtlsRole::Client);
        Self { dtls, role, expected, known: false, wake: Some(now) }
    }

    /// When [`Association::pass`] wants to be called.
    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Takes a datagram; the keys where the handshake is over with it.
    ///
    /// # Errors
    /// [`DtlsFailure`]; there will be no keys.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        now: Instant,
        send: impl FnMut(&[u8]),
    ) -> Result<Option<SrtpKeys>, DtlsFailure> {
        self.dtls.handle_timeout(now).map_err(|_| DtlsFailure::Handshake)?;
        self.dtls.handle_packet(datagram).map_err(|_| DtlsFailure::Handshake)?;
        self.poll(send)
    }

    /// Time has passed: repeats what may be lost.
    ///
    /// # Errors
    /// [`DtlsFailure`]; there will be no keys.
    pub fn pass(&mut self, now: Instant, send: impl FnMut(&[u8])) -> Result<Option<SrtpKeys>, DtlsFailure> {
        self.dtls.handle_timeout(now).map_err(|_| DtlsFailure::Handshake)?;
        self.poll(send)
    }

    fn poll(&mut self, mut send: impl FnMut(&[u8])) -> Result<Option<SrtpKeys>, DtlsFailure> {
        let mut keys = None;
        let mut buffer = vec![0; RECORD];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => send(packet),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(certificate) => {
                    if Fingerprint::of(certificate) != self.expected {
                        return Err(DtlsFailure::WrongCertificate);
                    }
                    self.known = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    let split = split(&material, profile, self.role).filter(|_| self.known);
                    keys = Some(split.ok_or(DtlsFailure::Handshake)?);
                }
                Output::CloseNotify => return Err(DtlsFailure::Closed),
                Output::Timeout(at) => {
                    self.wake = Some(at);
                    return Ok(keys);
                }
                _ => {}
            }
        }
    }
}

/// The keys of both directions (RFC 5764 §4.2): client key, server key, client salt, server salt.
fn split(material: &[u8], profile: SrtpProfile, role: DtlsRole) -> Option<SrtpKeys> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::Aes128Sha1Tag80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::Aes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Suite::Aes256Gcm,
        _ => return None,
    };
    let (client_key, rest) = material.split_at_checked(suite.key_bytes())?;
    let (server_key, rest) = rest.split_at_checked(suite.key_bytes())?;
    let (client_salt, rest) = rest.split_at_checked(suite.salt_bytes())?;
    let server_salt = rest.get(..suite.salt_bytes())?;
    let client = MasterKey::new(suite, client_key, client_salt)?;
    let server = MasterKey::new(suite, server_key, server_salt)?;
    Some(match role {
        DtlsRole::Server => SrtpKeys { suite, inbound: client, outbound: server },
        DtlsRole::Client => SrtpKeys { suite, inbound: server, outbound: client },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two associations in virtual time; every `lose`th datagram is lost.
    fn shake(
        client: &Identity,
        server: &Identity,
        expected: Fingerprint,
        lose: usize,
    ) -> (Result<SrtpKeys, DtlsFailure>, Result<SrtpKeys, DtlsFailure>) {
        let mut now = Instant::now();
        let mut ours = Association::new(server, DtlsRole::Server, expected, now);
        let mut theirs = Association::new(client, DtlsRole::Client, server.fingerprint(), now);
        let (mut got, mut sent): (Option<SrtpKeys>, Option<SrtpKeys>) = (None, None);
        let (mut to_server, mut to_client): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (vec![], vec![]);
        let mut count = 0;
        for _ in 0..400 {
            now += Duration::from_millis(25);
            let mut lost = || {
                count += 1;
                lose > 0 && count % lose == 0
            };
            for packet in std::mem::take(&mut to_server) {
                if lost() {
                    continue;
                }
                match ours.receive(&packet, now, |bytes| to_client.push(bytes.to_vec())) {
                    Ok(keys) => got = got.or(keys),
                    Err(failure) => return (Err(failure), Err(DtlsFailure::Handshake)),
                }
            }
            for packet in std::mem::take(&mut to_client) {
                if lost() {
                    continue;
                }
                match theirs.receive(&packet, now, |bytes| to_server.push(bytes.to_vec())) {
                    Ok(keys) => sent = sent.or(keys),
                    Err(failure) => return (Err(DtlsFailure::Handshake), Err(failure)),
                }
            }
            got = got.or(ours.pass(now, |bytes| to_client.push(bytes.to_vec())).unwrap());
            sent = sent.or(theirs.pass(now, |bytes| to_server.push(bytes.to_vec())).unwrap());
            if let (Some(got), Some(sent)) = (&got, &sent) {
                return (Ok(got.clone()), Ok(sent.clone()));
            }
        }
        (Err(DtlsFailure::Handshake), Err(DtlsFailure::Handshake))
    }

    #[test]
    fn both_sides_get_the_same_keys_also_over_a_bad_line() {
        let (client, server) = (Identity::make().unwrap(), Identity::make().unwrap());
        for lose in [0, 5, 3] {
            let (got, sent) = shake(&client, &server, client.fingerprint(), lose);
            let (got, sent) = (got.unwrap(), sent.unwrap());
            assert_eq!(got, SrtpKeys { suite: sent.suite, inbound: sent.outbound, outbound: sent.inbound });
            assert_eq!(got.suite, Suite::Aes256Gcm, "the best that both know");
        }
    }

    #[test]
    fn a_certificate_with_another_fingerprint_gets_no_keys() {
        let (client, server) = (Identity::make().unwrap(), Identity::make().unwrap());
        let (got, _) = shake(&client, &server, server.fingerprint(), 0);
        assert_eq!(got, Err(DtlsFailure::WrongCertificate));
    }

    #[test]
    fn noise_before_the_handshake_is_survived() {
        let server = Identity::make().unwrap();
        let now = Instant::now();
        let mut ours = Association::new(&server, DtlsRole::Server, server.fingerprint(), now);
        for seed in 0..2_000u32 {
            let noise: Vec<u8> = (0..seed % 90).map(|i| (seed.wrapping_mul(2_654_435_761) >> (i % 24)) as u8).collect();
            let record = [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, noise.len() as u8][..], &noise].concat();
            if ours.receive(&record, now, |_| {}).is_err() {
                ours = Association::new(&server, DtlsRole::Server, server.fingerprint(), now);
            }
        }
    }
}
