//! What a leg hears from us: sounds one after the other without a gap.

use std::sync::Arc;

use crate::api::{Law, Sound, Token};
use crate::g711::translate;
use crate::tone::Tone;

enum Source {
    Bytes { bytes: Arc<[u8]>, at: usize },
    Tone(Box<Tone>),
}

/// A queue of sounds being played.
pub(super) struct Play {
    /// Reported at the end; `None` for what nobody asked to hear about.
    pub token: Option<Token>,
    sounds: Vec<Sound>,
    looped: bool,
    next: usize,
    current: Option<Source>,
    /// Bytes given since the queue's start: a loop that gives none is at its end.
    given: bool,
}

impl Play {
    pub fn new(token: Option<Token>, sounds: Vec<Sound>, looped: bool) -> Self {
        Self { token, sounds, looped, next: 0, current: None, given: false }
    }

    fn advance(&mut self) -> bool {
        if self.next >= self.sounds.len() {
            if !self.looped || !self.given {
                return false;
            }
            self.next = 0;
            self.given = false;
        }
        let Some(sound) = self.sounds.get(self.next) else {
            return false;
        };
        self.current = Some(match sound {
            Sound::Mulaw(bytes) => Source::Bytes { bytes: bytes.clone(), at: 0 },
            Sound::Tone { hz, on_ms, off_ms, times } => Source::Tone(Box::new(Tone::new(*hz, *on_ms, *off_ms, *times))),
        });
        self.next += 1;
        true
    }

    /// Fills a frame; `false` at the end, when nothing was left to fill it with. What is left open
    /// at the very end is silence.
    pub fn fill(&mut self, frame: &mut [u8], law: Law) -> bool {
        let mut filled = 0;
        while filled < frame.len() {
            let rest = &mut frame[filled..];
            let count = match &mut self.current {
                None => 0,
                Some(Source::Tone(tone)) => tone.fill(rest, law),
                Some(Source::Bytes { bytes, at }) => {
                    let source = bytes.get(*at..).unwrap_or_default();
                    let count = source.len().min(rest.len());
                    rest[..count].copy_from_slice(&source[..count]);
                    translate(&mut rest[..count], Law::Mu, law);
                    *at += count;
                    count
                }
            };
            filled += count;
            self.given |= count > 0;
            if count == 0 && !self.advance() {
                frame[filled..].fill(law.silence());
                self.current = None;
                return filled > 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(text: &str) -> Sound {
        Sound::Mulaw(text.as_bytes().into())
    }

    fn frames(mut play: Play, length: usize, most: usize) -> Vec<String> {
        let mut told = Vec::new();
        let mut frame = vec![0; length];
        while told.len() < most && play.fill(&mut frame, Law::Mu) {
            told.push(frame.iter().map(|byte| if *byte == 0xFF { '.' } else { char::from(*byte) }).collect());
        }
        told
    }

    #[test]
    fn sounds_follow_without_a_gap() {
        let play = Play::new(None, vec![sound("abcde"), sound(""), sound("fgh")], false);
        assert_eq!(frames(play, 3, 99), ["abc", "def", "gh."]);
        let play = Play::new(None, vec![sound("abc")], false);
        assert_eq!(frames(play, 3, 99), ["abc"]);
        let play = Play::new(None, vec![sound("abcde"), sound("f")], true);
        assert_eq!(frames(play, 4, 3), ["abcd", "efab", "cdef"]);
    }

    #[test]
    fn a_loop_of_nothing_ends() {
        let nothing = Sound::Tone { hz: [0, 0], on_ms: 0, off_ms: 0, times: 5 };
        assert_eq!(frames(Play::new(None, vec![sound(""), nothing.clone()], true), 3, 9), Vec::<String>::new());
        assert_eq!(frames(Play::new(None, vec![], true), 3, 9), Vec::<String>::new());
        assert_eq!(frames(Play::new(None, vec![sound("ab"), nothing], true), 3, 2), ["aba", "bab"]);
    }

    #[test]
    fn a_law_leg_hears_the_same() {
        let mut frame = [0; 2];
        Play::new(None, vec![Sound::Mulaw([0x80, 0xFF][..].into())], false).fill(&mut frame, Law::A);
        assert_eq!(Law::A.decode(frame[0]), 32_256);
        assert!(Law::A.decode(frame[1]).abs() <= 8);
    }
}
