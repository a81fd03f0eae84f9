//! Random conversations against a model of the media engine: after every step everybody hears whom
//! they should, and nobody else.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// What the engine does with the commands, as its documentation says.
#[derive(Default)]
struct Engine {
    /// Each leg's place: the number of its bridge or mix.
    groups: BTreeMap<u32, (bool, BTreeMap<u64, HeardBy>)>,
    next: u32,
    music: BTreeSet<u64>,
    recorded: BTreeSet<u64>,
    recording: bool,
}

impl Engine {
    fn leave(&mut self, leg: u64) {
        self.groups.retain(|_, (mix, legs)| {
            let inside = legs.contains_key(&leg);
            legs.remove(&leg);
            legs.len() >= 2 && (*mix || !inside)
        });
    }

    fn join(&mut self, mix: bool, legs: impl Iterator<Item = (u64, HeardBy)>) {
        let legs: BTreeMap<u64, HeardBy> = legs.collect();
        for leg in legs.keys() {
            self.leave(*leg);
        }
        if legs.len() >= 2 {
            self.groups.insert(self.next, (mix, legs));
            self.next += 1;
        }
    }

    fn apply(&mut self, command: &MediaCommand) {
        match command {
            MediaCommand::Bridge { a, b } => {
                self.join(false, [a.0, b.0].map(|leg| (leg, HeardBy::Everybody)).into_iter());
            }
            MediaCommand::Mix { legs } => self.join(true, legs.iter().map(|l| (l.leg.0, l.heard_by))),
            MediaCommand::Unbridge { leg } => {
                self.groups.retain(|_, (mix, legs)| *mix || !legs.contains_key(&leg.0));
            }
            MediaCommand::Play { leg, .. } => {
                self.music.insert(leg.0);
            }
            MediaCommand::StopPlay { leg } => {
                self.music.remove(&leg.0);
            }
            MediaCommand::Close { leg } => {
                self.leave(leg.0);
                self.music.remove(&leg.0);
                self.recorded.remove(&leg.0);
            }
            MediaCommand::StartRecording { legs, .. } => {
                self.recording = true;
                self.recorded = [Some(legs.left), legs.right].into_iter().flatten().map(|leg| leg.0).collect();
            }
            MediaCommand::StopRecording { .. } => self.recording = false,
            MediaCommand::RecordLeg { leg, channel, .. } => {
                if channel.is_some() {
                    assert!(self.recorded.insert(leg.0), "{} is on the recording already", leg.0);
                } else {
                    assert!(self.recorded.remove(&leg.0), "{} is not on the recording", leg.0);
                }
            }
            _ => {}
        }
    }

    fn heard(&self, by: u64) -> BTreeSet<u64> {
        let group = self.groups.values().find(|(_, legs)| legs.contains_key(&by));
        let others = group.into_iter().flat_map(|(_, legs)| legs).filter(|(leg, heard)| {
            **leg != by
                && match heard {
                    HeardBy::Everybody => true,
                    HeardBy::Nobody => false,
                    HeardBy::Only(to) => to.0 == by,
                }
        });
        others.map(|(leg, _)| *leg).collect()
    }
}

/// An agent's leg: its number is that of its call and of its media leg.
struct Agent {
    leg: u64,
    offer: u128,
    joined: bool,
    held: bool,
    arrange: Option<Arrangement>,
}

struct Walk {
    w: World,
    engine: Engine,
    agents: Vec<Agent>,
    caller_held: bool,
    arrangement: Option<Arrangement>,
    state: u64,
    next_offer: u128,
}

const CALLER_LEG: u64 = 1;

impl Walk {
    fn new(seed: u64) -> Self {
        let w = in_script(vec![hold()]);
        let mut engine = Engine::default();
        // Music before anybody talks is the script's.
        engine.music.insert(CALLER_LEG);
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { w, engine, agents: vec![], caller_held: false, arrangement: None, state, next_offer: 1 }
    }

    fn below(&mut self, most: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % most
    }

    fn pick(&mut self, joined: bool) -> Option<usize> {
        let found: Vec<usize> =
            (0..self.agents.len()).filter(|i| self.agents.get(*i).is_some_and(|a| a.joined == joined)).collect();
        let at = self.below(found.len().max(1) as u64) as usize;
        found.get(at).copied()
    }

    fn any_joined(&self) -> bool {
        self.agents.iter().any(|a| a.joined)
    }

    fn picture(&mut self, and: Option<u128>) -> Arrangement {
        let caller = match self.below(3) {
            0 => CallerMode::Held { music: audio("music") },
            _ => CallerMode::Talks,
        };
        let offers: Vec<u128> = self.agents.iter().map(|a| a.offer).chain(and).collect();
        let mut agents = BTreeMap::new();
        for offer in &offers {
            let other = offers[self.below(offers.len() as u64) as usize];
            let mode = match self.below(7) {
                0 => LegMode::Listens,
                1 => LegMode::Whispers { to: offer_id(other) },
                2 => LegMode::Held { music: audio("music") },
                3 => continue,
                _ => LegMode::Talks,
            };
            agents.insert(offer_id(*offer), mode);
        }
        Arrangement { caller, agents }
    }

