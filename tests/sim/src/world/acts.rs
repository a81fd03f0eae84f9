//! What agents do.

use hotline_base::{Name, OfferId};
use hotline_routing::agent::Requested;
use hotline_routing::{Agent, AgentState};
use hotline_wire::node::{DirectoryInput, EndCause, OfferFailure};

use super::World;
use crate::jobs::Job;
use crate::people::{Act, BEAT_MS, Ear, LOOK_MS, REGISTER_MS, REGISTERED_MS};
use crate::world::Happening;

impl World {
    fn act_after(&mut self, ms: i64, person: usize, act: Act) {
        self.after(ms, Happening::Act { person, act });
    }

    pub(super) fn act(&mut self, index: usize, act: Act) {
        let at_ms = self.elapsed_ms();
        let Some(person) = self.people.get(index) else { return };
        let silent = person.is_silent(at_ms);
        match act {
            Act::Come => self.comes(index),
            Act::Leave => self.leaves(index),
            _ if !person.here => {}
            Act::Beat => {
                if !silent {
                    let (tenant, agent) = self.who(index);
                    self.spawn(Job::Heartbeat { tenant, agent });
                }
                self.act_after(BEAT_MS, index, Act::Beat);
            }
            Act::Register => {
                if !silent {
                    self.registers(index);
                }
                self.act_after(REGISTER_MS, index, Act::Register);
            }
            Act::Look => {
                if !silent {
                    self.looks(index);
                }
                self.act_after(LOOK_MS, index, Act::Look);
            }
            Act::PickUp(offer) => self.picks_up(index, offer),
            Act::Refuse(offer) => self.phone_fails(index, offer, OfferFailure::Declined, Some(603)),
            Act::Unreachable(offer) => self.phone_fails(index, offer, OfferFailure::Unreachable, Some(408)),
            Act::Decline(offer) => {
                let (tenant, agent) = self.who(index);
                self.say(agent, "declines on the console");
                self.spawn(Job::Decline { tenant, agent, offer });
            }
            Act::HangUp(offer) => self.hangs_up(index, offer),
            Act::Works(offer) => self.works(index, offer),
        }
    }

    fn who(&self, index: usize) -> (hotline_base::TenantId, hotline_base::AgentId) {
        let unknown = (hotline_base::TenantId::PLATFORM, hotline_base::AgentId::from_u128(0));
        self.people.get(index).map_or(unknown, |p| {
            let tenant = self.plan.tenants.get(p.tenant).map_or(unknown.0, |t| t.id);
            (tenant, p.plan.id)
        })
    }

    fn comes(&mut self, index: usize) {
        let Some(person) = self.people.get_mut(index) else { return };
        person.here = true;
        let (console, agent) = (person.plan.console, person.plan.id);
        self.say(agent, "comes to work");
        if console {
            self.act(index, Act::Beat);
        }
        self.act(index, Act::Register);
        self.act_after(1_500, index, Act::Look);
    }

    fn leaves(&mut self, index: usize) {
        let Some(person) = self.people.get_mut(index) else { return };
        if person.left {
            return;
        }
        // Nobody leaves in the middle of a call.
        if person.is_engaged() {
            return self.act_after(5_000, index, Act::Leave);
        }
        person.here = false;
        person.left = true;
        let (tenant, agent) = self.who(index);
        self.say(agent, "goes home");
        self.spawn(Job::Request { tenant, agent, to: Requested::Offline });
        if self.rng.chance(500)
            && let Some(node) = self.phone_node(index)
        {
            self.spawn(Job::Directory(DirectoryInput::Registered { tenant, agent, node, expires: None }));
        }
    }

    fn phone_node(&self, index: usize) -> Option<hotline_base::NodeId> {
        let slot = self.people.get(index)?.plan.node;
        let slot = self.nodes.get(slot)?;
        slot.node.up.then_some(slot.node.id)
    }

    fn registers(&mut self, index: usize) {
        let (tenant, agent) = self.who(index);
        let Some(node) = self.phone_node(index) else { return };
        let expires = Some(self.now().plus_ms(REGISTERED_MS));
        self.spawn(Job::Directory(DirectoryInput::Registered { tenant, agent, node, expires }));
    }

