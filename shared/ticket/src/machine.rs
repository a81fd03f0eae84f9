//! The ticket's state machine.

use hotline_base::{IndexRow, Machine, Reject, TimerKey, Timestamp, Transition};
use hotline_sla::{Clock, Goal, Hours, Phase, Tier};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::fact::TicketFact;
use crate::input::{Action, Actor, FieldChanges, Opening, Terms, TicketInput, bounds};
use crate::rows::rows;
use crate::state::{Note, NoteKind, Promise, Status, Ticket};

/// Names of the timers.
pub mod timer {
    /// A reminder before the response deadline.
    pub const RESPONSE_REMINDER: &str = "response-reminder";
    /// The response deadline.
    pub const RESPONSE_BREACH: &str = "response-breach";
    /// A reminder before the resolution deadline.
    pub const RESOLUTION_REMINDER: &str = "resolution-reminder";
    /// The resolution deadline.
    pub const RESOLUTION_BREACH: &str = "resolution-breach";
}

/// A ticket asks nothing of the world: consoles and webhooks follow its facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketEffect {}

/// The ticket as a [`Machine`]; its id is a `TicketId`.
#[derive(Clone, Copy, Debug)]
pub struct TicketMachine;

impl Machine for TicketMachine {
    const KIND: &'static str = "ticket";
    type State = Ticket;
    type Input = TicketInput;
    type Fact = TicketFact;
    type Effect = TicketEffect;

    fn step(
        state: Option<&Ticket>,
        input: &TicketInput,
        now: Timestamp,
    ) -> Result<Transition<Ticket, TicketFact, TicketEffect>, Reject> {
        if let TicketInput::Act { action, .. } = input {
            action.validate().map_err(|e| Reject::new("ticket-invalid", e.to_string()))?;
        }
        let mut work = match (state, input) {
            (Some(ticket), _) => Work { ticket: ticket.clone(), facts: Vec::new(), now },
            (None, TicketInput::Act { by, terms, action: Action::Open(opening) }) => {
                let mut work = open(opening, *by, terms, now);
                work.lapse();
                return Ok(work.done());
            }
            (None, _) => return Err(Reject::new("ticket-unknown", "there is no such ticket; open one first")),
        };
        if let TicketInput::Act { by, terms, action } = input {
            // An answer given in time but told after the deadline breaks no promise.
            if let Some(at) = told_answer(action) {
                work.respond(*by, terms.hours(), at);
            }
            work.lapse();
            work.act(*by, terms.hours(), action)?;
        }
        work.lapse();
        if !work.facts.is_empty() {
            work.ticket.updated_at = now;
        }
        Ok(work.done())
    }

    fn deadlines(ticket: &Ticket) -> BTreeMap<TimerKey, Timestamp> {
        let before_ms = i64::from(ticket.policy.reminder_before_min) * 60_000;
        let all = [
            (timer::RESPONSE_REMINDER, ticket.response.reminder_due(before_ms)),
            (timer::RESPONSE_BREACH, ticket.response.breach_due()),
            (timer::RESOLUTION_REMINDER, ticket.resolution.reminder_due(before_ms)),
            (timer::RESOLUTION_BREACH, ticket.resolution.breach_due()),
        ];
        all.into_iter().filter_map(|(key, at)| Some((key.to_string(), at?))).collect()
    }

    fn rows(ticket: &Ticket) -> BTreeSet<IndexRow> {
        rows(ticket)
    }
}

struct Work {
    ticket: Ticket,
    facts: Vec<TicketFact>,
    now: Timestamp,
}

/// When the customer was answered, as an input tells it.
fn told_answer(action: &Action) -> Option<Timestamp> {
    match action {
        Action::FirstResponse { at } => Some(*at),
        Action::Open(opening) => opening.answered_at,
        _ => None,
    }
}

