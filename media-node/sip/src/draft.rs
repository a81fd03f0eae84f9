//! Writing messages.

use bytes::Bytes;
use std::borrow::Cow;
use std::net::SocketAddr;

use crate::api::{Path, Transport};
use crate::message::{Message, Name};
use crate::uri::{Params, cut, split_at_unquoted};

/// Methods we serve, for Allow.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, REFER, NOTIFY";
/// Option tags we understand, for Supported.
pub(crate) const SUPPORTED: &str = "100rel, timer, replaces";

/// A message being written: start line, headers, then [`Draft::finish`].
pub(crate) struct Draft(Vec<u8>);

impl Draft {
    /// `METHOD uri SIP/2.0`.
    pub fn request(method: &[u8], uri: &[u8]) -> Self {
        let mut out = Vec::with_capacity(1_024);
        out.extend_from_slice(method);
        out.push(b' ');
        out.extend_from_slice(uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        Self(out)
    }

    /// `SIP/2.0 status reason`.
    pub fn response(status: u16, reason: &str) -> Self {
        let mut out = Vec::with_capacity(1_024);
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(&mut out, status.into());
        out.push(b' ');
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\r\n");
        Self(out)
    }

    /// One header line.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        self.0.extend_from_slice(value.as_ref());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// Header lines of the layer above, already checked by [`clean`].
    pub fn headers(&mut self, headers: &[(String, String)]) -> &mut Self {
        for (name, value) in headers {
            self.header(name, value);
        }
        self
    }

    /// Content-Type, Content-Length, the empty line and the body.
    pub fn finish(mut self, body: Option<(&str, &[u8])>) -> Bytes {
        let mut length = 0;
        if let Some((kind, body)) = body {
            length = body.len();
            self.header("Content-Type", kind);
        }
        self.0.extend_from_slice(b"Content-Length: ");
        push_number(&mut self.0, length as u64);
        self.0.extend_from_slice(b"\r\n\r\n");
        if let Some((_, body)) = body {
            self.0.extend_from_slice(body);
        }
        Bytes::from(self.0)
    }

    /// A response with what §8.2.6.2 copies: Via, From, To (with our tag where it has none), Call-ID, CSeq.
    pub fn reply(request: &Message, path: Path, status: u16, tag: &str) -> Self {
        let mut draft = Self::response(status, &reason(status));
        for (at, value) in request.all(Name::Via).enumerate() {
            if at == 0 {
                draft.header("Via", with_received(request, value, path.remote));
            } else {
                draft.header("Via", value);
            }
        }
        draft.header("From", request.get(request.from));
        let to = request.get(request.to);
        if request.get(request.to_tag).is_empty() && status != 100 {
            draft.header("To", [to, b";tag=", tag.as_bytes()].concat());
        } else {
            draft.header("To", to);
        }
        draft.header("Call-ID", request.get(request.call_id));
        let mut cseq = Vec::with_capacity(24);
        push_number(&mut cseq, request.cseq.into());
        cseq.push(b' ');
        cseq.extend_from_slice(request.get(request.cseq_method));
        draft.header("CSeq", cseq);
        draft
    }
}

/// Appends a number in decimal.
fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[20 - used..]);
}

/// The topmost Via value with `received` and `rport` filled in (RFC 3261 §18.2.1, RFC 3581 §4).
fn with_received(request: &Message, value: &[u8], remote: SocketAddr) -> Vec<u8> {
    let via = &request.via;
    let (element, rest) = split_at_unquoted(value, b',').unwrap_or((value, None));
    let ip = remote.ip().to_canonical();
    let foreign = crate::uri::parse_ip(request.get(via.host)) != Some(ip);
    let mut out = Vec::with_capacity(value.len() + 48);
    if via.rport || foreign {
        let (sent_by, params) = cut(element, b';');
        out.extend_from_slice(sent_by.trim_ascii());
        for param in Params::new(params.unwrap_or_default()).filter_map(Result::ok) {
            if param.is("rport") || param.is("received") {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(param.name);
            if let Some(value) = param.value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
        out.extend_from_slice(format!(";received={ip}").as_bytes());
        if via.rport {
            out.extend_from_slice(b";rport=");
            push_number(&mut out, remote.port().into());
        }
    } else {
        out.extend_from_slice(element.trim_ascii());
    }
    if let Some(rest) = rest {
        out.extend_from_slice(b", ");
        out.extend_from_slice(rest.trim_ascii());
    }
    out
}

/// Where a response goes (§18.2.2, RFC 3581 §4): by the connection, or to the source address, with
/// the port of the Via unless it asked for `rport`.
pub(crate) fn response_path(request: &Message, path: Path) -> Path {
    if path.transport != Transport::Udp || request.via.rport {
        return path;
    }
    Path { remote: SocketAddr::new(path.remote.ip(), request.via.port.unwrap_or(5_060)), ..path }
}

/// The name of a transport in a Via.
pub(crate) fn via_transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
        Transport::Ws => "WS",
        Transport::Wss => "WSS",
    }
}

/// The parameters of our Contact that name the transport.
pub(crate) fn uri_transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
        Transport::Ws | Transport::Wss => ";transport=ws",
    }
}

/// The reason phrase of a status.
pub(crate) fn reason(status: u16) -> Cow<'static, str> {
    match status {
        100 => "Trying".into(),
        180 => "Ringing".into(),
        200 => "OK".into(),
        202 => "Accepted".into(),
        481 => "Call/Transaction Does Not Exist".into(),
        status => {
            let named = rsip::StatusCode::from(status).to_string();
            let name = named.split_once(' ').map_or("", |(_, name)| name);
            let mut phrase = String::with_capacity(name.len() + 4);
            for c in name.chars() {
                let boundary = phrase.chars().next_back().is_some_and(char::is_lowercase);
                if c.is_ascii_uppercase() && boundary {
                    phrase.push(' ');
                }
                phrase.push(c);
            }
            phrase.into()
        }
    }
}

/// Whether a text may stand in a header line.
pub(crate) fn clean(text: &str) -> bool {
    !text.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    #[test]
    fn reason_phrases_are_words() {
        for (status, phrase) in
            [(200, "OK"), (404, "Not Found"), (486, "Busy Here"), (401, "Unauthorized"), (699, "Other")]
        {
            assert_eq!(reason(status), phrase);
        }
    }

    #[test]
    fn responses_find_their_way_back_through_nat() {
        let remote: SocketAddr = "198.51.100.7:1024".parse().unwrap();
        let path = Path { transport: Transport::Udp, local: "192.0.2.1:5060".parse().unwrap(), remote, connection: 0 };
        let request = |via: &str| {
            let text = format!(
                "OPTIONS sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            let message = parse(text.as_bytes()).unwrap();
            let reply = Draft::reply(&message, path, 200, "t").finish(None);
            let text = String::from_utf8(reply.to_vec()).unwrap();
            let via = text.lines().find(|l| l.starts_with("Via")).unwrap().to_owned();
            (via, response_path(&message, path).remote.to_string())
        };
        assert_eq!(
            request("SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1"),
            (
                "Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;received=198.51.100.7;rport=1024".into(),
                "198.51.100.7:1024".into()
            )
        );
        assert_eq!(
            request("SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1 , SIP/2.0/UDP z"),
            (
                "Via: SIP/2.0/UDP 10.0.0.1:5062;branch=z9hG4bK1;received=198.51.100.7, SIP/2.0/UDP z".into(),
                "198.51.100.7:5062".into()
            )
        );
        assert_eq!(
            request("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1").1,
            "198.51.100.7:5060",
            "without rport and port: the default port"
        );
    }
}
