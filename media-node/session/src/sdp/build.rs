//! Writing offers and answers.

use super::codecs::{offered, offered_events, write_maps};
use super::{Description, Direction, EventFormat, LocalSecurity, PeerSecurity};
use bytes::Bytes;
use hotline_rtp::api::{Codec, Format};
use std::fmt::Write;
use std::net::SocketAddr;

/// Our side of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Where we receive RTP, as the peer sees it.
    pub rtp: SocketAddr,
    /// Session id of the `o=` line; the same in all descriptions of a leg.
    pub session: u64,
    /// Counts the descriptions of a leg.
    pub version: u32,
    /// How we protect it.
    pub security: LocalSecurity,
}

fn head(out: &mut String, local: &Local, group: Option<&str>) {
    let (family, ip) = (family(local), local.rtp.ip());
    let _ = write!(
        out,
        "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
        local.session, local.version
    );
    local.security.session_lines(out, group);
}

/// What an audio section says besides our side.
struct Audio<'a> {
    protocol: &'a str,
    mid: Option<&'a str>,
    formats: &'a [Format],
    events: &'a [EventFormat],
    direction: Direction,
}

fn family(local: &Local) -> &'static str {
    if local.rtp.is_ipv4() { "IP4" } else { "IP6" }
}

fn audio(out: &mut String, local: &Local, section: &Audio) {
    let &Audio { protocol, mid, formats, events, direction } = section;
    let _ = write!(out, "m=audio {} {protocol}", local.rtp.port());
    let types = formats.iter().map(|format| format.payload_type).chain(events.iter().map(|event| event.payload_type));
    for payload_type in types {
        let _ = write!(out, " {payload_type}");
    }
    out.push_str("\r\n");
    write_maps(out, formats, events);
    let _ = write!(out, "a=ptime:20\r\na={}\r\n", direction.as_str());
    if let Some(mid) = mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    local.security.audio_lines(out, local);
}

/// An offer of these codecs in this order (see [`super::CodecList::led_by`]).
pub fn offer(local: &Local, codecs: &[Codec]) -> Bytes {
    offer_with(local, codecs, Direction::SendRecv)
}

/// The same with a direction of its own, as for a hold that is passed on.
pub fn offer_with(local: &Local, codecs: &[Codec], direction: Direction) -> Bytes {
    let mut out = String::with_capacity(512);
    let mid = matches!(local.security, LocalSecurity::Web(_)).then_some("0");
    head(&mut out, local, mid);
    let protocol = local.security.protocol();
    let formats: Vec<Format> = codecs.iter().map(|codec| offered(*codec)).collect();
    let events = offered_events(codecs);
    audio(&mut out, local, &Audio { protocol, mid, formats: &formats, events: &events, direction });
    Bytes::from(out)
}

/// The answer to an offer with one codec; the peer's other sections are refused with port 0.
pub fn answer(local: &Local, offer: &Description, codec: Codec) -> Bytes {
    let (formats, events) = ([offer.format(codec)], Vec::from_iter(offer.event(codec)));
    let mut out = String::with_capacity(384);
    let ours = offer.sections.get(offer.audio).and_then(|section| section.mid.as_deref());
    head(&mut out, local, ours.filter(|_| offer.bundled));
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.audio {
            // Names of sections are for browsers; nobody else misses them.
            let mid = ours.filter(|_| matches!(offer.security, PeerSecurity::Web(_)));
            let (protocol, direction) = (section.protocol.as_str(), offer.direction.reversed());
            audio(&mut out, local, &Audio { protocol, mid, formats: &formats, events: &events, direction });
        } else {
            let _ = write!(out, "m={} 0 {} {}\r\n", section.media, section.protocol, section.format);
            if let (Some(mid), PeerSecurity::Web(_)) = (&section.mid, &offer.security) {
                let _ = write!(out, "a=mid:{mid}\r\n");
            }
        }
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{CodecList, parse};

    fn local() -> Local {
        Local { rtp: "192.0.2.1:20000".parse().unwrap(), session: 7, version: 1, security: LocalSecurity::Plain }
    }

    #[test]
    fn an_offer_names_the_callers_codec_first() {
        let text = offer(&local(), &CodecList::default().led_by(Codec::Pcma));
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        );
        assert_eq!(parse(&text).unwrap().codecs, [offered(Codec::Pcma), offered(Codec::Pcmu)]);
    }

    #[test]
    fn an_answer_repeats_the_sections_the_payload_type_and_turns_the_direction() {
        let theirs = parse(
            b"v=0\no=- 1 1 IN IP4 10.0.0.9\ns=-\nc=IN IP4 10.0.0.9\nt=0 0\n\
              m=video 6000 RTP/AVP 31\nm=audio 4000 RTP/AVP 0 8 96\n\
              a=rtpmap:96 telephone-event/8000\na=sendonly\n",
        )
        .unwrap();
        let text = answer(&local(), &theirs, Codec::Pcmu);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=video 0 RTP/AVP 31\r\nm=audio 20000 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=ptime:20\r\na=recvonly\r\n"
        );
    }

    #[test]
    fn wideband_is_offered_with_events_on_both_clocks() {
        let text = offer(&local(), &CodecList::default().led_by(Codec::Opus));
        let text = std::str::from_utf8(&text).unwrap();
        let (_, audio) = text.split_once("m=").unwrap();
        assert_eq!(
            audio,
            "audio 20000 RTP/AVP 111 9 0 8 101 110\r\na=rtpmap:111 opus/48000/2\r\n\
             a=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
             a=rtpmap:110 telephone-event/48000\r\na=fmtp:110 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        );
    }

    #[test]
    fn an_answer_in_opus_has_the_peers_numbers_and_its_event_of_the_same_clock() {
        let theirs = parse(
            b"v=0\no=- 1 1 IN IP4 10.0.0.9\ns=-\nc=IN IP4 10.0.0.9\nt=0 0\n\
              m=audio 4000 RTP/AVP 96 9 0 97 98\na=rtpmap:96 OPUS/48000/2\na=rtpmap:97 telephone-event/8000\n\
              a=rtpmap:98 telephone-event/48000\n",
        )
        .unwrap();
        let audio = |codec| {
            let text = String::from_utf8(answer(&local(), &theirs, codec).to_vec()).unwrap();
            text.split_once("m=").unwrap().1.lines().take(4).collect::<Vec<_>>().join("|")
        };
        assert_eq!(
            audio(Codec::Opus),
            "audio 20000 RTP/AVP 96 98|a=rtpmap:96 opus/48000/2|a=fmtp:96 minptime=10;useinbandfec=1|\
             a=rtpmap:98 telephone-event/48000"
        );
        assert_eq!(
            audio(Codec::G722),
            "audio 20000 RTP/AVP 9 97|a=rtpmap:9 G722/8000|a=rtpmap:97 telephone-event/8000|a=fmtp:97 0-15"
        );
        let remote = theirs.remote(Codec::Opus, false);
        assert_eq!((remote.format.payload_type, remote.dtmf_pt, remote.dtmf_khz), (96, Some(98), 48));
    }
}
