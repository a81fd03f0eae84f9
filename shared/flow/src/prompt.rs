//! What callers hear: texts cut around their variables, and the speech to prepare for them.

use hotline_base::{Lang, Name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Compiled, Flow, StepKind, Utterance};

/// A sound, named by what it is; the service maps it to an object or a tone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PromptRef {
    /// Synthesised speech; its object is found by [`Speech::key`].
    Speech(Speech),
    /// A recording that the tenant uploaded under this name.
    Audio {
        /// The name.
        name: Name,
    },
    /// Comes with the product.
    Builtin {
        /// Which.
        sound: Builtin,
    },
}

/// A sound that comes with the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Builtin {
    /// Music for waiting callers.
    HoldMusic,
}

/// A text in a language and a voice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Speech {
    /// The language.
    pub lang: Lang,
    /// The engine's name of the voice; `None`: the engine's choice for the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    /// What is said.
    pub text: String,
}

impl Speech {
    /// The content hash that names it.
    pub fn key(&self) -> PromptKey {
        let mut hash = Sha256::new();
        for part in [self.lang.as_str(), self.voice.as_deref().unwrap_or(""), &self.text] {
            // The length keeps (ab, c) and (a, bc) apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        PromptKey(hex::encode(hash.finalize()))
    }
}

/// SHA-256 of language, voice and text, in hex: names a synthesised prompt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromptKey(String);

impl PromptKey {
    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PromptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number that only the queue knows, at the moment it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueNumber {
    /// The caller's place, from 1: `{position}`.
    Position,
    /// Callers before this one: `{ahead}`.
    Ahead,
    /// The estimated wait in minutes, rounded up: `{wait_minutes}`.
    WaitMinutes,
}

impl QueueNumber {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Position, Self::Ahead, Self::WaitMinutes];

    /// As written between braces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Ahead => "ahead",
            Self::WaitMinutes => "wait_minutes",
        }
    }
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Said as it is.
    Text(String),
    /// A number of the queue, said as a number.
    Queue(QueueNumber),
    /// A variable, said digit by digit.
    Variable(Name),
}

/// Cuts a text around its `{variables}`; the error says what is wrong with a brace.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let push_text = |text: &str, pieces: &mut Vec<Piece>| {
        // Punctuation alone is nothing to say: engines read "." aloud or fail on it.
        if text.chars().any(char::is_alphanumeric) {
            let text = text.trim_start_matches(|c: char| c.is_whitespace() || ",;.:!?，。；：！？、".contains(c));
            pieces.push(Piece::Text(text.trim_end().to_owned()));
        }
    };
    while let Some(open) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(open);
        let inside = from
            .strip_prefix('{')
            .and_then(|f| f.split_once('}'))
            .ok_or_else(|| "a '{' needs its '}' and the other way round".to_owned())?;
        push_text(before, &mut pieces);
        let word = inside.0.trim();
        match QueueNumber::ALL.into_iter().find(|n| n.as_str() == word) {
            Some(number) => pieces.push(Piece::Queue(number)),
            None => pieces.push(Piece::Variable(word.parse().map_err(|e| format!("between braces: {e}"))?)),
        }
        rest = inside.1;
    }
    push_text(rest, &mut pieces);
    Ok(pieces)
}

/// The form in which a number from 0 to 99 is given to the speech engine; higher ones say 99.
pub fn number_text(lang: Lang, number: u32) -> String {
    let number = number.min(99);
    match lang {
        Lang::En => number.to_string(),
        Lang::Zh => {
            let digit = |d: u32| "零一二三四五六七八九".chars().nth(d as usize).unwrap_or('零').to_string();
            match (number / 10, number % 10) {
                (0, ones) => digit(ones),
                (1, 0) => "十".into(),
                (1, ones) => format!("十{}", digit(ones)),
                (tens, 0) => format!("{}十", digit(tens)),
                (tens, ones) => format!("{}十{}", digit(tens), digit(ones)),
            }
        }
    }
}

/// One text to synthesise when a flow is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeechItem {
    /// Names it.
    pub key: PromptKey,
    /// What to synthesise.
    pub speech: Speech,
}

/// Every text that `compiled` can say, its subflows included, each once, in order of
/// language and text: fixed pieces, and the numbers 0 to 99 where a number is said.
pub fn speech(compiled: &Compiled) -> Vec<SpeechItem> {
    let mut all = BTreeSet::new();
    for flow in compiled.flows() {
        speech_of(flow, &mut all);
    }
    all.into_iter().map(|speech| SpeechItem { key: speech.key(), speech }).collect()
}

