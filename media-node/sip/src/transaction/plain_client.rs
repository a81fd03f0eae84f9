//! Non-INVITE client transaction: RFC 3261 §17.1.2.

use super::{Act, Reliable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Request,
    TimerE,
    TimerF,
    TimerK,
    Provisional,
    Final,
    Broken,
}

/// The next state and what to do; `None`: nothing happens.
pub(crate) fn step(state: State, event: Event, reliable: Reliable) -> Option<(State, &'static [Act])> {
    use {Act::*, Event as E, State as S};
    Some(match (state, event) {
        // §17.1.2.2: timer E only where the transport loses messages.
        (S::Trying, E::Request) if reliable => (S::Trying, &[Send, Timeout]),
        (S::Trying, E::Request) => (S::Trying, &[Send, Retransmit, Timeout]),
        (S::Trying, E::TimerE) => (S::Trying, &[Resend, Backoff]),
        (S::Proceeding, E::TimerE) => (S::Proceeding, &[Resend, BackoffT2]),
        (S::Trying | S::Proceeding, E::TimerF) => (S::Terminated, &[ReportTimeout]),
        (S::Trying | S::Proceeding, E::Provisional) => (S::Proceeding, &[Report]),
        // Timer K is zero on a stream.
        (S::Trying | S::Proceeding, E::Final) if reliable => (S::Terminated, &[Report]),
        (S::Trying | S::Proceeding, E::Final) => (S::Completed, &[Report, Linger]),
        (S::Completed, E::TimerK) => (S::Terminated, &[]),
        // §17.1.4.
        (S::Trying | S::Proceeding, E::Broken) => (S::Terminated, &[ReportBroken]),
        _ => return None,
    })
}
