//! Commands for calls that are not here: those that place one, and those that come too late.

use std::time::Duration;

use hotline_base::{ContactId, Timestamp};
use hotline_session::{Mission, Outbound};
use hotline_wire::legs::DialFailure;
use hotline_wire::node::{CallEvent, CallInput, EndCause, NodeAction, NodeCommand};

use super::Worker;
use crate::clock;
use crate::decisions::Decider;
use crate::metrics::Metrics;

/// The numbers of reports about calls that this process never had begin here: above whatever an
/// earlier process counted, below those of recordings.
const LOST_SEQ: u32 = 0x4000_0000;
/// Tries to report a lost call; its command comes again if all fail.
const TRIES: u32 = 5;

/// A number for an input that is higher than all before it, also of other calls of the contact:
/// tenths of seconds since the contact began.
fn seq_now(contact: ContactId, now: Timestamp) -> u32 {
    let tenths = now.since_ms(contact.created_at()).max(0) / 100;
    u32::try_from(tenths).unwrap_or(u32::MAX).min(LOST_SEQ - 1)
}

impl Worker {
    pub(super) fn command_without_call(&mut self, command: NodeCommand) {
        let (contact, now) = (command.contact, clock::wall());
        if command.expires < now {
            self.drop_command(&command, "expired");
            return;
        }
        let places = matches!(command.action, NodeAction::Dial { .. } | NodeAction::Reanchor { .. });
        if places && !self.placed.add(command.id, ()) {
            self.drop_command(&command, "a repeat");
            return;
        }
        let ended = self.ended.get(contact);
        let seq = seq_now(contact, now).max(ended.unwrap_or_default());
        match command.action {
            NodeAction::Dial { .. } if self.shared.is_draining() => {
                let event =
                    CallEvent::PartyFailed { reason: DialFailure::Unreachable, sip_status: None, reasons: vec![] };
                self.tell(contact, seq, event);
            }
            NodeAction::Reanchor { seq, .. } if self.shared.is_draining() => {
                self.tell(contact, seq.saturating_add(1), CallEvent::ReanchorFailed { sip_status: None });
            }
            NodeAction::Dial { tenant, party, fallback } => {
                let number = party.target.expose().clone();
                let mission = Mission::Call(Box::new(party));
                self.outgoing(|first_token| Outbound { contact, tenant, fallback, seq, first_token, mission }, number);
            }
            NodeAction::Reanchor { tenant, dialog, label, script, fallback, seq } => {
                let mission = Mission::TakeOver { dialog, label, script };
                let outbound = |first_token| Outbound { contact, tenant, fallback, seq, first_token, mission };
                self.outgoing(outbound, String::new());
            }
            _ if ended.is_some() => self.drop_command(&command, "the call ended a moment ago"),
            _ if !self.lost.add(contact, ()) => self.drop_command(&command, "the call was reported as lost"),
            _ => {
                Metrics::add(&self.shared.metrics.lost_calls);
                tracing::warn!(%contact, id = %command.id, "a command for a call that is not here: it is lost");
                self.tell(
                    contact,
                    LOST_SEQ + seq.min(LOST_SEQ - 1),
                    CallEvent::CallEnded { cause: EndCause::Lost, quality: None, reasons: vec![] },
                );
            }
        }
    }

    /// Puts a command that places a call by while the contact's last call here is only being
    /// reported; whether it did.
    pub(super) fn waits_for_end(&mut self, command: &NodeCommand) -> bool {
        let places = matches!(command.action, NodeAction::Dial { .. } | NodeAction::Reanchor { .. });
        let slot = self.by_contact.get(&command.contact).filter(|_| places).copied();
        let entry = slot.and_then(|slot| self.slots.get_mut(slot)).and_then(Option::as_mut);
        let Some(entry) = entry.filter(|entry| entry.session.caller_left()) else {
            return false;
        };
        if self.placed.get(command.id).is_none() {
            entry.next = Some(Box::new(command.clone()));
        }
        true
    }

    fn drop_command(&self, command: &NodeCommand, why: &str) {
        Metrics::add(&self.shared.metrics.commands_dropped);
        tracing::debug!(contact = %command.contact, id = %command.id, why, "a command without its call was dropped");
    }

    /// Reports something about a call that has no session here.
    fn tell(&mut self, contact: ContactId, seq: u32, event: CallEvent) {
        let Decider::Remote(decisions) = &self.shared.decider else {
            return;
        };
        let Ok(room) = self.shared.lost_reports.clone().try_acquire_owned() else {
            return;
        };
        let input = CallInput { contact, tenant: None, node: self.shared.node, seq, at: clock::wall(), event };
        let decisions = decisions.clone();
        self.shared.runtime.spawn(async move {
            let mut pause = Duration::from_millis(250);
            for _ in 0..TRIES {
                match tokio::time::timeout(Duration::from_secs(10), decisions.decide(&input)).await {
                    Ok(Ok(_)) => break,
                    Ok(Err(fault)) => tracing::warn!(%contact, error = %fault, "a lost call could not be reported"),
                    Err(_) => tracing::warn!(%contact, "a lost call could not be reported within 10 s"),
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_with_time_and_leave_room_for_a_lost_calls() {
        let began = Timestamp::from_millis(1_700_000_000_000);
        let contact = ContactId::new(began, 7);
        assert_eq!(seq_now(contact, began), 0);
        assert_eq!(seq_now(contact, began.plus_ms(60_000)), 600);
        assert_eq!(seq_now(contact, began.plus_ms(-5)), 0);
        let late = seq_now(contact, began.plus_ms(i64::MAX / 2_000_000));
        assert!(late < LOST_SEQ && LOST_SEQ.checked_add(late).is_some_and(|seq| seq < 0x8000_0000));
    }
}
