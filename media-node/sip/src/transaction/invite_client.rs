//! INVITE client transaction: RFC 3261 §17.1.1, RFC 6026 §7.2.

use super::{Act, Reliable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Invite,
    TimerA,
    TimerB,
    TimerD,
    TimerM,
    Provisional,
    Success,
    Refusal,
    Broken,
}

/// The next state and what to do; `None`: nothing happens.
pub(crate) fn step(state: State, event: Event, reliable: Reliable) -> Option<(State, &'static [Act])> {
    use {Act::*, Event as E, State as S};
    Some(match (state, event) {
        // §17.1.1.2: timer A only where the transport loses messages.
        (S::Calling, E::Invite) if reliable => (S::Calling, &[Send, Timeout]),
        (S::Calling, E::Invite) => (S::Calling, &[Send, Retransmit, Timeout]),
        (S::Calling, E::TimerA) => (S::Calling, &[Resend, Backoff]),
        (S::Calling, E::TimerB) => (S::Terminated, &[ReportTimeout]),
        (S::Calling | S::Proceeding, E::Provisional) => (S::Proceeding, &[Report]),
        // RFC 6026 §8.4: later 2xx, of forks too, go up until timer M.
        (S::Calling | S::Proceeding, E::Success) => (S::Accepted, &[Report, Linger]),
        (S::Accepted, E::Success) => (S::Accepted, &[Report]),
        (S::Accepted, E::TimerM) => (S::Terminated, &[]),
        // §17.1.1.2, §17.1.1.3: timer D is zero on a stream.
        (S::Calling | S::Proceeding, E::Refusal) if reliable => (S::Terminated, &[Ack, Report]),
        (S::Calling | S::Proceeding, E::Refusal) => (S::Completed, &[Ack, Report, Linger]),
        (S::Completed, E::Refusal) => (S::Completed, &[Ack]),
        (S::Completed, E::TimerD) => (S::Terminated, &[]),
        // §17.1.4.
        (S::Calling | S::Proceeding, E::Broken) => (S::Terminated, &[ReportBroken]),
        (S::Completed, E::Broken) => (S::Terminated, &[]),
        _ => return None,
    })
}
