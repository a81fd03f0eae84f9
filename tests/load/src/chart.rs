//! The figures for eyes: bars, the node's beside the yardstick's.

use crate::bench::Row;

/// Columns of the longest bar.
const WIDTH: usize = 50;

/// Bars of one figure, each scenario's rows together; empty where no row has it.
///
/// A figure that spans more than two decades is drawn by its logarithm, which the title says.
fn bars(title: &str, unit: &str, rows: &[Row], scenarios: &[&str], value: impl Fn(&Row) -> Option<f64>) -> String {
    let shown: Vec<(String, f64)> = scenarios
        .iter()
        .flat_map(|scenario| rows.iter().filter(move |row| row.scenario == *scenario))
        .filter_map(|row| {
            let value = value(row).filter(|value| value.is_finite() && *value > 0.0)?;
            let recorded = if row.scenario.ends_with("record") { ", recorded" } else { "" };
            Some((format!("{} {}{recorded}", row.subject, row.calls), value))
        })
        .collect();
    let most = shown.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let least = shown.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    if shown.is_empty() {
        return String::new();
    }
    let logarithmic = most / least > 100.0;
    let share = |value: f64| {
        if logarithmic { (value / least * 10.0).log10() / (most / least * 10.0).log10() } else { value / most }
    };
    let names = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{title}, {unit}{}\n", if logarithmic { " (logarithmic)" } else { "" });
    for (name, value) in &shown {
        let length = ((share(*value) * WIDTH as f64).round() as usize).clamp(1, WIDTH);
        let figure = if *value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        text.push_str(&format!("  {name:<names$} {} {figure}\n", "█".repeat(length)));
    }
    text.push('\n');
    text
}

/// The charts of all rows that have figures.
pub fn charts(rows: &[Row]) -> String {
    let audio = ["bridge", "bridge+record"];
    [
        bars("CPU per 100 calls", "% of a core", rows, &audio, |row| row.cpu_percent_per_100_calls),
        bars("delay p50", "µs", rows, &audio, |row| row.delay_p50_us),
        bars("delay p99", "µs", rows, &audio, |row| row.delay_p99_us),
        bars("CPU per set-up", "ms", rows, &["setup"], |row| row.cpu_ms_per_call),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(scenario: &str, subject: &str, calls: u64, cpu: f64) -> Row {
        Row { calls, cpu_percent_per_100_calls: Some(cpu), ..Row::new(scenario, subject) }
    }

    #[test]
    fn bars_are_as_long_as_their_figures() {
        let rows = [
            row("bridge", "node", 500, 5.0),
            row("bridge", "rtpengine", 500, 10.0),
            row("bridge+record", "node", 500, 7.5),
        ];
        let text = charts(&rows);
        let length = |name: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(name));
            line.map_or(0, |line| line.matches('█').count())
        };
        assert_eq!(
            [length("node 500 "), length("rtpengine 500"), length("node 500, recorded")],
            [25, 50, 38],
            "{text}"
        );
        assert!(text.starts_with("CPU per 100 calls, % of a core\n"), "{text}");
        assert_eq!(charts(&[Row::new("queue", "node")]), "");
    }

    #[test]
    fn figures_far_apart_are_drawn_by_their_logarithm() {
        let text = charts(&[row("bridge", "node", 1, 1.0), row("bridge", "rtpengine", 1, 1_000.0)]);
        assert!(text.contains("(logarithmic)"), "{text}");
        assert!(text.lines().filter(|line| line.contains('█')).all(|line| line.matches('█').count() >= 10), "{text}");
    }
}
