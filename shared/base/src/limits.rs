//! Bounds that several crates share. Everything accepted from outside has one.

/// Facts kept in one transition.
pub const FACTS_PER_STEP: usize = 32;
/// Input ids remembered per entity to recognise repeats.
pub const SEEN_INPUTS: usize = 32;
/// A stored state, bytes of JSON (a DynamoDB item holds 400 KB).
pub const STATE_BYTES: usize = 256 * 1024;
/// The text of a flow, bytes.
pub const FLOW_BYTES: usize = 256 * 1024;
/// Items on one page of a list.
pub const PAGE_ITEMS: usize = 100;
/// An uploaded prompt, bytes.
pub const PROMPT_BYTES: usize = 10 * 1024 * 1024;
/// An API request body, bytes.
pub const BODY_BYTES: usize = 1024 * 1024;
