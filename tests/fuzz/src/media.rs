//! RTP and RTCP as they come from the network.

use hotline_rtp::align::Aligner;
use hotline_rtp::api::Law;
use hotline_rtp::dtmf::EventReceiver;
use hotline_rtp::goertzel::InbandReceiver;
use hotline_rtp::packet::Header;
use hotline_rtp::rtcp::{MAX_REPORT_LEN, ReportBlock, read, round_trip_ms, write};
use hotline_rtp::stream::{Receiver, Sender, Verdict};

use crate::Bytes;

/// A sequence of datagrams, each with its length and the time since the last one, through
/// everything a packet meets: header, stream, keys, recording, and on to the peer.
pub fn rtp(data: &[u8]) {
    let mut data = Bytes(data);
    let laws = [Law::Mu, if data.byte() & 1 == 0 { Law::Mu } else { Law::A }];
    let mut now = u64::from(data.long());
    let (mut receiver, mut sender) = (Receiver::default(), Sender::new(7, data.word(), data.long()));
    let (mut keys, mut tones) = (EventReceiver::new(data.byte() & 1 == 0), InbandReceiver::new(false));
    let mut aligner = Aligner::new(&laws, now);
    let mut frames = Vec::new();
    while !data.is_empty() {
        now += u64::from(data.word());
        let length = usize::from(data.byte());
        let mut datagram = data.take(length).to_vec();
        let Some(header) = Header::read(&datagram) else { continue };
        assert!(header.payload_start <= header.payload_end && header.payload_end <= datagram.len());
        match receiver.receive(header.ssrc, header.sequence, header.timestamp, now) {
            Verdict::Duplicate | Verdict::Reject => continue,
            Verdict::Restart => aligner.restart(usize::from(header.marker)),
            Verdict::Accept => {}
        }
        let channel = usize::from(header.marker);
        let Some(payload) = datagram.get_mut(header.payload_start..header.payload_end) else { continue };
        match header.payload_type {
            101 => drop(keys.receive(header.timestamp, payload, now)),
            102 => aligner.mask(channel, payload.len() & 1 == 0, now),
            103 => drop(aligner.take(now, false, 50, &mut frames)),
            _ => {
                aligner.put(channel, header.timestamp, payload, laws[channel], now);
                tones.receive(payload, laws[channel]);
            }
        }
        let patch = match header.payload_type {
            110 => Some(sender.next_local(0, 160, now)),
            111 => {
                sender.skip_relayed(header.ssrc);
                None
            }
            pt => sender.next_relayed(&header, pt, pt == 101, now),
        };
        if let Some(patch) = patch {
            patch.apply(&mut datagram);
            let sent = Header::read(&datagram);
            assert_eq!(sent.map(|sent| (sent.sequence, sent.ssrc)), Some((patch.sequence, 7)));
        }
        assert!(receiver.lost() <= u64::from(u32::MAX) * 2);
        frames.clear();
    }
    let count = aligner.take(now, true, 1_000, &mut frames);
    assert_eq!(frames.len(), count * 321);
    let _ = (receiver.take_fraction_lost(), receiver.jitter_ms(), keys.timeout(now + 1_000_000));
}

/// One RTCP datagram, and what would be said back.
pub fn rtcp(data: &[u8]) {
    let own = data.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(1, u32::from_be_bytes);
    let Some(compound) = read(data, own) else { return };
    if let Some(trip) = compound.block.and_then(|block| round_trip_ms(&block, 77)) {
        assert!(trip.is_finite());
    }
    let mut out = [0; MAX_REPORT_LEN];
    let length = write(&mut out, own, compound.sender, compound.block, *b"fuzzfuzz");
    let block_ssrc = compound.block.map_or(0, |block| block.ssrc);
    let again = read(&out[..length], block_ssrc);
    assert_eq!(again.and_then(|again| again.sender), compound.sender);
    // The count of lost packets is signed there (RFC 3550 §6.4.1) and never negative here.
    let said = compound.block.map(|block| ReportBlock { lost: block.lost.min(0x007F_FFFF), ..block });
    assert_eq!(again.and_then(|again| again.block), said);
}
