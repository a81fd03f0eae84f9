//! HEP version 3: messages for a capture server such as Homer, by UDP, never waited for.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::OnceLock;

use hotline_sip::api::Transport;

use super::Packet;

/// The generic vendor.
const VENDOR: u16 = 0;
/// SIP.
const SIP: u8 = 1;
/// The longest message that fits a datagram with its chunks.
const PAYLOAD: usize = 60_000;

/// Where messages go.
pub struct Collector {
    to: String,
    id: u32,
    /// Found when the first message is sent, on a thread of its own: names may take long.
    socket: std::sync::Arc<OnceLock<UdpSocket>>,
}

impl Collector {
    /// `host:port`, and the number that names this node there.
    pub fn new(to: &str, id: u32) -> Self {
        let socket = std::sync::Arc::new(OnceLock::new());
        let (name, place) = (to.to_string(), socket.clone());
        let found = std::thread::Builder::new().name("hep".into()).spawn(move || {
            for _ in 0..60 {
                match connect(&name) {
                    Ok(socket) => {
                        let _ = place.set(socket);
                        return;
                    }
                    Err(error) => tracing::warn!(%error, to = name, "no way to the HEP collector"),
                }
                std::thread::sleep(std::time::Duration::from_secs(10));
            }
        });
        if let Err(error) = found {
            tracing::warn!(%error, "no thread for the HEP collector");
        }
        Self { to: to.to_string(), id, socket }
    }

    /// Sends a message; `false` where it could not be.
    pub fn send(&self, packet: &Packet, transport: Transport, call_id: &str) -> bool {
        let Some(socket) = self.socket.get() else { return false };
        socket.send(&encoded(packet, transport, call_id, self.id)).is_ok()
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collector({})", self.to)
    }
}

fn connect(to: &str) -> std::io::Result<UdpSocket> {
    let nothing = || std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    let address: SocketAddr = to.to_socket_addrs()?.next().ok_or_else(nothing)?;
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(socket)
}

fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(VENDOR.to_be_bytes());
    out.extend(kind.to_be_bytes());
    out.extend((value.len() as u16 + 6).to_be_bytes());
    out.extend(value);
}

fn encoded(packet: &Packet, transport: Transport, call_id: &str, id: u32) -> Vec<u8> {
    let mut out = b"HEP3\0\0".to_vec();
    let (from, to) = (packet.from.ip().to_canonical(), packet.to.ip().to_canonical());
    let v4 = from.is_ipv4() && to.is_ipv4();
    chunk(&mut out, 1, &[if v4 { 2 } else { 10 }]);
    chunk(&mut out, 2, &[if transport == Transport::Udp { 17 } else { 6 }]);
    let octets = |ip: IpAddr| match (ip, v4) {
        (IpAddr::V4(ip), true) => ip.octets().to_vec(),
        (IpAddr::V4(ip), false) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), _) => ip.octets().to_vec(),
    };
    let (source, target) = if v4 { (3, 4) } else { (5, 6) };
    chunk(&mut out, source, &octets(from));
    chunk(&mut out, target, &octets(to));
    chunk(&mut out, 7, &packet.from.port().to_be_bytes());
    chunk(&mut out, 8, &packet.to.port().to_be_bytes());
    chunk(&mut out, 9, &((packet.at_us / 1_000_000) as u32).to_be_bytes());
    chunk(&mut out, 10, &((packet.at_us % 1_000_000) as u32).to_be_bytes());
    chunk(&mut out, 11, &[SIP]);
    chunk(&mut out, 12, &id.to_be_bytes());
    chunk(&mut out, 15, packet.bytes.get(..packet.bytes.len().min(PAYLOAD)).unwrap_or_default());
    chunk(&mut out, 17, call_id.as_bytes().get(..call_id.len().min(256)).unwrap_or_default());
    let length = (out.len() as u16).to_be_bytes();
    if let Some(place) = out.get_mut(4..6) {
        place.copy_from_slice(&length);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_gets_each_message_with_its_addresses() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let collector = Collector::new(&server.local_addr().unwrap().to_string(), 7);
        let packet = Packet {
            at_us: 1_700_000_000_000_001,
            from: "192.0.2.1:5060".parse().unwrap(),
            to: "192.0.2.2:5070".parse().unwrap(),
            length: 21,
            bytes: b"BYE sip:x SIP/2.0\r\n\r\n"[..].into(),
        };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !collector.send(&packet, Transport::Tcp, "id@h") {
            assert!(std::time::Instant::now() < end, "the collector is not found");
            std::thread::yield_now();
        }
        let mut buffer = [0; 2_048];
        let length = server.recv(&mut buffer).unwrap();
        let bytes = &buffer[..length];
        assert!(bytes.starts_with(b"HEP3") && usize::from(u16::from_be_bytes([bytes[4], bytes[5]])) == length);
        let mut chunks = std::collections::BTreeMap::new();
        let mut rest = &bytes[6..];
        while rest.len() >= 6 {
            let size = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            chunks.insert(u16::from_be_bytes([rest[2], rest[3]]), rest[6..size].to_vec());
            rest = &rest[size..];
        }
        assert_eq!((&chunks[&3][..], &chunks[&7][..]), (&[192, 0, 2, 1][..], &5_060u16.to_be_bytes()[..]));
        assert_eq!((&chunks[&2][..], &chunks[&12][..]), (&[6][..], &7u32.to_be_bytes()[..]));
        assert_eq!((&chunks[&15][..], &chunks[&17][..]), (&packet.bytes[..], &b"id@h"[..]));
    }
}
