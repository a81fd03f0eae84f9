//! Tests of a flow as texts: what is given, what the caller does, what is expected.
//!
//! ```text
//! test An English caller reaches technical support
//!   at 2026-11-20T10:00 Asia/Shanghai
//!   given caller +8613800138000
//!   given calendar office open
//!   given queue technical staffed 2 waiting 3 estimated 4m
//!   expect say greeting
//!   +2s dtmf 2
//!   expect language en
//!   +3s dtmf 1
//!   expect queue technical
//!   +30s agent answers
//!   +2m agent hangs up
//!   +1s dtmf 5
//!   expect score 5
//!   expect hangup
//! ```
//!
//! Time is virtual. What a caller does not do happens by itself: prompts end, waits run out,
//! hooks answer as given. An `expect` looks at what happened since the last line with a `+`.

mod hours;
mod judge;
mod play;
mod read;
#[cfg(test)]
mod tests;

pub use play::play;
pub use read::read;

use hotline_base::{Lang, Name};
use std::collections::BTreeMap;

use crate::Priority;
use crate::run::{Input, QueueView};
use hours::Hours;

/// A script file: one or more tests of one flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The tests, in the order in which they are written.
    pub tests: Vec<Test>,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// From 1.
    pub line: u32,
    lines: Vec<(u32, Line)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    At {
        local: chrono::NaiveDateTime,
        zone: chrono_tz::Tz,
    },
    Given(Given),
    /// After so many milliseconds.
    Then(u32, Act),
    Expect {
        not: bool,
        what: Expect,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Given {
    Caller(Option<String>),
    /// Sent on by this number, for this reason.
    Diverted(String, String),
    Calendar(Name, Opening),
    Queue(Name, QueueView),
    /// Whoever waits there is sent on so.
    SentOn(Name, Input),
    List(Name),
    Hook(String, Option<BTreeMap<String, String>>),
    CallbackRefused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Opening {
    Open,
    Closed,
    Hours(Hours),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// Time passes.
    Wait,
    Dtmf(String),
    /// The caller speaks so long after the tone of a voicemail.
    Speaks(u32),
    CallerHangsUp,
    Answers,
    OtherHangsUp,
    /// The circumstances change.
    Given(Given),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expect {
    /// The prompt of this name.
    SayPrompt(Name),
    /// A text that contains this.
    SayText(String),
    Step(Name),
    Menu,
    Queue(Name),
    Ring(Name),
    Voicemail,
    Callback,
    Transfer(String),
    Keys(String),
    Hook(String),
    Survey,
    Score(u8),
    Language(Lang),
    Category(Name),
    Priority(Priority),
    Variable(Name, String),
    Reject,
    Hangup,
}

/// How a script went.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Each test.
    pub tests: Vec<TestReport>,
}

/// How one call went.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TestReport {
    /// What it shows.
    pub name: String,
    /// What was expected and did not happen.
    pub failures: Vec<Failure>,
    /// What happened, one line each with its time.
    pub ladder: Vec<String>,
    /// The steps of the flow that the call came through.
    pub steps: Vec<String>,
}

/// An expectation that did not hold, or an act that was not possible.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// The line of the script, from 1.
    pub line: u32,
    /// What was expected and what was found.
    pub message: String,
}

impl Report {
    /// Whether every expectation held.
    pub fn passed(&self) -> bool {
        self.tests.iter().all(|t| t.failures.is_empty())
    }
}

impl std::fmt::Display for Report {
    /// The ladders, each with its verdict.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, test) in self.tests.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            let verdict = if test.failures.is_empty() { "ok" } else { "FAILED" };
            writeln!(f, "{verdict}  {}", test.name)?;
            for line in &test.ladder {
                writeln!(f, "{line}")?;
            }
            for failure in &test.failures {
                writeln!(f, "  line {}: {}", failure.line, failure.message)?;
            }
        }
        Ok(())
    }
}
