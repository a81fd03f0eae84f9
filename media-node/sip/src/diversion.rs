//! Who was called before us: History-Info (RFC 7044, also as RFC 4244 had it) and Diversion (RFC 5806).

use crate::api::Header;
use crate::uri::{List, NameAddr, Params, Uri, parse_name_addr, parse_number, unescape};

/// Entries read of one message at most.
const ENTRIES: usize = 20;
/// Levels of an index, as in `1.1.2`.
const LEVELS: usize = 8;
/// Characters of a user part that are kept.
const USER_CHARS: usize = 64;

/// A call that was meant for somebody else first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diverted {
    /// Whom the caller had called: a user part. Empty: withheld.
    pub first: String,
    /// Who sent the call here. Empty: withheld.
    pub last: String,
    /// Why that was done, by the words of RFC 5806: `user-busy`, `no-answer`, `unconditional` and others.
    pub reason: &'static str,
    /// How often the call was sent on, as far as is told.
    pub times: u32,
}

impl Diverted {
    /// What the headers of an INVITE say; History-Info counts more (RFC 7544 §4.2). Malformed
    /// entries are left out.
    pub fn of(headers: &[Header]) -> Option<Self> {
        let lines = |name: &'static str| {
            headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
        };
        let withheld = lines("Privacy").flat_map(|value| value.split(|b| *b == b';')).any(hides);
        let entries = |name| {
            let parts = lines(name).flat_map(List::new).take(ENTRIES).filter_map(Result::ok);
            parts.filter_map(|part| parse_name_addr(part).ok())
        };
        let history: Vec<Entry> = entries("History-Info").filter_map(|part| Entry::read(&part)).collect();
        of_history(&history, withheld).or_else(|| {
            let steps: Vec<Step> = entries("Diversion").map(|part| Step::of_diversion(&part)).collect();
            told(steps.iter().rev(), withheld)
        })
    }
}

/// Whether a value of Privacy hides the history (RFC 7044 §10.1).
fn hides(value: &[u8]) -> bool {
    [&b"history"[..], b"header", b"session"].iter().any(|hidden| value.trim_ascii().eq_ignore_ascii_case(hidden))
}

/// Somebody sent the call on.
#[derive(Debug)]
struct Step {
    /// `None`: withheld.
    who: Option<String>,
    why: &'static str,
    times: u32,
}

impl Step {
    fn of_diversion(entry: &NameAddr<'_>) -> Self {
        let param = |name| entry.param(name).map(crate::uri::unquote).unwrap_or_default();
        let hidden = ["full", "uri"].iter().any(|hidden| param("privacy").eq_ignore_ascii_case(hidden));
        let counter = param("counter");
        Self {
            who: user(&entry.uri).filter(|_| !hidden),
            why: word(&param("reason")),
            times: parse_number(counter.as_bytes()).unwrap_or(1).clamp(1, 100),
        }
    }
}

/// The steps in the order in which they were taken.
fn told<'s>(steps: impl Iterator<Item = &'s Step>, withheld: bool) -> Option<Diverted> {
    let (mut first, mut last, mut times) = (None, None, 0u32);
    for step in steps {
        first.get_or_insert(step);
        last = Some(step);
        times = times.saturating_add(step.times);
    }
    let who = |step: &Step| step.who.clone().filter(|_| !withheld).unwrap_or_default();
    let (first, last) = (first?, last?);
    Some(Diverted { first: who(first), last: who(last), reason: last.why, times })
}

/// An entry of History-Info.
struct Entry {
    who: Option<String>,
    index: Vec<u32>,
    /// The entry that was replaced by this one (`mp`, RFC 7044 §10.2).
    instead_of: Option<Vec<u32>>,
    /// Why the call is sent here (the URI's `cause`, RFC 4458).
    came: Option<&'static str>,
    /// Why the call was sent on from here (the URI's Reason).
    left: Option<&'static str>,
}

