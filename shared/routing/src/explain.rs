//! "Why not me?": a decision told for everybody who was looked at.

use hotline_base::{AgentId, ContactId};
use serde::Serialize;

use crate::queue::Selection;
use crate::select::{Decision, Nothing, Score, Snapshot, Unfit, qualifies, score};
use crate::waiting::WaitingEntry;

/// One line of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// About which contact; `None`: the decision as a whole.
    pub contact: Option<ContactId>,
    /// About which agent; `None`: the contact.
    pub agent: Option<AgentId>,
    /// For programs: `chosen`, `skill`, `reserved`, `excluded`, `affinity`, `fit`, `occupancy`,
    /// `idle`, `id`, `later`, `nobody-qualifies`, `nobody-free`, `nobody-waiting`.
    pub code: &'static str,
    /// For people.
    pub text: String,
}

fn line(contact: Option<ContactId>, agent: Option<AgentId>, code: &'static str, text: String) -> Line {
    Line { contact, agent, code, text }
}

fn unfit_line(contact: ContactId, agent: AgentId, unfit: &Unfit) -> Line {
    let (code, text) = match unfit {
        Unfit::Skill { skill, needs, has: 0 } => ("skill", format!("needs {skill} at level {needs}; has none")),
        Unfit::Skill { skill, needs, has } => ("skill", format!("needs {skill} at level {needs}; has {has}")),
        Unfit::ReservedFor { agent, until } => ("reserved", format!("reserved for {agent} until {until}")),
        Unfit::Excluded => ("excluded", "gave this contact back before".into()),
    };
    line(Some(contact), Some(agent), code, text)
}

/// By which criterion `best` beat `other`.
fn beaten(selection: Selection, best: &Score, other: &Score) -> (&'static str, String) {
    if best.affinity && !other.affinity {
        return ("affinity", "the contact was meant for the one chosen".into());
    }
    if best.fit > other.fit {
        return ("fit", format!("skill fit {} against {}", other.fit, best.fit));
    }
    if selection == Selection::LowestOccupancy && best.occupancy_pm < other.occupancy_pm {
        let percent = |pm: u16| f64::from(pm) / 10.0;
        let text = format!("occupied {:.1} % against {:.1} %", percent(other.occupancy_pm), percent(best.occupancy_pm));
        return ("occupancy", text);
    }
    if best.idle_ms > other.idle_ms {
        return ("idle", format!("free for {} s against {} s", other.idle_ms / 1_000, best.idle_ms / 1_000));
    }
    ("id", "equal in everything; the lower id is taken".into())
}

/// The decision told line by line: the result first, then contacts in the queue's order, then agents.
pub fn explain(snapshot: &Snapshot, decision: &Decision) -> Vec<Line> {
    let mut order: Vec<&WaitingEntry> = snapshot.waiting.iter().collect();
    order.sort_unstable_by_key(|e| e.rank());
    let now = snapshot.now;
    let (chosen_contact, chosen_agent, best) = match decision {
        Decision::Match { contact, agent, score, .. } => (*contact, *agent, score),
        Decision::Nothing { why: Nothing::NobodyWaiting } => {
            return vec![line(None, None, "nobody-waiting", "nobody was waiting".into())];
        }
        Decision::Nothing { why: Nothing::NobodyFree } => {
            return vec![line(None, None, "nobody-free", "no agent was free".into())];
        }
        Decision::Nothing { why: Nothing::NobodyQualified } => {
            let whole = line(None, None, "nobody-qualifies", "no free agent qualified for anybody who waited".into());
            let each = order.iter().flat_map(|e| unfit_lines(snapshot, e));
            return std::iter::once(whole).chain(each).collect();
        }
    };
    let text = format!(
        "chosen: {}fit {}, free for {} s, occupied {:.1} %",
        if best.affinity { "meant for this agent, " } else { "" },
        best.fit,
        best.idle_ms / 1_000,
        f64::from(best.occupancy_pm) / 10.0
    );
    let mut lines = vec![line(Some(chosen_contact), Some(chosen_agent), "chosen", text)];
    let mut after = false;
    for entry in order {
        if entry.contact == chosen_contact {
            after = true;
            for agent in snapshot.available.iter().filter(|a| a.agent != chosen_agent) {
                lines.push(match qualifies(entry, agent, now) {
                    Err(unfit) => unfit_line(entry.contact, agent.agent, &unfit),
                    Ok(()) => {
                        let (code, text) = beaten(snapshot.selection, best, &score(entry, agent, now));
                        line(Some(entry.contact), Some(agent.agent), code, text)
                    }
                });
            }
        } else if after {
            let text = format!("comes later: virtual time {}", entry.virtual_time());
            lines.push(line(Some(entry.contact), None, "later", text));
        } else {
            let text = "came first, but no free agent qualified".into();
            lines.push(line(Some(entry.contact), None, "nobody-qualifies", text));
            lines.extend(unfit_lines(snapshot, entry));
        }
    }
    lines
}

fn unfit_lines(snapshot: &Snapshot, entry: &WaitingEntry) -> Vec<Line> {
    snapshot
        .available
        .iter()
        .filter_map(|agent| {
            let unfit = qualifies(entry, agent, snapshot.now).err()?;
            Some(unfit_line(entry.contact, agent.agent, &unfit))
        })
        .collect()
}
