//! The other rules: what differs from the present configuration.

use hotline_base::{AgentId, FieldError, Name};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

use super::{MAX_AGENTS, Member, Moment, Period, Shift};
use crate::QueueConfig;
use crate::agent::MAX_QUEUES;
use crate::queue::Known;
use crate::skill::{MAX_LEVEL, MAX_SKILLS, Skills};

/// What is different. Everything is optional; what is not named stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// By queue, the fields of its configuration that change.
    #[serde(default)]
    pub queues: BTreeMap<Name, Value>,
    /// By agent (id, SIP user name, or its part before the dot), what changes.
    #[serde(default)]
    pub agents: BTreeMap<String, AgentRule>,
    /// Agents who come or go.
    #[serde(default)]
    pub staffing: Vec<Staffing>,
}

/// What is different about an agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRule {
    /// All their skills, with levels.
    pub skills: Option<Skills>,
    /// All their queues, with preferences (lower first).
    pub queues: Option<BTreeMap<Name, u8>>,
}

/// Agents who come or go. One of `add` and `remove`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staffing {
    /// So many more agents.
    pub add: Option<u32>,
    /// The queues of those added.
    #[serde(default)]
    pub queues: Vec<Name>,
    /// The skills of those added.
    #[serde(default)]
    pub skills: Skills,
    /// These agents are not there.
    #[serde(default)]
    pub remove: Vec<String>,
    /// From then on; from the beginning where absent.
    pub from: Option<Moment>,
    /// Until then; to the end where absent.
    pub to: Option<Moment>,
}

/// The configuration after the changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// All queues.
    pub queues: BTreeMap<Name, QueueConfig>,
    /// All agents.
    pub staff: Vec<Member>,
}

impl Rules {
    /// Changes the present configuration.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn apply(&self, present: &BTreeMap<Name, QueueConfig>, period: &Period) -> Result<Changed, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut changed = Changed { queues: present.clone(), staff: period.staff.clone() };
        self.queues(&mut changed.queues, &mut errors);
        for (name, rule) in &self.agents {
            self.agent(name, rule, &mut changed, &mut errors);
        }
        for (i, staffing) in self.staffing.iter().enumerate() {
            change_staff(i, staffing, &mut changed, period, &mut errors);
        }
        if changed.staff.len() > MAX_AGENTS {
            errors.push(FieldError::new("staffing", format!("more than {MAX_AGENTS} agents in all; add fewer")));
        }
        if errors.is_empty() { Ok(changed) } else { Err(errors) }
    }

    fn queues(&self, queues: &mut BTreeMap<Name, QueueConfig>, errors: &mut Vec<FieldError>) {
        for (name, patch) in &self.queues {
            let at = format!("queues.{name}");
            let Some(config) = queues.get(name) else {
                let known: Vec<&str> = queues.keys().map(Name::as_str).collect();
                errors.push(FieldError::new(at, format!("no such queue; there are: {}", known.join(", "))));
                continue;
            };
            match patched(config, patch) {
                Ok(config) => {
                    queues.insert(name.clone(), config);
                }
                Err(message) => errors.push(FieldError::new(at, message)),
            }
        }
        let leads = queues.iter().map(|(name, config)| (name.clone(), config.overflow_queues())).collect();
        let known = Known { skills: None, queues: Some(leads) };
        for name in self.queues.keys() {
            for error in queues.get(name).map(|config| config.validate(&known)).unwrap_or_default() {
                errors.push(FieldError::new(format!("queues.{name}.{}", error.field), error.message));
            }
        }
    }

    fn agent(&self, name: &str, rule: &AgentRule, changed: &mut Changed, errors: &mut Vec<FieldError>) {
        let at = format!("agents.{name}");
        if let Some(skills) = &rule.skills {
            check_skills(&format!("{at}.skills"), skills, errors);
        }
        if let Some(queues) = &rule.queues {
            check_queues(&format!("{at}.queues"), queues.keys(), &changed.queues, errors);
        }
        let Some(member) = changed.staff.iter_mut().find(|member| is_called(member, name)) else {
            errors
                .push(FieldError::new(at, "nobody of this name was there in the period; write an id or SIP user name"));
            return;
        };
        if let Some(skills) = &rule.skills {
            member.skills = skills.clone();
        }
        if let Some(queues) = &rule.queues {
            member.queues = queues.clone();
        }
    }
}

fn is_called(member: &Member, name: &str) -> bool {
    member.name == name || member.name.split('.').next() == Some(name) || member.agent.to_string() == name
}

