//! The bounded way of events from media threads to whoever owns the call.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::api::MediaEvent;

struct Shared {
    queue: Mutex<VecDeque<MediaEvent>>,
    capacity: usize,
    dropped: AtomicU64,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<MediaEvent>> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The media threads' end of an event queue.
#[derive(Clone)]
pub struct EventSender(Arc<Shared>);

/// The owner's end of an event queue.
pub struct EventReceiver(Arc<Shared>);

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventSender")
    }
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventReceiver")
    }
}

/// A queue of events. `wake` is called from a media thread whenever an empty queue got its first
/// event (`tokio::sync::Notify::notify_one` fits). At `capacity` periodic statistics are dropped
/// and counted; events that a call depends on are dropped only at four times that.
pub fn event_queue(capacity: usize, wake: impl Fn() + Send + Sync + 'static) -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(VecDeque::new()),
        capacity: capacity.max(1),
        dropped: AtomicU64::new(0),
        wake: Box::new(wake),
    });
    (EventSender(shared.clone()), EventReceiver(shared))
}

impl EventSender {
    /// Appends an event and wakes the owner where the queue was empty.
    pub(crate) fn send(&self, event: MediaEvent) {
        let minor = matches!(event, MediaEvent::Stats { last: false, .. } | MediaEvent::Silent { .. });
        let was_empty = {
            let mut queue = self.0.lock();
            let limit = if minor { self.0.capacity } else { self.0.capacity.saturating_mul(4) };
            if queue.len() >= limit {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            queue.push_back(event);
            queue.len() == 1
        };
        if was_empty {
            (self.0.wake)();
        }
    }
}

impl EventReceiver {
    /// Moves everything that has arrived into `into` and returns how many that were.
    pub fn drain(&self, into: &mut Vec<MediaEvent>) -> usize {
        let mut queue = self.0.lock();
        let count = queue.len();
        into.extend(queue.drain(..));
        count
    }

    /// Events dropped so far because the owner did not keep up.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LegStats, MediaLegId, Token};
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn wakes_once_and_keeps_what_a_call_depends_on() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let (sender, receiver) = event_queue(2, move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let leg = MediaLegId(1);
        let stats = MediaEvent::Stats { leg, stats: LegStats::default(), last: false };
        let ended = MediaEvent::PlayEnded { leg, token: Token(1) };
        for _ in 0..3 {
            sender.send(stats.clone());
        }
        sender.send(ended.clone());
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut got = Vec::new();
        assert_eq!(receiver.drain(&mut got), 3);
        assert_eq!(got, vec![stats.clone(), stats, ended.clone()]);
        assert_eq!(receiver.dropped(), 1);
        sender.send(ended);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }
}
