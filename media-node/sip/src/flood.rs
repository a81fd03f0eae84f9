//! How many requests that belong to nothing a source may send: a token bucket per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::PerSource;

/// Addresses remembered; beyond it all start anew, so that memory stays bounded.
const SOURCES: usize = 65_536;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// The buckets.
#[derive(Debug)]
pub(crate) struct Flood {
    limit: Option<PerSource>,
    buckets: HashMap<IpAddr, Bucket>,
}

impl Flood {
    pub fn new(limit: Option<PerSource>) -> Self {
        Self { limit, buckets: HashMap::new() }
    }

    /// Takes one token; `false`: the source has none left.
    pub fn admit(&mut self, now: Instant, source: IpAddr) -> bool {
        let Some(limit) = self.limit else { return true };
        let burst = f64::from(limit.burst.max(1));
        if self.buckets.len() >= SOURCES && !self.buckets.contains_key(&source) {
            self.buckets.clear();
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { tokens: burst, filled: now });
        let elapsed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + elapsed * f64::from(limit.per_second)).min(burst);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_source_has_its_burst_and_its_rate_and_takes_nothing_from_others() {
        let mut flood = Flood::new(Some(PerSource { per_second: 10, burst: 20 }));
        let (now, a) = (Instant::now(), "192.0.2.1".parse().unwrap());
        let admitted = |flood: &mut Flood, at, count| (0..count).filter(|_| flood.admit(at, a)).count();
        assert_eq!(admitted(&mut flood, now, 100), 20);
        assert!(flood.admit(now, "192.0.2.2".parse().unwrap()));
        assert_eq!(admitted(&mut flood, now + Duration::from_millis(500), 100), 5);
        assert_eq!(admitted(&mut flood, now + Duration::from_secs(60), 100), 20);
    }

    #[test]
    fn sources_without_end_do_not_grow_it_without_end() {
        let mut flood = Flood::new(Some(PerSource { per_second: 10, burst: 20 }));
        let now = Instant::now();
        for n in 0..200_000u32 {
            flood.admit(now, IpAddr::from(n.to_be_bytes()));
        }
        assert!(flood.buckets.len() <= SOURCES);
    }
}
