//! Reasons (RFC 3326): what we say when we end a leg, what the other side said, and what follows from it.

use hotline_sip::{Protocol, Reason};
use hotline_wire::legs::DialFailure;
use hotline_wire::node::EndCause;
use hotline_wire::reason::{self as told, CauseOf};

/// Reasons as the functions are told of them.
pub(crate) fn said(reasons: &[Reason]) -> Vec<told::Reason> {
    let one = |reason: &Reason| told::Reason {
        protocol: match reason.protocol {
            Protocol::Q850 => CauseOf::Q850,
            Protocol::Sip => CauseOf::Sip,
        },
        cause: reason.cause,
        text: reason.text.clone(),
    };
    reasons.iter().map(one).collect()
}

fn q850(cause: u16) -> Vec<Reason> {
    vec![Reason::q850(cause, told::q850_name(cause))]
}

/// A leg ends because it is over.
pub(crate) fn normal() -> Vec<Reason> {
    q850(16)
}

/// Another phone, or another call, took it: phones do not show a missed call.
pub(crate) fn elsewhere() -> Vec<Reason> {
    vec![Reason::sip(200, "Call completed elsewhere")]
}

/// A phone rang in vain, or never even rang.
pub(crate) fn no_answer(rang: bool) -> Vec<Reason> {
    q850(if rang { 19 } else { 18 })
}

/// An offer is taken back.
pub(crate) fn taken_back() -> Vec<Reason> {
    q850(31)
}

/// Nothing is heard of the leg any more.
pub(crate) fn lost() -> Vec<Reason> {
    q850(102)
}

/// Its description is of no use to us.
pub(crate) fn incompatible() -> Vec<Reason> {
    q850(88)
}

/// Why we end a leg.
pub(crate) fn ours(cause: EndCause) -> Vec<Reason> {
    match cause {
        EndCause::HungUp | EndCause::Cancelled | EndCause::Script => normal(),
        EndCause::Command => q850(31),
        EndCause::Lost => lost(),
        EndCause::NodeDrained | EndCause::Failed => q850(41),
    }
}

/// The Reason that goes with a refusal, where its status has a cause of its own (RFC 3398 §8.2.6.1).
pub(crate) fn of_status(status: u16) -> Option<String> {
    let cause = match status {
        404 | 604 => 1,
        410 => 22,
        484 => 28,
        486 | 600 => 17,
        403 | 603 => 21,
        _ => return None,
    };
    Reason::header(&q850(cause))
}

/// What a refusal of our INVITE means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whoever was asked cannot reach the called side; another gateway may.
    pub next_way: bool,
    /// Why the called side was not reached.
    pub failure: DialFailure,
}

/// What a refusal means: a cause of the telephone network (Q.850, RFC 6432) decides where it is
/// plain, else the status.
pub fn verdict(status: u16, q850_cause: Option<u16>) -> Verdict {
    if let Some(verdict) = q850_cause.and_then(by_cause) {
        return verdict;
    }
    let failure = match status {
        486 | 600 => DialFailure::Busy,
        404 | 410 | 484 | 604 => DialFailure::NoSuchNumber,
        480 | 487 => DialFailure::NoAnswer,
        401 | 407 | 408 | 420 | 481 | 488 | 500..=599 => DialFailure::Unreachable,
        _ => DialFailure::Declined,
    };
    Verdict { next_way: matches!(status, 408 | 500 | 502 | 503 | 504), failure }
}

/// `None`: the cause says less than the status.
fn by_cause(cause: u16) -> Option<Verdict> {
    let (next_way, failure) = match cause {
        1 | 22 | 28 => (false, DialFailure::NoSuchNumber),
        17 => (false, DialFailure::Busy),
        18..=20 => (false, DialFailure::NoAnswer),
        21 => (false, DialFailure::Declined),
        27 => (false, DialFailure::Unreachable),
        2 | 3 | 25 | 34 | 38 | 41 | 42 | 44 | 47 => (true, DialFailure::Unreachable),
        _ => return None,
    };
    Some(Verdict { next_way, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_decides_where_it_is_plain() {
        let of = |status, cause: u16| {
            let verdict = verdict(status, Some(cause));
            (verdict.next_way, verdict.failure)
        };
        assert_eq!(of(503, 17), (false, DialFailure::Busy));
        assert_eq!(of(480, 17), (false, DialFailure::Busy));
        assert_eq!(of(503, 1), (false, DialFailure::NoSuchNumber));
        assert_eq!(of(500, 21), (false, DialFailure::Declined));
        for congested in [34, 38, 41, 42] {
            assert_eq!(of(480, congested), (true, DialFailure::Unreachable), "{congested}");
        }
        for vague in [16, 31, 127] {
            assert_eq!(of(486, vague), (false, DialFailure::Busy), "{vague}");
            assert_eq!(of(503, vague), (true, DialFailure::Unreachable), "{vague}");
        }
        let plain = |status| (verdict(status, None).next_way, verdict(status, None).failure);
        assert_eq!(plain(486), (false, DialFailure::Busy));
        assert_eq!(plain(504), (true, DialFailure::Unreachable));
        assert_eq!(plain(603), (false, DialFailure::Declined));
    }
}
