//! Use-cases under way: begun, polled, ended, tried again.

use hotline_base::EntityKey;
use hotline_ports::Fault;
use hotline_service::ServiceError;
use hotline_wire::node::{CallEvent, Decision};
use std::time::Duration;

use super::calls::REPORTS;
use super::{Happening, Sabotage, World};
use crate::exec::Polled;
use crate::jobs::{self, Done, Job};
use crate::node::Scene;
use crate::plan::DAWN;

/// A message that was not acknowledged comes back after this.
const VISIBILITY: Duration = Duration::from_secs(30);
/// Times a message is delivered before it would go to the dead letters.
const MAX_DELIVERIES: u32 = 60;
/// Once everything planned is over the scheduled functions run when they have something to do,
/// at least this often, milliseconds.
const IDLE_MS: i64 = 3_600_000;

impl World {
    pub(super) fn spawn(&mut self, job: Job) {
        self.next_job += 1;
        let id = self.next_job;
        self.stats.jobs += 1;
        let delay = if self.dice.is_on() && self.rng.chance(self.plan.faults.delay_pm) {
            self.rng.between(10, 3_000)
        } else {
            self.rng.between(0, 8)
        };
        let start = self.now().plus_ms(delay);
        self.jobs.insert(id, job.clone());
        self.exec.spawn(id, start, jobs::run(self.service.clone(), job));
    }

    /// Lets one use-case go on; `false` where none can.
    pub(super) fn poll(&mut self) -> Result<bool, String> {
        let faults = self.plan.faults;
        let (stall, die) = if self.dice.is_on() { (faults.stall_pm, faults.crash_pm) } else { (0, 0) };
        let now = self.now();
        match self.exec.poll_one(now, &mut self.rng, stall, die) {
            Polled::Idle => return Ok(false),
            Polled::Pending => {}
            Polled::Done(id, done) => {
                let job = self.jobs.remove(&id);
                self.done(job, done)?;
            }
            Polled::Died(id) => {
                if let Some(job) = self.jobs.remove(&id) {
                    self.say("world", format!("a machine dies doing {}", name(&job)));
                    self.again(job);
                }
            }
            Polled::Endless(id) => {
                return Err(format!("a use-case never ends: {:?}", self.jobs.get(&id)));
            }
        }
        Ok(true)
    }

