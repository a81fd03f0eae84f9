//! Legs with codecs that differ: bridges, conferences, prompts, digits and taps, in virtual time.

use hotline_wire::recording::ChannelRole;

use super::recording_tests::meta;
use super::shard_tests::{World, packet, peer};
use crate::api::*;
use crate::codec::{Decoder, Encoder, MAX_FRAME_BYTES, Rate};
use crate::ear::Heard;
use crate::goertzel::power_share;
use crate::packet::Header;
use crate::tap::{TapFrame, TapWay, tap_ring};

const OPUS: Format = Format { codec: Codec::Opus, payload_type: 111 };
const G722: Format = Format { codec: Codec::G722, payload_type: 9 };
const PCMA: Format = Format { codec: Codec::Pcma, payload_type: 8 };
const PCMU: Format = Format { codec: Codec::Pcmu, payload_type: 0 };

/// Whoever sits at a leg: speaks a tone in its codec, and remembers what it is sent.
struct Phone {
    leg: usize,
    format: Format,
    encoder: Encoder,
    hz: f32,
    spoken: usize,
    sequence: u16,
    timestamp: u32,
}

impl Phone {
    fn new(world: &mut World, leg: usize, format: Format, hz: f32) -> Phone {
        let khz = if format.codec == Codec::Opus { 48 } else { 8 };
        Self::with_events(world, leg, format, hz, Some(101), khz)
    }

    fn with_events(world: &mut World, leg: usize, format: Format, hz: f32, dtmf_pt: Option<u8>, dtmf_khz: u8) -> Phone {
        let (rtp, rtcp) = (peer(leg), peer(leg));
        let remote = Remote { rtp, rtcp, format, dtmf_pt, dtmf_khz, receives: true, sends: true, relatch: false };
        world.command(MediaCommand::SetRemote { leg: MediaLegId(leg as u64), remote });
        let encoder = Encoder::new(format.codec);
        Phone { leg, format, encoder, hz, spoken: 0, sequence: 65_400, timestamp: u32::MAX - 20_000 }
    }

    fn id(&self) -> MediaLegId {
        MediaLegId(self.leg as u64)
    }

    fn speak(&mut self, world: &mut World) {
        let rate = if self.format.codec.is_wideband() { Rate::Wide } else { Rate::Narrow };
        let step = std::f32::consts::TAU * self.hz / (1_000 * rate.khz()) as f32;
        let frame: Vec<i16> = (self.spoken..self.spoken + rate.frame())
            .map(|n| (7_000.0 * (step * (n % (1_000 * rate.khz())) as f32).sin()) as i16)
            .collect();
        self.spoken += rate.frame();
        let mut payload = [0; MAX_FRAME_BYTES];
        let length = self.encoder.encode(&frame, rate, &mut payload);
        world.hear(self.leg, packet(self.format.payload_type, self.sequence, self.timestamp, &payload[..length]));
        self.pass();
    }

    /// What it says for 20 ms is lost on the way.
    fn lose(&mut self) {
        self.spoken += if self.format.codec.is_wideband() { Rate::Wide } else { Rate::Narrow }.frame();
        self.pass();
    }

    /// 20 ms pass in which it may have said something else.
    fn pass(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(20 * self.format.codec.clock_khz());
    }

    /// A key held for 100 ms, with three ends.
    fn press(&mut self, world: &mut World, event: u8, khz: u16) {
        let start = self.timestamp;
        for step in 1..=7u16 {
            let flags = if step >= 5 { 0x8A } else { 0x0A };
            let [high, low] = (20 * khz * step.min(5)).to_be_bytes();
            world.hear(self.leg, packet(101, self.sequence, start, &[event, flags, high, low]));
            self.sequence = self.sequence.wrapping_add(1);
            if step <= 5 {
                self.timestamp = self.timestamp.wrapping_add(20 * self.format.codec.clock_khz());
                world.run_ms(20);
            }
        }
    }

    /// What it was sent since the last time, decoded; checks that it is one stream.
    fn heard(&self, world: &mut World) -> Vec<f32> {
        let mut decoder = Decoder::new(self.format.codec, Rate::Narrow);
        let (mut samples, mut last) = (Vec::new(), None::<Header>);
        for (_, datagram) in world.rtp[self.leg].borrow_mut().drain(..) {
            let header = Header::read(&datagram).unwrap();
            if header.payload_type == self.format.payload_type {
                assert!(decoder.decode(&datagram[header.payload_start..header.payload_end], &mut samples));
            }
            if let Some(last) = last {
                assert_eq!((header.ssrc, header.sequence.wrapping_sub(last.sequence)), (last.ssrc, 1));
                let step = header.timestamp.wrapping_sub(last.timestamp);
                assert!(step < 40 * 20 * self.format.codec.clock_khz(), "{last:?} {header:?}");
            }
            last = Some(header);
        }
        samples.into_iter().map(f32::from).collect()
    }
}

