//! What a queue is: needs, times, selection, overflow, thresholds.

use hotline_base::{FieldError, Name};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::callback::CallbackPolicy;
use crate::overflow::{OverflowAction, OverflowRule, OverflowWhen};
use crate::service_model::{HandOver, ServiceModel};
use crate::skill::{MAX_LEVEL, MAX_NEEDS, MAX_RELAX, Need};
use crate::threshold::Threshold;

/// How a queue orders agents of equal fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Who has been waiting for work longest.
    #[default]
    LongestIdle,
    /// Who was occupied least in the last hour, then longest idle.
    LowestOccupancy,
}

/// How a queue orders its contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorityMode {
    /// By virtual enqueue time: credit brings forward, and everybody's turn comes.
    #[default]
    Credit,
    /// By class first: a lower class waits while a higher one does.
    Strict,
}

/// What the caller's language means for the choice of agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanguagePolicy {
    /// Agents who have the skill `lang-…` first.
    #[default]
    Preferred,
    /// Only agents who have the skill `lang-…`.
    Required,
    /// Nothing.
    Ignored,
}

/// Whether calls are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordingPolicy {
    /// Every call, from the moment the legs are joined.
    #[default]
    Always,
    /// None.
    Never,
}

/// So many per cent answered within so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceLevel {
    /// Seconds from entering the queue to the agent's answer.
    pub threshold_s: u32,
    /// Per cent, 1 to 100.
    pub target_pct: u8,
}

impl Default for ServiceLevel {
    fn default() -> Self {
        Self { threshold_s: 20, target_pct: 80 }
    }
}

/// A queue. Read from configuration with [`QueueConfig::validate`] before it is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Its name.
    pub name: Name,
    /// Shown on phones and consoles; empty: the name.
    #[serde(default)]
    pub display_name: String,
    /// Who serves it.
    #[serde(default)]
    pub service_model: ServiceModel,
    /// Where it is hybrid, when people take a contact over; none: always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hand_over: Vec<HandOver>,
    /// An agent must have these.
    #[serde(default)]
    pub required: Vec<Need>,
    /// An agent had better have these.
    #[serde(default)]
    pub preferred: Vec<Need>,
    /// What the caller's language means.
    #[serde(default)]
    pub language: LanguagePolicy,
    /// How agents of equal fit are ordered.
    #[serde(default)]
    pub selection: Selection,
    /// How contacts are ordered.
    #[serde(default)]
    pub priority: PriorityMode,
    /// How long an agent's phone rings, milliseconds, 5,000 to 120,000.
    #[serde(default = "ring_timeout")]
    pub ring_timeout_ms: u32,
    /// After-contact work granted, milliseconds, up to 3,600,000.
    #[serde(default = "wrap_up")]
    pub wrap_up_ms: u32,
    /// For so long after a contact its agent is preferred for the same party, milliseconds; 0: never.
    #[serde(default)]
    pub last_agent_ms: u32,
    /// The promise.
    #[serde(default)]
    pub service_level: ServiceLevel,
    /// What happens when it cannot keep up; the first rule that applies and was not yet applied.
    #[serde(default)]
    pub overflow: Vec<OverflowRule>,
    /// A contact that comes when so many wait is turned away to the flow, 1 to 100,000.
    #[serde(default = "max_waiting")]
    pub max_waiting: u32,
    /// The longest wait, milliseconds; then the flow goes on, 10,000 to 86,400,000.
    #[serde(default = "max_wait")]
    pub max_wait_ms: u32,
    /// One caller may wait so many times at once, 1 to 100.
    #[serde(default = "max_per_caller")]
    pub max_per_caller: u8,
    /// Whether calls are recorded.
    #[serde(default)]
    pub recording: RecordingPolicy,
    /// A prompt name of the flow's music; `None`: the built-in tone.
    #[serde(default)]
    pub music: Option<String>,
    /// Facts raised and cleared with hysteresis.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// How people are called back.
    #[serde(default)]
    pub callback: CallbackPolicy,
    /// The queue of the next line of support, to which an agent of this one escalates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_tier: Option<Name>,
    /// Parts of its lists of waiting contacts and of free agents, 1 to 16: a queue that takes more
    /// than 100 calls a second needs several. Never lowered, so that nobody is left behind.
    #[serde(default = "one", skip_serializing_if = "is_whole")]
    pub shards: u8,
}

