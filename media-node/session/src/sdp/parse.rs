//! Reading a description.

use super::codecs::Maps;
use super::security::Attributes;
use super::{CodecList, Description, Direction, FORMATS, PeerSecurity, SDP_BYTES, SECTIONS, SdpError, Section};
use std::net::{IpAddr, SocketAddr};

/// One audio section while it is read.
#[derive(Default)]
struct Audio {
    port: u16,
    formats: Vec<u8>,
    index: usize,
    address: Option<IpAddr>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    direction: Option<Direction>,
    maps: Maps,
    attributes: Attributes,
}

/// What may be agreed on; browsers always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepts {
    /// RTP without protection.
    pub plain: bool,
    /// SRTP with keys in the description.
    pub keys: bool,
    /// The codecs.
    pub codecs: CodecList,
}

/// Reads an offer or an answer, whatever protects its audio.
///
/// # Errors
/// [`SdpError`]; nothing of a broken description is used.
pub fn parse(bytes: &[u8]) -> Result<Description, SdpError> {
    parse_as(bytes, Accepts { plain: true, keys: true, codecs: CodecList::default() })
}

/// Reads an offer or an answer.
///
/// The best protected audio section with a port counts, the first of several alike; the others are
/// kept only to be refused in the answer.
///
/// # Errors
/// [`SdpError`]; nothing of a broken description is used.
pub fn parse_as(bytes: &[u8], accepts: Accepts) -> Result<Description, SdpError> {
    if bytes.len() > SDP_BYTES {
        return Err(SdpError::TooLarge);
    }
    let mut sections: Vec<Section> = Vec::new();
    let mut session_address = None;
    let mut session_direction = None;
    let mut session_attributes = Attributes::default();
    let mut bundles: Vec<String> = Vec::new();
    let mut audios: Vec<Audio> = Vec::new();
    // Whether the lines that are being read belong to the last audio section.
    let mut in_audio = false;

    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let number = index + 1;
        let syntax = |what| SdpError::Syntax { line: number, what };
        let (kind, value) = match line {
            [kind, b'=', value @ ..] => (*kind, value),
            _ => return Err(syntax("expected `x=value`")),
        };
        match kind {
            b'v' if value != b"0" => return Err(syntax("only version 0 exists")),
            b'c' if sections.is_empty() || in_audio => {
                let address = connection(value).map_err(syntax)?;
                match audios.last_mut() {
                    Some(audio) if in_audio => audio.address = address,
                    _ => session_address = address,
                }
            }
            b'm' => {
                if sections.len() == SECTIONS {
                    return Err(SdpError::TooLarge);
                }
                let text = std::str::from_utf8(value).map_err(|_| syntax("a media line is plain ASCII"))?;
                let (section, port, formats) = media(text).map_err(syntax)?;
                in_audio = section.media == "audio" && port != 0;
                if in_audio {
                    audios.push(Audio { port, formats, index: sections.len(), ..Audio::default() });
                }
                sections.push(section);
            }
            b'a' => {
                // Attributes may hold any text; those we need are ASCII.
                let Ok(text) = std::str::from_utf8(value) else {
                    continue;
                };
                let audio = audios.last_mut().filter(|_| in_audio);
                match (direction(text), audio) {
                    (Some(direction), Some(audio)) => audio.direction = Some(direction),
                    (Some(direction), None) if sections.is_empty() => session_direction = Some(direction),
                    (Some(_), None) => {}
                    (None, Some(audio)) => {
                        attribute(audio, text).map_err(syntax)?;
                        audio.attributes.read(text);
                    }
                    (None, None) if sections.is_empty() => match text.strip_prefix("group:BUNDLE") {
                        Some(names) => bundles.extend(names.split_ascii_whitespace().map(str::to_string)),
                        None => session_attributes.read(text),
                    },
                    (None, None) => {}
                }
                if let (Some(section), true) = (sections.last_mut(), text.starts_with("mid:")) {
                    let mut attributes = Attributes::default();
                    attributes.read(text);
                    section.mid = attributes.mid;
                }
            }
            _ => {}
        }
    }

    let mut refused = "there is no audio section with a port";
    let mut best: Option<(u8, Audio, PeerSecurity)> = None;
    for audio in audios {
        let protocol = sections.get(audio.index).map(|section| section.protocol.as_str()).unwrap_or_default();
        let rank = match audio.attributes.security(&session_attributes, protocol) {
            Ok(security @ PeerSecurity::Web(_)) => Ok((3, security)),
            Ok(security @ PeerSecurity::Keys(_)) if accepts.keys => Ok((2, security)),
            Ok(security @ PeerSecurity::Plain) if accepts.plain => Ok((1, security)),
            Ok(PeerSecurity::Keys(_)) => Err("media.srtp forbids SRTP by a=crypto"),
            Ok(PeerSecurity::Plain) => Err("media.srtp forbids RTP without protection"),
            Err(why) => Err(why),
        };
        match rank {
            Ok((rank, security)) if best.as_ref().is_none_or(|(other, ..)| *other < rank) => {
                best = Some((rank, audio, security));
            }
            Ok(_) => {}
            Err(why) => refused = why,
        }
    }
    let (_, audio, security) = best.ok_or(SdpError::NoAudio(refused))?;
    let address = audio.address.or(session_address).ok_or(SdpError::NoAudio("it has no `c=` line"))?;
    let codecs = audio.maps.codecs(&audio.formats, accepts.codecs);
    if codecs.is_empty() {
        return Err(SdpError::NoCodec);
    }
    let mut direction = audio.direction.or(session_direction).unwrap_or_default();
    // A browser that does not know its address yet writes the same.
    if address.is_unspecified() && !matches!(security, PeerSecurity::Web(_)) {
        direction = match direction {
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        };
    }
    let (rtcp_port, rtcp_address) = audio.rtcp.unwrap_or((audio.port.saturating_add(1), None));
    let bundled = audio.attributes.mid.as_ref().is_some_and(|mid| bundles.contains(mid));
    Ok(Description {
        rtp: SocketAddr::new(address, audio.port),
        rtcp: SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port),
        codecs,
        events: audio.maps.events(&audio.formats),
        direction,
        sections,
        audio: audio.index,
        security,
        bundled,
    })
}

