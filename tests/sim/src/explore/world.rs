//! The state of a small world and the edges out of it.

use hotline_base::{FactBody, Machine, OfferId, Timestamp};
use hotline_contact::{AgentNews, Contact, ContactEffect, ContactInput, ContactMachine, Event, Phase};
use hotline_ports::runner::is_due;
use hotline_routing::agent::{NewOffer, OfferOrigin, OfferOutcome};
use hotline_routing::{Agent, AgentEffect, AgentInput, AgentMachine, AgentState, Decision, Snapshot, choose};
use hotline_wire::node::{CallEvent, EndCause, NodeAction, OfferFailure, Verb};
use std::collections::{BTreeMap, VecDeque};

use super::held::{Held, hash};
use super::people::{self, DAWN, NODE, RING_MS};
use super::{Flaw, Size, check};

/// What a phone does on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Leg {
    Rings,
    Talks,
}

/// A call as its node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Line {
    ToCome,
    Up,
    Gone,
}

/// An effect that was committed and not yet carried out.
#[derive(Debug, Clone)]
pub(super) enum Pending {
    Contact(usize, ContactEffect),
    Agent(usize, AgentEffect),
    /// Looks for pairs until there are none. Two of them look no better than one.
    Match,
    /// The node's death has to be told to this contact.
    NodeLost(usize),
}

/// A matcher between its look and its claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Claim {
    pub(super) contact: usize,
    pub(super) agent: usize,
}

/// An edge.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Arrives(usize),
    Comes(usize),
    /// Carries out an effect; `true`: it stays for another time.
    CarryOut(usize, bool),
    /// A matcher claims what it saw.
    Claims(usize),
    /// A matcher dies; its effect is carried out anew.
    Dies(usize),
    /// The node's oldest report about a call is taken.
    Reports(usize),
    PicksUp(OfferId),
    Refuses(OfferId, OfferFailure),
    DeclinesOnConsole(usize),
    AgentHangsUp(OfferId),
    CallerHangsUp(usize),
    Vanishes(usize),
    NodeDies,
    ClockGoesOn,
    ContactTimer(usize, String),
    AgentTimer(usize, String),
}

#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) flaw: Flaw,
    left: Size,
    pub(super) now: Timestamp,
    pub(super) contacts: Vec<Option<Held<Contact>>>,
    pub(super) agents: Vec<Held<Agent>>,
    came: Vec<bool>,
    lines: Vec<Line>,
    seq: Vec<u32>,
    reports: Vec<VecDeque<CallEvent>>,
    legs: BTreeMap<OfferId, (usize, usize, Leg)>,
    pub(super) pending: Vec<Held<Pending>>,
    pub(super) claims: Vec<Claim>,
    pub(super) ends: Vec<u8>,
}

impl World {
    pub(super) fn new(size: Size, flaw: Flaw) -> Self {
        Self {
            flaw,
            left: size,
            now: DAWN,
            contacts: vec![None; size.contacts],
            agents: (0..size.agents).map(|i| Held::state(people::agent(i))).collect(),
            came: vec![false; size.agents],
            lines: vec![Line::ToCome; size.contacts],
            seq: vec![0; size.contacts],
            reports: vec![VecDeque::new(); size.contacts],
            legs: BTreeMap::new(),
            pending: Vec::new(),
            claims: Vec::new(),
            ends: vec![0; size.contacts],
        }
    }

    /// The same for the same world, whatever led to it.
    pub(super) fn hash(&self) -> u128 {
        let mut pending: Vec<u128> = self.pending.iter().map(|p| p.hash).collect();
        pending.sort_unstable();
        let mut claims = self.claims.clone();
        claims.sort_unstable();
        let contacts: Vec<u128> = self.contacts.iter().map(|c| c.as_ref().map_or(0, |c| c.hash)).collect();
        let agents: Vec<u128> = self.agents.iter().map(|a| a.hash).collect();
        let reports: Vec<String> = self.reports.iter().flatten().map(|r| format!("{r:?}")).collect();
        let counts: Vec<usize> = self.reports.iter().map(VecDeque::len).collect();
        let Self { left, now, came, lines, legs, .. } = self;
        hash(&(left, now, contacts, agents, (came, lines), legs, pending, claims, (reports, counts)))
    }

