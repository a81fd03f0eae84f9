//! Which RTP port pairs are free: the one freed longest ago goes first, and none before it has rested.

use std::collections::VecDeque;

use super::PortRange;
use crate::stream::Micros;

/// Free port pairs, by their even port.
#[derive(Debug)]
pub(super) struct PortPool {
    /// With the moment from which it may be used.
    free: VecDeque<(u16, Micros)>,
    rest_us: Micros,
    in_use: usize,
}

impl PortPool {
    /// All pairs of the range, in an order that `seed` shuffles: a port is not to be guessed.
    pub fn new(range: PortRange, rest_ms: u32, seed: u64) -> Self {
        let first = u32::from(range.first).next_multiple_of(2);
        let mut ports: Vec<u16> = (first..u32::from(range.last)).step_by(2).map(|port| port as u16).collect();
        let mut state = seed | 1;
        for index in (1..ports.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ports.swap(index, ((state >> 33) as usize) % (index + 1));
        }
        Self {
            free: ports.into_iter().map(|port| (port, 0)).collect(),
            rest_us: Micros::from(rest_ms) * 1_000,
            in_use: 0,
        }
    }

    /// A pair that has rested.
    pub fn take(&mut self, now: Micros) -> Option<u16> {
        let (port, _) = self.free.pop_front_if(|(_, from)| *from <= now)?;
        self.in_use += 1;
        Some(port)
    }

    /// Gives a pair back; also one that another process holds, so that it is tried again later.
    pub fn give_back(&mut self, port: u16, now: Micros) {
        self.in_use = self.in_use.saturating_sub(1);
        self.free.push_back((port, now + self.rest_us));
    }

    /// Pairs in use.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Pairs in all.
    pub fn size(&self) -> usize {
        self.free.len() + self.in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_is_given_once_and_rests_before_the_next_time() {
        let mut pool = PortPool::new(PortRange { first: 20_001, last: 20_010 }, 1_000, 42);
        assert_eq!(pool.size(), 4);
        let mut taken: Vec<u16> = std::iter::from_fn(|| pool.take(0)).collect();
        let first = taken[0];
        taken.sort_unstable();
        assert_eq!(taken, [20_002, 20_004, 20_006, 20_008]);
        assert_eq!(pool.in_use(), 4);
        pool.give_back(first, 500_000);
        assert_eq!(pool.take(1_499_999), None);
        assert_eq!(pool.take(1_500_000), Some(first));
    }

    #[test]
    fn ranges_at_the_edges() {
        assert_eq!(PortPool::new(PortRange { first: 65_534, last: 65_535 }, 0, 1).size(), 1);
        assert_eq!(PortPool::new(PortRange { first: 65_535, last: 65_535 }, 0, 1).size(), 0);
        assert_eq!(PortPool::new(PortRange { first: 9, last: 3 }, 0, 1).size(), 0);
    }
}
