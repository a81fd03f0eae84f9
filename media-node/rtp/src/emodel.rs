//! What a listener would say: the E-model of ITU-T G.107 with its default values.

/// Packet-loss robustness of G.711 with concealment at the listener (G.113 appendix I).
const ROBUSTNESS: f32 = 25.1;
/// The listener's jitter buffer and the two ends' packetisation, milliseconds.
const FIXED_DELAY_MS: f32 = 40.0;

/// The mean opinion score, 1 to 4.41, from the share of packets lost (0 to 1), the interarrival
/// jitter and the one-way network delay in milliseconds.
pub fn mos(loss: f32, jitter_ms: f32, delay_ms: f32) -> f32 {
    let rating = rating(loss, jitter_ms, delay_ms);
    if rating <= 0.0 {
        return 1.0;
    }
    // G.107 annex B.
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).clamp(1.0, 4.5)
}

/// The transmission rating R, 0 to 93.2 for narrow-band speech.
pub fn rating(loss: f32, jitter_ms: f32, delay_ms: f32) -> f32 {
    let percent = (loss.clamp(0.0, 1.0)) * 100.0;
    // A jitter buffer of twice the jitter swallows nearly all of it, as delay.
    let delay = delay_ms.max(0.0) + 2.0 * jitter_ms.max(0.0) + FIXED_DELAY_MS;
    let delay_impairment = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let equipment_impairment = 95.0 * percent / (percent + ROBUSTNESS);
    (93.2 - delay_impairment - equipment_impairment).clamp(0.0, 93.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_line_is_good_and_each_fault_costs() {
        let clean = mos(0.0, 0.0, 10.0);
        assert!((4.35..4.42).contains(&clean), "{clean}");
        // G.113: 5 % random loss on concealed G.711 costs about 16 points of R.
        assert!((15.0..17.0).contains(&(rating(0.0, 0.0, 0.0) - rating(0.05, 0.0, 0.0))));
        let mut before = clean;
        for (loss, jitter, delay) in [(0.01, 2.0, 20.0), (0.05, 5.0, 50.0), (0.1, 10.0, 150.0), (0.3, 30.0, 300.0)] {
            let now = mos(loss, jitter, delay);
            assert!(now < before, "{loss} {jitter} {delay}");
            before = now;
        }
        assert_eq!(mos(1.0, 500.0, 2_000.0), 1.0);
    }
}
