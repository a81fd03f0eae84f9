//! Reading a description.

use super::{Description, Direction, FORMATS, SDP_BYTES, SECTIONS, SdpError, Section};
use hotline_rtp::api::Law;
use std::net::{IpAddr, SocketAddr};

/// One audio section while it is read.
struct Audio {
    port: u16,
    formats: Vec<u8>,
    index: usize,
    address: Option<IpAddr>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    direction: Option<Direction>,
    pcmu_mapped_away: bool,
    pcma_mapped_away: bool,
    dtmf_pt: Option<u8>,
}

/// Reads an offer or an answer.
///
/// The first audio section over RTP/AVP with a port counts; the others are kept only to be
/// refused in the answer.
///
/// # Errors
/// [`SdpError`]; nothing of a broken description is used.
pub fn parse(bytes: &[u8]) -> Result<Description, SdpError> {
    if bytes.len() > SDP_BYTES {
        return Err(SdpError::TooLarge);
    }
    let mut sections: Vec<Section> = Vec::new();
    let mut session_address = None;
    let mut session_direction = None;
    let mut audio: Option<Audio> = None;
    // Whether the lines that are being read belong to the audio section.
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
                match audio.as_mut() {
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
                in_audio = false;
                let plain = section.media == "audio" && section.protocol == "RTP/AVP" && port != 0;
                if plain && audio.is_none() {
                    in_audio = true;
                    audio = Some(Audio {
                        port,
                        formats,
                        index: sections.len(),
                        address: None,
                        rtcp: None,
                        direction: None,
                        pcmu_mapped_away: false,
                        pcma_mapped_away: false,
                        dtmf_pt: None,
                    });
                }
                sections.push(section);
            }
            b'a' => {
                // Attributes may hold any text; those we need are ASCII.
                let Ok(text) = std::str::from_utf8(value) else {
                    continue;
                };
                if let Some(direction) = direction(text) {
                    match audio.as_mut() {
                        Some(audio) if in_audio => audio.direction = Some(direction),
                        _ if sections.is_empty() => session_direction = Some(direction),
                        _ => {}
                    }
                } else if let Some(audio) = audio.as_mut().filter(|_| in_audio) {
                    attribute(audio, text).map_err(syntax)?;
                }
            }
            _ => {}
        }
    }

    let audio = audio.ok_or(SdpError::NoAudio)?;
    let address = audio.address.or(session_address).ok_or(SdpError::NoAudio)?;
    let laws: Vec<Law> = audio
        .formats
        .iter()
        .filter_map(|format| match format {
            0 if !audio.pcmu_mapped_away => Some(Law::Mu),
            8 if !audio.pcma_mapped_away => Some(Law::A),
            _ => None,
        })
        .collect();
    if laws.is_empty() {
        return Err(SdpError::NoCodec);
    }
    let mut direction = audio.direction.or(session_direction).unwrap_or_default();
    if address.is_unspecified() {
        direction = match direction {
            Direction::SendRecv | Direction::SendOnly => Direction::SendOnly,
            Direction::RecvOnly | Direction::Inactive => Direction::Inactive,
        };
    }
    let (rtcp_port, rtcp_address) = audio.rtcp.unwrap_or((audio.port.saturating_add(1), None));
    Ok(Description {
        rtp: SocketAddr::new(address, audio.port),
        rtcp: SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port),
        laws,
        dtmf_pt: audio.dtmf_pt.filter(|pt| audio.formats.contains(pt)),
        direction,
        sections,
        audio: audio.index,
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
    let section = Section { media: media.into(), protocol: protocol.into(), format: format.into() };
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
        const WHAT: &str = "expected `a=rtpmap:type name/rate`";
        let (pt, encoding) = map.trim_start().split_once(' ').ok_or(WHAT)?;
        let pt: u8 = pt.parse().map_err(|_| WHAT)?;
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or_default();
        let rate = parts.next().unwrap_or_default();
        // The static types 0 and 8 keep their meaning; a map that says otherwise takes them away.
        match pt {
            0 => audio.pcmu_mapped_away = !(name.eq_ignore_ascii_case("PCMU") && rate == "8000"),
            8 => audio.pcma_mapped_away = !(name.eq_ignore_ascii_case("PCMA") && rate == "8000"),
            96..=127 if name.eq_ignore_ascii_case("telephone-event") && rate == "8000" => {
                audio.dtmf_pt.get_or_insert(pt);
            }
            _ => {}
        }
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
        assert_eq!(d.laws, [Law::A, Law::Mu]);
        assert_eq!(d.dtmf_pt, Some(101));
        assert_eq!(d.direction, Direction::SendRecv);
        assert_eq!(d.choose(Some(Law::Mu)), Some(Law::Mu));
        assert_eq!(d.choose(None), Some(Law::A));
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
            assert!(!d.remote(Law::Mu, true).sends);
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
        assert_eq!(d.laws, [Law::A]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (lines, error) in [
            ("", "no plain RTP audio"),
            ("c=IN IP4 1.2.3.4\nm=audio 0 RTP/AVP 0\n", "no plain RTP audio"),
            ("m=audio 4 RTP/AVP 0\n", "no plain RTP audio"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 9 18\n", "neither PCMU nor PCMA"),
            ("c=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0\na=rtpmap:0 EVIL/8000\n", "neither PCMU"),
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
