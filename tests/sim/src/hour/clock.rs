//! Virtual time for many tasks at once: whoever waits for a port sleeps, and the clock goes to the
//! next one who wakes.

use hotline_base::Timestamp;
use hotline_ports::World;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::rng::Rng;

struct Inner {
    now: Timestamp,
    rng: Rng,
    order: u64,
    /// The task that is being polled.
    current: usize,
    sleepers: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
}

/// The clock, shared by the ports.
#[derive(Clone)]
pub(super) struct Clock(Arc<Mutex<Inner>>);

impl Clock {
    pub(super) fn new(now: Timestamp, seed: u64) -> Self {
        let rng = Rng::new(seed);
        Self(Arc::new(Mutex::new(Inner { now, rng, order: 0, current: 0, sleepers: BinaryHeap::new() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task that is polled from now on.
    pub(super) fn enter(&self, task: usize) {
        self.inner().current = task;
    }

    /// When the next sleeper wakes.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.inner().sleepers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Goes to the next sleeper; the task that wakes.
    pub(super) fn wake(&self) -> Option<usize> {
        let mut inner = self.inner();
        let Reverse((at, _, task)) = inner.sleepers.pop()?;
        inner.now = inner.now.max(at);
        Some(task)
    }

    pub(super) fn set(&self, now: Timestamp) {
        let mut inner = self.inner();
        inner.now = inner.now.max(now);
    }

    /// So many milliseconds pass for the task that waits.
    pub(super) fn sleep(&self, ms: i64) -> Sleep {
        Sleep { clock: self.clone(), until: self.now().plus_ms(ms), registered: false }
    }
}

impl World for Clock {
    fn now(&self) -> Timestamp {
        self.inner().now
    }

    fn random(&self) -> u128 {
        let mut inner = self.inner();
        (u128::from(inner.rng.next()) << 64) | u128::from(inner.rng.next())
    }
}

/// Pending until its moment.
pub(super) struct Sleep {
    clock: Clock,
    until: Timestamp,
    registered: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let (until, registered) = (self.until, self.registered);
        {
            let mut inner = self.clock.inner();
            if inner.now >= until {
                return Poll::Ready(());
            }
            if !registered {
                inner.order += 1;
                let entry = Reverse((until, inner.order, inner.current));
                inner.sleepers.push(entry);
            }
        }
        self.registered = true;
        Poll::Pending
    }
}
