//! How the legs of a call sound.

use hotline_base::OfferId;
use serde::{Deserialize, Serialize};

use crate::node::LegQuality;

/// The sound quality of a call's legs, as measured at their ends.
///
/// ```
/// use hotline_wire::quality::CallQuality;
/// let text = r#"{"packets":150,"lost":0,"jitter_ms":0.1,"round_trip_ms":null,"mos":4.4}"#;
/// let quality: CallQuality = serde_json::from_str(text).unwrap();
/// assert_eq!((quality.caller.packets, quality.agents.len()), (150, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallQuality {
    /// Of the caller's leg.
    #[serde(flatten)]
    pub caller: LegQuality,
    /// Of the legs that offers brought, in the order of their offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentLegQuality>,
}

/// The sound quality of an agent's leg.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgentLegQuality {
    /// The offer that brought it.
    pub offer: OfferId,
    /// As measured at its end.
    #[serde(flatten)]
    pub quality: LegQuality,
}

/// What people say of a sound, by its mean opinion score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SoundBand {
    /// Nearly all are dissatisfied: words are lost.
    Poor,
    /// Many are dissatisfied: it can be understood with effort.
    Fair,
    /// Nearly all are satisfied.
    Good,
}

/// Below this score a sound is not good: R = 70, "many users dissatisfied" (ITU-T G.107 annex B).
const FAIR_BELOW: f32 = 3.6;
/// Below this score a sound is poor: R = 60, "nearly all users dissatisfied".
const POOR_BELOW: f32 = 3.1;
/// A sound counts as better only when it is above a limit by so much.
const HYSTERESIS: f32 = 0.2;

impl SoundBand {
    /// The band of a score, 1 to 4.5, after a sound that was in this one.
    ///
    /// ```
    /// use hotline_wire::quality::SoundBand;
    /// assert_eq!(SoundBand::Good.then(3.5), SoundBand::Fair);
    /// assert_eq!(SoundBand::Fair.then(3.7), SoundBand::Fair);
    /// assert_eq!(SoundBand::Poor.then(4.4), SoundBand::Good);
    /// ```
    #[must_use]
    pub fn then(self, mos: f32) -> SoundBand {
        let of = |mos: f32| match mos {
            mos if mos < POOR_BELOW => SoundBand::Poor,
            mos if mos < FAIR_BELOW => SoundBand::Fair,
            _ => SoundBand::Good,
        };
        of(mos).min(self.max(of(mos - HYSTERESIS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_near_a_limit_stays_in_its_band() {
        let mut band = SoundBand::Good;
        let heard = [4.4, 3.65, 3.55, 3.65, 3.75, 3.85, 3.0, 3.15, 3.25, 3.35, 1.0, 4.4].map(|mos| {
            band = band.then(mos);
            band
        });
        use SoundBand::{Fair, Good, Poor};
        assert_eq!(heard, [Good, Good, Fair, Fair, Fair, Good, Poor, Poor, Poor, Fair, Poor, Good]);
    }
}
