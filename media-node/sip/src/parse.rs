//! The strict pre-parser: bytes to [`Message`], or the status that refuses them.

use bytes::Bytes;

use crate::message::{Field, Message, Name, Span, Start, TopVia};
use crate::stream::{MESSAGE_BYTES, find};
use crate::uri::{
    Malformed, Params, Scheme, is_token, parse_host_port, parse_name_addr, parse_number, parse_uri, split_at_unquoted,
};

/// Headers in one message.
const HEADERS: usize = 256;
/// One line, after unfolding.
const LINE_BYTES: usize = 8_192;

/// Why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The status for a request; a response is dropped.
    pub status: u16,
    /// What is wrong, for the reason phrase and the log.
    pub reason: &'static str,
    /// The lines a refusal must repeat (§8.2.6), when the message is a request that has a Via.
    pub echo: Option<Box<Echo>>,
}

/// What was found of a malformed request, enough to answer it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Echo {
    pub is_ack: bool,
    pub vias: Vec<Vec<u8>>,
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    pub call_id: Vec<u8>,
    pub cseq: Vec<u8>,
}

/// Parses one datagram or framed message.
///
/// # Errors
/// [`Refusal`] with the status RFC 3261 wants; 400 for most.
pub(crate) fn parse(bytes: &[u8]) -> Result<Message, Refusal> {
    let drop = |status, reason| Refusal { status, reason, echo: None };
    if bytes.len() > MESSAGE_BYTES {
        return Err(drop(513, "Message Too Large"));
    }
    // §7.5: empty lines before the start line are skipped.
    let lead = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let bytes = bytes.get(lead..).unwrap_or_default();
    let head_end = find(bytes, b"\r\n\r\n").ok_or(drop(400, "No Empty Line After Headers"))?;
    let mut owned = bytes.to_vec();
    unfold(owned.get_mut(..head_end + 2).unwrap_or_default());
    let buffer = Bytes::from(owned);
    let head = buffer.get(..head_end).unwrap_or_default();

    let mut lines = Lines { head, at: 0 };
    let first = lines.next().ok_or(drop(400, "No Start Line"))?;
    let mut fields = Vec::with_capacity(16);
    let mut fault: Option<(u16, &'static str)> = None;
    for line in lines {
        if fields.len() >= HEADERS {
            fault = Some((400, "Too Many Headers"));
            break;
        }
        match field(&buffer, line) {
            Ok(field) => fields.push(field),
            Err(reason) => fault = fault.or(Some((400, reason))),
        }
    }
    let (is_request, start) = start_line(&buffer, first);
    let start = match (start, fault) {
        (_, Some((status, reason))) | (Err((status, reason)), None) => {
            return Err(refuse(&buffer, &fields, is_request, first, status, reason));
        }
        (Ok(start), None) => start,
    };
    let fail = |(status, reason)| refuse(&buffer, &fields, is_request, first, status, reason);
    let message = assemble(&buffer, head_end + 4, start, &fields).map_err(fail)?;
    Ok(message)
}

/// §7.3.1: a line end before white space is white space. Replaced in place, so that spans hold.
fn unfold(head: &mut [u8]) {
    let mut at = 0;
    while let Some(offset) = head.get(at..).and_then(|rest| find(rest, b"\r\n")) {
        at += offset;
        if matches!(head.get(at + 2), Some(b' ' | b'\t'))
            && let Some(end) = head.get_mut(at..at + 2)
        {
            end.fill(b' ');
        }
        at += 2;
    }
}

struct Lines<'a> {
    head: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        if self.at >= self.head.len() {
            return None;
        }
        let rest = self.head.get(self.at..)?;
        let length = find(rest, b"\r\n").unwrap_or(rest.len());
        let span = Span { from: self.at as u32, to: (self.at + length) as u32 };
        self.at += length + 2;
        Some(span)
    }
}

fn slice(buffer: &[u8], span: Span) -> &[u8] {
    buffer.get(span.from as usize..span.to as usize).unwrap_or_default()
}

/// The span of `part`, which lies within `buffer`.
fn span_of(buffer: &[u8], part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let from = (part.as_ptr() as usize).saturating_sub(buffer.as_ptr() as usize);
    Span { from: from as u32, to: (from + part.len()) as u32 }
}

fn field(buffer: &[u8], line: Span) -> Result<Field, &'static str> {
    let text = slice(buffer, line);
    if text.len() > LINE_BYTES {
        return Err("Header Line Too Long");
    }
    if text.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        return Err("Bare CR or LF in a Header");
    }
    let colon = text.iter().position(|b| *b == b':').ok_or("Header Without Colon")?;
    let name = text.get(..colon).unwrap_or_default().trim_ascii_end();
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err("Malformed Header Name");
    }
    let value = text.get(colon + 1..).unwrap_or_default().trim_ascii();
    Ok(Field { name: Name::of(name), raw_name: span_of(buffer, name), value: span_of(buffer, value) })
}

