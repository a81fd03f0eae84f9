//! A media node as the functions see it: plays scripts in virtual time, asks for decisions in
//! order and one at a time, rings phones, joins legs, obeys commands. It follows the node
//! protocol and the session of the real node, without sound.

use hotline_base::{AgentId, CommandId, ContactId, NodeId, OfferId, RecordingId, Redacted, TenantId, Timestamp};
use hotline_wire::node::{
    CallEvent, CallInput, Decision, EndCause, MediaScript, NodeAction, NodeCommand, OfferFailure, RingAgent, Verb,
    VerbResult,
};
use std::collections::{BTreeMap, VecDeque};

use crate::plan::Manner;
use crate::rng::Rng;

mod moves;

use moves::Dial;
pub use moves::{TakeOver, dialog};

/// First pause before a decision is asked for again, milliseconds; it doubles.
const FIRST_PAUSE_MS: i64 = 250;
/// Longest pause, milliseconds.
const LONGEST_PAUSE_MS: i64 = 5_000;
/// An answer that takes longer is not waited for, milliseconds.
const ASK_LIMIT_MS: i64 = 6_000;
/// Commands remembered to recognise repeats.
const COMMANDS: usize = 64;

/// What comes to a node at a later moment.
#[derive(Debug, Clone)]
pub enum Later {
    /// The verb at hand is over, unless the script has moved on.
    VerbEnds { turn: u64, result: VerbResult },
    /// Ask for the first decision again.
    AskAgain { seq: u32, attempt: u32 },
    /// The answer takes too long.
    AskTimeout { seq: u32, attempt: u32 },
    /// The phone has rung long enough.
    RingOver { offer: OfferId },
    /// The agent's phone rings.
    RingStarts { offer: OfferId },
    /// The caller hangs up.
    CallerLeaves,
    /// A party who is called back answers, or not.
    PartyDecides { turn: u64, answers: bool },
}

/// What a node wants of the world.
#[derive(Debug, Clone)]
pub enum Out {
    /// Ask for a decision.
    Ask { input: Box<CallInput>, attempt: u32 },
    /// Come back to this call.
    After { ms: i64, contact: ContactId, later: Later },
    /// Ring an agent's phone.
    Ring { contact: ContactId, ring: Box<RingAgent> },
    /// The agent's phone stops ringing, or its call ends.
    Drop { agent: AgentId, offer: OfferId },
    /// A recording was finished: it is on the disk, to be uploaded and reported.
    Recorded(SavedTape),
    /// A line for the table.
    Say { contact: ContactId, text: String },
    /// The caller's line is dead.
    CallerGone { contact: ContactId },
}

#[derive(Debug)]
struct Running {
    label: String,
    verbs: MediaScript,
    at: usize,
    last: VerbResult,
}

#[derive(Debug)]
struct Partner {
    agent: AgentId,
    record: Option<RecordingId>,
    joined: bool,
    /// Comes beside others, not to the caller alone.
    beside: bool,
}

#[derive(Debug)]
struct Tape {
    recording: RecordingId,
    since: Timestamp,
    voicemail: bool,
}

impl Tape {
    fn saved(&self, tenant: TenantId, contact: ContactId, now: Timestamp) -> SavedTape {
        SavedTape {
            tenant,
            contact,
            recording: self.recording,
            duration_ms: now.since_ms(self.since).max(0),
            voicemail: self.voicemail,
        }
    }
}

/// One call on a node.
#[derive(Debug)]
pub struct Call {
    contact: ContactId,
    tenant: Option<TenantId>,
    /// How its caller behaves.
    pub manner: Manner,
    seq: u32,
    waiting: VecDeque<CallInput>,
    asked: bool,
    attempt: u32,
    running: Option<Running>,
    /// Counts up whenever the script moves, so that what was planned before is void.
    turn: u64,
    partners: BTreeMap<OfferId, Partner>,
    joined: Option<OfferId>,
    joined_seq: u32,
    tape: Option<Tape>,
    answered: bool,
    left: bool,
    /// The caller hangs up then at the latest.
    leaves_at: Option<Timestamp>,
    /// The node places this call.
    dial: Option<Dial>,
    /// The number of the last arrangement.
    arranged: u128,
}

