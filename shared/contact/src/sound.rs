//! From a flow's sounds to objects in the prompts bucket.

use hotline_base::{Country, Name, TenantId};
use hotline_flow::{Builtin, PromptRef, Speech};
use hotline_wire::node::Prompt;
use hotline_wire::tones::CallTone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The object key of the built-in music.
pub const HOLD_MUSIC_KEY: &str = "prompts/shared/hold-music.ulaw";

/// Where the sounds of one flow version are; pinned when it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptBook {
    /// Whose.
    pub tenant: TenantId,
    /// The speech engine that made them, as a path segment.
    pub engine: String,
    /// Uploaded recordings: name → object key.
    pub audio: BTreeMap<Name, String>,
}

impl PromptBook {
    /// A book for speech made by this engine.
    pub fn new(tenant: TenantId, engine: &str, audio: BTreeMap<Name, String>) -> Self {
        let good = |c: char| {
            if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }
        };
        let mut engine: String = engine.chars().map(good).take(60).collect();
        if engine.is_empty() {
            engine.push('-');
        }
        Self { tenant, engine, audio }
    }

    /// The object key of a spoken text.
    pub fn speech_key(&self, speech: &Speech) -> String {
        format!("prompts/{}/{}/{}.ulaw", self.tenant, self.engine, speech.key())
    }

    /// What the node plays; `None` where an uploaded recording is not known.
    pub fn prompt(&self, sound: &PromptRef) -> Option<Prompt> {
        let key = match sound {
            PromptRef::Speech(speech) => self.speech_key(speech),
            PromptRef::Audio { name } => self.audio.get(name)?.clone(),
            PromptRef::Builtin { sound: Builtin::HoldMusic } => HOLD_MUSIC_KEY.into(),
        };
        Some(Prompt::Audio { key })
    }

    /// Several of them; unknown ones are left out.
    pub fn prompts<'a>(&self, sounds: impl IntoIterator<Item = &'a PromptRef>) -> Vec<Prompt> {
        sounds.into_iter().filter_map(|sound| self.prompt(sound)).collect()
    }
}

/// What somebody hears while somebody else is rung: the ringing tone of the tenant's country.
pub fn ringback(country: Option<Country>) -> Prompt {
    CallTone::Ringback.prompt(country, 1)
}

/// Nothing, for a while.
pub fn silence() -> Prompt {
    Prompt::Tone { hz: vec![], on_ms: 1000, off_ms: 0, times: 1, then: Vec::new() }
}

/// The special information tone before "this number is not in service" (ITU-T E.180).
pub fn special_information() -> Vec<Prompt> {
    [950, 1400, 1800]
        .into_iter()
        .map(|hz| Prompt::Tone { hz: vec![hz], on_ms: 330, off_ms: 30, times: 1, then: Vec::new() })
        .collect()
}
