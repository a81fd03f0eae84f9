use super::*;
use crate::goertzel::power_share;
use proptest::prelude::*;

/// A fixed noise: no randomness in tests.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
}

fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn tone(hz: f32, rate: Rate, frames: usize) -> Vec<i16> {
    let step = std::f32::consts::TAU * hz / (rate.khz() * 1_000) as f32;
    (0..rate.frame() * frames).map(|n| (8_000.0 * (step * n as f32).sin()) as i16).collect()
}

/// The share of a tone's power at its frequency, for either rate.
fn share(samples: &[i16], hz: f32, rate: Rate) -> f32 {
    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(*sample)).collect();
    power_share(&samples, hz * 8.0 / rate.khz() as f32)
}

/// The hashes are of what spandsp 0.0.6 makes of the same samples and code words.
#[test]
fn g722_is_bit_exact_with_another_implementation() {
    let mut noise = Noise(1);
    let samples: Vec<i16> =
        (0..32_000i32).map(|n| ((n * 37 % 6_000 - 3_000) + (noise.next() % 4_000) as i32 - 2_000) as i16).collect();
    let (mut wide, mut narrow) = (vec![0; 16_000], vec![0; 32_000]);
    assert_eq!(g722::Encoder::default().encode_wide(&samples, &mut wide), 16_000);
    assert_eq!(g722::Encoder::default().encode_narrow(&samples, &mut narrow), 32_000);
    let (mut decoded, mut lower) = (Vec::new(), Vec::new());
    g722::Decoder::default().decode_wide(&wide, &mut decoded);
    g722::Decoder::default().decode_narrow(&narrow, &mut lower);
    let bytes = |samples: &[i16]| fnv(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let hashes = [fnv(wide), fnv(narrow), bytes(&decoded), bytes(&lower)];
    assert_eq!(format!("{hashes:x?}"), "[b7cd0a40d3570634, 51f07fb05f8d65f3, d805725d774972b, 46aa8845622bd8c2]");
}

#[test]
fn a_tone_passes_through_every_codec_at_every_rate() {
    for codec in Codec::ALL {
        for from in [Rate::Narrow, Rate::Wide] {
            for to in [Rate::Narrow, Rate::Wide] {
                let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec, to));
                let mut heard = Vec::new();
                for frame in tone(1_000.0, from, 50).chunks(from.frame()) {
                    let mut packet = [0; MAX_FRAME_BYTES];
                    let length = encoder.encode(frame, from, &mut packet);
                    assert!(length > 0, "{codec:?}");
                    assert!(decoder.decode(&packet[..length], &mut heard), "{codec:?}");
                }
                assert_eq!(heard.len(), 50 * to.frame(), "{codec:?} {from:?} {to:?}");
                let share = share(&heard[10 * to.frame()..], 1_000.0, to);
                assert!(share > 0.95, "{codec:?} {from:?} {to:?}: {share}");
            }
        }
    }
}

#[test]
fn wideband_keeps_what_a_telephone_does_not() {
    for codec in [Codec::G722, Codec::Opus] {
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec, Rate::Wide));
        let mut heard = Vec::new();
        for frame in tone(5_500.0, Rate::Wide, 50).chunks(320) {
            let mut packet = [0; MAX_FRAME_BYTES];
            let length = encoder.encode(frame, Rate::Wide, &mut packet);
            decoder.decode(&packet[..length], &mut heard);
        }
        let share = share(&heard[3_200..], 5_500.0, Rate::Wide);
        assert!(share > 0.8, "{codec:?}: {share}");
    }
}

#[test]
fn opus_goes_wide_in_mid_stream_and_stays_so() {
    let (mut encoder, mut decoder) = (Encoder::new(Codec::Opus), Decoder::new(Codec::Opus, Rate::Wide));
    let mut heard = Vec::new();
    for rate in [Rate::Narrow, Rate::Wide, Rate::Narrow] {
        heard.clear();
        for frame in tone(800.0, rate, 40).chunks(rate.frame()) {
            let mut packet = [0; MAX_FRAME_BYTES];
            let length = encoder.encode(frame, rate, &mut packet);
            assert!(decoder.decode(&packet[..length], &mut heard));
        }
        assert!(share(&heard[3_200..], 800.0, Rate::Wide) > 0.9);
    }
}

#[test]
fn a_lost_opus_packet_is_recovered_from_the_next_or_made_up() {
    // A voice: the code spends no redundancy on a pure tone.
    let mut noise = Noise(9);
    let voice: Vec<i16> = (0..320 * 60)
        .map(|n| {
            let t = n as f32 / 16_000.0;
            let pulse: f32 = (1..16).map(|h| (std::f32::consts::TAU * 140.0 * h as f32 * t).sin() / h as f32).sum();
            (3_000.0 * pulse * (1.0 + (t * 25.0).sin())) as i16 + (noise.next() % 400) as i16
        })
        .collect();
    let mut encoder = Encoder::new(Codec::Opus);
    let packets: Vec<Vec<u8>> = voice
        .chunks(320)
        .map(|frame| {
            let mut packet = [0; MAX_FRAME_BYTES];
            let length = encoder.encode(frame, Rate::Wide, &mut packet);
            packet[..length].to_vec()
        })
        .collect();
    let decode = |lost: Option<usize>, fec: bool| {
        let (mut decoder, mut heard) = (Decoder::new(Codec::Opus, Rate::Wide), Vec::new());
        for (index, packet) in packets.iter().enumerate() {
            if Some(index) == lost {
                let next = packets.get(index + 1).filter(|_| fec).map(Vec::as_slice);
                assert!(decoder.recover(next, 320, &mut heard));
            } else {
                decoder.decode(packet, &mut heard);
            }
        }
        heard
    };
    let whole = decode(None, false);
    let error = |heard: &[i16]| -> f64 {
        assert_eq!(heard.len(), whole.len());
        (40 * 320..41 * 320).map(|n| (f64::from(heard[n]) - f64::from(whole[n])).powi(2)).sum()
    };
    let (corrected, made_up) = (error(&decode(Some(40), true)), error(&decode(Some(40), false)));
    let power: f64 = whole[40 * 320..41 * 320].iter().map(|sample| f64::from(*sample).powi(2)).sum();
    assert!(corrected < 0.3 * power, "{corrected} of {power}");
    assert!(corrected < made_up, "{corrected} {made_up}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_payload_breaks_a_decoder(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_400), 1..12),
        wide in any::<bool>(),
    ) {
        let rate = if wide { Rate::Wide } else { Rate::Narrow };
        for codec in Codec::ALL {
            let (mut decoder, mut heard) = (Decoder::new(codec, rate), Vec::new());
            for payload in &payloads {
                heard.clear();
                decoder.decode(payload, &mut heard);
                prop_assert!(heard.len() <= MAX_PACKET_MS * rate.khz(), "{codec:?}");
                heard.clear();
                decoder.recover(Some(payload), 3 * payload.len(), &mut heard);
                decoder.recover(None, payload.len(), &mut heard);
                prop_assert!(heard.len() <= 2 * MAX_PACKET_MS * rate.khz(), "{codec:?}");
            }
        }
    }
}
