//! The other end of a protected leg: keys in the description, or what a browser does.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hotline_rtp::dtls::{Association, DtlsRole, Fingerprint, Identity};
use hotline_rtp::ice::{self, IceCredentials};
use hotline_rtp::srtp::{Crypto, MasterKey, RTCP_OVERHEAD, RTP_OVERHEAD, Srtp, SrtpKeys, Suite};

/// How a line is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Keys(Suite),
    Browser,
}

pub struct Guard {
    kind: Kind,
    own: Crypto,
    identity: Identity,
    local: IceCredentials,
    remote: Option<(IceCredentials, Fingerprint)>,
    association: Option<Association>,
    pub srtp: Option<Srtp>,
    checks: u8,
    pub answered: u32,
    next_check: Instant,
    /// Silent: neither packets nor checks, as while a page is loaded.
    pub gone: bool,
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl Guard {
    pub fn new(kind: Kind, port: u16) -> Self {
        let suite = match kind {
            Kind::Keys(suite) => suite,
            Kind::Browser => Suite::Aes128Sha1Tag80,
        };
        Self {
            kind,
            own: Crypto { tag: 4, suite, key: MasterKey::derive(suite, &port.to_be_bytes()) },
            identity: Identity::make().unwrap(),
            local: IceCredentials::derive(&port.to_be_bytes(), 0),
            remote: None,
            association: None,
            srtp: None,
            checks: 0,
            answered: 0,
            next_check: Instant::now(),
            gone: false,
        }
    }

    /// Our answer to an offer with keys: one with our suite is taken.
    pub fn take(&mut self, offer: &[u8], rtp: SocketAddr) -> Bytes {
        let text = String::from_utf8_lossy(offer);
        let keys = text.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
        let theirs = keys.filter_map(|key| Crypto::parse(key).ok()).find(|key| Kind::Keys(key.suite) == self.kind);
        let theirs = theirs.unwrap_or_else(|| panic!("no such key in {text}"));
        self.own.tag = theirs.tag;
        let keys = SrtpKeys { suite: theirs.suite, inbound: theirs.key, outbound: self.own.key.clone() };
        self.srtp = Some(Srtp::new(&keys));
        self.description(rtp, "0", "sendrecv")
    }

    /// Our answer to the node's offer, in a browser's way.
    pub fn answer(&mut self, offer: &str, rtp: SocketAddr) -> String {
        assert!(offer.contains("UDP/TLS/RTP/SAVPF") && offer.contains("a=setup:actpass"), "{offer}");
        self.learn(offer.replace("a=setup:actpass", "a=setup:passive").as_bytes());
        let ours = String::from_utf8(self.description(rtp, "0", "sendrecv").to_vec()).unwrap();
        ours.replace("a=setup:actpass", "a=setup:active")
    }

    /// Our offer: G.711 only, as that is what this peer hears.
    pub fn description(&self, rtp: SocketAddr, law: &str, direction: &str) -> Bytes {
        let (ip, port) = (rtp.ip(), rtp.port());
        let head = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nt=0 0\r\n");
        let rest = match self.kind {
            Kind::Keys(_) => format!(
                "c=IN IP4 {ip}\r\nm=audio {port} RTP/SAVP {law} 101\r\na=rtpmap:101 telephone-event/8000\r\n\
                 a={direction}\r\na=crypto:3 F8_128_HMAC_SHA1_80 inline:AAAA\r\na=crypto:{}\r\n",
                self.own.to_value()
            ),
            Kind::Browser => format!(
                "a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF {law} 101\r\nc=IN IP4 0.0.0.0\r\n\
                 a=rtpmap:101 telephone-event/8000\r\na=rtcp-mux\r\na=mid:0\r\n\
                 a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na={direction}\r\n",
                self.local.ufrag,
                self.local.pwd,
                self.identity.fingerprint()
            ),
        };
        Bytes::from(head + &rest)
    }

    /// The answer to it.
    pub fn learn(&mut self, sdp: &[u8]) {
        let text = String::from_utf8_lossy(sdp);
        match self.kind {
            Kind::Keys(suite) => {
                assert!(text.contains("RTP/SAVP "), "{text}");
                let theirs = Crypto::parse(value(&text, "crypto").expect("a key")).unwrap();
                assert_eq!((theirs.tag, theirs.suite), (4, suite));
                let keys = SrtpKeys { suite, inbound: theirs.key, outbound: self.own.key.clone() };
                match &mut self.srtp {
                    Some(srtp) => srtp.change(&keys),
                    None => self.srtp = Some(Srtp::new(&keys)),
                }
            }
            Kind::Browser => {
                assert!(text.contains("a=ice-lite") && text.contains("a=setup:passive"), "{text}");
                let credentials = IceCredentials {
                    ufrag: value(&text, "ice-ufrag").unwrap().into(),
                    pwd: value(&text, "ice-pwd").unwrap().into(),
                };
                let print = value(&text, "fingerprint").unwrap().strip_prefix("sha-256 ").unwrap().parse().unwrap();
                self.remote = Some((credentials, print));
                if self.association.is_none() {
                    let now = Instant::now();
                    self.association = Some(Association::new(&self.identity, DtlsRole::Client, print, now));
                }
            }
        }
    }

    /// Sends a plain packet, protected.
    pub fn send(&mut self, socket: &UdpSocket, remote: SocketAddr, packet: &[u8]) {
        let Some(srtp) = self.srtp.as_mut().filter(|_| !self.gone) else { return };
        let mut secret = [packet, &[0; RTP_OVERHEAD]].concat();
        let length = srtp.protect_rtp(&mut secret, packet.len()).unwrap();
        let _ = socket.send_to(&secret[..length], remote);
    }

    /// An RTCP packet, on the port of RTP where that is agreed.
    pub fn report(&mut self, socket: &UdpSocket, remote: SocketAddr, report: &[u8]) {
        let Some(srtp) = self.srtp.as_mut().filter(|_| !self.gone) else { return };
        let mut secret = [report, &[0; RTCP_OVERHEAD]].concat();
        let length = srtp.protect_rtcp(&mut secret, report.len()).unwrap();
        let port = remote.port() + u16::from(self.kind != Kind::Browser);
        let _ = socket.send_to(&secret[..length], SocketAddr::new(remote.ip(), port));
    }

    /// Takes a datagram; the length of the plain packet in it, where it is one.
    pub fn receive(&mut self, datagram: &mut [u8], socket: &UdpSocket, remote: SocketAddr) -> Option<usize> {
        if self.gone {
            return None;
        }
        if ice::is_stun(datagram) {
            let (node, _) = self.remote.as_ref()?;
            self.answered += u32::from(ice::answered(datagram, [self.checks; 12], node).is_some());
            return None;
        }
        if ice::is_dtls(datagram) {
            let send = |bytes: &[u8]| {
                let _ = socket.send_to(bytes, remote);
            };
            if let Some(keys) = self.association.as_mut()?.receive(datagram, Instant::now(), send).unwrap() {
                self.srtp = Some(Srtp::new(&keys));
            }
            return None;
        }
        if (64..=95).contains(&(datagram.get(1)? & 0x7F)) {
            let length = self.srtp.as_mut()?.unprotect_rtcp(datagram);
            assert!(length.is_ok(), "a report that is not protected");
            return None;
        }
        self.srtp.as_mut()?.unprotect_rtp(datagram).ok()
    }

    /// Checks and repetitions, as time passes.
    pub fn step(&mut self, socket: &UdpSocket, remote: SocketAddr) {
        let now = Instant::now();
        let Some((node, _)) = self.remote.as_ref().filter(|_| !self.gone) else { return };
        if now >= self.next_check {
            self.next_check = now + Duration::from_millis(500);
            self.checks = self.checks.wrapping_add(1);
            let _ = socket.send_to(&ice::request([self.checks; 12], &self.local, node, true), remote);
        }
        let due = self.association.as_ref().and_then(Association::wake).is_some_and(|wake| wake <= now);
        if let Some(association) = self.association.as_mut().filter(|_| due && self.answered > 0) {
            let keys = association.pass(now, |bytes| {
                let _ = socket.send_to(bytes, remote);
            });
            if let Some(keys) = keys.unwrap() {
                self.srtp = Some(Srtp::new(&keys));
            }
        }
    }
}