    /// Looks at the console: what it shows may be a moment old, like everywhere.
    fn looks(&mut self, index: usize) {
        let (tenant, agent) = self.who(index);
        let Some(shown) = self.model.agent_of(tenant, agent).cloned() else { return };
        let Some(habits) = self.people.get(index).map(|p| p.plan.habits) else { return };
        match self.wish(&shown, habits.goes_away_pm, habits.ends_wrap_up_pm) {
            Some(Wish::State(to)) => self.spawn(Job::Request { tenant, agent, to }),
            Some(Wish::EndWrapUp) => self.spawn(Job::EndWrapUp { tenant, agent }),
            Some(Wish::ExtendWrapUp) => self.spawn(Job::ExtendWrapUp { tenant, agent }),
            None => {}
        }
    }

    fn wish(&mut self, shown: &Agent, goes_away_pm: u32, ends_wrap_up_pm: u32) -> Option<Wish> {
        let away = || Requested::Away { reason: reason("break") };
        match &shown.state {
            AgentState::Offline | AgentState::Standby => Some(Wish::State(Requested::Available)),
            AgentState::Away { reason: why } => {
                // A pause lasts a while; a missed call is acted on at the next look.
                let pause = why.as_str() == "break";
                (!pause || self.rng.chance(300)).then_some(Wish::State(Requested::Available))
            }
            AgentState::WrapUp { .. } if self.rng.chance(ends_wrap_up_pm) => {
                Some(if self.rng.chance(200) { Wish::ExtendWrapUp } else { Wish::EndWrapUp })
            }
            AgentState::Available | AgentState::Busy { .. } if self.rng.chance(goes_away_pm) => {
                Some(Wish::State(if self.rng.chance(200) { Requested::Standby } else { away() }))
            }
            _ => None,
        }
    }

    fn picks_up(&mut self, index: usize, offer: OfferId) {
        let Some(person) = self.people.get(index) else { return };
        let Some((Ear::Rings, node, contact)) = person.phone.get(&offer).cloned() else { return };
        let agent = person.plan.id;
        self.say(agent, format!("picks up {contact}"));
        let joined = self.with_node(node, |n, scene| n.answered(scene, contact, offer)).unwrap_or(false);
        let Some(person) = self.people.get_mut(index) else { return };
        if !joined {
            person.phone.remove(&offer);
            return;
        }
        person.phone.insert(offer, (Ear::Talks, node, contact));
        let talks_ms = self.talk_of(node, contact);
        if self.rng.chance(300) {
            let ms = self.rng.between(300, talks_ms.max(301));
            self.act_after(ms, index, Act::Works(offer));
        }
        if self.rng.chance(500) {
            self.act_after(talks_ms, index, Act::HangUp(offer));
        } else {
            let later = crate::node::Later::CallerLeaves;
            self.after(talks_ms, Happening::Node { node, contact, later });
        }
    }

    fn phone_fails(&mut self, index: usize, offer: OfferId, reason: OfferFailure, status: Option<u16>) {
        let Some(person) = self.people.get_mut(index) else { return };
        let Some((Ear::Rings, node, contact)) = person.phone.get(&offer).cloned() else { return };
        person.phone.remove(&offer);
        let agent = person.plan.id;
        self.say(agent, format!("does not take {contact}: {reason:?}"));
        self.with_node(node, |n, scene| n.not_taken(scene, contact, offer, reason, status));
    }

    fn hangs_up(&mut self, index: usize, offer: OfferId) {
        let Some(person) = self.people.get_mut(index) else { return };
        let Some((Ear::Talks, node, contact)) = person.phone.remove(&offer) else { return };
        let agent = person.plan.id;
        self.say(agent, format!("hangs up on {contact}"));
        self.with_node(node, |n, scene| n.part(scene, contact, offer, EndCause::HungUp));
    }
}

enum Wish {
    State(Requested),
    EndWrapUp,
    ExtendWrapUp,
}

fn reason(text: &str) -> Name {
    match text.parse() {
        Ok(name) => name,
        Err(_) => unreachable!("the reasons here are valid names"),
    }
}
