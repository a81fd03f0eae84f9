//! hotline-api.
