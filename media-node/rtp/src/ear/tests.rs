use super::*;
use crate::api::Law;
use crate::codec::{Encoder, MAX_FRAME_BYTES};
use crate::goertzel::power_share;
use proptest::prelude::*;

const MS: Micros = 1_000;

/// Sequence number, timestamp and payload.
type Said = (u16, u32, Vec<u8>);

/// A sender of a tone in a codec, packet by packet.
struct Speaker {
    codec: Codec,
    encoder: Encoder,
    hz: f32,
    at: usize,
    sequence: u16,
    timestamp: u32,
}

impl Speaker {
    fn new(codec: Codec, hz: f32) -> Self {
        Self { codec, encoder: Encoder::new(codec), hz, at: 0, sequence: 65_530, timestamp: u32::MAX - 5_000 }
    }

    /// A packet of `frames` times 20 ms (G.711 and G.722 only where it is not one).
    fn packet(&mut self, frames: usize) -> Said {
        let mut payload = Vec::new();
        for _ in 0..frames {
            let frame: Vec<i16> = (self.at..self.at + 160)
                .map(|n| (8_000.0 * (std::f32::consts::TAU * self.hz * n as f32 / 8_000.0).sin()) as i16)
                .collect();
            self.at += 160;
            let mut bytes = [0; MAX_FRAME_BYTES];
            let length = self.encoder.encode(&frame, Rate::Narrow, &mut bytes);
            payload.extend_from_slice(&bytes[..length]);
        }
        let packet = (self.sequence, self.timestamp, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(frames as u32 * 20 * self.codec.clock_khz());
        packet
    }
}

/// Sends `count` packets with these delays (`None`: lost) and hears a frame every 20 ms.
fn run(codec: Codec, rate: Rate, count: usize, delay_ms: impl Fn(usize) -> Option<u64>) -> (Ear, Vec<Heard>, Vec<i16>) {
    let (mut ear, mut speaker) = (Ear::new(codec, rate), Speaker::new(codec, 500.0));
    let mut way = Vec::new();
    for index in 0..count {
        let packet = speaker.packet(1);
        if let Some(delay) = delay_ms(index) {
            way.push(((index as u64 * 20 + delay) * MS, packet));
        }
    }
    way.sort_by_key(|(at, _)| *at);
    let (mut heard, mut samples, mut way) = (Vec::new(), Vec::new(), way.into_iter().peekable());
    for tick in 0..count as u64 {
        let now = (tick * 20 + 7) * MS;
        while let Some((at, (sequence, timestamp, payload))) = way.next_if(|(at, _)| *at <= now) {
            ear.take(sequence, timestamp, &payload, at);
        }
        let mut frame = vec![0; rate.frame()];
        heard.push(ear.hear(&mut frame));
        samples.extend(frame);
    }
    (ear, heard, samples)
}

fn count(heard: &[Heard], kind: Heard) -> usize {
    heard.iter().filter(|heard| **heard == kind).count()
}

fn tone_share(samples: &[i16], rate: Rate) -> f32 {
    let samples: Vec<f32> = samples.iter().map(|sample| f32::from(*sample)).collect();
    power_share(&samples, 500.0 * 8.0 / rate.khz() as f32)
}

#[test]
fn a_steady_stream_is_heard_whole_after_one_frame() {
    for codec in Codec::ALL {
        for rate in [Rate::Narrow, Rate::Wide] {
            let (ear, heard, samples) = run(codec, rate, 100, |_| Some(0));
            assert!(heard[3..].iter().all(|heard| *heard == Heard::Voice), "{codec:?} {heard:?}");
            assert!(tone_share(&samples[20 * rate.frame()..], rate) > 0.98, "{codec:?}");
            assert!(ear.waiting_ms() <= 40, "{codec:?}: {}", ear.waiting_ms());
            assert_eq!((ear.stats().missing, ear.stats().late, ear.stats().dropped), (0, 0, 0));
        }
    }
}

#[test]
fn jitter_is_learnt_and_forgotten() {
    // 60 ms of shake for ten seconds, then none.
    let shake = |index: usize| Some(if index < 500 { (index as u64 * 7_919) % 60 } else { 0 });
    let (ear, heard, _) = run(Codec::Pcmu, Rate::Narrow, 3_000, shake);
    let late = &heard[100..500];
    assert!(count(late, Heard::Voice) >= 392, "{}", count(late, Heard::Voice));
    assert!(heard[600..].iter().filter(|heard| **heard != Heard::Voice).count() == 0);
    assert!(ear.stats().shortened_ms >= 20, "{:?}", ear.stats());
    assert!(ear.waiting_ms() <= 40 && ear.margin_ms() <= 30, "{} {}", ear.waiting_ms(), ear.margin_ms());
}

#[test]
fn losses_are_concealed_and_cost_no_delay() {
    for codec in Codec::ALL {
        let (ear, heard, samples) =
            run(codec, Rate::Narrow, 1_000, |index| (index % 20 != 13 && index % 67 != 30).then_some(index as u64 % 5));
        let concealed = count(&heard[5..], Heard::Concealed);
        assert!((60..=150).contains(&concealed), "{codec:?}: {concealed}");
        assert_eq!(count(&heard[5..], Heard::Nothing), 0, "{codec:?}");
        let share = tone_share(&samples[8_000..], Rate::Narrow);
        assert!(share > 0.8, "{codec:?}: {share}");
        assert!(ear.waiting_ms() <= 80, "{codec:?}: {}", ear.waiting_ms());
        assert!(ear.stats().missing >= 60, "{codec:?}: {:?}", ear.stats());
    }
}

#[test]
fn a_stop_of_the_network_is_waited_out_without_losing_words() {
    // All packets of half a second come at once at its end.
    let stop = |index: usize| Some(if (100..125).contains(&index) { (125 - index as u64) * 20 } else { 0 });
    let (ear, heard, _) = run(Codec::Pcma, Rate::Narrow, 1_000, stop);
    assert!(count(&heard[100..126], Heard::Nothing) > 10, "{:?}", &heard[100..130]);
    assert!(heard[140..].iter().all(|heard| *heard == Heard::Voice), "{:?}", &heard[126..180]);
    // What cannot be kept is thrown away, what is too much later on taken out.
    assert!(ear.waiting_ms() <= 100, "{} {:?}", ear.waiting_ms(), ear.stats());
}

#[test]
fn other_packet_lengths_are_heard_too() {
    for frames in [2, 3] {
        let (mut ear, mut speaker) = (Ear::new(Codec::G722, Rate::Narrow), Speaker::new(Codec::G722, 500.0));
        let (mut heard, mut samples) = (Vec::new(), Vec::new());
        for tick in 0..300 {
            if tick % frames == 0 {
                let (sequence, timestamp, payload) = speaker.packet(frames);
                ear.take(sequence, timestamp, &payload, tick as Micros * 20 * MS);
            }
            let mut frame = [0; 160];
            heard.push(ear.hear(&mut frame));
            samples.extend(frame);
        }
        assert!(heard[10..].iter().all(|heard| *heard == Heard::Voice), "{frames}: {heard:?}");
        assert!(tone_share(&samples[3_200..], Rate::Narrow) > 0.98);
    }
    // 10 ms.
    let mut ear = Ear::new(Codec::Pcmu, Rate::Narrow);
    for tick in 0..200u16 {
        for half in 0..2 {
            let sequence = tick * 2 + half;
            ear.take(sequence, u32::from(sequence) * 80, &[Law::Mu.encode(900); 80], Micros::from(sequence) * 10 * MS);
        }
        let mut frame = [0; 160];
        let heard = ear.hear(&mut frame);
        assert!(tick < 10 || (heard == Heard::Voice && frame.iter().all(|s| (s - 900).abs() < 40)), "{tick} {heard:?}");
    }
    assert!(ear.waiting_ms() <= 40);
}

#[test]
fn a_peer_that_falls_silent_politely_is_heard_as_hiss_and_again_when_it_speaks() {
    let (mut ear, mut speaker) = (Ear::new(Codec::Pcmu, Rate::Narrow), Speaker::new(Codec::Pcmu, 500.0));
    let mut heard = Vec::new();
    let mut frame = [0; 160];
    for tick in 0..50u64 {
        let (sequence, timestamp, payload) = speaker.packet(1);
        ear.take(sequence, timestamp, &payload, tick * 20 * MS);
        ear.hear(&mut frame);
    }
    ear.take_comfort_noise(speaker.sequence, speaker.timestamp, &[55]);
    speaker.sequence = speaker.sequence.wrapping_add(1);
    for _ in 0..100 {
        heard.push(ear.hear(&mut frame));
        assert!(frame.iter().any(|sample| *sample != 0));
    }
    assert!(heard[5..].iter().all(|heard| *heard == Heard::ComfortNoise), "{heard:?}");
    assert!(frame.iter().all(|sample| sample.abs() < 400));
    // Two seconds later.
    speaker.timestamp = speaker.timestamp.wrapping_add(16_000);
    heard.clear();
    for tick in 150..200u64 {
        let (sequence, timestamp, payload) = speaker.packet(1);
        ear.take(sequence, timestamp, &payload, tick * 20 * MS);
        heard.push(ear.hear(&mut frame));
    }
    assert!(heard[4..].iter().all(|heard| *heard == Heard::Voice), "{heard:?}");
    assert_eq!(ear.stats().missing, 0);
    assert!(ear.waiting_ms() <= 60);
}

#[test]
fn another_stream_and_a_jump_are_followed() {
    let mut ear = Ear::new(Codec::Pcmu, Rate::Narrow);
    let mut frame = [0; 160];
    let mut heard = Vec::new();
    for tick in 0..300u16 {
        if tick == 100 {
            ear.restart();
        }
        // At 200 the peer's numbers jump by 5,000.
        let (sequence, timestamp) = match tick {
            0..100 => (tick, u32::from(tick) * 160),
            100..200 => (tick.wrapping_sub(500), 7_000_000 + u32::from(tick) * 160),
            _ => (tick + 4_500, u32::from(tick) * 160),
        };
        ear.take(sequence, timestamp, &[0x90; 160], Micros::from(tick) * 20 * MS);
        heard.push(ear.hear(&mut frame));
    }
    for from in [10, 110, 215] {
        assert!(heard[from..from + 85].iter().all(|heard| *heard == Heard::Voice), "{from}: {heard:?}");
    }
}

#[test]
fn timestamps_follow_the_streams_clock() {
    let (mut ear, mut speaker) = (Ear::new(Codec::Opus, Rate::Narrow), Speaker::new(Codec::Opus, 500.0));
    let first = speaker.timestamp;
    let mut stamps = Vec::new();
    for tick in 0..50u64 {
        let (sequence, timestamp, payload) = speaker.packet(1);
        if tick != 30 {
            ear.take(sequence, timestamp, &payload, tick * 20 * MS);
        }
        let mut frame = [0; 160];
        if ear.hear(&mut frame) != Heard::Nothing {
            stamps.push(ear.timestamp().wrapping_sub(first));
        }
    }
    let steps: Vec<u32> = stamps.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.iter().all(|step| *step == 960 || *step == 0 || *step == 1_920), "{steps:?}");
    assert!(steps[..20].iter().all(|step| *step == 960));
}

