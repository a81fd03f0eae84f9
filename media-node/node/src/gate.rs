//! How many decisions are asked for at a time: as many as the functions answer quickly, no more.
//!
//! Functions that cannot keep up get slower with every question more, until each answer comes after
//! nobody waits for it any more; questions repeated on top of that keep it so. The gate finds the
//! load they can bear by additive increase and multiplicative decrease (as TCP does, RFC 5681), and
//! the questions wait here, in order, calls in progress before new ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// In flight at a time, whatever happens.
const LEAST: usize = 4;
/// In flight at the start.
const START: usize = 32;
/// In flight at most.
const MOST: usize = 1_024;
/// An answer within this time is quick.
const QUICK: Duration = Duration::from_millis(800);
/// An answer that took longer says that there is too much to do: callers notice after 2 s.
const SLOW: Duration = Duration::from_millis(1_600);

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A call that has just arrived.
    NewCall,
    /// A call that is known to the functions.
    CallInProgress,
}

#[derive(Debug)]
struct State {
    limit: usize,
    in_flight: usize,
    /// Quick answers since the limit last grew.
    quick: usize,
    /// No answer was slow yet: the limit grows with every quick one.
    starting: bool,
    /// Questions asked before this are no news about the limit of now.
    cut_at: Option<Instant>,
    progress: VecDeque<oneshot::Sender<Pass>>,
    new: VecDeque<oneshot::Sender<Pass>>,
}

/// The gate of one node.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
}

impl Default for Gate {
    fn default() -> Self {
        let state = State {
            limit: START,
            in_flight: 0,
            quick: 0,
            starting: true,
            cut_at: None,
            progress: VecDeque::new(),
            new: VecDeque::new(),
        };
        Self { state: Mutex::new(state) }
    }
}

/// The right to ask one question; given back when dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let freed = {
            let mut state = self.gate.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
            self.gate.next(&mut state)
        };
        hand_out(freed);
    }
}

/// Wakes who waits. Passes that nobody waits for any more come back through their `Drop`.
fn hand_out(passes: Vec<(oneshot::Sender<Pass>, Pass)>) {
    for (waiter, pass) in passes {
        drop(waiter.send(pass));
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes those who may go from the queues; to be woken once the lock is free.
    fn next(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Pass>, Pass)> {
        let mut passes = Vec::new();
        while state.in_flight < state.limit {
            let Some(waiter) = state.progress.pop_front().or_else(|| state.new.pop_front()) else { break };
            if !waiter.is_closed() {
                state.in_flight += 1;
                passes.push((waiter, Pass { gate: self.clone() }));
            }
        }
        passes
    }

    /// Waits for its turn. Whoever waits is a call, so that the queues are as bounded as the calls.
    pub async fn enter(self: &Arc<Self>, about: About) -> Pass {
        let (sender, turn) = oneshot::channel();
        let passes = {
            let mut state = self.lock();
            match about {
                About::NewCall => state.new.push_back(sender),
                About::CallInProgress => state.progress.push_back(sender),
            }
            self.next(&mut state)
        };
        hand_out(passes);
        match turn.await {
            Ok(pass) => pass,
            // Cannot be: a waiter leaves the queues only with its pass.
            Err(_) => {
                self.lock().in_flight += 1;
                Pass { gate: self.clone() }
            }
        }
    }

    /// Learns from an answer (`answered`) or its absence.
    pub fn learn(self: &Arc<Self>, asked_at: Instant, now: Instant, answered: bool) {
        let took = now.saturating_duration_since(asked_at);
        let passes = {
            let mut state = self.lock();
            if answered && took < QUICK {
                state.quick += 1;
                let busy = state.in_flight * 2 > state.limit;
                if busy && (state.starting || state.quick >= state.limit) {
                    state.limit = (state.limit + 1).min(MOST);
                    state.quick = 0;
                }
            } else if (!answered || took >= SLOW) && state.cut_at.is_none_or(|cut| asked_at >= cut) {
                state.starting = false;
                state.limit = (state.limit / 2).max(LEAST);
                state.quick = 0;
                state.cut_at = Some(now);
            }
            self.next(&mut state)
        };
        hand_out(passes);
    }

    /// How many may be asked at a time, are being asked, and wait.
    pub fn load(&self) -> (usize, usize, usize) {
        let state = self.lock();
        (state.limit, state.in_flight, state.progress.len() + state.new.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::{FutureExt, poll_immediate};

    fn full(gate: &Arc<Gate>) -> Vec<Pass> {
        let (limit, ..) = gate.load();
        (0..limit).map(|_| block_on(gate.enter(About::NewCall))).collect()
    }

    #[test]
    fn calls_in_progress_go_before_new_ones_and_each_kind_in_order() {
        let gate = Arc::new(Gate::default());
        let mut passes = full(&gate);
        let mut waiting = [About::NewCall, About::CallInProgress, About::NewCall, About::CallInProgress]
            .map(|about| Box::pin(gate.enter(about)));
        for turn in &mut waiting {
            assert!(block_on(poll_immediate(turn)).is_none(), "the gate is full");
        }
        for expected in [1, 3, 0, 2] {
            passes.pop();
            let gone: Vec<usize> = waiting
                .iter_mut()
                .enumerate()
                .filter_map(|(index, turn)| turn.now_or_never().map(|pass| (index, pass)))
                .map(|(index, pass)| {
                    passes.insert(0, pass);
                    index
                })
                .collect();
            assert_eq!(gone, [expected]);
            // A finished future must not be polled again.
            *waiting.get_mut(expected).unwrap() = Box::pin(gate.enter(About::NewCall));
        }
    }

    #[test]
    fn whoever_gives_up_waiting_costs_no_pass() {
        let gate = Arc::new(Gate::default());
        let passes = full(&gate);
        let mut gone = Box::pin(gate.enter(About::NewCall));
        assert!(block_on(poll_immediate(&mut gone)).is_none());
        drop(passes);
        drop(gone);
        assert_eq!(gate.load().1, 0);
    }

    #[test]
    fn the_limit_halves_once_for_all_that_was_asked_before_and_grows_back() {
        let gate = Arc::new(Gate::default());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let passes = full(&gate);
        for _ in 0..START {
            gate.learn(at(0), at(9_000), false);
        }
        assert_eq!(gate.load().0, START / 2, "one cut for one overload");
        gate.learn(at(9_000), at(11_000), true);
        assert_eq!(gate.load().0, START / 4, "slow answers count as well");
        for _ in 0..START / 4 {
            gate.learn(at(11_000), at(11_050), true);
        }
        assert_eq!(gate.load().0, START / 4 + 1);
        for round in 0..20 {
            gate.learn(at(12_000 + 20_000 * round), at(22_000 + 20_000 * round), false);
        }
        assert_eq!(gate.load().0, LEAST);
        drop(passes);
    }

    #[test]
    fn an_idle_gate_does_not_grow() {
        let gate = Arc::new(Gate::default());
        let now = Instant::now();
        for _ in 0..1_000 {
            let _pass = block_on(gate.enter(About::NewCall));
            gate.learn(now, now, true);
        }
        assert_eq!(gate.load().0, START);
    }
}
