//! Speech from text: Polly in the cloud, espeak-ng as a process on one's own machine.

mod espeak;
mod polly;
mod resample;

pub use espeak::Espeak;
pub use polly::Polly;

/// What both engines are asked to speak at once.
pub(crate) const MAX_CHARS: usize = 3_000;
