//! The tones of telephone networks, country by country (ITU-T E.180, supplement 2).

use hotline_base::Country;
use serde::{Deserialize, Serialize};

use crate::node::{Burst, Prompt};

/// What a network's tone says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallTone {
    /// The other side's phone rings.
    Ringback,
    /// It is in a call.
    Busy,
    /// The network has no way to it now.
    Congestion,
}

impl CallTone {
    /// All of them.
    pub const ALL: [CallTone; 3] = [CallTone::Ringback, CallTone::Busy, CallTone::Congestion];

    /// Its name in texts.
    pub const fn name(self) -> &'static str {
        match self {
            CallTone::Ringback => "ringback",
            CallTone::Busy => "busy",
            CallTone::Congestion => "congestion",
        }
    }

    /// By its name.
    pub fn of(name: &str) -> Option<CallTone> {
        CallTone::ALL.into_iter().find(|tone| tone.name() == name)
    }

    /// The tone as callers of a country know it, one period of it `times` times; without a country as most of Europe
    /// has it, which E.180 recommends.
    pub fn prompt(self, country: Option<Country>, times: u16) -> Prompt {
        let tones = tones(country.map_or("", Country::code));
        let (hz, cadence) = match self {
            CallTone::Ringback => tones.ringback,
            CallTone::Busy => tones.busy,
            CallTone::Congestion => tones.congestion,
        };
        let mut bursts = cadence.iter().map(|(on_ms, off_ms)| Burst { on_ms: *on_ms, off_ms: *off_ms });
        let first = bursts.next().unwrap_or(Burst { on_ms: 0, off_ms: 0 });
        Prompt::Tone { hz: hz.to_vec(), on_ms: first.on_ms, off_ms: first.off_ms, times, then: bursts.collect() }
    }
}

/// Hertz, and milliseconds of sound and silence in a period.
type Signal = (&'static [u16], &'static [(u32, u32)]);

struct Tones {
    ringback: Signal,
    busy: Signal,
    congestion: Signal,
}

/// One long burst in five seconds.
const LONG: &[(u32, u32)] = &[(1_000, 4_000)];
/// Two short bursts in three seconds.
const DOUBLE: &[(u32, u32)] = &[(400, 200), (400, 2_000)];
const HALF: &[(u32, u32)] = &[(500, 500)];
const QUARTER: &[(u32, u32)] = &[(250, 250)];
const FIFTH: &[(u32, u32)] = &[(200, 200)];
/// What North America's busy and congestion are made of.
const PAIR: &[u16] = &[480, 620];

