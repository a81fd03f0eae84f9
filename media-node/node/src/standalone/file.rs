//! The decision file: what callers of each number get.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hotline_base::Country;
use hotline_wire::node::{Prompt, TapVoices};
use hotline_wire::tones::CallTone;

use super::yaml::{self, Node, Value};

/// Agents of one queue at most.
const AGENTS: usize = 5_000;
/// Bytes of a sound file at most: ten minutes.
const SOUND_BYTES: usize = 10 * 60 * 8_000;

/// A whole decision file, checked.
#[derive(Debug, Clone, Default)]
pub struct DecisionFile {
    /// In order; the first that matches counts.
    pub(super) rules: Vec<Rule>,
    /// Sound files by the name under which prompts refer to them, as raw µ-law.
    pub(super) sounds: BTreeMap<String, Arc<[u8]>>,
}

/// What callers of some numbers get.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// A number, or the start of one and `*`.
    pub(super) dial: String,
    /// Whose voices a speech engine gets.
    pub(super) tap: Option<TapVoices>,
    pub(super) action: Action,
}

/// One thing to do with a call.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Menu { prompt: Prompt, wait_ms: u32, keys: BTreeMap<char, Action> },
    Play { prompt: Prompt },
    Bridge { to: String, ring_timeout_ms: u32, record: bool },
    Queue { music: Prompt, agents: Vec<String>, ring_timeout_ms: u32, wrap_up_ms: u32, record: bool },
    Reject { status: u16, prompt: Option<Prompt> },
    Hangup,
}

/// Everything that is wrong with a decision file, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileErrors(pub Vec<String>);

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for FileErrors {}

struct Reader<'a> {
    /// Sound files are found relative to it.
    folder: &'a Path,
    sounds: BTreeMap<String, Arc<[u8]>>,
    errors: Vec<String>,
}

type Entries = [(String, Node)];

impl DecisionFile {
    /// Reads a decision file; sound files are looked for in `folder`.
    ///
    /// # Errors
    /// Every mistake, each with its line and what to write instead.
    pub fn read(text: &str, folder: &Path) -> Result<DecisionFile, FileErrors> {
        let root = yaml::read(text).map_err(|e| FileErrors(vec![e]))?;
        let mut reader = Reader { folder, sounds: BTreeMap::new(), errors: Vec::new() };
        let rules = reader.rules(&root);
        if reader.errors.is_empty() {
            Ok(DecisionFile { rules, sounds: reader.sounds })
        } else {
            Err(FileErrors(reader.errors))
        }
    }
}

impl DecisionFile {
    /// Whether any call's voices go to a speech engine.
    pub fn taps(&self) -> bool {
        self.rules.iter().any(|rule| rule.tap.is_some())
    }
}

