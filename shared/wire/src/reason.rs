//! Why the other side of a leg ended it or did not take it, as it said itself (RFC 3326, RFC 6432).

use serde::{Deserialize, Serialize};

/// Whose numbers a cause is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseOf {
    /// ITU-T Q.850, 1 to 127: what the telephone network says.
    Q850,
    /// The statuses of SIP, 100 to 699.
    Sip,
}

/// One reason that the other side gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What `cause` is a number of.
    pub protocol: CauseOf,
    /// The number.
    pub cause: u16,
    /// The other side's own words, at most 64 characters; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Reason {
    /// What the number means; empty for one that means nothing here.
    pub fn meaning(&self) -> &'static str {
        match (self.protocol, self.cause) {
            (CauseOf::Q850, cause) => q850_name(cause),
            (CauseOf::Sip, 200) => "call completed elsewhere",
            (CauseOf::Sip, _) => "",
        }
    }
}

/// The cause of Q.850 among some reasons.
pub fn q850_cause(reasons: &[Reason]) -> Option<u16> {
    reasons.iter().find(|reason| reason.protocol == CauseOf::Q850).map(|reason| reason.cause)
}

/// Whether a leg ended because another one took the call (RFC 3326 §3.1; cause 26 of Q.850).
pub fn answered_elsewhere(reasons: &[Reason]) -> bool {
    reasons.iter().any(|reason| matches!((reason.protocol, reason.cause), (CauseOf::Sip, 200) | (CauseOf::Q850, 26)))
}

/// The name of a cause (ITU-T Q.850 table 1); empty for a number that has none.
pub fn q850_name(cause: u16) -> &'static str {
    match cause {
        1 => "unallocated number",
        2 => "no route to transit network",
        3 => "no route to destination",
        4 => "send special information tone",
        5 => "misdialled trunk prefix",
        6 => "channel unacceptable",
        7 => "call awarded in an established channel",
        8 => "preemption",
        9 => "preemption, circuit reserved",
        14 => "ported number",
        16 => "normal call clearing",
        17 => "user busy",
        18 => "no user responding",
        19 => "no answer from user",
        20 => "subscriber absent",
        21 => "call rejected",
        22 => "number changed",
        23 => "redirection to new destination",
        25 => "exchange routing error",
        26 => "non-selected user clearing",
        27 => "destination out of order",
        28 => "invalid number format",
        29 => "facility rejected",
        30 => "response to status enquiry",
        31 => "normal, unspecified",
        34 => "no circuit available",
        38 => "network out of order",
        39 => "permanent frame mode connection out of service",
        40 => "permanent frame mode connection operational",
        41 => "temporary failure",
        42 => "switching equipment congestion",
        43 => "access information discarded",
        44 => "requested circuit not available",
        46 => "precedence call blocked",
        47 => "resource unavailable",
        49 => "quality of service not available",
        50 => "facility not subscribed",
        53 => "outgoing calls barred within closed user group",
        55 => "incoming calls barred within closed user group",
        57 => "bearer capability not authorized",
        58 => "bearer capability not available",
        62 => "inconsistent access information",
        63 => "service or option not available",
        65 => "bearer capability not implemented",
        66 => "channel type not implemented",
        69 => "facility not implemented",
        70 => "only restricted digital information available",
        79 => "service or option not implemented",
        81 => "invalid call reference",
        82 => "channel does not exist",
        83 => "suspended call exists, but not this one",
        84 => "call identity in use",
        85 => "no call suspended",
        86 => "call has been cleared",
        87 => "user not member of closed user group",
        88 => "incompatible destination",
        90 => "closed user group does not exist",
        91 => "invalid transit network selection",
        95 => "invalid message",
        96 => "mandatory information element missing",
        97 => "message type does not exist",
        98 => "message not compatible with call state",
        99 => "information element does not exist",
        100 => "invalid information element contents",
        101 => "message not compatible with call state",
        102 => "recovery on timer expiry",
        103 => "parameter not implemented, passed on",
        110 => "unrecognized parameter, message discarded",
        111 => "protocol error",
        127 => "interworking, unspecified",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_in_words_and_read_back() {
        let of = |protocol, cause| Reason { protocol, cause, text: String::new() };
        let busy = of(CauseOf::Q850, 17);
        let elsewhere = of(CauseOf::Sip, 200);
        assert_eq!((busy.meaning(), elsewhere.meaning()), ("user busy", "call completed elsewhere"));
        assert_eq!((of(CauseOf::Q850, 15).meaning(), of(CauseOf::Sip, 486).meaning()), ("", ""));
        assert_eq!(q850_cause(&[elsewhere.clone(), busy.clone()]), Some(17));
        assert!(answered_elsewhere(&[busy.clone(), elsewhere]) && !answered_elsewhere(std::slice::from_ref(&busy)));
        assert_eq!(serde_json::to_string(&busy).unwrap(), r#"{"protocol":"q850","cause":17}"#);
        assert_eq!(serde_json::from_str::<Reason>(r#"{"protocol":"q850","cause":17}"#).unwrap(), busy);
    }
}
