//! Draws a flow as an SVG that a browser, a wiki or a console shows as it is.

mod layout;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use hotline_base::Name;

use crate::graph::{edges, reachable, reading_order, says};
use crate::*;
use layout::{Item, Link, Placed, place};
use text::{escape, label_of, shorten, width_of, wrap};

const FONT: &str = "system-ui, -apple-system, 'Segoe UI', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', 'WenQuanYi Micro Hei', sans-serif";
const MARGIN: f64 = 32.0;
const HEAD: f64 = 64.0;
/// Lines to an end of the call that pass more layers become a reference to it.
const LONG: usize = 3;
/// As do all lines that pass more layers than this.
const VERY_LONG: usize = 12;
/// Labels that are kept from covering one another; in bigger drawings they stand half way.
const CAREFUL: usize = 800;
/// The height of one line of a label.
const LABEL: f64 = 14.0;

/// A box of the drawing.
struct Shape {
    kind: ShapeKind,
    lines: Vec<Text>,
    tooltip: String,
    width: f64,
    height: f64,
}

enum ShapeKind {
    /// Where calls come in.
    Call,
    Step {
        word: &'static str,
        reachable: bool,
    },
    /// Stands for a step that is drawn elsewhere.
    Reference,
}

struct Text {
    text: String,
    size: f64,
    bold: bool,
    faint: bool,
}

/// Draws a flow as SVG.
pub fn render(flow: &Flow) -> String {
    let (shapes, links, labels) = shapes(flow);
    let items: Vec<Item> = shapes.iter().map(|s| Item { width: s.width, height: s.height }).collect();
    let placed = place(&items, &links);
    let title = flow.note.clone().unwrap_or_default();
    let width = placed.width.max(width_of(&title, 13.0)).max(260.0) + 2.0 * MARGIN;
    let height = placed.height + HEAD + 2.0 * MARGIN;
    let shift = (width - placed.width) / 2.0;
    let mut svg = String::new();
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"{FONT}\" role=\"img\" aria-label=\"Flow {}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fbfbfa\"/>\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 1 L9 5 L0 9 z\" fill=\"#5b6470\"/></marker></defs>\n",
        flow.name
    );
    let languages: Vec<&str> = flow.languages.iter().map(|l| l.as_str()).collect();
    let _ = write!(
        svg,
        "<text x=\"{MARGIN}\" y=\"40\" font-size=\"20\" font-weight=\"700\" fill=\"#16191d\">{}</text>\n\
         <text x=\"{MARGIN}\" y=\"60\" font-size=\"13\" fill=\"#5b6470\">{}{}</text>\n",
        escape(flow.name.as_str()),
        escape(&title),
        if title.is_empty() { languages.join(" · ") } else { format!(" · {}", languages.join(" · ")) },
    );
    let _ = writeln!(svg, "<g transform=\"translate({shift:.1} {:.1})\">", HEAD + MARGIN);
    lines(&mut svg, &placed);
    for (i, shape) in shapes.iter().enumerate() {
        if let (Some(x), Some(y)) = (placed.x.get(i), placed.y.get(i)) {
            draw(&mut svg, shape, *x, *y);
        }
    }
    label_lines(&mut svg, &placed, &labels);
    svg.push_str("</g>\n</svg>\n");
    svg
}

