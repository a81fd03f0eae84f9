//! Ends, in every phase.

use hotline_flow::run::Ask;
use hotline_wire::node::{EndCause, NodeAction};
use hotline_wire::quality::CallQuality;

use crate::step::Work;
use crate::{AgentNews, ContactFact, EndReason, Ending, Phase};

/// A node may take this long to carry out the end of a call, milliseconds.
const END_LIFE_MS: i64 = 3_600_000;

impl Work<'_> {
    /// Ends the contact once; whoever was with it is freed.
    pub(crate) fn end(&mut self, reason: EndReason, cause: Option<EndCause>, quality: Option<CallQuality>) {
        let mut abandoned_after_ms = self.gave_up_after_ms;
        // Whoever is promised a call back has not given up.
        let promised = reason == EndReason::NodeLost && self.contact.callback;
        let mut agent = self.contact.interactions.last().map(|last| last.agent);
        // Most messages end with the caller hanging up; the node tells its length later.
        let mut voicemail = self.contact.voicemail;
        match self.contact.phase.clone() {
            Phase::Ended { .. } => return,
            Phase::InFlow { ask } => voicemail |= matches!(ask, Ask::Record { .. }),
            // Nobody gives up who is not there.
            Phase::Waiting(wait) if self.is_absent() => self.close_wait(&wait),
            Phase::Waiting(wait) => {
                self.close_wait(&wait);
                let queue = wait.place.queue().filter(|_| !promised);
                abandoned_after_ms = queue.map(|_| wait.entry.waited_ms(self.now));
            }
            Phase::Offered { wait, offer } => {
                self.close_wait(&wait);
                let queue = wait.place.queue().filter(|_| !promised && !self.is_absent());
                abandoned_after_ms = queue.map(|_| wait.entry.waited_ms(self.now));
                let (agent, offer) = (offer.agent, offer.offer);
                self.facts.push(ContactFact::OfferRescinded { offer, agent });
                self.tell(agent, offer, AgentNews::Rescinded);
            }
            Phase::Dialling { wait, with, .. } => {
                self.close_wait(&wait);
                if let Some(open) = with {
                    self.tell(open.agent, open.offer, AgentNews::NotReached);
                }
            }
            Phase::Resting { .. } => self.contact.waited_ms += self.contact.waited_ms(self.now).unwrap_or(0),
            Phase::Talking { interaction, .. } => {
                self.drop_others(false);
                self.close_talk(false);
                agent = Some(interaction.agent);
            }
        }
        let contact = &mut self.contact;
        contact.phase = Phase::Ended { at: self.now, reason };
        contact.stray = None;
        contact.outside = None;
        self.facts.push(ContactFact::ContactEnded(Box::new(Ending {
            contact: contact.id,
            reason,
            cause,
            arrived_at: contact.arrived_at,
            did: contact.did.clone(),
            from: contact.from.clone(),
            display_name: contact.display_name.clone(),
            lang: contact.cursor.lang,
            category: contact.cursor.category.clone(),
            priority: contact.cursor.priority,
            duration_ms: self.now.since_ms(contact.arrived_at).max(0),
            wait_ms: contact.waited_ms,
            talk_ms: contact.talked_ms,
            queue: contact.queue.clone(),
            abandoned_after_ms,
            answered_at: contact.answered_at,
            agent,
            interactions: contact.interaction_count,
            recordings: contact.recordings.iter().map(|r| r.recording).collect(),
            voicemail,
            callback: contact.callback,
            survey: contact.survey,
            quality,
            transfers: contact.transfers,
            callback_of: contact.order.as_ref().and_then(|order| order.of),
        })));
    }

    /// Ends the call by a command to the node, and the contact at once.
    pub(crate) fn end_by_command(&mut self) {
        if !self.contact.is_alive() {
            return;
        }
        let carried = !self.is_absent() || matches!(self.contact.phase, Phase::Offered { .. } | Phase::Dialling { .. });
        if carried {
            self.command(NodeAction::End, Some(END_LIFE_MS));
        }
        self.end(EndReason::Ended, None, None);
    }
}