fn speech_of(flow: &Flow, all: &mut BTreeSet<Speech>) {
    for prompt in flow.prompts.values() {
        for (&lang, utterance) in &prompt.by_lang {
            let Utterance::Text { text, spoken } = utterance else {
                continue;
            };
            let lang = spoken.unwrap_or(lang);
            let say = |text: String| Speech { lang, voice: flow.voices.get(&lang).cloned(), text };
            for piece in pieces(text).unwrap_or_default() {
                let numbers = match piece {
                    Piece::Text(text) => {
                        all.insert(say(text));
                        continue;
                    }
                    Piece::Queue(_) => 0..=99,
                    Piece::Variable(_) => 0..=9,
                };
                all.extend(numbers.map(|n| say(number_text(lang, n))));
            }
        }
    }
}

/// What is said while waiting, with places for numbers that change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// After the start and then again after each such time; 0: once, at once.
    pub every_ms: u32,
    /// The prompts, each in parts.
    pub prompts: Vec<Vec<Part>>,
}

/// A part of an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Part {
    /// Always the same.
    Fixed {
        /// What.
        prompt: PromptRef,
    },
    /// A number of the queue, known when it is said.
    Number {
        /// Which.
        number: QueueNumber,
        /// In which language.
        lang: Lang,
        /// In which voice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voice: Option<String>,
    },
}

impl Announcement {
    /// What to play at place `position` (from 1) with an estimated wait; a prompt that needs
    /// a number which is not known is left out.
    pub fn prompts(&self, position: Option<u32>, wait_ms: Option<u64>) -> Vec<PromptRef> {
        let value = |number: QueueNumber| match number {
            QueueNumber::Position => position,
            QueueNumber::Ahead => position.map(|p| p.saturating_sub(1)),
            QueueNumber::WaitMinutes => wait_ms.map(|ms| u32::try_from(ms.div_ceil(60_000)).unwrap_or(u32::MAX).max(1)),
        };
        let prompt = |parts: &Vec<Part>| -> Option<Vec<PromptRef>> {
            let part = |part: &Part| match part {
                Part::Fixed { prompt } => Some(prompt.clone()),
                Part::Number { number, lang, voice } => Some(PromptRef::Speech(Speech {
                    lang: *lang,
                    voice: voice.clone(),
                    text: number_text(*lang, value(*number)?),
                })),
            };
            parts.iter().map(part).collect()
        };
        self.prompts.iter().filter_map(prompt).flatten().collect()
    }
}

/// What callers hear while decisions cannot be had, in one language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackAsk {
    /// Said once; empty where the flow says nothing.
    pub apology: Vec<PromptRef>,
    /// Looped.
    pub music: PromptRef,
    /// Hang up after this.
    pub give_up_ms: u32,
}

/// The names outside a flow that it uses, its subflows' included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Queues.
    pub queues: BTreeSet<Name>,
    /// Calendars.
    pub calendars: BTreeSet<Name>,
    /// Lists of callers' numbers.
    pub vip_lists: BTreeSet<Name>,
    /// Agents.
    pub agents: BTreeSet<Name>,
    /// Groups of agents.
    pub groups: BTreeSet<Name>,
    /// Skills.
    pub skills: BTreeSet<Name>,
    /// Subflows, called directly or through others.
    pub subflows: BTreeSet<Name>,
    /// Uploaded recordings.
    pub audio: BTreeSet<Name>,
    /// Targets of hooks.
    pub hooks: BTreeSet<String>,
}

impl References {
    /// The names that one flow uses itself.
    pub fn of(flow: &Flow) -> Self {
        use crate::{Condition, RingRef};
        let mut refs = Self::default();
        let audio = flow.prompts.values().flat_map(|p| p.by_lang.values());
        refs.audio.extend(audio.filter_map(|u| match u {
            Utterance::Audio(name) => Some(name.name.clone()),
            Utterance::Text { .. } => None,
        }));
        refs.audio.extend(flow.fallback.iter().filter_map(|f| f.music.as_ref()).map(|r| r.name.clone()));
        for step in flow.steps.values() {
            match &step.kind {
                StepKind::Branch(branch) => {
                    for case in &branch.cases {
                        match &case.when {
                            Condition::Open(c) | Condition::Closed(c) => refs.calendars.insert(c.name.clone()),
                            Condition::CallerIn(list) => refs.vip_lists.insert(list.name.clone()),
                            Condition::Queue(queue, _) => refs.queues.insert(queue.name.clone()),
                            _ => false,
                        };
                    }
                }
                StepKind::Set(set) => refs.skills.extend(set.skills.iter().cloned()),
                StepKind::Queue(queue) => {
                    refs.queues.insert(queue.queue.name.clone());
                    refs.skills.extend(queue.skills.iter().cloned());
                    refs.audio.extend(queue.music.iter().map(|m| m.name.clone()));
                }
                StepKind::Ring(ring) => match &ring.target {
                    RingRef::Agent(agent) => {
                        refs.agents.insert(agent.name.clone());
                    }
                    RingRef::Group(group) => {
                        refs.groups.insert(group.name.clone());
                    }
                },
                StepKind::Voicemail(mail) => refs.queues.extend(mail.queue.iter().map(|q| q.name.clone())),
                StepKind::Callback(callback) => {
                    refs.queues.insert(callback.queue.name.clone());
                }
                StepKind::Subflow(sub) => {
                    refs.subflows.insert(sub.flow.name.clone());
                }
                StepKind::Hook(hook) => {
                    refs.hooks.insert(hook.target.clone());
                }
                _ => {}
            }
        }
        refs
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.queues.extend(other.queues);
        self.calendars.extend(other.calendars);
        self.vip_lists.extend(other.vip_lists);
        self.agents.extend(other.agents);
        self.groups.extend(other.groups);
        self.skills.extend(other.skills);
        self.subflows.extend(other.subflows);
        self.audio.extend(other.audio);
        self.hooks.extend(other.hooks);
    }
}

