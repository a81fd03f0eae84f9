//! What happens in the offices: supervisors end calls, administrators change agents and flows,
//! somebody works on tickets.

use hotline_base::Redacted;
use hotline_routing::agent::Membership;
use hotline_ticket::{Action, NoteKind, Status, Verification};

use super::setup::{name, profile};
use super::{Happening, World};
use crate::jobs::Job;
use crate::plan::{FLOW, QUEUES};

impl World {
    pub(super) fn office(&mut self) {
        match self.rng.below(8) {
            6 | 7 => self.steps_in(),
            0 => self.ends_a_call(),
            1 => self.changes_an_agent(),
            2 => self.changes_the_flow(),
            _ => self.works_on_a_ticket(),
        }
        // Long after the last call somebody still works on tickets.
        if self.elapsed_ms() < self.plan.length_ms + 6 * 3_600_000 {
            let ms = if self.is_after_hours() { 1_800_000 } else { self.rng.between(5_000, 60_000) };
            self.after(ms, Happening::Office);
        }
    }

    fn ends_a_call(&mut self) {
        let alive: Vec<_> =
            self.model.contacts.iter().filter(|(_, c)| c.is_alive()).map(|(k, c)| (k.tenant, c.id)).collect();
        if let Some(&(tenant, contact)) = self.rng.pick(&alive)
            && self.rng.chance(300)
        {
            self.say(contact, "is ended by a supervisor");
            self.spawn(Job::End { tenant, contact });
        }
    }

    fn changes_an_agent(&mut self) {
        let index = self.rng.below(self.people.len());
        let Some(person) = self.people.get(index) else { return };
        let Some(tenant) = self.plan.tenants.get(person.tenant).map(|t| t.id) else { return };
        let mut changed = profile(&person.plan);
        if let Some(queue) = self.rng.pick(&QUEUES) {
            changed.queues.insert(name(queue), Membership::default());
        }
        self.say(changed.agent, "is given other queues");
        self.spawn(Job::Configure { tenant, profile: Box::new(changed) });
    }

    fn changes_the_flow(&mut self) {
        let index = self.rng.below(self.plan.tenants.len());
        let Some(tenant) = self.plan.tenants.get(index).map(|t| t.id) else { return };
        let text = self.rng.chance(600).then(|| {
            let wait = self.rng.between(1, 9);
            FLOW.replace("max_wait: 2m", &format!("max_wait: {wait}m"))
        });
        self.say("office", if text.is_some() { "publishes a flow" } else { "goes back to the first version" });
        self.spawn(Job::Publish { tenant, text });
    }

    fn works_on_a_ticket(&mut self) {
        let open: Vec<_> = self.model.tickets.iter().map(|(k, t)| (k.tenant, t.id)).collect();
        let Some(&(tenant, ticket)) = self.rng.pick(&open) else { return };
        let action = match self.rng.below(5) {
            0 => Action::Comment { kind: NoteKind::Reply, text: Redacted::new("We look into it.".into()) },
            1 => Action::Verify(Verification { solved: true, system_normal: true, no_side_effects: true }),
            2 => Action::Escalate { reason: Redacted::new("too hard".into()) },
            _ => Action::SetStatus { status: self.rng.pick(&Status::ALL).copied().unwrap_or(Status::Resolved) },
        };
        self.spawn(Job::Ticket { tenant, ticket, action: Box::new(action) });
    }
}
