//! What is published: a flow with the flows it calls, in canonical text, named by its hash.

use hotline_base::Name;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;

use crate::{Diagnostic, Flow, Pos, References, StepKind, format, parse};

/// SHA-256 of the canonical text, in hex: names an immutable version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowHash(String);

impl FlowHash {
    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FlowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An immutable version: the flow and every flow it calls, directly or through others.
///
/// Serialises as its canonical text, from which it is compiled again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Compiled {
    main: Name,
    flows: BTreeMap<Name, Flow>,
    text: String,
    hash: FlowHash,
}

impl Compiled {
    /// Joins a flow with those of `subflows` that it needs. Fails where one is missing.
    pub fn new(flow: Flow, subflows: &BTreeMap<Name, Flow>) -> Result<Self, Vec<Diagnostic>> {
        let main = flow.name.clone();
        let mut flows = BTreeMap::from([(main.clone(), flow)]);
        let mut open = vec![main.clone()];
        let mut missing = Vec::new();
        while let Some(name) = open.pop() {
            let wanted: Vec<(Name, Pos)> = flows.get(&name).map(calls).unwrap_or_default();
            for (name, at) in wanted {
                if flows.contains_key(&name) {
                    continue;
                }
                match subflows.get(&name) {
                    Some(sub) => {
                        flows.insert(name.clone(), sub.clone());
                        open.push(name);
                    }
                    None => missing.push(Diagnostic::error(
                        at,
                        "unknown-subflow",
                        format!("there is no flow {name} to call"),
                        "publish it first, or correct the name",
                    )),
                }
            }
        }
        if missing.is_empty() { Ok(Self::of(main, flows)) } else { Err(missing) }
    }

    fn of(main: Name, flows: BTreeMap<Name, Flow>) -> Self {
        let mut text = String::new();
        let first = flows.get(&main).into_iter();
        for flow in first.chain(flows.values().filter(|f| f.name != main)) {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&format(flow));
        }
        let hash = FlowHash(hex::encode(Sha256::digest(text.as_bytes())));
        Self { main, flows, text, hash }
    }

    /// Compiles the text of a version again, as [`Compiled::text`] gave it.
    pub fn load(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut main = None;
        let mut flows = BTreeMap::new();
        for document in text.split("\n---\n") {
            let flow = parse(document)?;
            main.get_or_insert_with(|| flow.name.clone());
            flows.insert(flow.name.clone(), flow);
        }
        match main {
            Some(main) => Ok(Self::of(main, flows)),
            None => Err(Vec::new()),
        }
    }

    /// The canonical text: the flow, then its subflows by name, as YAML documents.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The hash of the canonical text.
    pub fn hash(&self) -> &FlowHash {
        &self.hash
    }

    /// The name of the flow that a call starts in.
    pub fn name(&self) -> &Name {
        &self.main
    }

    /// One of its flows.
    pub fn flow(&self, name: &Name) -> Option<&Flow> {
        self.flows.get(name)
    }

    /// The flow that a call starts in and its subflows, by name.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }

    /// The names outside that the flows use.
    pub fn references(&self) -> References {
        let mut all = References::default();
        for flow in self.flows.values() {
            all.merge(References::of(flow));
        }
        all
    }
}

/// The flows that `flow` calls, and where.
pub(crate) fn calls(flow: &Flow) -> Vec<(Name, Pos)> {
    let call = |kind: &StepKind| match kind {
        StepKind::Subflow(sub) => Some((sub.flow.name.clone(), sub.flow.at)),
        _ => None,
    };
    flow.steps.values().filter_map(|s| call(&s.kind)).collect()
}

impl From<Compiled> for String {
    fn from(compiled: Compiled) -> String {
        compiled.text
    }
}

impl TryFrom<String> for Compiled {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::load(&text).map_err(|d| d.first().map_or_else(|| "an empty flow".into(), ToString::to_string))
    }
}
