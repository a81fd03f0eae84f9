//! What is charged, and how long things take: the assumptions of the model, in one place.
//!
//! Prices are AWS list prices for us-east-1 without any discount or free allowance, as the pages
//! "Amazon DynamoDB pricing, on-demand capacity", "AWS Lambda pricing" (Arm, first tier) and
//! "Amazon SQS pricing" (standard queues) gave them in November 2025. Check them before you rely
//! on the sums.

/// DynamoDB on demand, per write request unit (1 kB; twice that in a transaction), dollars.
pub const WRITE_UNIT: f64 = 0.625 / 1e6;
/// DynamoDB on demand, per read request unit (4 kB, strongly consistent), dollars.
pub const READ_UNIT: f64 = 0.125 / 1e6;
/// Lambda on arm64, per request, dollars.
pub const REQUEST: f64 = 0.20 / 1e6;
/// Lambda on arm64, per GB-second, dollars.
pub const GB_SECOND: f64 = 0.000_013_333_4;
/// SQS standard queues, per request, dollars.
pub const MESSAGE: f64 = 0.40 / 1e6;

/// Memory of each function, GB, as in the template.
pub const MEMORY_GB: f64 = 0.5;
/// Time on the processor per invocation beside its waits, milliseconds.
pub const CPU_MS: f64 = 2.0;
/// Facts that one invocation of the stream's consumer takes.
pub const FACTS_PER_BATCH: u64 = 10;
/// Sends, receives and deletes per message.
pub const REQUESTS_PER_MESSAGE: u64 = 3;

/// Reading one item, milliseconds.
pub const LOAD_MS: i64 = 4;
/// Reading a range, milliseconds.
pub const RANGE_MS: i64 = 5;
/// A transaction, milliseconds.
pub const COMMIT_MS: i64 = 12;
/// One write outside a transaction, milliseconds.
pub const WRITE_MS: i64 = 5;
/// A message to a queue, milliseconds.
pub const QUEUE_MS: i64 = 6;
/// From sending a command until the node has it, milliseconds.
pub const COMMAND_MS: i64 = 20;
/// From a message's due time until its function runs, milliseconds.
pub const DELIVERY_MS: i64 = 30;
/// A new environment of a function, milliseconds: the platform's part and the program's start.
pub const COLD_START_MS: i64 = 150;
/// New environments of one function in ten seconds.
pub const SCALE_PER_10_S: usize = 1_000;

/// What DynamoDB takes of one partition in a second: write units.
pub const PARTITION_WRITES: u64 = 1_000;
/// And read units.
pub const PARTITION_READS: u64 = 3_000;
