use super::super::{
    Agent, AgentEffect, AgentFact, AgentInput, AgentMachine, AgentProfile, AgentState, BUSY_CHECK_MS, Capacity,
    Membership, NewOffer, OFFER_BACKSTOP_MS, OfferOrigin, PRESENCE_LEASE_MS, Requested, StateName, WRAP_UP_MAX_MS,
};
use hotline_base::{AgentId, ContactId, Machine, NodeId, OfferId, Redacted, Reject, Timestamp};

const NODE: NodeId = NodeId::from_u128(7);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + ms)
}

fn profile() -> AgentProfile {
    AgentProfile {
        agent: AgentId::from_u128(1),
        display_name: Redacted::new("Fang".into()),
        sip_user: "fang.demo".into(),
        voice: true,
        capacity: Capacity::default(),
        skills: [("router".parse().unwrap(), 3)].into(),
        queues: [
            ("billing".parse().unwrap(), Membership { preference: 2, ..Membership::default() }),
            ("technical".parse().unwrap(), Membership { preference: 1, ..Membership::default() }),
        ]
        .into(),
        groups: vec![],
    }
}

/// An agent driven through the machine; what happened is kept as short lines.
struct Driven {
    agent: Agent,
    log: Vec<String>,
}

impl Driven {
    fn new() -> Self {
        let made = AgentMachine::step(None, &AgentInput::Configure { profile: profile() }, at(0)).unwrap();
        Self { agent: made.state, log: vec![] }
    }

    fn available() -> Self {
        let mut driven = Self::new();
        driven.to(0, AgentInput::PhoneRegistered { node: NODE, expires: at(600_000) });
        driven.to(0, AgentInput::RequestState { to: Requested::Available });
        driven.log.clear();
        driven
    }

