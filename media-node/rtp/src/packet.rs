//! RTP headers: read with `rtp-rs`, written and patched in place (RFC 3550 §5.1).

use rtp_rs::RtpReader;

/// Bytes of a header without extension or contributing sources.
pub const HEADER_LEN: usize = 12;
/// Comfort noise (RFC 3389).
pub const COMFORT_NOISE_PT: u8 = 13;

/// What a received packet says, with its payload as a range of the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in samples.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload starts, in bytes.
    pub payload_start: usize,
    /// Where the payload ends (padding excluded).
    pub payload_end: usize,
}

impl Header {
    /// Reads a datagram; `None` where it is no RTP version 2 packet.
    pub fn read(datagram: &[u8]) -> Option<Header> {
        let reader = RtpReader::new(datagram).ok()?;
        let payload = reader.payload();
        let padding = usize::from(reader.padding().unwrap_or(0));
        let payload_end = datagram.len().checked_sub(padding)?;
        let payload_start = payload_end.checked_sub(payload.len())?;
        Some(Header {
            payload_type: reader.payload_type(),
            marker: reader.mark(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload_start,
            payload_end,
        })
    }
}

/// The fields that change on the way through a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in samples.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Patch {
    /// Overwrites these fields of a packet; version, padding, extension and sources stay. A
    /// datagram shorter than a header is left alone.
    pub fn apply(&self, datagram: &mut [u8]) {
        let Some(header) = datagram.get_mut(1..HEADER_LEN) else {
            return;
        };
        header[0] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7F);
        header[1..3].copy_from_slice(&self.sequence.to_be_bytes());
        header[3..7].copy_from_slice(&self.timestamp.to_be_bytes());
        header[7..11].copy_from_slice(&self.ssrc.to_be_bytes());
    }

    /// Writes a whole plain header.
    pub fn write(&self, header: &mut [u8; HEADER_LEN]) {
        header[0] = 0x80;
        self.apply(header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATCH: Patch =
        Patch { payload_type: 101, marker: true, sequence: 65_535, timestamp: 0xFFFF_FF60, ssrc: 0xDEAD_BEEF };

    #[test]
    fn what_was_written_is_read() {
        let mut packet = vec![0; HEADER_LEN + 4];
        PATCH.write((&mut packet[..HEADER_LEN]).try_into().unwrap());
        let header = Header::read(&packet).unwrap();
        assert_eq!(
            header,
            Header {
                payload_type: 101,
                marker: true,
                sequence: 65_535,
                timestamp: 0xFFFF_FF60,
                ssrc: 0xDEAD_BEEF,
                payload_start: 12,
                payload_end: 16
            }
        );
    }

    #[test]
    fn padding_extension_and_sources_are_no_payload() {
        // Version 2, padding, extension, one source; a one-word extension; 3 bytes of payload, 2 of padding.
        let mut packet = vec![0xB1, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
        packet.extend([1, 2, 3, 4]);
        packet.extend([0xBE, 0xDE, 0, 1, 7, 7, 7, 7]);
        packet.extend([10, 11, 12, 0, 2]);
        let header = Header::read(&packet).unwrap();
        assert_eq!(&packet[header.payload_start..header.payload_end], [10, 11, 12]);
        PATCH.apply(&mut packet);
        let patched = Header::read(&packet).unwrap();
        assert_eq!((patched.payload_start, patched.payload_end), (header.payload_start, header.payload_end));
        assert_eq!((patched.sequence, patched.ssrc, patched.payload_type), (65_535, 0xDEAD_BEEF, 101));
    }

    #[test]
    fn what_is_no_rtp_is_refused() {
        for bad in [&[][..], &[0x80; 11], &[0x40; 40], &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200][..], &[0x9F; 20]] {
            assert_eq!(Header::read(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn random_datagrams_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            if let Some(header) = Header::read(&bytes) {
                prop_assert!(header.payload_start <= header.payload_end && header.payload_end <= bytes.len());
            }
            PATCH.apply(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = 0x80 | (*first & 0x3F);
            }
            if let Some(header) = Header::read(&bytes) {
                prop_assert!(header.payload_start <= header.payload_end && header.payload_end <= bytes.len());
            }
        }
    }
}
