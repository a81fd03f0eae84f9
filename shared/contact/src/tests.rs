use hotline_base::{
    AgentId, ContactId, FactBody, Machine, Name, NodeId, OfferId, RecordingId, Reject, TenantId, Timestamp, UserId,
};
use hotline_flow::Compiled;
use hotline_flow::run::{Env, QueueView};
use hotline_routing::QueueConfig;
use hotline_wire::legs::{CallerMode, DialFailure, DialogRef, LegMode};
use hotline_wire::node::{CallEvent, EndCause, NodeAction, OfferFailure, Verb, VerbResult};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::*;

mod callbacks;
mod legs;
mod losing;
mod said;
mod table;
mod walks;

const NODE: NodeId = NodeId::from_u128(7);
const AGENT: AgentId = AgentId::from_u128(8);
const OTHER: NodeId = NodeId::from_u128(9);
const BOSS: UserId = UserId::from_u128(60);

const FLOW: &str = "\
flow: main
languages: [en, zh]
start: ask
prompts:
  question: {en: Press one., zh: 请按一。}
  wait: {en: Please wait., zh: 请稍候。}
  rate: {en: How was it?, zh: 请打分。}
  bye: {en: Goodbye., zh: 再见。}
steps:
  ask:
    menu: question
    options:
      1: {label: Billing, category: billing, go: billing}
      2: {label: Message, go: message}
    no_input: bye
    no_match: bye
  billing:
    queue: billing
    say: wait
    announce:
      - {every: 30s, say: wait}
    max_wait: 2m
    on_max_wait: message
    leave:
      9: message
    then: rate
  message:
    voicemail: wait
    max: 60s
    no_message: bye
    then: bye
  rate:
    survey: rate
    then: bye
  bye:
    hangup: bye
";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + ms)
}

fn offer_id(n: u128) -> OfferId {
    OfferId::from_u128(n)
}

fn setting() -> Arc<Setting> {
    static SETTING: std::sync::OnceLock<Arc<Setting>> = std::sync::OnceLock::new();
    SETTING.get_or_init(make_setting).clone()
}

fn make_setting() -> Arc<Setting> {
    let flow = hotline_flow::parse(FLOW).expect("the test's flow is good");
    let billing: hotline_base::Name = "billing".parse().unwrap();
    let view = QueueView { staffed: 1, ..QueueView::default() };
    Arc::new(Setting {
        flow: Arc::new(Compiled::new(flow, &BTreeMap::new()).unwrap()),
        pin: FlowPin { name: "main".parse().unwrap(), version: 1 },
        prompts: Arc::new(PromptBook::new(TenantId::from_u128(1), "test", BTreeMap::new())),
        env: Env { queues: [(billing.clone(), view)].into(), ..Env::default() },
        queues: Arc::new([(billing.clone(), QueueConfig::new(billing))].into()),
        same_caller: BTreeMap::new(),
        last_agent: None,
        position: Some(1),
        callback: None,
        home: Default::default(),
        refer: None,
        fresh: 99,
    })
}

fn node_event(seq: u32, event: CallEvent) -> Event {
    Event::Node { tenant: TenantId::from_u128(1), contact: ContactId::from_u128(5), node: NODE, seq, at: at(0), event }
}

fn arrived() -> CallEvent {
    CallEvent::Arrived {
        did: "+8610555".into(),
        from: "+8613800138000".to_string().into(),
        display_name: String::new().into(),
        sip_call_id: "x".into(),
        dialog: Some(dialog("caller")),
        diverted: None,
    }
}

