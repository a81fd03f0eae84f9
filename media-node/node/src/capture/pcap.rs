//! The file format of libpcap, with IP and UDP headers made for each message: whatever transport it
//! came by, tshark and sngrep read it as a datagram.

use std::net::{IpAddr, SocketAddr};

use super::Packet;

/// Raw IP (LINKTYPE_RAW).
const RAW_IP: u32 = 101;
/// The longest packet that is written.
const SNAP: usize = 65_535;

/// The head of a file.
pub fn head() -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend(0xa1b2_c3d4u32.to_le_bytes());
    out.extend(2u16.to_le_bytes());
    out.extend(4u16.to_le_bytes());
    out.extend([0; 8]);
    out.extend((SNAP as u32).to_le_bytes());
    out.extend(RAW_IP.to_le_bytes());
    out
}

/// One packet with its record head.
pub fn record(packet: &Packet) -> Vec<u8> {
    let ip = datagram(packet.from, packet.to, &packet.bytes, packet.length);
    let whole = ip.len() + packet.length.saturating_sub(packet.bytes.len());
    let mut out = Vec::with_capacity(ip.len() + 16);
    out.extend(((packet.at_us / 1_000_000) as u32).to_le_bytes());
    out.extend(((packet.at_us % 1_000_000) as u32).to_le_bytes());
    out.extend((ip.len() as u32).to_le_bytes());
    out.extend((whole as u32).to_le_bytes());
    out.extend(ip);
    out
}

/// `length`: of the whole payload, of which the end may be cut off.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8], length: usize) -> Vec<u8> {
    let payload = payload.get(..payload.len().min(SNAP - 48)).unwrap_or_default();
    let udp_length = (length.clamp(payload.len(), SNAP - 48) + 8) as u16;
    let mut out = Vec::with_capacity(payload.len() + 48);
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend([0x45, 0]);
            out.extend((udp_length + 20).to_be_bytes());
            out.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let sum = checksum(&out);
            if let Some(place) = out.get_mut(10..12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
        }
        (from, to) => {
            let v6 = |ip: IpAddr| match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            out.extend([0x60, 0, 0, 0]);
            out.extend(udp_length.to_be_bytes());
            out.extend([17, 64]);
            out.extend(v6(from).octets());
            out.extend(v6(to).octets());
        }
    }
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    out.extend(udp_length.to_be_bytes());
    // No checksum: nothing was sent.
    out.extend([0, 0]);
    out.extend(payload);
    out
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Reads a file back; what is cut off at its end is left out.
#[cfg(test)]
pub fn read(bytes: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut rest = bytes.get(24..).unwrap_or_default();
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    while rest.len() >= 16 {
        let length = word(rest, 8) as usize;
        let Some(ip) = rest.get(16..16 + length) else { break };
        let address = |at: usize, port: usize| {
            let octets: [u8; 4] = ip[at..at + 4].try_into().unwrap();
            SocketAddr::from((octets, u16::from_be_bytes([ip[port], ip[port + 1]])))
        };
        assert_eq!(checksum(&ip[..20]), 0, "the header's checksum");
        packets.push(Packet {
            at_us: u64::from(word(rest, 0)) * 1_000_000 + u64::from(word(rest, 4)),
            from: address(12, 20),
            to: address(16, 22),
            length: word(rest, 12) as usize - 28,
            bytes: ip[28..].into(),
        });
        rest = &rest[16 + length..];
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_as_libpcap_wants_it() {
        assert_eq!(head()[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        let packet = Packet {
            at_us: 1_700_000_000_123_456,
            from: "192.0.2.1:5060".parse().unwrap(),
            to: "198.51.100.7:5070".parse().unwrap(),
            length: 7,
            bytes: b"OPTIONS"[..].into(),
        };
        let file = [head(), record(&packet), record(&packet)[..20].to_vec()].concat();
        let back = read(&file);
        assert_eq!(back.len(), 1, "a record that is cut off is none");
        assert_eq!((back[0].at_us, back[0].from, back[0].to), (packet.at_us, packet.from, packet.to));
        assert_eq!(back[0].bytes, packet.bytes);
        let v6 = datagram("[2001:db8::1]:5060".parse().unwrap(), "192.0.2.1:1".parse().unwrap(), b"x", 1);
        assert_eq!((v6[0], v6.len(), v6[6]), (0x60, 49, 17));
        assert!(datagram(packet.from, packet.to, &[0; 70_000], 70_000).len() <= SNAP);
        // Cut off, it says how long it was.
        let cut = Packet { length: 172, bytes: [0x80; 12].into(), ..packet };
        let back = read(&[head(), record(&cut)].concat());
        assert_eq!((back[0].length, back[0].bytes.len()), (172, 12));
        assert_eq!(datagram(cut.from, cut.to, &cut.bytes, cut.length)[24..26], [0, 180]);
    }
}
