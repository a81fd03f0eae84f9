//! The node that carries a call dies: another one takes the call over, or the party is called back.

use hotline_base::{Name, NodeId, RecordingId, Reject, Timestamp};
use hotline_flow::StepKind;
use hotline_flow::run::Ask;
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{NodeAction, RingAgent, Verb};

use crate::step::Work;
use crate::{
    AgentNews, ContactEffect, ContactFact, EndReason, LOST_CREDIT_MS, LeftQueue, MAX_LOST_NODES, PartyLeg, Phase,
    Place, REJOIN_MS, RecordingKind, Rejoin,
};

impl Work<'_> {
    /// Whether the caller's leg is between two nodes.
    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.contact.leg, PartyLeg::Moving { .. })
    }

    /// The node is gone.
    pub(crate) fn node_lost(&mut self, node: NodeId, to: Option<NodeId>, before: Timestamp) -> Result<(), Reject> {
        let contact = &self.contact;
        let carried_since = contact.anchored_at.unwrap_or(contact.id.created_at());
        if !contact.is_alive() || contact.node != node || carried_since > before {
            return Ok(());
        }
        if contact.leg == PartyLeg::Absent || self.is_asked() {
            return self.dial_lost(node);
        }
        self.contact.lost_nodes = self.contact.lost_nodes.saturating_add(1);
        // A call that was not answered yet has no dialog to take over; one that is being ended
        // needs none.
        let contact = &self.contact;
        let ending = matches!(&contact.phase, Phase::InFlow { ask: Ask::Hangup | Ask::Reject { .. } });
        let movable = contact.answered && contact.dialog.is_some() && contact.lost_nodes <= MAX_LOST_NODES && !ending;
        let to = to.filter(|_| movable);
        self.facts.push(ContactFact::NodeLost { node, to });
        match to {
            Some(to) => self.move_to_node(node, to),
            None => {
                self.lost_for_good();
                Ok(())
            }
        }
    }

    fn move_to_node(&mut self, from: NodeId, to: NodeId) -> Result<(), Reject> {
        let contact = &mut self.contact;
        contact.node = to;
        contact.anchored_at = Some(self.now);
        contact.leg = PartyLeg::Moving { from, since: self.now };
        contact.stray = None;
        // The node dials anew whom the caller had been left to.
        contact.outside = None;
        self.inherits = None;
        self.reanchors = true;
        match self.contact.phase.clone() {
            Phase::InFlow { ask: Ask::Hook { .. } } => {
                let rest = self.contact.script.verbs.iter().filter(|verb| matches!(verb, Verb::Hold { .. }));
                let rest = rest.cloned().collect();
                self.play(rest);
            }
            // What was asked is asked again; a message is recorded anew.
            Phase::InFlow { ask } => self.begin(Vec::new(), ask)?,
            Phase::Waiting(_) => self.hold_again(),
            Phase::Offered { mut wait, offer } => {
                self.facts.push(ContactFact::OfferRescinded { offer: offer.offer, agent: offer.agent });
                self.tell(offer.agent, offer.offer, AgentNews::Rescinded);
                wait.looked_at = self.now;
                self.contact.phase = Phase::Waiting(wait);
                self.hold_again();
            }
            Phase::Talking { .. } => {
                self.drop_others(false);
                if let Phase::Talking { held, rejoin, .. } = &mut self.contact.phase {
                    *held = None;
                    *rejoin = None;
                }
                let music = self.contact.fallback.music.clone();
                self.play(vec![Verb::Hold { music, announce: Vec::new(), keys: String::new() }]);
            }
            Phase::Dialling { .. } | Phase::Resting { .. } | Phase::Ended { .. } => {}
        }
        Ok(())
    }

    /// The new node has the caller's leg.
    pub(crate) fn reanchored(&mut self, dialog: &DialogRef) -> Result<(), Reject> {
        let PartyLeg::Moving { from, since } = self.contact.leg else {
            return Ok(());
        };
        self.contact.leg = PartyLeg::Here;
        self.contact.dialog = Some(dialog.clone());
        let after_ms = self.now.since_ms(since).max(0);
        self.facts.push(ContactFact::CallReanchored { from, to: self.contact.node, after_ms });
        // The script may have changed since the node was asked.
        self.contact.script.answers = self.answering;
        match &self.contact.phase {
            Phase::Waiting(wait) => match &wait.place {
                Place::Queue { ask } => self.effects.push(ContactEffect::MatchQueue { queue: ask.queue.clone() }),
                Place::Direct { target, ring_timeout_ms } => {
                    let (target, ring_timeout_ms) = (target.clone(), *ring_timeout_ms);
                    let not = wait.entry.not.clone();
                    self.effects.push(ContactEffect::RingDirect { target, ring_timeout_ms, not });
                }
            },
            Phase::Talking { .. } => return self.rejoin_agent(from),
            _ => {}
        }
        Ok(())
    }

    /// Rings the agent who had talked, so that the phone changes nodes as well.
    fn rejoin_agent(&mut self, lost: NodeId) -> Result<(), Reject> {
        let Phase::Talking { interaction, .. } = self.contact.phase.clone() else {
            return Ok(());
        };
        let reachable = |phone: &crate::Phone| interaction.dialog.is_some() || phone.node != lost;
        let Some(phone) = interaction.phone.clone().filter(reachable) else {
            return self.agent_lost();
        };
        let recorded =
            self.contact.recordings.iter().any(|r| r.kind == RecordingKind::Call && r.agent == Some(interaction.agent));
        let fresh = self.setting()?.fresh;
        let record = recorded.then(|| RecordingId::new(self.now, fresh));
        let here = self.contact.node;
        let moved = phone.node == lost || phone.node == here;
        let ring = RingAgent {
            offer: interaction.offer,
            agent: interaction.agent,
            sip_user: phone.sip_user,
            phone_node: if moved { here } else { phone.node },
            ring_timeout_ms: REJOIN_MS as u32,
            caller_label: self.contact.from.clone(),
            whisper: Vec::new(),
            record,
            phone_address: phone.address.filter(|_| !moved),
            arrange: None,
            replaces: interaction.dialog,
            number: None,
        };
        self.command(NodeAction::Ring(ring), Some(REJOIN_MS));
        if let Phase::Talking { rejoin, .. } = &mut self.contact.phase {
            *rejoin = Some(Rejoin { since: self.now, record });
        }
        Ok(())
    }

    /// The agent is on the call again; `false`: nobody was waited for.
    pub(crate) fn rejoined(&mut self, dialog: Option<&DialogRef>) -> bool {
        let Phase::Talking { interaction, rejoin, .. } = &mut self.contact.phase else {
            return false;
        };
        let Some(Rejoin { record, .. }) = rejoin.take() else {
            return false;
        };
        interaction.dialog = dialog.cloned();
        let (offer, agent) = (interaction.offer, interaction.agent);
        self.facts.push(ContactFact::AgentRejoined { offer, agent });
        if let Some(recording) = record {
            self.add_recording(recording, RecordingKind::Call, Some(agent));
        }
        true
    }

    /// The agent does not come back: the caller returns to the head of the queue.
    pub(crate) fn agent_lost(&mut self) -> Result<(), Reject> {
        let Phase::Talking { interaction, .. } = &self.contact.phase else {
            return Ok(());
        };
        let (offer, agent) = (interaction.offer, interaction.agent);
        self.facts.push(ContactFact::RejoinFailed { offer, agent });
        self.close_talk(false);
        if self.requeue(LOST_CREDIT_MS)? { Ok(()) } else { self.go_on() }
    }

    /// Nobody can take the call over.
    pub(crate) fn move_failed(&mut self, sip_status: Option<u16>) {
        if self.is_moving() {
            self.facts.push(ContactFact::ReanchorFailed { node: self.contact.node, sip_status });
            self.lost_for_good();
        }
    }

    /// The call is lost: whoever can be called is promised a call back, in the old place.
    fn lost_for_good(&mut self) {
        let contact = &self.contact;
        let since = match &contact.phase {
            Phase::InFlow { ask: Ask::Hangup | Ask::Reject { .. } } => None,
            Phase::InFlow { .. } => Some(contact.arrived_at),
            Phase::Talking { since, .. } => {
                Some(contact.last_wait.as_ref().map_or(*since, |wait| wait.entry.virtual_time()))
            }
            _ => contact.wait().map(|wait| wait.entry.virtual_time()),
        };
        let queue = contact.queue.clone().or_else(|| self.first_queue());
        let number = contact.from.clone();
        if let (Some(since), Some(queue)) = (since, queue) {
            let policy = self.setting.and_then(|setting| setting.queues.get(&queue)).map(|config| &config.callback);
            let home = self.setting.map(|setting| setting.home.clone()).unwrap_or_default();
            if let Ok(number) = policy.cloned().unwrap_or_default().admit(&home, number.expose()) {
                self.contact.callback = true;
                let number = number.to_string().into();
                // Who waited goes on waiting; who had been answered waits anew.
                let wait = self.contact.wait().filter(|wait| wait.place.queue().is_some());
                let entered = Some(wait.map_or(self.now, |wait| wait.entry.enqueued_at));
                if let Some((wait, from)) = wait.and_then(|wait| Some((wait, wait.place.queue()?.clone()))) {
                    let (wait_ms, why) = (wait.entry.waited_ms(self.now), LeftQueue::Lost);
                    self.facts.push(ContactFact::QueueLeft { queue: from, wait_ms, why });
                }
                self.facts.push(ContactFact::CallbackRequested { number, queue, since, entered, lost_call: true });
            }
        }
        self.end(EndReason::NodeLost, None, None);
    }

    /// The first queue of the flow, by its step's name: who was lost in a menu is called by it.
    fn first_queue(&self) -> Option<Name> {
        let flow = &self.setting?.flow;
        let flow = flow.flow(flow.name())?;
        flow.steps.values().find_map(|step| match &step.kind {
            StepKind::Queue(queue) => Some(queue.queue.name.clone()),
            _ => None,
        })
    }
}