fn dialog(whose: &str) -> DialogRef {
    DialogRef {
        sip_call_id: whose.into(),
        local_tag: "a".into(),
        remote_tag: "b".into(),
        remote_target: "sip:x@192.0.2.1".to_string().into(),
        peer: "192.0.2.1:5060;transport=udp".into(),
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn leg(n: u128) -> NewLeg {
    NewLeg {
        number: None,
        offer: offer_id(n),
        agent: AgentId::from_u128(100 + n),
        sip_user: format!("colleague{n}.demo"),
        phone_node: NODE,
        phone_address: None,
        ring_timeout_ms: 20_000,
        caller_label: "li".to_string().into(),
        queue: None,
    }
}

fn desk(action: DeskAction) -> Event {
    Event::Desk { by: BOSS, action }
}

fn consult(n: u128) -> Event {
    Event::Consult { leg: leg(n), by: BOSS }
}

fn to_queue(queue: &str) -> Event {
    Event::Transfer {
        target: TransferTarget::Queue { queue: name(queue) },
        kind: TransferKind::Blind,
        by: BOSS,
        reason: "router".to_string().into(),
    }
}

fn to_agent() -> Event {
    let target = TransferTarget::Agent { agent: AgentId::from_u128(70), name: name("bo") };
    Event::Transfer { target, kind: TransferKind::Blind, by: BOSS, reason: String::new().into() }
}

fn to_number() -> Event {
    let target = TransferTarget::Number { number: "+4930123456".to_string().into() };
    Event::Transfer { target, kind: TransferKind::Blind, by: BOSS, reason: String::new().into() }
}

fn lost(to: Option<NodeId>, before: Timestamp) -> Event {
    Event::NodeLost { node: NODE, to, before }
}

fn order() -> CallbackOrder {
    CallbackOrder {
        of: Some(ContactId::from_u128(4)),
        queue: name("billing"),
        since: at(-600_000),
        entered: None,
        waited_ms: None,
        lost_call: false,
        tries: 0,
        reached: false,
        asks: false,
        kept: None,
        expires: at(CALLBACK_LIFE_MS),
    }
}

fn offer(n: u128) -> Event {
    Event::Offer {
        offer: offer_id(n),
        agent: AGENT,
        sip_user: "fang.demo".into(),
        phone_node: NODE,
        ring_timeout_ms: 20_000,
        caller_label: "li".to_string().into(),
        record: Some(RecordingId::from_u128(n)),
        phone_address: None,
        dial: None,
        by: None,
    }
}

/// A contact and the steps that made it.
#[derive(Clone)]
struct Life {
    contact: Option<Contact>,
    facts: Vec<ContactFact>,
    effects: Vec<ContactEffect>,
    now: Timestamp,
    seq: u32,
    node: NodeId,
}

impl Life {
    fn new() -> Self {
        Self { contact: None, facts: Vec::new(), effects: Vec::new(), now: at(0), seq: 0, node: NODE }
    }

    fn step(&mut self, event: Event) -> Result<(), Reject> {
        let input = ContactInput { event, setting: Some(setting()) };
        let done = ContactMachine::step(self.contact.as_ref(), &input, self.now)?;
        self.contact = Some(done.state);
        self.facts.extend(done.facts);
        self.effects.extend(done.effects);
        Ok(())
    }

    fn node(&mut self, event: CallEvent) -> &mut Self {
        self.seq += 1;
        self.step(self.reported(event)).unwrap();
        self
    }

    fn reported(&self, event: CallEvent) -> Event {
        let Event::Node { tenant, contact, seq, at, event, .. } = node_event(self.seq.max(1), event) else {
            unreachable!()
        };
        Event::Node { tenant, contact, node: self.node, seq, at, event }
    }

    /// What the nodes were asked since the last look.
    fn asked(&mut self) -> Vec<NodeAction> {
        let effects = std::mem::take(&mut self.effects);
        let action = |effect| match effect {
            ContactEffect::CommandNode { command, .. } => Some(command.action),
            _ => None,
        };
        effects.into_iter().filter_map(action).collect()
    }

    /// What agents were told since the last look.
    fn told(&mut self) -> Vec<(u128, AgentNews)> {
        let effects = std::mem::take(&mut self.effects);
        let news = |effect| match effect {
            ContactEffect::TellAgent { offer, news, .. } => Some((offer.as_u128(), news)),
            _ => None,
        };
        effects.into_iter().filter_map(news).collect()
    }

    fn names(&self) -> Vec<&'static str> {
        self.facts.iter().map(FactBody::name).collect()
    }

    fn clear(&mut self) -> &mut Self {
        self.facts.clear();
        self.effects.clear();
        self
    }

    fn ended(&mut self, result: VerbResult) -> &mut Self {
        let label = self.contact().script.label.clone();
        self.node(CallEvent::ScriptEnded { label, result })
    }

    fn press(&mut self, digits: &str) -> &mut Self {
        self.ended(VerbResult::Digits { digits: digits.to_string().into() })
    }

    fn contact(&self) -> &Contact {
        self.contact.as_ref().expect("arrived")
    }

    fn in_flow() -> Self {
        let mut life = Self::new();
        life.node(arrived());
        life
    }

    fn waiting() -> Self {
        let mut life = Self::in_flow();
        life.press("1");
        life
    }

    fn offered() -> Self {
        let mut life = Self::waiting();
        life.now = at(5_000);
        life.step(offer(1)).unwrap();
        life
    }

    fn talking() -> Self {
        let mut life = Self::offered();
        life.now = at(9_000);
        life.node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: Some(dialog("agent")) });
        life
    }

    fn consulting() -> Self {
        let mut life = Self::talking();
        life.now = at(10_000);
        life.step(consult(2)).unwrap();
        life
    }

    fn advised() -> Self {
        let mut life = Self::consulting();
        life.now = at(12_000);
        life.node(CallEvent::OfferAnswered { offer: offer_id(2), dialog: None });
        life
    }

    fn conference() -> Self {
        let mut life = Self::advised();
        life.step(desk(DeskAction::Conference)).unwrap();
        life
    }

    fn supervised() -> Self {
        let mut life = Self::talking();
        life.step(Event::Supervise { leg: leg(3), mode: SuperviseMode::Listen, by: BOSS }).unwrap();
        life.node(CallEvent::OfferAnswered { offer: offer_id(3), dialog: None });
        life
    }

    fn moving() -> Self {
        let mut life = Self::talking();
        life.now = at(20_000);
        life.step(lost(Some(OTHER), at(15_000))).unwrap();
        life.node = OTHER;
        life
    }

    fn rejoining() -> Self {
        let mut life = Self::moving();
        life.now = at(21_000);
        life.node(CallEvent::Reanchored { dialog: dialog("caller again") });
        life
    }

    fn called_back(order: CallbackOrder) -> Self {
        let mut life = Self::new();
        let first = Self::in_flow();
        let new = NewCallback {
            tenant: TenantId::from_u128(1),
            contact: ContactId::from_u128(5),
            order,
            number: "+8613800138000".to_string().into(),
            display_name: String::new().into(),
            did: "+8610555".into(),
            cursor: first.contact().cursor.clone(),
        };
        life.step(Event::CallBack(Box::new(new))).unwrap();
        life
    }

    fn callback() -> Self {
        Self::called_back(order())
    }

    fn callback_offered() -> Self {
        let mut life = Self::callback();
        life.step(Self::callback_offer()).unwrap();
        life
    }

    fn callback_offer() -> Event {
        let Event::Offer { offer, agent, sip_user, phone_node, ring_timeout_ms, caller_label, record, .. } = offer(1)
        else {
            unreachable!()
        };
        Event::Offer {
            offer,
            agent,
            sip_user,
            phone_node,
            ring_timeout_ms,
            caller_label,
            record,
            phone_address: None,
            dial: Some(NODE),
            by: None,
        }
    }

    fn callback_dialling() -> Self {
        let mut life = Self::callback_offered();
        life.now = at(3_000);
        life.node(CallEvent::OfferAnswered { offer: offer_id(1), dialog: None });
        life
    }

    fn callback_resting() -> Self {
        let mut life = Self::callback_dialling();
        life.node(CallEvent::PartyFailed { reason: DialFailure::Busy, sip_status: Some(486), reasons: vec![] });
        life
    }

    fn over() -> Self {
        let mut life = Self::talking();
        life.now = at(69_000);
        life.node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
        life
    }
}