    /// Nothing is under way: only timers, and people who talk, can bring anything on.
    pub(super) fn is_quiet(&self) -> bool {
        self.pending.is_empty()
            && self.claims.is_empty()
            && self.reports.iter().all(VecDeque::is_empty)
            && self.legs.values().all(|(.., leg)| *leg == Leg::Talks)
            && self.came.iter().all(|came| *came)
            && self.lines.iter().all(|line| *line != Line::ToCome)
    }

    pub(super) fn actions(&self) -> Vec<Action> {
        let mut all = Vec::new();
        let left = &self.left;
        for (i, line) in self.lines.iter().enumerate() {
            match line {
                Line::ToCome => all.push(Action::Arrives(i)),
                Line::Up if left.hang_ups > 0 => all.push(Action::CallerHangsUp(i)),
                _ => {}
            }
            if self.reports.get(i).is_some_and(|reports| !reports.is_empty()) {
                all.push(Action::Reports(i));
            }
        }
        for (i, agent) in self.agents.iter().enumerate() {
            if !self.came.get(i).copied().unwrap_or(true) {
                all.push(Action::Comes(i));
            }
            if left.refusals > 0 && matches!(agent.state, AgentState::Offered { .. }) {
                all.push(Action::DeclinesOnConsole(i));
            }
            if left.lapses > 0 && agent.phone.is_some() {
                all.push(Action::Vanishes(i));
            }
        }
        for i in 0..self.pending.len() {
            all.push(Action::CarryOut(i, false));
            if left.repeats > 0 {
                all.push(Action::CarryOut(i, true));
            }
        }
        for i in 0..self.claims.len() {
            all.push(Action::Claims(i));
            if left.deaths > 0 {
                all.push(Action::Dies(i));
            }
        }
        for (offer, (_, _, leg)) in &self.legs {
            match leg {
                Leg::Rings => {
                    all.push(Action::PicksUp(*offer));
                    if left.refusals > 0 {
                        all.push(Action::Refuses(*offer, OfferFailure::Declined));
                        all.push(Action::Refuses(*offer, OfferFailure::TimedOut));
                    }
                }
                Leg::Talks => all.push(Action::AgentHangsUp(*offer)),
            }
        }
        if left.crashes > 0 && self.lines.contains(&Line::Up) {
            all.push(Action::NodeDies);
        }
        self.timers(&mut all);
        all
    }

    fn timers(&self, all: &mut Vec<Action>) {
        let mut next: Option<Timestamp> = None;
        let mut see = |due: Timestamp, action: Action| {
            if due <= self.now {
                all.push(action);
            } else {
                next = Some(next.map_or(due, |n: Timestamp| n.min(due)));
            }
        };
        for (i, contact) in self.contacts.iter().enumerate() {
            for (timer, due) in contact.iter().flat_map(|contact| ContactMachine::deadlines(contact)) {
                see(due, Action::ContactTimer(i, timer));
            }
        }
        for (i, agent) in self.agents.iter().enumerate() {
            for (timer, due) in AgentMachine::deadlines(agent) {
                see(due, Action::AgentTimer(i, timer));
            }
        }
        if self.left.advances > 0 && next.is_some() {
            all.push(Action::ClockGoesOn);
        }
    }

