//! The clock's agenda: a heap of moments. Owners keep the moment that counts; an entry whose
//! moment was moved or dropped is dropped when it comes to the top.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::layer::TxId;
use crate::api::CallHandle;

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallTimer {
    /// Repeat the 200 until its ACK comes (§13.3.1.4).
    RepeatOk,
    /// Give up waiting for the ACK.
    NoAck,
    /// Repeat the reliable provisional response (RFC 3262 §3).
    RepeatProvisional,
    /// Give up waiting for the PRACK.
    NoPrack,
    /// Send the session refresh (RFC 4028 §7.2).
    Refresh,
    /// The peer did not refresh (RFC 4028 §10).
    Expired,
    /// Try the re-INVITE again after 491 (§14.1).
    Glare,
    /// A cancelled INVITE got no final answer (§9.1).
    Cancelled,
}

/// How many kinds of call timers there are.
pub(crate) const CALL_TIMERS: usize = 8;

/// Whose timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    Retransmit(TxId),
    Timeout(TxId),
    Linger(TxId),
    Call(CallHandle, CallTimer),
    /// The layer above did not answer a request.
    Unanswered(TxId),
    Register(CallHandle),
}

/// The agenda.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, TimerKey)>>,
    sequence: u64,
}

impl Timers {
    /// Adds a moment; those of the same instant come in the order of their arming.
    pub fn arm(&mut self, at: Instant, key: TimerKey) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, key)));
    }

    /// The next moment and whose it is.
    pub fn peek(&self) -> Option<(Instant, TimerKey)> {
        self.heap.peek().map(|Reverse((at, _, key))| (*at, *key))
    }

    /// Drops the next moment, which no longer counts.
    pub fn drop_next(&mut self) {
        self.heap.pop();
    }

    /// Takes the next moment that has come.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, TimerKey)> {
        if self.peek()?.0 > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, _, key))| (at, key))
    }
}