    fn done(&mut self, job: Option<Job>, done: Done) -> Result<(), String> {
        match done {
            Done::Decision { node, contact, seq, attempt, result } => {
                if let Err(error) = &result {
                    self.say(contact, format!("no decision for {seq}: {error}"));
                    if error.contains("refused") || error.contains("permanent") {
                        return Err(format!("{contact}: the decision for {job:?} failed for good: {error}"));
                    }
                }
                if seq >= REPORTS {
                    return self.reported(job, result);
                }
                if self.dice.is_on() && self.rng.chance(self.plan.faults.lost_answer_pm) {
                    self.say(contact, format!("the answer to {seq} is lost"));
                    return Ok(());
                }
                self.with_node(node, |n, scene: &mut Scene<'_>| n.decided(scene, contact, seq, attempt, result));
                Ok(())
            }
            Done::Other { job, result: Ok(()) } => {
                if let Job::Consume(fact) = job {
                    self.consumed(&fact.subject);
                }
                Ok(())
            }
            Done::Other { job, result: Err(error) } => self.failed(job, &error),
        }
    }

    /// A node reports a recording until somebody takes note of it.
    fn reported(&mut self, job: Option<Job>, result: Result<Decision, String>) -> Result<(), String> {
        let Some(Job::Ask { input, .. }) = job else { return Ok(()) };
        let CallEvent::RecordingEnded { recording, .. } = input.event else { return Ok(()) };
        if result.is_err() {
            self.after(1_000, Happening::Report { node: input.node, recording });
        } else if let Some(slot) = self.slot_of(input.node).and_then(|i| self.nodes.get_mut(i)) {
            slot.node.disk.remove(&recording);
        }
        Ok(())
    }

    fn failed(&mut self, job: Job, error: &ServiceError) -> Result<(), String> {
        match error {
            ServiceError::Fault(Fault::Transient { .. }) => {
                self.say("world", format!("{} fails: {error}", name(&job)));
                self.again(job);
                Ok(())
            }
            // What a person may ask for at the wrong moment is refused.
            ServiceError::Reject(reject)
                if matches!(
                    job,
                    Job::Request { .. }
                        | Job::Decline { .. }
                        | Job::EndWrapUp { .. }
                        | Job::ExtendWrapUp { .. }
                        | Job::Heartbeat { .. }
                        | Job::End { .. }
                        | Job::Floor { .. }
                        | Job::Configure { .. }
                        | Job::Ticket { .. }
                ) =>
            {
                self.say("world", format!("{} is refused: {reject}", name(&job)));
                Ok(())
            }
            ServiceError::Invalid(invalid) if matches!(job, Job::Floor { .. }) => {
                self.say("world", format!("{} is refused: {invalid}", name(&job)));
                Ok(())
            }
            other => Err(format!("{job:?} failed for good: {other}")),
        }
    }

    /// What the queues and schedulers do with work that did not come to its end.
    fn again(&mut self, job: Job) {
        match job {
            Job::Deliver(message) => {
                let times = self.deliveries.entry(message.number).or_default();
                *times += 1;
                if *times <= MAX_DELIVERIES {
                    self.memory.queues.put_back(message, VISIBILITY);
                }
            }
            Job::Consume(fact) => self.after(1_000, Happening::Consume(fact.subject.clone())),
            Job::Ask { input, .. } => {
                if let CallEvent::RecordingEnded { recording, .. } = input.event {
                    self.after(1_000, Happening::Report { node: input.node, recording });
                }
            }
            _ => {}
        }
    }

    /// Facts go to their consumer in the order of their entity, one at a time.
    pub(super) fn take_facts(&mut self) {
        for fact in self.memory.store.take_stream() {
            let entity = fact.subject.clone();
            let waiting = self.stream.entry(entity.clone()).or_default();
            waiting.push_back(fact);
            if waiting.len() == 1 {
                self.consume_next(&entity);
            }
        }
    }

    pub(super) fn consume_next(&mut self, entity: &EntityKey) {
        if let Some(fact) = self.stream.get(entity).and_then(|w| w.front()).cloned() {
            self.spawn(Job::Consume(Box::new(fact)));
        }
    }

    fn consumed(&mut self, entity: &EntityKey) {
        if self.dice.is_on() && self.rng.chance(self.plan.faults.duplicate_pm) {
            // The batch is handed over again although it was done.
            return self.consume_next(entity);
        }
        if let Some(waiting) = self.stream.get_mut(entity) {
            waiting.pop_front();
        }
        self.consume_next(entity);
    }

    /// The scheduled functions: every minute, and rarely once nobody is there any more.
    pub(super) fn minute(&mut self) {
        if self.sabotage != Some(Sabotage::NoTimerSweep) {
            self.spawn(Job::SweepTimers);
        }
        if self.sabotage != Some(Sabotage::NoOutboxSweep) {
            self.spawn(Job::SweepOutbox);
        }
        self.spawn(Job::Thresholds);
        // It would make up for a part that was taken away.
        if self.sabotage.is_none() {
            self.spawn(Job::Reconcile { calm: !self.plan.has_faults });
        }
        let mut wait = 60_000;
        if self.is_after_hours() && self.memory.store.unsettled().is_empty() {
            let next = self.memory.store.timers().first().map(|t| t.due.since_ms(self.now()) - 60_000);
            wait = next.unwrap_or(IDLE_MS).clamp(60_000, 7 * 86_400_000);
        }
        self.after(wait, Happening::Minute);
    }

    pub(super) fn leases(&mut self) {
        if self.sabotage != Some(Sabotage::NoLeaseCheck) {
            self.spawn(Job::CheckLeases);
        }
        let wait = if self.is_after_hours() { IDLE_MS } else { 5_000 };
        self.after(wait, Happening::Leases);
    }

    /// Long after the last planned event: nothing happens any more but timers.
    pub(super) fn is_after_hours(&self) -> bool {
        self.now().since_ms(DAWN) > self.plan.length_ms + 1_000_000
    }
}

/// A short name of a job.
pub(super) fn name(job: &Job) -> String {
    let text = format!("{job:?}");
    text.chars().take(90).collect()
}
