//! Unpredictable tokens from a seed and a counter: SHA-256 in counter mode.

use sha2::{Digest, Sha256};

/// The source of branches, tags, Call-IDs and nonces.
pub(crate) struct Entropy {
    seed: [u8; 32],
    counter: u64,
    pool: [u8; 32],
    used: usize,
}

impl Entropy {
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, pool: [0; 32], used: 32 }
    }

    /// 64 fresh bits.
    pub fn next_u64(&mut self) -> u64 {
        if self.used + 8 > self.pool.len() {
            let mut hash = Sha256::new();
            hash.update(self.seed);
            hash.update(self.counter.to_be_bytes());
            self.pool = hash.finalize().into();
            self.counter += 1;
            self.used = 0;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.pool[self.used..self.used + 8]);
        self.used += 8;
        u64::from_be_bytes(bytes)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// 64 bits that depend on `parts` and the seed only: the same for a retransmission.
    pub fn keyed(&self, purpose: &str, parts: &[&[u8]]) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(purpose.as_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(bytes)
    }
}
