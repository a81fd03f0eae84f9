//! What descriptions say of protection: keys (RFC 4568), or a browser's ICE (RFC 8839) and DTLS
//! (RFC 5763, RFC 8842).

use std::fmt::Write;

use hotline_rtp::dtls::Fingerprint;
use hotline_rtp::ice::IceCredentials;
use hotline_rtp::srtp::Crypto;

use super::Local;

/// The longest name of a section that is repeated.
const MID_BYTES: usize = 32;
/// The priority of a host candidate that is the only one (RFC 8445 §5.1.2).
const PRIORITY: u32 = 2_130_706_431;

/// Who begins the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Either, as the answer says.
    ActPass,
    /// Whoever wrote this.
    Active,
    /// The other side.
    Passive,
}

impl Setup {
    fn as_str(self) -> &'static str {
        match self {
            Setup::ActPass => "actpass",
            Setup::Active => "active",
            Setup::Passive => "passive",
        }
    }
}

/// A browser's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebPeer {
    /// Its ICE credentials.
    pub credentials: IceCredentials,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// Who begins.
    pub setup: Setup,
}

/// How a peer's audio is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerSecurity {
    /// Not at all.
    Plain,
    /// The first key that can be used.
    Keys(Crypto),
    /// As a browser does it.
    Web(Box<WebPeer>),
}

/// Our side of a browser's protection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalWeb {
    /// Our ICE credentials.
    pub credentials: IceCredentials,
    /// Of our certificate.
    pub fingerprint: Fingerprint,
    /// Who begins.
    pub setup: Setup,
}

/// How we protect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalSecurity {
    /// Not at all.
    Plain,
    /// With one of these keys; an answer has one.
    Keys(Vec<Crypto>),
    /// As a browser does it.
    Web(Box<LocalWeb>),
}

impl LocalSecurity {
    /// The transport of an offer.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            LocalSecurity::Plain => "RTP/AVP",
            LocalSecurity::Keys(_) => "RTP/SAVP",
            LocalSecurity::Web(_) => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// Lines before the first section.
    pub(super) fn session_lines(&self, out: &mut String, group: Option<&str>) {
        if let LocalSecurity::Web(_) = self {
            if let Some(mid) = group {
                let _ = write!(out, "a=group:BUNDLE {mid}\r\n");
            }
            out.push_str("a=ice-lite\r\n");
        }
    }

    /// Lines of the audio section.
    pub(super) fn audio_lines(&self, out: &mut String, local: &Local) {
        match self {
            LocalSecurity::Plain => {}
            LocalSecurity::Keys(keys) => {
                for key in keys {
                    let _ = write!(out, "a=crypto:{}\r\n", key.to_value());
                }
            }
            LocalSecurity::Web(web) => {
                let (ip, port) = (local.rtp.ip(), local.rtp.port());
                let _ = write!(
                    out,
                    "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{}\r\n\
                     a=rtcp-mux\r\na=candidate:1 1 UDP {PRIORITY} {ip} {port} typ host\r\n\
                     a=end-of-candidates\r\na=msid:hotline audio\r\n",
                    web.credentials.ufrag,
                    web.credentials.pwd,
                    web.fingerprint,
                    web.setup.as_str(),
                );
            }
        }
    }
}

/// What attributes say of protection, while they are read.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<Fingerprint>,
    setup: Option<Setup>,
    mux: bool,
    crypto: Option<Crypto>,
    pub mid: Option<String>,
}

impl Attributes {
    /// Reads an attribute; what is not understood is left out, and so missing.
    pub fn read(&mut self, text: &str) {
        let Some((name, value)) = text.split_once(':') else {
            self.mux |= text == "rtcp-mux";
            return;
        };
        let value = value.trim();
        let token = || value.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~/".contains(&b));
        match name {
            "ice-ufrag" if value.len() <= 256 && token() => self.ufrag = Some(value.into()),
            "ice-pwd" if value.len() <= 256 && token() => self.pwd = Some(value.into()),
            "mid" if !value.is_empty() && value.len() <= MID_BYTES && token() => self.mid = Some(value.into()),
            "fingerprint" => {
                if let Some((hash, print)) = value.split_once(' ')
                    && hash.eq_ignore_ascii_case("sha-256")
                {
                    self.fingerprint = print.trim().parse().ok();
                }
            }
            "setup" => {
                self.setup = match value {
                    "actpass" => Some(Setup::ActPass),
                    "active" => Some(Setup::Active),
                    "passive" => Some(Setup::Passive),
                    _ => None,
                }
            }
            "crypto" if self.crypto.is_none() => self.crypto = Crypto::parse(value).ok(),
            _ => {}
        }
    }

    /// What the section's transport promises, of the section's own attributes and the session's.
    pub fn security(&self, session: &Attributes, protocol: &str) -> Result<PeerSecurity, &'static str> {
        let fingerprint = self.fingerprint.or(session.fingerprint);
        let web = || {
            let ufrag = self.ufrag.as_ref().or(session.ufrag.as_ref()).ok_or("a=ice-ufrag is missing")?;
            let pwd = self.pwd.as_ref().or(session.pwd.as_ref()).ok_or("a=ice-pwd is missing")?;
            let credentials = IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() };
            if !credentials.is_valid() {
                return Err("a=ice-ufrag or a=ice-pwd is too short");
            }
            let fingerprint = fingerprint.ok_or("a=fingerprint:sha-256 is missing")?;
            let setup = self.setup.or(session.setup).ok_or("a=setup is missing")?;
            if !self.mux {
                return Err("a=rtcp-mux is missing");
            }
            Ok(PeerSecurity::Web(Box::new(WebPeer { credentials, fingerprint, setup })))
        };
        match protocol {
            "RTP/AVP" => Ok(PeerSecurity::Plain),
            "UDP/TLS/RTP/SAVPF" | "UDP/TLS/RTP/SAVP" => web(),
            "RTP/SAVP" | "RTP/SAVPF" => match &self.crypto {
                Some(crypto) => Ok(PeerSecurity::Keys(crypto.clone())),
                None if fingerprint.is_some() => web(),
                None => Err("no a=crypto with a suite that is spoken here"),
            },
            _ => Err("only RTP/AVP, RTP/SAVP and UDP/TLS/RTP/SAVPF are spoken here"),
        }
    }
}
