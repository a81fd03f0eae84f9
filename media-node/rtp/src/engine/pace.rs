//! When a media thread waits on purpose.
//!
//! A packet every few microseconds, each waking the thread by itself, costs more in wakings than in
//! packets: then it pays to sleep a moment and take several at once. Where packets come in bursts
//! anyhow, the same sleep costs delay and gains nothing. So it is tried: for a moment the thread
//! does not sleep, and how often it had to be woken is counted; the next half second follows from that.

/// Packets in a look below which there is little to save: 10,000 a second.
const FEW_PACKETS: u64 = 100;
/// Ticks in a look: 10 ms.
const LOOK_TICKS: u32 = 2;
/// Ticks a decision to sleep holds: half a second.
const HOLD_TICKS: u32 = 100;

/// Decides whether to sleep between two looks at the sockets.
#[derive(Debug, Default)]
pub(super) struct Pace {
    packets: u64,
    /// Wakings counted by the kernel at the begin of the present look.
    wakings: u64,
    ticks: u32,
    sleeping: bool,
}

impl Pace {
    /// So many packets were taken at one waking.
    pub fn took(&mut self, packets: usize) {
        self.packets += packets as u64;
    }

    /// Whether to sleep a moment before the next look.
    pub fn sleeps(&self) -> bool {
        self.sleeping
    }

    /// So many ticks have passed; `wakings` gives how often the thread has been woken since its start.
    pub fn passed(&mut self, ticks: u64, wakings: impl FnOnce() -> u64) {
        self.ticks = self.ticks.saturating_add(ticks.min(u64::from(HOLD_TICKS)) as u32);
        if self.ticks < if self.sleeping { HOLD_TICKS } else { LOOK_TICKS } {
            return;
        }
        let now = wakings();
        let woken = now.saturating_sub(self.wakings);
        // Two of three packets found the thread asleep.
        self.sleeping = !self.sleeping && self.packets >= FEW_PACKETS && woken * 3 > self.packets * 2;
        self.wakings = now;
        self.packets = 0;
        self.ticks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs looks of 10 ms with so many packets and wakings each; the share that was slept through.
    fn share(packets: usize, wakings: u64) -> f64 {
        let (mut pace, mut woken, mut slept) = (Pace::default(), 0, 0);
        for tick in 0..1_000 {
            pace.took(packets / 2);
            woken += if pace.sleeps() { 50 } else { wakings / 2 };
            slept += u32::from(pace.sleeps());
            pace.passed(1, || woken);
            assert!(tick > 0 || !pace.sleeps(), "nothing is known yet");
        }
        f64::from(slept) / 1_000.0
    }

    #[test]
    fn lonely_packets_are_waited_for_and_bursts_are_not() {
        assert!(share(200, 190) > 0.95, "each packet woke the thread");
        assert_eq!(share(500, 40), 0.0, "bursts of a dozen");
        assert_eq!(share(80, 80), 0.0, "a few calls");
    }

    #[test]
    fn what_was_decided_is_looked_at_again() {
        let mut pace = Pace::default();
        pace.took(100);
        pace.passed(2, || 100);
        assert!(pace.sleeps());
        pace.took(10_000);
        pace.passed(50, || 1_000);
        assert!(pace.sleeps());
        pace.passed(50, || 2_000);
        assert!(!pace.sleeps());
        pace.took(200);
        pace.passed(2, || 2_020);
        assert!(!pace.sleeps(), "bursts now");
    }
}
