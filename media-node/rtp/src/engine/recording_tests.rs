//! Recordings of a running engine, up to what would be in object storage.

use std::time::Duration;

use hotline_base::{ContactId, RecordingId, TenantId, Timestamp};
use hotline_wire::recording::{ChannelRole, Manifest, RecordingMeta};

use super::tests::*;
use super::*;
use crate::api::{Law, MediaEvent, RecordLegs, Token};
use crate::goertzel::power_share;
use crate::spool::tests::leftovers;
use crate::spool::{UploadEvent, UploaderConfig};

pub(super) fn meta(roles: &[ChannelRole]) -> String {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let meta = RecordingMeta {
        tenant: TenantId::new(at, 1),
        contact: ContactId::new(at, 2),
        recording: RecordingId::new(at, 3),
        started_at: at,
        roles: roles.to_vec(),
    };
    serde_json::to_string(&meta).unwrap()
}

/// Uploads everything into memory and gives the manifest and the joined audio.
fn upload(uploader: &mut Uploader) -> (Manifest, Vec<u8>, Vec<UploadEvent>) {
    let mut objects = std::collections::BTreeMap::new();
    while let Some(work) = uploader.next_work(0) {
        objects.insert(work.key, work.body);
        uploader.work_done(work.id, Ok(()), 0);
    }
    let events = uploader.take_events();
    let Some(UploadEvent::Complete { manifest, .. }) = events.first() else { panic!("{events:?}") };
    let manifest: Manifest = serde_json::from_slice(&objects[manifest]).unwrap();
    let audio = manifest.chunks.iter().flat_map(|chunk| objects[&chunk.key].to_vec()).collect();
    (manifest, audio, events)
}

#[test]
fn a_stereo_recording_has_each_side_on_its_channel() {
    let mut world = World::new(31_800, |_| {});
    let (mut caller, mut agent) = (world.phone(1, Law::Mu, Some(101)), world.phone(1, Law::A, Some(101)));
    world.send(MediaCommand::Bridge { a: caller.leg, b: agent.leg });
    world.settle();
    let legs = RecordLegs { left: caller.leg, right: Some(agent.leg) };
    let meta = meta(&[ChannelRole::Caller, ChannelRole::Agent]);
    world.send(MediaCommand::StartRecording { token: Token(5), legs, spool: "call".into(), meta: meta.clone() });
    let (mut low, mut high) = (tone(440), tone(880));
    for _ in 0..40 {
        caller.speak(&mut low);
        agent.speak(&mut high);
        std::thread::sleep(Duration::from_millis(20));
    }
    caller.hears(880.0);
    agent.hears(440.0);
    // The same leg cannot be in two recordings.
    let again = RecordLegs { left: caller.leg, right: None };
    world.send(MediaCommand::StartRecording { token: Token(6), legs: again, spool: "other".into(), meta });
    world.wait(|event| matches!(event, MediaEvent::RecordingStopped { token: Token(6), failure: Some(reason), .. } if reason.contains("already")));
    world.send(MediaCommand::StopRecording { token: Token(5) });
    let stopped = world.wait(|event| matches!(event, MediaEvent::RecordingStopped { token: Token(5), .. }));
    let MediaEvent::RecordingStopped { duration_ms, failure: None, .. } = stopped else { panic!("{stopped:?}") };
    assert!(duration_ms >= 700, "{duration_ms}");
    let mut uploader = world.engine.as_ref().unwrap().uploader(UploaderConfig::default());
    let (manifest, audio, _) = upload(&mut uploader);
    assert!(manifest.complete);
    assert_eq!(audio.len() as u64, duration_ms * 16);
    for (channel, law, hz, other) in [(0, Law::Mu, 440.0, 880.0), (1, Law::A, 880.0, 440.0)] {
        let samples = audio.chunks(320).flat_map(|frame| &frame[channel * 160..(channel + 1) * 160]);
        let samples: Vec<f32> = samples.map(|byte| f32::from(law.decode(*byte))).collect();
        let windows = || samples.chunks(800);
        assert!(windows().any(|window| power_share(window, hz) > 0.9), "{hz} Hz is not on channel {channel}");
        assert!(windows().all(|window| power_share(window, other) < 0.3), "{other} Hz is on channel {channel}");
    }
    assert_eq!(leftovers(&world.scratch.0), 0);
}

#[test]
fn a_recording_survives_the_engine_and_a_second_start_uploads_it() {
    let mut world = World::new(32_000, |_| {});
    let mut caller = world.phone(1, Law::Mu, None);
    let legs = RecordLegs { left: caller.leg, right: None };
    world.send(MediaCommand::StartRecording {
        token: Token(1),
        legs,
        spool: "mail".into(),
        meta: meta(&[ChannelRole::Caller]),
    });
    let mut voice = tone(500);
    for _ in 0..30 {
        caller.speak(&mut voice);
    }
    world.wait(|event| matches!(event, MediaEvent::Latched { .. }));
    world.engine.take().unwrap().shutdown();
    world.events.drain(&mut world.seen);
    assert!(
        world.seen.iter().any(|event| matches!(event, MediaEvent::RecordingStopped { failure: None, .. })),
        "{:?}",
        world.seen
    );
    // As a crash leaves it: cut within the last record.
    let path = world.scratch.0.join("mail.spool");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let (sender, _events) = event_queue(10, || {});
    let config = MediaConfig { spool_dir: world.scratch.0.clone(), spool_min_free_bytes: 0, ..MediaConfig::default() };
    let second = MediaEngine::start(config, vec![sender]).unwrap();
    let (manifest, _, events) = upload(&mut second.uploader(UploaderConfig::default()));
    assert!(matches!(&events[..], [UploadEvent::Complete { failure: Some(_), .. }]), "{events:?}");
    assert!(manifest.ended.unwrap().failure.is_some());
    assert_eq!(second.handle().metrics().spool_bytes, 0);
}

#[test]
fn a_refused_recording_says_why_and_the_call_goes_on() {
    let mut world = World::new(32_200, |config| config.spool_min_free_bytes = u64::MAX);
    let (mut caller, mut agent) = (world.phone(1, Law::Mu, None), world.phone(1, Law::Mu, None));
    world.send(MediaCommand::Bridge { a: caller.leg, b: agent.leg });
    world.settle();
    let legs = RecordLegs { left: caller.leg, right: Some(agent.leg) };
    let good = meta(&[ChannelRole::Caller, ChannelRole::Agent]);
    for (token, meta, spool, told) in
        [(1, good.as_str(), "a", "kept free"), (2, "{}", "a", "meta"), (3, good.as_str(), "../a", "spool folder")]
    {
        world.send(MediaCommand::StartRecording { token: Token(token), legs, spool: spool.into(), meta: meta.into() });
        let event = world.wait(|event| matches!(event, MediaEvent::RecordingStopped { .. }));
        let MediaEvent::RecordingStopped { token: Token(t), failure: Some(reason), .. } = event else {
            panic!("{event:?}")
        };
        assert!(t == token && (reason.contains(told) || reason.contains("kept free")), "{reason}");
    }
    talk(&mut caller, &mut agent, 30);
    caller.hears(880.0);
}
