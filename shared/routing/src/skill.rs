//! Skills with levels, and what a contact needs of them.

use hotline_base::{Lang, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An agent's skills and their levels, 1 (beginner) to 10 (expert).
pub type Skills = BTreeMap<Name, u8>;

/// The highest level.
pub const MAX_LEVEL: u8 = 10;
/// Skills of one agent at most.
pub const MAX_SKILLS: usize = 24;
/// Needs of one contact, required and preferred each, at most.
pub const MAX_NEEDS: usize = 8;
/// Relaxations of one need at most.
pub const MAX_RELAX: usize = 4;

/// A skill that a contact needs, at a level that may fall while it waits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// Which skill.
    pub skill: Name,
    /// At least this level; 0: nothing is needed.
    pub level: u8,
    /// Lower levels that suffice after a wait, ascending in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relax: Vec<Relax>,
}

/// After this wait a lower level will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Relax {
    /// Milliseconds since the contact was enqueued.
    pub after_ms: u32,
    /// The level from then on; 0: the skill is no longer needed.
    pub level: u8,
}

impl Need {
    /// A need that never relaxes.
    pub fn new(skill: Name, level: u8) -> Self {
        Self { skill, level, relax: Vec::new() }
    }

    /// The level needed after a wait.
    pub fn level_after(&self, waited_ms: i64) -> u8 {
        self.relax.iter().filter(|r| i64::from(r.after_ms) <= waited_ms).map(|r| r.level).fold(self.level, u8::min)
    }

    /// Whether these skills meet the need after a wait.
    pub fn met_by(&self, skills: &Skills, waited_ms: i64) -> bool {
        skills.get(&self.skill).copied().unwrap_or(0) >= self.level_after(waited_ms)
    }
}

/// The skill that stands for speaking a language: `lang-zh`, `lang-en`.
pub fn language_skill(lang: Lang) -> Name {
    // Both texts are valid names; the fallback can never be taken.
    match format!("lang-{lang}").parse() {
        Ok(name) => name,
        Err(_) => unreachable!("a language code is always a valid name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_relaxes_step_by_step() {
        let skill: Name = "router".parse().unwrap();
        let need = Need {
            skill: skill.clone(),
            level: 5,
            relax: vec![Relax { after_ms: 1_000, level: 3 }, Relax { after_ms: 2_000, level: 0 }],
        };
        let levels = [0, 999, 1_000, 1_999, 2_000, 9_000].map(|t| need.level_after(t));
        assert_eq!(levels, [5, 5, 3, 3, 0, 0]);
        let skills: Skills = [(skill, 3)].into();
        assert!(!need.met_by(&skills, 0));
        assert!(need.met_by(&skills, 1_000));
        assert!(need.met_by(&Skills::new(), 2_000));
    }
}
