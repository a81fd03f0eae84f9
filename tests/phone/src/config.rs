//! What a phone is told at its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hotline_rtp::api::Codec;

/// What the phone sends while a call is up.
#[derive(Debug, Clone)]
pub enum Microphone {
    /// Silence, in packets.
    Silence,
    /// A sine at this frequency, hertz, at about -10 dBFS.
    Tone(u32),
    /// Samples at 8 kHz (see [`crate::read_wav`]), once or again and again.
    Samples {
        /// 16 bit, mono.
        samples: Arc<[i16]>,
        /// Starts over at the end; else silence follows.
        repeat: bool,
    },
    /// Sends nothing at all.
    Off,
}

/// One phone.
#[derive(Debug, Clone)]
pub struct PhoneConfig {
    /// Our SIP address; port 0 takes a free one. The address must not be 0.0.0.0: it is written
    /// into our messages. RTP binds to the same address.
    pub bind: SocketAddr,
    /// Where requests go: the node or registrar.
    pub server: SocketAddr,
    /// SIP over one TCP connection to the server, instead of datagrams.
    pub tcp: bool,
    /// The user part of our address, and the digest user.
    pub user: String,
    /// For digest.
    pub password: Option<String>,
    /// The host part of our address of record; `None`: the server's address.
    pub domain: Option<String>,
    /// The display name in From.
    pub display_name: Option<String>,
    /// Answers incoming calls after ringing this long; `None`: only [`crate::Phone::answer`] does.
    pub auto_answer: Option<Duration>,
    /// What is sent.
    pub microphone: Microphone,
    /// Codecs offered and accepted, the preferred one first.
    pub codecs: Vec<Codec>,
    /// Our RTP port, even; 0 takes a free one.
    pub rtp_port: u16,
    /// Seconds asked for when registering.
    pub register_expires: Duration,
    /// The seed of branches and tags; `None`: from the operating system.
    pub seed: Option<[u8; 32]>,
}

impl PhoneConfig {
    /// A phone without account, silent, that answers nothing by itself.
    pub fn new(bind: SocketAddr, server: SocketAddr) -> Self {
        Self {
            bind,
            server,
            tcp: false,
            user: "phone".into(),
            password: None,
            domain: None,
            display_name: None,
            auto_answer: None,
            microphone: Microphone::Silence,
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            rtp_port: 0,
            register_expires: Duration::from_secs(60),
            seed: None,
        }
    }

    /// `user@domain`.
    pub(crate) fn address(&self) -> String {
        let domain = self.domain.clone().unwrap_or_else(|| self.server.to_string());
        format!("{}@{domain}", self.user)
    }

    /// The From value.
    pub(crate) fn name_addr(&self) -> String {
        let uri = format!("<sip:{}>", self.address());
        match &self.display_name {
            Some(name) => {
                let name: String = name.chars().filter(|c| !c.is_control() && !matches!(c, '"' | '\\')).collect();
                format!("\"{name}\" {uri}")
            }
            None => uri,
        }
    }
}
