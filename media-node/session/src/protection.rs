//! How a leg's packets are protected: what its descriptions offer and answer, and what the media
//! engine is told of it.

use std::fmt;

use hotline_rtp::api::{MediaCommand, MediaLegId, Security};
use hotline_rtp::dtls::{DtlsPeer, DtlsRole, Fingerprint};
use hotline_rtp::ice::IceCredentials;
use hotline_rtp::srtp::{Crypto, MasterKey, SrtpKeys, Suite};

use crate::sdp::{Accepts, CodecList, Description, LocalSecurity, LocalWeb, PeerSecurity, Setup, WebPeer};

/// Random bytes of a leg, from the shell: its keys and credentials are made of them. Never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LegSecret(pub [u8; 32]);

impl fmt::Debug for LegSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegSecret(…)")
    }
}

/// What a node does about SRTP with keys in descriptions. Browsers always have their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    /// Neither offered nor answered.
    Off,
    /// Answered, not offered.
    #[default]
    Accept,
    /// Offered as well to phones that are reached over TLS.
    Prefer,
    /// Always: plain offers get 488.
    Require,
}

impl SrtpPolicy {
    /// What an offer may hold.
    pub fn accepts(self, codecs: CodecList) -> Accepts {
        Accepts { plain: self != SrtpPolicy::Require, keys: self != SrtpPolicy::Off, codecs }
    }

    /// What is offered to a peer that is reached so.
    pub fn offers(self, transport: hotline_sip::api::Transport) -> OfferedSecurity {
        use hotline_sip::api::Transport;
        match (self, transport) {
            (_, Transport::Ws | Transport::Wss) => OfferedSecurity::Web,
            (SrtpPolicy::Require, _) | (SrtpPolicy::Prefer, Transport::Tls) => OfferedSecurity::Keys,
            _ => OfferedSecurity::Plain,
        }
    }
}

/// What our offer to a leg says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OfferedSecurity {
    /// Plain RTP.
    #[default]
    Plain,
    /// SRTP with keys in the description.
    Keys,
    /// ICE and DTLS.
    Web,
}

/// The protection of one leg.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protection {
    kind: OfferedSecurity,
    /// Something was agreed on that the media engine must be told to leave.
    told: bool,
    role: Option<DtlsRole>,
    remote: Option<IceCredentials>,
    /// Counts ICE restarts: our credentials change with the peer's.
    generation: u32,
}

impl Protection {
    /// Of a leg that we offer to.
    pub(crate) fn offering(kind: OfferedSecurity) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Of the same leg at another peer: nothing that was agreed counts, and no credentials are used again.
    pub(crate) fn afresh(&self) -> Self {
        Self { told: self.told, generation: self.generation + 1, ..Self::default() }
    }

    fn web(&self, secret: &LegSecret, fingerprint: Fingerprint, setup: Setup) -> LocalSecurity {
        let credentials = IceCredentials::derive(&secret.0, self.generation);
        LocalSecurity::Web(Box::new(LocalWeb { credentials, fingerprint, setup }))
    }

    /// Our side of an offer.
    pub(crate) fn offer(&self, secret: &LegSecret, fingerprint: Fingerprint) -> LocalSecurity {
        match self.kind {
            OfferedSecurity::Plain => LocalSecurity::Plain,
            OfferedSecurity::Keys => LocalSecurity::Keys(vec![
                own_key(1, Suite::Aes128Sha1Tag80, secret),
                own_key(2, Suite::Aes128Sha1Tag32, secret),
            ]),
            OfferedSecurity::Web => self.web(secret, fingerprint, Setup::ActPass),
        }
    }

    /// The answer to an offer: our side, and what the media engine shall do.
    pub(crate) fn answer(
        &mut self,
        offer: &Description,
        secret: &LegSecret,
        fingerprint: Fingerprint,
    ) -> (LocalSecurity, Security) {
        match &offer.security {
            PeerSecurity::Plain => {
                self.kind = OfferedSecurity::Plain;
                (LocalSecurity::Plain, Security::Plain)
            }
            PeerSecurity::Keys(theirs) => {
                self.kind = OfferedSecurity::Keys;
                let ours = own_key(theirs.tag, theirs.suite, secret);
                let security = keys(theirs, &ours);
                (LocalSecurity::Keys(vec![ours]), security)
            }
            PeerSecurity::Web(theirs) => {
                self.kind = OfferedSecurity::Web;
                // Whoever may choose stays what it was, else waits (RFC 8842 §5.3).
                let role = match (theirs.setup, self.role) {
                    (Setup::Passive, _) | (Setup::ActPass, Some(DtlsRole::Client)) => DtlsRole::Client,
                    (Setup::Active | Setup::ActPass, _) => DtlsRole::Server,
                };
                if self.remote.as_ref().is_some_and(|before| *before != theirs.credentials) {
                    self.generation += 1;
                }
                let security = self.dtls(theirs, role, secret);
                let setup = if role == DtlsRole::Client { Setup::Active } else { Setup::Passive };
                (self.web(secret, fingerprint, setup), security)
            }
        }
    }

    /// What follows from the peer's answer to our offer; `None`: it does not fit the offer.
    pub(crate) fn answered(&mut self, answer: &Description, secret: &LegSecret) -> Option<Security> {
        match (&answer.security, self.kind) {
            (PeerSecurity::Plain, OfferedSecurity::Plain) => Some(Security::Plain),
            (PeerSecurity::Keys(theirs), OfferedSecurity::Keys) => {
                let offered = [(1, Suite::Aes128Sha1Tag80), (2, Suite::Aes128Sha1Tag32)];
                let ours = offered.contains(&(theirs.tag, theirs.suite));
                ours.then(|| keys(theirs, &own_key(theirs.tag, theirs.suite, secret)))
            }
            (PeerSecurity::Web(theirs), OfferedSecurity::Web) => {
                let role = match theirs.setup {
                    Setup::Active => DtlsRole::Server,
                    Setup::Passive => DtlsRole::Client,
                    // No answer may leave it open (RFC 5763 §5).
                    Setup::ActPass => return None,
                };
                Some(self.dtls(theirs, role, secret))
            }
            _ => None,
        }
    }

    fn dtls(&mut self, theirs: &WebPeer, role: DtlsRole, secret: &LegSecret) -> Security {
        self.role = Some(role);
        self.remote = Some(theirs.credentials.clone());
        Security::Dtls(Box::new(DtlsPeer {
            local: IceCredentials::derive(&secret.0, self.generation),
            remote: theirs.credentials.clone(),
            fingerprint: theirs.fingerprint,
            role,
        }))
    }

    /// The command to the media engine, unless plain stays plain.
    pub(crate) fn command(&mut self, leg: MediaLegId, security: Security) -> Option<MediaCommand> {
        let before = std::mem::replace(&mut self.told, security != Security::Plain);
        (before || self.told).then_some(MediaCommand::Secure { leg, security })
    }
}

fn own_key(tag: u32, suite: Suite, secret: &LegSecret) -> Crypto {
    Crypto { tag, suite, key: MasterKey::derive(suite, &secret.0) }
}

fn keys(theirs: &Crypto, ours: &Crypto) -> Security {
    Security::Keys(Box::new(SrtpKeys { suite: theirs.suite, inbound: theirs.key.clone(), outbound: ours.key.clone() }))
}