impl Reader<'_> {
    fn wrong(&mut self, line: usize, what: impl fmt::Display) {
        self.errors.push(format!("line {line}: {what}"));
    }

    fn rules(&mut self, root: &Node) -> Vec<Rule> {
        let Value::Map(entries) = &root.value else {
            self.wrong(root.line, "write `rules:` and a list of rules");
            return Vec::new();
        };
        self.only(root.line, entries, &["rules"]);
        let Some((_, rules)) = entries.iter().find(|(k, _)| k == "rules") else {
            self.wrong(root.line, "`rules:` is missing");
            return Vec::new();
        };
        let Value::List(items) = &rules.value else {
            self.wrong(rules.line, "`rules` is a list: start each rule with `- dial:`");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.rule(item)).collect()
    }

    fn rule(&mut self, node: &Node) -> Option<Rule> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node.line, "a rule starts with `- dial: \"number\"`");
            return None;
        };
        let dial = self.text(node.line, entries, "dial")?;
        let stem = dial.strip_suffix('*').unwrap_or(&dial);
        if stem.contains('*') && stem != "*" {
            self.wrong(node.line, "dial: a `*` may only stand at the end");
        }
        let tap = find(entries, "tap").and_then(|node| self.voices(node));
        let rest: Vec<(String, Node)> =
            entries.iter().filter(|(key, _)| key != "dial" && key != "tap").cloned().collect();
        let action = self.action(node.line, &rest)?;
        Some(Rule { dial, tap, action })
    }

    fn voices(&mut self, node: &Node) -> Option<TapVoices> {
        let word = if let Value::Text(text) = &node.value { text.as_str() } else { "" };
        match word {
            "caller" => Some(TapVoices::Caller),
            "callee" => Some(TapVoices::Callee),
            "both" => Some(TapVoices::Both),
            _ => {
                self.wrong(node.line, "tap: write caller, callee or both");
                None
            }
        }
    }

    /// One action: exactly one of the known words.
    fn action(&mut self, line: usize, entries: &Entries) -> Option<Action> {
        const WORDS: &str = "menu, play, bridge, queue, reject, hangup";
        let [(word, node)] = entries else {
            self.wrong(line, format_args!("write exactly one of {WORDS}"));
            return None;
        };
        if word == "hangup" {
            return Some(Action::Hangup);
        }
        if word == "play" {
            return Some(Action::Play { prompt: self.prompt(node)? });
        }
        let Value::Map(fields) = &node.value else {
            self.wrong(node.line, format_args!("`{word}` needs settings below it"));
            return None;
        };
        match word.as_str() {
            "menu" => self.menu(node.line, fields),
            "bridge" => {
                self.only(node.line, fields, &["to", "ring_timeout_ms", "record"]);
                let to = self.text(node.line, fields, "to");
                let ring_timeout_ms = self.number(fields, "ring_timeout_ms", 30_000);
                let record = self.flag(fields, "record");
                let to = self.sip_uri(node.line, to?)?;
                Some(Action::Bridge { to, ring_timeout_ms, record })
            }
            "queue" => self.queue(node.line, fields),
            "reject" => {
                self.only(node.line, fields, &["status", "play"]);
                let status = self.number(fields, "status", 404);
                if !(400..=699).contains(&status) {
                    self.wrong(node.line, "status: write 400 to 699");
                }
                let prompt = match find(fields, "play") {
                    Some(node) => Some(self.prompt(node)?),
                    None => None,
                };
                Some(Action::Reject { status: status as u16, prompt })
            }
            other => {
                self.wrong(line, format_args!("`{other}` is unknown: use one of {WORDS}"));
                None
            }
        }
    }

    fn menu(&mut self, line: usize, fields: &Entries) -> Option<Action> {
        self.only(line, fields, &["prompt", "wait_ms", "keys"]);
        let prompt = match find(fields, "prompt") {
            Some(node) => self.prompt(node),
            None => {
                self.wrong(line, "`prompt:` is missing");
                None
            }
        };
        let wait_ms = self.number(fields, "wait_ms", 5_000);
        let mut keys = BTreeMap::new();
        if let Some(node) = find(fields, "keys") {
            let Value::Map(entries) = &node.value else {
                self.wrong(node.line, "keys: write each key in quotes and its action");
                return None;
            };
            for (key, node) in entries {
                let mut chars = key.chars();
                let (Some(digit @ ('0'..='9' | '*' | '#')), None) = (chars.next(), chars.next()) else {
                    self.wrong(node.line, format_args!("{key:?} is no key: 0 to 9, * or #"));
                    continue;
                };
                let action = match &node.value {
                    Value::Map(entries) => self.action(node.line, entries),
                    Value::Text(text) if text == "hangup" => Some(Action::Hangup),
                    _ => {
                        self.wrong(node.line, "write an action such as {play: {tone: 440}}");
                        None
                    }
                };
                let fits = matches!(action, None | Some(Action::Play { .. } | Action::Bridge { .. } | Action::Hangup));
                if !fits {
                    self.wrong(node.line, "only play, bridge or hangup can follow a key");
                }
                if let Some(action) = action {
                    keys.insert(digit, action);
                }
            }
        }
        Some(Action::Menu { prompt: prompt?, wait_ms, keys })
    }

    fn queue(&mut self, line: usize, fields: &Entries) -> Option<Action> {
        let known = ["music", "agents", "ring_timeout_ms", "wrap_up_ms", "record"];
        self.only(line, fields, &known);
        let music = match find(fields, "music") {
            Some(node) => self.prompt(node),
            None => {
                self.wrong(line, "`music:` is missing");
                None
            }
        };
        let mut agents = Vec::new();
        match find(fields, "agents").map(|node| (node.line, &node.value)) {
            Some((line, Value::Text(text))) => self.agents(line, text, &mut agents),
            Some((_, Value::List(items))) => {
                for item in items {
                    match &item.value {
                        Value::Text(text) => self.agents(item.line, text, &mut agents),
                        _ => self.wrong(item.line, "write a SIP URI"),
                    }
                }
            }
            Some((line, _)) => self.wrong(line, "agents: write SIP URIs"),
            None => self.wrong(line, "`agents:` is missing"),
        }
        let ring_timeout_ms = self.number(fields, "ring_timeout_ms", 20_000);
        let wrap_up_ms = self.number(fields, "wrap_up_ms", 0);
        let record = self.flag(fields, "record");
        Some(Action::Queue { music: music?, agents, ring_timeout_ms, wrap_up_ms, record })
    }

    /// `sip:agent[01-50]@host` stands for fifty.
    fn agents(&mut self, line: usize, text: &str, into: &mut Vec<String>) {
        let expanded = match (text.find('['), text.find(']')) {
            (Some(open), Some(close)) if open < close => {
                let (head, tail) = (&text[..open], &text[close + 1..]);
                let range = text[open + 1..close]
                    .split_once('-')
                    .and_then(|(a, b)| Some((a.len(), a.parse::<usize>().ok()?, b.parse::<usize>().ok()?)));
                let Some((width, first, last)) = range.filter(|(_, a, b)| a <= b && b - a < AGENTS) else {
                    self.wrong(line, format_args!("{text:?}: write a range such as [01-50]"));
                    return;
                };
                (first..=last).map(|n| format!("{head}{n:0width$}{tail}")).collect()
            }
            _ => vec![text.to_string()],
        };
        for uri in expanded {
            if into.len() == AGENTS {
                self.wrong(line, format_args!("more than {AGENTS} agents"));
                return;
            }
            if let Some(uri) = self.sip_uri(line, uri) {
                into.push(uri);
            }
        }
    }

    /// A SIP URI with an address, or the name of a phone that registers here.
    fn sip_uri(&mut self, line: usize, text: String) -> Option<String> {
        let name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
        let phone = (1..=64).contains(&text.len()) && text.bytes().all(name);
        let uri = text.starts_with("sip:") && crate::dial::address(&text).is_some();
        if phone || uri {
            Some(text)
        } else {
            let remedy = "write sip:user@address:port with an IP address, or the name of a phone that registers here";
            self.wrong(line, format_args!("{text:?}: {remedy}"));
            None
        }
    }

    /// `{tone: 440, ms: 5000}`, `{tone: [440, 480], ms: 2000, off_ms: 4000, times: 3}`,
    /// `{tone: busy, country: CN, times: 10}` or `{file: x.wav}`.
    fn prompt(&mut self, node: &Node) -> Option<Prompt> {
        const FORMS: &str = "write {tone: 440, ms: 5000}, {tone: busy, country: CN} or {file: name.wav}";
        let Value::Map(fields) = &node.value else {
            self.wrong(node.line, FORMS);
            return None;
        };
        self.only(node.line, fields, &["tone", "ms", "off_ms", "times", "country", "file"]);
        if let Some((_, file)) = fields.iter().find(|(k, _)| k == "file") {
            let Value::Text(name) = &file.value else {
                self.wrong(file.line, FORMS);
                return None;
            };
            return self.sound_file(file.line, name);
        }
        if let Some(Value::Text(name)) = find(fields, "tone").map(|n| &n.value)
            && let Some(tone) = CallTone::of(name)
        {
            return self.call_tone(node.line, fields, tone);
        }
        let hz: Option<Vec<u16>> = match find(fields, "tone").map(|n| &n.value) {
            Some(Value::Text(text)) => text.parse().ok().map(|hz| vec![hz]),
            Some(Value::List(items)) if items.len() <= 2 => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        let Some(hz) = hz.filter(|hz| hz.iter().all(|hz| *hz < 4_000)) else {
            self.wrong(
                node.line,
                format_args!("{FORMS}; a tone lies below 4000 Hz, or is a list of two, or ringback, busy, congestion"),
            );
            return None;
        };
        let on_ms = self.number(fields, "ms", 1_000);
        let off_ms = self.number(fields, "off_ms", 0);
        let times = self.number(fields, "times", 1);
        Some(Prompt::Tone { hz, on_ms, off_ms, times: u16::try_from(times).unwrap_or(u16::MAX), then: Vec::new() })
    }

    /// A tone that a country has for it.
    fn call_tone(&mut self, line: usize, fields: &Entries, tone: CallTone) -> Option<Prompt> {
        self.only(line, fields, &["tone", "country", "times"]);
        let country = match find(fields, "country").map(|node| &node.value) {
            None => None,
            Some(Value::Text(code)) => match code.to_ascii_uppercase().parse::<Country>() {
                Ok(country) => Some(country),
                Err(error) => {
                    self.wrong(line, format_args!("country {code:?}: {error}"));
                    return None;
                }
            },
            Some(_) => {
                self.wrong(line, "country: write a code such as CN");
                return None;
            }
        };
        let times = self.number(fields, "times", 1);
        Some(tone.prompt(country, u16::try_from(times).unwrap_or(u16::MAX)))
    }

    fn sound_file(&mut self, line: usize, name: &str) -> Option<Prompt> {
        let path = self.folder.join(name);
        let sound = match crate::sounds::read_file(&path, SOUND_BYTES) {
            Ok(sound) => sound,
            Err(error) => {
                self.wrong(line, format_args!("{}: {error}", path.display()));
                return None;
            }
        };
        self.sounds.insert(name.to_string(), sound);
        Some(Prompt::Audio { key: name.to_string() })
    }

    fn only(&mut self, line: usize, entries: &Entries, known: &[&str]) {
        for (key, node) in entries {
            if !known.contains(&key.as_str()) {
                let line = node.line.max(line);
                let known = known.join(", ");
                self.wrong(line, format_args!("`{key}` is unknown: use {known}"));
            }
        }
    }

    fn text(&mut self, line: usize, entries: &Entries, key: &str) -> Option<String> {
        match find(entries, key).map(|n| &n.value) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.wrong(line, format_args!("`{key}:` is missing or empty"));
                None
            }
        }
    }

    fn number(&mut self, entries: &Entries, key: &str, default: u32) -> u32 {
        let Some(node) = find(entries, key) else {
            return default;
        };
        let value = match &node.value {
            Value::Text(text) => text.parse().ok().filter(|n| *n <= 86_400_000),
            _ => None,
        };
        value.unwrap_or_else(|| {
            self.wrong(node.line, format_args!("{key}: write a whole number"));
            default
        })
    }

    fn flag(&mut self, entries: &Entries, key: &str) -> bool {
        let Some(node) = find(entries, key) else {
            return false;
        };
        match &node.value {
            Value::Text(text) if text == "true" => true,
            Value::Text(text) if text == "false" => false,
            _ => {
                self.wrong(node.line, format_args!("{key}: write true or false"));
                false
            }
        }
    }
}

