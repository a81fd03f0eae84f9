//! Conferences: what a party hears is the sum of those it may hear, every 20 ms.

use super::io::MediaSocket;
use super::listen::Frame;
use super::shard::{Shard, Slot};
use crate::api::{HeardBy, MediaLegId, MixLeg};
use crate::codec::Rate;
use crate::stream::Micros;

/// Most parties.
const MAX_PARTIES: usize = 8;
struct Party {
    slot: Slot,
    leg: MediaLegId,
    heard_by: HeardBy,
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
}

/// A conference.
pub(super) struct Mix {
    parties: Vec<Party>,
    rate: Rate,
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
            parties.push(Party { slot, leg: leg.leg, heard_by: leg.heard_by });
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
        self.mixes.insert(name, Box::new(Mix { parties, rate: Rate::Narrow }));
        self.tune_mix(name);
        self.wheel.add_mix(name);
    }

    /// Takes a leg out; with one party left there is nothing to mix.
    pub fn leave_mix(&mut self, slot: Slot) {
        let Some(leg) = self.leg(slot) else { return };
        leg.sender.forget_relay();
        let Some(name) = leg.mix.take() else { return };
        self.tune(slot);
        let Some(mix) = self.mixes.get_mut(&name) else {
            return;
        };
        mix.parties.retain(|party| party.slot != slot);
        if mix.parties.len() >= 2 {
            self.tune_mix(name);
            return;
        }
        let last = self.mixes.remove(&name);
        for party in last.iter().flat_map(|mix| &mix.parties) {
            if let Some(leg) = self.leg(party.slot) {
                leg.mix = None;
                leg.sender.forget_relay();
            }
            self.tune(party.slot);
        }
    }

    /// A party has come, gone, or changed its codec.
    pub fn tune_mix(&mut self, name: u32) {
        let Some(mix) = self.mixes.get(&name) else { return };
        let slots: Vec<Slot> = mix.parties.iter().map(|party| party.slot).collect();
        let rate = self.rate_for(slots.iter().copied());
        if let Some(mix) = self.mixes.get_mut(&name) {
            mix.rate = rate;
        }
        for slot in slots {
            self.tune_one(slot, Some(rate));
        }
    }

    /// Sends everybody a frame; `false` when the conference is over.
    pub fn tick_mix(&mut self, name: u32, now: Micros) -> bool {
        let Some(mix) = self.mixes.remove(&name) else {
            return false;
        };
        let said: Vec<Option<Frame>> =
            mix.parties.iter().map(|party| self.listen(party.slot).map(|(frame, _)| frame)).collect();
        for party in &mix.parties {
            let mut sum = [0i32; Rate::Wide.frame()];
            for (other, frame) in mix.parties.iter().zip(&said) {
                // A frame of another rate is the last one before a change of codecs.
                if let Some(frame) = frame.as_ref().filter(|frame| frame.rate == mix.rate && party.hears(other)) {
                    for (total, sample) in sum.iter_mut().zip(frame.samples()) {
                        *total += i32::from(*sample);
                    }
                }
            }
            let mut mixed = Frame::silent(mix.rate);
            for (into, total) in mixed.samples_mut().iter_mut().zip(&sum) {
                *into = (*total).clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
            }
            self.send_frame(party.slot, &mixed, now);
        }
        self.mixes.insert(name, mix);
        true
    }
}
