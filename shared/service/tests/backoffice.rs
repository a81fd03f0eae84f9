//! Recordings, flow versions, configuration, hooks, direct rings.

mod common;

use common::{AGENT, DID, NODE, PATIENT, TENANT, World, name};
use futures::executor::block_on;
use hotline_base::{RecordingId, TenantId, Timestamp};
use hotline_contact::{RecordingKind, RecordingStatus};
use hotline_ports::Bucket;
use hotline_routing::AgentState;
use hotline_service::config::{self, Kind, VipList};
use hotline_service::{ServiceError, flows, wave};
use hotline_wire::node::{CallEvent, EndCause, NodeAction, OfferFailure, Verb};
use hotline_wire::recording::{
    ChannelInfo, ChannelLaw, ChannelRole, ChunkInfo, Manifest, RecordingEnd, chain_input, chunk_key, manifest_key,
};
use serde_json::json;
use sha2::{Digest, Sha256};

fn sha(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// A call that was recorded; the recording's id.
fn recorded(world: &mut World) -> (common::Call, RecordingId) {
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    let ring = world.ring(&mut call);
    world.send(&mut call, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    world.send(&mut call, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    (call, ring.record.expect("calls are recorded"))
}

/// Chunks of 100 ms: left constant 0x80 (loud), right µ-law silence.
fn store_chunks(world: &World, call: &common::Call, recording: RecordingId, chunks: u32) -> Manifest {
    let objects = world.memory.ports().objects;
    let mut manifest = Manifest {
        tenant: TENANT,
        contact: call.contact,
        recording,
        started_at: Timestamp::from_millis(0),
        sample_rate: 8000,
        channels: [ChannelRole::Caller, ChannelRole::Agent]
            .map(|role| ChannelInfo { law: ChannelLaw::Mu, role })
            .to_vec(),
        chunks: Vec::new(),
        gaps: Vec::new(),
        ended: Some(RecordingEnd { duration_ms: u64::from(chunks) * 100, failure: None }),
        complete: true,
    };
    let mut chain = String::new();
    for seq in 0..chunks {
        let mut frame = vec![0x80; 160];
        frame.extend([0xff; 160]);
        let mut body = frame.repeat(5);
        body[0] = seq as u8;
        let sha256 = sha(&body);
        chain = sha(chain_input(&chain, &sha256));
        let key = chunk_key(TENANT, call.contact, recording, seq);
        manifest.chunks.push(ChunkInfo {
            seq,
            key: key.clone(),
            offset_ms: u64::from(seq) * 100,
            duration_ms: 100,
            bytes: body.len() as u64,
            sha256,
            chain: chain.clone(),
        });
        block_on(objects.put(Bucket::Recordings, &key, body, "x")).unwrap();
    }
    manifest
}

fn deliver(world: &mut World, call: &mut common::Call, manifest: &Manifest) {
    let key = manifest_key(TENANT, manifest.contact, manifest.recording);
    let text = serde_json::to_vec(manifest).unwrap();
    block_on(world.memory.ports().objects.put(Bucket::Recordings, &key, text, "x")).unwrap();
    let event =
        CallEvent::RecordingEnded { recording: manifest.recording, manifest: key, duration_ms: 300, failure: None };
    world.send(call, event);
}

fn last_fact(world: &World, name: &str) -> serde_json::Value {
    let found = world.facts.iter().rev().find(|fact| fact.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).body.clone()
}

#[test]
fn a_recording_becomes_one_file_that_can_be_played() {
    let mut world = World::new(PATIENT);
    let (mut call, recording) = recorded(&mut world);
    let manifest = store_chunks(&world, &call, recording, 3);
    deliver(&mut world, &mut call, &manifest);
    let saved = last_fact(&world, "RecordingSaved");
    assert_eq!((&saved["duration_ms"], &saved["missing"]), (&json!(300), &json!(null)));
    let key = saved["key"].as_str().unwrap();
    let wav = block_on(world.memory.ports().objects.get(Bucket::Recordings, key)).unwrap().unwrap();
    assert_eq!(sha(&wav), saved["sha256"].as_str().unwrap());
    assert_eq!(wav.len(), 44 + 300 * 8 * 2 * 2, "0.3 s, two channels, 16 bits");
    assert_eq!(&wav[..44], wave::wav_header(2, 9_600));
    // The second sample of the left channel is loud, the right one silent.
    assert_eq!(i16::from_le_bytes([wav[48], wav[49]]), 32_124);
    assert_eq!(i16::from_le_bytes([wav[50], wav[51]]), 0);
    let contact = world.contact(&call);
    assert_eq!(contact.recordings[0].status, RecordingStatus::Saved);
    assert_eq!(contact.recordings[0].kind, RecordingKind::Call);
    let ticket = hotline_ticket::ticket_of(call.contact);
    let ticket = block_on(hotline_service::tickets::get(&world.service, TENANT, ticket)).unwrap().unwrap();
    assert_eq!(ticket.recordings, [recording]);
}

#[test]
fn a_missing_chunk_is_silence_and_said() {
    let mut world = World::new(PATIENT);
    let (mut call, recording) = recorded(&mut world);
    let manifest = store_chunks(&world, &call, recording, 3);
    world.memory.objects.remove(Bucket::Recordings, &manifest.chunks[1].key);
    deliver(&mut world, &mut call, &manifest);
    let saved = last_fact(&world, "RecordingSaved");
    assert_eq!((&saved["duration_ms"], &saved["missing"]), (&json!(300), &json!("chunk 1 is missing")));
}

#[test]
fn a_forged_manifest_is_refused() {
    let mut world = World::new(PATIENT);
    let (mut call, recording) = recorded(&mut world);
    let mut manifest = store_chunks(&world, &call, recording, 3);
    manifest.chunks.remove(1);
    deliver(&mut world, &mut call, &manifest);
    let failed = last_fact(&world, "RecordingFailed");
    assert_eq!(failed["reason"], "the hash chain is broken at chunk 1");
}

#[test]
fn a_flow_is_published_once_per_meaning_and_can_be_rolled_back() {
    let world = World::new(PATIENT);
    let (service, flow) = (&world.service, name("patient"));
    let publish = |text: &str| block_on(flows::publish(service, TENANT, &flow, text, "li"));
    let again = publish(&format!("# a remark\n{PATIENT}")).unwrap();
    assert_eq!((again.version, again.spoken), (1, 0), "the same meaning");
    let changed = PATIENT.replace("Goodbye.", "Farewell.");
    let second = publish(&changed).unwrap();
    assert_eq!((second.version, second.spoken), (2, 1), "one new text");
    block_on(flows::rollback(service, TENANT, &flow, 1, "li")).unwrap();
    let error = block_on(flows::rollback(service, TENANT, &flow, 9, "li")).unwrap_err();
    assert!(matches!(error, ServiceError::Reject(reject) if reject.code == "not-found"));
    let versions = block_on(flows::versions(service, TENANT, &flow, None, 10)).unwrap();
    assert_eq!(versions.iter().map(|info| info.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(publish(&changed).unwrap().version, 3, "published again after a rollback");
}

#[test]
fn a_contact_keeps_the_version_it_started_with() {
    let mut world = World::new(PATIENT);
    let (call, _) = world.call();
    let changed = PATIENT.replace("Goodbye.", "Farewell.");
    block_on(flows::publish(&world.service, TENANT, &name("patient"), &changed, "li")).unwrap();
    world.pass_ms(10_000);
    let (later, _) = world.call();
    assert_eq!(world.contact(&call).flow.version, 1);
    assert_eq!(world.contact(&later).flow.version, 2);
}

#[test]
fn a_bad_flow_is_refused_with_places_and_remedies() {
    let world = World::new(PATIENT);
    let text = PATIENT.replace("queue: technical", "queue: nowhere");
    let error = block_on(flows::publish(&world.service, TENANT, &name("patient"), &text, "li"));
    let Err(ServiceError::Invalid(invalid)) = error else { panic!("{error:?}") };
    let field = &invalid.fields()[0];
    assert!(field.field.starts_with("text:8:"), "{field:?}");
    assert!(field.message.contains("nowhere"), "{field:?}");
    let found = block_on(flows::check(&world.service, TENANT, "flow: [")).unwrap();
    assert!(!found.is_empty());
    let error = block_on(flows::publish(&world.service, TENANT, &name("other"), PATIENT, "li"));
    assert!(matches!(error, Err(ServiceError::Invalid(_))), "{error:?}");
}

#[test]
fn documents_have_versions_and_tenants() {
    let world = World::new(PATIENT);
    let service = &world.service;
    let list = |number: &str| VipList { numbers: [number.to_string()].into() };
    let put = |tenant, body: &VipList, expected| {
        block_on(config::put(service, tenant, Kind::VIP_LIST, "gold", body, expected, "li"))
    };
    assert_eq!(put(TENANT, &list("+861"), Some(0)), Ok(1));
    let conflict = put(TENANT, &list("+862"), Some(0)).unwrap_err();
    assert!(matches!(&conflict, ServiceError::Reject(reject) if reject.code == "version-conflict"));
    assert_eq!(put(TENANT, &list("+862"), Some(1)), Ok(2));
    let get = |tenant| block_on(config::get::<VipList>(service, tenant, Kind::VIP_LIST, "gold")).unwrap();
    assert_eq!(get(TENANT).unwrap().body, list("+862"));
    assert_eq!(get(TenantId::from_u128(2)), None, "another tenant has none");
    let all = block_on(config::list::<VipList>(service, TENANT, Kind::VIP_LIST, None, 10)).unwrap();
    assert_eq!((all.len(), all[0].version), (1, 2));
    let gone = |expected| block_on(config::delete(service, TENANT, Kind::VIP_LIST, "gold", expected, "li"));
    assert!(gone(Some(1)).is_err());
    assert_eq!(gone(Some(2)), Ok(()));
    assert_eq!(get(TENANT), None);
    assert!(matches!(gone(None), Err(ServiceError::Reject(reject)) if reject.code == "not-found"));
    assert_eq!(put(TENANT, &list("+863"), Some(0)), Ok(4), "the name can be used again");
}

const HOOKED: &str = "\
flow: hooked
languages: [en]
start: look
prompts:
  hello: {en: Hello.}
  sorry: {en: Sorry.}
steps:
  look:
    hook: https://crm.example.com/lookup
    timeout: 2s
    then: good
    on_error: bad
  good:
    hangup: hello
  bad:
    hangup: sorry
";

#[test]
fn a_hook_is_asked_before_the_answer_goes_back() {
    let mut world = World::new(HOOKED);
    world.memory.hooks.answer("https://crm.example.com/lookup", Ok(json!({ "tier": "gold" })));
    let (mut call, _) = world.call();
    assert_eq!(call.words(), "answer hold play hangup".replace("answer hold ", ""));
    assert_eq!(last_fact(&world, "HookAnswered")["ok"], true);
    world.commands(&mut call);
    let mut world = World::new(HOOKED);
    let (call, _) = world.call();
    assert_eq!(call.words(), "play hangup");
    assert_eq!(last_fact(&world, "HookAnswered")["ok"], false);
}

const DIRECT: &str = "\
flow: direct
languages: [en]
start: experts
prompts:
  sorry: {en: Sorry.}
steps:
  experts:
    ring: {group: experts}
    timeout: 20s
    then: bye
    no_answer: bye
  bye:
    hangup: sorry
";

#[test]
fn a_group_is_rung_directly() {
    let mut world = World::new(DIRECT);
    world.sign_in();
    world.available();
    let (mut call, _) = world.call();
    assert!(call.words().ends_with("hold"), "{}", call.words());
    let ring = world.ring(&mut call);
    assert_eq!(ring.agent, AGENT);
    let reason = OfferFailure::Declined;
    world.send(&mut call, CallEvent::OfferFailed { offer: ring.offer, reason, sip_status: Some(603), reasons: vec![] });
    let commands = world.commands(&mut call);
    assert!(matches!(commands.as_slice(), [NodeAction::Script { .. }]), "{commands:?}");
    assert_eq!(call.words(), "play hangup");
    assert!(matches!(world.agent().state, AgentState::Away { .. }));
}

#[test]
fn nobody_of_a_group_is_free() {
    let mut world = World::new(DIRECT);
    let (call, _) = world.call();
    assert_eq!(call.words(), "play hangup");
}

#[test]
fn the_last_agent_who_leaves_sends_the_waiting_on() {
    let flow = PATIENT.replace("    then: bye\n  bye:", "    not_staffed: bye\n    then: bye\n  bye:");
    let mut world = World::new(&flow);
    world.sign_in();
    world.available();
    let (mut first, _) = world.call();
    let ring = world.ring(&mut first);
    world.send(&mut first, CallEvent::OfferAnswered { offer: ring.offer, dialog: None });
    let (mut second, _) = world.call();
    assert_eq!(second.words(), "answer hold", "the queue is staffed: wait");
    world.send(&mut first, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let away = hotline_routing::agent::Requested::Away { reason: name("lunch") };
    let ask = hotline_service::agents::end_wrap_up(&world.service, TENANT, AGENT);
    let set = hotline_service::agents::request_state(&world.service, TENANT, AGENT, away);
    block_on(set).unwrap();
    block_on(ask).ok();
    world.settle();
    let commands = world.commands(&mut second);
    assert!(
        matches!(commands.last(), Some(NodeAction::Script { .. } | NodeAction::Ring(_))),
        "{commands:?} {:?}",
        world.agent()
    );
    assert_eq!(second.words(), "play hangup");
    let _ = (NODE, DID, Verb::Answer);
}