impl Call {
    fn new(contact: ContactId, manner: Manner) -> Self {
        Self {
            contact,
            tenant: None,
            manner,
            seq: 0,
            waiting: VecDeque::new(),
            asked: false,
            attempt: 0,
            running: None,
            turn: 0,
            partners: BTreeMap::new(),
            joined: None,
            joined_seq: 0,
            tape: None,
            answered: false,
            left: false,
            leaves_at: None,
            dial: None,
            arranged: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.left && self.waiting.is_empty()
    }
}

/// A media node.
#[derive(Debug)]
pub struct SimNode {
    /// Its id, the same after each start.
    pub id: NodeId,
    /// It has power.
    pub up: bool,
    /// It takes no new calls.
    pub draining: bool,
    /// Its clock is wrong by so many milliseconds.
    pub skew_ms: i64,
    /// The calls it carries.
    pub calls: BTreeMap<ContactId, Call>,
    /// Recordings that are not yet reported as uploaded; they survive a crash.
    pub disk: BTreeMap<RecordingId, SavedTape>,
    /// Commands that were obeyed, to recognise repeats.
    commands: VecDeque<CommandId>,
}

/// A moment with randomness and room for what follows.
pub struct Scene<'a> {
    /// Now, by the world's clock.
    pub now: Timestamp,
    /// The seed's randomness.
    pub rng: &'a mut Rng,
    /// What follows.
    pub out: &'a mut Vec<Out>,
}

impl Scene<'_> {
    fn after(&mut self, ms: i64, contact: ContactId, later: Later) {
        self.out.push(Out::After { ms, contact, later });
    }
}

impl SimNode {
    /// A node that just started.
    pub fn new(id: NodeId, skew_ms: i64) -> Self {
        Self {
            id,
            up: true,
            draining: false,
            skew_ms,
            calls: BTreeMap::new(),
            disk: BTreeMap::new(),
            commands: VecDeque::new(),
        }
    }

    /// A call arrives.
    pub fn arrive(&mut self, scene: &mut Scene<'_>, contact: ContactId, did: &str, from: &str, manner: Manner) {
        let mut call = Call::new(contact, manner);
        call.leaves_at = Some(scene.now.plus_ms(call.manner.patience_ms));
        scene.after(call.manner.patience_ms, contact, Later::CallerLeaves);
        self.calls.insert(contact, call);
        let event = CallEvent::Arrived {
            did: did.into(),
            from: Redacted::new(from.into()),
            display_name: Redacted::new(String::new()),
            sip_call_id: format!("sim-{contact}"),
            dialog: Some(dialog(contact)),
            diverted: None,
        };
        self.ask(scene, contact, event);
    }

    fn ask(&mut self, scene: &mut Scene<'_>, contact: ContactId, event: CallEvent) {
        let (node, at) = (self.id, scene.now.plus_ms(self.skew_ms));
        let Some(call) = self.calls.get_mut(&contact) else { return };
        call.seq += 1;
        call.waiting.push_back(CallInput { contact, tenant: call.tenant, node, seq: call.seq, at, event });
        if !call.asked {
            call.attempt = 0;
            call.ask_first(scene);
        }
    }