/// The boxes, the lines between them and the lines' labels.
fn shapes(flow: &Flow) -> (Vec<Shape>, Vec<Link>, Vec<Vec<String>>) {
    let order = reading_order(flow);
    let reachable = reachable(flow);
    let mut shapes = vec![text_shape(ShapeKind::Call, vec![("call", 12.0, true, false)], "A call comes in")];
    let mut index: BTreeMap<&Name, usize> = BTreeMap::new();
    for name in &order {
        if let Some(step) = flow.steps.get(*name) {
            index.insert(name, shapes.len());
            shapes.push(step_shape(flow, name, step, reachable.contains(name)));
        }
    }
    // One line for all ways from one step to another.
    let mut ways: Vec<(usize, usize, Vec<String>)> = Vec::new();
    if let Some(first) = index.get(&flow.start.name) {
        ways.push((0, *first, Vec::new()));
    }
    for name in &order {
        let (Some(step), Some(&from)) = (flow.steps.get(*name), index.get(*name)) else {
            continue;
        };
        for edge in edges(&step.kind) {
            let Some(&to) = index.get(&edge.to.name) else {
                continue;
            };
            let label = edge.why.label();
            match ways.iter_mut().find(|(f, t, _)| *f == from && *t == to) {
                Some((_, _, labels)) => labels.push(label),
                None => ways.push((from, to, vec![label])),
            }
        }
    }
    let back = backward(shapes.len(), &ways);
    let depth = depths(shapes.len(), &ways, &back);
    let mut links = Vec::new();
    let mut labels = Vec::new();
    for (i, (from, to, words)) in ways.iter().enumerate() {
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|w| !w.is_empty()).collect();
        let label = label_of(&words);
        let ends = shapes
            .get(*to)
            .is_some_and(|s| matches!(s.kind, ShapeKind::Step { word: "hangup" | "reject" | "return", .. }));
        let span = depth[*to].saturating_sub(depth[*from]);
        let long = span > VERY_LONG || (span > LONG && ends);
        let target = if back.contains(&i) || long {
            let step = order.get(to.wrapping_sub(1)).map_or("", |n| n.as_str());
            let arrow = if back.contains(&i) { "↑" } else { "↓" };
            shapes.push(text_shape(
                ShapeKind::Reference,
                vec![(&format!("{arrow} {step}"), 11.0, false, false)],
                &format!("goes to {step}"),
            ));
            shapes.len() - 1
        } else {
            *to
        };
        let width = label.iter().map(|line| width_of(line, 11.0)).fold(0.0, f64::max);
        links.push(Link { from: *from, to: target, label: width, label_height: LABEL * label.len() as f64 });
        labels.push(label);
    }
    (shapes, links, labels)
}

/// The ways that lead back to a step that led here.
fn backward(count: usize, ways: &[(usize, usize, Vec<String>)]) -> BTreeSet<usize> {
    let mut back = BTreeSet::new();
    // 0: not seen, 1: on the way, 2: done.
    let mut state = vec![0u8; count];
    for root in 0..count {
        let mut work = vec![(root, 0usize)];
        while let Some((node, next)) = work.pop() {
            if next == 0 {
                if state[node] != 0 {
                    continue;
                }
                state[node] = 1;
            }
            let out = ways.iter().enumerate().filter(|(_, w)| w.0 == node).nth(next);
            match out {
                Some((i, way)) => {
                    work.push((node, next + 1));
                    match state[way.1] {
                        0 => work.push((way.1, 0)),
                        1 => drop(back.insert(i)),
                        _ => {}
                    }
                }
                None => state[node] = 2,
            }
        }
    }
    back
}