fn patched(config: &QueueConfig, patch: &Value) -> Result<QueueConfig, String> {
    let Value::Object(patch) = patch else {
        return Err("not a list of fields; write such as ring_timeout_ms: 15000".into());
    };
    let mut whole = serde_json::to_value(config).map_err(|error| error.to_string())?;
    if let Some(map) = whole.as_object_mut() {
        for (field, value) in patch {
            if field == "name" {
                return Err("name cannot be changed; leave it out".into());
            }
            if !map.contains_key(field) {
                let known: Vec<&str> = map.keys().map(String::as_str).filter(|key| *key != "name").collect();
                return Err(format!("unknown field {field}; there are: {}", known.join(", ")));
            }
            let before = map.insert(field.clone(), value.clone());
            // One field at a time, so that the one that is wrong is named.
            if let Err(error) = serde_json::from_value::<QueueConfig>(Value::Object(map.clone())) {
                map.insert(field.clone(), before.unwrap_or_default());
                return Err(format!("{field}: {error}"));
            }
        }
    }
    serde_json::from_value(whole).map_err(|error| error.to_string())
}

fn check_skills(at: &str, skills: &Skills, errors: &mut Vec<FieldError>) {
    if skills.len() > MAX_SKILLS {
        errors.push(FieldError::new(at, format!("more than {MAX_SKILLS} skills")));
    }
    for (skill, level) in skills.iter().filter(|(_, level)| !(1..=MAX_LEVEL).contains(*level)) {
        errors.push(FieldError::new(format!("{at}.{skill}"), format!("is {level}; write 1 to {MAX_LEVEL}")));
    }
}

fn check_queues<'a>(
    at: &str,
    queues: impl Iterator<Item = &'a Name>,
    known: &BTreeMap<Name, QueueConfig>,
    errors: &mut Vec<FieldError>,
) {
    let mut count = 0;
    for queue in queues {
        count += 1;
        if !known.contains_key(queue) {
            errors.push(FieldError::new(at, format!("no such queue: {queue}")));
        }
    }
    if count > MAX_QUEUES {
        errors.push(FieldError::new(at, format!("more than {MAX_QUEUES} queues")));
    }
}

fn change_staff(i: usize, staffing: &Staffing, changed: &mut Changed, period: &Period, errors: &mut Vec<FieldError>) {
    let at = format!("staffing[{i}]");
    // Whoever is there at the end of the period stays for the calls that wait.
    let end = period.to.plus_ms(3_600_000);
    let from = staffing.from.map_or(period.from, |moment| moment.0);
    let to = staffing.to.map_or(end, |moment| moment.0);
    if to <= from {
        errors.push(FieldError::new(format!("{at}.to"), "not after `from`"));
        return;
    }
    match (staffing.add, staffing.remove.is_empty()) {
        (Some(_), false) => errors.push(FieldError::new(at, "both add and remove; write two entries")),
        (None, true) => errors.push(FieldError::new(at, "neither add nor remove; write one of them")),
        (Some(count), true) => {
            if staffing.queues.is_empty() {
                errors.push(FieldError::new(format!("{at}.queues"), "empty; name the queues that they serve"));
            }
            if !(1..=MAX_AGENTS as u32).contains(&count) {
                errors.push(FieldError::new(format!("{at}.add"), format!("is {count}; write 1 to {MAX_AGENTS}")));
                return;
            }
            check_queues(&format!("{at}.queues"), staffing.queues.iter(), &changed.queues, errors);
            check_skills(&format!("{at}.skills"), &staffing.skills, errors);
            for n in 0..count {
                changed.staff.push(Member {
                    // Above every id that is made from a moment and randomness.
                    agent: AgentId::from_u128(u128::MAX - ((i as u128) << 32) - u128::from(n)),
                    name: format!("added-{i}-{n}"),
                    skills: staffing.skills.clone(),
                    queues: staffing.queues.iter().map(|queue| (queue.clone(), 0)).collect(),
                    shifts: vec![Shift { from, to }],
                    occupied_ms: 0,
                });
            }
        }
        (None, false) => {
            for name in &staffing.remove {
                match changed.staff.iter_mut().find(|member| is_called(member, name)) {
                    Some(member) => member.shifts = without(&member.shifts, Shift { from, to }),
                    None => errors.push(FieldError::new(
                        format!("{at}.remove"),
                        format!("{name} was not there in the period; write an id or SIP user name"),
                    )),
                }
            }
        }
    }
}

/// The shifts without what lies in `gap`.
fn without(shifts: &[Shift], gap: Shift) -> Vec<Shift> {
    let parts = shifts.iter().flat_map(|shift| {
        [Shift { from: shift.from, to: shift.to.min(gap.from) }, Shift { from: shift.from.max(gap.to), to: shift.to }]
    });
    parts.filter(|part| part.to > part.from).collect()
}