    /// A decision came, or its failure.
    pub fn decided(
        &mut self,
        scene: &mut Scene<'_>,
        contact: ContactId,
        seq: u32,
        attempt: u32,
        result: Result<Decision, String>,
    ) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if !call.asked || call.waiting.front().map(|input| input.seq) != Some(seq) {
            return;
        }
        match result {
            Ok(decision) => {
                call.waiting.pop_front();
                call.asked = false;
                call.tenant = Some(decision.tenant);
                let stale = call.joined.is_some() && seq < call.joined_seq;
                if let Some(verbs) = decision.script
                    && !stale
                {
                    self.new_script(scene, contact, decision.label, verbs);
                }
                if let Some(call) = self.calls.get_mut(&contact)
                    && !call.asked
                {
                    call.attempt = 0;
                    call.ask_first(scene);
                }
                self.tidy(contact);
            }
            Err(_) if attempt == call.attempt => {
                let pause = (FIRST_PAUSE_MS << attempt.min(8)).min(LONGEST_PAUSE_MS);
                scene.after(pause, contact, Later::AskAgain { seq, attempt });
            }
            Err(_) => {}
        }
    }

    fn tidy(&mut self, contact: ContactId) {
        if self.calls.get(&contact).is_some_and(Call::is_over) {
            self.calls.remove(&contact);
        }
    }

    /// What was planned for this moment.
    pub fn later(&mut self, scene: &mut Scene<'_>, contact: ContactId, later: Later) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        match later {
            Later::VerbEnds { turn, result } if call.turn == turn && !call.left => {
                if let Some(running) = &call.running
                    && let Some(Verb::Record { recording, .. }) = running.verbs.get(running.at)
                {
                    let recording = *recording;
                    call.stop_tape(scene, Some(recording));
                }
                self.verb_ended(scene, contact, result);
            }
            Later::VerbEnds { .. } => {}
            Later::AskAgain { seq, attempt } | Later::AskTimeout { seq, attempt } => {
                let first = call.waiting.front().map(|input| input.seq);
                if call.asked && first == Some(seq) && call.attempt == attempt {
                    call.attempt += 1;
                    call.ask_first(scene);
                }
            }
            Later::RingOver { offer } => self.not_taken(scene, contact, offer, OfferFailure::TimedOut, None),
            Later::RingStarts { offer } => {
                if call.partners.get(&offer).is_some_and(|p| !p.joined) {
                    self.ask(scene, contact, CallEvent::OfferRinging { offer });
                }
            }
            Later::PartyDecides { turn, answers } if call.turn == turn => self.party_decides(scene, contact, answers),
            Later::PartyDecides { .. } => {}
            Later::CallerLeaves if call.dial.is_some() => {}
            Later::CallerLeaves => {
                let cause = if call.answered { EndCause::HungUp } else { EndCause::Cancelled };
                self.end(scene, contact, cause);
            }
        }
    }

    fn new_script(&mut self, scene: &mut Scene<'_>, contact: ContactId, label: String, verbs: MediaScript) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.left || verbs.is_empty() {
            return;
        }
        if call.running.as_ref().is_some_and(|r| r.label == label && r.verbs == verbs) {
            return;
        }
        call.stop_tape_of_verb(scene);
        let joined = call.partners.iter().filter(|(_, partner)| partner.joined);
        let joined: Vec<OfferId> = joined.map(|(offer, _)| *offer).collect();
        for offer in joined {
            self.part(scene, contact, offer, EndCause::Command);
        }
        let Some(call) = self.calls.get_mut(&contact) else { return };
        scene.out.push(Out::Say { contact, text: format!("hears {label}") });
        call.turn += 1;
        call.running = Some(Running { label, verbs, at: 0, last: VerbResult::Done });
        self.play(scene, contact);
    }

    fn verb_ended(&mut self, scene: &mut Scene<'_>, contact: ContactId, result: VerbResult) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        call.turn += 1;
        if let Some(running) = &mut call.running {
            running.at += 1;
            running.last = result;
        }
        self.play(scene, contact);
    }

    /// Begins verbs until one takes time or the script is over.
    fn play(&mut self, scene: &mut Scene<'_>, contact: ContactId) {
        loop {
            let Some(call) = self.calls.get_mut(&contact) else { return };
            if call.left {
                return;
            }
            let Some(running) = &mut call.running else { return };
            let Some(verb) = running.verbs.get(running.at).cloned() else {
                let (label, result) = (running.label.clone(), running.last.clone());
                call.running = None;
                call.turn += 1;
                self.ask(scene, contact, CallEvent::ScriptEnded { label, result });
                return;
            };
            let last = running.at + 1 == running.verbs.len();
            if let Verb::Ring(ring) = verb {
                running.at += 1;
                running.last = VerbResult::Done;
                if last {
                    // The offer's own reports go on from here.
                    call.running = None;
                    call.turn += 1;
                }
                self.ring(scene, contact, ring);
                if last {
                    return;
                }
                continue;
            }
            match call.begin(scene, &verb) {
                Begun::Next => {
                    if let Some(running) = &mut call.running {
                        running.at += 1;
                        running.last = VerbResult::Done;
                    }
                }
                Begun::Waits => return,
                Begun::Ends => {
                    self.end(scene, contact, EndCause::Script);
                    return;
                }
            }
        }
    }

    fn ring(&mut self, scene: &mut Scene<'_>, contact: ContactId, ring: RingAgent) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        let offer = ring.offer;
        if call.partners.contains_key(&offer) {
            return;
        }
        if let Err(reason) = call.takes(&ring) {
            return self.ask(
                scene,
                contact,
                CallEvent::OfferFailed { offer, reason, sip_status: None, reasons: vec![] },
            );
        }
        let beside = ring.arrange.is_some();
        call.partners.insert(offer, Partner { agent: ring.agent, record: ring.record, joined: false, beside });
        scene.after(i64::from(ring.ring_timeout_ms), contact, Later::RingOver { offer });
        scene.out.push(Out::Ring { contact, ring: Box::new(ring) });
    }

    /// An agent's phone answered.
    pub fn answered(&mut self, scene: &mut Scene<'_>, contact: ContactId, offer: OfferId) -> bool {
        let Some(call) = self.calls.get_mut(&contact) else { return false };
        if call.left {
            return false;
        }
        let (joined, dials) = (call.joined, call.dial == Some(Dial::Agent));
        let Some(partner) = call.partners.get_mut(&offer) else { return false };
        // Whoever was to advise somebody who has left is not put to a caller who waits.
        if (joined.is_some() != partner.beside) || partner.joined {
            return false;
        }
        partner.joined = true;
        if partner.beside || dials {
            self.ask(scene, contact, CallEvent::OfferAnswered { offer, dialog: Some(dialog(offer)) });
            if dials {
                self.ring_party(scene, contact);
            }
            return true;
        }
        call.joined = Some(offer);
        call.answered = true;
        let others: Vec<OfferId> = call.partners.keys().copied().filter(|o| *o != offer).collect();
        for other in others {
            self.not_taken(scene, contact, other, OfferFailure::Rescinded, None);
        }
        let Some(call) = self.calls.get_mut(&contact) else { return false };
        call.stop_tape_of_verb(scene);
        call.running = None;
        call.turn += 1;
        call.start_tape(scene, offer);
        self.ask(scene, contact, CallEvent::OfferAnswered { offer, dialog: Some(dialog(offer)) });
        if let Some(call) = self.calls.get_mut(&contact) {
            call.joined_seq = call.seq;
        }
        true
    }

    /// An agent's phone did not take the call.
    pub fn not_taken(
        &mut self,
        scene: &mut Scene<'_>,
        contact: ContactId,
        offer: OfferId,
        reason: OfferFailure,
        sip_status: Option<u16>,
    ) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.partners.get(&offer).is_none_or(|p| p.joined) {
            return;
        }
        if let Some(partner) = call.partners.remove(&offer) {
            scene.out.push(Out::Drop { agent: partner.agent, offer });
        }
        self.ask(scene, contact, CallEvent::OfferFailed { offer, reason, sip_status, reasons: vec![] });
        self.dial_lost_agent(scene, contact);
    }

    /// The agent's leg ended while the caller is still there.
    pub fn part(&mut self, scene: &mut Scene<'_>, contact: ContactId, offer: OfferId, cause: EndCause) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if !call.partners.get(&offer).is_some_and(|partner| partner.joined) {
            return;
        }
        if call.joined == Some(offer) {
            // Whoever else talks with the caller has the call now.
            let other = call.partners.iter_mut().find(|(other, p)| **other != offer && p.joined);
            call.joined = other.map(|(other, partner)| {
                partner.beside = false;
                *other
            });
            if call.joined.is_none() {
                call.stop_tape(scene, None);
            }
        }
        if let Some(partner) = call.partners.remove(&offer) {
            scene.out.push(Out::Drop { agent: partner.agent, offer });
        }
        self.ask(scene, contact, CallEvent::AgentLegEnded { offer, cause, reasons: vec![] });
        self.dial_lost_agent(scene, contact);
    }

    /// The caller's leg is over.
    pub fn end(&mut self, scene: &mut Scene<'_>, contact: ContactId, cause: EndCause) {
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.left {
            return;
        }
        call.left = true;
        call.running = None;
        call.turn += 1;
        call.stop_tape(scene, None);
        call.joined = None;
        for (offer, partner) in std::mem::take(&mut call.partners) {
            scene.out.push(Out::Drop { agent: partner.agent, offer });
        }
        scene.out.push(Out::CallerGone { contact });
        self.ask(scene, contact, CallEvent::CallEnded { cause, quality: None, reasons: vec![] });
    }

    /// A command from the queue.
    pub fn command(&mut self, scene: &mut Scene<'_>, command: NodeCommand) {
        let now = scene.now.plus_ms(self.skew_ms);
        let contact = command.contact;
        if command.expires < now || self.commands.contains(&command.id) {
            return;
        }
        if self.commands.len() == COMMANDS {
            self.commands.pop_front();
        }
        self.commands.push_back(command.id);
        if let NodeAction::Dial { tenant, party, .. } = command.action {
            return self.dial(scene, contact, tenant, party);
        }
        let Some(call) = self.calls.get_mut(&contact) else { return };
        if call.left {
            return;
        }
        match command.action {
            NodeAction::Ring(ring) => self.ring(scene, contact, ring),
            NodeAction::Rescind { offer } => self.not_taken(scene, contact, offer, OfferFailure::Rescinded, None),
            NodeAction::Script { label, script } => self.new_script(scene, contact, label, script),
            NodeAction::ReleaseAgent { offer } => self.part(scene, contact, offer, EndCause::Command),
            NodeAction::End => self.end(scene, contact, EndCause::Command),
            // Commands of a contact are numbered: an older picture is out of date.
            NodeAction::Arrange { .. } => call.arranged = call.arranged.max(command.id.as_u128()),
            // Taking over is the world's business: it knows where the caller is.
            NodeAction::Announce { .. }
            | NodeAction::Dial { .. }
            | NodeAction::Reanchor { .. }
            | NodeAction::PauseRecording { .. } => {}
        }
    }

    /// A caller's leg leaves for another node: what is left of it here ends.
    pub fn give_away(&mut self, scene: &mut Scene<'_>, contact: ContactId) -> Option<(Manner, i64)> {
        let call = self.calls.get(&contact).filter(|call| !call.left && call.dial.is_none())?;
        let rest = call.leaves_at.map_or(60_000, |at| at.since_ms(scene.now));
        let manner = call.manner.clone();
        self.end(scene, contact, EndCause::Lost);
        Some((manner, rest))
    }

    /// Power is lost: every call is gone without a word. What was recorded is still on the disk.
    /// Gives the agents' phones that were ringing or talking.
    pub fn crash(&mut self, now: Timestamp) -> Crash {
        self.up = false;
        self.commands.clear();
        let mut legs = Vec::new();
        let mut callers = Vec::new();
        for (contact, call) in std::mem::take(&mut self.calls) {
            legs.extend(call.partners.iter().map(|(offer, partner)| (partner.agent, *offer, partner.joined)));
            if !call.left && call.dial.is_none() {
                callers.push((contact, call.manner.clone(), call.leaves_at));
            }
            if let (Some(tape), Some(tenant)) = (&call.tape, call.tenant) {
                let saved = tape.saved(tenant, contact, now);
                self.disk.insert(saved.recording, saved);
            }
        }
        Crash { legs, callers }
    }

    /// The node has power again, and no calls.
    pub fn start(&mut self) {
        self.up = true;
    }
}

