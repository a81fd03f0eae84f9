//! SIP over streams: TCP, TLS, WebSocket and WebSocket under TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hotline_sip::api::Transport;

use super::Listen;
use super::read::Reader;

/// Certificate and key, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those of its chain.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

/// What holds for all stream connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Needed by `tls_listen` and `wss_listen`.
    pub tls: Option<TlsFiles>,
    /// Whose certificates are believed when we connect; `None`: those in the file of our own.
    pub tls_ca: Option<PathBuf>,
    /// Whose certificates are believed of those who connect by TLS; `None`: nobody is asked for one.
    pub tls_client_ca: Option<PathBuf>,
    /// Shown when we connect and are asked; `None`: nothing is.
    pub tls_client: Option<TlsFiles>,
    /// Pages that may open a WebSocket (their `Origin`); empty: all.
    pub ws_origins: Vec<String>,
    /// Who comes by WebSocket proves an account, from trusted addresses too.
    pub ws_auth: bool,
    /// Bounds.
    pub limits: StreamLimits,
}

/// The bounds of stream connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimits {
    /// Connections at a time.
    pub connections: usize,
    /// Connections of one address.
    pub per_source: usize,
    /// TLS and WebSocket must be agreed on within this.
    pub handshake: Duration,
    /// A message that has begun must be whole within this, and the first one must have come.
    pub message: Duration,
    /// A connection that says nothing for so long is closed (keep-alives count, RFC 5626 §4.4.1).
    pub idle: Duration,
}

impl Reader<'_> {
    /// The sockets of TLS and WebSocket, added to `sockets`, and what holds for streams.
    pub(super) fn streams(&mut self, sockets: &mut Vec<Listen>) -> StreamSettings {
        let mut wants_tls = None;
        for (key, transport) in
            [("tls_listen", Transport::Tls), ("ws_listen", Transport::Ws), ("wss_listen", Transport::Wss)]
        {
            for text in self.list("sip", key, &[]) {
                match text.parse::<SocketAddr>() {
                    Ok(address) => sockets.push(Listen { transport, address }),
                    Err(_) => self.wrong(
                        "sip",
                        key,
                        format_args!("{text:?}: write an address and a port, such as 203.0.113.7:5061"),
                    ),
                }
                if transport != Transport::Ws {
                    wants_tls = Some(key);
                }
            }
        }
        let cert = self.path("tls_cert");
        let key = self.path("tls_key");
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => {
                if let Some(listen) = wants_tls {
                    let remedy = format!("is empty: sip.{listen} needs a certificate, a PEM file");
                    self.wrong("sip", "tls_cert", remedy);
                }
                None
            }
            (Some(_), None) => {
                self.wrong("sip", "tls_key", "is empty: name the PEM file with the key of sip.tls_cert");
                None
            }
            (None, Some(_)) => {
                self.wrong("sip", "tls_cert", "is empty: name the PEM file with the certificate of sip.tls_key");
                None
            }
        };
        let mut ws_origins = Vec::new();
        for text in self.list("sip", "ws_origins", &[]) {
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                self.wrong(
                    "sip",
                    "ws_origins",
                    format_args!("{text:?}: write scheme and host, such as https://desk.example"),
                );
            }
            ws_origins.push(text.to_ascii_lowercase());
        }
        let limits = StreamLimits {
            connections: self.number("sip", "stream_connections", 4_096, 1, 1_000_000) as usize,
            per_source: self.number("sip", "stream_connections_per_source", 256, 1, 1_000_000) as usize,
            handshake: Duration::from_secs(self.number("sip", "stream_handshake_s", 5, 1, 60)),
            message: Duration::from_secs(self.number("sip", "stream_message_s", 15, 1, 30)),
            idle: Duration::from_secs(self.number("sip", "stream_idle_s", 900, 1, 86_400)),
        };
        let tls_ca = self.path("tls_ca");
        let tls_client_ca = self.path("tls_client_ca");
        let tls_client = match (self.path("tls_client_cert"), self.path("tls_client_key")) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.wrong("sip", "tls_client_key", "is empty: name the PEM file with the key of sip.tls_client_cert");
                None
            }
            (None, Some(_)) => {
                self.wrong(
                    "sip",
                    "tls_client_cert",
                    "is empty: name the PEM file with the certificate of sip.tls_client_key",
                );
                None
            }
        };
        if tls.is_none() && (tls_client_ca.is_some() || tls_client.is_some()) {
            self.wrong(
                "sip",
                "tls_cert",
                "is empty: sip.tls_client_ca and sip.tls_client_cert need TLS, and TLS a certificate",
            );
        }
        StreamSettings {
            tls,
            tls_ca,
            tls_client_ca,
            tls_client,
            ws_origins,
            ws_auth: self.flag("sip", "ws_auth", true),
            limits,
        }
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text("sip", key, "");
        (!text.is_empty()).then(|| PathBuf::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use std::collections::BTreeMap;

    fn read(sip: &str) -> Result<Config, String> {
        Config::read(&format!("[sip]\n{sip}"), &BTreeMap::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn sockets_of_all_transports() {
        let config = read(
            "tls_listen = [\"127.0.0.1:5061\"]\nws_listen = [\"127.0.0.1:8080\"]\nwss_listen = [\"[::1]:8443\"]\n\
             tls_cert = \"c.pem\"\ntls_key = \"k.pem\"\nws_origins = [\"https://Desk.example\"]\nstream_idle_s = 60\n",
        )
        .unwrap();
        let transports: Vec<Transport> = config.sip.listen.iter().map(|l| l.transport).collect();
        assert_eq!(transports, [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]);
        let streams = config.sip.streams;
        assert_eq!(streams.tls, Some(TlsFiles { cert: "c.pem".into(), key: "k.pem".into() }));
        assert_eq!(streams.ws_origins, ["https://desk.example"]);
        assert_eq!((streams.limits.idle, streams.limits.handshake), (Duration::from_secs(60), Duration::from_secs(5)));
        assert!(streams.ws_auth);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, part) in [
            ("tls_listen = [\"127.0.0.1:5061\"]", "sip.tls_cert: is empty: sip.tls_listen needs a certificate"),
            ("wss_listen = [\"127.0.0.1:443\"]\ntls_cert = \"c\"", "sip.tls_key: is empty"),
            ("tls_key = \"k\"", "sip.tls_cert: is empty"),
            ("tls_client_key = \"k\"", "sip.tls_client_cert: is empty"),
            ("tls_client_ca = \"c\"", "sip.tls_cert: is empty: sip.tls_client_ca"),
            ("ws_listen = [\"8080\"]", "sip.ws_listen: \"8080\": write an address and a port"),
            ("ws_origins = [\"desk.example\"]", "sip.ws_origins: \"desk.example\": write scheme and host"),
            ("ws_origins = [\"https://desk.example/\"]", "sip.ws_origins"),
            ("stream_handshake_s = 0", "sip.stream_handshake_s: write a whole number from 1 to 60"),
        ] {
            let errors = read(text).unwrap_err();
            assert!(errors.contains(part), "missing {part:?} in\n{errors}");
        }
    }
}
