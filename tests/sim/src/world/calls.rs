//! Calls, nodes and phones.

use hotline_base::{ContactId, NodeId, RecordingId};
use hotline_ports::{Bucket, Objects, World as _};
use hotline_wire::node::{CallEvent, CallInput, DirectoryInput, OfferFailure, RingAgent};
use hotline_wire::recording::{
    ChannelInfo, ChannelLaw, ChannelRole, ChunkInfo, FRAME_BYTES, FRAME_MS, Manifest, RecordingEnd, SAMPLE_RATE,
    chain_input, chunk_key, manifest_key,
};
use sha2::{Digest, Sha256};

use super::{Happening, World};
use crate::jobs::Job;
use crate::node::{Later, Out, SavedTape, Scene, SimNode};
use crate::people::{Act, Ear};

/// A node renews its lease this often, milliseconds.
const ALIVE_MS: i64 = 2_500;
/// Reports of recordings found on a disk have numbers above those of any call.
pub(super) const REPORTS: u32 = 0x8000_0000;
/// A lease holds this long, milliseconds.
const LEASE_MS: i64 = 8_000;

impl World {
    /// Lets something happen at a node that has power, and does what it asks for.
    pub(super) fn with_node<T>(
        &mut self,
        node: NodeId,
        work: impl FnOnce(&mut SimNode, &mut Scene<'_>) -> T,
    ) -> Option<T> {
        let slot = self.slot_of(node)?;
        let now = self.now();
        let mut out = Vec::new();
        let slot = self.nodes.get_mut(slot).filter(|slot| slot.node.up)?;
        let mut scene = Scene { now, rng: &mut self.rng, out: &mut out };
        let result = work(&mut slot.node, &mut scene);
        for out in out {
            self.do_out(node, out);
        }
        Some(result)
    }

    fn do_out(&mut self, node: NodeId, out: Out) {
        match out {
            Out::Ask { input, attempt } => {
                self.say(input.contact, format!("{} {}", input.seq, event_text(&input.event)));
                let twice = self.dice.is_on() && self.rng.chance(self.plan.faults.duplicate_pm / 4);
                if twice {
                    self.spawn(Job::Ask { input: input.clone(), attempt });
                }
                self.spawn(Job::Ask { input, attempt });
            }
            Out::After { ms, contact, later } => self.after(ms, Happening::Node { node, contact, later }),
            Out::Ring { contact, ring } => self.rings(node, contact, &ring),
            Out::Drop { agent, offer } => {
                if let Some(person) = self.person_of(agent).and_then(|i| self.people.get_mut(i)) {
                    person.phone.remove(&offer);
                }
            }
            Out::Recorded(tape) => {
                let recording = tape.recording;
                if let Some(slot) = self.slot_of(node).and_then(|i| self.nodes.get_mut(i)) {
                    slot.node.disk.insert(recording, tape);
                }
                let ms = self.rng.between(100, 8_000);
                self.after(ms, Happening::Report { node, recording });
            }
            Out::Say { contact, text } => self.say(contact, text),
            Out::CallerGone { contact } => self.say(contact, "the caller is gone"),
        }
    }

    /// Writes a recording as a node would: one chunk and a complete manifest. Of long ones only
    /// the beginning, whose length is given back, milliseconds.
    fn upload(&self, tape: &SavedTape) -> i64 {
        let SavedTape { tenant, contact, recording, duration_ms, voicemail } = tape.clone();
        let duration_ms = (duration_ms / FRAME_MS as i64).clamp(0, 50) * FRAME_MS as i64;
        let roles: &[ChannelRole] =
            if voicemail { &[ChannelRole::Caller] } else { &[ChannelRole::Caller, ChannelRole::Agent] };
        let frames = (duration_ms / FRAME_MS as i64).max(0) as usize;
        let bytes = vec![0xD5_u8; frames * FRAME_BYTES * roles.len()];
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let key = chunk_key(tenant, contact, recording, 0);
        let chunk = ChunkInfo {
            seq: 0,
            key: key.clone(),
            offset_ms: 0,
            duration_ms: duration_ms.max(0) as u64,
            bytes: bytes.len() as u64,
            chain: hex::encode(Sha256::digest(chain_input("", &sha256))),
            sha256,
        };
        let manifest = Manifest {
            tenant,
            contact,
            recording,
            started_at: self.now(),
            sample_rate: SAMPLE_RATE,
            channels: roles.iter().map(|role| ChannelInfo { law: ChannelLaw::A, role: *role }).collect(),
            chunks: if frames == 0 { Vec::new() } else { vec![chunk] },
            gaps: Vec::new(),
            ended: Some(RecordingEnd { duration_ms: duration_ms.max(0) as u64, failure: None }),
            complete: true,
        };
        let body = serde_json::to_vec(&manifest).unwrap_or_default();
        let objects = self.memory.objects.clone();
        let manifest_key = manifest_key(tenant, contact, recording);
        let write = async move {
            objects.put(Bucket::Recordings, &key, bytes, "audio/basic").await?;
            objects.put(Bucket::Recordings, &manifest_key, body, "application/json").await
        };
        // Objects in memory never wait and never fail.
        if let Err(fault) = futures::executor::block_on(write) {
            self.say(contact, format!("upload: {fault}"));
        }
        duration_ms
    }

    pub(super) fn dials(&mut self, caller: usize) {
        let Some(plan) = self.plan.callers.get(caller).cloned() else { return };
        let did = self.plan.tenants.get(plan.tenant).map_or("+861099999999".to_owned(), |t| t.did.clone());
        let contact = ContactId::new(self.now(), self.memory.world.random());
        self.names.insert(contact.to_string(), format!("c{caller}"));
        let Some(slot) = self.nodes.get(plan.node) else { return };
        let node = slot.node.id;
        if !slot.node.up {
            return self.say(contact, "dials a node without power");
        }
        self.say(contact, format!("dials {did} from {:?}", plan.from));
        self.with_node(node, |n, scene| n.arrive(scene, contact, &did, &plan.from, plan.manner));
    }

    pub(super) fn node_later(&mut self, node: NodeId, contact: ContactId, later: Later) {
        self.with_node(node, |n, scene| n.later(scene, contact, later));
    }

    pub(super) fn talk_of(&self, node: NodeId, contact: ContactId) -> i64 {
        let call = self.slot_of(node).and_then(|s| self.nodes.get(s)).and_then(|s| s.node.calls.get(&contact));
        call.map_or(1_000, |call| call.manner.talks_ms)
    }

    /// A node rings an agent's phone.
    fn rings(&mut self, node: NodeId, contact: ContactId, ring: &RingAgent) {
        let (agent, offer) = (ring.agent, ring.offer);
        let at_ms = self.elapsed_ms();
        let phone_up = self.slot_of(ring.phone_node).and_then(|s| self.nodes.get(s)).is_some_and(|s| s.node.up);
        let Some(index) = self.person_of(agent) else { return };
        let Some(person) = self.people.get_mut(index) else { return };
        let fails = |reason, status| Happening::NotTaken { node, contact, offer, reason, status };
        if ring.replaces.is_some() {
            // The phone takes the call over by itself where its own leg is still there.
            let Some(leg) = person.phone.get_mut(&offer) else {
                return self.after(200, fails(OfferFailure::Unreachable, Some(481)));
            };
            *leg = (Ear::Rings, node, contact);
            return self.after(300, Happening::Act { person: index, act: Act::PickUp(offer) });
        }
        if !phone_up || !person.here || person.is_silent(at_ms) {
            let ms = self.rng.between(300, 6_000);
            return self.after(ms, fails(OfferFailure::Unreachable, Some(480)));
        }
        if person.is_engaged() {
            return self.after(100, fails(OfferFailure::Declined, Some(486)));
        }
        person.phone.insert(offer, (Ear::Rings, node, contact));
        let habits = person.plan.habits;
        self.after(150, Happening::Node { node, contact, later: Later::RingStarts { offer } });
        let draw = self.rng.below(1_000) as u32;
        let mut limit = habits.answers_pm;
        let choices = [
            (habits.refuses_pm, Act::Refuse(offer)),
            (habits.declines_pm, Act::Decline(offer)),
            (habits.unreachable_pm, Act::Unreachable(offer)),
        ];
        let mut act = (draw < limit).then_some(Act::PickUp(offer));
        for (pm, other) in choices {
            if act.is_none() && draw < limit + pm {
                act = Some(other);
            }
            limit += pm;
        }
        if let Some(act) = act {
            let ms = if self.rng.chance(50) { self.rng.between(15_000, 22_000) } else { self.rng.between(100, 9_000) };
            self.after(ms, Happening::Act { person: index, act });
        }
    }

    pub(super) fn alive(&mut self, slot: usize) {
        let Some(slot_ref) = self.nodes.get(slot).filter(|s| s.node.up) else { return };
        let node = &slot_ref.node;
        let input = DirectoryInput::NodeAlive {
            node: node.id,
            sip_address: format!("10.0.0.{slot}:5060"),
            calls: node.calls.len() as u32,
            draining: node.draining,
            expires: self.now().plus_ms(node.skew_ms + LEASE_MS),
            started_at: Some(slot_ref.started_at),
        };
        if self.is_after_hours() && node.calls.is_empty() {
            return self.after(3_600_000, Happening::Alive(slot));
        }
        self.spawn(Job::Directory(input));
        self.after(ALIVE_MS, Happening::Alive(slot));
    }

    pub(super) fn crash(&mut self, slot: usize) {
        let now = self.now();
        let Some(slot_ref) = self.nodes.get_mut(slot) else { return };
        let id = slot_ref.node.id;
        let crash = slot_ref.node.crash(now);
        let restart = slot_ref.plan.restart_ms;
        self.say(id, format!("loses power with {} legs", crash.legs.len()));
        for (contact, manner, leaves_at) in crash.callers {
            self.orphaned(contact, manner, leaves_at);
        }
        for (agent, offer, talked) in crash.legs {
            let Some(index) = self.person_of(agent) else { continue };
            if talked {
                // The phone does not know yet: its person hears nothing and hangs up after a while.
                let ms = self.rng.between(8_000, 40_000);
                self.after(ms, Happening::Act { person: index, act: Act::HangUp(offer) });
            } else if let Some(person) = self.people.get_mut(index) {
                person.phone.remove(&offer);
            }
        }
        self.audit.node_down(id, now);
        match restart {
            Some(ms) => self.after(ms, Happening::Start(slot)),
            None => self.say(id, "is gone for good"),
        }
    }

    /// Starts under the same id; uploads what a crash left on the disk.
    pub(super) fn start(&mut self, slot: usize) {
        let now = self.now();
        let Some(slot_ref) = self.nodes.get_mut(slot) else { return };
        slot_ref.node.start();
        slot_ref.started_at = now.plus_ms(slot_ref.plan.skew_ms);
        let id = slot_ref.node.id;
        let found: Vec<RecordingId> = slot_ref.node.disk.keys().copied().collect();
        self.say(id, "starts again");
        self.alive(slot);
        for recording in found {
            let ms = self.rng.between(200, 20_000);
            self.after(ms, Happening::Report { node: id, recording });
        }
    }

    /// Uploads a recording and reports it; again and again until somebody takes note.
    pub(super) fn report(&mut self, node: NodeId, recording: RecordingId) {
        let now = self.now();
        let Some(slot) = self.slot_of(node).and_then(|i| self.nodes.get(i)).filter(|s| s.node.up) else { return };
        let at = now.plus_ms(slot.node.skew_ms);
        let Some(tape) = slot.node.disk.get(&recording).cloned() else { return };
        let duration_ms = self.upload(&tape);
        let event = CallEvent::RecordingEnded {
            recording,
            manifest: manifest_key(tape.tenant, tape.contact, recording),
            duration_ms: duration_ms.max(0) as u64,
            failure: None,
        };
        let seq = REPORTS | (recording.as_u128() as u32);
        self.say(tape.contact, format!("report {}", event_text(&event)));
        let input = CallInput { contact: tape.contact, tenant: Some(tape.tenant), node, seq, at, event };
        self.spawn(Job::Ask { input: Box::new(input), attempt: 0 });
    }

    /// Takes commands off the queues of nodes; each arrives in its own time, now and then twice.
    pub(super) fn take_commands(&mut self) {
        let ids: Vec<NodeId> = self.nodes.iter().map(|slot| slot.node.id).collect();
        for node in ids {
            for command in self.memory.nodes.take(node) {
                let on = self.dice.is_on();
                let copies = if on && self.rng.chance(self.plan.faults.duplicate_pm) { 2 } else { 1 };
                for _ in 0..copies {
                    let slow = on && self.rng.chance(self.plan.faults.delay_pm);
                    let ms = if slow { self.rng.between(1_000, 30_000) } else { self.rng.between(5, 300) };
                    self.after(ms, Happening::Command { node, command: Box::new(command.clone()) });
                }
            }
        }
    }
}

fn event_text(event: &CallEvent) -> String {
    let text = serde_json::to_string(event).unwrap_or_default();
    text.chars().take(140).collect()
}