/// `IN IP4 192.0.2.1` or `IN IP6 2001:db8::1`, with an optional `/ttl`.
fn connection(value: &[u8]) -> Result<Option<IpAddr>, &'static str> {
    const WHAT: &str = "expected `c=IN IP4 address` or `c=IN IP6 address`, not a host name";
    let text = std::str::from_utf8(value).map_err(|_| WHAT)?;
    let mut words = text.split_ascii_whitespace();
    let (Some("IN"), Some(family), Some(address)) = (words.next(), words.next(), words.next()) else {
        return Err(WHAT);
    };
    let address = address.split('/').next().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| WHAT)?;
    match (family, address) {
        ("IP4", IpAddr::V4(ip)) if ip.is_multicast() || ip.is_broadcast() => Err(WHAT),
        ("IP6", IpAddr::V6(ip)) if ip.is_multicast() => Err(WHAT),
        ("IP4", IpAddr::V4(_)) | ("IP6", IpAddr::V6(_)) => Ok(Some(address)),
        _ => Err(WHAT),
    }
}

/// `audio 4000 RTP/AVP 0 8 101`, with an optional `/count` after the port.
fn media(text: &str) -> Result<(Section, u16, Vec<u8>), &'static str> {
    const WHAT: &str = "expected `m=media port protocol format …`";
    let mut words = text.split_ascii_whitespace();
    let (Some(media), Some(port), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(WHAT);
    };
    let short = |word: &str| word.len() <= 40 && word.bytes().all(|b| b.is_ascii_graphic());
    let port = port.split('/').next().unwrap_or_default();
    let port: u16 = port.parse().map_err(|_| WHAT)?;
    let mut formats = Vec::new();
    let mut first = None;
    for word in words.take(FORMATS) {
        first.get_or_insert(word);
        if let Ok(pt) = word.parse::<u8>()
            && pt < 128
        {
            formats.push(pt);
        }
    }
    let format = first.ok_or(WHAT)?;
    if !short(media) || !short(protocol) || !short(format) {
        return Err(WHAT);
    }
    let section = Section { media: media.into(), protocol: protocol.into(), format: format.into(), mid: None };
    Ok((section, port, formats))
}

