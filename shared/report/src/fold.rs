//! One fact, and what it adds to which counters.

use hotline_base::{AgentId, Name, Timestamp, shard, shards};
use hotline_contact::{CallLimit, CallRefused, ContactFact};
use hotline_routing::agent::{OfferOutcome, StateName};
use hotline_routing::{AgentFact, AlarmFact};
use hotline_sla::Goal;
use hotline_ticket::{Status, TicketFact};
use serde::Deserialize;
use serde_json::Value;

/// The grain of all counters: a quarter of an hour.
pub const INTERVAL_MS: i64 = 15 * 60_000;

/// Upper edges of the classes in which waits are counted, seconds. A service level is exact for
/// a threshold that is one of them and is rounded down to the next one otherwise.
pub const EDGES_S: [u32; 14] = [5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1_200, 3_600];

/// Counters that hold the classes of [`EDGES_S`], and the one beyond the last edge.
const ANSWERED: [&str; 15] = [
    "answered_5",
    "answered_10",
    "answered_15",
    "answered_20",
    "answered_30",
    "answered_45",
    "answered_60",
    "answered_90",
    "answered_120",
    "answered_180",
    "answered_300",
    "answered_600",
    "answered_1200",
    "answered_3600",
    "answered_more",
];
const ABANDONED: [&str; 15] = [
    "abandoned_5",
    "abandoned_10",
    "abandoned_15",
    "abandoned_20",
    "abandoned_30",
    "abandoned_45",
    "abandoned_60",
    "abandoned_90",
    "abandoned_120",
    "abandoned_180",
    "abandoned_300",
    "abandoned_600",
    "abandoned_1200",
    "abandoned_3600",
    "abandoned_more",
];

/// The classes of waits, answered and abandoned.
pub const WAIT_CLASSES: ([&str; 15], [&str; 15]) = (ANSWERED, ABANDONED);

/// Names of the partitions that hold counters.
pub mod partition {
    use super::{AgentId, Name};

    /// The whole tenant.
    pub const ALL: &str = "report/all";

    /// One queue.
    pub fn queue(queue: &Name) -> String {
        format!("report/queue/{queue}")
    }

    /// One dialled number.
    pub fn did(did: &str) -> String {
        let kept: String = did.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '+').take(40).collect();
        format!("report/did/{kept}")
    }

    /// One agent.
    pub fn agent(agent: AgentId) -> String {
        format!("report/agent/{agent}")
    }
}

/// Parts of each list of counters but those of one agent.
const SHARDS: u8 = 8;
const OF_ONE_AGENT: &str = "report/agent/";
/// Rows of one interval in each part: additions to one row wait for each other, and a call and its
/// agent have facts at the same moment.
const SPREAD: u128 = 4;

/// Where an increment is added: one of several rows, by the fact that it comes from.
pub fn place(increment: &Increment, fact: u128) -> (String, String) {
    let sort = format!("{}!{}", increment.sort, (fact >> 64) % SPREAD + 1);
    let is_of_one = increment.partition.starts_with(OF_ONE_AGENT);
    (shard(&increment.partition, if is_of_one { 1 } else { SHARDS }, fact), sort)
}

/// The partitions in which the counters of a list stand; added up, they are the list's.
pub fn parts(partition: &str) -> Vec<String> {
    shards(partition, if partition.starts_with(OF_ONE_AGENT) { 1 } else { SHARDS })
}

/// Rows of one interval in one part of a list, at most.
pub const ROWS_PER_INTERVAL: usize = SPREAD as usize + 1;

/// The interval that the sort key of a row of counters names.
pub fn interval_in(sort: &str) -> &str {
    sort.split_once('!').map_or(sort, |(interval, _)| interval)
}

/// What a fact adds to one row of counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Increment {
    /// Which list of counters; see [`partition`].
    pub partition: String,
    /// The interval's start; see [`sort_of`].
    pub sort: String,
    /// Counter and addition.
    pub counters: Vec<(&'static str, i64)>,
}

/// A stored fact that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} fact {name} cannot be read: {source}")]
pub struct FoldError {
    /// The entity's kind.
    pub kind: String,
    /// The fact's name.
    pub name: String,
    /// What is wrong with it.
    pub source: serde_json::Error,
}

/// The start of the interval that a moment lies in.
pub fn interval_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis().div_euclid(INTERVAL_MS) * INTERVAL_MS)
}

/// The sort key of the interval that a moment lies in: its start, milliseconds, 13 digits.
pub fn sort_of(at: Timestamp) -> String {
    format!("{:013}", interval_of(at).as_millis().max(0))
}

