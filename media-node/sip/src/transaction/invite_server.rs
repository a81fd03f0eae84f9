//! INVITE server transaction: RFC 3261 §17.2.1, RFC 6026 §7.1.

use super::{Act, Reliable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Invite,
    Ack,
    Provisional,
    Success,
    Refusal,
    TimerG,
    TimerH,
    TimerI,
    TimerL,
    Broken,
}

/// The next state and what to do; `None`: nothing happens.
pub(crate) fn step(state: State, event: Event, reliable: Reliable) -> Option<(State, &'static [Act])> {
    use {Act::*, Event as E, State as S};
    Some(match (state, event) {
        // §17.2.1: a retransmitted INVITE gets the last response again.
        (S::Proceeding | S::Completed, E::Invite) => (state, &[Resend]),
        (S::Proceeding, E::Provisional) => (S::Proceeding, &[Send]),
        // RFC 6026 §7.1: the user repeats the 2xx, the transaction absorbs INVITEs.
        (S::Proceeding, E::Success) => (S::Accepted, &[Send, Linger]),
        (S::Accepted, E::Success) => (S::Accepted, &[Send]),
        (S::Accepted, E::Ack) => (S::Accepted, &[Report]),
        (S::Accepted, E::TimerL) => (S::Terminated, &[]),
        // §17.2.1: timer G only where the transport loses messages.
        (S::Proceeding, E::Refusal) if reliable => (S::Completed, &[Send, Timeout]),
        (S::Proceeding, E::Refusal) => (S::Completed, &[Send, Retransmit, Timeout]),
        (S::Completed, E::TimerG) => (S::Completed, &[Resend, Backoff]),
        (S::Completed, E::TimerH) => (S::Terminated, &[]),
        // Timer I is zero on a stream.
        (S::Completed, E::Ack) if reliable => (S::Terminated, &[]),
        (S::Completed, E::Ack) => (S::Confirmed, &[Linger]),
        (S::Confirmed, E::TimerI) => (S::Terminated, &[]),
        // §17.2.4; RFC 6026 §8.6: the user of an accepted call learns it from the missing ACK.
        (S::Proceeding, E::Broken) => (S::Terminated, &[ReportBroken]),
        (S::Completed, E::Broken) => (S::Terminated, &[]),
        _ => return None,
    })
}
