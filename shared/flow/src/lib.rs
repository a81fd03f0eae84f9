//! hotline-flow.
