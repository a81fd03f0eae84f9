//! What is wrong with a flow, where, and what to do about it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place in the text of a flow; any two places are equal, so that models compare by meaning.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Pos {
    /// From 1; 0: not known.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl PartialEq for Pos {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Pos {}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The flow cannot be published.
    Error,
    /// The flow works, and somebody should look at this.
    Warning,
}

/// One finding in a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Stable, kebab-case: `unknown-step`.
    pub code: String,
    /// What is wrong, naming the field.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Error or warning.
    pub severity: Severity,
}

impl Diagnostic {
    pub(crate) fn error(at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(at, code, message, remedy, Severity::Error)
    }

    pub(crate) fn warning(at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(at, code, message, remedy, Severity::Warning)
    }

    fn new(at: Pos, code: &str, message: impl Into<String>, remedy: impl Into<String>, severity: Severity) -> Self {
        Self {
            line: at.line.max(1),
            column: at.column.max(1),
            code: code.into(),
            message: message.into(),
            remedy: remedy.into(),
            severity,
        }
    }

    /// Whether it forbids publishing.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}[{}]: {}", self.line, self.column, self.code, self.message)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}