fn open(opening: &Opening, by: Actor, terms: &Terms, now: Timestamp) -> Work {
    let target = terms.policy.target(opening.priority);
    let received_at = opening.received_at.min(now);
    let minutes = |min: u32| i64::from(min) * 60_000;
    let clock = |goal, min| Clock::start(goal, minutes(min), terms.hours(), received_at);
    let ticket = Ticket {
        id: opening.id,
        created_at: now,
        received_at,
        updated_at: now,
        subject: opening.subject.clone(),
        category: opening.category.clone(),
        kind: opening.kind,
        priority: opening.priority,
        status: Status::New,
        status_since: now,
        tier: Tier::One,
        requester: opening.requester.clone(),
        owner: opening.owner,
        queue: opening.queue.clone(),
        contacts: opening.contact.into_iter().collect(),
        recordings: opening.recordings.clone(),
        notes: Vec::new(),
        notes_dropped: 0,
        promises: Vec::new(),
        custom: opening.custom.clone(),
        survey_score: None,
        verification: None,
        reopened: 0,
        policy: terms.policy.clone(),
        response: clock(Goal::Response, target.response_min),
        resolution: clock(Goal::Resolution, target.resolution_min),
    };
    let opened = TicketFact::TicketOpened {
        ticket: ticket.id,
        by,
        contact: opening.contact,
        category: ticket.category.clone(),
        kind: ticket.kind,
        priority: ticket.priority,
        queue: ticket.queue.clone(),
        owner: ticket.owner,
    };
    let mut work = Work { ticket, facts: vec![opened], now };
    work.started(Goal::Response);
    work.started(Goal::Resolution);
    if let Some(at) = opening.answered_at {
        work.ticket.status = Status::Open;
        work.respond(by, terms.hours(), at);
    }
    work
}

impl Work {
    fn done(self) -> Transition<Ticket, TicketFact, TicketEffect> {
        Transition { state: self.ticket, facts: self.facts, effects: Vec::new() }
    }

    fn clock(&mut self, goal: Goal) -> &mut Clock {
        match goal {
            Goal::Response => &mut self.ticket.response,
            Goal::Resolution => &mut self.ticket.resolution,
        }
    }

    /// Notices every reminder and breach that is due by now, in the order of their moments.
    fn lapse(&mut self) {
        let before_ms = i64::from(self.ticket.policy.reminder_before_min) * 60_000;
        for goal in [Goal::Response, Goal::Resolution] {
            let (now, owner, priority) = (self.now, self.ticket.owner, self.ticket.priority);
            let clock = self.clock(goal);
            let Some(deadline) = clock.breach_due() else { continue };
            if clock.reminder_due(before_ms).is_some_and(|due| due <= now) {
                clock.remind(now);
                if deadline > now {
                    self.facts.push(TicketFact::SlaReminderDue { goal, deadline, owner });
                }
            }
            let clock = self.clock(goal);
            if deadline <= now {
                clock.breach();
                self.facts.push(TicketFact::SlaBreached { goal, deadline, priority });
                let (tier, to) = (self.ticket.tier, self.ticket.policy.escalate_to);
                let to = if tier < to { to } else { tier.next() };
                self.escalate(to, format!("{}-breach", goal.as_str()).into());
            }
        }
    }

    /// Raises the tier; the ticket leaves its owner and waits for one of that tier.
    fn escalate(&mut self, to: Tier, reason: hotline_base::Redacted<String>) {
        let from = self.ticket.tier;
        if to > from {
            let owner_before = self.ticket.owner.take();
            self.ticket.tier = to;
            self.facts.push(TicketFact::TicketEscalated { from, to, owner_before, reason });
        }
    }

    fn started(&mut self, goal: Goal) {
        if let Phase::Running { deadline, .. } = self.clock(goal).phase() {
            self.facts.push(TicketFact::SlaStarted { goal, deadline });
        }
    }

    fn meet(&mut self, goal: Goal, hours: Hours<'_>, at: Timestamp) {
        let clock = self.clock(goal);
        if clock.met_at().is_some() {
            return;
        }
        // An answer given before the deadline but told after it is no breach; one given after it is.
        let breach = clock.breach_due().filter(|&deadline| deadline <= at);
        clock.meet(hours, at);
        let (took_ms, late) = (clock.used_ms(), clock.breached_at().is_some() || breach.is_some());
        if let Some(deadline) = breach {
            clock.note_late(deadline);
            let priority = self.ticket.priority;
            self.facts.push(TicketFact::SlaBreached { goal, deadline, priority });
        }
        self.facts.push(TicketFact::SlaMet { goal, at, took_ms, late });
    }

    /// The customer was answered; work has begun.
    fn respond(&mut self, by: Actor, hours: Hours<'_>, at: Timestamp) {
        self.meet(Goal::Response, hours, at.clamp(self.ticket.received_at, self.now));
        if self.ticket.status == Status::New {
            self.status(by, Status::Open);
        }
    }