    pub(super) fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Arrives(i) => {
                self.set_line(*i, Line::Up);
                self.report(*i, people::arrived())?;
            }
            Action::Comes(i) => {
                if let Some(came) = self.came.get_mut(*i) {
                    *came = true;
                }
                let early = self.flaw == Flaw::LooksTooEarly;
                for input in people::comes(self.now) {
                    self.agent(*i, &input)?;
                }
                if early {
                    self.pending.retain(|pending| !matches!(**pending, Pending::Match));
                }
            }
            Action::CarryOut(i, stays) => self.carry_out(*i, *stays)?,
            Action::Claims(i) => {
                let claim = self.claims.remove(*i);
                self.claim(&claim)?;
                // It looks again until nothing is left to bring together.
                self.asks(Pending::Match);
            }
            Action::Dies(i) => {
                self.left.deaths -= 1;
                self.claims.remove(*i);
                self.asks(Pending::Match);
            }
            Action::Reports(i) => {
                if let Some(event) = self.reports.get_mut(*i).and_then(VecDeque::pop_front) {
                    self.report(*i, event)?;
                }
            }
            Action::PicksUp(offer) => {
                if let Some((contact, _, leg)) = self.legs.get_mut(offer) {
                    *leg = Leg::Talks;
                    let contact = *contact;
                    self.says(contact, CallEvent::OfferAnswered { offer: *offer, dialog: None });
                }
            }
            Action::Refuses(offer, reason) => {
                self.left.refusals -= 1;
                self.leg_fails(*offer, *reason);
            }
            Action::DeclinesOnConsole(i) => {
                self.left.refusals -= 1;
                if let Some(offer) = self.agents.get(*i).and_then(|agent| agent.state.offer()) {
                    self.agent(*i, &AgentInput::DeclineOffer { offer })?;
                }
            }
            Action::AgentHangsUp(offer) => {
                if let Some((contact, ..)) = self.legs.remove(offer) {
                    self.says(
                        contact,
                        CallEvent::AgentLegEnded { offer: *offer, cause: EndCause::HungUp, reasons: vec![] },
                    );
                }
            }
            Action::CallerHangsUp(i) => {
                self.left.hang_ups -= 1;
                self.line_ends(*i, EndCause::HungUp);
            }
            Action::Vanishes(i) => {
                self.left.lapses -= 1;
                self.agent(*i, &AgentInput::CloseConsole { console: "desk".into() })?;
                self.agent(*i, &AgentInput::PhoneLeft { node: NODE })?;
            }
            Action::NodeDies => {
                self.left.crashes -= 1;
                self.legs.clear();
                for i in 0..self.lines.len() {
                    if self.lines.get(i) == Some(&Line::Up) {
                        self.set_line(i, Line::Gone);
                        if let Some(reports) = self.reports.get_mut(i) {
                            reports.clear();
                        }
                        self.push(Pending::NodeLost(i));
                    }
                }
            }
            Action::ClockGoesOn => {
                self.left.advances -= 1;
                let contacts = self.contacts.iter().flatten().flat_map(|contact| ContactMachine::deadlines(contact));
                let agents = self.agents.iter().flat_map(|agent| AgentMachine::deadlines(agent));
                let due = contacts.chain(agents).map(|(_, due)| due).filter(|due| *due > self.now).min();
                self.now = due.unwrap_or(self.now);
            }
            Action::ContactTimer(i, timer) => {
                let due = |contact: &Contact| is_due::<ContactMachine>(contact, timer, self.now);
                if self.contacts.get(*i).and_then(Option::as_ref).is_some_and(|contact| due(contact)) {
                    self.contact(*i, Event::Timer { timer: timer.clone() })?;
                }
            }
            Action::AgentTimer(i, timer) => self.agent(*i, &AgentInput::Timer { timer: timer.clone() })?,
        }
        check::always(self)
    }

    fn set_line(&mut self, i: usize, line: Line) {
        if let Some(slot) = self.lines.get_mut(i) {
            *slot = line;
        }
    }

    /// The node has something to report.
    fn says(&mut self, contact: usize, event: CallEvent) {
        if let Some(reports) = self.reports.get_mut(contact) {
            reports.push_back(event);
        }
    }

    /// A phone stops ringing without an answer.
    fn leg_fails(&mut self, offer: OfferId, reason: OfferFailure) {
        if let Some((contact, ..)) = self.legs.remove(&offer) {
            self.says(contact, CallEvent::OfferFailed { offer, reason, sip_status: None, reasons: vec![] });
        }
    }

    /// The caller's leg ends, and with it those of agents.
    fn line_ends(&mut self, i: usize, cause: EndCause) {
        self.set_line(i, Line::Gone);
        self.legs.retain(|_, (contact, ..)| *contact != i);
        self.says(i, CallEvent::CallEnded { cause, quality: None, reasons: vec![] });
    }

    fn report(&mut self, i: usize, event: CallEvent) -> Result<(), String> {
        let Some(seq) = self.seq.get_mut(i) else { return Ok(()) };
        *seq += 1;
        let event = Event::Node {
            tenant: people::TENANT,
            contact: people::contact_id(i),
            node: NODE,
            seq: *seq,
            at: self.now,
            event,
        };
        self.contact(i, event)
    }

    /// One step of a contact, and what its node makes of the script.
    fn contact(&mut self, i: usize, event: Event) -> Result<(), String> {
        let Some(slot) = self.contacts.get(i) else { return Ok(()) };
        let input = ContactInput { event, setting: Some(people::setting()) };
        let before = slot.clone();
        let step = match ContactMachine::step(before.as_deref(), &input, self.now) {
            Ok(step) => step,
            Err(_) => return Ok(()),
        };
        for fact in &step.facts {
            let over = self.ends.get(i).copied().unwrap_or(0) > 0;
            if over && !fact.name().starts_with("Recording") {
                return Err(format!("contact {i}: {} after its end", fact.name()));
            }
            if fact.name() == "ContactEnded"
                && let Some(ends) = self.ends.get_mut(i)
            {
                *ends += 1;
            }
        }
        let hangs_up = matches!(step.state.phase, Phase::InFlow { .. })
            && step.state.script.verbs.iter().any(|verb| matches!(verb, Verb::Hangup));
        if let Some(slot) = self.contacts.get_mut(i) {
            *slot = Some(Held::contact(step.state));
        }
        for effect in step.effects {
            self.asks(Pending::Contact(i, effect));
        }
        if hangs_up && self.lines.get(i) == Some(&Line::Up) {
            self.line_ends(i, EndCause::Script);
        }
        Ok(())
    }

    fn agent(&mut self, i: usize, input: &AgentInput) -> Result<(), String> {
        let Some(agent) = self.agents.get(i) else { return Ok(()) };
        if let Ok(step) = AgentMachine::step(Some(&**agent), input, self.now) {
            for effect in step.effects {
                self.asks(Pending::Agent(i, effect));
            }
            if let Some(slot) = self.agents.get_mut(i) {
                *slot = Held::state(step.state);
            }
        }
        Ok(())
    }

    /// Something is to be carried out. What changes nothing in these worlds is left out.
    fn asks(&mut self, effect: Pending) {
        use {AgentEffect as A, ContactEffect as C};
        match effect {
            Pending::Match | Pending::Contact(_, C::MatchQueue { .. }) | Pending::Agent(_, A::MatchAgent { .. }) => {
                if !self.pending.iter().any(|pending| matches!(**pending, Pending::Match)) {
                    self.push(Pending::Match);
                }
            }
            Pending::Contact(_, C::CommandNode { ref command, .. })
                if matches!(command.action, NodeAction::Script { .. } | NodeAction::Announce { .. }) => {}
            effect => self.push(effect),
        }
    }

    fn push(&mut self, effect: Pending) {
        let text = told(&effect);
        self.pending.push(Held::new(effect, &text));
    }

    fn carry_out(&mut self, place: usize, stays: bool) -> Result<(), String> {
        let effect = self.pending.remove(place).take();
        if stays {
            self.left.repeats -= 1;
            self.asks(effect.clone());
        }
        match effect {
            Pending::Match => {
                if let Some((contact, agent)) = self.look() {
                    self.claims.push(Claim { contact, agent });
                }
                Ok(())
            }
            Pending::Agent(_, AgentEffect::MatchAgent { .. }) => Ok(()),
            Pending::Contact(i, ContactEffect::CommandNode { command, .. }) => {
                self.command(i, &command.action);
                Ok(())
            }
            Pending::Contact(_, ContactEffect::TellAgent { agent, offer, news }) => {
                let input = match news {
                    AgentNews::Accepted => AgentInput::OfferAccepted { offer },
                    AgentNews::Declined => AgentInput::OfferDeclined { offer },
                    AgentNews::TimedOut => AgentInput::OfferTimedOut { offer },
                    AgentNews::Unreachable => AgentInput::OfferUnreachable { offer },
                    AgentNews::Rescinded => AgentInput::OfferRescinded { offer },
                    AgentNews::Ended => AgentInput::ContactEnded { offer },
                    AgentNews::NotReached => AgentInput::PartyNotReached { offer },
                };
                self.agent(people::agent_index(agent), &input)
            }
            Pending::Contact(..) => Ok(()),
            Pending::Agent(_, AgentEffect::ReturnContact { offer, contact, outcome }) => {
                let declined = outcome == OfferOutcome::Declined;
                self.contact(people::contact_index(contact), Event::OfferReturned { offer, declined })
            }
            Pending::Agent(i, AgentEffect::CheckContact { offer, contact, agent }) => {
                let contact = self.contacts.get(people::contact_index(contact)).and_then(Option::as_ref);
                let talks = contact.is_some_and(|contact| contact.holder(offer) == Some(agent));
                let input = if talks { AgentInput::ContactAlive { offer } } else { AgentInput::ContactEnded { offer } };
                self.agent(i, &input)
            }
            Pending::NodeLost(i) => {
                self.contact(i, Event::NodeLost { node: NODE, to: None, before: self.now.plus_ms(1) })
            }
        }
    }

    /// What a command does on the node.
    fn command(&mut self, i: usize, action: &NodeAction) {
        match action {
            NodeAction::Ring(ring) => {
                let agent = people::agent_index(ring.agent);
                if self.lines.get(i) == Some(&Line::Up) {
                    self.legs.entry(ring.offer).or_insert((i, agent, Leg::Rings));
                }
            }
            NodeAction::Rescind { offer } if self.legs.get(offer).is_some_and(|(.., leg)| *leg == Leg::Rings) => {
                self.leg_fails(*offer, OfferFailure::Rescinded);
            }
            NodeAction::ReleaseAgent { offer } => {
                if let Some((contact, ..)) = self.legs.remove(offer) {
                    self.says(
                        contact,
                        CallEvent::AgentLegEnded { offer: *offer, cause: EndCause::Command, reasons: vec![] },
                    );
                }
            }
            NodeAction::End if self.lines.get(i) == Some(&Line::Up) => self.line_ends(i, EndCause::Command),
            _ => {}
        }
    }

    /// What a matcher sees now: the rows that follow from the states.
    pub(super) fn look(&self) -> Option<(usize, usize)> {
        let config = people::queue();
        let waiting = self.contacts.iter().flatten().filter_map(|contact| match &contact.phase {
            Phase::Waiting(wait) if wait.place.queue() == Some(&config.name) => Some(wait.entry.clone()),
            _ => None,
        });
        let free = self.agents.iter().filter(|agent| agent.state == AgentState::Available);
        let snapshot =
            Snapshot::new(&config, waiting.collect(), free.map(|agent| people::listed(agent)).collect(), self.now);
        match choose(&snapshot) {
            Decision::Match { contact, agent, .. } => {
                Some((people::contact_index(contact), people::agent_index(agent)))
            }
            Decision::Nothing { .. } => None,
        }
    }

    /// Whether anybody still knows of an offer.
    fn is_known(&self, offer: OfferId) -> bool {
        let id = format!("{offer:?}");
        self.legs.contains_key(&offer)
            || self.contacts.iter().flatten().any(|c| c.holder(offer).is_some() || c.stray == Some(offer))
            || self.agents.iter().any(|agent| agent.state.offer() == Some(offer))
            || self.pending.iter().any(|pending| told(pending).contains(&id))
            || self.reports.iter().flatten().any(|report| format!("{report:?}").contains(&id))
    }

    /// One transaction on both sides, or nothing.
    fn claim(&mut self, claim: &Claim) -> Result<(), String> {
        let (Some(Some(contact)), Some(agent)) = (self.contacts.get(claim.contact), self.agents.get(claim.agent))
        else {
            return Ok(());
        };
        let waits = matches!(&contact.phase, Phase::Waiting(wait) if wait.place.queue().is_some());
        if !waits || agent.live_phone(self.now).is_none() {
            return Ok(());
        }
        // An id that nobody knows any more is as good as a fresh one, and makes no new state.
        let ids = (1..).map(|number| people::offer_id(claim.contact, claim.agent, number));
        let Some(offer) = ids.into_iter().find(|offer| !self.is_known(*offer)) else { return Ok(()) };
        let new = NewOffer {
            offer,
            contact: contact.id,
            queue: Some(people::queue().name),
            ring_timeout_ms: RING_MS,
            wrap_up_ms: 0,
            origin: OfferOrigin::Routed,
        };
        let agents = AgentMachine::step(Some(&**agent), &AgentInput::Offer { offer: new }, self.now);
        let event = people::offer(offer, agent);
        match agents {
            Ok(step) => {
                for effect in step.effects {
                    self.asks(Pending::Agent(claim.agent, effect));
                }
                if let Some(slot) = self.agents.get_mut(claim.agent) {
                    *slot = Held::state(step.state);
                }
            }
            Err(_) if self.flaw == Flaw::OneSidedClaim => {}
            Err(_) => return Ok(()),
        }
        self.contact(claim.contact, event)?;
        check::claimed(self, claim.contact)
    }
}

/// What tells an effect from others; the number of a command does not.
fn told(effect: &Pending) -> String {
    match effect {
        Pending::Contact(i, ContactEffect::CommandNode { command, .. }) => format!("{i} {:?}", command.action),
        effect => format!("{effect:?}"),
    }
}
