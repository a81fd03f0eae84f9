//! One step: who handles which event, and what the node is told.

use hotline_base::limits::FACTS_PER_STEP;
use hotline_base::{CommandId, NodeId, Redacted, Reject, Timestamp, Transition};
use hotline_flow::run;
use hotline_wire::diverted::Diverted;
use hotline_wire::legs::{DialFailure, DialogRef};
use hotline_wire::node::{CallEvent, Decision, Fallback, NodeAction, NodeCommand, Verb};

use crate::input::NewCallback;
use crate::legs::arrangement;
use crate::queueing::BackReason;
use crate::{
    AgentNews, CallbackEnd, Contact, ContactEffect, ContactFact, ContactInput, EndReason, Event, LegRole, PartyLeg,
    Phase, Script, Setting, TIMER_ANNOUNCE, TIMER_DIAL, TIMER_GUARD, TIMER_MOVE, TIMER_OFFER, TIMER_OVERFLOW,
    TIMER_RECORDING, TIMER_REJOIN, TIMER_REMATCH, TIMER_RETRY, TIMER_WAIT,
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
    /// The next script goes to another node, with the caller's leg.
    pub(crate) reanchors: bool,
    /// A call back that nobody took was given up after so long a wait, milliseconds.
    pub(crate) gave_up_after_ms: Option<i64>,
}

impl<'a> Work<'a> {
    fn new(contact: Contact, setting: Option<&'a Setting>, now: Timestamp) -> Self {
        Self {
            contact,
            facts: Vec::new(),
            effects: Vec::new(),
            setting,
            now,
            answering: None,
            inherits: None,
            turned_away: 0,
            answers_now: false,
            reanchors: false,
            gave_up_after_ms: None,
        }
    }
}

/// Characters of a number or an address that callers are counted by.
const COUNTED_CHARS: usize = 64;
/// Inputs with a number from here on are not counted with a call: reports of recordings that a
/// node found on its disk.
const COUNTED: u32 = 0x8000_0000;

pub(crate) fn step(state: Option<&Contact>, input: &ContactInput, now: Timestamp) -> Result<Step, Reject> {
    let setting = input.setting.as_deref();
    let Some(contact) = state else {
        return arrive(&input.event, setting, now);
    };
    let mut work = Work::new(contact.clone(), setting, now);
    if let Event::Node { seq, node, event, .. } = &input.event {
        // Recordings are delivered by the node that made them, whoever has the call now.
        let delivers = matches!(event, CallEvent::RecordingEnded { .. });
        if *node != contact.node && !delivers {
            let said = format!("{} carries this contact, not {node}", contact.node);
            return Err(Reject::new("other-node", said));
        }
        if *node == contact.node {
            work.answering = Some(*seq);
        }
    }
    work.event(&input.event)?;
    work.rearrange(contact);
    // An input that changes nothing is not worth a write.
    let changed = !work.facts.is_empty() || !work.effects.is_empty() || work.contact != *contact;
    if let (true, Some(seq)) = (changed, work.answering.filter(|seq| *seq < COUNTED)) {
        work.contact.seq = work.contact.seq.max(seq);
    }
    Ok(work.done())
}

fn arrive(event: &Event, setting: Option<&Setting>, now: Timestamp) -> Result<Step, Reject> {
    if let Event::CallBack(new) = event {
        return call_back(new, setting, now);
    }
    let Event::Node { tenant, contact, node, seq, event, .. } = event else {
        return Err(Reject::new("unknown-contact", "there is no such contact"));
    };
    let CallEvent::Arrived { did, from, display_name, sip_call_id, dialog, diverted } = event else {
        return Err(Reject::new("unknown-contact", "the call has not arrived yet"));
    };
    let setting = setting.ok_or_else(setting_missing)?;
    let sent_on = diverted.as_ref().map(|diverted| run::Diverted {
        first: diverted.first.clone(),
        last: diverted.last.clone(),
        reason: diverted.reason.word().into(),
    });
    let caller = run::Caller { number: from.clone(), lang: None, diverted: sent_on };
    let turn = run::start(&setting.flow, &caller, &setting.env, now);
    let lang = turn.cursor.lang;
    let contact = Contact {
        counted_as: counted_as(from.expose(), dialog.as_ref(), *node),
        dialog: dialog.clone(),
        seq: *seq,
        ..blank(
            Beginning {
                tenant: *tenant,
                id: *contact,
                node: *node,
                did,
                from,
                display_name,
                cursor: turn.cursor.clone(),
            },
            setting,
            now,
        )
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
        callback: false,
        of: None,
    };
    let mut work = Work::new(contact, Some(setting), now);
    work.facts.push(arrived);
    if let Some(Diverted { first, last, reason, times }) = diverted.clone() {
        work.facts.push(ContactFact::CallDiverted { first, last, reason, times });
    }
    work.answering = Some(*seq);
    work.turn(turn)?;
    Ok(work.done())
}