/// Whom a crash leaves behind.
#[derive(Debug)]
pub struct Crash {
    /// Agents' phones, and whether they talked.
    pub legs: Vec<(AgentId, OfferId, bool)>,
    /// Callers, how they behave, and when they leave at the latest.
    pub callers: Vec<(ContactId, Manner, Option<Timestamp>)>,
}

/// A recording on the disk of a node.
#[derive(Debug, Clone)]
pub struct SavedTape {
    /// Whose.
    pub tenant: TenantId,
    /// Of which call.
    pub contact: ContactId,
    /// Which.
    pub recording: RecordingId,
    /// How long.
    pub duration_ms: i64,
    /// A message, not a conversation.
    pub voicemail: bool,
}

enum Begun {
    Next,
    Waits,
    Ends,
}

impl Call {
    fn ask_first(&mut self, scene: &mut Scene<'_>) {
        let (tenant, attempt) = (self.tenant, self.attempt);
        let Some(input) = self.waiting.front_mut() else {
            self.asked = false;
            return;
        };
        input.tenant = tenant;
        self.asked = true;
        let (contact, seq) = (input.contact, input.seq);
        scene.out.push(Out::Ask { input: Box::new(input.clone()), attempt });
        scene.after(ASK_LIMIT_MS, contact, Later::AskTimeout { seq, attempt });
    }

