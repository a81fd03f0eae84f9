//! One step: who handles which event, and what the node is told.

use hotline_base::limits::FACTS_PER_STEP;
use hotline_base::{CommandId, NodeId, Reject, Timestamp, Transition};
use hotline_flow::run;
use hotline_wire::node::{CallEvent, Decision, Fallback, NodeAction, NodeCommand, Verb};

use crate::queueing::BackReason;
use crate::{
    AgentNews, Contact, ContactEffect, ContactFact, ContactInput, EndReason, Event, Phase, Script, Setting,
    TIMER_ANNOUNCE, TIMER_GUARD, TIMER_OFFER, TIMER_OVERFLOW, TIMER_RECORDING, TIMER_REMATCH, TIMER_WAIT,
};

/// How long a command that is not tied to an offer stays good, milliseconds.
const COMMAND_LIFE_MS: i64 = 120_000;

type Step = Transition<Contact, ContactFact, ContactEffect>;

/// A contact on its way from one state to the next.
pub(crate) struct Work<'a> {
    pub(crate) contact: Contact,
    pub(crate) facts: Vec<ContactFact>,
    pub(crate) effects: Vec<ContactEffect>,
    pub(crate) setting: Option<&'a Setting>,
    pub(crate) now: Timestamp,
    /// The number of the node's input that is being answered.
    pub(crate) answering: Option<u32>,
    /// The input that the present script answers, where the next one answers it better.
    pub(crate) inherits: Option<u32>,
    /// Queues that were full in this step.
    pub(crate) turned_away: u8,
    /// The answer to the INVITE is part of a script of this step.
    pub(crate) answers_now: bool,
}

pub(crate) fn step(state: Option<&Contact>, input: &ContactInput, now: Timestamp) -> Result<Step, Reject> {
    let setting = input.setting.as_deref();
    let Some(contact) = state else {
        return arrive(&input.event, setting, now);
    };
    let answering = match &input.event {
        Event::Node { seq, node, .. } if *node == contact.node => Some(*seq),
        Event::Node { node, .. } => {
            let said = format!("{} carries this contact, not {node}", contact.node);
            return Err(Reject::new("other-node", said));
        }
        _ => None,
    };
    let mut work = Work {
        contact: contact.clone(),
        facts: Vec::new(),
        effects: Vec::new(),
        setting,
        now,
        answering,
        inherits: None,
        turned_away: 0,
        answers_now: false,
    };
    work.event(&input.event)?;
    Ok(work.done())
}

fn arrive(event: &Event, setting: Option<&Setting>, now: Timestamp) -> Result<Step, Reject> {
    let Event::Node { tenant, contact, node, seq, event, .. } = event else {
        return Err(Reject::new("unknown-contact", "there is no such contact"));
    };
    let CallEvent::Arrived { did, from, display_name, sip_call_id, .. } = event else {
        return Err(Reject::new("unknown-contact", "the call has not arrived yet"));
    };
    let setting = setting.ok_or_else(setting_missing)?;
    let caller = run::Caller { number: from.clone(), lang: None };
    let turn = run::start(&setting.flow, &caller, &setting.env, now);
    let lang = turn.cursor.lang;
    let contact = Contact {
        tenant: *tenant,
        id: *contact,
        node: *node,
        did: did.clone(),
        from: from.clone(),
        display_name: display_name.clone(),
        arrived_at: now,
        flow: setting.pin.clone(),
        cursor: turn.cursor.clone(),
        phase: Phase::InFlow { ask: run::Ask::Hangup },
        script: Script { number: 0, label: String::new(), verbs: Vec::new(), answers: None },
        fallback: fallback(setting, lang),
        answered: false,
        commands: 0,
        hooks: 0,
        interactions: Vec::new(),
        interaction_count: 0,
        recordings: Vec::new(),
        stray: None,
        answered_at: None,
        waited_ms: 0,
        talked_ms: 0,
        queue: None,
        voicemail: false,
        callback: false,
        survey: None,
    };
    let arrived = ContactFact::ContactArrived {
        contact: contact.id,
        did: did.clone(),
        from: from.clone(),
        display_name: display_name.clone(),
        node: *node,
        sip_call_id: sip_call_id.clone(),
        flow: setting.pin.clone(),
        lang,
    };
    let mut work = Work {
        contact,
        facts: vec![arrived],
        effects: Vec::new(),
        setting: Some(setting),
        now,
        answering: Some(*seq),
        inherits: None,
        turned_away: 0,
        answers_now: false,
    };
    work.turn(turn)?;
    Ok(work.done())
}

