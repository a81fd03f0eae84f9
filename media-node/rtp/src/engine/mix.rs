//! Conferences: what a party hears is the sum of those it may hear, every 20 ms.

use std::collections::VecDeque;

use super::io::MediaSocket;
use super::shard::{Shard, Slot};
use crate::api::{HeardBy, Law, MediaLegId, MixLeg};
use crate::g711::FRAME_SAMPLES;
use crate::packet::HEADER_LEN;
use crate::stream::Micros;

/// Most parties.
const MAX_PARTIES: usize = 8;
/// Samples waiting before a party is heard again after a gap: 40 ms against jitter.
const PRIME: usize = 320;
/// More than this waiting (200 ms) is delay: the oldest is dropped.
const MAX_WAITING: usize = 1_600;

struct Party {
    slot: Slot,
    leg: MediaLegId,
    heard_by: HeardBy,
    waiting: VecDeque<i16>,
    primed: bool,
}

impl Party {
    fn hears(&self, other: &Party) -> bool {
        self.leg != other.leg
            && match other.heard_by {
                HeardBy::Everybody => true,
                HeardBy::Nobody => false,
                HeardBy::Only(leg) => leg == self.leg,
            }
    }

    fn take(&mut self) -> [i16; FRAME_SAMPLES] {
        let mut frame = [0; FRAME_SAMPLES];
        self.primed |= self.waiting.len() >= PRIME;
        if self.primed && self.waiting.len() >= FRAME_SAMPLES {
            for (sample, waiting) in frame.iter_mut().zip(self.waiting.drain(..FRAME_SAMPLES)) {
                *sample = waiting;
            }
        } else {
            self.primed = false;
        }
        frame
    }
}

/// A conference.
pub(super) struct Mix {
    parties: Vec<Party>,
}

impl<S: MediaSocket> Shard<S> {
    pub fn mix(&mut self, legs: &[MixLeg], _now: Micros) {
        let mut parties = Vec::new();
        for leg in legs.iter().take(MAX_PARTIES) {
            let Some(slot) = self.slot_of(leg.leg) else {
                continue;
            };
            if parties.iter().any(|party: &Party| party.slot == slot) {
                continue;
            }
            self.unbridge(slot);
            self.leave_mix(slot);
            parties.push(Party { slot, leg: leg.leg, heard_by: leg.heard_by, waiting: VecDeque::new(), primed: false });
        }
        if legs.len() > MAX_PARTIES || parties.len() < legs.len() {
            tracing::warn!(asked = legs.len(), mixed = parties.len(), "not all legs of a conference could be mixed");
        }
        if parties.len() < 2 {
            return;
        }
        let name = self.next_mix;
        self.next_mix = self.next_mix.wrapping_add(1);
        for party in &parties {
            if let Some(leg) = self.leg(party.slot) {
                leg.mix = Some(name);
            }
        }
        self.mixes.insert(name, Box::new(Mix { parties }));
        self.wheel.add_mix(name);
    }

    /// Takes a leg out; with one party left there is nothing to mix.
    pub fn leave_mix(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        leg.sender.forget_relay();
        let Some(name) = leg.mix.take() else { return };
        let Some(mix) = self.mixes.get_mut(&name) else {
            return;
        };
        mix.parties.retain(|party| party.slot != slot);
        if mix.parties.len() < 2 {
            let last = self.mixes.remove(&name);
            for party in last.iter().flat_map(|mix| &mix.parties) {
                if let Some(leg) = self.leg(party.slot) {
                    leg.mix = None;
                    leg.sender.forget_relay();
                }
            }
        }
    }

    /// What a party says.
    pub fn mix_input(&mut self, name: u32, slot: Slot, payload: &[u8], law: Law) {
        let Some(mix) = self.mixes.get_mut(&name) else {
            return;
        };
        let Some(party) = mix.parties.iter_mut().find(|party| party.slot == slot) else {
            return;
        };
        party.waiting.extend(payload.iter().map(|byte| law.decode(*byte)));
        let surplus = party.waiting.len().saturating_sub(MAX_WAITING);
        if surplus > 0 {
            party.waiting.drain(..surplus + MAX_WAITING - PRIME);
        }
    }

    /// Sends everybody a frame; `false` when the conference is over.
    pub fn tick_mix(&mut self, name: u32, now: Micros) -> bool {
        let Some(mut mix) = self.mixes.remove(&name) else {
            return false;
        };
        let frames: Vec<[i16; FRAME_SAMPLES]> = mix.parties.iter_mut().map(Party::take).collect();
        for party in &mix.parties {
            let mut sum = [0i32; FRAME_SAMPLES];
            for (other, frame) in mix.parties.iter().zip(&frames) {
                if party.hears(other) {
                    for (total, sample) in sum.iter_mut().zip(frame) {
                        *total += i32::from(*sample);
                    }
                }
            }
            self.send_mixed(party.slot, &sum, now);
        }
        self.mixes.insert(name, mix);
        true
    }

    fn send_mixed(&mut self, slot: Slot, sum: &[i32; FRAME_SAMPLES], now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        // A prompt to this party alone goes first.
        if leg.play.is_some() || leg.digits_out.is_some() {
            return;
        }
        let (Ok(destination), Some(remote)) = (leg.destination(), leg.remote) else {
            return;
        };
        let mut packet = [0; HEADER_LEN + FRAME_SAMPLES];
        packet[0] = 0x80;
        for (byte, sample) in packet.iter_mut().skip(HEADER_LEN).zip(sum) {
            *byte = remote.law.encode((*sample).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16);
        }
        leg.sender.next_local(remote.law.payload_type(), FRAME_SAMPLES as u32, now).apply(&mut packet);
        leg.sender.sent(FRAME_SAMPLES);
        let taken = leg.send_rtp(destination, &packet);
        self.count_sent(taken);
    }
}
