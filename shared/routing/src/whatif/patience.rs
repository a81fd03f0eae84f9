//! How long callers wait before they leave: Kaplan-Meier (1958), where the answered are censored.

use hotline_base::ContactId;

/// Why a caller leaves a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaves {
    /// Hung up.
    Abandons,
    /// Went on in the flow.
    GoesOn,
}

/// The survival curve of one queue's callers.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    /// Wait, milliseconds; who left then; the part that is still there afterwards.
    steps: Vec<(i64, Leaves, f64)>,
}

impl Patience {
    /// From waits seen: `Some` for one that ended by leaving, `None` for one that ended otherwise.
    pub(super) fn of(mut seen: Vec<(i64, Option<Leaves>)>) -> Self {
        // At the same moment those who leave are counted before those who are lost sight of.
        seen.sort_by_key(|(ms, left)| (*ms, left.is_none(), *left));
        let total = seen.len();
        let mut alive = 1.0;
        let mut steps = Vec::new();
        for (i, (ms, left)) in seen.into_iter().enumerate() {
            if let Some(kind) = left {
                let at_risk = (total - i) as f64;
                alive *= 1.0 - 1.0 / at_risk;
                steps.push((ms, kind, alive));
            }
        }
        Self { steps }
    }

    /// When and how a caller leaves who was seen to wait `waited_ms` without leaving; `None`: not
    /// within any wait that was ever seen. `draw`: 0 to 1.
    pub(super) fn after(&self, waited_ms: i64, draw: f64) -> Option<(i64, Leaves)> {
        let before = self.steps.partition_point(|(ms, ..)| *ms <= waited_ms);
        let there = before.checked_sub(1).and_then(|i| self.steps.get(i)).map_or(1.0, |(.., alive)| *alive);
        let level = there * (1.0 - draw.clamp(0.0, 1.0));
        let later = self.steps.get(before..)?;
        let at = later.partition_point(|(.., alive)| *alive > level);
        later.get(at).map(|(ms, kind, _)| (*ms, *kind))
    }
}

/// A number from 0 to 1 that follows from a contact and the place of its stay (SplitMix64).
pub(super) fn draw(contact: ContactId, visit: usize) -> f64 {
    let bits = contact.as_u128();
    let mut z = (bits as u64) ^ ((bits >> 64) as u64) ^ (visit as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_that_of_the_textbook() {
        // 10 leaves, 20 answered, 30 leaves, 40 answered: S = 3/4, then 3/4 × 1/2.
        let left = Some(Leaves::Abandons);
        let patience = Patience::of(vec![(30, left), (10, left), (40, None), (20, None)]);
        let alive: Vec<f64> = patience.steps.iter().map(|s| s.2).collect();
        assert_eq!(alive, [0.75, 0.375]);
        assert_eq!(patience.after(0, 0.1), Some((10, Leaves::Abandons)));
        assert_eq!(patience.after(0, 0.5), Some((30, Leaves::Abandons)));
        assert_eq!(patience.after(0, 0.9), None, "patient beyond all that was seen");
        assert_eq!(patience.after(20, 0.4), Some((30, Leaves::Abandons)), "given that it waited 20");
        assert_eq!(patience.after(35, 0.0), None);
    }

    #[test]
    fn draws_are_even_and_repeatable() {
        let draws: Vec<f64> = (0..1_000).map(|n| draw(ContactId::from_u128(n), 0)).collect();
        let mean = draws.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert_eq!(draw(ContactId::from_u128(3), 1), draw(ContactId::from_u128(3), 1));
        assert_ne!(draw(ContactId::from_u128(3), 0), draw(ContactId::from_u128(3), 1));
    }
}