/// The most parts of a queue's lists.
pub const MAX_SHARDS: u8 = 16;

fn one() -> u8 {
    1
}

/// Whether a list of so many parts is not split.
pub(crate) fn is_whole(shards: &u8) -> bool {
    *shards <= 1
}

fn ring_timeout() -> u32 {
    20_000
}
fn wrap_up() -> u32 {
    30_000
}
fn max_waiting() -> u32 {
    10_000
}
fn max_wait() -> u32 {
    3_600_000
}
fn max_per_caller() -> u8 {
    3
}

/// Names that a queue's configuration may refer to.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Skills that some agent has or that were declared; `None`: not checked.
    pub skills: Option<BTreeSet<Name>>,
    /// Queues with the queues their overflow rules lead to; `None`: not checked.
    pub queues: Option<BTreeMap<Name, BTreeSet<Name>>>,
}

impl QueueConfig {
    /// A queue with the defaults.
    pub fn new(name: Name) -> Self {
        Self {
            name,
            display_name: String::new(),
            service_model: ServiceModel::default(),
            hand_over: Vec::new(),
            required: Vec::new(),
            preferred: Vec::new(),
            language: LanguagePolicy::default(),
            selection: Selection::default(),
            priority: PriorityMode::default(),
            ring_timeout_ms: ring_timeout(),
            wrap_up_ms: wrap_up(),
            last_agent_ms: 0,
            service_level: ServiceLevel::default(),
            overflow: Vec::new(),
            max_waiting: max_waiting(),
            max_wait_ms: max_wait(),
            max_per_caller: max_per_caller(),
            recording: RecordingPolicy::default(),
            music: None,
            thresholds: Vec::new(),
            callback: CallbackPolicy::default(),
            next_tier: None,
            shards: 1,
        }
    }

    /// The display name, or the name where there is none.
    pub fn title(&self) -> &str {
        if self.display_name.is_empty() { self.name.as_str() } else { &self.display_name }
    }

    /// Queues that its overflow rules lead to.
    pub fn overflow_queues(&self) -> BTreeSet<Name> {
        self.overflow
            .iter()
            .filter_map(|r| match &r.then {
                OverflowAction::Queue { queue } => Some(queue.clone()),
                _ => None,
            })
            .collect()
    }

    /// Everything that is wrong, field by field; empty: good to use.
    pub fn validate(&self, known: &Known) -> Vec<FieldError> {
        let mut errors = Errors::default();
        if self.display_name.chars().count() > 80 {
            errors.say("display_name", "longer than 80 characters");
        }
        errors.range("ring_timeout_ms", self.ring_timeout_ms, 5_000, 120_000);
        errors.range("wrap_up_ms", self.wrap_up_ms, 0, 3_600_000);
        errors.range("last_agent_ms", self.last_agent_ms, 0, 30 * 86_400_000);
        errors.range("service_level.threshold_s", self.service_level.threshold_s, 1, 86_400);
        errors.range("service_level.target_pct", u32::from(self.service_level.target_pct), 1, 100);
        errors.range("max_waiting", self.max_waiting, 1, 100_000);
        errors.range("max_wait_ms", self.max_wait_ms, 10_000, 86_400_000);
        errors.range("max_per_caller", u32::from(self.max_per_caller), 1, 100);
        errors.range("shards", u32::from(self.shards), 1, u32::from(MAX_SHARDS));
        errors.hand_over(self.service_model, &self.hand_over);
        errors.needs("required", &self.required, known);
        errors.needs("preferred", &self.preferred, known);
        if self.overflow.len() > 16 {
            errors.say("overflow", "more than 16 rules; keep the first 16");
        }
        for (i, rule) in self.overflow.iter().enumerate() {
            errors.overflow(i, rule, &self.name, known);
        }
        if let Some(path) = self.overflow_cycle(known) {
            let text: Vec<&str> = path.iter().map(Name::as_str).collect();
            errors.say("overflow", &format!("leads back to this queue: {}; remove one of these", text.join(" → ")));
        }
        if self.thresholds.len() > 16 {
            errors.say("thresholds", "more than 16; keep the first 16");
        }
        for (i, threshold) in self.thresholds.iter().enumerate() {
            if let Err(message) = threshold.check() {
                errors.say(&format!("thresholds[{i}]"), &message);
            }
        }
        self.callback.validate(&mut errors.0);
        match &self.next_tier {
            Some(next) if *next == self.name => {
                errors.say("next_tier", "is this queue itself; name another");
            }
            Some(next) if known.queues.as_ref().is_some_and(|k| !k.contains_key(next)) => {
                errors.say("next_tier", &format!("no such queue: {next}; create it first"));
            }
            _ => {}
        }
        errors.0
    }

