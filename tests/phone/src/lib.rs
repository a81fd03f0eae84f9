//! hotline-phone.