    fn step(&mut self) {
        match self.below(8) {
            0 | 1 if self.agents.len() < 5 => {
                let offer = self.next_offer;
                self.next_offer += 1;
                let arrange = if self.any_joined() { Some(self.picture(Some(offer))) } else { None };
                let leg = self.w.next_call;
                self.w.command("ring", NodeAction::Ring(RingAgent { arrange: arrange.clone(), ..ring(offer) }));
                self.agents.push(Agent { leg, offer, joined: false, held: false, arrange });
            }
            2 | 3 => {
                // Who was rung before anybody talked comes too late once somebody does: it is let go.
                if let Some(i) = self.pick(false) {
                    let (leg, arrange) = (self.agents[i].leg, self.agents[i].arrange.clone());
                    self.w.answered(leg, 8);
                    self.agents[i].joined = true;
                    self.arrangement.clone_from(&arrange);
                    if arrange.is_none() {
                        self.agents.retain(|a| a.joined);
                    }
                }
            }
            4 => {
                if let Some(i) = self.pick(true) {
                    let agent = self.agents.remove(i);
                    if self.below(2) == 0 {
                        self.w.bye(agent.leg);
                    } else {
                        self.w.command("release", NodeAction::ReleaseAgent { offer: offer_id(agent.offer) });
                    }
                }
            }
            5 if self.any_joined() => {
                let arrangement = self.picture(None);
                self.w.command("arrange", NodeAction::Arrange { arrangement: arrangement.clone() });
                self.arrangement = Some(arrangement);
            }
            6 => {
                if let Some(i) = self.pick(true) {
                    let agent = &mut self.agents[i];
                    agent.held = !agent.held;
                    let (leg, held) = (agent.leg, agent.held);
                    self.reoffer(leg, held);
                }
            }
            7 => {
                self.caller_held = !self.caller_held;
                let held = self.caller_held;
                self.reoffer(CALLER_LEG, held);
            }
            _ => {}
        }
        if !self.any_joined() {
            self.arrangement = None;
        }
        while self.w.asked.is_some() {
            self.w.decide("go on", None);
        }
        for command in std::mem::take(&mut self.w.sent) {
            self.engine.apply(&command);
        }
    }

    fn reoffer(&mut self, leg: u64, held: bool) {
        let direction = if held { "sendonly" } else { "sendrecv" };
        let sdp = format!("v=0\r\nc=IN IP4 192.0.2.20\r\nm=audio 6000 RTP/AVP 8\r\na={direction}\r\n");
        self.w.sip("reoffer", Event::Reoffered { call: CallHandle(leg), sdp: Some(sdp.into()) });
    }

    fn mode(&self, agent: &Agent) -> LegMode {
        match &self.arrangement {
            None => LegMode::Talks,
            Some(a) => a.agents.get(&offer_id(agent.offer)).cloned().unwrap_or(LegMode::Held { music: audio("music") }),
        }
    }

    fn check(&self) {
        if !self.any_joined() {
            assert!(self.engine.groups.is_empty() && !self.engine.recording);
            return;
        }
        let caller_talks = self.arrangement.as_ref().is_none_or(|a| a.caller == CallerMode::Talks);
        let mut parts: Vec<(u64, u128, LegMode)> = Vec::new();
        if caller_talks && !self.caller_held {
            parts.push((CALLER_LEG, 0, LegMode::Talks));
        }
        let joined = || self.agents.iter().filter(|a| a.joined);
        for agent in joined() {
            let mode = self.mode(agent);
            if matches!(mode, LegMode::Held { .. }) {
                assert!(self.engine.music.contains(&agent.leg), "agent {} waits without music", agent.offer);
                assert!(self.engine.heard(agent.leg).is_empty());
            } else if !agent.held {
                parts.push((agent.leg, agent.offer, mode));
            }
        }
        if !caller_talks {
            assert!(self.engine.music.contains(&CALLER_LEG) && self.engine.heard(CALLER_LEG).is_empty());
        }
        for (leg, offer, _) in &parts {
            let others = parts.iter().filter(|(other, _, mode)| {
                other != leg
                    && match mode {
                        LegMode::Talks => true,
                        LegMode::Whispers { to } => *to == offer_id(*offer) && *offer != 0,
                        LegMode::Listens | LegMode::Held { .. } => false,
                    }
            });
            let wanted: BTreeSet<u64> = others.map(|(other, ..)| *other).collect();
            assert_eq!(self.engine.heard(*leg), wanted, "what leg {leg} hears");
            let alone = parts.len() == 1 && *leg == CALLER_LEG && joined().any(|a| a.held);
            assert_eq!(self.engine.music.contains(leg), alone, "music on leg {leg}");
        }
        if self.engine.recording {
            let talkers = joined().filter(|a| self.mode(a) == LegMode::Talks).map(|a| a.leg);
            let wanted: BTreeSet<u64> = talkers.chain(caller_talks.then_some(CALLER_LEG)).collect();
            assert_eq!(self.engine.recorded, wanted, "who is recorded");
        }
    }
}

#[test]
fn everybody_hears_whom_they_should_however_a_conversation_goes() {
    let mut busiest = 0;
    for seed in 0..300 {
        let mut walk = Walk::new(seed);
        for number in 0..80 {
            walk.step();
            busiest = busiest.max(walk.agents.iter().filter(|a| a.joined).count());
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.check()));
            assert!(checked.is_ok(), "seed {seed}, step {number}:\n{}", walk.w.ladder());
        }
        walk.w.bye(CALLER_LEG);
        for command in std::mem::take(&mut walk.w.sent) {
            walk.engine.apply(&command);
        }
        assert!(walk.engine.groups.is_empty() && walk.engine.music.is_empty(), "seed {seed}:\n{}", walk.w.ladder());
    }
    assert!(busiest >= 4, "the walks meet conferences");
}
