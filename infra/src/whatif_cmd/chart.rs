//! The service level over time, three lines, as SVG.

use serde_json::Value;
use std::collections::BTreeMap;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 50.0;
const BOTTOM: f64 = 310.0;
const TOP: f64 = 40.0;
const RUNS: [(&str, &str, &str); 3] =
    [("recorded", "recorded", "#777777"), ("present", "run again", "#1f6fb4"), ("changed", "new rules", "#d1571b")];

/// Draws the comparison.
pub fn draw(answer: &Value) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">Service level by quarter of an hour</text>\n"
    );
    let points = |key: &str| -> BTreeMap<i64, (i64, Option<f64>)> {
        let intervals = answer[key]["intervals"].as_array().into_iter().flatten();
        let read = intervals.filter_map(|interval| {
            let start = interval["start"].as_i64()?;
            Some((start, (interval["offered"].as_i64().unwrap_or(0), interval["service_level_pct"].as_f64())))
        });
        read.collect()
    };
    let all: Vec<_> = RUNS.iter().map(|(key, ..)| points(key)).collect();
    let starts: Vec<i64> = all.iter().flat_map(|run| run.keys().copied()).collect();
    let (Some(first), Some(last)) = (starts.iter().min().copied(), starts.iter().max().copied()) else {
        svg.push_str("<text x=\"400\" y=\"180\">no calls in this period</text>\n</svg>\n");
        return svg;
    };
    let span = (last - first).max(1) as f64;
    let x = |at: i64| LEFT + (at - first) as f64 / span * (WIDTH - LEFT - 30.0);
    let y = |pct: f64| BOTTOM - pct.clamp(0.0, 100.0) / 100.0 * (BOTTOM - TOP);
    for pct in [0.0, 20.0, 40.0, 60.0, 80.0, 100.0] {
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{2:.0}\" y=\"{3:.1}\" text-anchor=\"end\">{pct:.0} %</text>\n",
            WIDTH - 30.0,
            y(pct),
            LEFT - 6.0,
            y(pct) + 4.0
        ));
    }
    let most = all.first().into_iter().flat_map(|run| run.values().map(|(offered, _)| *offered)).max().unwrap_or(1);
    for (at, (offered, _)) in all.first().into_iter().flatten() {
        let height = *offered as f64 / most.max(1) as f64 * 60.0;
        svg.push_str(&format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6\" height=\"{height:.1}\" fill=\"#eeeeee\"/>\n",
            x(*at) - 3.0,
            BOTTOM - height
        ));
    }
    for (n, ((_, title, colour), run)) in RUNS.iter().zip(&all).enumerate() {
        let line: Vec<String> =
            run.iter().filter_map(|(at, (_, pct))| Some(format!("{:.1},{:.1}", x(*at), y((*pct)?)))).collect();
        svg.push_str(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            line.join(" ")
        ));
        let at = 420.0 + n as f64 * 150.0;
        svg.push_str(&format!(
            "<rect x=\"{at}\" y=\"12\" width=\"12\" height=\"3\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"20\">{title}</text>\n",
            at + 18.0
        ));
    }
    for part in 0..=6 {
        let at = first + (span / 6.0 * f64::from(part)) as i64;
        let time = hotline_base::Timestamp::from_millis(at).to_string();
        let label = time.get(5..16).unwrap_or_default().replace('T', " ");
        svg.push_str(&format!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>\n",
            x(at),
            BOTTOM + 20.0
        ));
    }
    svg.push_str(&format!(
        "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#777777\">Grey bars: calls that came, {most} at most. Times are UTC.</text>\n</svg>\n",
        BOTTOM + 42.0
    ));
    svg
}