fn find<'a>(entries: &'a Entries, key: &str) -> Option<&'a Node> {
    entries.iter().find(|(k, _)| k == key).map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DecisionFile, FileErrors> {
        DecisionFile::read(text, Path::new("."))
    }

    #[test]
    fn the_bench_file_is_right() {
        let text = include_str!("../../../examples/bench.yaml");
        let file = read(text).unwrap();
        let dials: Vec<&str> = file.rules.iter().map(|r| r.dial.as_str()).collect();
        assert_eq!(dials, ["600", "700", "701", "800"]);
        let Action::Queue { agents, .. } = &file.rules[3].action else {
            panic!("800 is a queue");
        };
        assert_eq!(agents.len(), 50);
        assert_eq!(agents[0], "sip:agent01@127.0.0.1:15080");
        assert_eq!(agents[49], "sip:agent50@127.0.0.1:15080");
    }

    #[test]
    fn tones_may_be_those_of_a_country() {
        let file = read("rules: [{dial: \"1\", play: {tone: busy, country: gb, times: 5}}]").unwrap();
        let Action::Play { prompt: Prompt::Tone { hz, on_ms, off_ms, times, then } } = &file.rules[0].action else {
            panic!("{:?}", file.rules);
        };
        assert_eq!((&hz[..], *on_ms, *off_ms, *times, then.len()), (&[400][..], 375, 375, 5, 0));
    }

    #[test]
    fn every_mistake_is_listed_with_its_line() {
        let errors = read(
            "rules:
  - dial: \"1\"
    play: {tone: 9000}
  - dial: \"2\"
    bridge: {to: \"sip:agent@host\", record: maybe}
  - dial: \"3\"
    dance: {a: b}
  - menu: {wait_ms: x, keys: {\"12\": hangup}}
    dial: \"4\"
  - dial: \"6\"
    tap: all
    hangup: now
  - dial: \"7\"
    play: {tone: ringback, country: ZZ, ms: 5}
  - dial: \"5\"
    queue: {music: {file: missing.wav}, agents: \"sip:a[9-1]@127.0.0.1\"}
",
        )
        .unwrap_err()
        .to_string();
        for part in [
            "line 3: write {tone: 440",
            "line 5: record: write true or false",
            "line 5: \"sip:agent@host\": write sip:user@",
            "`dance` is unknown",
            "line 8: `prompt:` is missing",
            "line 8: wait_ms: write a whole number",
            "line 8: \"12\" is no key",
            "line 11: tap: write caller, callee or both",
            "line 14: country \"ZZ\": not a country",
            "`ms` is unknown: use tone, country, times",
            "missing.wav",
            "[9-1]",
        ] {
            assert!(errors.contains(part), "missing {part:?} in\n{errors}");
        }
        assert!(read("").is_err());
        assert!(read("rules: [").unwrap_err().to_string().contains("not YAML"));
    }
}