fn last(life: &Life) -> &ContactFact {
    life.facts.last().expect("something happened")
}

#[test]
fn the_ending_adds_up() {
    let life = Life::over();
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.wait_ms, ending.talk_ms, ending.duration_ms), (9_000, 60_000, 69_000));
    assert_eq!(ending.reason, EndReason::CallerHungUp);
    assert_eq!(ending.agent, Some(AGENT));
    assert_eq!(ending.answered_at, Some(at(9_000)));
    assert_eq!(ending.abandoned_after_ms, None);
    assert_eq!(ending.category.as_ref().map(|name| name.as_str()), Some("billing"));
    assert_eq!(ending.recordings, [RecordingId::from_u128(1)]);
}

#[test]
fn a_wait_is_kept_over_offers_that_fail() {
    let mut life = Life::offered();
    let failed = |reason| CallEvent::OfferFailed { offer: offer_id(1), reason, sip_status: None, reasons: vec![] };
    life.node(failed(OfferFailure::TimedOut));
    life.now = at(30_000);
    life.node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let ContactFact::ContactEnded(ending) = last(&life) else { panic!("{:?}", last(&life)) };
    assert_eq!((ending.wait_ms, ending.abandoned_after_ms), (30_000, Some(30_000)));
}

#[test]
fn who_declined_is_not_asked_again_who_missed_is() {
    for (reason, excluded) in [(OfferFailure::Declined, true), (OfferFailure::TimedOut, false)] {
        let mut life = Life::offered();
        life.node(CallEvent::OfferFailed { offer: offer_id(1), reason, sip_status: None, reasons: vec![] });
        let wait = life.contact().wait().expect("waits again");
        assert_eq!(wait.entry.not.contains(&AGENT), excluded, "{reason:?}");
    }
}

