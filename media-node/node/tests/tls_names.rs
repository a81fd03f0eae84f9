//! Gateways that are known by the certificate they show over TLS, and the one that we show.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::streams::{Stream, StreamPhone, connect, header, sdp};
use common::{Peer, Running, file, start_with, until};
use hotline_sip::api::Transport;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

/// An authority and what it issued, as files.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {name}"));
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// `<name>.pem` and `<name>.key` for these names.
    fn issue(&self, name: &str, names: &[&str]) -> Files {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = Files { cert: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) };
        std::fs::write(&files.cert, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        roots
    }
}

struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn read(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let cert = CertificateDer::from_pem_file(&self.cert).unwrap();
        (vec![cert], PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A node by TLS that trusts no address.
fn node(name: &str, ports: &str, ca: &Authority, rules: &str, config: &str, env: &[(&str, &str)]) -> Running {
    let own = ca.issue("node", &["127.0.0.1"]);
    let (cert, key, anchor) = (text(&own.cert), text(&own.key), text(&ca.path("ca.pem")));
    let mut all = vec![
        ("HOTLINE_NODE_SIP_TLS_LISTEN", "127.0.0.1:0"),
        ("HOTLINE_NODE_SIP_TLS_CERT", &cert[..]),
        ("HOTLINE_NODE_SIP_TLS_KEY", &key[..]),
        ("HOTLINE_NODE_SIP_TLS_CA", &anchor[..]),
    ];
    all.extend_from_slice(env);
    start_with(config, name, ports, || file(rules), &all)
}

type Client = StreamPhone<Stream<StreamOwned<ClientConnection, TcpStream>>>;

/// A gateway's connection, with the certificate it shows; an error where the node does not want it.
fn gateway(address: SocketAddr, ca: &Authority, shown: Option<&Files>) -> std::io::Result<Client> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(ca.roots());
    let config = match shown {
        Some(files) => {
            let (chain, key) = files.read();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, connect(address, "127.0.0.1"));
    stream.sock.set_read_timeout(Some(Duration::from_secs(10)))?;
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.sock.set_read_timeout(Some(Duration::from_millis(20)))?;
    let contact = "sip:carrier@127.0.0.1:5061;transport=tls";
    Ok(StreamPhone::new(Stream::new(stream), "carrier", "TLS 127.0.0.1:5061", contact))
}

#[test]
fn a_gateway_is_known_by_the_name_in_its_certificate() {
    let ca = Authority::new("inbound");
    let stranger = Authority::new("stranger");
    let config = "
[trunk]
allow = [\"+\"]
[[trunk.gateway]]
name = \"carrier\"
host = \"127.0.0.1\"
options_s = 0
accept_calls = true
tls_name = \"sip.carrier.test\"
in_strip = \"9\"
";
    let anchor = text(&ca.path("ca.pem"));
    let env = [("HOTLINE_NODE_SIP_TLS_CLIENT_CA", &anchor[..]), ("HOTLINE_NODE_SIP_TRUSTED", "192.0.2.0/24")];
    let rules = "rules: [{dial: \"600\", menu: {prompt: {tone: 440, ms: 20000}}}]";
    let node = node("tls-names", "46500-46599", &ca, rules, config, &env);
    let address = node.stream(Transport::Tls);
    let media = sdp(9);

    // Its own rules for numbers hold as well: 9600 is 600.
    let named = ca.issue("carrier", &["other.test", "sip.carrier.test"]);
    gateway(address, &ca, Some(&named)).unwrap().call_and_hang_up("9600", &media);
    assert_eq!(node.metric("calls_answered"), 1);

    // Another name, or none: an account is wanted.
    let other = ca.issue("other", &["other.test"]);
    for shown in [Some(&other), None] {
        let mut phone = gateway(address, &ca, shown).unwrap();
        phone.invite("9600", &media);
        phone.wait("a challenge", |m| m.starts_with("SIP/2.0 401"));
    }
    // The gateway's address is not enough.
    let mut caller = Peer::new(node.sip);
    let line = caller.dial("9600", 0.0);
    until("a challenge", &mut [&mut caller], |p| p[0].lines[line].failed == Some(401));

    // The right name by a wrong authority. With TLS 1.3 the client learns it when it reads.
    let forged = stranger.issue("forged", &["sip.carrier.test"]);
    if let Ok(mut phone) = gateway(address, &ca, Some(&forged)) {
        assert!(common::streams::closes(&mut phone.wire.0));
    }
    until("the refused handshake is counted", &mut [], |_| node.metric("handshakes_failed") == 1);
    assert_eq!(node.metric("calls_started"), 1);
}

/// A gateway that wants a certificate of `ca`: takes one connection and answers an INVITE with 486; the
/// certificate that was shown.
fn strict(listener: TcpListener, ca: &Authority, own: &Files) -> std::thread::JoinHandle<Option<Vec<u8>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider.clone()).build().unwrap();
    let (chain, key) = own.read();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket);
        let end = Instant::now() + Duration::from_secs(10);
        while stream.conn.is_handshaking() && Instant::now() < end {
            match stream.conn.complete_io(&mut stream.sock) {
                Err(e) if !matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    return None;
                }
                _ => {}
            }
        }
        let shown = stream.conn.peer_certificates()?.first()?.to_vec();
        let mut phone = StreamPhone::new(Stream::new(stream), "agent", "TLS x", "sips:agent@127.0.0.1");
        let invite = phone.wait("INVITE", |m| m.starts_with("INVITE"));
        assert!(header(&invite, "Via").starts_with("SIP/2.0/TLS "), "{invite}");
        phone.answer(&invite, "486 Busy Here", "");
        phone.wait("ACK", |m| m.starts_with("ACK"));
        Some(shown)
    })
}

#[test]
fn a_gateway_that_wants_a_certificate_gets_ours() {
    let ca = Authority::new("outbound-ca");
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let own = ca.issue("gateway", &["127.0.0.1"]);
    let ours = ca.issue("client", &["node.test"]);
    let (cert, key) = (text(&ours.cert), text(&ours.key));
    let env = [("HOTLINE_NODE_SIP_TLS_CLIENT_CERT", &cert[..]), ("HOTLINE_NODE_SIP_TLS_CLIENT_KEY", &key[..])];
    for (listener, (name, env)) in listeners.into_iter().zip([("shown", &env[..]), ("not-shown", &[])]) {
        let at = listener.local_addr().unwrap();
        let rules = format!("rules: [{{dial: \"1\", bridge: {{to: \"sip:agent@{at};transport=tls\"}}}}]");
        let node = node(&format!("tls-{name}"), "46600-46699", &ca, &rules, "", env);
        let gateway = strict(listener, &ca, &own);
        let mut caller = Peer::new(node.sip);
        let line = caller.dial("1", 0.0);
        until("a refusal", &mut [&mut caller], |p| p[0].lines[line].failed.is_some());
        let shown = gateway.join().unwrap();
        assert_eq!(shown, (!env.is_empty()).then(|| ours.read().0[0].to_vec()), "{name}");
    }
}