/// What keeps a caller company while decisions fail.
pub fn fallback(setting: &Setting, lang: hotline_base::Lang) -> Fallback {
    let ask = run::fallback(&setting.flow, lang);
    Fallback {
        apology: setting.prompts.prompts(&ask.apology),
        music: setting.prompts.prompt(&ask.music).unwrap_or_else(crate::silence),
        lang,
        give_up_ms: ask.give_up_ms,
    }
}

pub(crate) fn setting_missing() -> Reject {
    Reject::new("setting-missing", "this step needs the flow version and the queues")
}

impl<'a> Work<'a> {
    pub(crate) fn setting(&self) -> Result<&'a Setting, Reject> {
        self.setting.ok_or_else(setting_missing)
    }

    fn event(&mut self, event: &Event) -> Result<(), Reject> {
        match event {
            Event::Node { event, .. } => self.node_event(event),
            Event::Offer { .. } => self.offer(event),
            Event::OfferReturned { offer, declined } => {
                let why = if *declined { BackReason::Declined } else { BackReason::Rescinded };
                self.offer_back(*offer, why, true)
            }
            Event::NobodyFree => self.nobody_free(),
            Event::NobodyStaffed { queue } => self.nobody_staffed(queue),
            Event::HookAnswered { number, vars } => self.hook_answered(*number, vars.as_ref()),
            Event::RecordingComposed { recording, result } => {
                self.recording_composed(*recording, result);
                Ok(())
            }
            Event::NodeLost { node } if *node == self.contact.node => {
                self.node_lost();
                Ok(())
            }
            Event::NodeLost { .. } => Ok(()),
            Event::End => {
                self.end_by_command();
                Ok(())
            }
            Event::Timer { timer } => self.timer(timer),
        }
    }

    fn node_event(&mut self, event: &CallEvent) -> Result<(), Reject> {
        match event {
            CallEvent::Arrived { .. } => Ok(()),
            CallEvent::RecordingEnded { recording, manifest, duration_ms, failure } => {
                self.recording_ended(*recording, manifest, *duration_ms, failure.as_deref());
                Ok(())
            }
            _ if !self.contact.is_alive() => Ok(()),
            CallEvent::ScriptEnded { label, result } => self.script_ended(label, result),
            CallEvent::OfferRinging { offer } => {
                self.offer_ringing(*offer);
                Ok(())
            }
            CallEvent::OfferAnswered { offer, .. } => self.offer_answered(*offer),
            CallEvent::OfferFailed { offer, reason, sip_status } => self.offer_failed(*offer, *reason, *sip_status),
            CallEvent::AgentLegEnded { offer, .. } => self.agent_leg_ended(*offer),
            CallEvent::CallEnded { cause, quality } => {
                let reason = self.reason_of(*cause);
                self.end(reason, Some(*cause), *quality);
                Ok(())
            }
            CallEvent::PartyRinging
            | CallEvent::PartyAnswered { .. }
            | CallEvent::PartyFailed { .. }
            | CallEvent::Reanchored { .. }
            | CallEvent::ReanchorFailed { .. }
            | CallEvent::TransferAsked { .. } => Ok(()),
        }
    }

    fn timer(&mut self, timer: &str) -> Result<(), Reject> {
        let due = crate::rows::deadlines(&self.contact).get(timer).copied();
        if due.is_none_or(|due| due > self.now) {
            return Ok(());
        }
        match timer {
            TIMER_OFFER => self.offer_overdue(),
            TIMER_WAIT => self.wait_over(),
            TIMER_REMATCH => {
                self.rematch();
                Ok(())
            }
            TIMER_ANNOUNCE => self.announce(),
            TIMER_OVERFLOW => self.overflow(),
            TIMER_GUARD => {
                self.end_by_command();
                Ok(())
            }
            TIMER_RECORDING => {
                self.recordings_overdue();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends a command to the node that carries the call.
    pub(crate) fn command(&mut self, action: NodeAction, life_ms: Option<i64>) {
        let contact = &mut self.contact;
        contact.commands += 1;
        let id = contact.id.as_u128().wrapping_add(u128::from(contact.commands));
        let command = NodeCommand {
            id: CommandId::from_u128(id),
            contact: contact.id,
            expires: self.now.plus_ms(life_ms.unwrap_or(COMMAND_LIFE_MS)),
            action,
        };
        let node: NodeId = contact.node;
        self.effects.push(ContactEffect::CommandNode { node, command });
    }

    /// Replaces what the node plays: as the answer to its input, or else by a command.
    pub(crate) fn play(&mut self, mut verbs: Vec<Verb>) {
        // A script that another one of the same step replaces is never played; the call is to be
        // answered all the same.
        let answers = |verb: &Verb| matches!(verb, Verb::Answer);
        if verbs.first().is_some_and(answers) {
            self.answers_now = true;
        } else if self.answers_now {
            verbs.insert(0, Verb::Answer);
        }
        let contact = &mut self.contact;
        let number = contact.script.number + 1;
        let at = &contact.cursor.at;
        contact.script = Script {
            number,
            label: format!("{number}:{}/{}", at.flow, at.step),
            verbs,
            answers: self.answering.or(self.inherits),
        };
        if self.answering.is_none() {
            let Script { label, verbs, .. } = contact.script.clone();
            self.command(NodeAction::Script { label, script: verbs }, None);
        }
    }

    pub(crate) fn tell(&mut self, agent: hotline_base::AgentId, offer: hotline_base::OfferId, news: AgentNews) {
        self.effects.push(ContactEffect::TellAgent { agent, offer, news });
    }

    fn reason_of(&self, cause: hotline_wire::node::EndCause) -> EndReason {
        use hotline_wire::node::EndCause;
        let ask = match &self.contact.phase {
            Phase::InFlow { ask } => Some(ask),
            _ => None,
        };
        match (cause, ask) {
            (EndCause::HungUp | EndCause::Script, Some(run::Ask::Hangup)) => EndReason::Completed,
            (_, Some(run::Ask::Reject { .. })) => EndReason::Rejected,
            (EndCause::HungUp, _) => EndReason::CallerHungUp,
            (EndCause::Cancelled, _) => EndReason::Cancelled,
            (EndCause::Script, _) => EndReason::Completed,
            (EndCause::Command, _) => EndReason::Ended,
            (EndCause::Lost, _) => EndReason::Lost,
            (EndCause::NodeDrained, _) => EndReason::NodeDrained,
            (EndCause::Failed, _) => EndReason::Failed,
        }
    }

    fn done(mut self) -> Step {
        // Steps walked without asking the caller can be many; what happened to the contact
        // itself is never left out.
        while self.facts.len() > FACTS_PER_STEP {
            let walked = |fact: &ContactFact| matches!(fact, ContactFact::FlowStepEntered { .. });
            let Some(oldest) = self.facts.iter().position(walked) else {
                break;
            };
            self.facts.remove(oldest);
        }
        self.facts.truncate(FACTS_PER_STEP);
        Transition { state: self.contact, facts: self.facts, effects: self.effects }
    }
}

/// The answer to a node's input, from the state after it: the same for a repeat of the input.
pub fn decision(contact: &Contact, seq: u32, event: &CallEvent) -> Decision {
    let answer = |label: &str, script: Option<Vec<Verb>>| Decision {
        tenant: contact.tenant,
        label: label.into(),
        fallback: script.is_some().then(|| contact.fallback.clone()),
        script,
    };
    let current = &contact.script;
    if !contact.is_alive() {
        let over = matches!(event, CallEvent::CallEnded { .. } | CallEvent::RecordingEnded { .. });
        return answer("ended", (!over).then(|| vec![Verb::Hangup]));
    }
    let wanted = match event {
        _ if matches!(contact.phase, Phase::Talking { .. }) => false,
        CallEvent::Arrived { .. } => true,
        CallEvent::ScriptEnded { label, .. } if *label != current.label => true,
        _ => current.answers == Some(seq),
    };
    answer(&current.label, wanted.then(|| current.verbs.clone()))
}
