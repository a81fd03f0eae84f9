//! Cutting a byte stream into messages (RFC 3261 §18.3) and finding a message's shard.

use bytes::Bytes;

/// The largest message accepted, bytes.
pub const MESSAGE_BYTES: usize = 65_536;

/// What a stream gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Bytes),
    /// CRLF CRLF (RFC 5626 §4.4.1): answer with one CRLF.
    Ping,
}

/// The stream can no longer be cut into messages: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Start line and headers over the limit, or a message over 64 kB.
    #[error("message over 65536 bytes")]
    TooLong,
    /// No Content-Length, several, or one that is no number (RFC 3261 §20.14).
    #[error("a message on a stream needs exactly one Content-Length, a number")]
    ContentLength,
}

/// Collects the bytes of one stream connection.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already searched for the end of the headers.
    searched: usize,
}

impl Framer {
    /// Adds bytes as they came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether nothing is waiting for its rest.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole message or ping; `None`: more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        // Leading CRLFs are keep-alives: two are a ping, one alone is a pong or padding (§7.5).
        let lead = self.buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        if lead > 0 && self.searched == 0 {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.drain(..4);
                return Ok(Some(Frame::Ping));
            }
            if lead < self.buffer.len() {
                self.buffer.drain(..lead);
            } else if lead < 4 {
                return Ok(None);
            } else {
                return Err(FrameError::ContentLength);
            }
        }
        let from = self.searched.saturating_sub(3);
        let Some(end) = find(self.buffer.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > MESSAGE_BYTES { Err(FrameError::TooLong) } else { Ok(None) };
        };
        let head = from + end + 4;
        let length = content_length(self.buffer.get(..head).unwrap_or_default())?;
        let total = head + length;
        if total > MESSAGE_BYTES {
            return Err(FrameError::TooLong);
        }
        if self.buffer.len() < total {
            return Ok(None);
        }
        let rest = self.buffer.split_off(total);
        let message = std::mem::replace(&mut self.buffer, rest);
        self.searched = 0;
        Ok(Some(Frame::Message(Bytes::from(message))))
    }
}

/// The one Content-Length of a header block.
fn content_length(head: &[u8]) -> Result<usize, FrameError> {
    let mut found = None;
    for (name, value) in header_lines(head) {
        if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"l") {
            let text = std::str::from_utf8(value.trim_ascii()).map_err(|_| FrameError::ContentLength)?;
            if found.is_some() || text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(FrameError::ContentLength);
            }
            found = Some(text.parse().map_err(|_| FrameError::TooLong)?);
        }
    }
    match found {
        Some(length) if length > MESSAGE_BYTES => Err(FrameError::TooLong),
        Some(length) => Ok(length),
        None => Err(FrameError::ContentLength),
    }
}

/// Name and first value line of each header, after the start line.
fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    head.split(|b| *b == b'\n').skip(1).filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        let (name, rest) = line.split_at(colon);
        // A continuation line starts with white space and is no header.
        if name.first().is_some_and(u8::is_ascii_whitespace) {
            return None;
        }
        Some((name.trim_ascii_end(), rest.get(1..)?))
    })
}

/// Which of `count` shards owns a message: a hash of its Call-ID, 0 where it has none.
///
/// Works on whole messages, valid or not, in the time of finding one header.
pub fn shard_of(message: &[u8], count: usize) -> usize {
    let mut lines = message.split(|b| *b == b'\n').skip(1);
    while let Some(line) = lines.next() {
        if line.iter().all(u8::is_ascii_whitespace) {
            break;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, rest) = line.split_at(colon);
        if name.first().is_some_and(u8::is_ascii_whitespace) {
            continue;
        }
        let name = name.trim_ascii_end();
        if name.eq_ignore_ascii_case(b"call-id") || name.eq_ignore_ascii_case(b"i") {
            let mut value = rest.get(1..).unwrap_or_default().trim_ascii();
            if value.is_empty() {
                // Folded right after the colon.
                value = lines.next().unwrap_or_default().trim_ascii();
            }
            return shard_of_call_id(value, count);
        }
    }
    0
}

/// The shard of a Call-ID (FNV-1a, so that every process agrees).
pub fn shard_of_call_id(call_id: &[u8], count: usize) -> usize {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in call_id {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
    }
    // The low bits of FNV are its weakest; fold the high ones in.
    let mixed = hash ^ (hash >> 32);
    (mixed % count.max(1) as u64) as usize
}

/// Where the index of an endpoint lies in the handles of its calls.
pub(crate) const SHARD_SHIFT: u32 = 48;

/// The shard whose endpoint made a tag for one of its calls; `None`: it is no such tag.
pub fn shard_of_tag(tag: &[u8]) -> Option<usize> {
    let (handle, _) = std::str::from_utf8(tag).ok()?.split_once('-')?;
    usize::try_from(u64::from_str_radix(handle, 16).ok()? >> SHARD_SHIFT).ok()
}

/// The first place of `needle`.
pub(crate) fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x1\r\nl : 3\r\n\r\nabc";

    #[test]
    fn cuts_messages_however_the_bytes_arrive() {
        let mut stream = b"\r\n\r\n".to_vec();
        stream.extend_from_slice(OPTIONS);
        stream.extend_from_slice(b"\r\n");
        stream.extend_from_slice(OPTIONS);
        for step in 1..stream.len() {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for part in stream.chunks(step) {
                framer.push(part);
                while let Some(frame) = framer.next_frame().unwrap() {
                    frames.push(frame);
                }
            }
            let message = Frame::Message(Bytes::from_static(OPTIONS));
            assert_eq!(frames, [Frame::Ping, message.clone(), message], "in parts of {step}");
            assert!(framer.is_empty());
        }
    }

    #[test]
    fn a_stream_without_length_is_closed() {
        for (text, error) in [
            ("OPTIONS sip:a SIP/2.0\r\n\r\n", FrameError::ContentLength),
            ("OPTIONS sip:a SIP/2.0\r\nl: 1\r\nContent-Length: 1\r\n\r\n", FrameError::ContentLength),
            ("OPTIONS sip:a SIP/2.0\r\nl: -1\r\n\r\n", FrameError::ContentLength),
            ("OPTIONS sip:a SIP/2.0\r\nl: 99999999999999999999\r\n\r\n", FrameError::TooLong),
            ("OPTIONS sip:a SIP/2.0\r\nl: 65536\r\n\r\n", FrameError::TooLong),
        ] {
            let mut framer = Framer::default();
            framer.push(text.as_bytes());
            assert_eq!(framer.next_frame(), Err(error), "{text}");
        }
        let mut framer = Framer::default();
        framer.push(&vec![b'a'; MESSAGE_BYTES + 1]);
        assert_eq!(framer.next_frame(), Err(FrameError::TooLong));
    }

    #[test]
    fn the_shard_follows_the_call_id_however_it_is_written() {
        let plain = shard_of(b"BYE sip:a SIP/2.0\r\nVia: x\r\nCall-ID: abc@h\r\n\r\n", 7);
        assert_eq!(plain, shard_of_call_id(b"abc@h", 7));
        assert_eq!(plain, shard_of(b"SIP/2.0 200 OK\r\ni :abc@h \r\n\r\n", 7));
        assert_eq!(plain, shard_of(b"SIP/2.0 200 OK\r\nI:\r\n abc@h\r\n\r\n", 7));
        assert_eq!(shard_of(b"garbage", 7), 0);
        assert_eq!(shard_of(b"A B C\r\n\r\nCall-ID: abc@h\r\n", 7), 0, "the body does not count");
    }
}