    fn status(&mut self, by: Actor, to: Status) {
        let (from, for_ms) = (self.ticket.status, self.now - self.ticket.status_since);
        self.ticket.status = to;
        self.ticket.status_since = self.now;
        self.facts.push(TicketFact::StatusChanged { by, from, to, for_ms });
    }

    fn act(&mut self, by: Actor, hours: Hours<'_>, action: &Action) -> Result<(), Reject> {
        let now = self.now;
        match action {
            Action::Open(opening) => {
                if let Some(contact) = opening.contact {
                    self.link_contact(contact)?;
                }
                for &recording in &opening.recordings {
                    self.link_recording(recording)?;
                }
            }
            Action::Comment { kind, text } => {
                self.note(Note { at: now, by, kind: *kind, text: text.clone() });
                self.facts.push(TicketFact::TicketCommented { by, kind: *kind, text: text.clone() });
                if *kind == NoteKind::Reply {
                    self.respond(by, hours, now);
                }
            }
            Action::Assign { owner, queue, tier } => {
                let before = (self.ticket.owner, self.ticket.queue.clone(), self.ticket.tier);
                self.ticket.owner = owner.or(self.ticket.owner);
                if let Some(queue) = queue {
                    self.ticket.queue = Some(queue.clone());
                }
                self.ticket.tier = tier.unwrap_or(self.ticket.tier);
                if before != (self.ticket.owner, self.ticket.queue.clone(), self.ticket.tier) {
                    let (owner, queue, tier) = (self.ticket.owner, self.ticket.queue.clone(), self.ticket.tier);
                    self.facts.push(TicketFact::TicketAssigned { by, owner, queue, tier });
                }
            }
            Action::SetStatus { status } => self.set_status(by, hours, *status)?,
            Action::SetFields(changes) => self.set_fields(by, hours, changes)?,
            Action::Verify(answers) => {
                if !matches!(self.ticket.status, Status::Resolved) {
                    return Err(Reject::new(
                        "ticket-not-resolved",
                        "only a resolved ticket is verified; resolve it first",
                    ));
                }
                if self.ticket.verification != Some(*answers) {
                    self.ticket.verification = Some(*answers);
                    self.facts.push(TicketFact::TicketVerified { by, answers: *answers });
                }
            }
            Action::Escalate { reason } => {
                if self.ticket.tier == Tier::Three {
                    return Err(Reject::new(
                        "ticket-tier-highest",
                        "tier 3 is the last; assign it to a person instead",
                    ));
                }
                self.escalate(self.ticket.tier.next(), reason.clone());
            }
            // Applied before the deadlines were looked at.
            Action::FirstResponse { .. } => {}
            Action::LinkContact { contact } => self.link_contact(*contact)?,
            Action::LinkRecording { recording } => self.link_recording(*recording)?,
            Action::Rate { score } => {
                if self.ticket.survey_score != Some(*score) {
                    self.ticket.survey_score = Some(*score);
                    self.facts.push(TicketFact::TicketRated { score: *score });
                }
            }
            Action::Promise { text, due } => {
                if self.ticket.promises.len() >= bounds::PROMISES {
                    return Err(full("promises", bounds::PROMISES));
                }
                self.ticket.promises.push(Promise { text: text.clone(), due: *due, made_at: now, kept_at: None });
                self.facts.push(TicketFact::PromiseMade { by, text: text.clone(), due: *due });
            }
            Action::KeepPromise { index } => {
                let unknown = || Reject::new("promise-unknown", format!("there is no promise {index}; count from 0"));
                let promise = self.ticket.promises.get_mut(*index).ok_or_else(unknown)?;
                if promise.kept_at.is_none() {
                    promise.kept_at = Some(now);
                    self.facts.push(TicketFact::PromiseKept { index: *index });
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, note: Note) {
        self.ticket.notes.push(note);
        let bytes = |notes: &[Note]| notes.iter().map(|n| n.text.expose().len() + 160).sum::<usize>();
        while self.ticket.notes.len() > bounds::NOTES || bytes(&self.ticket.notes) > bounds::NOTES_BYTES {
            self.ticket.notes.remove(0);
            self.ticket.notes_dropped = self.ticket.notes_dropped.saturating_add(1);
        }
    }

    fn link_contact(&mut self, contact: hotline_base::ContactId) -> Result<(), Reject> {
        if !self.ticket.contacts.contains(&contact) {
            if self.ticket.contacts.len() >= bounds::CONTACTS {
                return Err(full("contacts", bounds::CONTACTS));
            }
            self.ticket.contacts.push(contact);
            self.facts.push(TicketFact::ContactLinked { contact });
        }
        Ok(())
    }

    fn link_recording(&mut self, recording: hotline_base::RecordingId) -> Result<(), Reject> {
        if !self.ticket.recordings.contains(&recording) {
            if self.ticket.recordings.len() >= bounds::RECORDINGS {
                return Err(full("recordings", bounds::RECORDINGS));
            }
            self.ticket.recordings.push(recording);
            self.facts.push(TicketFact::RecordingLinked { recording });
        }
        Ok(())
    }

    fn set_status(&mut self, by: Actor, hours: Hours<'_>, to: Status) -> Result<(), Reject> {
        let from = self.ticket.status;
        if from == to {
            return Ok(());
        }
        if !from.next().contains(&to) {
            let next: Vec<&str> = from.next().iter().map(|s| s.as_str()).collect();
            let message = format!("a ticket that is {from} cannot become {to}; it can become {}", next.join(" or "));
            return Err(Reject::new("ticket-status", message));
        }
        if to == Status::Closed && !self.ticket.verification.is_some_and(|v| v.passed()) {
            let message = "verify first that it is solved, the system is normal and nothing else broke";
            return Err(Reject::new("ticket-not-verified", message));
        }
        let now = self.now;
        if matches!(to, Status::Pending | Status::Resolved) {
            self.meet(Goal::Response, hours, now);
        }
        self.status(by, to);
        match to {
            Status::Pending => {
                self.ticket.resolution.pause(hours, now);
                self.facts.push(TicketFact::SlaPaused { goal: Goal::Resolution });
            }
            Status::Resolved => self.meet(Goal::Resolution, hours, now),
            Status::Reopened => {
                self.ticket.verification = None;
                self.ticket.reopened = self.ticket.reopened.saturating_add(1);
                let target = self.ticket.policy.target(self.ticket.priority);
                let ms = i64::from(target.resolution_min) * 60_000;
                self.ticket.resolution = Clock::start(Goal::Resolution, ms, hours, now);
                self.started(Goal::Resolution);
            }
            Status::Open if from == Status::Pending => {
                self.ticket.resolution.resume(hours, now);
                self.started(Goal::Resolution);
            }
            Status::New | Status::Open | Status::Closed => {}
        }
        Ok(())
    }

    fn set_fields(&mut self, by: Actor, hours: Hours<'_>, changes: &FieldChanges) -> Result<(), Reject> {
        let before = self.ticket.clone();
        let ticket = &mut self.ticket;
        if let Some(subject) = &changes.subject {
            ticket.subject = subject.clone();
        }
        if let Some(category) = &changes.category {
            ticket.category = Some(category.clone());
        }
        ticket.kind = changes.kind.unwrap_or(ticket.kind);
        ticket.priority = changes.priority.unwrap_or(ticket.priority);
        if let Some(requester) = &changes.requester {
            ticket.requester = requester.clone();
        }
        for (key, value) in &changes.custom {
            match value {
                Some(value) => ticket.custom.insert(key.clone(), value.clone()),
                None => ticket.custom.remove(key),
            };
        }
        if ticket.custom.len() > bounds::CUSTOM_FIELDS {
            return Err(full("custom fields", bounds::CUSTOM_FIELDS));
        }
        if self.ticket == before {
            return Ok(());
        }
        self.facts.push(TicketFact::FieldsChanged { by, changes: changes.clone() });
        if self.ticket.priority != before.priority {
            let (now, target) = (self.now, self.ticket.policy.target(self.ticket.priority));
            for (goal, min) in [(Goal::Response, target.response_min), (Goal::Resolution, target.resolution_min)] {
                let clock = self.clock(goal);
                let deadline = clock.deadline();
                clock.retarget(i64::from(min) * 60_000, hours, now);
                if clock.deadline() != deadline {
                    self.started(goal);
                }
            }
        }
        Ok(())
    }
}

fn full(what: &str, most: usize) -> Reject {
    Reject::new("ticket-full", format!("a ticket holds at most {most} {what}; open another and refer to this one"))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
