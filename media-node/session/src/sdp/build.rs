//! Writing offers and answers.

use super::{Description, Direction};
use bytes::Bytes;
use hotline_rtp::api::Law;
use std::fmt::Write;
use std::net::SocketAddr;

/// Payload type of telephone-event in our offers.
const OUR_DTMF_PT: u8 = 101;

/// Our side of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Where we receive RTP, as the peer sees it.
    pub rtp: SocketAddr,
    /// Session id of the `o=` line; the same in all descriptions of a leg.
    pub session: u64,
    /// Counts the descriptions of a leg.
    pub version: u32,
}

fn head(out: &mut String, local: &Local) {
    let (family, ip) = (family(local), local.rtp.ip());
    let _ = write!(
        out,
        "v=0\r\no=- {} {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
        local.session, local.version
    );
}

fn family(local: &Local) -> &'static str {
    if local.rtp.is_ipv4() { "IP4" } else { "IP6" }
}

fn audio(out: &mut String, local: &Local, laws: &[Law], dtmf_pt: Option<u8>, direction: Direction) {
    let _ = write!(out, "m=audio {} RTP/AVP", local.rtp.port());
    for law in laws {
        out.push_str(match law {
            Law::Mu => " 0",
            Law::A => " 8",
        });
    }
    if let Some(pt) = dtmf_pt {
        let _ = write!(out, " {pt}");
    }
    out.push_str("\r\n");
    for law in laws {
        out.push_str(match law {
            Law::Mu => "a=rtpmap:0 PCMU/8000\r\n",
            Law::A => "a=rtpmap:8 PCMA/8000\r\n",
        });
    }
    if let Some(pt) = dtmf_pt {
        let _ = write!(out, "a=rtpmap:{pt} telephone-event/8000\r\na=fmtp:{pt} 0-15\r\n");
    }
    let _ = write!(out, "a=ptime:20\r\na={}\r\n", direction.as_str());
}

/// An offer with `first` before the other law, so that a peer that shares it needs no transcoding.
pub fn offer(local: &Local, first: Law) -> Bytes {
    offer_with(local, first, Direction::SendRecv)
}

/// The same with a direction of its own, as for a hold that is passed on.
pub fn offer_with(local: &Local, first: Law, direction: Direction) -> Bytes {
    let laws = match first {
        Law::Mu => [Law::Mu, Law::A],
        Law::A => [Law::A, Law::Mu],
    };
    let mut out = String::with_capacity(384);
    head(&mut out, local);
    audio(&mut out, local, &laws, Some(OUR_DTMF_PT), direction);
    Bytes::from(out)
}

/// The answer to an offer with one law; the peer's other sections are refused with port 0.
pub fn answer(local: &Local, offer: &Description, law: Law) -> Bytes {
    let mut out = String::with_capacity(384);
    head(&mut out, local);
    for (index, section) in offer.sections.iter().enumerate() {
        if index == offer.audio {
            audio(&mut out, local, &[law], offer.dtmf_pt, offer.direction.reversed());
        } else {
            let _ = write!(out, "m={} 0 {} {}\r\n", section.media, section.protocol, section.format);
        }
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::parse;

    fn local() -> Local {
        Local { rtp: "192.0.2.1:20000".parse().unwrap(), session: 7, version: 1 }
    }

    #[test]
    fn an_offer_names_the_callers_law_first() {
        let text = offer(&local(), Law::A);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
        );
        assert_eq!(parse(&text).unwrap().laws, [Law::A, Law::Mu]);
    }

    #[test]
    fn an_answer_repeats_the_sections_the_payload_type_and_turns_the_direction() {
        let theirs = parse(
            b"v=0\no=- 1 1 IN IP4 10.0.0.9\ns=-\nc=IN IP4 10.0.0.9\nt=0 0\n\
              m=video 6000 RTP/AVP 31\nm=audio 4000 RTP/AVP 0 8 96\n\
              a=rtpmap:96 telephone-event/8000\na=sendonly\n",
        )
        .unwrap();
        let text = answer(&local(), &theirs, Law::Mu);
        assert_eq!(
            std::str::from_utf8(&text).unwrap(),
            "v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
             m=video 0 RTP/AVP 31\r\nm=audio 20000 RTP/AVP 0 96\r\na=rtpmap:0 PCMU/8000\r\n\
             a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=ptime:20\r\na=recvonly\r\n"
        );
    }
}
