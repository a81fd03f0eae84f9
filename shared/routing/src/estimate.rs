//! The wait that callers are told.
//!
//! Method: with `s` staffed agents whose contacts last `h` on average (an exponentially weighted
//! mean of talk and wrap-up), one agent comes free every `h / s`. A contact with `a` others before
//! it and `f` free agents waits for `a + 1 − f` of these. Nobody staffed: unknown.

use hotline_base::Timestamp;
use serde::{Deserialize, Serialize};

/// The mean handle time of a queue, learned from each contact handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleTime {
    /// Milliseconds.
    pub mean_ms: u32,
    /// Contacts counted, up to 1,000,000.
    pub samples: u32,
}

/// Assumed before anything was learned, milliseconds.
pub const FIRST_HANDLE_MS: u32 = 240_000;
/// One contact never counts for more than this, milliseconds.
const LONGEST_MS: u32 = 7_200_000;

impl Default for HandleTime {
    fn default() -> Self {
        Self { mean_ms: FIRST_HANDLE_MS, samples: 0 }
    }
}

impl HandleTime {
    /// Counts one contact: talk and wrap-up, milliseconds. The first twenty weigh equally, later
    /// ones a twentieth.
    pub fn learn(&mut self, handled_ms: u32) {
        let handled = i64::from(handled_ms.min(LONGEST_MS));
        self.samples = self.samples.saturating_add(1).min(1_000_000);
        let weight = i64::from(self.samples.min(20));
        let mean = i64::from(self.mean_ms);
        self.mean_ms = (mean + (handled - mean) / weight).clamp(0, i64::from(LONGEST_MS)) as u32;
    }
}

/// The estimated wait of a contact with `ahead` others before it, milliseconds; `None`: unknown,
/// because nobody is staffed.
pub fn estimate_ms(ahead: u32, staffed: u32, free: u32, handle: &HandleTime) -> Option<u32> {
    if staffed == 0 {
        return None;
    }
    let turns = (u64::from(ahead) + 1).saturating_sub(u64::from(free));
    let ms = turns * u64::from(handle.mean_ms) / u64::from(staffed);
    Some(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// What a caller was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Whole minutes, rounded up, 1 or more.
    pub minutes: u32,
    /// Place in the queue, from 1.
    pub position: u32,
    /// When.
    pub at: Timestamp,
}

/// What to tell a caller now.
///
/// Whole minutes, rounded up. The figure told before, less the minutes since, stands unless the
/// fresh one is lower, or is higher by more than half of it and two minutes: jitter never makes it
/// rise. `None`: no estimate; tell the place only.
pub fn announce(
    previous: Option<Announced>,
    ahead: u32,
    estimated_ms: Option<u32>,
    now: Timestamp,
) -> Option<Announced> {
    let fresh = u64::from(estimated_ms?).div_ceil(60_000).max(1);
    let minutes = match previous {
        None => fresh,
        Some(told) => {
            let passed = u64::try_from(now.since_ms(told.at).max(0) / 60_000).unwrap_or(0);
            let stands = u64::from(told.minutes).saturating_sub(passed).max(1);
            if fresh > stands && fresh <= stands + (stands / 2).max(2) { stands } else { fresh }
        }
    };
    Some(Announced { minutes: u32::try_from(minutes).unwrap_or(u32::MAX), position: ahead.saturating_add(1), at: now })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + s * 1_000)
    }

    #[test]
    fn the_mean_follows_what_is_handled() {
        let mut handle = HandleTime::default();
        handle.learn(100_000);
        assert_eq!(handle.mean_ms, 100_000);
        for _ in 0..200 {
            handle.learn(200_000);
        }
        assert!((198_000..=200_000).contains(&handle.mean_ms), "{}", handle.mean_ms);
        handle.learn(u32::MAX);
        assert!(handle.mean_ms < 600_000, "one absurd contact does not ruin it: {}", handle.mean_ms);
    }

    #[test]
    fn waits_by_place_and_staff() {
        let handle = HandleTime { mean_ms: 240_000, samples: 50 };
        assert_eq!(estimate_ms(0, 0, 0, &handle), None);
        assert_eq!(estimate_ms(0, 4, 1, &handle), Some(0));
        assert_eq!(estimate_ms(0, 4, 0, &handle), Some(60_000));
        assert_eq!(estimate_ms(7, 4, 0, &handle), Some(480_000));
        assert_eq!(estimate_ms(u32::MAX, 1, 0, &handle), Some(u32::MAX));
    }

    #[test]
    fn jitter_never_makes_the_announcement_rise() {
        let first = announce(None, 5, Some(290_000), at(0)).unwrap();
        assert_eq!((first.minutes, first.position), (5, 6));
        let told = |previous, s, ms| announce(Some(previous), 4, Some(ms), at(s)).unwrap();
        let second = told(first, 30, 310_000);
        assert_eq!(second.minutes, 5, "a minute more is jitter");
        let third = told(second, 95, 320_000);
        assert_eq!(third.minutes, 4, "time has passed");
        let fourth = told(third, 100, 61_000);
        assert_eq!(fourth.minutes, 2, "better is told at once");
        let worse = told(fourth, 110, 900_000);
        assert_eq!(worse.minutes, 15, "much worse is told too");
        assert_eq!(announce(Some(first), 4, None, at(1)), None);
    }
}
