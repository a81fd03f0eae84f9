//! The ways to the telephone network: which is next, which numbers are allowed, how many calls.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::TrunkSection;

/// A gateway that failed is tried after the others for so long.
const REST: Duration = Duration::from_secs(30);

/// What all workers know of the gateways.
#[derive(Debug, Default)]
pub struct Gateways {
    failed: Mutex<HashMap<usize, Instant>>,
    calls: Arc<AtomicUsize>,
}

/// A call to outside; dropped, it makes room for another.
#[derive(Debug)]
pub struct OutsideCall(Arc<AtomicUsize>);

impl Drop for OutsideCall {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gateways {
    /// The gateway to try next, and whether there is another one after it.
    pub fn next(&self, trunk: &TrunkSection, tried: &[usize], now: Instant) -> Option<(usize, bool)> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = |index: &usize| failed.get(index).is_some_and(|at| now.saturating_duration_since(*at) < REST);
        let left: Vec<usize> = (0..trunk.gateways.len()).filter(|index| !tried.contains(index)).collect();
        let next = left.iter().find(|index| !rests(index)).or(left.first())?;
        Some((*next, left.len() > 1))
    }

    /// A gateway did not take a call.
    pub fn failed(&self, gateway: usize, now: Instant) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(gateway, now);
    }

    /// Room for one more call to outside.
    pub fn enter(&self, trunk: &TrunkSection) -> Option<OutsideCall> {
        let room = |calls: usize| (calls < trunk.max_calls).then_some(calls + 1);
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(OutsideCall(self.calls.clone()))
    }

    /// Calls to outside now.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Whether a number, normalised, may be called.
pub fn allowed(trunk: &TrunkSection, number: &str) -> bool {
    let plain = number.strip_prefix('+').unwrap_or(number);
    let good = (2..=20).contains(&plain.len()) && plain.bytes().all(|b| b.is_ascii_digit());
    good && trunk.allow.iter().any(|prefix| number.starts_with(prefix.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn trunk(gateways: usize) -> TrunkSection {
        let gateway = |n| Gateway { host: format!("g{n}"), port: 5060, user: String::new(), password: String::new() };
        TrunkSection {
            gateways: (0..gateways).map(gateway).collect(),
            allow: vec!["+86".into(), "110".into()],
            max_calls: 2,
        }
    }

    #[test]
    fn gateways_take_turns_when_they_fail() {
        let (gateways, trunk, now) = (Gateways::default(), trunk(3), Instant::now());
        assert_eq!(gateways.next(&trunk, &[], now), Some((0, true)));
        gateways.failed(0, now);
        assert_eq!(gateways.next(&trunk, &[0], now), Some((1, true)));
        assert_eq!(gateways.next(&trunk, &[0, 1], now), Some((2, false)));
        assert_eq!(gateways.next(&trunk, &[0, 1, 2], now), None);
        // The next call does not begin with the one that failed.
        assert_eq!(gateways.next(&trunk, &[], now), Some((1, true)));
        assert_eq!(gateways.next(&trunk, &[1, 2], now), Some((0, false)));
        assert_eq!(gateways.next(&trunk, &[], now + REST), Some((0, true)));
    }

    #[test]
    fn only_so_many_calls_and_only_to_these_numbers() {
        let (gateways, trunk) = (Gateways::default(), trunk(1));
        let first = gateways.enter(&trunk).unwrap();
        let _second = gateways.enter(&trunk).unwrap();
        assert!(gateways.enter(&trunk).is_none());
        drop(first);
        assert!(gateways.enter(&trunk).is_some());
        for (number, good) in [
            ("+8613800138000", true),
            ("110", true),
            ("+18005550100", false),
            ("8613800138000", false),
            ("+86", true),
            ("+86138x", false),
            ("+861380013800013800138", false),
            ("", false),
        ] {
            assert_eq!(allowed(&trunk, number), good, "{number}");
        }
    }
}
