//! RTCP: sender and receiver reports, read and written (RFC 3550 §6).

/// Longest compound packet written here.
pub const MAX_REPORT_LEN: usize = 96;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
/// Reports and packets looked at in one datagram.
const MAX_PARTS: usize = 32;

/// What one source says about another's stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose stream is reported on.
    pub ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Lost in all; 24 bits on the wire.
    pub lost: u32,
    /// Highest sequence number received, with cycles.
    pub highest_sequence: u32,
    /// Samples.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last sender report.
    pub last_report: u32,
    /// Since that came, in 1/65,536 s.
    pub delay_since: u32,
}

/// The sender's half of a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time, 32.32 bits.
    pub ntp: u64,
    /// The same moment on the RTP clock.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
}

/// What a compound packet said that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compound {
    /// The reporting source.
    pub ssrc: u32,
    /// From a sender report.
    pub sender: Option<SenderInfo>,
    /// The block about the source asked for.
    pub block: Option<ReportBlock>,
    /// The source leaves.
    pub bye: bool,
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(4)?;
    Some(u32::from_be_bytes(bytes.get(start..start + 4)?.try_into().ok()?))
}

fn block(bytes: &[u8]) -> Option<ReportBlock> {
    let loss = word(bytes, 1)?;
    Some(ReportBlock {
        ssrc: word(bytes, 0)?,
        fraction_lost: (loss >> 24) as u8,
        lost: loss & 0x00FF_FFFF,
        highest_sequence: word(bytes, 2)?,
        jitter: word(bytes, 3)?,
        last_report: word(bytes, 4)?,
        delay_since: word(bytes, 5)?,
    })
}

/// Reads a compound packet and picks the report about `own_ssrc`; `None` where it is not valid
/// (RFC 3550 appendix A.2).
pub fn read(datagram: &[u8], own_ssrc: u32) -> Option<Compound> {
    let mut found = Compound::default();
    let mut rest = datagram;
    for part in 0..MAX_PARTS {
        if rest.is_empty() {
            break;
        }
        let head = rest.get(..4)?;
        let (flags, kind) = (head[0], head[1]);
        let length = (usize::from(u16::from_be_bytes([head[2], head[3]])) + 1) * 4;
        let body = rest.get(4..length)?;
        if flags >> 6 != 2 || (part == 0 && !matches!(kind, SENDER_REPORT | RECEIVER_REPORT)) {
            return None;
        }
        let count = usize::from(flags & 31);
        match kind {
            SENDER_REPORT | RECEIVER_REPORT => {
                found.ssrc = word(body, 0)?;
                let mut at = 1;
                if kind == SENDER_REPORT {
                    let ntp = (u64::from(word(body, 1)?) << 32) | u64::from(word(body, 2)?);
                    found.sender = Some(SenderInfo {
                        ntp,
                        timestamp: word(body, 3)?,
                        packets: word(body, 4)?,
                        octets: word(body, 5)?,
                    });
                    at = 6;
                }
                for index in 0..count {
                    let report = block(body.get((at + index * 6) * 4..)?)?;
                    if report.ssrc == own_ssrc {
                        found.block = Some(report);
                    }
                }
            }
            GOODBYE => found.bye = true,
            _ => {}
        }
        rest = rest.get(length..)?;
    }
    Some(found)
}

/// Writes a sender report (or, with no `sender`, a receiver report) with a source description and
/// returns its length.
pub fn write(
    into: &mut [u8; MAX_REPORT_LEN],
    ssrc: u32,
    sender: Option<SenderInfo>,
    about: Option<ReportBlock>,
    cname: [u8; 8],
) -> usize {
    let mut at = 4;
    let mut put = |value: u32| {
        into[at..at + 4].copy_from_slice(&value.to_be_bytes());
        at += 4;
    };
    put(ssrc);
    if let Some(info) = sender {
        put((info.ntp >> 32) as u32);
        put(info.ntp as u32);
        put(info.timestamp);
        put(info.packets);
        put(info.octets);
    }
    if let Some(report) = about {
        put(report.ssrc);
        put((u32::from(report.fraction_lost) << 24) | report.lost.min(0x007F_FFFF));
        put(report.highest_sequence);
        put(report.jitter);
        put(report.last_report);
        put(report.delay_since);
    }
    let report_len = at;
    into[0] = 0x80 | u8::from(about.is_some());
    into[1] = if sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
    into[2..4].copy_from_slice(&((report_len / 4 - 1) as u16).to_be_bytes());
    // One chunk: source, CNAME item of 8 bytes, end, filled up to a word.
    let description = &mut into[report_len..report_len + 20];
    description.fill(0);
    description[0] = 0x81;
    description[1] = SOURCE_DESCRIPTION;
    description[3] = 4;
    description[4..8].copy_from_slice(&ssrc.to_be_bytes());
    description[8] = 1;
    description[9] = 8;
    description[10..18].copy_from_slice(&cname);
    report_len + 20
}

