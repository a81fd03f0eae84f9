//! What decoding and encoding cost: `cargo run --release -p hotline-rtp --example codec_cost`.

use hotline_rtp::api::Codec;
use hotline_rtp::codec::{Decoder, Encoder, MAX_FRAME_BYTES, Rate};
use hotline_rtp::ear::Ear;
use hotline_rtp::tap::{TAP_SAMPLES, TapFrame, TapWay, tap_ring};
use std::hint::black_box;
use std::time::Instant;

/// 40 s of 20 ms.
const FRAMES: usize = 2_000;

/// Something like a voice: harmonics that come and go, and some noise.
fn voice(rate: Rate) -> Vec<i16> {
    let mut noise = 1u32;
    (0..FRAMES * rate.frame())
        .map(|n| {
            let t = n as f32 / (1_000 * rate.khz()) as f32;
            let pitch = 130.0 + 30.0 * (t * 3.0).sin();
            let tones: f32 = (1..18).map(|h| (std::f32::consts::TAU * pitch * h as f32 * t).sin() / h as f32).sum();
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (3_000.0 * tones * (t * 9.0).sin().max(0.0)) as i16 + (noise >> 24) as i16
        })
        .collect()
}

/// Microseconds for each frame.
fn each(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e6 / FRAMES as f64
}

fn main() {
    println!("µs for 20 ms of one direction   encode  decode  heard (jitter buffer, decoder)");
    let mut costs = Vec::new();
    for codec in [Codec::Pcmu, Codec::G722, Codec::Opus] {
        for rate in [Rate::Narrow, Rate::Wide] {
            let samples = voice(rate);
            let mut encoder = Encoder::new(codec);
            let mut packets = Vec::with_capacity(FRAMES);
            let begin = Instant::now();
            for frame in samples.chunks_exact(rate.frame()) {
                let mut packet = [0; MAX_FRAME_BYTES];
                let length = encoder.encode(frame, rate, &mut packet);
                packets.push(packet[..length].to_vec());
            }
            let encode = each(begin);
            let (mut decoder, mut out) = (Decoder::new(codec, rate), Vec::new());
            let begin = Instant::now();
            for packet in &packets {
                out.clear();
                black_box(decoder.decode(packet, &mut out));
            }
            let decode = each(begin);
            let (mut ear, mut frame) = (Ear::new(codec, rate), vec![0; rate.frame()]);
            let begin = Instant::now();
            for (number, packet) in packets.iter().enumerate() {
                let timestamp = number as u32 * 20 * codec.clock_khz();
                ear.take(number as u16, timestamp, packet, number as u64 * 20_000);
                black_box(ear.hear(&mut frame));
            }
            let heard = each(begin);
            println!("{:>5} at {:>2} kHz {encode:>22.1}  {decode:>6.1}  {heard:>6.1}", codec.name(), rate.khz());
            costs.push((codec, rate, encode, heard));
        }
    }
    // 50 frames a second: µs of a frame are 1/200 percent of a processor.
    let cost =
        |codec, rate| costs.iter().find(|(c, r, ..)| *c == codec && *r == rate).map_or((0.0, 0.0), |c| (c.2, c.3));
    let call = |one, other, rate| {
        let ((one_out, one_in), (other_out, other_in)) = (cost(one, rate), cost(other, rate));
        (one_out + one_in + other_out + other_in) / 200.0
    };
    println!("% of a processor for a transcoded call (both directions, without the packets themselves):");
    for (one, other, rate) in [
        (Codec::Opus, Codec::Pcmu, Rate::Narrow),
        (Codec::G722, Codec::Pcmu, Rate::Narrow),
        (Codec::Opus, Codec::G722, Rate::Wide),
    ] {
        println!("  {} with {}: {:.2}", one.name(), other.name(), call(one, other, rate));
    }
    println!("% for a leg of a conference: its ear and its encoder:");
    for (codec, rate) in [(Codec::Pcmu, Rate::Narrow), (Codec::G722, Rate::Wide), (Codec::Opus, Rate::Wide)] {
        let (encode, heard) = cost(codec, rate);
        println!("  {} at {} kHz: {:.2}", codec.name(), rate.khz(), (encode + heard) / 200.0);
    }
    let (mut writer, mut reader) = tap_ring(100);
    let frame = TapFrame {
        withheld: false,
        at: 0,
        rtp_timestamp: 0,
        way: TapWay::In,
        heard: hotline_rtp::ear::Heard::Voice,
        samples: [0; TAP_SAMPLES],
    };
    let begin = Instant::now();
    for _ in 0..FRAMES {
        writer.write(&frame);
        black_box(reader.read());
    }
    let (_, heard) = cost(Codec::Pcmu, Rate::Narrow);
    println!(
        "% for a tap of one direction of G.711: {:.3} (ring: {:.2} µs a frame)",
        (heard + each(begin)) / 200.0,
        each(begin)
    );
}
