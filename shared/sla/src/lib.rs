//! hotline-sla.
