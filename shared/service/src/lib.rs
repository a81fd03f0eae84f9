//! hotline-service.
