//! Findings the way rustc shows them: the place, the line, a caret and the remedy.

use hotline_flow::Diagnostic;
use hotline_flow::script::TestReport;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::Path;

struct Paint(bool);

impl Paint {
    fn new() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

const RED: &str = "1;31";
const YELLOW: &str = "1;33";
const GREEN: &str = "1;32";
const BLUE: &str = "1;34";
const BOLD: &str = "1";

/// All findings of a file.
pub(super) fn findings(path: &Path, text: &str, found: &[Diagnostic]) -> String {
    let paint = Paint::new();
    found.iter().map(|finding| one(path, text, finding, &paint)).collect()
}

fn one(path: &Path, text: &str, finding: &Diagnostic, paint: &Paint) -> String {
    let (word, colour) = if finding.is_error() { ("error", RED) } else { ("warning", YELLOW) };
    let number = finding.line.to_string();
    let margin = " ".repeat(number.len());
    let (bar, arrow) = (paint.with(BLUE, "|"), paint.with(BLUE, "-->"));
    let mut shown = format!(
        "{}{}\n{margin}{arrow} {}:{}:{}\n",
        paint.with(colour, &format!("{word}[{}]", finding.code)),
        paint.with(BOLD, &format!(": {}", finding.message)),
        path.display(),
        finding.line,
        finding.column,
    );
    let line = usize::try_from(finding.line).ok().and_then(|n| text.lines().nth(n.saturating_sub(1)));
    if let Some(line) = line {
        let line: String = line.chars().take(200).map(|c| if c == '\t' { ' ' } else { c }).collect();
        let column = usize::try_from(finding.column).unwrap_or(1).saturating_sub(1);
        let before: usize = line.chars().take(column).map(width).sum();
        let marked: usize = line.chars().skip(column).take_while(|c| !" ,:]}".contains(*c)).map(width).sum();
        let _ = writeln!(shown, "{margin} {bar}");
        let _ = writeln!(shown, "{} {bar} {line}", paint.with(BLUE, &number));
        let carets = paint.with(colour, &"^".repeat(marked.clamp(1, 60)));
        let _ =
            writeln!(shown, "{margin} {bar} {}{carets} {}", " ".repeat(before), paint.with(colour, &finding.remedy));
    } else if !finding.remedy.is_empty() {
        let _ = writeln!(shown, "{margin} = {}", finding.remedy);
    }
    shown.push('\n');
    shown
}

/// Columns that a character takes in a terminal.
fn width(c: char) -> usize {
    let wide = matches!(c,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}');
    if wide { 2 } else { 1 }
}

/// One test with its verdict and, where asked for, its ladder.
pub(super) fn test(path: &Path, test: &TestReport, ladder: bool) -> String {
    let paint = Paint::new();
    let good = test.failures.is_empty();
    let verdict = if good { paint.with(GREEN, "ok    ") } else { paint.with(RED, "FAILED") };
    let mut shown = format!("{verdict} {}\n", test.name);
    if ladder {
        for line in &test.ladder {
            let _ = writeln!(shown, "{line}");
        }
    }
    for failure in &test.failures {
        let place = format!("{}:{}", path.display(), failure.line);
        let _ = writeln!(shown, "  {} {}: {}", paint.with(RED, "✗"), place, failure.message);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_flow::{Catalog, check, parse};

    #[test]
    fn the_caret_stands_under_the_word_whatever_its_width() {
        let text = "flow: a\nlanguages: [zh]\nstart: first\nsteps:\n  first: {note: 您好, hangup: hallo}\n";
        let found = check(&parse(text).unwrap(), &Catalog::assume_all());
        let shown = one(Path::new("a.flow.yaml"), text, &found[0], &Paint(false));
        // 28 characters stand before the word, two of them wide.
        let caret = format!("  | {}^^^^^ add it under 'prompts:'\n", " ".repeat(30));
        assert!(shown.contains(" --> a.flow.yaml:5:29\n"), "{shown}");
        assert!(shown.contains("5 |   first: {note: 您好, hangup: hallo}\n") && shown.contains(&caret), "{shown}");
    }

    #[test]
    fn a_finding_beyond_the_text_is_shown_without_a_line() {
        let found = parse("").unwrap_err();
        let shown = one(Path::new("x"), "", &found[0], &Paint(false));
        assert!(shown.contains("error[empty]: the flow is empty") && shown.contains(" = start with"));
    }
}