    /// A way along overflow rules from this queue back to it, if there is one.
    fn overflow_cycle(&self, known: &Known) -> Option<Vec<Name>> {
        let queues = known.queues.as_ref()?;
        let mut seen = BTreeSet::new();
        let mut stack: Vec<Vec<Name>> =
            self.overflow_queues().into_iter().map(|q| vec![self.name.clone(), q]).collect();
        while let Some(path) = stack.pop() {
            let last = path.last()?.clone();
            if last == self.name {
                return Some(path);
            }
            if !seen.insert(last.clone()) {
                continue;
            }
            for next in queues.get(&last).into_iter().flatten() {
                let mut longer = path.clone();
                longer.push(next.clone());
                stack.push(longer);
            }
        }
        None
    }
}

#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn say(&mut self, field: &str, message: &str) {
        self.0.push(FieldError::new(field, message));
    }

    fn range(&mut self, field: &str, value: u32, least: u32, most: u32) {
        if !(least..=most).contains(&value) {
            self.say(field, &format!("is {value}; write {least} to {most}"));
        }
    }

    fn needs(&mut self, field: &str, needs: &[Need], known: &Known) {
        if needs.len() > MAX_NEEDS {
            self.say(field, &format!("more than {MAX_NEEDS} skills; keep the first {MAX_NEEDS}"));
        }
        let mut seen = BTreeSet::new();
        for (i, need) in needs.iter().enumerate() {
            let at = format!("{field}[{i}]");
            if !(1..=MAX_LEVEL).contains(&need.level) {
                self.say(&format!("{at}.level"), &format!("is {}; write 1 to {MAX_LEVEL}", need.level));
            }
            if !seen.insert(&need.skill) {
                self.say(&format!("{at}.skill"), &format!("{} is listed twice; keep one", need.skill));
            }
            if known.skills.as_ref().is_some_and(|k| !k.contains(&need.skill)) {
                self.say(&format!("{at}.skill"), &format!("no such skill: {}; create it first", need.skill));
            }
            if need.relax.len() > MAX_RELAX {
                self.say(&format!("{at}.relax"), &format!("more than {MAX_RELAX} steps"));
            }
            let falling = need.relax.windows(2).all(|w| w[0].after_ms < w[1].after_ms && w[0].level > w[1].level);
            if !falling || need.relax.first().is_some_and(|r| r.level >= need.level) {
                self.say(&format!("{at}.relax"), "times must rise and levels must fall from step to step");
            }
        }
    }

    fn hand_over(&mut self, model: ServiceModel, rules: &[HandOver]) {
        if !rules.is_empty() && model != ServiceModel::Hybrid {
            self.say("hand_over", "is for hybrid queues; write service_model: hybrid, or leave it out");
        }
        if rules.len() > 8 {
            self.say("hand_over", "more than 8 rules; keep the first 8");
        }
        for (i, rule) in rules.iter().enumerate() {
            let mut range = |field: &str, value: u32, least: u32, most: u32| {
                self.range(&format!("hand_over[{i}].{field}"), value, least, most);
            };
            match *rule {
                HandOver::Staffed | HandOver::Free => {}
                HandOver::EstimatedWait { at_most_ms } => range("at_most_ms", at_most_ms, 1_000, 86_400_000),
                HandOver::Class { at_least } => range("at_least", at_least.into(), 1, 3),
                HandOver::Asked { times } => range("times", times.into(), 1, 10),
            }
        }
    }

    fn overflow(&mut self, i: usize, rule: &OverflowRule, own: &Name, known: &Known) {
        let at = format!("overflow[{i}]");
        match rule.when {
            OverflowWhen::Waited { ms } => self.range(&format!("{at}.when.ms"), ms, 1_000, 86_400_000),
            OverflowWhen::Length { waiting } => self.range(&format!("{at}.when.waiting"), waiting, 1, 100_000),
            OverflowWhen::EstimatedWait { ms } => self.range(&format!("{at}.when.ms"), ms, 1_000, 86_400_000),
            OverflowWhen::NobodyStaffed | OverflowWhen::NobodyFree => {}
        }
        match &rule.then {
            OverflowAction::Queue { queue } if queue == own => {
                self.say(&format!("{at}.then.queue"), "is this queue itself; name another");
            }
            OverflowAction::Queue { queue } if known.queues.as_ref().is_some_and(|k| !k.contains_key(queue)) => {
                self.say(&format!("{at}.then.queue"), &format!("no such queue: {queue}; create it first"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skill::Relax;
    use crate::threshold::Metric;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn lines(queue: &QueueConfig, known: &Known) -> String {
        queue.validate(known).iter().map(|e| format!("{e}\n")).collect()
    }

    #[test]
    fn defaults_are_good() {
        assert_eq!(QueueConfig::new(name("billing")).validate(&Known::default()), []);
        let read: QueueConfig = serde_json::from_str(r#"{"name":"billing"}"#).unwrap();
        assert_eq!(read, QueueConfig::new(name("billing")));
    }

    #[test]
    fn all_errors_are_collected_with_their_fields() {
        let mut queue = QueueConfig::new(name("billing"));
        queue.ring_timeout_ms = 100;
        queue.max_wait_ms = 1;
        queue.service_level.target_pct = 101;
        queue.hand_over = vec![HandOver::Free, HandOver::Asked { times: 0 }];
        queue.required = vec![
            Need { skill: name("wizardry"), level: 0, relax: vec![] },
            Need { skill: name("router"), level: 3, relax: vec![Relax { after_ms: 10, level: 4 }] },
        ];
        queue.overflow = vec![
            OverflowRule {
                when: OverflowWhen::Waited { ms: 1 },
                then: OverflowAction::Queue { queue: name("billing") },
            },
            OverflowRule { when: OverflowWhen::NobodyStaffed, then: OverflowAction::Queue { queue: name("nowhere") } },
        ];
        queue.thresholds = vec![Threshold { metric: Metric::Waiting, raise: 5, clear: 9 }];
        let known =
            Known { skills: Some([name("router")].into()), queues: Some([(name("billing"), BTreeSet::new())].into()) };
        assert_eq!(
            lines(&queue, &known),
            "ring_timeout_ms: is 100; write 5000 to 120000\n\
             service_level.target_pct: is 101; write 1 to 100\n\
             max_wait_ms: is 1; write 10000 to 86400000\n\
             hand_over: is for hybrid queues; write service_model: hybrid, or leave it out\n\
             hand_over[1].times: is 0; write 1 to 10\n\
             required[0].level: is 0; write 1 to 10\n\
             required[0].skill: no such skill: wizardry; create it first\n\
             required[1].relax: times must rise and levels must fall from step to step\n\
             overflow[0].when.ms: is 1; write 1000 to 86400000\n\
             overflow[0].then.queue: is this queue itself; name another\n\
             overflow[1].then.queue: no such queue: nowhere; create it first\n\
             overflow: leads back to this queue: billing → billing; remove one of these\n\
             thresholds[0]: clears at 9 but raises at 5; it must clear below the value at which it raises\n"
        );
    }

    #[test]
    fn a_ring_of_overflows_is_found() {
        let mut queue = QueueConfig::new(name("a"));
        queue.overflow =
            vec![OverflowRule { when: OverflowWhen::NobodyStaffed, then: OverflowAction::Queue { queue: name("b") } }];
        let ring = [
            (name("a"), BTreeSet::new()),
            (name("b"), BTreeSet::from([name("c")])),
            (name("c"), BTreeSet::from([name("b"), name("a")])),
        ];
        let known = Known { skills: None, queues: Some(ring.into()) };
        assert_eq!(lines(&queue, &known), "overflow: leads back to this queue: a → b → c → a; remove one of these\n");
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let error = serde_json::from_str::<QueueConfig>(r#"{"name":"billing","ring_timeout":5}"#).unwrap_err();
        assert!(error.to_string().contains("ring_timeout"), "{error}");
    }
}
