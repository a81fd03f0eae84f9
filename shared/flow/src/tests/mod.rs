//! Tests of the language as a whole.

mod check;
mod parse;
mod props;
mod run;

use crate::*;

pub(super) const DEMO: &str = include_str!("../../examples/demo.flow.yaml");

pub(super) fn name(text: &str) -> hotline_base::Name {
    text.parse().unwrap()
}

/// A flow of the given steps, with prompts `hello` and `question`.
pub(super) fn small(steps: &str) -> String {
    let head = "flow: small\nlanguages: [zh, en]\nstart: first\nprompts:\n  hello:\n    zh: 您好\n    en: Hello\n  question:\n    zh: 请按键\n    en: Press a key\nsteps:\n";
    format!("{head}{steps}\n")
}

/// Findings as lines, with the place where they were found.
pub(super) fn lines(found: &[Diagnostic]) -> String {
    found.iter().map(|d| format!("{d}\n")).collect()
}

/// What `check` finds in a flow of the given steps; unused prompts are left out.
pub(super) fn checked(steps: &str, catalog: &Catalog) -> String {
    let flow = crate::parse(&small(steps)).unwrap_or_else(|found| panic!("{}", lines(&found)));
    let found: Vec<Diagnostic> =
        crate::check(&flow, catalog).into_iter().filter(|d| d.code != "unused-prompt").collect();
    lines(&found)
}
