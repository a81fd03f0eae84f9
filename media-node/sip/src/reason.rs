//! Why a call ends: the Reason header (RFC 3326), in responses too (RFC 6432).

use std::fmt;

use crate::message::{Message, Name};
use crate::uri::{List, Params, cut, parse_number, unquote};

/// Reasons read of one message at most.
const MOST: usize = 4;
/// Characters of a reason's text that are kept.
const TEXT_CHARS: usize = 64;
/// The highest status of SIP (RFC 3261 §21).
const HIGHEST_STATUS: u32 = 699;
/// The highest cause of Q.850.
const HIGHEST_CAUSE: u32 = 127;

/// Whose numbers a cause is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ITU-T Q.850, 1 to 127.
    Q850,
    /// The statuses of SIP, 100 to 699.
    Sip,
}

/// Why a call ends (RFC 3326 §2). Written by its `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What `cause` is a number of.
    pub protocol: Protocol,
    /// The number.
    pub cause: u16,
    /// In words; may be empty.
    pub text: String,
}

impl Reason {
    /// A cause of Q.850.
    pub fn q850(cause: u16, text: &str) -> Self {
        Self { protocol: Protocol::Q850, cause, text: text.into() }
    }

    /// A status of SIP.
    pub fn sip(cause: u16, text: &str) -> Self {
        Self { protocol: Protocol::Sip, cause, text: text.into() }
    }

    /// The cause of Q.850 among some reasons.
    pub fn q850_of(reasons: &[Reason]) -> Option<u16> {
        reasons.iter().find(|reason| reason.protocol == Protocol::Q850).map(|reason| reason.cause)
    }

    /// The header value for some reasons; `None` where there are none.
    pub fn header(reasons: &[Reason]) -> Option<String> {
        let values: Vec<String> = reasons.iter().take(MOST).map(ToString::to_string).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Reads one header value; what is malformed, of another protocol or repeats a protocol is left
    /// out (RFC 3326 §2: one value a protocol).
    fn read_into(reasons: &mut Vec<Reason>, value: &[u8]) {
        for one in List::new(value).take(2 * MOST).filter_map(Result::ok).filter_map(read) {
            let known = reasons.iter().any(|reason| reason.protocol == one.protocol);
            if !known && reasons.len() < MOST {
                reasons.push(one);
            }
        }
    }
}

/// The reasons that a message gives.
pub(crate) fn reasons_of(message: &Message) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for value in message.all(Name::Reason).take(2 * MOST) {
        Reason::read_into(&mut reasons, value);
    }
    reasons
}

fn read(value: &[u8]) -> Option<Reason> {
    let (protocol, params) = cut(value, b';');
    let protocol = match protocol.trim_ascii() {
        name if name.eq_ignore_ascii_case(b"Q.850") => Protocol::Q850,
        name if name.eq_ignore_ascii_case(b"SIP") => Protocol::Sip,
        _ => return None,
    };
    let (mut cause, mut text) = (None, String::new());
    for param in Params::new(params?) {
        // One malformed parameter makes the whole value doubtful.
        let param = param.ok()?;
        let Some(given) = param.value else { continue };
        if param.is("cause") {
            cause = Some(parse_number(given).ok()?);
        } else if param.is("text") {
            text = kept(&unquote(given));
        }
    }
    let good = match protocol {
        Protocol::Q850 => 1..=HIGHEST_CAUSE,
        Protocol::Sip => 100..=HIGHEST_STATUS,
    };
    let cause = u16::try_from(cause.filter(|cause| good.contains(cause))?).ok()?;
    Some(Reason { protocol, cause, text })
}

/// The part of a text that is kept and can be written again.
fn kept(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect();
    kept.trim().to_string()
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Q850 => "Q.850",
            Protocol::Sip => "SIP",
        };
        write!(f, "{protocol};cause={}", self.cause)?;
        let text = kept(&self.text);
        if !text.is_empty() {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, ";text=\"{quoted}\"")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(values: &[&str]) -> String {
        let mut reasons = Vec::new();
        for value in values {
            Reason::read_into(&mut reasons, value.as_bytes());
        }
        Reason::header(&reasons).unwrap_or_default()
    }

    #[test]
    fn every_spelling_is_read() {
        assert_eq!(all(&["Q.850;cause=17;text=\"User busy\""]), "Q.850;cause=17;text=\"User busy\"");
        assert_eq!(all(&["q.850 ; TEXT = \"a, \\\"b\\\"; c\" ;cause = 16"]), "Q.850;cause=16;text=\"a, \\\"b\\\"; c\"");
        assert_eq!(
            all(&["SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26"]),
            "SIP;cause=200;text=\"Call completed elsewhere\", Q.850;cause=26"
        );
        assert_eq!(all(&["SIP;cause=600", "Q.850;cause=31;x;y=z"]), "SIP;cause=600, Q.850;cause=31");
        assert_eq!(all(&["Q.850;cause=17", "Q.850;cause=16"]), "Q.850;cause=17", "one a protocol");
        assert_eq!(
            all(&["Preemption;cause=1, Q.850;cause=38;text=out-of-order"]),
            "Q.850;cause=38;text=\"out-of-order\""
        );
    }

    #[test]
    fn garbage_is_left_out_and_bounded() {
        for wrong in [
            "",
            ";",
            "Q.850",
            "Q.850;text=\"x\"",
            "Q.850;cause",
            "Q.850;cause=",
            "Q.850;cause=0",
            "Q.850;cause=128",
            "Q.850;cause=-1",
            "Q.850;cause=1x",
            "Q.850;cause=99999999999999999999",
            "SIP;cause=99",
            "SIP;cause=700",
            "Q.850;cause=16;text=\"open",
            "no PRACK",
            ",,,,",
        ] {
            assert_eq!(all(&[wrong]), "", "{wrong}");
        }
        let long = format!("Q.850;cause=16;text=\"{}\"", "\u{7}é".repeat(400));
        assert_eq!(all(&[&long]), format!("Q.850;cause=16;text=\"{}\"", "é".repeat(64)));
        let many = format!("{}Q.850;cause=16", "x;cause=1,".repeat(500));
        assert_eq!(all(&[&many]), "", "what stands behind so many is not looked for");
        let mut bytes = Vec::new();
        Reason::read_into(&mut bytes, b"Q.850;cause=16;text=\"\xff\xfe\"");
        assert_eq!(bytes, [Reason::q850(16, "\u{fffd}\u{fffd}")]);
    }

    #[test]
    fn nothing_breaks_out_of_the_header() {
        let reason = Reason::sip(500, "a\"\r\nVia: b");
        assert_eq!(reason.to_string(), "SIP;cause=500;text=\"a\\\"Via: b\"");
    }
}
