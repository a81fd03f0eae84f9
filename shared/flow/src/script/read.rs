//! From the text of a script to its lines.

use hotline_base::{Lang, Name};
use std::collections::BTreeMap;

use super::hours::Hours;
use super::{Act, Expect, Given, Line, Opening, Script, Test};
use crate::run::{Input, QueueView};
use crate::{Diagnostic, Key, Millis, Overflow, Pos, Priority};

/// Lines of one script file.
const MAX_LINES: usize = 10_000;

/// Reads a script; on failure every line that cannot be read, at most 100.
pub fn read(text: &str) -> Result<Script, Vec<Diagnostic>> {
    let mut tests: Vec<Test> = Vec::new();
    let mut found = Vec::new();
    for (i, source) in text.lines().enumerate() {
        let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
        let column = u32::try_from(source.chars().take_while(|c| c.is_whitespace()).count() + 1).unwrap_or(1);
        let at = Pos { line: number, column };
        let line = source.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if i >= MAX_LINES || found.len() >= 100 {
            found.push(Diagnostic::error(at, "too-large", "the script is too long", "split it into several files"));
            break;
        }
        if let Some(name) = line.strip_prefix("test ") {
            tests.push(Test { name: name.trim().into(), line: number, lines: Vec::new() });
            continue;
        }
        let Some(test) = tests.last_mut() else {
            found.push(Diagnostic::error(
                at,
                "no-test",
                "this line belongs to no test",
                "begin with 'test' and what it shows",
            ));
            continue;
        };
        match line_of(line) {
            Ok(line) => test.lines.push((number, line)),
            Err((message, remedy)) => found.push(Diagnostic::error(at, "bad-line", message, remedy)),
        }
    }
    if tests.is_empty() && found.is_empty() {
        found.push(Diagnostic::error(
            Pos { line: 1, column: 1 },
            "empty",
            "the script has no test",
            "begin with 'test' and what it shows",
        ));
    }
    if found.is_empty() { Ok(Script { tests }) } else { Err(found) }
}

type Wrong = (String, String);

fn wrong<T>(message: impl Into<String>, remedy: &str) -> Result<T, Wrong> {
    Err((message.into(), remedy.into()))
}

fn name(word: &str) -> Result<Name, Wrong> {
    word.parse().map_err(|e: hotline_base::NameError| (e.to_string(), "write a name of the flow".into()))
}

fn millis(word: &str) -> Result<u32, Wrong> {
    match Millis::parse(word) {
        Some(ms) => Ok(ms.0),
        None => {
            wrong(format!("{word:?} is not a length of time"), "write it with its unit: 300ms, 5s, 1.5s, 10m or 2h")
        }
    }
}

fn number(word: &str) -> Result<u32, Wrong> {
    word.parse().or_else(|_| wrong(format!("{word:?} is not a number"), "write a number"))
}

fn line_of(line: &str) -> Result<Line, Wrong> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (first, rest) = words.split_first().map_or(("", &[][..]), |(f, r)| (*f, r));
    match first {
        "at" => at(rest),
        "given" => given(rest).map(Line::Given),
        "expect" => {
            let (not, rest) = match rest {
                ["not", rest @ ..] => (true, rest),
                rest => (false, rest),
            };
            let text = line.split_once("expect").map_or("", |(_, t)| t).trim();
            expect(rest, text).map(|what| Line::Expect { not, what })
        }
        "wait" => match rest {
            [time] => Ok(Line::Then(millis(time)?, Act::Wait)),
            _ => wrong("'wait' needs a time", "write 'wait 10s'"),
        },
        plus if plus.starts_with('+') => {
            let after = millis(plus.trim_start_matches('+'))?;
            act(rest).map(|act| Line::Then(after, act))
        }
        _ => act(&words).map(|act| Line::Then(0, act)),
    }
}

