//! Whether a line to a gateway works: what its answers to OPTIONS and calls say.

use std::time::{Duration, Instant};

/// An OPTIONS without an answer for so long was missed.
const PATIENCE: Duration = Duration::from_secs(4);
/// A line that is down is asked so often.
const DOWN_EVERY: Duration = Duration::from_secs(5);
/// Misses until it is down, and answers until it is up again.
const IN_A_ROW: u8 = 2;
/// A line that did not take a call is tried after the others for so long.
const REST: Duration = Duration::from_secs(30);

/// The health of one line.
#[derive(Debug, Clone)]
pub struct Health {
    up: bool,
    misses: u8,
    answers: u8,
    /// When it is asked next.
    next: Option<Instant>,
    /// An OPTIONS is out; until then it is waited for.
    waits: Option<Instant>,
    /// A call failed.
    failed: Option<Instant>,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Up,
    Down,
}

impl Health {
    /// Of a line that counts as working; asked for the first time at once where it is asked at all.
    pub fn new(now: Instant, every: Option<Duration>) -> Self {
        Self { up: true, misses: 0, answers: 0, next: every.map(|_| now), waits: None, failed: None }
    }

    /// Whether it answers.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether a call failed by it a moment ago.
    pub fn rests(&self, now: Instant) -> bool {
        self.failed.is_some_and(|at| now.saturating_duration_since(at) < REST)
    }

    /// When it wants to be looked at.
    pub fn due(&self) -> Option<Instant> {
        match (self.waits, self.next) {
            (Some(waits), _) => Some(waits),
            (None, next) => next,
        }
    }

    /// Whether an OPTIONS is to be sent now; it counts as sent then.
    pub fn ask(&mut self, now: Instant) -> bool {
        if self.waits.is_some() || self.next.is_none_or(|next| next > now) {
            return false;
        }
        self.waits = Some(now + PATIENCE);
        true
    }

    /// A miss, where the answer is overdue.
    pub fn overdue(&mut self, now: Instant, every: Duration) -> Option<Change> {
        self.waits.take_if(|until| *until <= now)?;
        self.missed(now, every)
    }

    /// No answer, or one that says that it cannot work.
    pub fn missed(&mut self, now: Instant, every: Duration) -> Option<Change> {
        self.waits = None;
        self.answers = 0;
        self.misses = self.misses.saturating_add(1);
        let falls = self.up && self.misses >= IN_A_ROW;
        self.up &= !falls;
        // The second question comes soon: one lost packet says little.
        self.next = Some(now + every.min(DOWN_EVERY));
        falls.then_some(Change::Down)
    }

    /// An answer, to an OPTIONS or to a call.
    pub fn answered(&mut self, now: Instant, every: Option<Duration>, to_call: bool) -> Option<Change> {
        self.waits = None;
        self.misses = 0;
        self.answers = self.answers.saturating_add(1);
        if to_call {
            self.failed = None;
        }
        // A call that was taken says more than an answer to OPTIONS.
        let rises = !self.up && (to_call || self.answers >= IN_A_ROW);
        self.up |= rises;
        if rises {
            self.failed = None;
        }
        self.next = every.map(|every| now + if self.up { every } else { every.min(DOWN_EVERY) });
        rises.then_some(Change::Up)
    }

    /// A call was not taken: it is asked at once how it is.
    pub fn call_failed(&mut self, now: Instant) {
        self.failed = Some(now);
        if self.next.is_some() {
            self.next = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    #[test]
    fn two_misses_are_down_and_two_answers_are_up() {
        let begin = Instant::now();
        let at = |s| begin + Duration::from_secs(s);
        let mut health = Health::new(begin, Some(EVERY));
        assert!(health.ask(begin) && !health.ask(begin));
        assert_eq!(health.answered(at(0), Some(EVERY), false), None);
        assert_eq!(health.due(), Some(at(30)));
        assert!(health.ask(at(30)));
        assert_eq!(health.overdue(at(33), EVERY), None);
        assert_eq!(health.overdue(at(34), EVERY), None, "one miss is none");
        assert!(health.is_up() && health.due() == Some(at(39)));
        assert!(health.ask(at(39)));
        assert_eq!(health.overdue(at(43), EVERY), Some(Change::Down));
        assert!(!health.is_up() && health.ask(at(48)));
        assert_eq!(health.answered(at(48), Some(EVERY), false), None);
        assert_eq!(health.due(), Some(at(53)));
        assert!(health.ask(at(53)));
        assert_eq!(health.answered(at(53), Some(EVERY), false), Some(Change::Up));
        assert_eq!(health.due(), Some(at(83)));
    }

    #[test]
    fn a_call_that_fails_lets_it_rest_and_one_that_is_taken_proves_it() {
        let begin = Instant::now();
        let mut health = Health::new(begin, Some(EVERY));
        health.answered(begin, Some(EVERY), false);
        health.call_failed(begin);
        assert!(health.rests(begin) && health.is_up() && health.ask(begin));
        assert!(!health.rests(begin + REST));
        health.missed(begin, EVERY);
        assert_eq!(health.missed(begin, EVERY), Some(Change::Down));
        assert_eq!(health.answered(begin, Some(EVERY), true), Some(Change::Up));
        assert!(!health.rests(begin));
    }

    #[test]
    fn a_line_that_is_never_asked_waits_for_nothing() {
        let begin = Instant::now();
        let mut health = Health::new(begin, None);
        assert!(!health.ask(begin) && health.due().is_none());
        health.call_failed(begin);
        assert!(health.due().is_none() && health.rests(begin));
    }
}