    fn begin(&mut self, scene: &mut Scene<'_>, verb: &Verb) -> Begun {
        let (contact, turn) = (self.contact, self.turn);
        let mut ends = |ms: i64, result| scene.after(ms, contact, Later::VerbEnds { turn, result });
        match verb {
            Verb::Answer => {
                self.answered = true;
                Begun::Next
            }
            Verb::Play { prompts } => {
                ends(1_200 * prompts.len().min(10) as i64, VerbResult::Done);
                Begun::Waits
            }
            Verb::Gather { max_digits, first_digit_ms, .. } => {
                let digits = self.manner.keys.pop_front().unwrap_or_default();
                let digits: String = digits.chars().take(usize::from(*max_digits)).collect();
                let ms = if digits.is_empty() { 1_500 + i64::from(*first_digit_ms) } else { 900 };
                ends(ms, VerbResult::Digits { digits: Redacted::new(digits) });
                Begun::Waits
            }
            Verb::Hold { keys, .. } => {
                if let (Some(ms), Some(key)) = (self.manner.leaves_queue_ms, keys.chars().next()) {
                    ends(ms, VerbResult::Digits { digits: Redacted::new(key.to_string()) });
                }
                Begun::Waits
            }
            Verb::Record { recording, max_ms, .. } => {
                let ms = self.manner.message_ms.min(i64::from(*max_ms)).max(20);
                self.tape = Some(Tape { recording: *recording, since: scene.now, voicemail: true });
                let result = VerbResult::Recorded { recording: *recording, duration_ms: ms as u64 };
                scene.after(ms, contact, Later::VerbEnds { turn, result });
                Begun::Waits
            }
            Verb::Transfer { .. } => {
                let answered = scene.rng.chance(700);
                let ms = scene.rng.between(2_000, 30_000);
                scene.after(
                    ms,
                    contact,
                    Later::VerbEnds { turn, result: VerbResult::Transferred { answered, reasons: vec![] } },
                );
                Begun::Waits
            }
            Verb::SendKeys(sent) => {
                ends(200 * sent.keys.expose().len() as i64, VerbResult::Done);
                Begun::Waits
            }
            Verb::Reject { .. } | Verb::Hangup => Begun::Ends,
            Verb::Ring(_) => Begun::Next,
        }
    }

    fn start_tape(&mut self, scene: &Scene<'_>, offer: OfferId) {
        if let Some(recording) = self.partners.get(&offer).and_then(|partner| partner.record) {
            self.tape = Some(Tape { recording, since: scene.now, voicemail: false });
        }
    }

    fn stop_tape_of_verb(&mut self, scene: &mut Scene<'_>) {
        if self.tape.as_ref().is_some_and(|tape| tape.voicemail) {
            self.stop_tape(scene, None);
        }
    }

    fn stop_tape(&mut self, scene: &mut Scene<'_>, only: Option<RecordingId>) {
        if only.is_some() && self.tape.as_ref().map(|t| t.recording) != only {
            return;
        }
        let (Some(tape), Some(tenant)) = (self.tape.take(), self.tenant) else { return };
        scene.out.push(Out::Recorded(tape.saved(tenant, self.contact, scene.now)));
    }
}
