//! Offers and answers with one audio stream: G.711 and telephone-event.

use std::net::{IpAddr, SocketAddr};

use crate::g711::Law;

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub remote: SocketAddr,
    pub law: Law,
    /// Payload type of telephone-event, where both sides have it.
    pub dtmf: Option<u8>,
    /// The peer wants to hear us.
    pub send: bool,
}

/// The payload type we give telephone-event in offers.
const DTMF: u8 = 101;

/// An offer or answer. `laws`: one for an answer.
pub(crate) fn write(local: SocketAddr, laws: &[Law], dtmf: Option<u8>, version: u64, direction: &str) -> String {
    let ip = local.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let mut formats = String::new();
    let mut maps = String::new();
    for law in laws {
        formats += &format!(" {}", law.payload_type());
        maps += &format!("a=rtpmap:{} {}/8000\r\n", law.payload_type(), law.name());
    }
    if let Some(dtmf) = dtmf {
        formats += &format!(" {dtmf}");
        maps += &format!("a=rtpmap:{dtmf} telephone-event/8000\r\na=fmtp:{dtmf} 0-15\r\n");
    }
    format!(
        "v=0\r\no=phone 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP{formats}\r\n{maps}a=ptime:20\r\na={direction}\r\n",
        local.port()
    )
}

/// Our offer.
pub(crate) fn offer(local: SocketAddr, laws: &[Law], version: u64) -> String {
    write(local, laws, Some(DTMF), version, "sendrecv")
}

/// Reads the peer's description; `None` where no codec or address is shared.
pub(crate) fn agree(text: &[u8], laws: &[Law]) -> Option<Agreed> {
    let text = String::from_utf8_lossy(text);
    let (mut address, mut port, mut formats) = (None::<IpAddr>, 0u16, Vec::<u8>::new());
    let (mut dtmf, mut send, mut in_audio, mut seen_audio) = (None, true, false, false);
    for line in text.lines().map(str::trim_end).take(200) {
        if let Some(media) = line.strip_prefix("m=") {
            in_audio = media.starts_with("audio ") && !seen_audio;
            if in_audio {
                seen_audio = true;
                let mut parts = media.split_whitespace().skip(1);
                port = parts.next()?.split('/').next()?.parse().ok()?;
                formats = parts.skip(1).filter_map(|f| f.parse().ok()).take(32).collect();
            }
            continue;
        }
        if seen_audio && !in_audio {
            continue;
        }
        if let Some(connection) = line.strip_prefix("c=") {
            address = connection.split_whitespace().nth(2)?.split('/').next()?.parse().ok();
        } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let (format, name) = map.split_once(' ')?;
            if name.to_ascii_lowercase().starts_with("telephone-event/8000") {
                dtmf = format.parse().ok();
            }
        } else if matches!(line, "a=sendonly" | "a=inactive") {
            send = false;
        }
    }
    let address = address?;
    let law = formats.iter().filter_map(|f| Law::of(*f)).find(|law| laws.contains(law))?;
    let send = send && !address.is_unspecified() && port != 0;
    Some(Agreed { remote: SocketAddr::new(address, port), law, dtmf, send })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_agrees_with_its_answer() {
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let offer = offer(local, &[Law::Mu, Law::A], 1);
        let agreed = agree(offer.as_bytes(), &[Law::A, Law::Mu]).unwrap();
        assert_eq!(agreed, Agreed { remote: local, law: Law::Mu, dtmf: Some(101), send: true });
        let answer = write(local, &[agreed.law], agreed.dtmf, 1, "sendonly");
        assert!(!agree(answer.as_bytes(), &[Law::Mu]).unwrap().send);
        assert_eq!(agree(answer.as_bytes(), &[Law::A]), None, "no shared codec");
        assert_eq!(agree(b"v=0\r\nm=audio x", &[Law::Mu]), None);
        assert_eq!(agree(b"", &[Law::Mu]), None);
    }
}
