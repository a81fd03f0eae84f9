//! Transfers that an agent's phone asks for (RFC 3515): the functions make them. In an attended one
//! (RFC 3891) the phone has a second call with us, whose place the transferred call takes.

use hotline_base::Redacted;
use hotline_sip::api::{CallHandle, Command, RequestHandle};
use hotline_wire::node::CallEvent;

use crate::partners::State;
use crate::session::Session;
use crate::types::LegNo;

/// A transfer that was not made by then counts as declined, milliseconds.
const OUTCOME_MS: u64 = 10_000;
/// The longest Refer-To read.
const TARGET_BYTES: usize = 256;

impl Session {
    /// REFER within a dialog of ours.
    pub(crate) fn referred(&mut self, call: CallHandle, request: RequestHandle, refer_to: &str) {
        let until = self.now.after_ms(OUTCOME_MS);
        let attends = self.partner_by_call(call).and_then(|p| p.attends.take());
        let plain = match &attends {
            Some(_) => refer_to.split('?').next().unwrap_or_default(),
            None => refer_to,
        };
        let target = target(plain, &self.cfg.own_hosts);
        let asking = self.partner_by_call(call).filter(|p| p.state == State::Joined && p.refer_until.is_none());
        let found = asking.and_then(|p| Some((p.offer()?, p))).zip(target);
        let Some(((offer, partner), target)) = found else {
            // §2.4.4: not from a caller, not with a Replaces that names nothing here, not twice at a time.
            self.sip(Command::Reply { request, status: 603, headers: Vec::new() });
            return;
        };
        partner.refer_until = Some(until);
        self.attended = attends.map(|dialog| (until, dialog));
        self.sip(Command::Reply { request, status: 202, headers: Vec::new() });
        self.sip(Command::Notify { call, status: 100, last: false });
        self.ask(CallEvent::TransferAsked { offer, target: Redacted::new(target) });
    }

    /// Tells a leg that asked for a transfer how it went (§2.4.5), once.
    pub(crate) fn tell_referrer(&mut self, leg: LegNo, status: u16) {
        let Some(partner) = self.partner(leg) else {
            return;
        };
        if let (Some(_), Some(call)) = (partner.refer_until.take(), partner.call) {
            self.sip(Command::Notify { call, status, last: true });
        }
    }
}

/// Whom a Refer-To names: a user of ours, a number, or a whole URI. `None`: nobody who can be
/// called without more (an attended transfer).
pub(crate) fn target(refer_to: &str, own_hosts: &[String]) -> Option<String> {
    if refer_to.len() > TARGET_BYTES || refer_to.chars().any(char::is_control) {
        return None;
    }
    let uri = refer_to.trim().trim_start_matches('<').trim_end_matches('>');
    let (scheme, rest) = uri.split_once(':')?;
    if rest.contains('?') {
        return None;
    }
    let plain = rest.split(';').next().unwrap_or_default();
    if scheme.eq_ignore_ascii_case("tel") {
        return Some(plain.to_string()).filter(|number| !number.is_empty());
    }
    if !scheme.eq_ignore_ascii_case("sip") && !scheme.eq_ignore_ascii_case("sips") {
        return None;
    }
    let (user, host) = plain.split_once('@')?;
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if user.is_empty() || name.is_empty() {
        return None;
    }
    let ours = own_hosts.iter().any(|own| own.eq_ignore_ascii_case(name));
    Some(if ours { user.to_string() } else { uri.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_refer_to() {
        let own = ["hotline".to_string(), "192.0.2.1".to_string()];
        let of = |text: &str| target(text, &own);
        assert_eq!(of("sip:600@hotline").as_deref(), Some("600"));
        assert_eq!(of("<sip:%2B861@192.0.2.1:5060;user=phone>").as_deref(), Some("%2B861"));
        assert_eq!(of("tel:+8613800138000;x=1").as_deref(), Some("+8613800138000"));
        assert_eq!(of("sip:bob@192.0.2.7:5080;transport=tcp").as_deref(), Some("sip:bob@192.0.2.7:5080;transport=tcp"));
        for wrong in ["", "600", "sip:", "sip:@h", "mailto:a@b", "sip:a@h?Replaces=x%3Bto-tag%3D1", "tel:"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(of(&format!("sip:{}@h", "x".repeat(300))), None);
    }
}