type Fault = (u16, &'static str);

/// Whether it is a request, as far as one can tell, and the start line.
fn start_line(buffer: &[u8], line: Span) -> (bool, Result<Start, Fault>) {
    let text = slice(buffer, line);
    if text.len() > LINE_BYTES {
        return (false, Err((400, "Start Line Too Long")));
    }
    if text.len() >= 4 && text.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"SIP/")) {
        return (false, status_line(buffer, text));
    }
    (true, request_line(buffer, text))
}

fn status_line(buffer: &[u8], text: &[u8]) -> Result<Start, Fault> {
    let bad = (400, "Malformed Status Line");
    let mut parts = text.splitn(3, |b| *b == b' ');
    let version = parts.next().ok_or(bad)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err((505, "Version Not Supported"));
    }
    let code = parts.next().ok_or(bad)?;
    let status = match (code.len(), parse_number(code)) {
        (3, Ok(n @ 100..=699)) => n as u16,
        _ => return Err(bad),
    };
    // The space after the code is required, the phrase may be empty (§7.2).
    let reason = parts.next().ok_or(bad)?;
    Ok(Start::Response { status, reason: span_of(buffer, reason) })
}

fn request_line(buffer: &[u8], text: &[u8]) -> Result<Start, Fault> {
    let bad = (400, "Malformed Request Line");
    // §7.1: exactly two single spaces.
    let mut parts = text.split(|b| *b == b' ');
    let (Some(method), Some(uri), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad);
    };
    if method.is_empty() || method.len() > 64 || !method.iter().all(|b| is_token(*b)) {
        return Err((400, "Malformed Method"));
    }
    let version_ok = version.eq_ignore_ascii_case(b"SIP/2.0");
    if !version_ok {
        let other = version.get(..4).is_some_and(|t| t.eq_ignore_ascii_case(b"SIP/"));
        return Err(if other { (505, "Version Not Supported") } else { bad });
    }
    let parsed = parse_uri(uri).map_err(|Malformed| (400, "Malformed Request-URI"))?;
    if parsed.headers.is_some() {
        return Err((400, "Headers in Request-URI"));
    }
    Ok(Start::Request { method: span_of(buffer, method), uri: span_of(buffer, uri) })
}

fn refuse(
    buffer: &[u8],
    fields: &[Field],
    is_request: bool,
    first: Span,
    status: u16,
    reason: &'static str,
) -> Refusal {
    let copy =
        |name| fields.iter().find(|f| f.name == name).map(|f| slice(buffer, f.value).to_vec()).unwrap_or_default();
    let vias: Vec<Vec<u8>> =
        fields.iter().filter(|f| f.name == Name::Via).map(|f| slice(buffer, f.value).to_vec()).collect();
    let echo = (is_request && !vias.is_empty()).then(|| {
        Box::new(Echo {
            is_ack: slice(buffer, first).starts_with(b"ACK "),
            vias,
            from: copy(Name::From),
            to: copy(Name::To),
            call_id: copy(Name::CallId),
            cseq: copy(Name::CSeq),
        })
    });
    Refusal { status, reason, echo }
}

/// The headers of which two are no message any more.
const SINGLE: [Name; 9] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::ContentLength,
    Name::ContentType,
    Name::Expires,
    Name::SessionExpires,
];

fn assemble(buffer: &Bytes, body_at: usize, start: Start, fields: &[Field]) -> Result<Message, Fault> {
    let only = |name: Name| -> Result<Option<Span>, Fault> {
        let mut found = fields.iter().filter(|f| f.name == name);
        let first = found.next().map(|f| f.value);
        if found.next().is_some() { Err((400, "Header Given Twice")) } else { Ok(first) }
    };
    for name in SINGLE {
        only(name)?;
    }
    let need = |name, reason| only(name).and_then(|span| span.ok_or((400, reason)));
    let call_id = need(Name::CallId, "No Call-ID")?;
    let from = need(Name::From, "No From")?;
    let to = need(Name::To, "No To")?;
    let cseq = need(Name::CSeq, "No CSeq")?;
    if slice(buffer, call_id).is_empty() || slice(buffer, call_id).iter().any(u8::is_ascii_whitespace) {
        return Err((400, "Malformed Call-ID"));
    }

    let first_via = fields.iter().find(|f| f.name == Name::Via).ok_or((400, "No Via"))?;
    let via = top_via(buffer, slice(buffer, first_via.value)).map_err(|Malformed| (400, "Malformed Via"))?;
    let via_count = fields
        .iter()
        .filter(|f| f.name == Name::Via)
        .map(|f| crate::uri::List::new(slice(buffer, f.value)).count())
        .sum();

    let (cseq, cseq_method) = parse_cseq(buffer, slice(buffer, cseq)).map_err(|Malformed| (400, "Malformed CSeq"))?;
    if let Start::Request { method, .. } = start {
        if slice(buffer, method) != slice(buffer, cseq_method) {
            return Err((400, "CSeq Method Mismatch"));
        }
        check_request(buffer, fields)?;
    }

    let tag = |span: Span, reason| {
        let party = parse_name_addr(slice(buffer, span)).map_err(|Malformed| (400, reason))?;
        Ok(span_of(buffer, party.param("tag").unwrap_or_default()))
    };
    let from_tag = tag(from, "Malformed From")?;
    let to_tag = tag(to, "Malformed To")?;

    let rest = buffer.len().saturating_sub(body_at);
    let length = match only(Name::ContentLength)? {
        None => rest,
        Some(span) => {
            parse_number(slice(buffer, span)).map_err(|Malformed| (400, "Malformed Content-Length"))? as usize
        }
    };
    if length > rest {
        return Err((400, "Content-Length Beyond the Message"));
    }
    let body = buffer.slice(body_at..body_at + length);
    Ok(Message {
        buffer: buffer.clone(),
        start,
        fields: fields.to_vec(),
        body,
        via,
        via_count,
        call_id,
        cseq,
        cseq_method,
        from,
        from_tag,
        to,
        to_tag,
    })
}

