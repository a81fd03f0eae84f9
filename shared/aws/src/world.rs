//! The clock and the random source of this machine.

use hotline_base::Timestamp;
use hotline_ports::World;
use std::time::{SystemTime, UNIX_EPOCH};

/// The system clock and the kernel's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWorld;

impl World for SystemWorld {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> u128 {
        let mut bytes = [0; 16];
        // The kernel refuses only where the process may not ask at all (a seccomp filter);
        // ids from a constant would collide, so this stops the process.
        getrandom::getrandom(&mut bytes).unwrap_or_else(|error| panic!("no random numbers from the system: {error}"));
        u128::from_le_bytes(bytes)
    }
}
