//! URIs (RFC 3261 §19.1, RFC 3966), name-addrs and parameter lists, on bytes as they came.

use std::net::IpAddr;

/// What a value is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The part of a URI before its first colon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Well-formed, but nothing we can serve (416).
    Other,
}

/// A URI, borrowed from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uri<'a> {
    pub scheme: Scheme,
    /// User part (escaped, without password), or the number of a `tel:` URI.
    pub user: &'a [u8],
    /// Host name, IPv4 or bracketed IPv6 address; empty for `tel:` and others.
    pub host: &'a [u8],
    pub port: Option<u16>,
    /// After the first `;`, without it.
    pub params: &'a [u8],
    /// After `?`.
    pub headers: Option<&'a [u8]>,
}

impl<'a> Uri<'a> {
    /// The host as an address, where it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        parse_ip(self.host)
    }

    /// The value of a URI parameter; empty for one without value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        Params::new(self.params).find_map(|p| p.ok().filter(|p| p.is(name)).map(|p| p.value.unwrap_or_default()))
    }
}

/// An IPv4 address or a bracketed IPv6 address.
pub(crate) fn parse_ip(host: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(host).ok()?;
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

/// Parses one URI, without surrounding `<>` or white space.
pub(crate) fn parse_uri(text: &[u8]) -> Result<Uri<'_>, Malformed> {
    if text.is_empty() || text.iter().any(|b| b.is_ascii_whitespace() || b.is_ascii_control() || b"<>\"".contains(b)) {
        return Err(Malformed);
    }
    let colon = text.iter().position(|b| *b == b':').ok_or(Malformed)?;
    let (scheme, rest) = (&text[..colon], &text[colon + 1..]);
    let good = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    if !good || rest.is_empty() {
        return Err(Malformed);
    }
    let scheme = match scheme {
        s if s.eq_ignore_ascii_case(b"sip") => Scheme::Sip,
        s if s.eq_ignore_ascii_case(b"sips") => Scheme::Sips,
        s if s.eq_ignore_ascii_case(b"tel") => Scheme::Tel,
        _ => Scheme::Other,
    };
    match scheme {
        Scheme::Other => Ok(Uri { scheme, user: b"", host: b"", port: None, params: b"", headers: None }),
        Scheme::Tel => {
            let (number, params) = cut(rest, b';');
            let digits = number.strip_prefix(b"+").unwrap_or(number);
            if digits.is_empty() || !digits.iter().all(|b| b.is_ascii_hexdigit() || b"*#-.()".contains(b)) {
                return Err(Malformed);
            }
            check_params(params)?;
            Ok(Uri { scheme, user: number, host: b"", port: None, params: params.unwrap_or_default(), headers: None })
        }
        Scheme::Sip | Scheme::Sips => parse_sip(scheme, rest),
    }
}

fn parse_sip(scheme: Scheme, rest: &[u8]) -> Result<Uri<'_>, Malformed> {
    // `;`, `?` and `/` are allowed in a user part, `@` nowhere else: it is looked for first.
    let (user, after) = match rest.iter().position(|b| *b == b'@') {
        Some(at) => {
            let (user, _password) = cut(&rest[..at], b':');
            if user.is_empty() {
                return Err(Malformed);
            }
            check_escapes(&rest[..at])?;
            (user, &rest[at + 1..])
        }
        None => (&b""[..], rest),
    };
    let (after, headers) = cut(after, b'?');
    let (hostport, params) = cut(after, b';');
    check_params(params)?;
    if let Some(headers) = headers {
        check_escapes(headers)?;
    }
    let (host, port) = parse_host_port(hostport)?;
    Ok(Uri { scheme, user, host, port, params: params.unwrap_or_default(), headers })
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
pub(crate) fn parse_host_port(text: &[u8]) -> Result<(&[u8], Option<u16>), Malformed> {
    let (host, port) = if text.first() == Some(&b'[') {
        let end = text.iter().position(|b| *b == b']').ok_or(Malformed)?;
        let (host, rest) = text.split_at(end + 1);
        parse_ip(host).ok_or(Malformed)?;
        match rest {
            [] => (host, None),
            [b':', port @ ..] => (host, Some(port)),
            _ => return Err(Malformed),
        }
    } else {
        let (host, port) = cut(text, b':');
        let good = host.first().is_some_and(u8::is_ascii_alphanumeric)
            && host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b));
        if !good {
            return Err(Malformed);
        }
        (host, port)
    };
    let port = match port {
        None => None,
        Some(digits) => match parse_number(digits)? {
            0 => return Err(Malformed),
            n => Some(u16::try_from(n).map_err(|_| Malformed)?),
        },
    };
    Ok((host, port))
}

/// Digits only, below 2^32.
pub(crate) fn parse_number(digits: &[u8]) -> Result<u32, Malformed> {
    if digits.is_empty() || digits.len() > 64 {
        return Err(Malformed);
    }
    digits.iter().try_fold(0u32, |sum, b| {
        let digit = b.is_ascii_digit().then(|| u32::from(b - b'0')).ok_or(Malformed)?;
        sum.checked_mul(10).and_then(|s| s.checked_add(digit)).ok_or(Malformed)
    })
}

