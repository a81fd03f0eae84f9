//! hotline-session.