    fn busy() -> Self {
        let mut driven = Self::available();
        driven.to(1_000, offer(1));
        driven.to(2_000, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
        driven.log.clear();
        driven
    }

    fn try_to(&mut self, ms: i64, input: AgentInput) -> Result<(), Reject> {
        let step = AgentMachine::step(Some(&self.agent), &input, at(ms))?;
        self.agent = step.state;
        for fact in step.facts {
            self.log.push(match fact {
                AgentFact::StateEntered { from, to, for_ms, reason, .. } => {
                    format!("{from} -> {to} after {for_ms} ({reason})")
                }
                AgentFact::OfferClosed { outcome, after_ms, .. } => format!("offer {outcome:?} after {after_ms}"),
                other => hotline_base::FactBody::name(&other).to_owned(),
            });
        }
        for effect in step.effects {
            self.log.push(match effect {
                AgentEffect::MatchAgent { queues, .. } => format!("! match {queues:?}"),
                AgentEffect::ReturnContact { outcome, .. } => {
                    format!("! return contact {outcome:?}")
                }
                AgentEffect::CheckContact { .. } => "! check contact".into(),
            });
        }
        Ok(())
    }

    fn to(&mut self, ms: i64, input: AgentInput) {
        self.try_to(ms, input).unwrap();
    }

    fn refused(&mut self, ms: i64, input: AgentInput) -> String {
        self.try_to(ms, input).unwrap_err().code
    }

    fn state(&self) -> StateName {
        self.agent.state.name()
    }

    fn rows(&self) -> Vec<String> {
        AgentMachine::rows(&self.agent).into_iter().map(|r| hotline_base::unsharded(&r.partition).to_string()).collect()
    }

    /// Fires every timer that is due until none is, up to `ms`.
    fn run_to(&mut self, ms: i64) {
        for _ in 0..100 {
            let due = AgentMachine::deadlines(&self.agent).into_iter().map(|(k, t)| (t, k)).min();
            match due {
                Some((t, timer)) if t <= at(ms) => {
                    self.to(t.since_ms(at(0)), AgentInput::Timer { timer });
                }
                _ => return,
            }
        }
        panic!("timers never stop: {:?}", self.agent);
    }

    fn log(&mut self) -> String {
        let text = self.log.join("\n");
        self.log.clear();
        text
    }
}

fn offer(n: u128) -> AgentInput {
    AgentInput::Offer {
        offer: NewOffer {
            offer: OfferId::from_u128(n),
            contact: ContactId::from_u128(n),
            queue: Some("billing".parse().unwrap()),
            ring_timeout_ms: 20_000,
            wrap_up_ms: 30_000,
            origin: OfferOrigin::Routed,
        },
    }
}

fn away(reason: &str) -> AgentInput {
    AgentInput::RequestState { to: Requested::Away { reason: reason.parse().unwrap() } }
}

#[test]
fn a_call_from_offer_to_wrap_up_and_back() {
    let mut d = Driven::available();
    assert_eq!(
        d.rows(),
        ["agents", "available/billing", "available/technical", "staffed/billing", "staffed/technical"]
    );
    d.to(1_000, offer(1));
    assert_eq!(d.rows(), ["agents", "staffed/billing", "staffed/technical"]);
    d.to(4_000, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
    d.to(64_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    d.run_to(94_000);
    assert_eq!(
        d.log(),
        "OfferReceived\n\
         available -> offered after 1000 (offered)\n\
         offer Accepted after 3000\n\
         offered -> busy after 3000 (answered)\n\
         busy -> wrap_up after 60000 (contact-ended)\n\
         wrap_up -> available after 30000 (wrap-up-ended)\n\
         ! match [\"technical\", \"billing\"]"
    );
    assert_eq!(d.agent.occupancy_pm(at(94_000)), 957, "90 s of 94 s");
}

#[test]
fn no_phone_no_available() {
    let mut d = Driven::new();
    let available = AgentInput::RequestState { to: Requested::Available };
    assert_eq!(d.refused(0, available.clone()), "not-present");
    d.to(0, AgentInput::Heartbeat { console: "tab".into() });
    assert_eq!(d.refused(0, available.clone()), "no-phone");
    d.to(0, AgentInput::PhoneRegistered { node: NODE, expires: at(60_000) });
    d.to(0, available.clone());
    assert_eq!(d.state(), StateName::Available);
    d.to(10, AgentInput::PhoneLeft { node: NodeId::from_u128(8) });
    assert_eq!(d.state(), StateName::Available, "another node does not count");
    d.log.clear();
    d.to(20, AgentInput::PhoneLeft { node: NODE });
    assert_eq!(d.log(), "PhoneLost\navailable -> away after 20 (no-phone)");
    d.to(30, AgentInput::PhoneRegistered { node: NODE, expires: at(60_000) });
    assert_eq!(d.state(), StateName::Available, "the phone is back");

    let mut chat_only = profile();
    chat_only.voice = false;
    let mut d = Driven::new();
    d.to(0, AgentInput::Configure { profile: chat_only });
    d.to(0, AgentInput::Heartbeat { console: "tab".into() });
    d.to(0, available);
    assert_eq!(d.state(), StateName::Available);
}

#[test]
fn a_lapsed_presence_gives_the_offer_back() {
    let mut d = Driven::available();
    d.to(590_000, offer(1));
    d.run_to(600_000);
    assert_eq!(
        d.log(),
        "OfferReceived\n\
         available -> offered after 590000 (offered)\n\
         PhoneLost\n\
         offer Unreachable after 10000\n\
         offered -> away after 10000 (no-phone)\n\
         PresenceLapsed\n\
         away -> offline after 0 (presence-lapsed)\n\
         ShiftEnded\n\
         ! return contact Unreachable"
    );
    assert_eq!(d.rows(), ["agents"]);
    assert!(AgentMachine::deadlines(&d.agent).is_empty(), "nothing is left to wait for");
}

#[test]
fn a_call_outlives_presence_and_then_the_agent_is_offline() {
    let mut d = Driven::busy();
    d.run_to(700_000);
    assert_eq!(d.state(), StateName::Busy);
    assert_eq!(d.log(), "! check contact\n! check contact");
    d.to(800_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    assert_eq!(d.state(), StateName::Offline);
}

#[test]
fn two_consoles_are_one_presence() {
    let mut d = Driven::new();
    d.to(0, AgentInput::Heartbeat { console: "a".into() });
    d.to(10_000, AgentInput::Heartbeat { console: "b".into() });
    d.to(10_000, away("lunch"));
    d.to(20_000, AgentInput::CloseConsole { console: "a".into() });
    assert_eq!(d.state(), StateName::Away);
    d.run_to(10_000 + PRESENCE_LEASE_MS - 1);
    assert_eq!(d.state(), StateName::Away);
    d.run_to(10_000 + PRESENCE_LEASE_MS);
    assert_eq!(d.state(), StateName::Offline);
    for n in 0..50 {
        d.to(60_000, AgentInput::Heartbeat { console: format!("tab-{n}") });
    }
    assert!(d.agent.consoles.len() <= 4, "bounded");
    assert!(d.agent.consoles.contains_key("tab-49"), "the newest stays");
    assert_eq!(d.refused(60_000, AgentInput::Heartbeat { console: "x".repeat(65) }), "console-invalid");
}

#[test]
fn a_missed_offer_parks_the_agent_with_a_visible_reason() {
    let mut d = Driven::available();
    d.to(1_000, offer(1));
    d.to(21_000, AgentInput::OfferTimedOut { offer: OfferId::from_u128(1) });
    assert_eq!(d.agent.state, AgentState::Away { reason: "missed-offer".parse().unwrap() });

    let mut d = Driven::available();
    d.to(1_000, offer(1));
    d.log.clear();
    d.run_to(21_000 + OFFER_BACKSTOP_MS);
    assert_eq!(
        d.log(),
        "offer TimedOut after 30000\noffered -> away after 30000 (missed-offer)\n! return contact TimedOut",
        "nobody said how it ended"
    );
    let late = AgentInput::OfferAccepted { offer: OfferId::from_u128(1) };
    d.to(31_001, late.clone());
    assert_eq!(d.state(), StateName::Busy, "the phone was answered after all: who talks is not free");

    let mut d = Driven::available();
    d.to(1_000, offer(1));
    d.run_to(21_000 + OFFER_BACKSTOP_MS);
    d.to(31_000, AgentInput::OfferTimedOut { offer: OfferId::from_u128(1) });
    assert_eq!(d.refused(31_001, late), "offer-not-current", "the contact had agreed");
}

#[test]
fn declining_on_the_console_tells_the_contact() {
    let mut d = Driven::available();
    d.to(1_000, offer(1));
    assert_eq!(d.refused(1_500, AgentInput::DeclineOffer { offer: OfferId::from_u128(2) }), "offer-not-current");
    d.log.clear();
    d.to(2_000, AgentInput::DeclineOffer { offer: OfferId::from_u128(1) });
    assert_eq!(
        d.log(),
        "offer Declined after 1000\noffered -> away after 1000 (declined-offer)\n! return contact Declined"
    );
}

#[test]
fn a_rescinded_offer_costs_the_agent_nothing() {
    let mut d = Driven::available();
    let idle = d.agent.idle_since;
    d.to(5_000, offer(1));
    d.to(6_000, AgentInput::OfferRescinded { offer: OfferId::from_u128(1) });
    assert_eq!((d.state(), d.agent.idle_since), (StateName::Available, idle));
    assert!(d.log().ends_with("! match [\"technical\", \"billing\"]"));
    let late = AgentInput::OfferAccepted { offer: OfferId::from_u128(1) };
    assert_eq!(d.refused(7_000, late), "offer-not-current", "the end overtook the answer");
}

#[test]
fn away_after_this_call() {
    let mut d = Driven::busy();
    d.to(3_000, away("lunch"));
    d.to(3_500, away("lunch"));
    assert_eq!(d.log(), "StateRequested", "asking twice is one request");
    assert_eq!(d.state(), StateName::Busy);
    d.to(10_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    d.run_to(40_000);
    assert_eq!(d.log(), "busy -> wrap_up after 8000 (contact-ended)\nwrap_up -> away after 30000 (lunch)");

    let mut d = Driven::busy();
    d.to(3_000, away("lunch"));
    d.to(4_000, AgentInput::RequestState { to: Requested::Available });
    d.to(10_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    d.run_to(40_000);
    assert_eq!(d.state(), StateName::Available, "taken back");

    let mut d = Driven::busy();
    d.to(3_000, AgentInput::RequestState { to: Requested::Offline });
    d.to(10_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    assert_eq!(d.state(), StateName::Offline, "signing out needs no wrap-up");
}

#[test]
fn signing_out_while_it_rings_returns_the_contact() {
    let mut d = Driven::available();
    d.to(1_000, offer(1));
    d.log.clear();
    d.to(2_000, AgentInput::RequestState { to: Requested::Offline });
    assert_eq!(
        d.log(),
        "offer PresenceLost after 1000\n\
         offered -> offline after 1000 (signed-out)\n\
         ShiftEnded\n\
         ! return contact PresenceLost"
    );
}

#[test]
fn signing_out_at_the_moment_of_the_answer_takes_effect_after_the_call() {
    let mut d = Driven::available();
    d.to(1_000, offer(1));
    d.to(2_000, AgentInput::RequestState { to: Requested::Offline });
    d.log.clear();
    d.to(2_100, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
    d.to(9_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    assert_eq!(d.state(), StateName::Offline, "{}", d.log());
}

#[test]
fn wrap_up_is_extended_within_an_hour_and_ended_by_hand() {
    let mut d = Driven::busy();
    assert_eq!(d.refused(3_000, AgentInput::EndWrapUp), "not-in-wrap-up");
    d.to(10_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    d.to(20_000, AgentInput::ExtendWrapUp { by_ms: 60_000 });
    assert!(matches!(d.agent.state, AgentState::WrapUp { until, .. } if until == at(100_000)));
    d.to(20_000, AgentInput::ExtendWrapUp { by_ms: u32::MAX });
    assert!(matches!(d.agent.state, AgentState::WrapUp { until, .. } if until == at(10_000 + WRAP_UP_MAX_MS)));
    assert_eq!(d.refused(20_000, AgentInput::ExtendWrapUp { by_ms: 1 }), "wrap-up-too-long");
    d.to(30_000, AgentInput::EndWrapUp);
    assert_eq!(d.state(), StateName::Available);
}

#[test]
fn one_call_at_a_time() {
    let mut d = Driven::available();
    d.to(1_000, offer(1));
    assert_eq!(d.refused(1_001, offer(1)), "offer-repeated");
    assert_eq!(d.refused(1_001, offer(2)), "agent-not-available");
    d.to(1_002, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
    assert_eq!(d.refused(1_003, offer(2)), "agent-not-available");
    let mut parked = Driven::available();
    parked.to(1, away("lunch"));
    assert_eq!(parked.refused(2, offer(1)), "agent-not-available");
    let AgentInput::Offer { offer: mut pulled } = offer(1) else { unreachable!() };
    pulled.origin = OfferOrigin::Pulled;
    parked.to(3, AgentInput::Offer { offer: pulled });
    assert_eq!(parked.state(), StateName::Offered);
}

#[test]
fn a_stale_timer_changes_nothing() {
    let mut d = Driven::available();
    for timer in ["offer", "presence", "phone", "wrap-up", "busy-check", "nonsense"] {
        assert_eq!(d.refused(1, AgentInput::Timer { timer: timer.into() }), "timer-not-due", "{timer}");
    }
}

#[test]
fn a_new_queue_or_skill_makes_a_free_agent_look_for_work() {
    let mut d = Driven::available();
    let mut wider = profile();
    wider.queues.insert("vip".parse().unwrap(), Membership::default());
    d.to(1, AgentInput::Configure { profile: wider.clone() });
    assert_eq!(d.log(), "AgentConfigured\n! match [\"vip\", \"technical\", \"billing\"]");
    for n in 0..30 {
        wider.queues.insert(format!("q{n}").parse().unwrap(), Membership::default());
    }
    assert_eq!(d.refused(2, AgentInput::Configure { profile: wider }), "agent-invalid");
    let mut absurd = profile();
    absurd.skills.insert("router".parse().unwrap(), 11);
    assert_eq!(d.refused(2, AgentInput::Configure { profile: absurd }), "agent-invalid");
}

#[test]
fn a_node_with_a_wrong_clock_cannot_pin_a_phone() {
    let mut d = Driven::new();
    d.to(0, AgentInput::PhoneRegistered { node: NODE, expires: at(i64::from(u32::MAX)) });
    assert_eq!(d.agent.phone.unwrap().expires, at(3_600_000));
    d.to(1, AgentInput::PhoneRegistered { node: NODE, expires: at(-5) });
    assert_eq!(d.agent.phone, None);
}

#[test]
fn a_phone_that_was_forgotten_is_told_again_but_not_over_a_newer_one() {
    let other = NodeId::from_u128(8);
    let mut d = Driven::available();
    d.to(5, AgentInput::Heartbeat { console: "tab".into() });
    d.to(10, AgentInput::PhoneLeft { node: NODE });
    d.to(20, AgentInput::PhoneStays { node: NODE, expires: at(600_000) });
    assert_eq!((d.state(), d.agent.phone.unwrap().node), (StateName::Available, NODE));
    d.to(30, AgentInput::PhoneRegistered { node: other, expires: at(90_000) });
    d.log.clear();
    d.to(40, AgentInput::PhoneStays { node: NODE, expires: at(600_000) });
    assert_eq!((d.log().as_str(), d.agent.phone.unwrap().node), ("", other));
    d.to(90_000, AgentInput::PhoneStays { node: NODE, expires: at(600_000) });
    assert_eq!(d.agent.phone.unwrap().node, NODE, "the other one has lapsed");
}

#[test]
fn no_microphone_no_available() {
    let mut d = Driven::new();
    let available = AgentInput::RequestState { to: Requested::Available };
    let says = |console: &str, works| AgentInput::Microphone { console: console.into(), works };
    let beat = |console: &str| AgentInput::Heartbeat { console: console.into() };
    d.to(0, AgentInput::PhoneRegistered { node: NODE, expires: at(600_000) });
    assert_eq!(d.refused(0, says("a", false)), "console-unknown");
    d.to(0, beat("a"));
    d.to(0, says("a", false));
    assert_eq!(d.refused(0, available.clone()), "no-microphone");
    d.to(10, says("a", true));
    d.to(10, available.clone());
    assert_eq!(d.state(), StateName::Available);
    d.log.clear();
    d.to(20, says("a", false));
    d.to(30, says("a", true));
    assert_eq!(
        d.log(),
        "available -> away after 10 (no-microphone)\naway -> available after 10 (microphone-back)\n\
         ! match [\"technical\", \"billing\"]"
    );
    // One console of two is enough; without any word nothing is asked for.
    d.to(40, beat("b"));
    d.to(40, says("b", false));
    assert_eq!(d.state(), StateName::Available);
    d.to(50, AgentInput::CloseConsole { console: "a".into() });
    assert_eq!(d.agent.state, AgentState::Away { reason: "no-microphone".parse().unwrap() });
    d.to(60, AgentInput::CloseConsole { console: "b".into() });
    d.to(70, available);
    // In an offer it goes back to the queue, in a call nothing happens.
    d.to(80, beat("c"));
    d.to(80, offer(1));
    d.log.clear();
    d.to(90, says("c", false));
    let log = d.log();
    assert!(log.contains("(no-microphone)") && log.contains("! return contact Unreachable"), "{log}");
    let mut busy = Driven::busy();
    busy.to(3_000, beat("a"));
    busy.to(3_000, says("a", false));
    assert_eq!(busy.state(), StateName::Busy);
    busy.to(4_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    busy.to(5_000, AgentInput::EndWrapUp);
    assert_eq!(busy.agent.state, AgentState::Away { reason: "no-microphone".parse().unwrap() });
}

#[test]
fn a_busy_agent_whose_contact_is_gone_is_freed() {
    let mut d = Driven::busy();
    d.run_to(2_000 + BUSY_CHECK_MS);
    assert_eq!(d.log(), "! check contact");
    d.to(2_000 + BUSY_CHECK_MS + 5, AgentInput::ContactAlive { offer: OfferId::from_u128(1) });
    d.to(2_000 + BUSY_CHECK_MS + 6, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    assert_eq!(d.state(), StateName::WrapUp);
}

fn help(n: u128, origin: OfferOrigin) -> AgentInput {
    let AgentInput::Offer { offer } = offer(n) else { unreachable!() };
    AgentInput::Offer { offer: NewOffer { origin, ..offer } }
}

#[test]
fn whoever_helps_a_colleague_goes_back_to_what_they_did() {
    let mut driven = Driven::available();
    driven.to(1_000, away("lunch"));
    driven.to(2_000, help(1, OfferOrigin::Consulted));
    driven.to(3_000, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
    driven.to(9_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    driven.run_to(200_000);
    assert_eq!(driven.agent.state, AgentState::Away { reason: "lunch".parse().unwrap() });
    // Routing does not disturb whoever is away.
    assert_eq!(driven.refused(200_000, offer(2)), "agent-not-available");
    // A supervisor need not sign in to listen in, and is signed out afterwards as before.
    let mut boss = Driven::new();
    boss.to(0, AgentInput::PhoneRegistered { node: NODE, expires: at(600_000) });
    assert_eq!(boss.refused(1_000, help(1, OfferOrigin::Consulted)), "agent-not-available");
    boss.to(1_000, help(1, OfferOrigin::Supervising));
    boss.to(2_000, AgentInput::OfferAccepted { offer: OfferId::from_u128(1) });
    boss.to(3_000, AgentInput::ContactEnded { offer: OfferId::from_u128(1) });
    assert_eq!(boss.state(), StateName::Offline);
}

#[test]
fn a_party_that_is_not_reached_costs_the_agent_nothing() {
    let mut driven = Driven::busy();
    let idle_since = driven.agent.idle_since;
    driven.to(30_000, AgentInput::PartyNotReached { offer: OfferId::from_u128(1) });
    assert_eq!((driven.state(), driven.agent.idle_since), (StateName::Available, idle_since));
    // Said again, or of another offer: nothing.
    assert_eq!(
        driven.refused(31_000, AgentInput::PartyNotReached { offer: OfferId::from_u128(1) }),
        "offer-not-current"
    );
}

#[test]
fn the_state_survives_storage() {
    let d = Driven::busy();
    let text = serde_json::to_string(&d.agent).unwrap();
    assert_eq!(serde_json::from_str::<Agent>(&text).unwrap(), d.agent);
}