/// Seconds from 1900 to 1970.
const NTP_EPOCH_S: u64 = 2_208_988_800;

/// NTP time of a moment given in microseconds since 1970.
pub fn ntp(unix_us: u64) -> u64 {
    let seconds = (unix_us / 1_000_000).wrapping_add(NTP_EPOCH_S);
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds << 32) | fraction
}

/// The middle 32 bits, the unit of `last_report`.
pub fn ntp_middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// The round trip in milliseconds, from a report that arrived at `now` (§6.4.1); `None` where the
/// peer had no report of ours yet or its figures make no sense.
pub fn round_trip_ms(report: &ReportBlock, now_ntp_middle: u32) -> Option<f32> {
    if report.last_report == 0 {
        return None;
    }
    let trip = now_ntp_middle.wrapping_sub(report.last_report).wrapping_sub(report.delay_since) as i32;
    // Clocks are read at slightly different moments: a little below nothing is nothing.
    let ms = trip as f32 * 1_000.0 / 65_536.0;
    (-5.0..60_000.0).contains(&ms).then_some(ms.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INFO: SenderInfo = SenderInfo { ntp: 0x0123_4567_89AB_CDEF, timestamp: 160, packets: 2, octets: 320 };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 42,
        fraction_lost: 25,
        lost: 77,
        highest_sequence: 65_999,
        jitter: 9,
        last_report: 0x4567_89AB,
        delay_since: 65_536,
    };

    #[test]
    fn what_was_written_is_read() {
        let mut buffer = [0; MAX_REPORT_LEN];
        let length = write(&mut buffer, 7, Some(INFO), Some(BLOCK), *b"abcdefgh");
        assert_eq!(length, 28 + 24 + 20);
        assert_eq!(
            read(&buffer[..length], 42),
            Some(Compound { ssrc: 7, sender: Some(INFO), block: Some(BLOCK), bye: false })
        );
        assert_eq!(read(&buffer[..length], 43).unwrap().block, None);
        let length = write(&mut buffer, 7, None, None, *b"abcdefgh");
        assert_eq!(read(&buffer[..length], 42), Some(Compound { ssrc: 7, ..Compound::default() }));
    }

    #[test]
    fn a_goodbye_is_seen_and_nonsense_refused() {
        let mut buffer = [0; MAX_REPORT_LEN];
        let length = write(&mut buffer, 7, None, None, *b"abcdefgh");
        let mut packet = buffer[..length].to_vec();
        packet.extend([0x81, 203, 0, 1, 0, 0, 0, 7]);
        assert!(read(&packet, 1).unwrap().bye);
        for cut in 1..packet.len() {
            let read = read(&packet[..cut], 1);
            assert!(cut == 8 || cut == length || read.is_none(), "{cut}");
        }
        assert_eq!(read(&[0x81, 203, 0, 1, 0, 0, 0, 7], 1), None);
    }

    #[test]
    fn round_trip_is_what_is_left_of_the_time() {
        // Our report left at 10 s, lay 1 s at the peer, its report came at 11.05 s.
        let second = |s: f64| (s * 65_536.0) as u32;
        let report = ReportBlock { last_report: second(10.0), delay_since: second(1.0), ..BLOCK };
        let trip = round_trip_ms(&report, second(11.05)).unwrap();
        assert!((49.9..50.1).contains(&trip), "{trip}");
        assert_eq!(round_trip_ms(&ReportBlock { last_report: 0, ..report }, second(11.05)), None);
        assert_eq!(round_trip_ms(&report, second(5.0)), None);
        assert_eq!(ntp(1_500_000), ((NTP_EPOCH_S + 1) << 32) | 0x8000_0000);
    }

    proptest! {
        #[test]
        fn random_datagrams_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256), kind in 200u8..204) {
            let _ = read(&bytes, 1);
            let mut shaped = bytes;
            if shaped.len() > 4 {
                shaped[0] = 0x80 | (shaped[0] & 31);
                shaped[1] = kind;
                shaped[2] = 0;
                shaped[3] &= 31;
            }
            let _ = read(&shaped, 1);
        }
    }
}