fn check_params(params: Option<&[u8]>) -> Result<(), Malformed> {
    let Some(params) = params else { return Ok(()) };
    for part in params.split(|b| *b == b';') {
        let (name, _) = cut(part, b'=');
        if name.is_empty() {
            return Err(Malformed);
        }
        check_escapes(part)?;
    }
    Ok(())
}

/// Every `%` is followed by two hex digits.
fn check_escapes(text: &[u8]) -> Result<(), Malformed> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => rest = &rest[at + 3..],
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

/// Resolves `%xx`; bytes that are no UTF-8 then become U+FFFD.
pub(crate) fn unescape(text: &[u8]) -> String {
    if !text.contains(&b'%') {
        return String::from_utf8_lossy(text).into_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Splits at the first `separator`; it is in neither part.
pub(crate) fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|b| *b == separator) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// One `name` or `name=value`; a quoted value keeps its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Param<'a> {
    pub name: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl Param<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Parameters separated by `;` outside quotes, with any white space around.
pub(crate) struct Params<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
}

impl<'a> Params<'a> {
    /// `text` is what follows the first `;`. Empty text: no parameters.
    pub fn new(text: &'a [u8]) -> Self {
        Self::separated(text, b';')
    }

    /// The same with another separator (`,` in challenges).
    pub fn separated(text: &'a [u8], separator: u8) -> Self {
        Self { rest: (!text.trim_ascii().is_empty()).then_some(text), separator }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<Param<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest?;
        let part = match split_at_unquoted(text, self.separator) {
            Err(Malformed) => {
                self.rest = None;
                return Some(Err(Malformed));
            }
            Ok((part, rest)) => {
                self.rest = rest;
                part
            }
        };
        let (name, value) = cut(part, b'=');
        let (name, value) = (name.trim_ascii(), value.map(<[u8]>::trim_ascii));
        let good = !name.is_empty() && name.iter().all(|b| is_token(*b)) && value != Some(b"");
        Some(if good { Ok(Param { name, value }) } else { Err(Malformed) })
    }
}

/// A character of a token (RFC 3261 §25.1).
pub(crate) fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b)
}

/// The text before the first `separator` outside quotes and `<>`, and the text after it.
pub(crate) fn split_at_unquoted(text: &[u8], separator: u8) -> Result<(&[u8], Option<&[u8]>), Malformed> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, b) in text.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'<' => angle = true,
            b'>' => angle = false,
            b if *b == separator && !angle => return Ok((&text[..at], Some(&text[at + 1..]))),
            _ => {}
        }
    }
    if quoted || angle { Err(Malformed) } else { Ok((text, None)) }
}

