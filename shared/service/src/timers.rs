//! Timers: a sweep hands near ones to the timer queue; a fired one is only a hint.

use hotline_base::{IndexRow, Machine, TenantId, Timestamp};
use hotline_contact::{ContactMachine, Event};
use hotline_ports::runner::{self, Attempts, derived_input, hand_over};
use hotline_ports::{Commit, CommitError, Fault, Range, TimerRow};
use hotline_routing::{AgentInput, AgentMachine, AlarmMachine};
use hotline_ticket::{TicketInput, TicketMachine};

use crate::{Effects, Service, ServiceError, contacts, matching, nodes, thresholds, turns};

/// The sweep hands over what is due within this time, milliseconds: a minute and some.
const AHEAD_MS: i64 = 75_000;
/// Where no sweep ever came to its end, the first looks back so far, milliseconds.
const LOOK_BACK_MS: i64 = 24 * 3_600_000;
/// A sweep looks back so far behind the last one, milliseconds: a timer may be armed for a moment
/// that has passed already.
const MARGIN_MS: i64 = 600_000;
/// Timers handed over by one sweep.
const PER_SWEEP: usize = 5_000;

const SWEEP: &str = "sweep";

/// Hands the timers of the next minute, and those that were missed, to the timer queue; gives
/// how many. Run it every minute.
///
/// # Errors
/// Faults of the store or the queue; the next sweep begins where this one had begun.
pub async fn sweep(service: &Service) -> Result<usize, ServiceError> {
    let now = service.now();
    let from = watermark(service).await?.unwrap_or(now.plus_ms(-LOOK_BACK_MS));
    let due = service.ports.store.due(from, now.plus_ms(AHEAD_MS), PER_SWEEP).await?;
    for timer in &due {
        hand_over(&service.ports, timer).await?;
    }
    // What was handed over may still be lost: look again from the first that is armed.
    let first = due.iter().map(|timer| timer.due).min().unwrap_or(now);
    let row = IndexRow { partition: SWEEP.into(), sort: "timers".into(), body: first.min(now).as_millis().to_string() };
    service.ports.store.put_row(TenantId::PLATFORM, row, None).await?;
    Ok(due.len())
}

async fn watermark(service: &Service) -> Result<Option<Timestamp>, ServiceError> {
    let range = Range {
        tenant: TenantId::PLATFORM,
        partition: SWEEP,
        from: Some("timers"),
        below: None,
        limit: 1,
        descending: false,
    };
    let rows = service.ports.store.rows(range).await?;
    let body = rows.first().filter(|row| row.sort == "timers").map(|row| row.body.as_str());
    Ok(body.and_then(|body| body.parse().ok()).map(|ms| Timestamp::from_millis(ms).plus_ms(-MARGIN_MS)))
}

/// A message of the timer queue.
///
/// # Errors
/// A permanent fault where it cannot be read; otherwise as [`fire`].
pub async fn handle(service: &Service, body: &str) -> Result<(), ServiceError> {
    if nodes::is_check(body) {
        nodes::check_leases(service).await?;
        return Ok(());
    }
    if let Some((tenant, queue)) = turns::asked(body) {
        matching::match_queue(service, tenant, &queue).await?;
        return Ok(());
    }
    let timer: TimerRow = serde_json::from_str(body)
        .map_err(|error| Fault::permanent("timer queue", format!("unreadable timer: {error}")))?;
    fire(service, &timer).await
}

/// Fires a timer: the stored deadline decides whether anything happens.
///
/// # Errors
/// Faults of the store; the timer stays armed.
pub async fn fire(service: &Service, timer: &TimerRow) -> Result<(), ServiceError> {
    match timer.subject.kind.as_str() {
        ContactMachine::KIND => check::<ContactMachine>(service, timer).await,
        AgentMachine::KIND => check::<AgentMachine>(service, timer).await,
        TicketMachine::KIND => check::<TicketMachine>(service, timer).await,
        AlarmMachine::KIND => thresholds::fire(service, timer).await,
        other => {
            tracing::error!(kind = other, timer = timer.timer, "a timer of an unknown kind");
            disarm(service, timer).await
        }
    }
}

async fn check<M: Machine>(service: &Service, timer: &TimerRow) -> Result<(), ServiceError> {
    let mut unit = Attempts::new(&service.ports).unit();
    let state = unit.state::<M>(&timer.subject).await?;
    let due = state.as_ref().and_then(|state| M::deadlines(state).get(&timer.timer).copied());
    match due {
        // The row belongs to a deadline that was moved or met; the moved one has its own row.
        due if due != Some(timer.due) => disarm(service, timer).await,
        Some(due) if due > unit.now() => Ok(hand_over(&service.ports, timer).await?),
        _ => step(service, timer).await,
    }
}

async fn step(service: &Service, timer: &TimerRow) -> Result<(), ServiceError> {
    let subject = &timer.subject;
    let due = timer.due.as_millis().to_string();
    let id = derived_input(&["timer", &format!("{subject:?}"), &timer.timer, &due]);
    let name = timer.timer.clone();
    let wrong = |error: hotline_base::IdError| Fault::permanent("timer", error);
    let done = match subject.kind.as_str() {
        ContactMachine::KIND => {
            let contact = subject.id.parse().map_err(wrong)?;
            let event = Event::Timer { timer: name };
            contacts::step(service, subject.tenant, contact, id, event, None).await.map(drop)
        }
        AgentMachine::KIND => {
            let input = AgentInput::Timer { timer: name };
            let sink = Effects(service);
            let done = runner::apply::<AgentMachine>(&service.ports, &sink, subject, id, &input).await;
            done.map(drop).map_err(ServiceError::from)
        }
        _ => {
            let input = TicketInput::Timer { key: name };
            let sink = Effects(service);
            let done = runner::apply::<TicketMachine>(&service.ports, &sink, subject, id, &input).await;
            done.map(drop).map_err(ServiceError::from)
        }
    };
    match done {
        Err(ServiceError::Reject(reject)) => {
            tracing::error!(%reject, timer = timer.timer, ?subject, "a timer was refused");
            Ok(())
        }
        other => other,
    }
}

/// Removes a row that no deadline stands behind.
pub(crate) async fn disarm(service: &Service, timer: &TimerRow) -> Result<(), ServiceError> {
    let commit = Commit { timers_delete: vec![timer.clone()], ..Commit::default() };
    match service.ports.store.commit(commit).await {
        Ok(()) | Err(CommitError::Conflict) => Ok(()),
        Err(CommitError::Fault(fault)) => Err(fault.into()),
    }
}