#[test]
fn what_waits_is_bounded() {
    let mut ear = Ear::new(Codec::Pcmu, Rate::Narrow);
    for sequence in 0..10_000u16 {
        ear.take(sequence, u32::from(sequence) * 160, &[0x55; 160], 0);
        assert!(ear.packets.len() <= MAX_PACKETS && ear.waiting_ms() <= MAX_WAITING_MS + 60);
    }
    assert!(ear.stats().dropped > 9_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn nothing_that_comes_breaks_an_ear(
        deeds in prop::collection::vec(
            (any::<u16>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..300), 0..6u8, 0..100u64), 0..120),
        codec in 0..4usize,
        wide in any::<bool>(),
    ) {
        let (codec, rate) = (Codec::ALL[codec], if wide { Rate::Wide } else { Rate::Narrow });
        let mut ear = Ear::new(codec, rate);
        let (mut now, mut last) = (0, 0u16);
        let mut frame = vec![0; rate.frame()];
        for (sequence, timestamp, payload, kind, wait) in deeds {
            now += wait * MS;
            match kind {
                0 => ear.take(sequence, timestamp, &payload, now),
                1 => ear.take_comfort_noise(sequence, timestamp, &payload),
                2 if wait == 0 => ear.restart(),
                3..5 => {
                    last = last.wrapping_add(1 + (sequence % 3));
                    ear.take(last, u32::from(last) * 160, &payload, now);
                }
                _ => {
                    ear.hear(&mut frame);
                }
            }
            prop_assert!(ear.packets.len() <= MAX_PACKETS);
            prop_assert!(ear.waiting.len() <= 4 * MAX_PACKET_MS * rate.khz());
        }
    }
}
