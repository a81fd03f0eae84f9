//! hotline-live.
