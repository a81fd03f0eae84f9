//! Prompt objects that a session has asked for.

use hotline_rtp::api::Sound;
use hotline_wire::node::{Prompt, Verb};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Loaded;

/// Prompt objects a session keeps at once.
const SOUNDS_KEPT: usize = 256;
/// Bursts of a repeated tone with a cadence: half an hour of ringing.
const BURSTS: usize = 1_200;

/// One object.
#[derive(Debug, Clone)]
enum Entry {
    Loading,
    Ready(Arc<[u8]>),
    Missing,
}

/// What a list of prompts gives.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// All that exist, and the key of the first that does not.
    Ready(Vec<Sound>, Option<String>),
    /// Some are still on their way.
    Waiting,
}

/// The objects by key.
#[derive(Debug, Default)]
pub(crate) struct Sounds {
    entries: BTreeMap<String, Entry>,
}

impl Sounds {
    /// Takes note of the objects that `prompts` need; returns those that must be fetched.
    pub(crate) fn want<'a>(&mut self, prompts: impl Iterator<Item = &'a Prompt>) -> Vec<String> {
        let mut fetch = Vec::new();
        for prompt in prompts {
            if let Prompt::Audio { key } = prompt
                && !self.entries.contains_key(key)
                && self.entries.len() < SOUNDS_KEPT
            {
                self.entries.insert(key.clone(), Entry::Loading);
                fetch.push(key.clone());
            }
        }
        fetch
    }

    /// Objects came, or turned out to be missing.
    pub(crate) fn loaded(&mut self, sounds: Vec<Loaded>) {
        for (key, bytes) in sounds {
            if let Some(entry) = self.entries.get_mut(&key) {
                *entry = bytes.map_or(Entry::Missing, Entry::Ready);
            }
        }
    }

    /// What has not come by now counts as missing.
    pub(crate) fn give_up(&mut self) {
        for entry in self.entries.values_mut() {
            if matches!(entry, Entry::Loading) {
                *entry = Entry::Missing;
            }
        }
    }

    /// Forgets what is not among `keep`, and what was missing.
    pub(crate) fn keep_only<'a>(&mut self, keep: impl Iterator<Item = &'a Prompt>) {
        if self.entries.is_empty() {
            return;
        }
        let keys: Vec<&str> = keep
            .filter_map(|p| match p {
                Prompt::Audio { key } => Some(key.as_str()),
                Prompt::Tone { .. } => None,
            })
            .collect();
        self.entries.retain(|key, entry| !matches!(entry, Entry::Missing) && keys.contains(&key.as_str()));
    }

    /// The sounds of a list of prompts.
    pub(crate) fn resolve(&self, prompts: &[Prompt]) -> Resolved {
        let mut sounds = Vec::with_capacity(prompts.len());
        let mut missing = None;
        for prompt in prompts {
            match prompt {
                Prompt::Audio { key } => match self.entries.get(key) {
                    Some(Entry::Ready(bytes)) => sounds.push(Sound::Mulaw(bytes.clone())),
                    Some(Entry::Loading) => return Resolved::Waiting,
                    Some(Entry::Missing) | None => {
                        missing.get_or_insert_with(|| key.clone());
                    }
                },
                Prompt::Tone { hz, on_ms, off_ms, times, then } => {
                    let hz = [hz.first().copied().unwrap_or(0), hz.get(1).copied().unwrap_or(0)];
                    let tone = |on_ms, off_ms, times| Sound::Tone { hz, on_ms, off_ms, times };
                    if then.is_empty() {
                        sounds.push(tone(*on_ms, *off_ms, *times));
                        continue;
                    }
                    // Each burst is a sound of its own.
                    let periods = usize::from(*times).min(BURSTS / (then.len() + 1));
                    for _ in 0..periods {
                        sounds.push(tone(*on_ms, *off_ms, 1));
                        sounds.extend(then.iter().map(|burst| tone(burst.on_ms, burst.off_ms, 1)));
                    }
                }
            }
        }
        Resolved::Ready(sounds, missing)
    }
}

/// Every prompt of a verb.
pub(crate) fn prompts_of(verb: &Verb) -> Box<dyn Iterator<Item = &Prompt> + '_> {
    match verb {
        Verb::Reject { prompts, .. } | Verb::Play { prompts } | Verb::Gather { prompts, .. } => {
            Box::new(prompts.iter())
        }
        Verb::Hold { music, announce, .. } => {
            Box::new(std::iter::once(music).chain(announce.iter().flat_map(|a| a.prompts.iter())))
        }
        Verb::Ring(agent) => Box::new(agent.whisper.iter()),
        Verb::Answer | Verb::Record { .. } | Verb::Transfer { .. } | Verb::SendKeys(_) | Verb::Hangup => {
            Box::new(std::iter::empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_wire::tones::CallTone;

    #[test]
    fn a_cadence_of_several_bursts_is_played_period_by_period() {
        let prompt = CallTone::Ringback.prompt("GB".parse().ok(), 2);
        let Resolved::Ready(sounds, None) = Sounds::default().resolve(&[prompt]) else { panic!("not ready") };
        let bursts: Vec<(u32, u32)> = sounds
            .iter()
            .map(|sound| match sound {
                Sound::Tone { hz: [400, 450], on_ms, off_ms, times: 1 } => (*on_ms, *off_ms),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(bursts, [(400, 200), (400, 2_000), (400, 200), (400, 2_000)]);
        let endless = CallTone::Ringback.prompt("GB".parse().ok(), u16::MAX);
        let Resolved::Ready(sounds, None) = Sounds::default().resolve(&[endless]) else { panic!("not ready") };
        assert!(sounds.len() <= BURSTS);
    }
}
