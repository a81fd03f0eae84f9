//! Voices of a call for the speech engine: those that its decisions ask for.

use hotline_base::{AgentId, ContactId, TenantId};
use hotline_rtp::api::MediaLegId;
use hotline_session::LegNo;
use hotline_wire::node::{Decision, TapVoices};

use super::Worker;
use super::calls::Entry;
use crate::clock;
use crate::tap;

/// The media legs of a session, and whose voices are wanted.
#[derive(Default)]
pub(super) struct Voices {
    wanted: Option<TapVoices>,
    legs: Vec<(LegNo, MediaLegId)>,
    /// Agents by the legs they were rung on.
    agents: Vec<(LegNo, AgentId)>,
}

impl Voices {
    /// The media legs.
    pub(super) fn legs(&self) -> impl Iterator<Item = MediaLegId> {
        self.legs.iter().map(|(_, media)| *media)
    }

    /// An agent is rung on a leg.
    pub(super) fn rings(&mut self, leg: LegNo, agent: AgentId) {
        self.agents.retain(|(known, _)| *known != leg);
        self.agents.push((leg, agent));
    }

    fn wants(voices: Option<TapVoices>, leg: LegNo) -> bool {
        match voices {
            Some(TapVoices::Both) => true,
            Some(TapVoices::Caller) => leg == LegNo::CALLER,
            Some(TapVoices::Callee) => leg != LegNo::CALLER,
            None => false,
        }
    }
}

impl Worker {
    /// A decision for a call came.
    pub(super) fn tap_decided(&mut self, contact: ContactId, decision: &Decision) {
        let slot = self.by_contact.get(&contact).copied();
        let entry = slot.and_then(|slot| self.slots.get_mut(slot)?.take());
        if let (Some(slot), Some(mut entry)) = (slot, entry) {
            self.tap_wanted(&mut entry, decision);
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(entry);
            }
        }
    }

    /// Whose voices are wanted from now on: the legs that are here are tapped, others when they open.
    pub(super) fn tap_wanted(&self, entry: &mut Entry, decision: &Decision) {
        let Some(wanted) = decision.tap else { return };
        let before = entry.voices.wanted.replace(wanted);
        for (leg, media) in &entry.voices.legs {
            if Voices::wants(Some(wanted), *leg) && !Voices::wants(before, *leg) {
                self.tap_leg(entry, *leg, *media, Some(decision.tenant));
            }
        }
    }

    /// A leg opened.
    pub(super) fn tap_opened(&self, entry: &mut Entry, leg: LegNo, media: MediaLegId) {
        entry.voices.legs.push((leg, media));
        if Voices::wants(entry.voices.wanted, leg) {
            self.tap_leg(entry, leg, media, entry.session.tenant());
        }
    }

    fn tap_leg(&self, entry: &Entry, leg: LegNo, media: MediaLegId, tenant: Option<TenantId>) {
        let mut head = tap::Head::new(entry.session.contact(), leg.to_string(), entry.did(), clock::wall());
        head.tenant = tenant;
        head.agent = entry.voices.agents.iter().find(|(known, _)| *known == leg).map(|(_, agent)| *agent);
        tap::begin(&self.shared, media, head);
    }
}