/// All speak for so many frames.
fn talk(world: &mut World, phones: &mut [&mut Phone], frames: usize) {
    for _ in 0..frames {
        for phone in phones.iter_mut() {
            phone.speak(world);
        }
        world.run_ms(20);
    }
}

/// The share of this frequency in the second half.
fn share(samples: &[f32], hz: f32) -> f32 {
    power_share(&samples[samples.len() / 2..], hz)
}

fn digits(world: &World) -> String {
    let digit = |event| match event {
        MediaEvent::Digit { digit, duration_ms, .. } => Some(format!("{digit}:{duration_ms} ")),
        _ => None,
    };
    world.told().into_iter().filter_map(digit).collect()
}

#[test]
fn every_pair_of_codecs_hears_each_other() {
    for (one, other) in [(OPUS, PCMA), (PCMU, OPUS), (G722, PCMU), (G722, OPUS), (PCMA, G722)] {
        let mut world = World::new(2);
        let mut a = Phone::new(&mut world, 0, one, 440.0);
        let mut b = Phone::new(&mut world, 1, other, 880.0);
        world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
        talk(&mut world, &mut [&mut a, &mut b], 100);
        let (at_a, at_b) = (a.heard(&mut world), b.heard(&mut world));
        assert!(share(&at_a, 880.0) > 0.9, "{one:?} {other:?}: {}", share(&at_a, 880.0));
        assert!(share(&at_b, 440.0) > 0.9, "{one:?} {other:?}: {}", share(&at_b, 440.0));
        // All but the beginning was passed on: 100 frames of 160 samples.
        assert!(at_a.len() >= 95 * 160 && at_b.len() >= 95 * 160, "{} {}", at_a.len(), at_b.len());
        // A prompt to one side in between, and the other goes on.
        let sounds = vec![Sound::Tone { hz: [600, 0], on_ms: 400, off_ms: 0, times: 1 }];
        world.command(MediaCommand::Play { leg: a.id(), token: Token(1), sounds, looped: false });
        talk(&mut world, &mut [&mut a, &mut b], 22);
        assert!(share(&a.heard(&mut world)[..3_200], 600.0) > 0.9);
        assert!(share(&b.heard(&mut world), 440.0) > 0.9);
        talk(&mut world, &mut [&mut a, &mut b], 50);
        assert!(share(&a.heard(&mut world), 880.0) > 0.9);
    }
}

#[test]
fn equal_codecs_are_relayed_byte_for_byte() {
    for format in [OPUS, G722] {
        let mut world = World::new(2);
        let mut a = Phone::new(&mut world, 0, format, 440.0);
        let b = Phone::new(&mut world, 1, Format { payload_type: 120, ..format }, 880.0);
        world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
        for index in 0..10u8 {
            world.hear(0, packet(format.payload_type, a.sequence, a.timestamp, &[index; 60]));
            a.pass();
            world.run_ms(20);
        }
        assert!(world.shard.leg(0).unwrap().ear.is_none() && world.shard.leg(1).unwrap().ear.is_none());
        let sent = world.rtp[1].borrow();
        let payloads: Vec<&[u8]> = sent.iter().map(|(_, datagram)| &datagram[12..]).collect();
        assert_eq!(payloads.len(), 10);
        assert!(payloads.iter().enumerate().all(|(index, payload)| *payload == [index as u8; 60]));
        let headers: Vec<Header> = sent.iter().map(|(_, datagram)| Header::read(datagram).unwrap()).collect();
        let step = 20 * format.codec.clock_khz();
        assert!(headers.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp) == step));
        assert!(headers.iter().all(|header| header.payload_type == b.format.payload_type));
    }
}

#[test]
fn a_codec_that_changes_in_mid_call_is_followed() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, PCMU, 440.0);
    let mut b = Phone::new(&mut world, 1, PCMA, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    let (before, after) = (a.sequence, a.timestamp);
    let mut a = Phone::new(&mut world, 0, OPUS, 500.0);
    (a.sequence, a.timestamp) = (before, after);
    b.heard(&mut world);
    world.rtp[0].borrow_mut().clear();
    talk(&mut world, &mut [&mut a, &mut b], 60);
    assert!(share(&a.heard(&mut world), 880.0) > 0.9 && share(&b.heard(&mut world), 500.0) > 0.9);
    // Both alike again: nothing is decoded any more.
    Phone::new(&mut world, 1, OPUS, 880.0);
    assert!(world.shard.leg(0).unwrap().ear.is_none() && !world.shard.leg(0).unwrap().transcodes);
    world.command(MediaCommand::Unbridge { leg: a.id() });
}