/// Cuts one language's form of a prompt into parts; variables are filled in from `vars`.
pub(crate) fn parts(flow: &Flow, prompt: &Name, lang: Lang, vars: &BTreeMap<Name, String>) -> Vec<Part> {
    let Some(prompt) = flow.prompts.get(prompt) else {
        return Vec::new();
    };
    // A language that the prompt lacks falls back to the first one it has: hearing the
    // wrong language is better than silence. `check` refuses such a flow.
    let Some((lang, utterance)) =
        prompt.by_lang.get(&lang).map(|u| (lang, u)).or_else(|| prompt.by_lang.iter().next().map(|(l, u)| (*l, u)))
    else {
        return Vec::new();
    };
    let lang = match utterance {
        Utterance::Text { spoken: Some(spoken), .. } => *spoken,
        _ => lang,
    };
    let voice = flow.voices.get(&lang).cloned();
    let fixed = |text: String| Part::Fixed { prompt: PromptRef::Speech(Speech { lang, voice: voice.clone(), text }) };
    match utterance {
        Utterance::Audio(name) => vec![Part::Fixed { prompt: PromptRef::Audio { name: name.name.clone() } }],
        Utterance::Text { text, .. } => pieces(text)
            .unwrap_or_default()
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Text(text) => vec![fixed(text)],
                Piece::Queue(number) => vec![Part::Number { number, lang, voice: voice.clone() }],
                Piece::Variable(name) => vars
                    .get(&name)
                    .map(|value| value.chars().filter_map(|c| c.to_digit(10)).collect::<Vec<_>>())
                    .unwrap_or_default()
                    .into_iter()
                    .map(|digit| fixed(number_text(lang, digit)))
                    .collect(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_around_variables() {
        let cut = pieces("You are number {position} in the queue; about {wait_minutes} minutes.").unwrap();
        assert_eq!(
            cut,
            [
                Piece::Text("You are number".into()),
                Piece::Queue(QueueNumber::Position),
                Piece::Text("in the queue; about".into()),
                Piece::Queue(QueueNumber::WaitMinutes),
                Piece::Text("minutes.".into()),
            ]
        );
        assert_eq!(pieces("{order}。").unwrap(), [Piece::Variable("order".parse().unwrap())]);
        for wrong in ["{", "}", "a } b", "{a", "{}", "{A b}", "{{x}}"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn chinese_numbers() {
        let said: Vec<String> = [0, 2, 10, 11, 20, 35, 99, 1000].iter().map(|n| number_text(Lang::Zh, *n)).collect();
        assert_eq!(said, ["零", "二", "十", "十一", "二十", "三十五", "九十九", "九十九"]);
    }

    #[test]
    fn the_key_depends_on_every_part() {
        let speech = |lang, voice: Option<&str>, text: &str| {
            Speech { lang, voice: voice.map(Into::into), text: text.into() }.key()
        };
        let base = speech(Lang::En, None, "ab");
        assert_ne!(base, speech(Lang::Zh, None, "ab"));
        assert_ne!(base, speech(Lang::En, Some("a"), "b"));
        assert_ne!(base, speech(Lang::En, Some("ab"), ""));
        assert_eq!(base.as_str().len(), 64);
    }

    #[test]
    fn an_announcement_leaves_out_what_it_does_not_know() {
        let fixed = |text: &str| Part::Fixed {
            prompt: PromptRef::Speech(Speech { lang: Lang::En, voice: None, text: text.into() }),
        };
        let number = |number| Part::Number { number, lang: Lang::En, voice: None };
        let announcement = Announcement {
            every_ms: 30_000,
            prompts: vec![
                vec![fixed("place"), number(QueueNumber::Position)],
                vec![fixed("wait"), number(QueueNumber::WaitMinutes)],
            ],
        };
        let texts = |position, wait| -> Vec<String> {
            let text = |p| match p {
                PromptRef::Speech(s) => s.text,
                other => format!("{other:?}"),
            };
            announcement.prompts(position, wait).into_iter().map(text).collect()
        };
        assert_eq!(texts(Some(3), Some(61_000)), ["place", "3", "wait", "2"]);
        assert_eq!(texts(Some(1), None), ["place", "1"]);
        assert!(texts(None, None).is_empty());
        assert_eq!(texts(None, Some(0)), ["wait", "1"]);
    }
}
