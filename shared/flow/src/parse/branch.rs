//! Branches and their conditions.

use super::fields::{Fields, Findings, millis, short, text};
use super::steps::language;
use crate::yaml::Node;
use crate::*;

pub(super) fn branch(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Branch> {
    let cases = fields.take("branch")?;
    let otherwise = fields.need_reference("else", "name the step for all other callers: 'else: step'", found);
    let what = fields.what().to_owned();
    let Node::List { items, .. } = cases else {
        found.error(
            cases.at(),
            "wrong-type",
            format!("{what}: branch: expected a list, got {}", cases.noun()),
            "write '- open: calendar' and under it 'go: step'",
        );
        return None;
    };
    let mut read = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let Some(mut fields) = Fields::of(item, format!("{what}: case {}", i + 1), found) else {
            continue;
        };
        let when = condition(&mut fields, found);
        let go = fields.need_reference("go", "name the step: 'go: step'", found);
        // A case without its condition already has its error.
        if when.is_some() {
            fields.finish(found);
        }
        if let (Some(when), Some(go)) = (when, go) {
            read.push(Case { when, go });
        }
    }
    Some(Branch { cases: read, otherwise: otherwise? })
}

fn condition(fields: &mut Fields<'_>, found: &mut Findings) -> Option<Condition> {
    const TESTS: [&str; 8] =
        ["open", "closed", "caller_starts", "caller_in", "caller_hidden", "language", "queue", "variable"];
    let tests: Vec<&'static str> = TESTS.into_iter().filter(|t| fields.keys().any(|k| k == *t)).collect();
    let [test] = tests.as_slice() else {
        let message = match tests.as_slice() {
            [] => format!("{}: has no condition", fields.what()),
            many => format!("{}: has {} conditions: {}", fields.what(), many.len(), many.join(", ")),
        };
        let remedy = format!("give it exactly one of: {}", TESTS.join(", "));
        found.error(fields.at(), "branch-case", message, remedy);
        return None;
    };
    match *test {
        "open" => fields.reference("open", found).map(Condition::Open),
        "closed" => fields.reference("closed", found).map(Condition::Closed),
        "caller_starts" => {
            let node = fields.take("caller_starts")?;
            let what = format!("{}: caller_starts", fields.what());
            let items = match node {
                Node::List { items, .. } => items.iter().collect(),
                node => vec![node],
            };
            let mut prefixes = Vec::new();
            for item in items.into_iter().take(100) {
                let Some(prefix) = text(item, &what, found) else {
                    continue;
                };
                let digits = prefix.strip_prefix('+').unwrap_or(&prefix);
                if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    found.error(
                        item.at(),
                        "bad-value",
                        format!("{what}: {:?} is not the beginning of a number", short(&prefix)),
                        "write it as \"+8610\"",
                    );
                } else {
                    prefixes.push(prefix);
                }
            }
            prefixes.sort();
            prefixes.dedup();
            (!prefixes.is_empty()).then_some(Condition::CallerStarts(prefixes))
        }
        "caller_in" => fields.reference("caller_in", found).map(Condition::CallerIn),
        "caller_hidden" => {
            let hidden = fields.flag("caller_hidden", true, found);
            if !hidden {
                found.error(
                    fields.at(),
                    "bad-value",
                    format!("{}: 'caller_hidden: false' says nothing", fields.what()),
                    "write 'caller_hidden: true' and put the other callers into 'else'",
                );
            }
            Some(Condition::CallerHidden)
        }
        "language" => language("language", fields, found).map(Condition::Language),
        "queue" => {
            let queue = fields.reference("queue", found);
            let test = queue_test(fields, found);
            Some(Condition::Queue(queue?, test?))
        }
        _ => {
            let variable = fields.reference("variable", found);
            let equals = fields.text("equals", found);
            Some(match equals {
                Some(value) => Condition::VariableEquals(variable?, value),
                None => Condition::VariableSet(variable?),
            })
        }
    }
}

fn queue_test(fields: &mut Fields<'_>, found: &mut Findings) -> Option<QueueTest> {
    const DAY: u32 = 86_400_000;
    const TESTS: [&str; 4] = ["is", "waiting_over", "longest_wait_over", "estimated_wait_over"];
    let what = fields.what().to_owned();
    let tests: Vec<(&str, &Node)> = TESTS.into_iter().filter_map(|t| Some((t, fields.take(t)?))).collect();
    let [(test, node)] = tests.as_slice() else {
        found.error(
            fields.at(),
            "branch-case",
            format!("{what}: asks {} things about the queue", tests.len()),
            "give it exactly one of 'is: staffed', 'is: not-staffed', 'is: free', waiting_over, longest_wait_over, estimated_wait_over",
        );
        return None;
    };
    let what = format!("{what}: {test}");
    match *test {
        "longest_wait_over" => millis(node, &what, 0..=DAY, found).map(QueueTest::LongestWaitOver),
        "estimated_wait_over" => millis(node, &what, 0..=DAY, found).map(QueueTest::EstimatedWaitOver),
        _ => {
            let word = text(node, &what, found)?;
            let test = match (*test, word.as_str()) {
                ("is", "staffed") => Some(QueueTest::Staffed),
                ("is", "not-staffed") => Some(QueueTest::NotStaffed),
                ("is", "free") => Some(QueueTest::Free),
                ("waiting_over", n) => n.parse().ok().map(QueueTest::WaitingOver),
                _ => None,
            };
            if test.is_none() {
                let is = what.ends_with(": is");
                let remedy = if is { "write staffed, not-staffed or free" } else { "write a number of callers" };
                found.error(node.at(), "bad-value", format!("{what}: {:?} is not known", short(&word)), remedy);
            }
            test
        }
    }
}