impl Entry {
    fn read(entry: &NameAddr<'_>) -> Option<Self> {
        let headers = entry.uri.headers.map(unescape).unwrap_or_default();
        let header = |wanted: &str| {
            let one = |part: &str| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case(wanted).then(|| value.to_string())
            };
            headers.split('&').find_map(one)
        };
        let hidden = header("Privacy").is_some_and(|value| value.as_bytes().split(|b| *b == b';').any(hides));
        let left = header("Reason").and_then(|value| {
            let (protocol, params) = value.split_once(';')?;
            let param = Params::new(params.as_bytes()).filter_map(Result::ok).find(|p| p.is("cause"))?;
            let cause = parse_number(param.value?).ok()?;
            protocol.trim().eq_ignore_ascii_case("SIP").then(|| of_cause(cause)).flatten()
        });
        Some(Self {
            who: user(&entry.uri).filter(|_| !hidden),
            index: index(entry.param("index")?)?,
            instead_of: entry.param("mp").and_then(index),
            came: entry.uri.param("cause").and_then(|cause| of_cause(parse_number(cause).ok()?)),
            left,
        })
    }
}

fn of_history(entries: &[Entry], withheld: bool) -> Option<Diverted> {
    let mut steps = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        // What stands last is who has the call now, and sent it nowhere.
        let Some(later) = entries.get(at + 1..).filter(|later| !later.is_empty()) else { break };
        let parent = |other: &&Entry| match &other.instead_of {
            Some(index) => *index == entry.index,
            None => other.came.is_some() && other.index.get(..other.index.len() - 1) == Some(&entry.index[..]),
        };
        let next = later.iter().find(parent);
        if let Some(why) = next.and_then(|next| next.came).or(entry.left).or(next.map(|_| "unknown")) {
            steps.push(Step { who: entry.who.clone(), why, times: 1 });
        }
    }
    told(steps.iter(), withheld)
}

/// `1.1.2` as numbers.
fn index(text: &[u8]) -> Option<Vec<u32>> {
    let parts: Vec<u32> =
        text.split(|b| *b == b'.').take(LEVELS + 1).map(|part| parse_number(part).ok()).collect::<Option<_>>()?;
    (parts.len() <= LEVELS).then_some(parts)
}

/// The user part, or the number of a `tel:` URI. `None`: nobody is named.
fn user(uri: &Uri<'_>) -> Option<String> {
    let user = unescape(uri.user);
    let plain: String = user.split(';').next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let plain: String = plain.trim().chars().take(USER_CHARS).collect();
    Some(plain).filter(|user| !user.is_empty() && !user.eq_ignore_ascii_case("anonymous"))
}

/// RFC 4458 §2, and what statuses mean there.
fn of_cause(cause: u32) -> Option<&'static str> {
    Some(match cause {
        302 => "unconditional",
        486 | 600 => "user-busy",
        408 => "no-answer",
        480 | 487 => "deflection",
        503 => "unavailable",
        404 => "unknown",
        _ => return None,
    })
}

