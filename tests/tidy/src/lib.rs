//! hotline-tidy.
