//! Which packet a sequence number means, and whether it came before.

/// Packets behind the newest that may still come; the least allowed is 64 (§3.3.2).
const WINDOW: u64 = 128;

/// The 48-bit index meant by a sequence number: the one closest to the highest so far (§3.3.1, appendix A).
pub(super) fn estimate(highest: Option<u64>, sequence: u16) -> u64 {
    let Some(highest) = highest else { return u64::from(sequence) };
    let ahead = sequence.wrapping_sub(highest as u16);
    let forward = highest + u64::from(ahead);
    if ahead < 0x8000 { forward } else { forward.checked_sub(0x1_0000).unwrap_or(forward) }
}

/// What was seen of the newest indices.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest - n` came. None set: nothing came.
    seen: u128,
}

impl Window {
    /// Whether this index is new and not too old.
    pub fn admits(&self, index: u64) -> bool {
        if self.seen == 0 || index > self.highest {
            return true;
        }
        let behind = self.highest - index;
        behind < WINDOW && self.seen >> behind & 1 == 0
    }

    /// This index came.
    pub fn mark(&mut self, index: u64) {
        if self.seen == 0 || index > self.highest {
            let ahead = if self.seen == 0 { WINDOW } else { index - self.highest };
            self.seen = if ahead < WINDOW { self.seen << ahead } else { 0 } | 1;
            self.highest = index;
        } else if let behind @ 0..WINDOW = self.highest - index {
            self.seen |= 1 << behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_roll_over_is_followed_both_ways() {
        assert_eq!(estimate(None, 65_000), 65_000);
        assert_eq!(estimate(Some(65_535), 0), 65_536);
        assert_eq!(estimate(Some(65_536), 65_535), 65_535, "a late one from before");
        assert_eq!(estimate(Some((3 << 16) + 5), 65_530), (2 << 16) + 65_530);
        assert_eq!(estimate(Some(5), 65_530), 65_530, "nothing was before the first round");
    }

    proptest! {
        #[test]
        fn each_index_is_taken_once_and_none_behind_the_window(jumps in prop::collection::vec(-200i64..200, 1..300)) {
            let (mut window, mut taken, mut at, mut highest) = (Window::default(), BTreeSet::new(), 1_000i64, 0u64);
            for jump in jumps {
                at = (at + jump).max(0);
                let index = at as u64;
                let fresh = !taken.contains(&index) && (taken.is_empty() || index + WINDOW > highest);
                prop_assert_eq!(window.admits(index), fresh);
                if fresh {
                    window.mark(index);
                    taken.insert(index);
                    highest = highest.max(index);
                    prop_assert!(!window.admits(index));
                }
            }
        }
    }
}
