//! Files: uploaded prompts, and what a crash left of a recording.

use hotline_rtp::spool::format::{Read, Record, SpoolHeader, read_record, split_frame};
use hotline_rtp::wav as rtp_wav;

use crate::upload;

/// A WAV file as an upload of the API and as a prompt of the node.
pub fn wav(data: &[u8]) {
    if let Ok(samples) = upload::read(data) {
        assert!(samples.len() >= 300 && samples.len() <= 300 * 8_000 + 8_000, "{}", samples.len());
    }
    if let Ok(samples) = rtp_wav::read(data) {
        let written = rtp_wav::write(&samples, 1);
        let again = written.ok().and_then(|bytes| rtp_wav::read(&bytes).ok());
        assert_eq!(again, Some(samples));
    }
    let _ = rtp_wav::read_mulaw(data);
}

/// A spool file as the uploader finds it after a crash.
pub fn spool(data: &[u8]) {
    let (frame_len, mut rest) = match SpoolHeader::read(data) {
        Ok(Some((header, length))) => (header.frame_len(), data.get(length..).unwrap_or_default()),
        Ok(None) => return,
        // Records are read for their own sake as well: a checksum hides them from the fuzzer.
        Err(_) => (161 * (1 + data.len() % 2), data),
    };
    while let Read::Record(record, length) = read_record(rest, frame_len) {
        assert!(length > 0);
        if let Record::Frames { bytes, .. } = record {
            assert!(bytes.chunks(frame_len).all(|frame| split_frame(frame).is_some()));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
}
