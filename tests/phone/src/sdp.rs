//! Offers and answers with one audio stream: its codecs and telephone-event.

use std::net::{IpAddr, SocketAddr};

use hotline_rtp::api::{Codec, Format};

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub remote: SocketAddr,
    pub format: Format,
    /// Telephone-event on the codec's clock, where both sides have it.
    pub dtmf: Option<u8>,
    /// The peer wants to hear us.
    pub send: bool,
}

/// The payload types that our offers give Opus, and telephone-event at 8 and 48 kHz.
const OPUS: u8 = 111;
const DTMF: [(u32, u8); 2] = [(8, 101), (48, 110)];

fn write(local: SocketAddr, formats: &[Format], dtmf: &[(u32, u8)], version: u64, direction: &str) -> String {
    let ip = local.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let (mut types, mut maps) = (String::new(), String::new());
    for Format { codec, payload_type } in formats {
        types += &format!(" {payload_type}");
        // Opus is always said to have two channels (RFC 7587 §7).
        let channels = if *codec == Codec::Opus { "/2" } else { "" };
        maps += &format!("a=rtpmap:{payload_type} {}/{}000{channels}\r\n", codec.name(), codec.clock_khz());
    }
    for (khz, payload_type) in dtmf {
        types += &format!(" {payload_type}");
        maps += &format!("a=rtpmap:{payload_type} telephone-event/{khz}000\r\na=fmtp:{payload_type} 0-15\r\n");
    }
    format!(
        "v=0\r\no=phone 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP{types}\r\n{maps}a=ptime:20\r\na={direction}\r\n",
        local.port()
    )
}

/// Our offer.
pub(crate) fn offer(local: SocketAddr, codecs: &[Codec], version: u64) -> String {
    let format = |codec: &Codec| Format { codec: *codec, payload_type: codec.static_payload_type().unwrap_or(OPUS) };
    let formats: Vec<Format> = codecs.iter().map(format).collect();
    let spoken = |khz: u32| codecs.iter().any(|codec| codec.clock_khz() == khz);
    let dtmf: Vec<(u32, u8)> = DTMF.into_iter().filter(|(khz, _)| spoken(*khz)).collect();
    write(local, &formats, &dtmf, version, "sendrecv")
}

/// What we say once all is agreed.
pub(crate) fn answer(local: SocketAddr, agreed: &Agreed, version: u64, direction: &str) -> String {
    let dtmf: Vec<(u32, u8)> =
        agreed.dtmf.into_iter().map(|payload_type| (agreed.format.codec.clock_khz(), payload_type)).collect();
    write(local, &[agreed.format], &dtmf, version, direction)
}

/// Reads the peer's description; `None` where no codec or address is shared.
pub(crate) fn agree(text: &[u8], codecs: &[Codec]) -> Option<Agreed> {
    let text = String::from_utf8_lossy(text);
    let (mut address, mut port, mut types) = (None::<IpAddr>, 0u16, Vec::<u8>::new());
    let (mut maps, mut send, mut in_audio, mut seen_audio) = (Vec::<(u8, String)>::new(), true, false, false);
    for line in text.lines().map(str::trim_end).take(200) {
        if let Some(media) = line.strip_prefix("m=") {
            in_audio = media.starts_with("audio ") && !seen_audio;
            if in_audio {
                seen_audio = true;
                let mut parts = media.split_whitespace().skip(1);
                port = parts.next()?.split('/').next()?.parse().ok()?;
                types = parts.skip(1).filter_map(|f| f.parse().ok()).take(32).collect();
            }
            continue;
        }
        if seen_audio && !in_audio {
            continue;
        }
        if let Some(connection) = line.strip_prefix("c=") {
            address = connection.split_whitespace().nth(2)?.split('/').next()?.parse().ok();
        } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let (payload_type, name) = map.split_once(' ')?;
            maps.extend(payload_type.parse().ok().map(|number| (number, name.to_ascii_lowercase())));
        } else if matches!(line, "a=sendonly" | "a=inactive") {
            send = false;
        }
    }
    let address = address?;
    let codec_of = |payload_type: u8| {
        let fixed = |codec: &&Codec| codec.static_payload_type() == Some(payload_type);
        let named = |codec: &&Codec| {
            let name = format!("{}/{}000", codec.name().to_ascii_lowercase(), codec.clock_khz());
            maps.iter().any(|(number, map)| *number == payload_type && map.starts_with(&name))
        };
        codecs.iter().find(fixed).or_else(|| codecs.iter().find(named)).copied()
    };
    let format = types.iter().find_map(|number| Some(Format { codec: codec_of(*number)?, payload_type: *number }))?;
    let event = format!("telephone-event/{}000", format.codec.clock_khz());
    let dtmf = maps.iter().find(|(number, map)| types.contains(number) && map.starts_with(&event));
    let send = send && !address.is_unspecified() && port != 0;
    Some(Agreed { remote: SocketAddr::new(address, port), format, dtmf: dtmf.map(|(number, _)| *number), send })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_agrees_with_its_answer() {
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let offered = offer(local, &[Codec::Pcmu, Codec::Pcma], 1);
        let agreed = agree(offered.as_bytes(), &[Codec::Pcma, Codec::Pcmu]).unwrap();
        let format = Format { codec: Codec::Pcmu, payload_type: 0 };
        assert_eq!(agreed, Agreed { remote: local, format, dtmf: Some(101), send: true });
        let answered = answer(local, &agreed, 1, "sendonly");
        assert!(!agree(answered.as_bytes(), &[Codec::Pcmu]).unwrap().send);
        assert_eq!(agree(answered.as_bytes(), &[Codec::Pcma]), None, "no shared codec");
        assert_eq!(agree(b"v=0\r\nm=audio x", &[Codec::Pcmu]), None);
        assert_eq!(agree(b"", &[Codec::Pcmu]), None);
    }

    #[test]
    fn wideband_codecs_are_offered_with_keys_on_their_clock() {
        let local: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let offered = offer(local, &[Codec::Opus, Codec::G722, Codec::Pcma], 1);
        assert!(offered.contains("m=audio 4000 RTP/AVP 111 9 8 101 110\r\n"), "{offered}");
        let opus = agree(offered.as_bytes(), &[Codec::Pcma, Codec::Opus]).unwrap();
        assert_eq!((opus.format, opus.dtmf), (Format { codec: Codec::Opus, payload_type: 111 }, Some(110)));
        let answered = answer(local, &opus, 1, "sendrecv");
        assert_eq!(agree(answered.as_bytes(), &[Codec::Opus]).unwrap(), opus);
        let g722 = agree(offered.as_bytes(), &[Codec::G722]).unwrap();
        assert_eq!((g722.format, g722.dtmf), (Format { codec: Codec::G722, payload_type: 9 }, Some(101)));
    }
}