/// A tone that a slower one modulates is written as the two that it is made of.
fn tones(country: &str) -> Tones {
    let usual = Tones { ringback: (&[425], LONG), busy: (&[425], HALF), congestion: (&[425], QUARTER) };
    let american =
        Tones { ringback: (&[440, 480], &[(2_000, 4_000)]), busy: (PAIR, HALF), congestion: (PAIR, QUARTER) };
    match country {
        "AT" => {
            Tones { ringback: (&[420], &[(1_000, 5_000)]), busy: (&[420], &[(400, 400)]), congestion: (&[420], FIFTH) }
        }
        "AU" => Tones {
            ringback: (&[413, 438], DOUBLE),
            busy: (&[425], &[(375, 375)]),
            congestion: (&[420], &[(375, 375)]),
        },
        "BE" => Tones { ringback: (&[425], &[(1_000, 3_000)]), congestion: (&[425], &[(167, 167)]), ..usual },
        "BR" => Tones { busy: (&[425], QUARTER), congestion: (&[425], &[(250, 250), (750, 250)]), ..usual },
        "CH" | "DK" | "IT" | "NO" => Tones { congestion: (&[425], FIFTH), ..usual },
        "CN" => Tones { ringback: (&[450], LONG), busy: (&[450], &[(350, 350)]), congestion: (&[450], &[(700, 700)]) },
        "CZ" => Tones { busy: (&[425], &[(330, 330)]), congestion: (&[425], &[(165, 165)]), ..usual },
        "DE" | "LU" => Tones { busy: (&[425], &[(480, 480)]), congestion: (&[425], &[(240, 240)]), ..usual },
        "ES" => Tones {
            ringback: (&[425], &[(1_500, 3_000)]),
            busy: (&[425], FIFTH),
            congestion: (&[425], &[(200, 200), (200, 200), (200, 600)]),
        },
        "FI" => Tones { busy: (&[425], &[(300, 300)]), congestion: (&[425], FIFTH), ..usual },
        "FR" => Tones { ringback: (&[440], &[(1_500, 3_500)]), busy: (&[440], HALF), congestion: (&[440], QUARTER) },
        "GB" => Tones {
            ringback: (&[400, 450], DOUBLE),
            busy: (&[400], &[(375, 375)]),
            congestion: (&[400], &[(400, 350), (225, 525)]),
        },
        "HK" => Tones { ringback: (&[440, 480], &[(400, 200), (400, 3_000)]), ..american },
        "IE" => Tones { ringback: (&[400, 450], DOUBLE), ..usual },
        "IN" => Tones { ringback: (&[375, 425], DOUBLE), busy: (&[400], &[(750, 750)]), congestion: (&[400], QUARTER) },
        "JP" => Tones { ringback: (&[384, 416], &[(1_000, 2_000)]), busy: (&[400], HALF), congestion: (&[400], HALF) },
        "KR" => {
            Tones { ringback: (&[440, 480], &[(1_000, 2_000)]), busy: (PAIR, HALF), congestion: (PAIR, &[(300, 200)]) }
        }
        "MX" => Tones { busy: (&[425], QUARTER), ..usual },
        "MY" => Tones { ringback: (&[425], DOUBLE), congestion: (&[425], HALF), ..usual },
        "NZ" => Tones { ringback: (&[400, 450], DOUBLE), busy: (&[400], HALF), congestion: (&[400], QUARTER) },
        "PL" => Tones { congestion: (&[425], HALF), ..usual },
        "PT" => Tones { ringback: (&[425], &[(1_000, 5_000)]), congestion: (&[425], FIFTH), ..usual },
        "SE" => Tones {
            ringback: (&[425], &[(1_000, 5_000)]),
            busy: (&[425], QUARTER),
            congestion: (&[425], &[(250, 750)]),
        },
        "SG" => Tones { ringback: (&[401, 449], DOUBLE), busy: (&[425], &[(750, 750)]), ..usual },
        "TW" => Tones { ringback: (&[440, 480], &[(1_000, 2_000)]), ..american },
        "US" | "CA" => american,
        "ZA" => Tones { ringback: (&[383, 417], DOUBLE), busy: (&[400], HALF), congestion: (&[400], QUARTER) },
        _ => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(tone: CallTone, country: &str) -> String {
        let Prompt::Tone { hz, on_ms, off_ms, then, .. } = tone.prompt(country.parse().ok(), 1) else {
            panic!("no tone");
        };
        let bursts = then.iter().map(|burst| format!(" {}/{}", burst.on_ms, burst.off_ms));
        format!("{hz:?} {on_ms}/{off_ms}{}", bursts.collect::<String>())
    }

    #[test]
    fn callers_hear_what_their_country_has() {
        use CallTone::{Busy, Congestion, Ringback};
        for (tone, country, wanted) in [
            (Ringback, "CN", "[450] 1000/4000"),
            (Busy, "CN", "[450] 350/350"),
            (Congestion, "CN", "[450] 700/700"),
            (Ringback, "US", "[440, 480] 2000/4000"),
            (Congestion, "CA", "[480, 620] 250/250"),
            (Ringback, "GB", "[400, 450] 400/200 400/2000"),
            (Congestion, "GB", "[400] 400/350 225/525"),
            (Ringback, "HK", "[440, 480] 400/200 400/3000"),
            (Busy, "DE", "[425] 480/480"),
            (Ringback, "FR", "[440] 1500/3500"),
            (Ringback, "AE", "[425] 1000/4000"),
            (Ringback, "", "[425] 1000/4000"),
        ] {
            assert_eq!(written(tone, country), wanted, "{tone:?} of {country:?}");
        }
        assert_eq!(CallTone::ALL.map(|tone| CallTone::of(tone.name())), CallTone::ALL.map(Some));
        assert_eq!(CallTone::of("dial"), None);
    }

    #[test]
    fn a_tone_of_one_burst_is_written_as_before() {
        let text = serde_json::to_string(&CallTone::Busy.prompt(None, 3)).unwrap();
        assert_eq!(text, r#"{"type":"tone","hz":[425],"on_ms":500,"off_ms":500,"times":3}"#);
        assert_eq!(serde_json::from_str::<Prompt>(&text).unwrap(), CallTone::Busy.prompt(None, 3));
        let double = CallTone::Ringback.prompt("GB".parse().ok(), 1);
        assert_eq!(serde_json::from_str::<Prompt>(&serde_json::to_string(&double).unwrap()).unwrap(), double);
    }
}
