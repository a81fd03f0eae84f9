//! Callers and phones of the hour.

use hotline_base::{ContactId, NodeId, OfferId, TenantId, Timestamp};
use hotline_ports::World as _;
use hotline_routing::estimate::{HandleTime, estimate_ms};
use hotline_wire::node::{CallEvent, CallInput, Decision, EndCause, NodeAction, Verb};
use std::collections::{HashMap, VecDeque};

use super::flood::{self, marked};
use super::{DID, Happening, Hour, QUEUES, TENANT};

/// What each number runs.
pub(super) const FLOW: &str = "\
flow: QUEUE
languages: [zh]
start: wait
prompts:
  bye: {zh: 再见。}
steps:
  wait:
    queue: QUEUE
    max_wait: 60m
    on_max_wait: bye
    then: bye
  bye:
    hangup: bye
";

/// Mean talk, milliseconds; exponential, at least five seconds.
const TALK_MS: f64 = 230_000.0;
/// Mean patience, milliseconds; exponential, at least ten seconds.
const PATIENCE_MS: f64 = 600_000.0;
/// A node asks again after this, milliseconds, where there was no decision.
const AGAIN_MS: i64 = 250;

#[derive(Debug)]
struct Call {
    came: Timestamp,
    node: NodeId,
    /// Of a flood: not one of the calls that are looked at.
    flood: bool,
    tenant: TenantId,
    seq: u32,
    /// What is to be asked, oldest first; the first one may be under way.
    asks: VecDeque<CallEvent>,
    asking: bool,
    up: bool,
    known: bool,
    offer: Option<OfferId>,
    answered: bool,
    /// The wait that would have been announced at arrival, milliseconds.
    estimate_ms: Option<i64>,
}

/// Calls that go on.
#[derive(Default)]
pub(super) struct Calls(HashMap<ContactId, Call>);

impl Hour {
    fn exponential(&mut self, mean_ms: f64, least_ms: i64) -> i64 {
        let draw = (self.rng.below(1_000_000) as f64 + 0.5) / 1_000_000.0;
        ((-draw.ln() * mean_ms) as i64).clamp(least_ms, 3_600_000)
    }

