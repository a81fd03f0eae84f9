//! The four transaction machines of RFC 3261 §17 with RFC 6026's Accepted states, one table each.
//!
//! A table is a pure function from state and event to the next state and what to do. Timers are
//! named as in RFC 3261 table 4; the endpoint owns clocks and messages.

pub(crate) mod invite_client;
pub(crate) mod invite_server;
pub(crate) mod plain_client;
pub(crate) mod plain_server;

/// What a transition asks for, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Send the request or response at hand and remember it.
    Send,
    /// Send the remembered message again.
    Resend,
    /// Send the ACK of a final refusal (§17.1.1.3).
    Ack,
    /// Start the retransmission timer (A, E or G) at T1.
    Retransmit,
    /// Start the retransmission timer again with twice the interval, at most T2 where it is E or G.
    Backoff,
    /// Start the retransmission timer again with T2 (§17.1.2.2).
    BackoffT2,
    /// Start the timeout (B, F or H) of 64·T1.
    Timeout,
    /// Start the timer that absorbs late messages (D, I, J, K, L or M).
    Linger,
    /// Pass the message up.
    Report,
    /// Tell the user that nothing came (§8.1.3.1: as if 408).
    ReportTimeout,
    /// Tell the user that nothing can be sent (§8.1.3.1: as if 503).
    ReportBroken,
}

/// Whether a timer that lingers has length zero because the transport is reliable.
pub(crate) type Reliable = bool;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    /// Every state with every event: on datagrams, and on a stream where that differs.
    fn print<S: Debug + Copy, E: Debug + Copy>(
        title: &str,
        states: &[S],
        events: &[E],
        step: impl Fn(S, E, Reliable) -> Option<(S, &'static [Act])>,
    ) -> String {
        let mut out = format!("{title}\n");
        for state in states {
            for event in events {
                let cell = |reliable| match step(*state, *event, reliable) {
                    None => "-".to_owned(),
                    Some((next, acts)) => format!("{next:?} {acts:?}"),
                };
                let (datagrams, stream) = (cell(false), cell(true));
                out += &format!("{:<12} {:<12} {datagrams}", format!("{state:?}"), format!("{event:?}"));
                if stream != datagrams {
                    out += &format!("   on a stream: {stream}");
                }
                out.push('\n');
            }
        }
        out + "\n"
    }

    #[test]
    fn every_state_with_every_event() {
        let mut out = String::new();
        {
            use invite_client::{Event::*, State::*, step};
            let events = [Invite, TimerA, TimerB, TimerD, TimerM, Provisional, Success, Refusal, Broken];
            out += &print("INVITE client", &[Calling, Proceeding, Completed, Accepted, Terminated], &events, step);
        }
        {
            use plain_client::{Event::*, State::*, step};
            let events = [Request, TimerE, TimerF, TimerK, Provisional, Final, Broken];
            out += &print("non-INVITE client", &[Trying, Proceeding, Completed, Terminated], &events, step);
        }
        {
            use invite_server::{Event::*, State::*, step};
            let events = [Invite, Ack, Provisional, Success, Refusal, TimerG, TimerH, TimerI, TimerL, Broken];
            out += &print("INVITE server", &[Proceeding, Completed, Confirmed, Accepted, Terminated], &events, step);
        }
        {
            use plain_server::{Event::*, State::*, step};
            let events = [Request, Provisional, Final, TimerJ, Broken];
            out += &print("non-INVITE server", &[Trying, Proceeding, Completed, Terminated], &events, step);
        }
        let path = format!("{}/tests/golden/transactions.txt", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &out).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), out, "{path}");
    }
}