/// What a fact adds, one increment a row at most. `kind` is that of the entity it is about; facts of other kinds add nothing.
/// Everything counts in the interval in which it happened.
pub fn fold(kind: &str, name: &str, body: &Value, at: Timestamp) -> Result<Vec<Increment>, FoldError> {
    let wrong = |source| FoldError { kind: kind.into(), name: name.into(), source };
    let mut out = Adder { sort: sort_of(at), rows: Vec::new() };
    match kind {
        "contact" => contact(&mut out, &Deserialize::deserialize(body).map_err(wrong)?),
        "agent" => agent(&mut out, &Deserialize::deserialize(body).map_err(wrong)?),
        "ticket" => ticket(&mut out, &Deserialize::deserialize(body).map_err(wrong)?),
        CallRefused::KIND => refused(&mut out, &Deserialize::deserialize(body).map_err(wrong)?),
        "queue-alarms" => alarm(&mut out, &Deserialize::deserialize(body).map_err(wrong)?),
        _ => {}
    }
    Ok(out.rows)
}

struct Adder {
    sort: String,
    rows: Vec<Increment>,
}

impl Adder {
    /// One increment a row: whoever applies them recognises a repeat by fact and row.
    fn add(&mut self, partition: String, counters: &[(&'static str, i64)]) {
        let counters = counters.iter().copied().filter(|(_, n)| *n != 0);
        match self.rows.iter_mut().find(|row| row.partition == partition) {
            Some(row) => row.counters.extend(counters),
            None => {
                let counters: Vec<_> = counters.collect();
                if !counters.is_empty() {
                    self.rows.push(Increment { partition, sort: self.sort.clone(), counters });
                }
            }
        }
    }

    fn all(&mut self, counters: &[(&'static str, i64)]) {
        self.add(partition::ALL.into(), counters);
    }

    fn queue(&mut self, queue: Option<&Name>, counters: &[(&'static str, i64)]) {
        if let Some(queue) = queue {
            self.add(partition::queue(queue), counters);
        }
    }

    fn agent(&mut self, agent: AgentId, counters: &[(&'static str, i64)]) {
        self.add(partition::agent(agent), counters);
    }
}

/// The class of a wait: within an edge, inclusive.
fn class(classes: &[&'static str; 15], wait_ms: i64) -> &'static str {
    let place = EDGES_S.iter().position(|&edge| wait_ms <= i64::from(edge) * 1_000);
    place.and_then(|i| classes.get(i)).or(classes.last()).copied().unwrap_or_default()
}

fn contact(out: &mut Adder, fact: &ContactFact) {
    match fact {
        ContactFact::ContactArrived { did, .. } => {
            out.all(&[("contacts", 1)]);
            out.add(partition::did(did), &[("contacts", 1)]);
        }
        ContactFact::ContactEnqueued { queue, .. } => out.queue(Some(queue), &[("offered", 1)]),
        ContactFact::QueueLeft { queue, wait_ms, .. } => {
            out.queue(Some(queue), &[("left", 1), ("left_wait_ms", *wait_ms)]);
        }
        ContactFact::OfferAccepted { agent, queue, wait_ms, ring_ms, .. } => {
            let counters =
                [("answered", 1), ("wait_ms", *wait_ms), (class(&ANSWERED, *wait_ms), 1), ("ring_ms", *ring_ms)];
            out.queue(queue.as_ref(), &counters);
            out.agent(*agent, &[("answered", 1)]);
        }
        ContactFact::AgentLegEnded { agent, queue, talk_ms, .. } => {
            out.queue(queue.as_ref(), &[("handled", 1), ("talk_ms", *talk_ms)]);
            out.agent(*agent, &[("handled", 1), ("talk_ms", *talk_ms)]);
        }
        ContactFact::SurveyAnswered { score, agent, queue, .. } => {
            let satisfied = i64::from(*score >= 4);
            let counters = [("surveys", 1), ("survey_sum", i64::from(*score)), ("satisfied", satisfied)];
            out.all(&counters);
            out.queue(queue.as_ref(), &counters);
            if let Some(agent) = agent {
                out.agent(*agent, &counters);
            }
        }
        ContactFact::TransferEnded { .. } => out.all(&[("transfers_out", 1)]),
        ContactFact::VoicemailLeft { queue, .. } => {
            out.all(&[("voicemails", 1)]);
            out.queue(queue.as_ref(), &[("voicemails", 1)]);
        }
        ContactFact::CallbackRequested { queue, lost_call, .. } => {
            let counters = [("callbacks", 1), ("lost_calls", i64::from(*lost_call))];
            out.all(&counters);
            out.queue(Some(queue), &counters);
        }
        ContactFact::ContactTransferred { from, queue, .. } => {
            out.queue(queue.as_ref(), &[("transfers", 1)]);
            out.agent(*from, &[("transfers", 1)]);
        }
        ContactFact::PartyDialled { .. } => out.all(&[("callbacks_dialled", 1)]),
        ContactFact::PartyReached { .. } => out.all(&[("callbacks_reached", 1)]),
        ContactFact::CallbackFailed { .. } => out.all(&[("callbacks_failed", 1)]),
        ContactFact::CallReanchored { .. } => out.all(&[("calls_reanchored", 1)]),
        ContactFact::RecordingSaved { .. } => out.all(&[("recordings", 1)]),
        ContactFact::RecordingFailed { .. } => out.all(&[("recordings_failed", 1)]),
        ContactFact::ContactEnded(ending) => {
            let answered = i64::from(ending.interactions > 0);
            let transfers = i64::from(ending.transfers);
            let counters = [
                ("ended", 1),
                ("contacts_answered", answered),
                ("transfers", transfers),
                ("duration_ms", ending.duration_ms),
            ];
            out.all(&counters);
            out.add(partition::did(&ending.did), &counters);
            if let Some(wait_ms) = ending.abandoned_after_ms {
                out.all(&[("abandoned", 1)]);
                let counters = [("abandoned", 1), ("abandoned_wait_ms", wait_ms), (class(&ABANDONED, wait_ms), 1)];
                out.queue(ending.queue.as_ref(), &counters);
            }
        }
        _ => {}
    }
}

fn refused(out: &mut Adder, fact: &CallRefused) {
    let by = match fact.limit {
        CallLimit::CallerAtOnce | CallLimit::CallerPerMinute => "refused_by_caller",
        CallLimit::TenantAtOnce => "refused_by_tenant",
    };
    out.all(&[("refused", 1), (by, 1)]);
    out.add(partition::did(&fact.did), &[("refused", 1)]);
}

fn agent(out: &mut Adder, fact: &AgentFact) {
    match fact {
        AgentFact::StateEntered { agent, from, for_ms, queue, .. } => {
            let counter = match from {
                StateName::Offline => return,
                StateName::Available => "available_ms",
                StateName::Offered => "offered_ms",
                StateName::Busy => "busy_ms",
                StateName::WrapUp => "wrap_ms",
                StateName::Away => "away_ms",
                StateName::Standby => "standby_ms",
            };
            out.agent(*agent, &[(counter, *for_ms)]);
            if *from == StateName::WrapUp {
                out.queue(queue.as_ref(), &[("wrap_ms", *for_ms)]);
            }
        }
        AgentFact::OfferReceived { agent, .. } => out.agent(*agent, &[("offers", 1)]),
        AgentFact::OfferClosed { agent, queue, outcome, .. } => {
            let counter = match outcome {
                OfferOutcome::Accepted => return,
                OfferOutcome::Declined => "declined",
                OfferOutcome::TimedOut => "missed",
                OfferOutcome::Unreachable | OfferOutcome::PresenceLost => "unreachable",
                OfferOutcome::Rescinded => "rescinded",
            };
            out.agent(*agent, &[(counter, 1)]);
            out.queue(queue.as_ref(), &[(counter, 1)]);
        }
        _ => {}
    }
}

fn alarm(out: &mut Adder, fact: &AlarmFact) {
    match fact {
        AlarmFact::ThresholdRaised { queue, .. } => out.queue(Some(queue), &[("alarms", 1)]),
        AlarmFact::ThresholdCleared { queue, after_ms, .. } => out.queue(Some(queue), &[("alarm_ms", *after_ms)]),
    }
}

fn ticket(out: &mut Adder, fact: &TicketFact) {
    match fact {
        TicketFact::TicketOpened { queue, .. } => {
            out.all(&[("tickets", 1)]);
            out.queue(queue.as_ref(), &[("tickets", 1)]);
        }
        TicketFact::StatusChanged { to: Status::Resolved, .. } => out.all(&[("tickets_resolved", 1)]),
        TicketFact::StatusChanged { to: Status::Closed, .. } => out.all(&[("tickets_closed", 1)]),
        TicketFact::StatusChanged { to: Status::Reopened, .. } => out.all(&[("tickets_reopened", 1)]),
        TicketFact::TicketEscalated { .. } => out.all(&[("tickets_escalated", 1)]),
        TicketFact::SlaMet { goal: Goal::Response, took_ms, late, .. } => {
            out.all(&[("responses", 1), ("response_ms", *took_ms), ("responses_late", i64::from(*late))]);
        }
        TicketFact::SlaMet { goal: Goal::Resolution, took_ms, late, .. } => {
            out.all(&[("resolutions", 1), ("resolution_ms", *took_ms), ("resolutions_late", i64::from(*late))]);
        }
        TicketFact::SlaBreached { goal: Goal::Response, .. } => out.all(&[("response_breaches", 1)]),
        TicketFact::SlaBreached { goal: Goal::Resolution, .. } => out.all(&[("resolution_breaches", 1)]),
        _ => {}
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
