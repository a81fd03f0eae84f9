//! STUN Binding on the SIP port, the keep-alive of flows over datagrams (RFC 5626 §4.4.2, RFC 8489).

use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

const COOKIE: u32 = 0x2112_a442;
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;

/// The answer to a Binding request; `None`: the datagram is something else.
pub(crate) fn answer(datagram: &[u8], from: SocketAddr) -> Option<Bytes> {
    let (head, attributes) = datagram.split_at_checked(20)?;
    let word = |at: usize| Some(u16::from_be_bytes([*head.get(at)?, *head.get(at + 1)?]));
    let cookie = COOKIE.to_be_bytes();
    let fits = word(0)? == BINDING_REQUEST && usize::from(word(2)?) == attributes.len() && head.get(4..8)? == cookie;
    if !fits || attributes.len() > 512 {
        return None;
    }
    let transaction = head.get(8..20)?;
    let mut address = vec![0];
    let port = from.port() ^ (COOKIE >> 16) as u16;
    let mask = cookie.iter().chain(transaction);
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => {
            address.push(1);
            address.extend(port.to_be_bytes());
            address.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b));
        }
        IpAddr::V6(ip) => {
            address.push(2);
            address.extend(port.to_be_bytes());
            address.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b));
        }
    }
    let mut out = Vec::with_capacity(44);
    out.extend(BINDING_SUCCESS.to_be_bytes());
    out.extend((address.len() as u16 + 4).to_be_bytes());
    out.extend(cookie);
    out.extend(transaction);
    out.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
    out.extend((address.len() as u16).to_be_bytes());
    out.extend(address);
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_answers() {
        // RFC 5769 §2.2 and §2.3: 192.0.2.1:32853 and [2001:db8:1234:5678:11:2233:4455:6677]:32853.
        let transaction = hex::decode("b7e7a701bc34d686fa87dfae").unwrap();
        let request = [&hex::decode("000100002112a442").unwrap()[..], &transaction].concat();
        let v4 = answer(&request, "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(hex::encode(&v4[20..]), "002000080001a147e112a643");
        let v6 = answer(&request, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()).unwrap();
        assert_eq!(hex::encode(&v6[20..]), "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9");
        for wrong in [&b""[..], b"OPTIONS sip:a SIP/2.0\r\n\r\n", &request[..19], &[&request[..], b"x"].concat()] {
            assert_eq!(answer(wrong, "192.0.2.1:1".parse().unwrap()), None);
        }
    }
}
