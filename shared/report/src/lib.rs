//! hotline-report.
