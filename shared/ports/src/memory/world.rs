//! A clock that stands still until moved, and randomness from a seed.

use hotline_base::Timestamp;
use std::sync::Mutex;

use crate::World;
use crate::memory::lock;

/// Virtual time and seeded randomness.
pub struct MemoryWorld(Mutex<(Timestamp, u64)>);

impl MemoryWorld {
    /// Standing at `now`.
    pub fn new(now: Timestamp, seed: u64) -> Self {
        Self(Mutex::new((now, seed)))
    }

    /// Moves the clock; never back.
    pub fn set(&self, now: Timestamp) {
        let mut inner = lock(&self.0);
        inner.0 = inner.0.max(now);
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, ms: i64) {
        let mut inner = lock(&self.0);
        inner.0 = inner.0.plus_ms(ms.max(0));
    }
}

impl World for MemoryWorld {
    fn now(&self) -> Timestamp {
        lock(&self.0).0
    }

    fn random(&self) -> u128 {
        let mut inner = lock(&self.0);
        let mut next = || {
            // SplitMix64 (Steele, Lea, Flood 2014).
            inner.1 = inner.1.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = inner.1;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        (u128::from(next()) << 64) | u128::from(next())
    }
}
