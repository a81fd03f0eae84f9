//! An executor that polls by hand, so that a seed decides who goes on at every await.

use hotline_base::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::rng::Rng;

/// Polls after which a use-case counts as endless.
const MAX_POLLS: u32 = 20_000;

struct Task<T> {
    id: u64,
    work: Pin<Box<dyn Future<Output = T>>>,
    /// Not polled before this moment: a machine that stalls.
    not_before: Timestamp,
    polls: u32,
}

/// Tasks under way.
pub struct Executor<T> {
    tasks: Vec<Task<T>>,
}

/// What one poll brought.
pub enum Polled<T> {
    /// Nobody can go on now.
    Idle,
    /// Somebody went on, or stalls.
    Pending,
    /// A task came to its end.
    Done(u64, T),
    /// A task lost its machine.
    Died(u64),
    /// A task was polled more often than any use-case needs.
    Endless(u64),
}

impl<T> Default for Executor<T> {
    fn default() -> Self {
        Self { tasks: Vec::new() }
    }
}

impl<T> Executor<T> {
    /// Adds a task that is not polled before `not_before`.
    pub fn spawn(&mut self, id: u64, not_before: Timestamp, work: impl Future<Output = T> + 'static) {
        self.tasks.push(Task { id, work: Box::pin(work), not_before, polls: 0 });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When the first task that stalls goes on.
    pub fn next_start(&self) -> Option<Timestamp> {
        self.tasks.iter().map(|task| task.not_before).min()
    }

    /// Polls one of those that can go on; with these likelihoods, of 1,000, it stalls until later
    /// or dies instead.
    pub fn poll_one(&mut self, now: Timestamp, rng: &mut Rng, stall_pm: u32, die_pm: u32) -> Polled<T> {
        let is_ready = |i: &usize| self.tasks.get(*i).is_some_and(|t| t.not_before <= now);
        let ready: Vec<usize> = (0..self.tasks.len()).filter(is_ready).collect();
        let Some(&index) = rng.pick(&ready) else { return Polled::Idle };
        let Some(task) = self.tasks.get_mut(index) else { return Polled::Idle };
        task.polls += 1;
        if task.polls > MAX_POLLS {
            return Polled::Endless(self.tasks.swap_remove(index).id);
        }
        if rng.chance(stall_pm) {
            task.not_before = now.plus_ms(rng.between(50, 12_000));
            return Polled::Pending;
        }
        if rng.chance(die_pm) {
            return Polled::Died(self.tasks.swap_remove(index).id);
        }
        let mut context = Context::from_waker(Waker::noop());
        match task.work.as_mut().poll(&mut context) {
            Poll::Pending => Polled::Pending,
            Poll::Ready(done) => Polled::Done(self.tasks.swap_remove(index).id, done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotline_ports::faulty::yield_once;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn order(seed: u64) -> Vec<u32> {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut exec = Executor::default();
        for n in 0..3_u32 {
            let log = log.clone();
            exec.spawn(u64::from(n), Timestamp::from_millis(0), async move {
                for step in 0..3 {
                    log.borrow_mut().push(n * 10 + step);
                    yield_once().await;
                }
            });
        }
        let mut rng = Rng::new(seed);
        while !exec.is_empty() {
            exec.poll_one(Timestamp::from_millis(0), &mut rng, 0, 0);
        }
        log.take()
    }

    #[test]
    fn the_seed_decides_the_interleaving() {
        assert_eq!(order(1), order(1));
        assert!((2..9).any(|seed| order(seed) != order(1)));
    }

    #[test]
    fn a_stalled_task_waits_for_its_moment() {
        let mut exec = Executor::default();
        exec.spawn(1, Timestamp::from_millis(50), async {});
        let mut rng = Rng::new(1);
        assert!(matches!(exec.poll_one(Timestamp::from_millis(49), &mut rng, 0, 0), Polled::Idle));
        assert_eq!(exec.next_start(), Some(Timestamp::from_millis(50)));
        assert!(matches!(exec.poll_one(Timestamp::from_millis(50), &mut rng, 0, 0), Polled::Done(1, ())));
    }
}
