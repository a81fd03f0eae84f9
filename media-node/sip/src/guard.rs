//! Nonces, their replay check, and the lock-out of guessers.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::entropy::Entropy;

/// What a nonce is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NonceState {
    /// Ours, young, and its counter was not used.
    Fresh,
    /// Ours, but too old or its counter was used: challenge again with `stale=true`.
    Stale,
    /// Not ours.
    Foreign,
}

/// Issues nonces without storing them: a nonce is its birth time and a keyed hash of it. Only the
/// counters of nonces that proved a password are stored.
pub(crate) struct Guard {
    epoch: Option<Instant>,
    nonce_life_ms: u64,
    nonce_bound: usize,
    used: HashMap<(u64, u64), u32>,
    /// In the order of first use.
    used_order: VecDeque<(u64, u64)>,
    /// Nonces born before this are stale: their counters may have been forgotten.
    floor_ms: u64,
    failures: HashMap<(String, IpAddr), Failures>,
    failure_order: VecDeque<(String, IpAddr)>,
    failure_bound: usize,
    allowed_failures: u32,
    lock_out: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Guard {
    pub fn new(limits: &Limits) -> Self {
        Self {
            epoch: None,
            nonce_life_ms: limits.nonce_life.as_millis() as u64,
            nonce_bound: limits.nonces.max(1),
            used: HashMap::new(),
            used_order: VecDeque::new(),
            floor_ms: 0,
            failures: HashMap::new(),
            failure_order: VecDeque::new(),
            failure_bound: limits.nonces.max(1),
            allowed_failures: limits.auth_failures.max(1),
            lock_out: limits.lock_out,
        }
    }

    fn age_ms(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        now.saturating_duration_since(epoch).as_millis() as u64
    }

    /// A nonce for a client at `source`.
    pub fn issue(&mut self, now: Instant, entropy: &mut Entropy, source: IpAddr) -> String {
        let born = self.age_ms(now);
        let salt = entropy.next_u64();
        let mac = mac(entropy, born, salt, source);
        format!("{born:012x}{salt:016x}{mac:016x}")
    }

    /// Judges a nonce and its counter; nothing is stored yet.
    pub fn judge(&mut self, now: Instant, entropy: &Entropy, source: IpAddr, nonce: &str, count: u32) -> NonceState {
        let Some((born, salt, given)) = split(nonce) else {
            return NonceState::Foreign;
        };
        if mac(entropy, born, salt, source) != given {
            return NonceState::Foreign;
        }
        let age = self.age_ms(now).saturating_sub(born);
        let replayed = self.used.get(&(born, salt)).is_some_and(|last| count <= *last);
        if age > self.nonce_life_ms || born < self.floor_ms || replayed || count == 0 {
            NonceState::Stale
        } else {
            NonceState::Fresh
        }
    }

    /// Remembers the counter of a nonce that proved a password.
    pub fn consume(&mut self, nonce: &str, count: u32) {
        let Some((born, salt, _)) = split(nonce) else {
            return;
        };
        if self.used.insert((born, salt), count).is_none() {
            self.used_order.push_back((born, salt));
        }
        while self.used_order.len() > self.nonce_bound {
            if let Some(oldest) = self.used_order.pop_front() {
                self.used.remove(&oldest);
                self.floor_ms = self.floor_ms.max(oldest.0 + 1);
            }
        }
    }

    /// Whether this user may not try from this address for now.
    pub fn locked(&self, now: Instant, user: &str, source: IpAddr) -> bool {
        self.failures
            .get(&(user.to_owned(), source))
            .is_some_and(|f| f.count >= self.allowed_failures && now.saturating_duration_since(f.last) < self.lock_out)
    }

    /// Counts a wrong password or an unknown user, alike.
    pub fn failed(&mut self, now: Instant, user: &str, source: IpAddr) {
        let key = (user.to_owned(), source);
        let lock_out = self.lock_out;
        let entry = self.failures.entry(key.clone()).or_insert_with(|| {
            self.failure_order.push_back(key);
            Failures { count: 0, last: now }
        });
        if now.saturating_duration_since(entry.last) >= lock_out {
            entry.count = 0;
        }
        entry.count = entry.count.saturating_add(1);
        entry.last = now;
        while self.failure_order.len() > self.failure_bound {
            if let Some(oldest) = self.failure_order.pop_front() {
                self.failures.remove(&oldest);
            }
        }
    }

    /// A right password clears the count.
    pub fn succeeded(&mut self, user: &str, source: IpAddr) {
        if let Some(entry) = self.failures.get_mut(&(user.to_owned(), source)) {
            entry.count = 0;
        }
    }
}

fn mac(entropy: &Entropy, born: u64, salt: u64, source: IpAddr) -> u64 {
    entropy.keyed("nonce", &[&born.to_be_bytes(), &salt.to_be_bytes(), source.to_string().as_bytes()])
}

/// Birth, salt and keyed hash of a nonce of ours.
fn split(nonce: &str) -> Option<(u64, u64, u64)> {
    if nonce.len() != 44 || !nonce.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let part = |from: usize, to: usize| u64::from_str_radix(nonce.get(from..to)?, 16).ok();
    Some((part(0, 12)?, part(12, 28)?, part(28, 44)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> (Guard, Entropy, Instant, IpAddr) {
        let limits = Limits { nonces: 2, auth_failures: 3, ..Limits::default() };
        (Guard::new(&limits), Entropy::new([7; 32]), Instant::now(), "192.0.2.7".parse().unwrap())
    }

    #[test]
    fn a_nonce_counts_up_ages_and_belongs_to_its_source() {
        let (mut guard, mut entropy, now, source) = setup();
        let nonce = guard.issue(now, &mut entropy, source);
        assert_eq!(guard.judge(now, &entropy, source, &nonce, 1), NonceState::Fresh);
        guard.consume(&nonce, 1);
        assert_eq!(guard.judge(now, &entropy, source, &nonce, 1), NonceState::Stale, "replayed");
        assert_eq!(guard.judge(now, &entropy, source, &nonce, 2), NonceState::Fresh);
        assert_eq!(guard.judge(now, &entropy, "192.0.2.8".parse().unwrap(), &nonce, 2), NonceState::Foreign);
        assert_eq!(guard.judge(now, &entropy, source, "0123", 1), NonceState::Foreign);
        let later = now + Duration::from_secs(301);
        assert_eq!(guard.judge(later, &entropy, source, &nonce, 2), NonceState::Stale);
    }

    #[test]
    fn forgetting_a_counter_makes_its_nonce_stale() {
        let (mut guard, mut entropy, now, source) = setup();
        let nonces: Vec<String> =
            (0..3).map(|ms| guard.issue(now + Duration::from_millis(ms), &mut entropy, source)).collect();
        for nonce in &nonces {
            guard.consume(nonce, 1);
        }
        assert_eq!(guard.judge(now, &entropy, source, &nonces[0], 1), NonceState::Stale);
        assert_eq!(guard.judge(now, &entropy, source, &nonces[2], 2), NonceState::Fresh);
    }

    #[test]
    fn guessers_are_locked_out_by_user_and_address() {
        let (mut guard, _, now, source) = setup();
        for _ in 0..3 {
            assert!(!guard.locked(now, "a", source));
            guard.failed(now, "a", source);
        }
        assert!(guard.locked(now, "a", source));
        assert!(!guard.locked(now, "a", "192.0.2.8".parse().unwrap()));
        assert!(!guard.locked(now, "b", source));
        assert!(!guard.locked(now + Duration::from_secs(301), "a", source));
    }
}