fn depths(count: usize, ways: &[(usize, usize, Vec<String>)], back: &BTreeSet<usize>) -> Vec<usize> {
    let mut depth = vec![0usize; count];
    for _ in 0..count {
        let mut moved = false;
        for (i, (from, to, _)) in ways.iter().enumerate() {
            if !back.contains(&i) && depth[*to] <= depth[*from] {
                depth[*to] = depth[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    depth
}

fn text_shape(kind: ShapeKind, lines: Vec<(&str, f64, bool, bool)>, tooltip: &str) -> Shape {
    let lines: Vec<Text> =
        lines.into_iter().map(|(text, size, bold, faint)| Text { text: text.into(), size, bold, faint }).collect();
    let widest = lines.iter().map(|l| width_of(&l.text, l.size) * if l.bold { 1.06 } else { 1.0 }).fold(0.0, f64::max);
    let height = lines.iter().map(|l| l.size + 5.0).sum::<f64>() + 12.0;
    Shape { kind, lines, tooltip: tooltip.into(), width: widest + 26.0, height }
}

fn step_shape(flow: &Flow, name: &Name, step: &Step, reachable: bool) -> Shape {
    let word = step.kind.word();
    let details = details(&step.kind);
    let mut said: Vec<String> = Vec::new();
    let mut full: Vec<String> = details.clone();
    for lang in &flow.languages {
        let texts: Vec<String> = first_say(&step.kind)
            .iter()
            .filter_map(|r| flow.prompts.get(&r.name)?.by_lang.get(lang))
            .map(|u| match u {
                Utterance::Text { text, .. } => text.clone(),
                Utterance::Audio(audio) => format!("♪ {}", audio.name),
            })
            .collect();
        let line = texts.join(" ");
        if !line.is_empty() && !said.contains(&line) {
            full.push(line.clone());
            said.push(line);
        }
    }
    let head = if name.as_str() == word { name.to_string() } else { format!("{name}  ") };
    let mut lines = vec![(head, 13.0, true, false)];
    lines.extend(details.iter().map(|d| (shorten(d, 40), 11.5, false, false)));
    for said in &said {
        lines.extend(wrap(&format!("“{said}”"), 44).into_iter().map(|line| (line, 11.5, false, true)));
    }
    let borrowed = lines.iter().map(|(t, s, b, f)| (t.as_str(), *s, *b, *f)).collect();
    let mut tooltip = vec![format!("{word} {name}")];
    tooltip.extend(step.note.clone());
    tooltip.extend(full);
    let mut shape = text_shape(ShapeKind::Step { word, reachable }, borrowed, &tooltip.join("\n"));
    // The kind stands behind the name.
    let head = width_of(name.as_str(), 13.0) * 1.06 + width_of(word, 10.5) + 12.0 + 26.0;
    shape.width = shape.width.max(head).max(96.0);
    shape
}

/// What a step says when it begins.
fn first_say(kind: &StepKind) -> Vec<&Ref> {
    match kind {
        StepKind::Menu(menu) => menu.say.iter().collect(),
        StepKind::Gather(gather) => gather.say.iter().collect(),
        StepKind::Queue(queue) => queue.say.iter().collect(),
        kind => says(kind),
    }
}

/// What there is to know of a step, beside what it says.
fn details(kind: &StepKind) -> Vec<String> {
    match kind {
        StepKind::Gather(gather) => {
            let (low, high) = (gather.min_digits, gather.max_digits);
            let count = if low == high { low.to_string() } else { format!("{low}–{high}") };
            vec![format!("{count} digits → {}", gather.into)]
        }
        StepKind::Set(set) => {
            let mut parts: Vec<String> = Vec::new();
            parts.extend(set.language.map(|l| format!("language {l}")));
            parts.extend(set.category.iter().map(|c| format!("category {c}")));
            parts.extend(set.priority.map(|p| format!("priority {}", p.as_str())));
            parts.extend(set.skills.iter().map(|s| format!("skill {s}")));
            parts.extend(set.variables.iter().map(|(n, v)| format!("{n} = {v}")));
            parts
        }
        StepKind::Queue(queue) => {
            let wait = match &queue.max_wait {
                MaxWait::Forever => "no time limit".into(),
                MaxWait::Limit { after, .. } => format!("at most {after}"),
            };
            vec![format!("queue {} · {wait}", queue.queue.name)]
        }
        StepKind::Ring(ring) => vec![match &ring.target {
            RingRef::Agent(agent) => format!("agent {} · {}", agent.name, ring.timeout),
            RingRef::Group(group) => format!("group {} · {}", group.name, ring.timeout),
        }],
        StepKind::Voicemail(mail) => vec![format!("at most {}", mail.max)],
        StepKind::Callback(callback) => vec![format!("by queue {}", callback.queue.name)],
        StepKind::Survey(_) => vec!["keys 1–5".into()],
        StepKind::Transfer(transfer) => vec![transfer.target.clone()],
        StepKind::SendKeys(send) if send.secret => vec!["secret keys".into()],
        StepKind::SendKeys(send) => vec![send.keys.text.clone()],
        StepKind::Subflow(sub) => vec![format!("flow {}", sub.flow.name)],
        StepKind::Hook(hook) => vec![format!("{} · {}", hook.target, hook.timeout)],
        StepKind::Reject(RejectReason::Busy) => vec!["busy".into()],
        StepKind::Reject(RejectReason::Declined) => vec!["declined".into()],
        _ => Vec::new(),
    }
}

/// Fill and edge of a step's box.
fn colours(word: &str) -> (&'static str, &'static str) {
    match word {
        "menu" | "gather" | "survey" => ("#eaf2fd", "#2f6fc4"),
        "branch" => ("#fdf3dc", "#b7791f"),
        "queue" | "ring" | "transfer" => ("#e6f5ec", "#2c8a54"),
        "voicemail" | "callback" => ("#f3ecfb", "#7d4fc0"),
        "hangup" | "reject" | "return" => ("#f0f0ee", "#6b6f76"),
        "subflow" | "hook" => ("#e3f4f5", "#1f8289"),
        _ => ("#ffffff", "#8b929b"),
    }
}

fn draw(svg: &mut String, shape: &Shape, x: f64, y: f64) {
    let (left, width, height) = (x - shape.width / 2.0, shape.width, shape.height);
    let _ = writeln!(svg, "<g><title>{}</title>", escape(&shape.tooltip));
    let (fill, edge, dashed) = match shape.kind {
        ShapeKind::Call => ("#16191d", "#16191d", false),
        ShapeKind::Reference => ("#fbfbfa", "#9aa1aa", true),
        ShapeKind::Step { word, reachable } => {
            let (fill, edge) = colours(word);
            (fill, edge, !reachable)
        }
    };
    let round = if matches!(shape.kind, ShapeKind::Step { .. }) { 8.0 } else { height / 2.0 };
    let dash = if dashed { " stroke-dasharray=\"4 3\"" } else { "" };
    let _ = writeln!(
        svg,
        "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round:.1}\" fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"1.4\"{dash}/>"
    );
    let centred = !matches!(shape.kind, ShapeKind::Step { .. });
    let mut baseline = y + 6.0;
    for (i, line) in shape.lines.iter().enumerate() {
        baseline += line.size + 5.0;
        let colour = match (&shape.kind, line.faint) {
            (ShapeKind::Call, _) => "#ffffff",
            (_, true) => "#3f464e",
            _ => "#16191d",
        };
        let (at, anchor) = if centred { (x, "middle") } else { (left + 13.0, "start") };
        let weight = if line.bold { " font-weight=\"650\"" } else { "" };
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" font-size=\"{}\" text-anchor=\"{anchor}\" fill=\"{colour}\"{weight}>{}</text>",
            baseline - 4.0,
            line.size,
            escape(line.text.trim_end())
        );
        if let (0, ShapeKind::Step { word, .. }) = (i, &shape.kind) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"10.5\" text-anchor=\"end\" fill=\"{edge}\">{word}</text>",
                left + width - 11.0,
                baseline - 4.0
            );
        }
    }
    svg.push_str("</g>\n");
}

fn lines(svg: &mut String, placed: &Placed) {
    svg.push_str("<g fill=\"none\" stroke=\"#5b6470\" stroke-width=\"1.3\">\n");
    for points in &placed.lines {
        let Some((first, rest)) = points.split_first() else {
            continue;
        };
        let _ = write!(svg, "<path d=\"M{:.1} {:.1}", first.0, first.1);
        let mut from = *first;
        for to in rest {
            if (to.0 - from.0).abs() < 0.5 {
                let _ = write!(svg, " L{:.1} {:.1}", to.0, to.1);
            } else {
                let half = (to.1 - from.1) / 2.0;
                let _ = write!(
                    svg,
                    " C{:.1} {:.1} {:.1} {:.1} {:.1} {:.1}",
                    from.0,
                    from.1 + half,
                    to.0,
                    to.1 - half,
                    to.0,
                    to.1
                );
            }
            from = *to;
        }
        svg.push_str("\" marker-end=\"url(#tip)\"/>\n");
    }
    svg.push_str("</g>\n");
}

/// Writes the labels on the first stretch of their lines, where they do not cover one another.
fn label_lines(svg: &mut String, placed: &Placed, labels: &[Vec<String>]) {
    let mut taken: Vec<(f64, f64, f64, f64)> = Vec::new();
    for (points, label) in placed.lines.iter().zip(labels) {
        let (false, Some(a), Some(b)) = (label.is_empty(), points.first(), points.get(1)) else {
            continue;
        };
        let width = label.iter().map(|line| width_of(line, 11.0)).fold(0.0, f64::max) + 8.0;
        let height = LABEL * label.len() as f64 + 1.0;
        let on = |t: f64| {
            // The curve of `lines`: both control points half way down.
            let (s, half) = (1.0 - t, (a.1 + b.1) / 2.0);
            let x = s * s * s * a.0 + 3.0 * s * s * t * a.0 + 3.0 * s * t * t * b.0 + t * t * t * b.0;
            let y = s * s * s * a.1 + 3.0 * s * s * t * half + 3.0 * s * t * t * half + t * t * t * b.1;
            (x, y)
        };
        let overlap = |x: f64, y: f64| {
            taken
                .iter()
                .map(|(tx, ty, tw, th)| {
                    let wide = (width + tw) / 2.0 - (x - tx).abs();
                    let high = (height + th) / 2.0 - (y - ty).abs();
                    if wide > 0.0 && high > 0.0 { wide.min(40.0) * high } else { 0.0 }
                })
                .sum::<f64>()
        };
        let tries = [0.5, 0.42, 0.58, 0.34, 0.66, 0.27, 0.73, 0.2, 0.8];
        let best = if labels.len() > CAREFUL {
            Some(on(0.5))
        } else {
            tries.into_iter().map(on).min_by(|p, q| overlap(p.0, p.1).total_cmp(&overlap(q.0, q.1)))
        };
        let Some((x, y)) = best else { continue };
        taken.push((x, y, width, height));
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"4\" fill=\"#fbfbfa\" fill-opacity=\"0.94\"/>",
            x - width / 2.0,
            y - height / 2.0,
        );
        for (i, line) in label.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"middle\" fill=\"#2a2f36\">{}</text>",
                y - height / 2.0 + LABEL * (i as f64 + 1.0) - 3.0,
                escape(line)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_is_drawn_with_every_step_and_label() {
        let flow = parse(include_str!("../../examples/demo.flow.yaml")).unwrap();
        let svg = render(&flow);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for step in flow.steps.keys() {
            assert!(svg.contains(&format!(">{step}</text>")), "{step}");
        }
        for label in ["1 技术支持 Technical", "office open", "waited too long", "not staffed", "no input / no match"]
        {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(svg, render(&flow), "the same flow gives the same drawing");
    }

    #[test]
    fn circles_and_strange_texts_are_drawn() {
        let text = "flow: a\nnote: 1 < 2 & \"x\"\nlanguages: [en]\nstart: a\nprompts:\n  p: {en: '<b>&'}\nsteps:\n  a: {menu: p, options: {1: a, 2: b}, no_input: b, no_match: b}\n  b: {play: p, then: a}\n  c: {play: p, then: nowhere}\n";
        let svg = render(&parse(text).unwrap());
        assert!(svg.contains("↑ a") && svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"));
        assert!(svg.contains("stroke-dasharray"), "what cannot be reached looks different");
    }

    #[test]
    fn texts_are_shortened_by_width() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("您好，欢迎致电热线", 8), ["您好，", "欢迎致…"]);
        assert_eq!(label_of(&["1 a", "2 b", "no input"]), ["1 a / 2 b / no input"]);
        assert_eq!(shorten("abcdefgh", 6), "abcde…");
        assert_eq!(shorten("您好，欢迎", 6), "您好…");
        assert_eq!(shorten("abc", 6), "abc");
    }
}
