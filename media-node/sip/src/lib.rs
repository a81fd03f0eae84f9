//! SIP without I/O: a strict pre-parser, RFC 3261 transactions and dialogs, digest, registrar helpers.

pub mod api;
