//! What the SIP endpoint reports: to the sessions, the registrar and the directory.

use std::net::IpAddr;
use std::time::Instant;

use hotline_sip::api::{CallHandle, Command, Event, Register, RequestHandle};

use super::Worker;
use crate::clock;
use crate::decisions::Decider;
use crate::lease::{self, PhoneNews};
use crate::mailbox::Mail;
use crate::metrics::Metrics;
use crate::registrar::Registered;

impl Worker {
    pub(super) fn sip_event(&mut self, event: Event) {
        match event {
            Event::Incoming { call, invite } => self.incoming(call, &invite),
            Event::Authenticate { request, user, source, .. } => self.authenticate(request, user, source),
            Event::Guessed { user, source } => self.tell_guess(&user, source),
            Event::Registering { request, register } => self.register(request, &register),
            Event::Pinged { .. } => {}
            Event::Pong { call, status } => self.gateway_answered(call, status),
            Event::Registration { call, result } => self.gateway_registration(call, result),
            other => {
                let Some(call) = call_of(&other) else { return };
                let Some(other) = self.relay_event(call, other) else { return };
                self.outside_call_event(&other);
                let answered = matches!(other, Event::Answered { .. });
                let dialog = if answered { self.dialog_ref(call) } else { None };
                let takes_info = answered && self.endpoint.takes_info(call);
                let attends = match &other {
                    Event::Referred { call, request, refer_to } if self.asks_around(*call, *request, refer_to) => {
                        return;
                    }
                    Event::Referred { refer_to, .. } => self.attended(refer_to),
                    _ => None,
                };
                if let Some(slot) = self.by_call.get(&call).copied() {
                    self.with_slot(slot, |session, now| {
                        if let Some(dialog) = dialog {
                            session.dialog_known(call, dialog, takes_info);
                        }
                        if let Some(dialog) = attends {
                            session.attends(call, dialog);
                        }
                        session.handle_sip(now, other);
                    });
                }
            }
        }
    }

    /// A wrong digest counts at every worker: whose Call-IDs go where is for the guesser to choose.
    fn tell_guess(&self, user: &str, source: IpAddr) {
        for (index, mailbox) in self.shared.mailboxes.iter().enumerate() {
            if index != self.index {
                mailbox.post(Mail::Guessed { user: user.into(), source });
            }
        }
    }

    /// Looks up the account behind a digest.
    fn authenticate(&mut self, request: RequestHandle, user: String, source: IpAddr) {
        let Decider::Remote(decisions) = &self.shared.decider else {
            self.command(Command::Account { request, ha1: None });
            return;
        };
        if let Some(account) = self.shared.accounts.fresh(Instant::now(), &user, source) {
            let ha1 = account.map(|a| a.ha1);
            self.command(Command::Account { request, ha1 });
            return;
        }
        let (decisions, shared, index) = (decisions.clone(), self.shared.clone(), self.index);
        self.shared.runtime.spawn(async move {
            let account = shared.accounts.look_up(decisions.as_ref(), &user, source).await;
            let ha1 = account.map(|a| a.ha1);
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.post(Mail::Account { request, ha1 });
            }
        });
    }

    /// A verified REGISTER.
    fn register(&mut self, request: RequestHandle, register: &Register) {
        let shared = self.shared.clone();
        shared.accounts.proved(&register.user, register.path.remote.ip().to_canonical());
        let owner = shared.accounts.owner(&register.user);
        let result = shared.registrar.register(Instant::now(), register, owner);
        let header = |name: &str, value: String| (name.to_string(), value);
        let (status, headers) = match result {
            Registered::Granted { contacts, for_s } => {
                Metrics::add(&shared.metrics.registrations);
                if let (Some(owner), false) = (owner, register.contacts.is_empty()) {
                    let until = clock::wall().plus_ms(i64::from(for_s) * 1_000);
                    let news = if for_s > 0 { PhoneNews::Registered(until) } else { PhoneNews::Left };
                    lease::phone(&shared, owner, news);
                }
                let contacts = contacts.into_iter().map(|c| header("Contact", c));
                (200, contacts.collect())
            }
            Registered::TooBrief(seconds) => (423, vec![header("Min-Expires", seconds.to_string())]),
            Registered::OutOfOrder => (500, Vec::new()),
            Registered::Full => (503, Vec::new()),
        };
        self.command(Command::Reply { request, status, headers });
    }
}

/// The call an event is about.
fn call_of(event: &Event) -> Option<CallHandle> {
    match event {
        Event::Incoming { call, .. }
        | Event::Cancelled { call, .. }
        | Event::Confirmed { call, .. }
        | Event::Trying { call }
        | Event::Progressed { call, .. }
        | Event::Answered { call, .. }
        | Event::Failed { call, .. }
        | Event::Reoffered { call, .. }
        | Event::ReofferAnswered { call, .. }
        | Event::Info { call, .. }
        | Event::Referred { call, .. }
        | Event::Ended { call, .. }
        | Event::Registration { call, .. } => Some(*call),
        Event::Pong { call, .. } => Some(*call),
        Event::Authenticate { .. } | Event::Guessed { .. } | Event::Registering { .. } | Event::Pinged { .. } => None,
    }
}
