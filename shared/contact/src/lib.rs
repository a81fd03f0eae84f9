//! hotline-contact.
