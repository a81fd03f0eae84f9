//! Strikes out of a message what a capture must not hold. Lengths stay as they are.

/// Parameters of credentials and challenges that help to guess a password.
const DIGEST: [&str; 2] = ["response=\"", "nonce=\""];

/// A copy without credentials, keys and digits.
pub fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let mut digits = false;
    for (start, end) in lines(bytes, 0, head) {
        let line = String::from_utf8_lossy(bytes.get(start..end).unwrap_or_default()).to_ascii_lowercase();
        let name = line.split(':').next().unwrap_or_default().trim_end();
        match name {
            "authorization" | "proxy-authorization" | "www-authenticate" | "proxy-authenticate" => {
                for param in DIGEST {
                    quoted(&mut out, start, &line, param);
                }
            }
            "x-hotline-ring" => strike(&mut out, start + name.len() + 1, end),
            "content-type" | "c" => digits |= line.contains("dtmf"),
            _ => {}
        }
    }
    for (start, end) in lines(bytes, head, bytes.len()) {
        let line = String::from_utf8_lossy(bytes.get(start..end).unwrap_or_default()).to_ascii_lowercase();
        if let Some(at) = line.find("inline:").filter(|_| line.starts_with("a=crypto:")) {
            strike(&mut out, start + at + 7, end);
        }
        if digits {
            let value = line.find('=').map_or(0, |at| at + 1);
            if line.starts_with("signal") || !line.contains('=') {
                strike(&mut out, start + value, end);
            }
        }
    }
    out
}

/// Where lines begin and end, without their line ends.
fn lines(bytes: &[u8], from: usize, to: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut start = from;
    for (offset, part) in bytes.get(from..to).unwrap_or_default().split(|b| *b == b'\n').map(|p| (p.len(), p)) {
        let end = start + part.strip_suffix(b"\r").map_or(offset, <[u8]>::len);
        found.push((start, end));
        start += offset + 1;
    }
    found
}

/// Strikes out the value after `param` up to its quote.
fn quoted(out: &mut [u8], start: usize, line: &str, param: &str) {
    // Invalid bytes of a line would move what follows; such a line is struck out whole.
    if line.contains('\u{FFFD}') {
        strike(out, start, start + line.len());
        return;
    }
    for (at, _) in line.match_indices(param) {
        let from = at + param.len();
        let length = line.get(from..).and_then(|rest| rest.find('"')).unwrap_or(line.len() - from);
        strike(out, start + from, start + from + length);
    }
}

fn strike(out: &mut [u8], from: usize, to: usize) {
    let to = to.min(out.len());
    for byte in out.get_mut(from.min(to)..to).unwrap_or_default() {
        if !matches!(byte, b'\r' | b'\n') {
            *byte = b'x';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_keys_and_digits_are_struck_out_and_nothing_else() {
        let message = b"INFO sip:600@h SIP/2.0\r\nFrom: <sip:+8613800138000@h>;tag=1\r\n\
            Authorization: Digest username=\"fang\", nonce=\"n1\", response=\"abc\"\r\nContent-Type: application/dtmf-relay\r\n\r\n\
            Signal=5\r\nDuration=160\r\n";
        let out = masked(message);
        assert_eq!(out.len(), message.len());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("username=\"fang\", nonce=\"xx\", response=\"xxx\"\r\n"), "{text}");
        assert!(text.ends_with("Signal=x\r\nDuration=160\r\n") && text.contains("+8613800138000"), "{text}");
        let offer = masked(
            b"INVITE sip:x SIP/2.0\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AbC+/1\r\nm=audio 1 RTP/AVP 0\r\n",
        );
        let text = String::from_utf8(offer).unwrap();
        assert!(text.contains("inline:xxxxxx\r\nm=audio 1"), "{text}");
        for odd in [&b""[..], b"\r\n\r\n", b"Authorization: \xFF response=\"a\"", b"c: dtmf\r\n\r\n5"] {
            assert_eq!(masked(odd).len(), odd.len());
        }
        assert!(masked(b"c: dtmf\r\n\r\n5").ends_with(b"x"));
    }
}