#[test]
fn keys_cross_between_clocks_once_and_as_long_as_they_were_held() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, OPUS, 440.0);
    let mut b = Phone::new(&mut world, 1, PCMA, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    for (leg, khz) in [(0, 48), (1, 8)] {
        let (from, to) = if leg == 0 { (&mut a, &b) } else { (&mut b, &a) };
        to.heard(&mut world);
        from.press(&mut world, 7, khz);
        world.run_ms(20);
        let sent = world.rtp[to.leg].borrow();
        let events: Vec<(Header, Vec<u8>)> = sent
            .iter()
            .map(|(_, datagram)| (Header::read(datagram).unwrap(), datagram[12..].to_vec()))
            .filter(|(header, _)| header.payload_type == 101)
            .collect();
        assert_eq!(events.len(), 7);
        assert!(events.iter().all(|(header, _)| header.timestamp == events[0].0.timestamp));
        assert_eq!(events.iter().filter(|(header, _)| header.marker).count(), 1);
        // 100 ms on the clock of whoever hears it.
        let khz = if to.leg == 0 { 48 } else { 8 };
        assert_eq!(events[6].1, [&[7, 0x8A][..], &(100u16 * khz).to_be_bytes()].concat());
    }
    assert_eq!(digits(&world), "7:100 7:100 ");
    world.command(MediaCommand::SendDigits { leg: a.id(), digits: "5".into() });
    world.rtp[0].borrow_mut().clear();
    world.run_ms(300);
    let last = world.rtp[0].borrow().last().map(|(_, datagram)| datagram[12..].to_vec());
    assert_eq!(last, Some([&[5, 0x8A][..], &4_800u16.to_be_bytes()].concat()));
}

#[test]
fn keys_in_the_audio_of_a_wideband_phone_are_heard_and_kept_secret() {
    let mut world = World::new(2);
    let mut a = Phone::with_events(&mut world, 0, G722, 440.0, None, 8);
    let mut b = Phone::new(&mut world, 1, PCMU, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    let key = |world: &mut World, a: &mut Phone| {
        let mut tone = crate::tone::Tone::new([770, 1_336], 100, 0, 1);
        let mut mulaw = [0xFF; 1_440];
        tone.fill(&mut mulaw, Law::Mu);
        for frame in mulaw.chunks(160) {
            let samples: Vec<i16> = frame.iter().map(|byte| Law::Mu.decode(*byte)).collect();
            let mut payload = [0; MAX_FRAME_BYTES];
            let length = a.encoder.encode(&samples, Rate::Narrow, &mut payload);
            world.hear(0, packet(9, a.sequence, a.timestamp, &payload[..length]));
            a.pass();
            world.run_ms(20);
        }
    };
    key(&mut world, &mut a);
    assert!(digits(&world).starts_with("5:"));
    world.command(MediaCommand::Secret { leg: a.id(), on: true });
    world.run_ms(200);
    b.heard(&mut world);
    key(&mut world, &mut a);
    world.run_ms(100);
    assert!(digits(&world).starts_with("5:"));
    let heard = b.heard(&mut world);
    assert!(heard.is_empty() || power_share(&heard, 770.0) + power_share(&heard, 1_336.0) < 0.1);
}

#[test]
fn a_conference_of_three_codecs_hears_itself_in_wideband() {
    let mut world = World::new(3);
    let mut phones = [
        Phone::new(&mut world, 0, OPUS, 440.0),
        Phone::new(&mut world, 1, G722, 880.0),
        Phone::new(&mut world, 2, PCMU, 1_300.0),
    ];
    let legs = phones.iter().map(|phone| MixLeg { leg: phone.id(), heard_by: HeardBy::Everybody }).collect();
    world.command(MediaCommand::Mix { legs });
    let ear = |world: &mut World, leg| world.shard.leg(leg).unwrap().ear.as_ref().map(|ear| ear.listens_to().1);
    assert_eq!(ear(&mut world, 2), Some(Rate::Wide));
    let [a, b, c] = &mut phones;
    talk(&mut world, &mut [a, b, c], 100);
    for (phone, own, others) in
        [(0, 440.0, [880.0, 1_300.0]), (1, 880.0, [440.0, 1_300.0]), (2, 1_300.0, [440.0, 880.0])]
    {
        let heard = phones[phone].heard(&mut world);
        assert!(others.iter().all(|hz| share(&heard, *hz) > 0.3), "{phone}");
        assert!(share(&heard, own) < 0.02, "{phone}");
    }
    // One wideband phone leaves: the other alone does not make it wide.
    world.command(MediaCommand::Close { leg: MediaLegId(0) });
    assert_eq!(ear(&mut world, 1), Some(Rate::Narrow));
    let [_, b, c] = &mut phones;
    talk(&mut world, &mut [b, c], 50);
    assert!(share(&phones[2].heard(&mut world), 880.0) > 0.9);
}

#[test]
fn loss_and_jitter_on_the_way_to_a_transcoder_are_smoothed() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, OPUS, 440.0);
    let mut b = Phone::new(&mut world, 1, PCMU, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    for index in 0..200 {
        // Every 10th packet is lost, every other one comes 15 ms later.
        if index % 10 == 9 {
            a.lose()
        } else {
            a.speak(&mut world)
        }
        world.run_ms(if index % 2 == 0 { 35 } else { 5 });
    }
    let heard = b.heard(&mut world);
    assert!(heard.len() >= 195 * 160, "{}", heard.len());
    assert!(share(&heard, 440.0) > 0.8, "{}", share(&heard, 440.0));
    b.speak(&mut world);
}

