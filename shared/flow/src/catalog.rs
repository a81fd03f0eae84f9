//! The names that exist outside a flow.

use hotline_base::Name;
use std::collections::{BTreeMap, BTreeSet};

use crate::parse::fields::{Fields, Findings};
use crate::{Diagnostic, Flow, Pos, References, yaml};

/// The names that exist outside a flow. `None`: not known, any name is taken to exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Queues.
    pub queues: Option<BTreeSet<Name>>,
    /// Calendars.
    pub calendars: Option<BTreeSet<Name>>,
    /// Lists of callers' numbers.
    pub vip_lists: Option<BTreeSet<Name>>,
    /// Agents.
    pub agents: Option<BTreeSet<Name>>,
    /// Groups of agents.
    pub groups: Option<BTreeSet<Name>>,
    /// Skills.
    pub skills: Option<BTreeSet<Name>>,
    /// Uploaded recordings.
    pub audio: Option<BTreeSet<Name>>,
    /// Functions that hooks may name.
    pub functions: Option<BTreeSet<Name>>,
    /// Published flows, as they would be called.
    pub subflows: Option<BTreeMap<Name, Flow>>,
}

impl Catalog {
    /// A catalog in which every name exists.
    pub fn assume_all() -> Self {
        Self::default()
    }

    /// A catalog in which nothing exists yet.
    pub fn empty() -> Self {
        let none = || Some(BTreeSet::new());
        Self {
            queues: none(),
            calendars: none(),
            vip_lists: none(),
            agents: none(),
            groups: none(),
            skills: none(),
            audio: none(),
            functions: none(),
            subflows: Some(BTreeMap::new()),
        }
    }

    /// Reads a list of names for each kind, such as `queues: [technical, billing]`. A kind that
    /// is not named stays unknown; subflows are given as flows, not here.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut found = Findings::default();
        let root = yaml::read(text, &mut found.0)?;
        let mut catalog = Self::default();
        let Some(root) = root else {
            let at = Pos { line: 1, column: 1 };
            found.error(at, "empty", "the catalog is empty", "write lines such as 'queues: [technical, billing]'");
            return Err(found.0);
        };
        if let Some(mut fields) = Fields::of(&root, "catalog", &mut found) {
            let kinds = [
                ("queues", &mut catalog.queues),
                ("calendars", &mut catalog.calendars),
                ("vip_lists", &mut catalog.vip_lists),
                ("agents", &mut catalog.agents),
                ("groups", &mut catalog.groups),
                ("skills", &mut catalog.skills),
                ("audio", &mut catalog.audio),
                ("functions", &mut catalog.functions),
            ];
            for (kind, names) in kinds {
                if fields.keys().any(|key| key == kind) {
                    *names = Some(fields.name_list(kind, &mut found));
                }
            }
            fields.finish(&mut found);
        }
        if found.0.is_empty() { Ok(catalog) } else { Err(found.0) }
    }

    /// The kinds of names that `flow` uses and that are not known here: they are taken to exist.
    pub fn assumed(&self, flow: &Flow) -> Vec<&'static str> {
        let used = References::of(flow);
        let functions = used.hooks.iter().any(|target| target.parse::<Name>().is_ok());
        [
            ("queues", self.queues.is_none() && !used.queues.is_empty()),
            ("calendars", self.calendars.is_none() && !used.calendars.is_empty()),
            ("lists of callers", self.vip_lists.is_none() && !used.vip_lists.is_empty()),
            ("agents", self.agents.is_none() && !used.agents.is_empty()),
            ("groups", self.groups.is_none() && !used.groups.is_empty()),
            ("skills", self.skills.is_none() && !used.skills.is_empty()),
            ("recordings", self.audio.is_none() && !used.audio.is_empty()),
            ("functions", self.functions.is_none() && functions),
            ("subflows", self.subflows.is_none() && !used.subflows.is_empty()),
        ]
        .into_iter()
        .filter_map(|(kind, assumed)| assumed.then_some(kind))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_read() {
        let catalog = Catalog::parse("queues: [technical, billing]\ncalendars: office\naudio: []\n").unwrap();
        assert_eq!(catalog.queues.as_ref().map(BTreeSet::len), Some(2));
        assert_eq!(catalog.audio, Some(BTreeSet::new()));
        assert_eq!(catalog.agents, None);
        let demo = crate::parse(include_str!("../examples/demo.flow.yaml")).unwrap();
        assert_eq!(Catalog::assume_all().assumed(&demo), ["queues", "calendars"]);
        assert!(catalog.assumed(&demo).is_empty());
        let found = Catalog::parse("queue: a\nskills: {x: y}\n").unwrap_err();
        let codes: Vec<&str> = found.iter().map(|d| d.code.as_str()).collect();
        assert_eq!(codes, ["wrong-type", "unknown-field"]);
    }
}
