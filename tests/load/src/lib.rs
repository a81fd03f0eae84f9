//! hotline-load.
