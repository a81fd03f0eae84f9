//! The flow language: what a call hears and does until an agent has it.
//!
//! A flow is a YAML text in git. [`parse`] reads it, [`check`] proves that it can be published,
//! [`Compiled`] pins it with the flows it calls, [`run`] walks it turn by turn, and [`speech`]
//! lists what to synthesise. Pure: no clock, no I/O.

mod catalog;
mod check;
mod compile;
mod diag;
mod diff;
mod format;
mod graph;
mod model;
mod parse;
mod prompt;
mod render;
pub mod run;
pub mod script;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

pub use catalog::Catalog;
pub use check::check;
pub use compile::{Compiled, FlowHash};
pub use diag::{Diagnostic, Pos, Severity};
pub use diff::{Change, ChangeKind, diff};
pub use format::{format, format_keeping_comments};
pub use model::*;
pub use parse::{MAX_PROMPTS, MAX_STEPS, parse};
pub use prompt::{
    Announcement, Builtin, FallbackAsk, Part, Piece, PromptKey, PromptRef, QueueNumber, References, Speech, SpeechItem,
    number_text, pieces, speech,
};
pub use render::render;
pub use units::{Key, Millis};
