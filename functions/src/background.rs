//! What runs behind the calls: queues, the facts stream, the sweep.

use futures::StreamExt;
use futures::future::join_all;
use hotline_aws::fact_from_image;
use hotline_base::EntityKey;
use hotline_ports::FactRow;
use hotline_service::{
    Service, ServiceError, facts as consumer, nodes, outbox, reconcile as reconciler, thresholds, timers as clock,
    work as jobs,
};
use hotline_wire::problem::QueueAction;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::failure::{Failure, queue_action};

/// Subjects whose facts are followed at the same time.
const SUBJECTS_AT_ONCE: usize = 16;
/// Tries of one fact within an invocation.
const FACT_TRIES: usize = 3;

fn records(payload: &Value) -> &[Value] {
    payload.get("Records").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(record: &'a Value, name: &str) -> &'a str {
    record.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Fires timers that have become due.
pub async fn timers(service: &Service, payload: Value) -> Result<Value, Failure> {
    batch(&payload, "timer", |body| clock::handle(service, body)).await
}

/// Does work that could wait.
pub async fn work(service: &Service, payload: Value) -> Result<Value, Failure> {
    batch(&payload, "work", |body| jobs::handle(service, body)).await
}

/// Handles every message of a batch; only those that failed come again.
async fn batch<'a, F>(payload: &'a Value, what: &'static str, handle: impl Fn(&'a str) -> F) -> Result<Value, Failure>
where
    F: Future<Output = Result<(), ServiceError>>,
{
    let done = records(payload).iter().map(|record| {
        let work = handle(text(record, "body"));
        async move {
            let error = work.await.err()?;
            let message = text(record, "messageId");
            let action = queue_action(&error);
            tracing::error!(what, message, ?action, %error, "message not handled");
            // What no retry can mend goes to the dead letters after its last receive.
            (action != QueueAction::Acknowledge).then(|| json!({"itemIdentifier": message}))
        }
    });
    let failed: Vec<Value> = join_all(done).await.into_iter().flatten().collect();
    Ok(json!({"batchItemFailures": failed}))
}

/// Follows a batch of the facts stream: the facts of one subject in their order. A fault fails
/// the whole batch; every part is done once however often a fact comes.
pub async fn facts(service: &Service, payload: Value) -> Result<Value, Failure> {
    let mut subjects: BTreeMap<EntityKey, Vec<FactRow>> = BTreeMap::new();
    for record in records(&payload) {
        // Removals and changes are none of ours: a fact is written once.
        if text(record, "eventName") != "INSERT" {
            continue;
        }
        match fact_from_image(record.pointer("/dynamodb/NewImage").unwrap_or(&Value::Null)) {
            Ok(fact) => subjects.entry(fact.subject.clone()).or_default().push(fact),
            // It is unreadable for good: to fail would hold up everything behind it.
            Err(error) => tracing::error!(%error, "a fact cannot be read"),
        }
    }
    let count: usize = subjects.values().map(Vec::len).sum();
    let work = subjects.into_values().map(|facts| async move {
        for fact in &facts {
            follow(service, fact).await?;
        }
        Ok::<_, ServiceError>(())
    });
    let results: Vec<_> = futures::stream::iter(work).buffer_unordered(SUBJECTS_AT_ONCE).collect().await;
    match results.into_iter().find_map(Result::err) {
        None => {
            tracing::info!(count, "facts followed");
            Ok(Value::Null)
        }
        Some(error) => Err(Failure::transient(error)),
    }
}

async fn follow(service: &Service, fact: &FactRow) -> Result<(), ServiceError> {
    let mut tries = 1;
    loop {
        let Err(error) = consumer::consume(service, fact).await else { return Ok(()) };
        let FactRow { subject, version, index, name, .. } = fact;
        tracing::error!(?subject, version, index, name, tries, %error, "fact not followed");
        if tries == FACT_TRIES {
            return Err(error);
        }
        tries += 1;
    }
}

/// Every minute: the timers of the next one, effects left behind, lapsed leases, thresholds of
/// queues. Each is done whatever becomes of the others.
pub async fn sweep(service: &Service) -> Result<Value, Failure> {
    let timers = clock::sweep(service).await;
    let effects = outbox::sweep(service).await;
    let lost = nodes::check_leases(service).await;
    // A minute is too long for a caller whose node died: the timer queue looks in between.
    let checks = nodes::schedule_checks(service).await;
    let queues = thresholds::tick(service).await;
    let mut failed = Vec::new();
    let mut count = |what: &'static str, result: Result<usize, ServiceError>| match result {
        Ok(count) => count,
        Err(error) => {
            tracing::error!(what, %error, "sweep failed");
            failed.push(format!("{what}: {error}"));
            0
        }
    };
    let (timers, effects, lost) = (count("timers", timers), count("effects", effects), count("leases", lost));
    count("lease checks", checks);
    let queues = count("thresholds", queues);
    tracing::info!(timers, effects, lost, queues, "swept");
    if failed.is_empty() { Ok(Value::Null) } else { Err(Failure::transient(failed.join("; "))) }
}

/// Every minute: tables, leases and nodes against each other; what does not fit is repaired and told.
pub async fn reconcile(service: &Service) -> Result<Value, Failure> {
    match reconciler::run(service).await {
        Ok(report) => Ok(json!({"looked": report.looked, "found": report.found.len()})),
        Err(error) => Err(Failure::transient(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_base::Timestamp;
    use hotline_ports::memory::Memory;

    fn service() -> Service {
        Service::new(Memory::new(Timestamp::from_millis(1_795_000_000_000), 1).ports())
    }

    #[tokio::test]
    async fn only_the_failed_messages_come_again() {
        let good = json!({"due": 1, "timer": "offer", "subject": {"tenant": "ten_00000000000000000000000001", "kind": "contact", "id": "con_00000000000000000000000001"}});
        let event = json!({"Records": [
            {"messageId": "a", "body": good.to_string()},
            {"messageId": "b", "body": "garbage"},
        ]});
        let answer = timers(&service(), event).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "b"}]}));
    }

    #[tokio::test]
    async fn an_unreadable_fact_does_not_hold_up_the_stream() {
        let event = json!({"Records": [
            {"eventName": "INSERT", "dynamodb": {"NewImage": {"pk": {"S": "x"}}}},
            {"eventName": "REMOVE", "dynamodb": {}},
        ]});
        assert_eq!(facts(&service(), event).await, Ok(Value::Null));
    }

    #[tokio::test]
    async fn a_quiet_minute_is_swept() {
        assert_eq!(sweep(&service()).await, Ok(Value::Null));
        assert_eq!(reconcile(&service()).await, Ok(json!({"looked": 0, "found": 0})));
    }
}
