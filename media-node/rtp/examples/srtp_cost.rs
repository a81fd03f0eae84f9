//! What SRTP adds to a packet of 20 ms G.711: `cargo run --release -p hotline-rtp --example srtp_cost`.

use hotline_rtp::srtp::{MasterKey, RTP_OVERHEAD, Srtp, SrtpKeys, Suite};
use std::time::Instant;

const PACKETS: u32 = 1_000_000;

fn main() {
    let (a, b) = (MasterKey { key: [1; 16], salt: [2; 14] }, MasterKey { key: [3; 16], salt: [4; 14] });
    let keys = SrtpKeys { suite: Suite::Aes128Sha1Tag80, inbound: a.clone(), outbound: b.clone() };
    let (mut ours, mut theirs) =
        (Srtp::new(&keys), Srtp::new(&SrtpKeys { suite: keys.suite, inbound: b, outbound: a }));
    let mut packets = vec![[0xD5u8; 172 + RTP_OVERHEAD]; PACKETS as usize];
    for (number, packet) in packets.iter_mut().enumerate() {
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
    }
    let begin = Instant::now();
    let protected = packets.iter_mut().map(|packet| ours.protect_rtp(packet, 172).is_ok()).filter(|done| *done).count();
    let middle = Instant::now();
    let plain = packets.iter_mut().map(|packet| theirs.unprotect_rtp(packet) == Ok(172)).filter(|done| *done).count();
    let end = Instant::now();
    let each = |from: Instant, to: Instant| (to - from).as_nanos() as f64 / 1_000.0 / f64::from(PACKETS);
    println!(
        "{protected} protected, {:.2} µs each; {plain} checked, {:.2} µs each",
        each(begin, middle),
        each(middle, end)
    );
}
