//! hotline-ticket.