/// A quoted string without its quotes and escapes; other text as it is.
pub(crate) fn unquote(text: &[u8]) -> String {
    let Some(inner) = text.strip_prefix(b"\"").and_then(|t| t.strip_suffix(b"\"")) else {
        return String::from_utf8_lossy(text).into_owned();
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut escaped = false;
    for b in inner {
        if *b == b'\\' && !escaped {
            escaped = true;
        } else {
            out.push(*b);
            escaped = false;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `"name" <uri>;params` or `uri;params` (then the parameters are the header's, §20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameAddr<'a> {
    /// As it stands, with quotes.
    pub display: &'a [u8],
    /// The URI as text.
    pub text: &'a [u8],
    pub uri: Uri<'a>,
    /// The header's parameters, after the first `;`.
    pub params: &'a [u8],
}

impl<'a> NameAddr<'a> {
    /// A header parameter's value; empty for one without value.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        Params::new(self.params).find_map(|p| p.ok().filter(|p| p.is(name)).map(|p| p.value.unwrap_or_default()))
    }
}

/// Parses a whole From, To, Contact, Route or Refer-To value (one element of a list).
pub(crate) fn parse_name_addr(value: &[u8]) -> Result<NameAddr<'_>, Malformed> {
    let value = value.trim_ascii();
    let (display, after) = if value.first() == Some(&b'"') {
        let mut escaped = false;
        let close = value.iter().enumerate().skip(1).find(|(_, b)| match b {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                escaped = true;
                false
            }
            b => **b == b'"',
        });
        let (close, _) = close.ok_or(Malformed)?;
        let (display, after) = value.split_at(close + 1);
        let after = after.trim_ascii_start();
        if after.first() != Some(&b'<') {
            return Err(Malformed);
        }
        (display, after)
    } else {
        match value.iter().position(|b| *b == b'<') {
            None => (&b""[..], value),
            Some(at) => {
                let display = value[..at].trim_ascii();
                if !display.iter().all(|b| is_token(*b) || b.is_ascii_whitespace()) {
                    return Err(Malformed);
                }
                (display, &value[at..])
            }
        }
    };
    let (text, params) = match after.strip_prefix(b"<") {
        Some(inner) => {
            let close = inner.iter().position(|b| *b == b'>').ok_or(Malformed)?;
            let rest = inner[close + 1..].trim_ascii();
            let params = match rest {
                [] => None,
                [b';', params @ ..] => Some(params),
                _ => return Err(Malformed),
            };
            (&inner[..close], params)
        }
        None => {
            // Without `<>` a `;`, `?` or `,` would be ambiguous: `?` and `,` are not allowed.
            let (text, params) = cut(after, b';');
            let text = text.trim_ascii();
            let host = text.iter().position(|b| *b == b'@').map_or(text, |at| &text[at..]);
            if host.iter().any(|b| matches!(b, b'?' | b',')) {
                return Err(Malformed);
            }
            (text, params)
        }
    };
    let uri = parse_uri(text)?;
    let params = match params {
        Some(params) if params.trim_ascii().is_empty() => return Err(Malformed),
        Some(params) => params,
        None => b"",
    };
    for param in Params::new(params) {
        param?;
    }
    Ok(NameAddr { display, text, uri, params })
}

/// The elements of a comma-separated list, quotes and `<>` respected.
pub(crate) struct List<'a>(Option<&'a [u8]>);

impl<'a> List<'a> {
    pub fn new(value: &'a [u8]) -> Self {
        Self(Some(value))
    }
}

impl<'a> Iterator for List<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0?;
        match split_at_unquoted(text, b',') {
            Ok((part, rest)) => {
                self.0 = rest;
                Some(Ok(part.trim_ascii()))
            }
            Err(error) => {
                self.0 = None;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_of_every_kind() {
        let uri = parse_uri(b"sip:alice:secret@atlanta.com:5070;transport=tcp;lr?subject=x").unwrap();
        assert_eq!(
            (uri.scheme, uri.user, uri.host, uri.port),
            (Scheme::Sip, &b"alice"[..], &b"atlanta.com"[..], Some(5070))
        );
        assert_eq!(
            (uri.param("transport"), uri.param("LR"), uri.headers),
            (Some(&b"tcp"[..]), Some(&b""[..]), Some(&b"subject=x"[..]))
        );
        let uri = parse_uri(b"sip:bob@[2001:db8::1]:5061").unwrap();
        assert_eq!((uri.ip(), uri.port), ("2001:db8::1".parse().ok(), Some(5061)));
        let uri = parse_uri(b"tel:+44-20-7946;phone-context=x").unwrap();
        assert_eq!((uri.scheme, uri.user), (Scheme::Tel, &b"+44-20-7946"[..]));
        assert_eq!(parse_uri(b"nobody:opaque").unwrap().scheme, Scheme::Other);
        let semi = parse_uri(b"sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(unescape(semi.user), "user;par=u@example.net");
        for wrong in [
            "",
            "sip:",
            "sip",
            ":x",
            "<sip:a@b>",
            "sip:a b",
            "sip:@b",
            "sip:a@",
            "sip:a@b:0",
            "sip:a@b:65536",
            "sip:a@b:x",
            "sip:[::1",
            "sip:[zz]",
            "sip:a@b;",
            "sip:a@b;;lr",
            "sip:a%4@b",
            "sip:a@b;x=%zz",
            "tel:",
            "tel:+",
            "tel:abc!",
            "sip:a@b@c",
        ] {
            assert_eq!(parse_uri(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn name_addrs_of_every_kind() {
        let party = parse_name_addr(br#" "J \"Rosen\" <x>" <sip:j@example.com;a=b> ; tag = 98 "#).unwrap();
        assert_eq!(unquote(party.display), r#"J "Rosen" <x>"#);
        assert_eq!((party.text, party.param("tag")), (&b"sip:j@example.com;a=b"[..], Some(&b"98"[..])));
        let party = parse_name_addr(b"sip:j@example.com;tag=1").unwrap();
        assert_eq!((party.text, party.param("tag")), (&b"sip:j@example.com"[..], Some(&b"1"[..])));
        assert_eq!(parse_name_addr(b"A. Bell<sip:a@b>").unwrap().display, b"A. Bell");
        for wrong in [
            r#""Mr. J. User <sip:j@example.com>"#,
            "Bell, A <sip:a@b>",
            "<sip:a@b>;;;",
            "<sip:a@b",
            "<sip:a@b> x",
            "< sip:a@b >",
            "sip:a@b?Route=x",
            "<sip:a@b>;tag=",
            "\"x\" sip:a@b",
            "",
            "*",
        ] {
            assert_eq!(parse_name_addr(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
    }

    #[test]
    fn lists_respect_quotes_and_brackets() {
        let parts: Vec<_> = List::new(br#""a,b" <sip:x,y@h>;q=1, <sip:z@h>"#).map(Result::unwrap).collect();
        assert_eq!(parts, [&br#""a,b" <sip:x,y@h>;q=1"#[..], b"<sip:z@h>"]);
        assert!(List::new(b"\"a").any(|p| p.is_err()));
    }
}
