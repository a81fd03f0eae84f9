//! Non-INVITE server transaction: RFC 3261 §17.2.2.

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
    Provisional,
    Final,
    TimerJ,
    Broken,
}

/// The next state and what to do; `None`: nothing happens.
pub(crate) fn step(state: State, event: Event, reliable: Reliable) -> Option<(State, &'static [Act])> {
    use {Act::*, Event as E, State as S};
    Some(match (state, event) {
        // §17.2.2: while Trying, a retransmitted request is dropped.
        (S::Proceeding | S::Completed, E::Request) => (state, &[Resend]),
        (S::Trying | S::Proceeding, E::Provisional) => (S::Proceeding, &[Send]),
        // Timer J is zero on a stream.
        (S::Trying | S::Proceeding, E::Final) if reliable => (S::Terminated, &[Send]),
        (S::Trying | S::Proceeding, E::Final) => (S::Completed, &[Send, Linger]),
        (S::Completed, E::TimerJ) => (S::Terminated, &[]),
        // §17.2.4.
        (S::Trying | S::Proceeding | S::Completed, E::Broken) => (S::Terminated, &[]),
        _ => return None,
    })
}