/// Whose call it is, for limits: the caller's number, or where an anonymous call came from.
pub fn counted_as(from: &str, dialog: Option<&DialogRef>, node: NodeId) -> String {
    if !from.is_empty() {
        return from.chars().take(COUNTED_CHARS).collect();
    }
    let peer = dialog.and_then(|dialog| dialog.peer.split(';').next());
    let host = peer.and_then(|peer| peer.rsplit_once(':')).map(|(host, _)| host);
    let place: String = host.unwrap_or_default().chars().take(COUNTED_CHARS).collect();
    if place.is_empty() { format!("node {node}") } else { format!("at {place}") }
}

/// What a new contact is known by.
struct Beginning<'a> {
    tenant: hotline_base::TenantId,
    id: hotline_base::ContactId,
    node: NodeId,
    did: &'a str,
    from: &'a Redacted<String>,
    display_name: &'a Redacted<String>,
    cursor: run::Cursor,
}

fn blank(of: Beginning<'_>, setting: &Setting, now: Timestamp) -> Contact {
    Contact {
        tenant: of.tenant,
        id: of.id,
        node: of.node,
        did: of.did.into(),
        from: of.from.clone(),
        display_name: of.display_name.clone(),
        arrived_at: now,
        flow: setting.pin.clone(),
        fallback: fallback(setting, of.cursor.lang),
        cursor: of.cursor,
        phase: Phase::InFlow { ask: run::Ask::Hangup },
        script: Script { number: 0, label: String::new(), verbs: Vec::new(), answers: None },
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
        leg: PartyLeg::Here,
        dialog: None,
        seq: 0,
        anchored_at: None,
        lost_nodes: 0,
        last_wait: None,
        transfers: 0,
        self_serviced: 0,
        order: None,
        counted_as: String::new(),
        outside: None,
    }
}

