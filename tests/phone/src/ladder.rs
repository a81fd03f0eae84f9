//! The SIP messages of a phone, in order, for people.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Messages kept; later ones are counted only.
const LINES: usize = 10_000;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderLine {
    /// Since the phone started.
    pub at: Duration,
    /// We sent it; else we received it.
    pub sent: bool,
    /// The other side.
    pub peer: SocketAddr,
    /// Such as `INVITE sip:600@127.0.0.1` or `200 OK (INVITE)`.
    pub summary: String,
}

impl fmt::Display for LadderLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.sent { "-->" } else { "<--" };
        write!(f, "{:>8.3} s  {arrow} {}  {}", self.at.as_secs_f64(), self.peer, self.summary)
    }
}

/// All messages.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    lines: Vec<LadderLine>,
    left_out: usize,
}

impl Ladder {
    /// The messages, oldest first.
    pub fn lines(&self) -> &[LadderLine] {
        &self.lines
    }

    pub(crate) fn add(&mut self, at: Duration, sent: bool, peer: SocketAddr, message: &[u8]) {
        if self.lines.len() >= LINES {
            self.left_out += 1;
            return;
        }
        self.lines.push(LadderLine { at, sent, peer, summary: summary(message) });
    }
}

impl fmt::Display for Ladder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        if self.left_out > 0 {
            writeln!(f, "... and {} more", self.left_out)?;
        }
        Ok(())
    }
}

fn summary(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let first = text.lines().next().unwrap_or_default();
    match first.strip_prefix("SIP/2.0 ") {
        Some(status) => {
            let method = text
                .lines()
                .find_map(|line| line.strip_prefix("CSeq:"))
                .and_then(|cseq| cseq.trim().split_once(' '))
                .map_or("", |(_, method)| method.trim());
            format!("{status} ({method})")
        }
        None => first.trim_end_matches(" SIP/2.0").to_owned(),
    }
}
