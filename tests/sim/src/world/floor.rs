//! What people do with calls under way, and callers who are between two nodes.

use hotline_base::{AgentId, ContactId, NodeId, OfferId, Redacted, UserId};
use hotline_contact::{DeskAction, Phase, SuperviseMode};
use hotline_service::floor::To;
use hotline_wire::node::{NodeAction, NodeCommand};

use super::setup::name;
use super::{Happening, World};
use crate::jobs::{Floor, Job};
use crate::node::TakeOver;
use crate::people::{Act, Ear};
use crate::plan::{Manner, QUEUES};

/// A caller whose node lost power, and when that caller hangs up at the latest.
pub(super) type Orphan = (Manner, hotline_base::Timestamp);

impl World {
    /// A command reaches its node.
    pub(super) fn command(&mut self, node: NodeId, command: NodeCommand) {
        let NodeAction::Reanchor { tenant, label, script, seq, .. } = command.action else {
            self.with_node(node, |n, scene| n.command(scene, command));
            return;
        };
        let contact = command.contact;
        let up = self.slot_of(node).and_then(|i| self.nodes.get(i)).is_some_and(|slot| slot.node.up);
        if !up || command.expires < self.now() {
            return;
        }
        let mut manner = None;
        if let Some((found, until)) = self.orphans.remove(&contact) {
            let left_ms = until.since_ms(self.now());
            manner = (left_ms > 0).then_some((found, left_ms));
        }
        // A node that lives, although its lease lapsed, loses the leg to the new one.
        let others: Vec<NodeId> = self.nodes.iter().map(|slot| slot.node.id).filter(|other| *other != node).collect();
        for other in others {
            let given = self.with_node(other, |n, scene| n.give_away(scene, contact)).flatten();
            manner = manner.or(given);
        }
        let order = TakeOver { tenant, label, script, seq };
        self.with_node(node, |n, scene| n.take_over(scene, contact, order, manner));
    }

    /// An agent does something with the call.
    pub(super) fn works(&mut self, index: usize, offer: OfferId) {
        let Some(person) = self.people.get(index) else { return };
        let Some((Ear::Talks, node, contact)) = person.phone.get(&offer).cloned() else { return };
        let Some(tenant) = self.plan.tenants.get(person.tenant).map(|t| t.id) else { return };
        let by = UserId::from_u128(person.plan.id.as_u128());
        let colleagues: Vec<AgentId> = self.plan.tenants[person.tenant].agents.iter().map(|a| a.id).collect();
        let colleague = self.rng.pick(&colleagues).copied().unwrap_or(person.plan.id);
        let queue = name(self.rng.pick(&QUEUES).copied().unwrap_or("general"));
        let reason = Redacted::new("because".to_owned());
        let floor = match self.rng.below(14) {
            0 => Floor::Transfer(To::Queue(queue)),
            1 => Floor::Transfer(To::Agent(colleague)),
            2 => Floor::Transfer(To::Number("+4930123456".to_owned().into())),
            3 => Floor::Transfer(To::NextTier),
            4 => {
                let target = if self.rng.chance(500) { "sip:general@node".to_owned() } else { "nobody".to_owned() };
                self.with_node(node, |n, scene| n.transfer_asked(scene, contact, offer, target));
                return;
            }
            5 | 6 => Floor::Consult(To::Agent(colleague)),
            7 => Floor::Consult(To::Queue(queue)),
            8 => Floor::Desk(DeskAction::Complete { reason }),
            9 => Floor::Desk(DeskAction::CancelConsult),
            10 => Floor::Desk(DeskAction::Conference),
            11 => Floor::Desk(DeskAction::Hold),
            12 => Floor::Desk(DeskAction::Resume),
            _ => Floor::Desk(DeskAction::PauseRecording { paused: self.rng.chance(500) }),
        };
        self.say(person_id(by), format!("{floor:?} with {contact}"));
        self.spawn(Job::Floor { tenant, contact, by, floor: Box::new(floor) });
        if self.rng.chance(700) {
            let ms = self.rng.between(500, 15_000);
            self.after(ms, Happening::Act { person: index, act: Act::Works(offer) });
        }
    }

    /// A supervisor listens in, moves or gives a waiting contact, takes an offer back.
    pub(super) fn steps_in(&mut self) {
        let alive: Vec<_> =
            self.model.contacts.iter().filter(|(_, c)| c.is_alive()).map(|(k, c)| (k.tenant, c.id)).collect();
        let Some(&(tenant, contact)) = self.rng.pick(&alive) else { return };
        let people: Vec<AgentId> =
            self.plan.tenants.iter().filter(|t| t.id == tenant).flat_map(|t| t.agents.iter().map(|a| a.id)).collect();
        let Some(&person) = self.rng.pick(&people) else { return };
        let by = UserId::from_u128(person.as_u128());
        let talks = self
            .model
            .contacts
            .iter()
            .any(|(k, c)| k.tenant == tenant && c.id == contact && matches!(c.phase, Phase::Talking { .. }));
        let modes = [SuperviseMode::Listen, SuperviseMode::Whisper, SuperviseMode::Barge];
        let mode = self.rng.pick(&modes).copied().unwrap_or(SuperviseMode::Listen);
        let floor = match self.rng.below(4) {
            _ if talks => Floor::Supervise(mode),
            0 => Floor::Move(name(self.rng.pick(&QUEUES).copied().unwrap_or("general"))),
            1 => Floor::TakeBack,
            _ => Floor::Assign(person),
        };
        self.say(person_id(by), format!("as a supervisor: {floor:?} with {contact}"));
        self.spawn(Job::Floor { tenant, contact, by, floor: Box::new(floor) });
    }

    /// Callers whose node lost power wait for a moment, then they hang up.
    pub(super) fn orphaned(&mut self, contact: ContactId, manner: Manner, leaves_at: Option<hotline_base::Timestamp>) {
        let patience = self.rng.between(5_000, 60_000);
        let until = self.now().plus_ms(patience);
        let until = leaves_at.map_or(until, |at| at.min(until));
        self.orphans.insert(contact, (manner, until));
    }
}

fn person_id(by: UserId) -> AgentId {
    AgentId::from_u128(by.as_u128())
}