/// What only matters in requests.
fn check_request(buffer: &[u8], fields: &[Field]) -> Result<(), Fault> {
    for field in fields {
        let value = slice(buffer, field.value);
        match field.name {
            Name::MaxForwards => match parse_number(value) {
                Ok(0..=255) => {}
                _ => return Err((400, "Malformed Max-Forwards")),
            },
            Name::Contact if value != b"*" => {
                for part in crate::uri::List::new(value) {
                    part.and_then(parse_name_addr).map_err(|Malformed| (400, "Malformed Contact"))?;
                }
            }
            Name::Route | Name::RecordRoute | Name::ReferTo => {
                for part in crate::uri::List::new(value) {
                    let address = part.and_then(parse_name_addr).map_err(|Malformed| (400, "Malformed Route"))?;
                    if field.name != Name::ReferTo && address.uri.scheme == Scheme::Other {
                        return Err((400, "Malformed Route"));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse_cseq(buffer: &[u8], value: &[u8]) -> Result<(u32, Span), Malformed> {
    let space = value.iter().position(u8::is_ascii_whitespace).ok_or(Malformed)?;
    let (number, method) = value.split_at(space);
    let number = parse_number(number)?;
    let method = method.trim_ascii();
    // §8.1.1.5: below 2^31.
    if number > i32::MAX as u32 || method.is_empty() || !method.iter().all(|b| is_token(*b)) {
        return Err(Malformed);
    }
    Ok((number, span_of(buffer, method)))
}

/// `SIP / 2.0 / UDP host:port;params`, the first of a list, with white space wherever §25.1 allows.
fn top_via(buffer: &[u8], value: &[u8]) -> Result<TopVia, Malformed> {
    let (element, _) = split_at_unquoted(value, b',')?;
    let element = element.trim_ascii();
    let mut rest = element;
    for (expected, any) in [(&b"SIP"[..], false), (b"2.0", false), (b"", true)] {
        let end = rest.iter().position(|b| !is_token(*b)).ok_or(Malformed)?;
        let (word, after) = rest.split_at(end);
        if word.is_empty() || (!any && !word.eq_ignore_ascii_case(expected)) {
            return Err(Malformed);
        }
        rest = after.trim_ascii_start();
        if !any {
            rest = rest.strip_prefix(b"/").ok_or(Malformed)?.trim_ascii_start();
        }
    }
    let (sent_by, params) = crate::uri::cut(rest, b';');
    // White space is allowed around the colon of host and port.
    let compact: Vec<u8> = sent_by.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let (_, port) = parse_host_port(&compact)?;
    let host_end = if sent_by.first() == Some(&b'[') {
        sent_by.iter().position(|b| *b == b']').map(|at| at + 1)
    } else {
        sent_by.iter().position(|b| *b == b':' || b.is_ascii_whitespace())
    };
    let host = sent_by.get(..host_end.unwrap_or(sent_by.len())).unwrap_or_default();
    let mut via = TopVia { element: span_of(buffer, element), host: span_of(buffer, host), port, ..TopVia::default() };
    if params.is_some_and(|p| p.trim_ascii().is_empty()) {
        return Err(Malformed);
    }
    for param in Params::new(params.unwrap_or_default()) {
        let param = param?;
        if param.is("branch") {
            via.branch = span_of(buffer, param.value.unwrap_or_default());
        } else if param.is("rport") {
            via.rport = true;
        }
    }
    Ok(via)
}
