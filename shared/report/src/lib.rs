//! Reports are folds of facts: what is counted here is counted from nothing else.
//!
//! [`fold`] turns one fact into additions to counters; the additions of all facts, in any order
//! and each once, are the report. [`summarise`] reads the counters back as figures.

mod fold;
mod summary;

pub use fold::{
    EDGES_S, FoldError, INTERVAL_MS, Increment, ROWS_PER_INTERVAL, WAIT_CLASSES, fold, interval_in, interval_of,
    partition, parts, place, sort_of,
};
pub use summary::{
    AgentFigures, CounterRow, IntervalFigures, QueueFigures, Summary, TicketFigures, Window, summarise, window,
};