fn at(words: &[&str]) -> Result<Line, Wrong> {
    const REMEDY: &str = "write 'at 2026-10-01T03:00 Asia/Shanghai'";
    let (moment, zone) = match words {
        [moment] => (moment, chrono_tz::UTC),
        [moment, zone] => match zone.parse() {
            Ok(zone) => (moment, zone),
            Err(_) => return wrong(format!("{zone:?} is not a time zone"), REMEDY),
        },
        _ => return wrong("'at' needs a moment", REMEDY),
    };
    let read = |form| chrono::NaiveDateTime::parse_from_str(moment, form);
    match read("%Y-%m-%dT%H:%M").or_else(|_| read("%Y-%m-%dT%H:%M:%S")) {
        Ok(local) => Ok(Line::At { local, zone }),
        Err(_) => wrong(format!("{moment:?} is not a moment"), REMEDY),
    }
}

fn given(words: &[&str]) -> Result<Given, Wrong> {
    match words {
        ["caller", "hidden"] => Ok(Given::Caller(None)),
        ["caller", number] => Ok(Given::Caller(Some((*number).into()))),
        ["diverted", from, reason] => Ok(Given::Diverted((*from).into(), (*reason).into())),
        ["calendar", calendar, "open"] => Ok(Given::Calendar(name(calendar)?, Opening::Open)),
        ["calendar", calendar, "closed"] => Ok(Given::Calendar(name(calendar)?, Opening::Closed)),
        ["calendar", calendar, hours @ ..] => match Hours::read(hours) {
            Ok(hours) => Ok(Given::Calendar(name(calendar)?, Opening::Hours(hours))),
            Err(why) => wrong(why, "write 'open', 'closed' or hours such as '09:00-18:00 mon-fri except 2026-10-01'"),
        },
        ["queue", queue, "self-service"] => Ok(Given::SentOn(name(queue)?, Input::SelfService)),
        ["queue", queue, "overflows", word] => match Overflow::ALL.iter().find(|(known, _)| known == word) {
            Some((_, way)) => Ok(Given::SentOn(name(queue)?, Input::Overflowed { way: *way })),
            None => wrong(format!("{word:?} is no way out"), "write voicemail, callback, message or link"),
        },
        ["queue", queue, rest @ ..] => Ok(Given::Queue(name(queue)?, queue_view(rest)?)),
        ["list", list] => Ok(Given::List(name(list)?)),
        ["hook", target, "fails"] => Ok(Given::Hook((*target).into(), None)),
        ["hook", target, "answers", pairs @ ..] => {
            let mut vars = BTreeMap::new();
            for pair in pairs {
                let Some((name, value)) = pair.split_once('=') else {
                    return wrong(format!("{pair:?} is not a variable"), "write 'name=value'");
                };
                vars.insert(name.to_owned(), value.to_owned());
            }
            Ok(Given::Hook((*target).into(), Some(vars)))
        }
        ["callbacks", "refused"] => Ok(Given::CallbackRefused),
        _ => wrong(
            format!("cannot be given: {}", words.join(" ")),
            "known: caller NUMBER|hidden, diverted NUMBER REASON, calendar NAME open|closed|HOURS, queue NAME …, list NAME, hook NAME answers k=v|fails, callbacks refused",
        ),
    }
}

fn queue_view(words: &[&str]) -> Result<QueueView, Wrong> {
    const REMEDY: &str = "write 'staffed 2', 'not staffed', 'free 1', 'waiting 3', 'longest 90s', 'estimated 4m', 'overflows voicemail' or 'self-service'";
    let mut view = QueueView::default();
    let mut rest = words;
    loop {
        rest = match rest {
            [] => return Ok(view),
            ["not", "staffed", rest @ ..] => rest,
            ["staffed", count, rest @ ..] if count.parse::<u32>().is_ok() => {
                view.staffed = number(count)?;
                rest
            }
            ["staffed", rest @ ..] => {
                view.staffed = 1;
                rest
            }
            ["free", count, rest @ ..] => {
                view.free = number(count)?;
                view.staffed = view.staffed.max(view.free);
                rest
            }
            ["waiting", count, rest @ ..] => {
                view.waiting = number(count)?;
                rest
            }
            ["longest", time, rest @ ..] => {
                view.longest_wait_ms = u64::from(millis(time)?);
                rest
            }
            ["estimated", time, rest @ ..] => {
                view.estimated_wait_ms = Some(u64::from(millis(time)?));
                rest
            }
            [word, ..] => return wrong(format!("{word:?} is not known of a queue"), REMEDY),
        };
    }
}