/// The words of RFC 5806 §5; any other is `unknown`.
fn word(text: &str) -> &'static str {
    const WORDS: [&str; 10] = [
        "user-busy",
        "no-answer",
        "unavailable",
        "unconditional",
        "time-of-day",
        "do-not-disturb",
        "deflection",
        "follow-me",
        "out-of-service",
        "away",
    ];
    WORDS.into_iter().find(|word| text.eq_ignore_ascii_case(word)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Option<(String, String, &'static str, u32)> {
        let headers: Vec<Header> = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Diverted::of(&headers).map(|d| (d.first, d.last, d.reason, d.times))
    }

    fn one(first: &str, last: &str, reason: &'static str, times: u32) -> Option<(String, String, &'static str, u32)> {
        Some((first.into(), last.into(), reason, times))
    }

    #[test]
    fn diversions_are_read() {
        let newest = "<sip:+8610001@carrier.example>;reason=user-busy;counter=1";
        let oldest = "\"Boss\" <tel:+8610002>;reason=\"no-answer\";counter=2;privacy=off";
        let both = one("+8610002", "+8610001", "user-busy", 3);
        assert_eq!(of(&[("Diversion", &format!("{newest}, {oldest}"))]), both);
        assert_eq!(of(&[("diversion", newest), ("DIVERSION", oldest)]), both);
        assert_eq!(of(&[("Diversion", "<sip:+861@h>;reason=quite-new;privacy=full")]), one("", "", "unknown", 1));
        assert_eq!(of(&[("Diversion", newest), ("Privacy", "id;history")]), one("", "", "user-busy", 1));
        assert_eq!(of(&[("Diversion", "<sip:anonymous@anonymous.invalid>;reason=away")]), one("", "", "away", 1));
    }

    #[test]
    fn histories_are_read_in_both_styles() {
        // RFC 7044 with RFC 4458: 1 was busy, its target 1.1 did not answer.
        let new =
            "<sip:+861@h>;index=1, <sip:+862@h;cause=486>;index=1.1;mp=1, <sip:+863@h;cause=408>;index=1.1.1;mp=1.1";
        assert_eq!(of(&[("History-Info", new)]), one("+861", "+862", "no-answer", 2));
        // RFC 4244: each entry says why it was left.
        let old = "<sip:+861@h?Reason=SIP%3Bcause%3D302>;index=1, <sip:+862@h>;index=1.1";
        assert_eq!(of(&[("History-Info", old)]), one("+861", "+861", "unconditional", 1));
        // It counts more than a Diversion.
        let diversion = ("Diversion", "<sip:+869@h>;reason=away");
        assert_eq!(of(&[diversion, ("History-Info", old)]), one("+861", "+861", "unconditional", 1));
        // A mere routing history diverts nothing.
        let routed = "<sip:+861@h>;index=1, <sip:+861@10.0.0.1>;index=1.1;rc=1";
        assert_eq!(of(&[("History-Info", routed)]), None);
        assert_eq!(of(&[diversion, ("History-Info", routed)]), one("+869", "+869", "away", 1));
        // Withheld entry by entry, or all.
        let hidden = "<sip:+861@h?Privacy=history&Reason=SIP%3Bcause%3D486>;index=1, <sip:+862@h>;index=1.1";
        assert_eq!(of(&[("History-Info", hidden)]), one("", "", "user-busy", 1));
        assert_eq!(of(&[("History-Info", new), ("Privacy", "history")]), one("", "", "no-answer", 2));
    }

    #[test]
    fn garbage_and_floods_are_harmless() {
        for wrong in [
            "",
            ",",
            "x",
            "<sip:a@h>",
            "<sip:a@h>;index=",
            "<sip:a@h>;index=1..2, <sip:b@h;cause=302>;index=1.1",
            "<sip:b@h;cause=302>;index=1",
            "<sip:a@h?Reason=Q.850%3Bcause%3D17>;index=1, <sip:b@h>;index=1.1",
            "<sip:a@h?Reason=%3B%3B>;index=1, <sip:b@h>;index=1.1",
        ] {
            assert_eq!(of(&[("History-Info", wrong)]), None, "{wrong}");
        }
        let many = vec!["<sip:1@h>;reason=away;counter=4294967295"; 500].join(", ");
        assert_eq!(of(&[("Diversion", &many)]), one("1", "1", "away", 2_000), "twenty are read");
        let deep = format!("<sip:a@h>;index={}, <sip:b@h;cause=302>;index=1.1", ["1"; 9].join("."));
        assert_eq!(of(&[("History-Info", &deep)]), None);
        let long = format!("<sip:{}@h>;reason=away", "1".repeat(400));
        assert_eq!(of(&[("Diversion", &long)]).map(|d| d.0.len()), Some(64));
    }
}