fn direction(text: &str) -> Option<Direction> {
    match text {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn attribute(audio: &mut Audio, text: &str) -> Result<(), &'static str> {
    if let Some(map) = text.strip_prefix("rtpmap:") {
        audio.maps.read(map)?;
    } else if let Some(rtcp) = text.strip_prefix("rtcp:") {
        const WHAT: &str = "expected `a=rtcp:port` (RFC 3605)";
        let mut words = rtcp.split_ascii_whitespace();
        let port: u16 = words.next().and_then(|p| p.parse().ok()).filter(|p| *p != 0).ok_or(WHAT)?;
        let address = match words.next() {
            Some(_) => match words.nth(1).map(str::parse) {
                Some(Ok(address)) => Some(address),
                _ => return Err(WHAT),
            },
            None => None,
        };
        audio.rtcp = Some((port, address));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_rtp::api::Codec;

    fn names(description: &Description) -> Vec<Codec> {
        description.codecs.iter().map(|format| format.codec).collect()
    }

    fn audio(lines: &str) -> Result<Description, SdpError> {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{lines}");
        parse(text.as_bytes())
    }

    #[test]
    fn a_usual_offer() {
        let d = audio(
            "c=IN IP4 192.0.2.7\r\nm=audio 4000 RTP/AVP 9 8 0 101\r\n\
             a=rtpmap:9 G722/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n",
        )
        .unwrap();
        assert_eq!(d.rtp, "192.0.2.7:4000".parse().unwrap());
        assert_eq!(d.rtcp, "192.0.2.7:4001".parse().unwrap());
        assert_eq!(names(&d), [Codec::G722, Codec::Pcma, Codec::Pcmu]);
        assert_eq!(d.remote(Codec::Pcma, false).dtmf_pt, Some(101));
        assert_eq!(d.direction, Direction::SendRecv);
        assert_eq!(d.choose(Some(Codec::Pcmu)), Some(Codec::Pcmu));
        assert_eq!(d.choose(Some(Codec::Opus)), Some(Codec::G722));
        assert_eq!(d.choose(None), Some(Codec::G722));
    }

    #[test]
    fn static_types_need_no_map_and_codecs_that_are_not_spoken_are_not_there() {
        let lines = "c=IN IP4 192.0.2.7\nm=audio 4000 RTP/AVP 111 9 0 112\na=rtpmap:111 opus/48000/2\n\
                     a=rtpmap:112 opus/48000/2\na=ptime:40\n";
        let d = audio(lines).unwrap();
        assert_eq!(names(&d), [Codec::Opus, Codec::G722, Codec::Pcmu]);
        assert_eq!(d.format(Codec::Opus).payload_type, 111);
        let text = format!("v=0\n{lines}");
        let accepts = |codecs: &[Codec]| Accepts { plain: true, keys: true, codecs: CodecList::new(codecs).unwrap() };
        let few = parse_as(text.as_bytes(), accepts(&[Codec::Pcma, Codec::Pcmu])).unwrap();
        assert_eq!(names(&few), [Codec::Pcmu]);
        assert_eq!(parse_as(text.as_bytes(), accepts(&[Codec::Pcma])), Err(SdpError::NoCodec));
    }

    #[test]
    fn every_spelling_of_hold() {
        for (lines, direction) in [
            ("c=IN IP4 0.0.0.0\nm=audio 4 RTP/AVP 0\n", Direction::SendOnly),
            ("c=IN IP4 0.0.0.0\nm=audio 4 RTP/AVP 0\na=inactive\n", Direction::Inactive),
            ("c=IN IP4 10.0.0.1\nm=audio 4 RTP/AVP 0\na=sendonly\n", Direction::SendOnly),
            ("c=IN IP4 10.0.0.1\na=inactive\nm=audio 4 RTP/AVP 0\n", Direction::Inactive),
            ("c=IN IP6 ::\nm=audio 4 RTP/AVP 0\n", Direction::SendOnly),
        ] {
            let d = audio(lines).unwrap();
            assert!(d.is_hold(), "{lines}");
            assert_eq!(d.direction, direction, "{lines}");
            assert!(!d.remote(Codec::Pcmu, true).sends);
        }
        let d = audio("a=sendonly\nc=IN IP4 10.0.0.1\nm=audio 4 RTP/AVP 0\na=sendrecv\n").unwrap();
        assert!(!d.is_hold(), "the media level wins");
    }

    #[test]
    fn the_media_level_address_and_rtcp_attribute_win() {
        let d = audio(
            "c=IN IP4 192.0.2.7\nm=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::5\n\
             a=rtcp:5000 IN IP4 192.0.2.8\n",
        )
        .unwrap();
        assert_eq!(d.rtp, "[2001:db8::5]:4000".parse().unwrap());
        assert_eq!(d.rtcp, "192.0.2.8:5000".parse().unwrap());
    }

    #[test]
    fn other_sections_are_kept_for_the_answer() {
        let d = audio(
            "c=IN IP4 192.0.2.7\nm=audio 5000 RTP/SAVP 0\nm=video 6000 RTP/AVP 31\n\
             c=IN IP4 bad.example\nm=audio 4000 RTP/AVP 8\nm=audio 7000 RTP/AVP 0\n",
        )
        .unwrap();
        assert_eq!(d.audio, 2);
        assert_eq!(d.sections.len(), 4);
        assert_eq!(d.rtp.port(), 4000);
        assert_eq!(names(&d), [Codec::Pcma]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (lines, error) in [
            ("", "no audio section"),
            ("c=IN IP4 1.2.3.4\nm=audio 0 RTP/AVP 0\n", "no audio section"),
            ("m=audio 4 RTP/AVP 0\n", "no `c=` line"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 18 96\na=rtpmap:96 opus/16000\n", "no codec"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0\na=rtpmap:0 EVIL/8000\n", "no codec"),
            ("c=IN IP4 host.example\nm=audio 4 RTP/AVP 0\n", "line 5"),
            ("c=IN IP4 239.1.1.1\nm=audio 4 RTP/AVP 0\n", "line 5"),
            ("c=IN IP4 1.2.3.4\nm=audio 99999 RTP/AVP 0\n", "line 6"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP\n", "line 6"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0\na=rtcp:0\n", "line 7"),
            ("nonsense\n", "line 5"),
        ] {
            let got = audio(lines).unwrap_err().to_string();
            assert!(got.contains(error), "{lines}: {got}");
        }
        assert_eq!(parse(&[b'a'; SDP_BYTES + 1]), Err(SdpError::TooLarge));
        let many = "m=video 0 RTP/AVP 31\n".repeat(SECTIONS + 1);
        assert_eq!(audio(&many), Err(SdpError::TooLarge));
    }

    #[test]
    fn any_cut_or_flipped_byte_is_survived() {
        let text = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\n\
            m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:4001\r\n";
        for cut in 0..text.len() {
            let _ = parse(&text[..cut]);
            for flip in [0x00, 0xff, b'=', b' ', b'9'] {
                let mut bytes = text.to_vec();
                bytes[cut] = flip;
                let _ = parse(&bytes);
            }
        }
    }
}
