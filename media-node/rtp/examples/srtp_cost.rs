//! What protection costs: a packet of 20 ms G.711 for each suite, a check of ICE, and a DTLS handshake.
//! `cargo run --release -p hotline-rtp --example srtp_cost`.

use hotline_rtp::dtls::{Association, DtlsRole, Identity};
use hotline_rtp::ice::{self, IceCredentials};
use hotline_rtp::srtp::{MasterKey, RTP_OVERHEAD, Srtp, SrtpKeys, Suite};
use std::time::{Duration, Instant};

const PACKETS: u32 = 500_000;
const CHECKS: u32 = 100_000;
const HANDSHAKES: u32 = 500;

fn each(time: Duration, count: u32) -> f64 {
    time.as_nanos() as f64 / 1_000.0 / f64::from(count)
}

fn packets(suite: Suite) {
    let (a, b) = (MasterKey::derive(suite, b"a"), MasterKey::derive(suite, b"b"));
    let keys = SrtpKeys { suite, inbound: a.clone(), outbound: b.clone() };
    let (mut ours, mut theirs) = (Srtp::new(&keys), Srtp::new(&SrtpKeys { suite, inbound: b, outbound: a }));
    let mut packets = vec![[0xD5u8; 172 + RTP_OVERHEAD]; PACKETS as usize];
    for (number, packet) in packets.iter_mut().enumerate() {
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
    }
    let length = ours.protect_rtp(&mut packets[0].clone(), 172).unwrap_or_default();
    ours = Srtp::new(&keys);
    let begin = Instant::now();
    let protected = packets.iter_mut().filter_map(|packet| ours.protect_rtp(packet, 172).ok()).count();
    let middle = Instant::now();
    let plain = packets.iter_mut().filter_map(|packet| theirs.unprotect_rtp(&mut packet[..length]).ok()).count();
    let end = Instant::now();
    println!(
        "{suite:?}: {protected} protected, {:.2} µs each; {plain} checked, {:.2} µs each",
        each(middle - begin, PACKETS),
        each(end - middle, PACKETS)
    );
}

fn checks() {
    let (browser, node) = (IceCredentials::derive(b"browser", 0), IceCredentials::derive(b"node", 0));
    let request = ice::request([1; 12], &browser, &node, true);
    let from = ([192, 0, 2, 1], 4_000).into();
    let begin = Instant::now();
    let mut bytes = 0;
    for _ in 0..CHECKS {
        if let Ok(check) = ice::check(&request, &node, &browser.ufrag) {
            bytes += ice::answer(&check, from, &node).len();
        }
    }
    println!("ICE: a check and its answer ({} bytes), {:.2} µs", bytes as u32 / CHECKS, each(begin.elapsed(), CHECKS));
}

/// Only our side is measured; the browser's is played in between.
fn handshakes() -> Result<(), Box<dyn std::error::Error>> {
    let begin = Instant::now();
    let (node, browser) = (Identity::make()?, Identity::make()?);
    println!("DTLS: a certificate and the checks of its library, {:.0} µs", each(begin.elapsed(), 2));
    let (mut ours_took, mut sent, mut done) = (Duration::ZERO, 0, 0);
    for _ in 0..HANDSHAKES {
        let now = Instant::now();
        let mut ours = Association::new(&node, DtlsRole::Server, browser.fingerprint(), now);
        ours_took += now.elapsed();
        let mut theirs = Association::new(&browser, DtlsRole::Client, node.fingerprint(), now);
        let mut to_ours = Vec::new();
        theirs.pass(now, |bytes| to_ours.push(bytes.to_vec()))?;
        while !to_ours.is_empty() {
            let mut to_theirs = Vec::new();
            for datagram in std::mem::take(&mut to_ours) {
                let begin = Instant::now();
                let keys = ours.receive(&datagram, now, |bytes| to_theirs.push(bytes.to_vec()))?;
                ours_took += begin.elapsed();
                done += u32::from(keys.is_some());
            }
            sent += to_theirs.len();
            for datagram in to_theirs {
                theirs.receive(&datagram, now, |bytes| to_ours.push(bytes.to_vec()))?;
            }
        }
    }
    println!(
        "DTLS: {done} handshakes as server, {:.0} µs of CPU each, {:.1} datagrams sent each",
        each(ours_took, HANDSHAKES),
        sent as f64 / f64::from(HANDSHAKES)
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for suite in [Suite::Aes128Sha1Tag80, Suite::Aes128Sha1Tag32, Suite::Aes128Gcm, Suite::Aes256Gcm] {
        packets(suite);
    }
    checks();
    handshakes()
}
