//! A received message: one buffer and where its parts lie in it.

use bytes::Bytes;
use std::borrow::Cow;

use crate::uri::{List, NameAddr, parse_name_addr};

/// A range of the message's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub from: u32,
    pub to: u32,
}

/// The headers that mean something here; all others are `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Accept,
    Allow,
    Authorization,
    CSeq,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    Event,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    MinSe,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    RSeq,
    Reason,
    RecordRoute,
    ReferTo,
    Replaces,
    Require,
    RetryAfter,
    Route,
    SessionExpires,
    Subject,
    Supported,
    To,
    UserAgent,
    Via,
    WwwAuthenticate,
    Other,
}

impl Name {
    /// The long names, with the one-letter form where RFC 3261 §7.3.3 and others give one.
    const ALL: [(&'static str, &'static str, Name); 34] = [
        ("Via", "v", Name::Via),
        ("From", "f", Name::From),
        ("To", "t", Name::To),
        ("Call-ID", "i", Name::CallId),
        ("CSeq", "", Name::CSeq),
        ("Contact", "m", Name::Contact),
        ("Max-Forwards", "", Name::MaxForwards),
        ("Content-Length", "l", Name::ContentLength),
        ("Content-Type", "c", Name::ContentType),
        ("Accept", "", Name::Accept),
        ("Allow", "", Name::Allow),
        ("Authorization", "", Name::Authorization),
        ("Content-Encoding", "e", Name::ContentEncoding),
        ("Event", "o", Name::Event),
        ("Expires", "", Name::Expires),
        ("Min-Expires", "", Name::MinExpires),
        ("Min-SE", "", Name::MinSe),
        ("Proxy-Authenticate", "", Name::ProxyAuthenticate),
        ("Proxy-Authorization", "", Name::ProxyAuthorization),
        ("Proxy-Require", "", Name::ProxyRequire),
        ("RAck", "", Name::RAck),
        ("RSeq", "", Name::RSeq),
        ("Reason", "", Name::Reason),
        ("Record-Route", "", Name::RecordRoute),
        ("Refer-To", "r", Name::ReferTo),
        ("Replaces", "", Name::Replaces),
        ("Require", "", Name::Require),
        ("Retry-After", "", Name::RetryAfter),
        ("Route", "", Name::Route),
        ("Session-Expires", "x", Name::SessionExpires),
        ("Subject", "s", Name::Subject),
        ("Supported", "k", Name::Supported),
        ("User-Agent", "", Name::UserAgent),
        ("WWW-Authenticate", "", Name::WwwAuthenticate),
    ];

    /// Recognises a name in any case, long or compact.
    pub fn of(text: &[u8]) -> Name {
        Self::ALL
            .iter()
            .find(|(long, short, _)| {
                (text.len() == long.len() && text.eq_ignore_ascii_case(long.as_bytes()))
                    || (text.len() == 1 && text.eq_ignore_ascii_case(short.as_bytes()))
            })
            .map_or(Name::Other, |(_, _, name)| *name)
    }

    /// The long form; empty for `Other`.
    pub fn long(self) -> &'static str {
        Self::ALL.iter().find(|(_, _, name)| *name == self).map_or("", |(long, _, _)| long)
    }
}

/// One header as it lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub name: Name,
    pub raw_name: Span,
    pub value: Span,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// The parts of the topmost Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TopVia {
    /// The whole element, of a list perhaps.
    pub element: Span,
    pub host: Span,
    pub port: Option<u16>,
    /// Empty: none.
    pub branch: Span,
    /// The parameter is there, with or without a value.
    pub rport: bool,
}

/// A well-formed message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub buffer: Bytes,
    pub start: Start,
    pub fields: Vec<Field>,
    pub body: Bytes,
    pub via: TopVia,
    pub via_count: usize,
    pub call_id: Span,
    pub cseq: u32,
    pub cseq_method: Span,
    pub from: Span,
    pub from_tag: Span,
    pub to: Span,
    pub to_tag: Span,
}

impl Message {
    /// The bytes of a span.
    pub fn get(&self, span: Span) -> &[u8] {
        self.buffer.get(span.from as usize..span.to as usize).unwrap_or_default()
    }

    /// The bytes as text; others than UTF-8 become U+FFFD.
    pub fn text(&self, span: Span) -> Cow<'_, str> {
        String::from_utf8_lossy(self.get(span))
    }

    /// The request's method; for a response the one of CSeq.
    pub fn method(&self) -> &[u8] {
        match self.start {
            Start::Request { method, .. } => self.get(method),
            Start::Response { .. } => self.get(self.cseq_method),
        }
    }

    /// The Request-URI; empty for a response.
    pub fn uri(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => self.get(uri),
            Start::Response { .. } => b"",
        }
    }

    /// The status; 0 for a request.
    pub fn status(&self) -> u16 {
        match self.start {
            Start::Request { .. } => 0,
            Start::Response { status, .. } => status,
        }
    }

    /// The first value of a header.
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// Every value line of a header.
    pub fn all(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |f| f.name == name).map(|f| self.get(f.value))
    }

    /// The first value of a header that means nothing here, by its name in any case.
    pub fn extension(&self, name: &str) -> Option<&[u8]> {
        let wanted = |f: &&Field| f.name == Name::Other && self.get(f.raw_name).eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().find(wanted).map(|f| self.get(f.value))
    }

    /// The elements of all lines of a comma-separated header; malformed ones are left out.
    pub fn list(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.all(name).flat_map(List::new).filter_map(Result::ok).filter(|part| !part.is_empty())
    }

    /// Whether a comma-separated header of tokens has this one.
    pub fn has_token(&self, name: Name, token: &str) -> bool {
        self.list(name).any(|part| part.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<NameAddr<'_>> {
        self.list(Name::Contact).find_map(|part| parse_name_addr(part).ok())
    }

    /// From, which parsing has checked.
    pub fn caller(&self) -> Option<NameAddr<'_>> {
        parse_name_addr(self.get(self.from)).ok()
    }

    /// To, which parsing has checked.
    pub fn callee(&self) -> Option<NameAddr<'_>> {
        parse_name_addr(self.get(self.to)).ok()
    }

    /// A header that is one number.
    pub fn number(&self, name: Name) -> Option<u32> {
        let value = self.header(name)?;
        let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        crate::uri::parse_number(value.get(..end)?).ok()
    }

    /// The media type of the body, without parameters, lower case.
    pub fn content_type(&self) -> String {
        let value = self.header(Name::ContentType).unwrap_or_default();
        let (kind, _) = crate::uri::cut(value, b';');
        String::from_utf8_lossy(kind.trim_ascii()).to_ascii_lowercase().replace(' ', "")
    }

    /// All headers in order, with long names, as text.
    pub fn headers(&self) -> Vec<crate::api::Header> {
        self.fields
            .iter()
            .map(|f| {
                let name = match f.name {
                    Name::Other => self.text(f.raw_name).into_owned(),
                    name => name.long().to_owned(),
                };
                (name, self.text(f.value).into_owned())
            })
            .collect()
    }
}