/// Somebody is to be called back: a contact without a leg.
fn call_back(new: &NewCallback, setting: Option<&Setting>, now: Timestamp) -> Result<Step, Reject> {
    let setting = setting.ok_or_else(setting_missing)?;
    let beginning = Beginning {
        tenant: new.tenant,
        id: new.contact,
        // None carries it yet.
        node: NodeId::from_u128(0),
        did: &new.did,
        from: &new.number,
        display_name: &new.display_name,
        cursor: new.cursor.clone(),
    };
    let contact =
        Contact { leg: PartyLeg::Absent, order: Some(Box::new(new.order.clone())), ..blank(beginning, setting, now) };
    let arrived = ContactFact::ContactArrived {
        contact: contact.id,
        did: new.did.clone(),
        from: new.number.clone(),
        display_name: new.display_name.clone(),
        node: contact.node,
        sip_call_id: String::new(),
        flow: setting.pin.clone(),
        lang: contact.cursor.lang,
        callback: true,
        of: new.order.of,
    };
    let mut work = Work::new(contact, Some(setting), now);
    work.facts.push(arrived);
    work.order_placed()?;
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
            Event::Node { event, .. } => self.reported(event),
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
            Event::NodeLost { node, to, before } => self.node_lost(*node, *to, *before),
            Event::Transfer { target, kind, by, reason } => self.transfer(target, *kind, *by, reason),
            Event::Consult { leg, by } => self.add_leg(leg, LegRole::Consulted, *by),
            Event::Supervise { leg, mode, by } => self.add_leg(leg, LegRole::Supervisor { mode: *mode }, *by),
            Event::Desk { by, action } => self.desk(*by, action),
            Event::Move { to, by, reason } => self.moved(to, *by, reason),
            Event::TakeBack { by, reason } => self.take_back(*by, reason),
            Event::CallBack(_) => Err(Reject::new("contact-exists", "this call back exists already")),
            Event::DialParty { node } => self.dial_party(*node),
            Event::Postpone { until, closed } => self.postpone(*until, *closed),
            Event::Merge { into } => self.merge(*into),
            Event::TakePlace { from, since, waited_ms } => self.take_place(*from, *since, *waited_ms),
            Event::End => {
                self.end_by_command();
                Ok(())
            }
            Event::Timer { timer } => self.timer(timer),
        }
    }

    /// What a node reports; what the other side said about the end of a leg is told before what
    /// follows from it.
    fn reported(&mut self, event: &CallEvent) -> Result<(), Reject> {
        let (told, given) = (self.facts.len(), crate::reasons::given(&self.contact, event));
        self.node_event(event)?;
        // A report that changes nothing is about a leg that is none of ours any more.
        if self.facts.len() > told {
            self.facts.splice(told..told, given);
        }
        Ok(())
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
            CallEvent::OfferAnswered { offer, dialog } => self.offer_answered(*offer, dialog.as_ref()),
            CallEvent::OfferFailed { offer, reason, sip_status, .. } => self.offer_failed(*offer, *reason, *sip_status),
            CallEvent::AgentLegEnded { offer, .. } => self.agent_leg_ended(*offer),
            // What is left of an attempt to call back; the contact itself goes on.
            CallEvent::CallEnded { .. } if self.is_absent() => {
                self.party_failed(DialFailure::Unreachable, None, false);
                Ok(())
            }
            CallEvent::CallEnded { .. } if self.is_asked() => {
                self.unconfirmed(false);
                Ok(())
            }
            CallEvent::CallEnded { cause, quality, .. } => {
                let reason = self.reason_of(*cause);
                self.end(reason, Some(*cause), quality.clone());
                Ok(())
            }
            CallEvent::PartyRinging => Ok(()),
            CallEvent::PartyAnswered { dialog } => self.party_answered(dialog.as_ref()),
            CallEvent::PartyFailed { reason, sip_status, .. } => {
                self.party_failed(*reason, *sip_status, false);
                Ok(())
            }
            CallEvent::Reanchored { dialog } => self.reanchored(dialog),
            CallEvent::ReanchorFailed { sip_status } => {
                self.move_failed(*sip_status);
                Ok(())
            }
            CallEvent::TransferAsked { offer, target } => self.transfer_asked(*offer, target),
            CallEvent::SoundChanged { offer, band, quality } => {
                let agent = offer.and_then(|offer| self.contact.holder(offer));
                let (offer, band, quality) = (*offer, *band, *quality);
                self.facts.push(ContactFact::SoundChanged { offer, agent, band, quality });
                Ok(())
            }
            CallEvent::EmergencyCalled { number, gateway } => {
                let (number, gateway) = (number.clone(), gateway.clone());
                self.facts.push(ContactFact::EmergencyCalled { number, gateway });
                Ok(())
            }
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
            TIMER_GUARD if self.is_asked() => {
                self.unconfirmed(true);
                Ok(())
            }
            TIMER_GUARD if self.is_absent() => {
                self.give_up(CallbackEnd::Expired);
                Ok(())
            }
            TIMER_GUARD => {
                self.end_by_command();
                Ok(())
            }
            TIMER_DIAL => {
                self.party_failed(DialFailure::NoAnswer, None, true);
                Ok(())
            }
            TIMER_RETRY => {
                self.retry();
                Ok(())
            }
            TIMER_MOVE => {
                self.command(NodeAction::End, None);
                self.move_failed(None);
                Ok(())
            }
            TIMER_REJOIN => {
                if let Some(offer) = self.contact.offer() {
                    self.command(NodeAction::Rescind { offer }, None);
                }
                self.agent_lost()
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
        let command = Box::new(NodeCommand {
            id: CommandId::from_u128(id),
            contact: contact.id,
            expires: self.now.plus_ms(life_ms.unwrap_or(COMMAND_LIFE_MS)),
            action,
        });
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
        if self.reanchors {
            return self.reanchor();
        }
        if self.answering.is_none() {
            let Script { label, verbs, .. } = contact.script.clone();
            self.command(NodeAction::Script { label, script: verbs }, None);
        }
    }

    /// Asks the new node to take the caller's leg over and to play the present script.
    fn reanchor(&mut self) {
        self.reanchors = false;
        let contact = &mut self.contact;
        contact.script.answers = None;
        let Some(dialog) = contact.dialog.clone() else { return };
        let Script { label, verbs, .. } = contact.script.clone();
        let (tenant, fallback, seq) = (contact.tenant, contact.fallback.clone(), contact.seq);
        let action = NodeAction::Reanchor { tenant, dialog, label, script: verbs, fallback, seq };
        self.command(action, Some(crate::MOVE_LIMIT_MS));
    }

    /// Says who hears whom where that has changed.
    fn rearrange(&mut self, before: &Contact) {
        if let (Some(before), Some(after)) = (arrangement(before), arrangement(&self.contact))
            && before != after
        {
            self.command(NodeAction::Arrange { arrangement: after }, None);
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
        tap: None,
    };
    let current = &contact.script;
    if !contact.is_alive() {
        let over = matches!(
            event,
            CallEvent::CallEnded { .. }
                | CallEvent::RecordingEnded { .. }
                | CallEvent::PartyFailed { .. }
                | CallEvent::ReanchorFailed { .. }
        );
        return answer("ended", (!over).then(|| vec![Verb::Hangup]));
    }
    let wanted = match event {
        _ if matches!(contact.phase, Phase::Talking { rejoin: None, .. }) && contact.leg == PartyLeg::Here => false,
        CallEvent::Arrived { .. } => true,
        CallEvent::ScriptEnded { label, .. } if *label != current.label => true,
        _ => current.answers == Some(seq),
    };
    answer(&current.label, wanted.then(|| current.verbs.clone()))
}