fn act(words: &[&str]) -> Result<Act, Wrong> {
    match words {
        [] => Ok(Act::Wait),
        ["dtmf", keys] if keys.chars().all(|c| Key::new(c).is_some()) => Ok(Act::Dtmf((*keys).into())),
        ["dtmf", keys] => wrong(format!("{keys:?} holds what is no key"), "use 0 to 9, * and #"),
        ["caller", "speaks", time] => Ok(Act::Speaks(millis(time)?)),
        ["caller", "hangs", "up"] => Ok(Act::CallerHangsUp),
        ["agent" | "other", "answers"] => Ok(Act::Answers),
        ["agent" | "other", "hangs", "up"] => Ok(Act::OtherHangsUp),
        ["given", rest @ ..] => given(rest).map(Act::Given),
        _ => wrong(
            format!("cannot happen: {}", words.join(" ")),
            "known: dtmf KEYS, caller speaks 20s, caller hangs up, agent answers, agent hangs up, given …",
        ),
    }
}

fn expect(words: &[&str], text: &str) -> Result<Expect, Wrong> {
    Ok(match words {
        ["say", ..] if text.ends_with('"') && text.contains(" \"") => {
            let (_, quoted) = text.split_once('"').unwrap_or_default();
            Expect::SayText(quoted.trim_end_matches('"').into())
        }
        ["say", prompt] => Expect::SayPrompt(name(prompt)?),
        ["step", step] => Expect::Step(name(step)?),
        ["menu"] => Expect::Menu,
        ["queue", queue] => Expect::Queue(name(queue)?),
        ["ring", whom] => Expect::Ring(name(whom)?),
        ["voicemail"] => Expect::Voicemail,
        ["callback"] => Expect::Callback,
        ["transfer", target] => Expect::Transfer((*target).into()),
        ["keys", keys] => Expect::Keys((*keys).into()),
        ["hook", target] => Expect::Hook((*target).into()),
        ["survey"] => Expect::Survey,
        ["score", score] => match score.parse() {
            Ok(score @ 1..=5) => Expect::Score(score),
            _ => return wrong(format!("{score:?} is not a score"), "write 1 to 5"),
        },
        ["language", lang] => match Lang::ALL.into_iter().find(|l| l.as_str() == *lang) {
            Some(lang) => Expect::Language(lang),
            None => return wrong(format!("{lang:?} is not a language"), "write zh or en"),
        },
        ["category", category] => Expect::Category(name(category)?),
        ["priority", word] => {
            let all = [Priority::Low, Priority::Medium, Priority::High, Priority::Urgent];
            match all.into_iter().find(|p| p.as_str() == *word) {
                Some(priority) => Expect::Priority(priority),
                None => {
                    return wrong(format!("{word:?} is not a priority"), "write low, medium, high or urgent");
                }
            }
        }
        ["variable", variable, value] => Expect::Variable(name(variable)?, (*value).into()),
        ["reject"] => Expect::Reject,
        ["hangup"] => Expect::Hangup,
        _ => {
            return wrong(
                format!("cannot be expected: {}", words.join(" ")),
                "known: say PROMPT or \"TEXT\", step, menu, queue, ring, voicemail, callback, transfer, keys KEYS, hook, survey, score, language, category, priority, variable NAME VALUE, reject, hangup",
            );
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_lines_are_named() {
        let found = read("dtmf 1\ntest a\n  +5 dtmf 1\n  given cat\n  expect say\n  dtmf x\n  at noon\n  at 2026-01-01T00:00 Mars\n  # fine\n  expect say hello\n").unwrap_err();
        let lines: Vec<String> = found.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect();
        assert_eq!(
            lines,
            [
                "1:1 this line belongs to no test",
                "3:3 \"5\" is not a length of time",
                "4:3 cannot be given: cat",
                "5:3 cannot be expected: say",
                "6:3 \"x\" holds what is no key",
                "7:3 \"noon\" is not a moment",
                "8:3 \"Mars\" is not a time zone",
            ]
        );
        assert!(read("").is_err());
    }
}