    pub(super) fn call_happens(&mut self, happening: Happening) {
        match happening {
            Happening::Dials(n) => self.dials(n),
            Happening::Floods(n) => self.floods(n),
            Happening::GivesUp(contact) => {
                let Some(call) = self.calls.0.get_mut(&contact).filter(|call| call.up && !call.answered) else {
                    return;
                };
                call.up = false;
                self.says(contact, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
            }
            Happening::Command(contact, action) => self.command(contact, &action),
            Happening::Answers(contact, offer) => self.answers(contact, offer),
            Happening::TalkEnds(contact, offer) => {
                let agent_first = self.rng.chance(330);
                let Some(call) = self.calls.0.get_mut(&contact).filter(|call| call.up) else { return };
                if agent_first {
                    return self
                        .says(contact, CallEvent::AgentLegEnded { offer, cause: EndCause::HungUp, reasons: vec![] });
                }
                call.up = false;
                self.says(contact, CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
            }
            Happening::AskAgain(contact) => self.ask_next(contact),
            _ => {}
        }
    }

    fn dials(&mut self, n: u64) {
        let place = self.rng.below(100) as u64;
        let mut sum = 0;
        let queue = QUEUES.iter().find(|(_, share)| {
            sum += share;
            place < sum
        });
        let queue = queue.map_or("main", |(queue, _)| *queue);
        let now = self.clock.now();
        let contact = ContactId::new(now, self.clock.random());
        let estimate_ms = self.estimate(queue);
        let call = Call { estimate_ms, ..self.new_call(n, TENANT, false) };
        self.calls.0.insert(contact, call);
        self.counts.arrived += 1;
        let patience = self.exponential(PATIENCE_MS, 10_000);
        self.after(patience, Happening::GivesUp(contact));
        self.arrives(contact, format!("{DID}{}", &queue[..1]), format!("+8613{n:09}"));
    }

    fn floods(&mut self, n: u64) {
        let Some(flood) = self.plan.flood else { return };
        let contact = ContactId::new(self.clock.now(), marked(self.clock.random()));
        let call = self.new_call(n, flood.tenant(), true);
        self.calls.0.insert(contact, call);
        self.counts.flood.came += 1;
        self.after(flood::PATIENCE_MS, Happening::GivesUp(contact));
        let (did, from) = flood.numbers(n);
        self.arrives(contact, did, from);
    }

    fn new_call(&self, n: u64, tenant: TenantId, flood: bool) -> Call {
        Call {
            came: self.clock.now(),
            node: self.plan.node(n),
            flood,
            tenant,
            seq: 0,
            asks: VecDeque::new(),
            asking: false,
            up: true,
            known: false,
            offer: None,
            answered: false,
            estimate_ms: None,
        }
    }

    fn arrives(&mut self, contact: ContactId, did: String, from: String) {
        let event = CallEvent::Arrived {
            did,
            from: from.into(),
            display_name: String::new().into(),
            sip_call_id: format!("{contact}@hour"),
            dialog: None,
            diverted: None,
        };
        self.says(contact, event);
    }

    /// What the estimate says to a newcomer, from what is in the tables.
    fn estimate(&self, queue: &str) -> Option<i64> {
        let count = |kind: &str| self.store.count_rows(TENANT, &format!("{kind}/{queue}")) as u32;
        let (waiting, staffed, free) = (count("waiting"), count("staffed"), count("available"));
        let handle = HandleTime { mean_ms: (TALK_MS + 20_000.0) as u32, samples: 1 };
        estimate_ms(waiting, staffed, free, &handle).map(i64::from)
    }

    fn says(&mut self, contact: ContactId, event: CallEvent) {
        if let Some(call) = self.calls.0.get_mut(&contact) {
            call.asks.push_back(event);
            if !call.asking {
                self.ask_next(contact);
            }
        }
    }

    fn ask_next(&mut self, contact: ContactId) {
        let now = self.clock.now();
        let Some(call) = self.calls.0.get_mut(&contact) else { return };
        let Some(event) = call.asks.front().cloned() else { return };
        if !call.asking {
            call.seq += 1;
            call.asking = true;
        }
        let tenant = call.known.then_some(call.tenant);
        let input = CallInput { contact, tenant, node: call.node, seq: call.seq, at: now, event };
        self.ask(input);
    }

    pub(super) fn decided(&mut self, contact: ContactId, decision: Result<Decision, String>) {
        let Some(call) = self.calls.0.get_mut(&contact) else { return };
        let Ok(decision) = decision else {
            self.counts.retries += 1;
            return self.after(AGAIN_MS, Happening::AskAgain(contact));
        };
        call.known = true;
        call.asking = false;
        let ended = matches!(call.asks.pop_front(), Some(CallEvent::CallEnded { .. }));
        if ended {
            self.calls.0.remove(&contact);
            return;
        }
        let verbs = || decision.script.iter().flatten();
        if call.flood && call.seq == 1 {
            let refused = verbs().any(|verb| matches!(verb, Verb::Reject { .. }));
            self.counts.flood.refused += u64::from(refused);
            self.counts.flood.let_in += u64::from(!refused);
        }
        let hangs_up = verbs().any(|verb| matches!(verb, Verb::Hangup | Verb::Reject { .. }));
        if hangs_up && call.up {
            call.up = false;
            call.asks.push_back(CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
        }
        self.ask_next(contact);
    }

    fn command(&mut self, contact: ContactId, action: &NodeAction) {
        let ring_ms = self.rng.between(1_500, 6_000);
        let Some(call) = self.calls.0.get_mut(&contact).filter(|call| call.up) else { return };
        match action {
            NodeAction::Ring(ring) => {
                call.offer = Some(ring.offer);
                self.says(contact, CallEvent::OfferRinging { offer: ring.offer });
                self.after(ring_ms, Happening::Answers(contact, ring.offer));
            }
            NodeAction::Script { script, .. } if script.iter().any(|verb| matches!(verb, Verb::Hangup)) => {
                call.up = false;
                self.says(contact, CallEvent::CallEnded { cause: EndCause::Script, quality: None, reasons: vec![] });
            }
            _ => {}
        }
    }

    fn answers(&mut self, contact: ContactId, offer: OfferId) {
        let talk = self.exponential(TALK_MS, 5_000);
        let now = self.clock.now();
        let Some(call) = self.calls.0.get_mut(&contact) else { return };
        if !call.up || call.answered || call.offer != Some(offer) {
            return;
        }
        call.answered = true;
        let wait_ms = now.since_ms(call.came);
        if !call.flood {
            self.counts.waited(wait_ms, call.estimate_ms);
        }
        self.says(contact, CallEvent::OfferAnswered { offer, dialog: None });
        self.after(talk, Happening::TalkEnds(contact, offer));
    }
}
