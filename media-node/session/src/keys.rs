//! Keys: those that the caller presses, and those that we send.

use hotline_rtp::api::MediaCommand;
use hotline_sip::api::Command;
use hotline_wire::node::{SENT_KEYS, SentKeys};
use std::collections::VecDeque;
use std::time::Instant;

use crate::partners::State;
use crate::session::{CallerState, Session};
use crate::types::LegNo;

/// Digits kept that were pressed before a verb asked for them.
const TYPED_AHEAD: usize = 32;
/// From one sent key to the next, milliseconds: the key and the rest after it, in each of the three ways.
const KEY_MS: u64 = 200;
/// How long an INFO says that its key was held, milliseconds.
const INFO_MS: u32 = 100;

/// Keys on their way to a leg.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) leg: LegNo,
    /// Keys and pauses that are still to come.
    rest: VecDeque<char>,
    /// What is sent is over then.
    until: Instant,
    secret: bool,
    /// By INFO, not by the media engine.
    by_info: bool,
}

/// How long a pause lasts, milliseconds; `None`: it is a key.
fn pause_ms(key: char) -> Option<u64> {
    match key {
        ',' => Some(500),
        'w' => Some(1_000),
        _ => None,
    }
}

/// The keys and pauses that count, in one spelling.
fn sendable(keys: &str) -> VecDeque<char> {
    let one = |key: char| match key {
        '0'..='9' | '*' | '#' | ',' | 'w' | 'A'..='D' => Some(key),
        'a'..='d' => Some(key.to_ascii_uppercase()),
        'W' => Some('w'),
        _ => None,
    };
    keys.chars().filter_map(one).take(SENT_KEYS).collect()
}

impl Session {
    /// Begins to send keys to a leg, instead of those that are still on their way to it; whether
    /// there is anything to send.
    pub(crate) fn send_keys(&mut self, leg: LegNo, keys: &SentKeys) -> bool {
        self.stop_keys(leg);
        let rest = sendable(keys.keys.expose());
        let (media, events, by_info) = match leg {
            LegNo::CALLER => {
                let caller = &self.caller;
                let events = caller.description.as_ref().is_some_and(|d| d.event(caller.codec).is_some());
                (caller.media, events, caller.takes_info && caller.state == CallerState::Answered)
            }
            leg => match self.partner(leg) {
                Some(partner) => (partner.media, partner.events, partner.takes_info && partner.state == State::Joined),
                None => return false,
            },
        };
        let Some(media) = media.filter(|_| !rest.is_empty()) else { return false };
        if keys.secret {
            self.media(MediaCommand::Secret { leg: media.id, on: true });
        }
        let (until, secret, by_info) = (self.now.mono, keys.secret, by_info && !events);
        self.sending.push(Sending { leg, rest, until, secret, by_info });
        self.next_keys(leg);
        true
    }

    /// Sends what comes next to a leg; `false` when there is no more.
    fn next_keys(&mut self, leg: LegNo) -> bool {
        let Some(sending) = self.sending.iter_mut().find(|sending| sending.leg == leg) else { return false };
        let Some(first) = sending.rest.pop_front() else { return false };
        let mut run = String::new();
        let ms = match pause_ms(first) {
            Some(ms) => ms,
            None => {
                run.push(first);
                // The engine keeps time within a run; an INFO has one key.
                while !sending.by_info && sending.rest.front().is_some_and(|key| pause_ms(*key).is_none()) {
                    run.extend(sending.rest.pop_front());
                }
                run.len() as u64 * KEY_MS
            }
        };
        sending.until = self.now.after_ms(ms);
        let by_info = sending.by_info;
        if run.is_empty() {
            return true;
        }
        let (call, media) = match leg {
            LegNo::CALLER => (self.caller.call, self.caller.media),
            leg => self.partner(leg).map_or((None, None), |partner| (partner.call, partner.media)),
        };
        match (by_info, call, media) {
            (true, Some(call), _) => {
                let body = format!("Signal={run}\r\nDuration={INFO_MS}\r\n").into();
                self.sip(Command::Info { call, content_type: "application/dtmf-relay".into(), body });
            }
            (false, _, Some(media)) => self.media(MediaCommand::SendDigits { leg: media.id, digits: run }),
            _ => {}
        }
        true
    }

    /// Sends nothing more to a leg.
    pub(crate) fn stop_keys(&mut self, leg: LegNo) {
        let Some(at) = self.sending.iter().position(|sending| sending.leg == leg) else { return };
        let sending = self.sending.remove(at);
        let media = match leg {
            LegNo::CALLER => self.caller.media,
            leg => self.partner(leg).and_then(|partner| partner.media),
        };
        if let (true, Some(media)) = (sending.secret, media) {
            self.media(MediaCommand::Secret { leg: media.id, on: false });
        }
    }

    /// When the next keys are due.
    pub(crate) fn keys_deadline(&self) -> Option<Instant> {
        self.sending.iter().map(|sending| sending.until).min()
    }

    /// Keys that are due, and the end of those that were sent.
    pub(crate) fn keys_timeout(&mut self) {
        let now = self.now.mono;
        let due: Vec<LegNo> = self.sending.iter().filter(|s| s.until <= now).map(|s| s.leg).collect();
        for leg in due {
            if !self.next_keys(leg) {
                self.stop_keys(leg);
                if leg == LegNo::CALLER {
                    self.keys_sent();
                }
            }
        }
    }

    /// A key press of the caller.
    pub(crate) fn digit(&mut self, digit: char) {
        if self.is_joined() || self.caller_left() {
            return;
        }
        if !self.script_digit(digit) && self.typed.len() < TYPED_AHEAD {
            self.typed.push(digit);
        }
    }
}

/// The digit of an INFO body: `Signal=5` (application/dtmf-relay) or `5` (application/dtmf).
pub(crate) fn info_digit(content_type: &str, body: &[u8]) -> Option<char> {
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    let text = std::str::from_utf8(body.get(..body.len().min(256))?).ok()?;
    let value = if content_type.eq_ignore_ascii_case("application/dtmf-relay") {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?
    } else if content_type.eq_ignore_ascii_case("application/dtmf") {
        text.trim()
    } else {
        return None;
    };
    let mut chars = value.chars();
    match (chars.next(), chars.next()) {
        (Some(c @ ('0'..='9' | '*' | '#' | 'A'..='D')), None) => Some(c),
        (Some('1'), Some('0')) if value == "10" => Some('*'),
        (Some('1'), Some('1')) if value == "11" => Some('#'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_and_pauses_count() {
        let of = |text: &str| sendable(text).into_iter().collect::<String>();
        assert_eq!(of("+49 (30) 12-3ww,#*aB"), "4930123ww,#*AB");
        assert_eq!(of("\r\nSignal=5"), "A5", "what is no key is left out");
        assert_eq!(of(&"1".repeat(500)).len(), SENT_KEYS);
    }
}
