//! Progress on the terminal: one line a step, with its time.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A step under way.
pub struct Step {
    name: String,
    started: Instant,
}

/// Begins a step and shows its name.
pub fn step(name: &str) -> Step {
    if std::io::stdout().is_terminal() {
        print!("  … {name}");
        let _ = std::io::stdout().flush();
    } else {
        println!("  … {name}");
    }
    Step { name: name.into(), started: Instant::now() }
}

impl Step {
    /// Ends it well; `note` says what was found or done.
    pub fn done(self, note: &str) {
        self.end("✓", note);
    }

    /// Ends it badly; the error follows elsewhere.
    pub fn failed(self) {
        self.end("✗", "");
    }

    fn end(self, mark: &str, note: &str) {
        let back = if std::io::stdout().is_terminal() { "\r\x1b[K" } else { "" };
        let took = seconds(self.started.elapsed());
        println!("{back}  {mark} {:<28} {took:>8}  {note}", self.name);
    }
}

/// Runs a step to its end; what it returns beside its value is the note.
pub fn stepped<T>(name: &str, work: impl FnOnce() -> anyhow::Result<(T, String)>) -> anyhow::Result<T> {
    let step = step(name);
    match work() {
        Ok((value, note)) => {
            step.done(&note);
            Ok(value)
        }
        Err(error) => {
            step.failed();
            Err(error)
        }
    }
}

/// `3.2 s`, `2 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    if s < 60.0 { format!("{s:.1} s") } else { format!("{} min {:02} s", s as u64 / 60, s as u64 % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_read_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(3_240)), "3.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 05 s");
    }
}
