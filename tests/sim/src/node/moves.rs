//! Calls that a node places itself, calls that it takes over from a lost node, and who hears whom.

use hotline_base::{ContactId, Redacted};
use hotline_wire::legs::{DialFailure, DialParty, DialogRef};
use hotline_wire::node::{CallEvent, MediaScript, OfferFailure, RingAgent};

use super::{Call, Later, Out, Scene, SimNode};
use crate::plan::Manner;

/// Of 1,000 parties who are called back so many answer.
const ANSWERS_PM: u32 = 650;
/// Of 1,000 legs so many can be taken over.
const MOVES_PM: u32 = 850;

/// How far a call that the node places is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dial {
    /// The agent's phone rings first.
    Agent,
    /// The party's phone rings.
    Party,
}

/// A dialog as another node would need it.
pub fn dialog(of: impl std::fmt::Display) -> DialogRef {
    DialogRef {
        sip_call_id: format!("sim-{of}"),
        local_tag: "n".into(),
        remote_tag: "r".into(),
        remote_target: Redacted::new("sip:phone@10.0.1.1".into()),
        peer: "10.0.1.1:5060;transport=udp".into(),
    }
}

impl SimNode {
    /// Places a call: the agent first, or the party.
    pub(super) fn dial(
        &mut self,
        scene: &mut Scene<'_>,
        contact: ContactId,
        tenant: hotline_base::TenantId,
        party: DialParty,
    ) {
        if let Some(call) = self.calls.get_mut(&contact) {
            // The attempt before it is given up without another word.
            call.left = true;
            for (offer, partner) in std::mem::take(&mut call.partners) {
                scene.out.push(Out::Drop { agent: partner.agent, offer });
            }
        }
        let mut call = Call::new(contact, crate::plan::manner(scene.rng));
        call.tenant = Some(tenant);
        call.dial = Some(if party.agent.is_some() { Dial::Agent } else { Dial::Party });
        self.calls.insert(contact, call);
        match party.agent {
            Some(ring) => self.ring(scene, contact, ring),
            None => self.ring_party(scene, contact),
        }
    }

    /// The party's phone rings, and what becomes of it.
    pub(super) fn ring_party(&mut self, scene: &mut Scene<'_>, contact: ContactId) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        call.dial = Some(Dial::Party);
        let turn = call.turn;
        let answers = scene.rng.chance(ANSWERS_PM);
        let ms = if answers { scene.rng.between(500, 20_000) } else { scene.rng.between(500, 30_000) };
        scene.after(ms, contact, Later::PartyDecides { turn, answers });
        self.ask(scene, contact, CallEvent::PartyRinging);
    }

    pub(super) fn party_decides(&mut self, scene: &mut Scene<'_>, contact: ContactId, answers: bool) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.left || call.dial != Some(Dial::Party) {
            return;
        }
        if answers {
            call.dial = None;
            call.answered = true;
            let patience_ms = call.manner.patience_ms;
            let agent = call.partners.iter().find(|(_, p)| p.joined).map(|(offer, _)| *offer);
            call.joined = agent;
            if let Some(offer) = agent {
                call.start_tape(scene, offer);
            }
            scene.after(patience_ms, contact, Later::CallerLeaves);
            self.ask(scene, contact, CallEvent::PartyAnswered { dialog: Some(dialog(contact)) });
            if let (Some(call), Some(_)) = (self.calls.get_mut(&contact), agent) {
                call.joined_seq = call.seq;
            }
            return;
        }
        let reasons = [DialFailure::Busy, DialFailure::NoAnswer, DialFailure::Declined, DialFailure::NoSuchNumber];
        let reason = scene.rng.pick(&reasons).copied().unwrap_or(DialFailure::Busy);
        let event = CallEvent::PartyFailed { reason, sip_status: None, reasons: vec![] };
        self.over(scene, contact, event);
    }

    /// The call is over for the node; this is its last word of it.
    pub(super) fn over(&mut self, scene: &mut Scene<'_>, contact: ContactId, last: CallEvent) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.left {
            return;
        }
        call.left = true;
        call.running = None;
        call.turn += 1;
        call.joined = None;
        call.dial = None;
        for (offer, partner) in std::mem::take(&mut call.partners) {
            scene.out.push(Out::Drop { agent: partner.agent, offer });
        }
        scene.out.push(Out::CallerGone { contact });
        self.ask(scene, contact, last);
    }

    /// Takes a caller's leg over. `manner`: how that caller behaves; `None`: the caller is gone.
    pub fn take_over(
        &mut self,
        scene: &mut Scene<'_>,
        contact: ContactId,
        order: TakeOver,
        manner: Option<(Manner, i64)>,
    ) {
        if self.calls.contains_key(&contact) {
            return;
        }
        let moves = scene.rng.chance(MOVES_PM);
        let alive = manner.is_some() && moves;
        let (manner, leaves_in_ms) = manner.unwrap_or_else(|| (crate::plan::manner(scene.rng), 0));
        let mut call = Call::new(contact, manner);
        call.tenant = Some(order.tenant);
        call.seq = order.seq;
        call.answered = true;
        self.calls.insert(contact, call);
        if !alive {
            let status = if moves { 481 } else { 408 };
            return self.over(scene, contact, CallEvent::ReanchorFailed { sip_status: Some(status) });
        }
        scene.after(leaves_in_ms.max(10), contact, Later::CallerLeaves);
        self.ask(scene, contact, CallEvent::Reanchored { dialog: dialog(contact) });
        self.new_script(scene, contact, order.label, order.script);
    }

    /// An agent's phone asks for a transfer (REFER).
    pub fn transfer_asked(
        &mut self,
        scene: &mut Scene<'_>,
        contact: ContactId,
        offer: hotline_base::OfferId,
        target: String,
    ) {
        if self.calls.get(&contact).is_some_and(|call| call.joined == Some(offer) && !call.left) {
            self.ask(scene, contact, CallEvent::TransferAsked { offer, target: Redacted::new(target) });
        }
    }

    /// What is left of a placed call when its agent did not come.
    pub(super) fn dial_lost_agent(&mut self, scene: &mut Scene<'_>, contact: ContactId) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.dial.is_some() {
            call.left = true;
            call.dial = None;
            call.turn += 1;
            scene.out.push(Out::CallerGone { contact });
        }
    }
}

impl Call {
    /// Whether a ring is for a leg beside others, or for the caller alone.
    pub(super) fn takes(&self, ring: &RingAgent) -> Result<(), OfferFailure> {
        if self.joined.is_some() && ring.arrange.is_none() { Err(OfferFailure::Rescinded) } else { Ok(()) }
    }
}

/// What a node is told about a leg that it takes over.
#[derive(Debug, Clone)]
pub struct TakeOver {
    /// Whose.
    pub tenant: hotline_base::TenantId,
    /// Of the script.
    pub label: String,
    /// Played at once.
    pub script: MediaScript,
    /// Counts on from here.
    pub seq: u32,
}