#[test]
fn the_answer_to_a_repeat_is_the_same_and_a_stale_report_gets_the_present_script() {
    let mut life = Life::in_flow();
    let label = life.contact().script.label.clone();
    let event = CallEvent::ScriptEnded { label, result: VerbResult::Digits { digits: "1".to_string().into() } };
    life.node(event.clone());
    let answer = decision(life.contact(), 2, &event);
    assert_eq!(answer.label, "2:main/billing");
    assert!(answer.script.is_some() && answer.fallback.is_some());
    // The repeat finds the state after it.
    life.step(node_event(2, event.clone())).unwrap();
    assert_eq!(decision(life.contact(), 2, &event), answer);
    let ringing = CallEvent::OfferRinging { offer: offer_id(1) };
    assert_eq!(decision(life.contact(), 3, &ringing).script, None, "nothing new to play");
}

#[test]
fn what_is_not_asked_by_the_node_goes_as_a_command() {
    let mut life = Life::waiting();
    life.effects.clear();
    life.now = at(120_000);
    life.step(Event::Timer { timer: TIMER_WAIT.into() }).unwrap();
    let [ContactEffect::CommandNode { node, command }] = life.effects.as_slice() else { panic!("{:?}", life.effects) };
    let NodeAction::Script { label, script } = &command.action else { panic!("{command:?}") };
    assert_eq!((*node, label), (NODE, &life.contact().script.label));
    assert!(matches!(script.last(), Some(Verb::Record { .. })));
}

#[test]
fn command_ids_differ_and_follow_from_the_state() {
    let ids = |life: &Life| -> Vec<_> {
        let id = |effect: &ContactEffect| match effect {
            ContactEffect::CommandNode { command, .. } => Some(command.id),
            _ => None,
        };
        life.effects.iter().filter_map(id).collect()
    };
    let mut life = Life::offered();
    life.now = at(40_000);
    life.step(Event::Timer { timer: TIMER_OFFER.into() }).unwrap();
    life.step(offer(2)).unwrap();
    let all = ids(&life);
    assert_eq!(all.len(), 3);
    assert!(all[0] != all[1] && all[1] != all[2]);
    assert_eq!(ids(&Life::offered()), all[..1]);
}

#[test]
fn a_message_cut_short_by_hanging_up_counts() {
    let mut life = Life::in_flow();
    life.press("2");
    let Some(Verb::Record { recording, .. }) = life.contact().script.verbs.last().cloned() else {
        panic!("{:?}", life.contact().script)
    };
    life.node(CallEvent::CallEnded { cause: EndCause::HungUp, quality: None, reasons: vec![] });
    let delivered = CallEvent::RecordingEnded { recording, manifest: "m".into(), duration_ms: 8_000, failure: None };
    life.node(delivered);
    assert!(matches!(last(&life), ContactFact::VoicemailLeft { duration_ms: 8_000, .. }));
}

#[test]
fn a_step_that_needs_the_flow_says_so() {
    let life = Life::waiting();
    let input = ContactInput { event: Event::Timer { timer: TIMER_WAIT.into() }, setting: None };
    let refused = ContactMachine::step(life.contact.as_ref(), &input, at(120_000)).unwrap_err();
    assert_eq!(refused.code, "setting-missing");
}

#[test]
fn sounds_become_objects() {
    let book = PromptBook::new(TenantId::from_u128(1), "espeak-ng 1.51", BTreeMap::new());
    assert_eq!(book.engine, "espeak-ng-1-51");
    let unknown = hotline_flow::PromptRef::Audio { name: "jingle".parse().unwrap() };
    assert_eq!(book.prompt(&unknown), None);
}
