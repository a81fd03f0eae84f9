//! The figures for people: a table beside the targets.

use crate::bench::Row;

/// A line of the table.
struct Line {
    what: String,
    target: String,
    node: String,
    yardstick: String,
}

fn find<'a>(rows: &'a [Row], scenario: &str, subject: &str) -> impl Iterator<Item = &'a Row> {
    let (scenario, subject) = (scenario.to_string(), subject.to_string());
    rows.iter().filter(move |row| row.scenario == scenario && row.subject == subject)
}

fn shown(value: Option<f64>, unit: &str) -> String {
    value.map_or(
        "–".into(),
        |value| if value >= 100.0 { format!("{value:.0}{unit}") } else { format!("{value:.2}{unit}") },
    )
}

/// Bridged calls without loss and with a delay below 5 ms (p99): the most that were seen.
fn most_clean(rows: &[Row], subject: &str) -> Option<u64> {
    let clean = |row: &&Row| {
        !row.starved
            && row.packets_lost == Some(0)
            && row.failed == 0
            && row.delay_p99_us.is_some_and(|us| us < 5_000.0)
    };
    find(rows, "bridge", subject).filter(clean).map(|row| row.calls).max()
}

/// The rows of issue 3 §4 for which there are figures.
fn lines(rows: &[Row]) -> Vec<Line> {
    let yardsticks = ["bare relay", "rtpengine", "kamailio"];
    let pair = |scenario: &str, value: &dyn Fn(&Row) -> String| {
        let of = |subject: &str| find(rows, scenario, subject).map(value).collect::<Vec<_>>().join("; ");
        let yardstick = yardsticks
            .iter()
            .filter_map(|name| Some(of(name)).filter(|text| !text.is_empty()).map(|text| format!("{name} {text}")));
        (of("node"), yardstick.collect::<Vec<_>>().join("; "))
    };
    let mut lines = Vec::new();
    let mut line = |what: &str, target: &str, scenario: &str, value: &dyn Fn(&Row) -> String| {
        let (node, yardstick) = pair(scenario, value);
        if !node.is_empty() || !yardstick.is_empty() {
            lines.push(Line { what: what.into(), target: target.into(), node, yardstick });
        }
    };
    let starved = |row: &Row| if row.starved { " (generator starved)" } else { "" };
    let per_100 =
        |row: &Row| format!("{} at {}{}", shown(row.cpu_percent_per_100_calls, " %"), row.calls, starved(row));
    // 100 calls are 10,000 packets a second: each microsecond of one is a percent of a core.
    let over_bare = |row: &Row| {
        let ratio = row.cpu_percent_per_100_calls.zip(row.bare_udp_us).map(|(percent, us)| percent / us);
        format!("{} at {} ({} bare)", shown(ratio, ""), row.calls, shown(row.bare_udp_us, " µs"))
    };
    let delay =
        |row: &Row| format!("{}/{} µs at {}", shown(row.delay_p50_us, ""), shown(row.delay_p99_us, ""), row.calls);
    let loss =
        |row: &Row| format!("{} of {} at {}", row.packets_lost.unwrap_or(0), row.packets_sent.unwrap_or(0), row.calls);
    line("bridge, CPU per 100 calls", "≤ 4 %", "bridge", &per_100);
    line("the same over what its packets cost bare", "≤ 2.7 (4 % / 1.5 µs)", "bridge", &over_bare);
    line("bridge, packets lost", "0", "bridge", &loss);
    line("bridge, delay p50/p99", "≤ 200/500 µs at 500", "bridge", &delay);
    line("bridge, memory per call", "≤ 40 KB", "bridge", &|row| {
        format!("{} at {}", shown(row.memory_kb_per_call, " KB"), row.calls)
    });
    line("bridge + recording, CPU per 100 calls", "≤ 6 %", "bridge+record", &per_100);
    line("the same over what its packets cost bare", "≤ 4 (6 % / 1.5 µs)", "bridge+record", &over_bare);
    line("bridge + recording, packets lost", "0", "bridge+record", &loss);
    line("IVR call, CPU", "≤ 3 ms", "ivr", &|row| {
        format!("{} at {}/s", shown(row.cpu_ms_per_call, " ms"), shown(row.rate_per_s, ""))
    });
    line("IVR, failed; INVITE→200 p99", "0; < 100 ms", "ivr", &|row| {
        format!("{} of {}; {}", row.failed, row.calls, shown(row.setup_p99_ms, " ms"))
    });
    line("set-ups without media", "≥ 1000/s", "setup", &|row| {
        format!(
            "{}, {} failed, p99 {}, {} CPU",
            shown(row.rate_per_s, "/s"),
            row.failed,
            shown(row.setup_p99_ms, " ms"),
            shown(row.cpu_ms_per_call, " ms")
        )
    });
    line("start to first SIP answer", "≤ 0.10 s", "start", &|row| shown(row.start_s, " s"));
    line("memory, empty", "≤ 25 MB", "start", &|row| shown(row.memory_kb.map(|kb| kb as f64 / 1_024.0), " MB"));
    line("500 callers, 50 agents: wait p50/p99, drained", "≤ 9.5/19 s, ≤ 29 s", "queue", &|row| {
        let lost = format!("{} lost, {} overtaken", row.failed, row.overtaken.unwrap_or(0));
        format!("{}/{}, {}, {lost}", shown(row.wait_p50_s, ""), shown(row.wait_p99_s, " s"), shown(row.drained_s, " s"))
    });
    let most = |subject| most_clean(rows, subject).map(|calls| calls.to_string());
    let yardstick = ["bare relay", "rtpengine"].iter().filter_map(|name| Some(format!("{name} {}", most(name)?)));
    lines.insert(
        0,
        Line {
            what: "bridge, most calls tried without loss, delay p99 < 5 ms".into(),
            target: "≥ 1600".into(),
            node: most("node").unwrap_or_default(),
            yardstick: yardstick.collect::<Vec<_>>().join("; "),
        },
    );
    lines
}

/// The table as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from("| | target | this node | yardstick |\n|---|---|---|---|\n");
    for line in lines(rows) {
        text.push_str(&format!("| {} | {} | {} | {} |\n", line.what, line.target, line.node, line.yardstick));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_of_one(row: Row) -> String {
        table(&[row])
    }

    #[test]
    fn the_table_shows_node_and_yardstick_side_by_side() {
        let row = |subject: &str, calls, cpu, lost| Row {
            calls,
            cpu_percent_per_100_calls: Some(cpu),
            packets_lost: Some(lost),
            packets_sent: Some(1_000),
            delay_p99_us: Some(400.0),
            bare_udp_us: Some(2.0),
            ..Row::new("bridge", subject)
        };
        let table = table(&[row("node", 500, 2.5, 0), row("node", 2_000, 2.0, 7), row("rtpengine", 500, 8.25, 0)]);
        assert!(table.contains("| ≥ 1600 | 500 | rtpengine 500 |"), "{table}");
        assert!(table.contains("| ≤ 4 % | 2.50 % at 500; 2.00 % at 2000 | rtpengine 8.25 % at 500 |"), "{table}");
        assert!(table.contains("| 1.25 at 500 (2.00 µs bare); 1.00 at 2000"), "{table}");
        assert!(!table.contains("IVR"), "{table}");
        let starved = table_of_one(Row { starved: true, ..row("node", 1_600, 1.0, 0) });
        assert!(starved.contains("| ≥ 1600 |  |  |") && starved.contains("1600 (generator starved)"), "{starved}");
    }
}
