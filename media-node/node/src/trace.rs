//! SIP traces on demand: of the next calls to or from a number.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which calls are traced.
#[derive(Debug, Default)]
pub struct Trace {
    left: AtomicUsize,
    number: Mutex<String>,
}

impl Trace {
    /// Traces the next `calls` calls to or from `number`; an empty number means all.
    pub fn arm(&self, number: &str, calls: usize) {
        *self.number.lock().unwrap_or_else(|e| e.into_inner()) = number.to_string();
        self.left.store(calls, Ordering::Relaxed);
    }

    /// Whether no more calls are waited for.
    pub fn is_idle(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Whether a call that arrives is to be traced.
    pub fn wants(&self, did: &str, from: &str) -> bool {
        if self.left.load(Ordering::Relaxed) == 0 {
            return false;
        }
        {
            let number = self.number.lock().unwrap_or_else(|e| e.into_inner());
            if !number.is_empty() && *number != did && *number != from {
                return false;
            }
        }
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// A message for a log: the first line and the headers, without credentials and numbers' middles.
pub fn redacted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        let name = line.split(':').next().unwrap_or_default().trim();
        if name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("proxy-authorization") {
            out.push_str(name);
            out.push_str(": …\n");
            continue;
        }
        hide_numbers(line, &mut out);
        out.push('\n');
    }
    out
}

/// Copies a line; of runs of eight or more digits only the first three and last two remain.
fn hide_numbers(line: &str, out: &mut String) {
    let mut digits = String::new();
    let flush = |digits: &mut String, out: &mut String| {
        match (digits.get(..3), digits.get(digits.len().saturating_sub(2)..)) {
            (Some(head), Some(tail)) if digits.len() >= 8 => {
                out.push_str(head);
                out.push('…');
                out.push_str(tail);
            }
            _ => out.push_str(digits),
        }
        digits.clear();
    };
    for c in line.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
        } else {
            flush(&mut digits, out);
            out.push(c);
        }
    }
    flush(&mut digits, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_hides_numbers_and_credentials() {
        let shown = redacted(
            b"INVITE sip:600@h SIP/2.0\r\nFrom: <sip:+8613800138000@h>;tag=1\r\n\
              Authorization: Digest username=\"fang\", response=\"abc\"\r\n\r\nv=0\r\n",
        );
        assert_eq!(shown, "INVITE sip:600@h SIP/2.0\nFrom: <sip:+861…00@h>;tag=1\nAuthorization: …\n");
    }

    #[test]
    fn as_many_calls_as_were_asked_for() {
        let trace = Trace::default();
        assert!(!trace.wants("600", "a"));
        trace.arm("600", 2);
        assert!(!trace.wants("700", "a"));
        assert!(trace.wants("600", "a"));
        assert!(trace.wants("1", "600"));
        assert!(!trace.wants("600", "a"));
    }
}
