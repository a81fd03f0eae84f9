//! Finding the session description in a body.

use bytes::Bytes;

use crate::message::{Message, Name};
use crate::stream::find;
use crate::uri::{Params, cut, unquote};

/// Parts of a multipart body that are looked at.
const PARTS: usize = 16;

/// The SDP of a message: its body, or the first such part of a multipart body (RFC 5621).
pub(crate) fn sdp_of(message: &Message) -> Option<Bytes> {
    if message.body.is_empty() {
        return None;
    }
    let kind = message.content_type();
    if kind == "application/sdp" {
        return Some(message.body.clone());
    }
    if !kind.starts_with("multipart/") {
        return None;
    }
    let (_, params) = cut(message.header(Name::ContentType)?, b';');
    let boundary = Params::new(params?).filter_map(Result::ok).find(|p| p.is("boundary"))?;
    let mark = format!("--{}", unquote(boundary.value?));
    let mut rest = &message.body[..];
    for _ in 0..PARTS {
        let start = find(rest, mark.as_bytes())? + mark.len();
        rest = rest.get(start..)?;
        if rest.starts_with(b"--") {
            return None;
        }
        let end = find(rest, mark.as_bytes()).unwrap_or(rest.len());
        let part = rest.get(..end)?;
        let head = find(part, b"\r\n\r\n")?;
        let is_sdp = part.get(..head)?.split(|b| *b == b'\n').any(|line| {
            let (name, value) = cut(line, b':');
            let (value, _) = cut(value.unwrap_or_default(), b';');
            let name = name.trim_ascii();
            (name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c"))
                && value.trim_ascii().eq_ignore_ascii_case(b"application/sdp")
        });
        if is_sdp {
            return part.get(head + 4..).map(|body| message.body.slice_ref(body));
        }
        rest = rest.get(end..)?;
    }
    None
}