#[test]
fn comfort_noise_counts_as_life_and_is_heard_as_hiss() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, PCMU, 440.0);
    let mut b = Phone::new(&mut world, 1, G722, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    b.heard(&mut world);
    for _ in 0..10 {
        world.hear(0, packet(13, a.sequence, a.timestamp, &[50]));
        a.pass();
        world.run_ms(1_000);
    }
    let silent = |event: &MediaEvent| matches!(event, MediaEvent::Silent { leg: MediaLegId(0), .. });
    assert!(!world.told().iter().any(silent));
    let heard = b.heard(&mut world);
    let power = heard.iter().map(|sample| sample * sample).sum::<f32>() / heard.len() as f32;
    assert!(heard.len() > 400 * 160 && (20.0..400.0).contains(&power.sqrt()), "{} {}", heard.len(), power.sqrt());
    world.run_ms(4_000);
    assert!(world.told().iter().any(silent));
}

#[test]
fn a_tap_has_both_directions_of_a_relay_and_costs_the_call_nothing() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, PCMU, 440.0);
    let mut b = Phone::new(&mut world, 1, PCMA, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    talk(&mut world, &mut [&mut a, &mut b], 10);
    let (into, mut reader) = tap_ring(100);
    world.command(MediaCommand::Tap { leg: a.id(), direction: TapDirection::Both, into });
    let mut frames: Vec<TapFrame> = Vec::new();
    for index in 0..100 {
        if index != 60 {
            a.speak(&mut world)
        } else {
            a.lose()
        }
        b.speak(&mut world);
        world.run_ms(20);
        frames.extend(std::iter::from_fn(|| reader.read()));
    }
    for (way, hz) in [(TapWay::In, 440.0), (TapWay::Out, 880.0)] {
        let own: Vec<&TapFrame> = frames.iter().filter(|frame| frame.way == way).collect();
        assert!(own.windows(2).all(|pair| pair[1].at - pair[0].at == 160));
        assert!(own[10..].iter().all(|frame| frame.heard >= Heard::Concealed));
        let samples: Vec<f32> = own.iter().flat_map(|frame| frame.samples).map(f32::from).collect();
        assert!(share(&samples, hz) > 0.95, "{way:?}: {}", share(&samples, hz));
        let steps: Vec<u32> =
            own[10..50].windows(2).map(|p| p[1].rtp_timestamp.wrapping_sub(p[0].rtp_timestamp)).collect();
        assert!(steps.iter().all(|step| *step == 160), "{steps:?}");
    }
    let concealed = frames.iter().filter(|frame| frame.heard == Heard::Concealed && frame.way == TapWay::In).count();
    assert!((1..=2).contains(&concealed), "{concealed}");
    // Nobody reads for ten seconds: the tap loses frames, the call none.
    world.rtp[1].borrow_mut().clear();
    talk(&mut world, &mut [&mut a, &mut b], 500);
    assert_eq!(b.heard(&mut world).len(), 500 * 160);
    assert_eq!(reader.lost(), 900);
    while reader.read().is_some() {}
    talk(&mut world, &mut [&mut a, &mut b], 5);
    let next = reader.read().unwrap();
    assert!(next.at > 500 * 160 && next.heard == Heard::Voice, "{} {:?}", next.at, next.heard);
    drop(reader);
    talk(&mut world, &mut [&mut a, &mut b], 3);
    let leg = world.shard.leg(0).unwrap();
    assert!(leg.ear.is_none() && leg.tap.is_none() && !leg.listening);
}

