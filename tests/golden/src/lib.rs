//! hotline-golden.
