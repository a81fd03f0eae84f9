//! Staffed and occupied time over a sliding hour, in twelve buckets.

use hotline_base::Timestamp;
use serde::{Deserialize, Serialize};

const BUCKETS: usize = 12;
const BUCKET_MS: i64 = 300_000;

/// Twelve buckets of five minutes, a ring; older time falls out. Fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window {
    /// The number of the newest bucket since the epoch.
    newest: i64,
    /// Milliseconds staffed, by bucket number modulo twelve.
    staffed: [u32; BUCKETS],
    /// Milliseconds occupied, likewise.
    occupied: [u32; BUCKETS],
}

fn slot(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}

impl Window {
    /// Counts the time from `from` to `to`.
    pub fn add(&mut self, from: Timestamp, to: Timestamp, staffed: bool, occupied: bool) {
        let end = to.as_millis();
        if end <= from.as_millis() {
            return;
        }
        let last = (end - 1).div_euclid(BUCKET_MS);
        self.advance(last);
        if !staffed {
            return;
        }
        let oldest = self.newest - (BUCKETS as i64 - 1);
        let first = from.as_millis().div_euclid(BUCKET_MS).max(oldest);
        for bucket in first..=last {
            let starts = (bucket * BUCKET_MS).max(from.as_millis());
            let ends = ((bucket + 1) * BUCKET_MS).min(end);
            let ms = (ends - starts).clamp(0, BUCKET_MS) as u32;
            let room = |v: u32| v.saturating_add(ms).min(BUCKET_MS as u32);
            let i = slot(bucket);
            self.staffed[i] = room(self.staffed[i]);
            if occupied {
                self.occupied[i] = room(self.occupied[i]);
            }
        }
    }

    fn advance(&mut self, to: i64) {
        if to <= self.newest {
            return;
        }
        let gone = (to - self.newest).min(BUCKETS as i64);
        for bucket in (to - gone + 1)..=to {
            self.staffed[slot(bucket)] = 0;
            self.occupied[slot(bucket)] = 0;
        }
        self.newest = to;
    }

    /// Occupied per 1,000 of staffed time in the hour before `now`; 0 where there was none.
    pub fn occupancy_pm(&self, now: Timestamp) -> u16 {
        let oldest = now.as_millis().div_euclid(BUCKET_MS) - (BUCKETS as i64 - 1);
        let mut staffed = 0_u64;
        let mut occupied = 0_u64;
        for bucket in (self.newest - (BUCKETS as i64 - 1)).max(oldest)..=self.newest {
            staffed += u64::from(self.staffed[slot(bucket)]);
            occupied += u64::from(self.occupied[slot(bucket)]);
        }
        (occupied * 1_000).checked_div(staffed).unwrap_or(0).min(1_000) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + ms)
    }

    #[test]
    fn half_busy_is_half_occupied() {
        let mut window = Window::default();
        window.add(at(0), at(600_000), true, true);
        window.add(at(600_000), at(1_200_000), true, false);
        window.add(at(1_200_000), at(1_300_000), false, false);
        assert_eq!(window.occupancy_pm(at(1_300_000)), 500);
    }

    #[test]
    fn older_than_an_hour_is_forgotten() {
        let mut window = Window::default();
        window.add(at(0), at(300_000), true, true);
        assert_eq!(window.occupancy_pm(at(300_000)), 1_000);
        assert_eq!(window.occupancy_pm(at(3_600_001)), 0);
        window.add(at(300_000), at(4_000_000), true, false);
        assert_eq!(window.occupancy_pm(at(4_000_000)), 0);
    }

    #[test]
    fn a_clock_that_goes_back_counts_nothing() {
        let mut window = Window::default();
        window.add(at(500), at(100), true, true);
        assert_eq!(window, Window::default());
    }

    #[test]
    fn a_year_in_one_state_is_cheap_and_bounded() {
        let mut window = Window::default();
        window.add(at(0), at(31_536_000_000), true, true);
        assert_eq!(window.occupancy_pm(at(31_536_000_000)), 1_000);
        assert!(serde_json::to_string(&window).unwrap().len() < 250);
    }
}