#[test]
fn a_tap_hears_prompts_and_conferences_and_ends_with_its_leg() {
    let mut world = World::new(3);
    let mut phones = [
        Phone::new(&mut world, 0, OPUS, 440.0),
        Phone::new(&mut world, 1, PCMU, 880.0),
        Phone::new(&mut world, 2, G722, 1_300.0),
    ];
    let (into, mut reader) = tap_ring(400);
    world.command(MediaCommand::Tap { leg: MediaLegId(0), direction: TapDirection::Out, into });
    let sounds = vec![Sound::Tone { hz: [600, 0], on_ms: 1_000, off_ms: 0, times: 1 }];
    world.command(MediaCommand::Play { leg: MediaLegId(0), token: Token(1), sounds, looped: false });
    world.run_ms(1_000);
    let samples = |reader: &mut crate::tap::TapReader| -> Vec<f32> {
        std::iter::from_fn(|| reader.read()).flat_map(|frame| frame.samples).map(f32::from).collect()
    };
    let heard = samples(&mut reader);
    assert!(share(&heard, 600.0) > 0.9, "{}", share(&heard, 600.0));
    let legs = phones.iter().map(|phone| MixLeg { leg: phone.id(), heard_by: HeardBy::Everybody }).collect();
    world.command(MediaCommand::Mix { legs });
    let [a, b, c] = &mut phones;
    talk(&mut world, &mut [a, b, c], 80);
    let heard = samples(&mut reader);
    assert!(share(&heard, 880.0) > 0.3 && share(&heard, 1_300.0) > 0.3 && share(&heard, 440.0) < 0.02);
    world.command(MediaCommand::Close { leg: MediaLegId(0) });
    samples(&mut reader);
    assert!(reader.is_over());
}

#[test]
fn a_tap_withholds_secret_keys_and_what_is_said_in_a_pause_of_the_recording() {
    let mut world = World::new(2);
    let mut a = Phone::new(&mut world, 0, PCMU, 440.0);
    let mut b = Phone::new(&mut world, 1, PCMU, 880.0);
    world.command(MediaCommand::Bridge { a: a.id(), b: b.id() });
    let (into, mut reader) = tap_ring(1_000);
    world.command(MediaCommand::Tap { leg: a.id(), direction: TapDirection::Both, into });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    while reader.read().is_some() {}
    world.command(MediaCommand::Secret { leg: a.id(), on: true });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    world.command(MediaCommand::Secret { leg: a.id(), on: false });
    let frames: Vec<TapFrame> = std::iter::from_fn(|| reader.read()).collect();
    assert_eq!(frames.len(), 40);
    for frame in &frames {
        let own = frame.way == TapWay::In;
        assert_eq!(frame.withheld, own, "what is said to a party is no secret of theirs");
        assert_eq!(frame.samples == [0; 160], own);
    }
    // What waited in the ear when the secret ended stays one.
    talk(&mut world, &mut [&mut a, &mut b], 20);
    let own: Vec<bool> =
        std::iter::from_fn(|| reader.read()).filter(|f| f.way == TapWay::In).map(|f| f.withheld).collect();
    assert!(own[..10].iter().all(|withheld| *withheld) && !own[11..].iter().any(|withheld| *withheld), "{own:?}");

    let legs = RecordLegs { left: a.id(), right: Some(b.id()) };
    let meta = meta(&[ChannelRole::Caller, ChannelRole::Agent]);
    world.command(MediaCommand::StartRecording { token: Token(9), legs, spool: "pause".into(), meta });
    world.command(MediaCommand::PauseRecording { token: Token(9), paused: true });
    talk(&mut world, &mut [&mut a, &mut b], 20);
    let frames: Vec<TapFrame> = std::iter::from_fn(|| reader.read()).collect();
    assert!(frames.iter().all(|frame| frame.withheld && frame.samples == [0; 160]), "both directions");
    world.command(MediaCommand::PauseRecording { token: Token(9), paused: false });
    talk(&mut world, &mut [&mut a, &mut b], 40);
    let samples: Vec<f32> = std::iter::from_fn(|| reader.read())
        .filter(|frame| frame.way == TapWay::In && !frame.withheld)
        .flat_map(|frame| frame.samples)
        .map(f32::from)
        .collect();
    assert!(samples.len() >= 25 * 160 && share(&samples, 440.0) > 0.95);
}
