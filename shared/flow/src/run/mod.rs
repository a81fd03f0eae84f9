//! Runs a flow: pure turns between what the outside must do and how it ended.
//!
//! [`start`] and [`resume`] walk the steps until one needs the world, and return a [`Turn`]:
//! the [`Cursor`] to keep, what to say first, the [`Ask`], and [`Note`]s to make facts of.

mod answer;
mod ask;
mod say;
mod walk;

pub use walk::{fallback, resume, start};

use hotline_base::{Lang, Name, Redacted, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use crate::{Announcement, Key, Overflow, Priority, PromptRef, RejectReason};

/// Turns that one call may take before it is ended as stuck.
pub const MAX_TURNS: u32 = 1_000;
/// Steps walked in one turn; `check` makes sure that a good flow needs fewer.
pub const MAX_STEPS_PER_TURN: usize = 4_096;
/// Flows inside flows.
pub const MAX_DEPTH: usize = 8;
/// Variables of one call.
pub const MAX_VARS: usize = 50;
/// Characters of a variable's value.
pub const MAX_VALUE_CHARS: usize = 256;
/// Keys and pauses sent at a time.
pub const MAX_KEYS: usize = 64;
/// Prompts gathered up before they are played in between.
pub const MAX_PENDING: usize = 64;
/// Notes of one turn; the oldest [`Note::StepEntered`] are left out beyond it.
pub const MAX_NOTES: usize = 24;

/// What is known of a caller when the call arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The number, as the trunk sent it, E.164 where possible; empty where withheld.
    pub number: Redacted<String>,
    /// The language to start in, where it is known from before; must be one of the flow's.
    #[serde(default)]
    pub lang: Option<Lang>,
    /// Who sent the call on to us, where that is known: the variables [`GIVEN`].
    #[serde(default)]
    pub diverted: Option<Diverted>,
}

/// A call that was meant for somebody else first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverted {
    /// The number that had been called first; empty where withheld.
    pub first: Redacted<String>,
    /// The number that sent the call here; empty where withheld.
    pub last: Redacted<String>,
    /// Why, such as `user-busy` or `no-answer`.
    pub reason: String,
}

/// Variables that a call may bring: the number that had been called first, the one that sent the call
/// here, and why. Those of which nothing is known are not set.
pub const GIVEN: [&str; 3] = ["first-called", "diverted-from", "diversion-reason"];

/// What branches ask about, as it is at the moment of the turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// The calendars that are open now; any other counts as closed.
    pub open_calendars: BTreeSet<Name>,
    /// The queues; any other counts as empty and not staffed.
    pub queues: BTreeMap<Name, QueueView>,
    /// The lists that the caller's number is on.
    pub vip_lists: BTreeSet<Name>,
}

/// A queue as a flow sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueView {
    /// People who serve it and are signed in, busy or not.
    pub staffed: u32,
    /// Of these, who could take a call at once.
    pub free: u32,
    /// Callers waiting.
    pub waiting: u32,
    /// The longest of their waits.
    pub longest_wait_ms: u64,
    /// For a new caller; `None`: no estimate.
    pub estimated_wait_ms: Option<u64>,
}

/// Where a call stands in its flow. Kept by the caller of this module, changed only by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The flow and step that wait for an answer.
    pub at: Frame,
    /// Where to go after each `return`, innermost last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Frame>,
    /// What was gathered and set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<Name, Variable>,
    /// The caller's language.
    pub lang: Lang,
    /// The ticket's category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Name>,
    /// The contact's priority.
    #[serde(default)]
    pub priority: Priority,
    /// Skills asked for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub skills: BTreeSet<Name>,
    /// Failed answers at this step.
    #[serde(default)]
    pub attempts: u8,
    /// Turns taken.
    #[serde(default)]
    pub turns: u32,
    /// What must come next.
    pub waits: Waits,
    /// Something was played or recorded: too late to refuse the call.
    #[serde(default)]
    pub answered: bool,
    /// When the caller first entered the queue last waited in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<(Name, Timestamp)>,
    /// To be said with the next ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// The caller's number.
    #[serde(default)]
    pub number: Redacted<String>,
}

/// What a cursor waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// The answer to the ask of the step.
    Answer,
    /// The end of the prompts; the step begins after it.
    Prompts,
    /// Nothing: the call is over for the flow.
    Nothing,
}

/// A place in a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    /// Which flow.
    pub flow: Name,
    /// Which of its steps.
    pub step: Name,
}

/// Something to be said with the next ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What.
    pub prompt: PromptRef,
    /// A key press does not cut it short.
    pub must_hear: bool,
}

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// At most [`MAX_VALUE_CHARS`] characters.
    pub value: Redacted<String>,
    /// Never shown in notes.
    #[serde(default)]
    pub secret: bool,
}

/// What a turn gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// To be kept and given to [`resume`].
    pub cursor: Cursor,
    /// To be played to its end before the ask begins; key presses do not stop it.
    pub say: Vec<PromptRef>,
    /// What to do then.
    pub ask: Ask,
    /// What happened, oldest first.
    pub notes: Vec<Note>,
}

/// What the outside must do until it answers with an [`Input`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Only say [`Turn::say`]. Answer: `PromptsDone`.
    Play,
    /// Collect digits. Answer: `Digits`, empty where nothing was pressed.
    Gather {
        /// Played first; a key press stops them.
        prompts: Vec<PromptRef>,
        /// Ends the input when so many have come.
        max_digits: u8,
        /// Each of these ends the input; not part of the digits.
        terminators: String,
        /// From the end of the prompts to the first digit.
        first_digit_ms: u32,
        /// Between digits.
        next_digit_ms: u32,
        /// Digits must not be shown anywhere.
        secret: bool,
    },
    /// Wait in a queue. Answer: `AgentDone`, `QueueTimedOut`, `Overflowed`, `QueueLeft`,
    /// `NobodyStaffed` or `SelfService`.
    Queue(QueueAsk),
    /// Ring an agent or a group. Answer: `AgentDone` or `RingFailed`.
    Ring {
        /// Whom.
        target: RingTarget,
        /// How long.
        ring_timeout_ms: u32,
    },
    /// Record a message. Answer: `Recorded`.
    Record {
        /// The longest message.
        max_ms: u32,
        /// A silence of this length ends it; 0: never.
        silence_ms: u32,
        /// A tone before it.
        beep: bool,
        /// Each of these ends it.
        terminators: String,
        /// The queue whose people get it.
        queue: Option<Name>,
    },
    /// Note a promise to call back; needs no media. Answer: `CallbackAccepted` or `CallbackRefused`.
    Callback {
        /// Whom to call.
        number: Redacted<String>,
        /// Which queue calls.
        queue: Name,
        /// The moment from which the place in the queue counts: that of the first wait, or now.
        since: Timestamp,
    },
    /// Connect with an outside number. Answer: `Transferred`, after the other side hung up.
    Transfer {
        /// A number (`+8610…`) or a SIP address.
        target: String,
        /// How long it may ring.
        ring_timeout_ms: u32,
        /// Sent to it as soon as it has answered.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keys: Option<KeysAsk>,
    },
    /// Send keys to the caller's side. Answer: `KeysSent`.
    SendKeys(KeysAsk),
    /// Call a web service or function; needs no media. Answer: `HookDone` or `HookFailed`.
    Hook {
        /// `https://…` or the name of a function.
        target: String,
        /// How long it may take.
        timeout_ms: u32,
        /// What it is told.
        body: BTreeMap<String, Redacted<String>>,
    },
    /// End the call. No answer.
    Hangup,
    /// Refuse the call, which is not answered yet. No answer.
    Reject {
        /// Why.
        reason: RejectReason,
    },
}

/// Keys to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysAsk {
    /// Keys and pauses, at most [`MAX_KEYS`].
    pub keys: Redacted<String>,
    /// They must not be shown anywhere.
    #[serde(default)]
    pub secret: bool,
}

/// A wait in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAsk {
    /// Which.
    pub queue: Name,
    /// Looped.
    pub music: PromptRef,
    /// Said in between.
    pub announcements: Vec<Announcement>,
    /// The contact's priority.
    pub priority: Priority,
    /// Counts as if the caller had come so much earlier.
    pub priority_credit_ms: u32,
    /// When the caller first entered this queue: leaving it for a menu and coming back keeps the place.
    pub since: Timestamp,
    /// Answer `QueueTimedOut` after this, counted from now; `None`: never.
    pub max_wait_ms: Option<u32>,
    /// Answer `NobodyStaffed` when the last person who serves the queue signs out; otherwise wait on.
    pub leave_when_not_staffed: bool,
    /// Skills that the agent should have.
    pub skills: BTreeSet<Name>,
    /// The language that the agent should speak.
    pub lang: Lang,
    /// The ticket's category.
    pub category: Option<Name>,
    /// A press of one of these ends the wait with `QueueLeft`.
    pub leave_keys: String,
}

/// Whom to ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RingTarget {
    /// One agent by name.
    Agent(Name),
    /// Any agent of a group.
    Group(Name),
}

/// How an [`Ask`] ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// Everything was played.
    PromptsDone,
    /// What was pressed.
    Digits {
        /// Empty: nothing.
        digits: Redacted<String>,
    },
    /// The longest wait is over.
    QueueTimedOut,
    /// A rule of the queue sends the caller on.
    Overflowed {
        /// By which way.
        way: Overflow,
    },
    /// The queue leaves the caller to machines.
    SelfService,
    /// The caller pressed a leave key.
    QueueLeft {
        /// Which.
        key: Key,
    },
    /// Nobody who serves the queue is signed in any more.
    NobodyStaffed,
    /// The talk with an agent is over, and the caller is still there.
    AgentDone,
    /// Nobody answered.
    RingFailed,
    /// The message is recorded.
    Recorded {
        /// Its length; 0: nothing was said.
        duration_ms: u64,
    },
    /// The hook answered.
    HookDone {
        /// What it set; names that the step does not receive are ignored.
        vars: BTreeMap<String, String>,
    },
    /// The hook failed or took too long.
    HookFailed,
    /// The transfer is over, and the caller is still there.
    Transferred {
        /// Whether the other side had answered.
        answered: bool,
    },
    /// The keys are sent.
    KeysSent,
    /// The promise is noted.
    CallbackAccepted,
    /// The number cannot be called.
    CallbackRefused,
    /// The ask could not be carried out; the flow goes on as if it had brought nothing.
    Failed,
}

/// Something that happened in a turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// A step began.
    StepEntered {
        /// Its flow.
        flow: Name,
        /// Its name.
        step: Name,
        /// Its kind, as in the text of the flow.
        kind: String,
    },
    /// The caller chose.
    MenuChosen {
        /// The menu.
        step: Name,
        /// The key.
        digit: Key,
        /// What it means, in the author's words.
        label: Option<String>,
        /// The category that it set.
        category: Option<Name>,
    },
    /// The caller was asked and pressed nothing.
    NoInput {
        /// Where.
        step: Name,
    },
    /// The caller pressed something that means nothing here.
    NoMatch {
        /// Where.
        step: Name,
    },
    /// The language is from now on another.
    LanguageSet {
        /// Which.
        lang: Lang,
    },
    /// A variable has a value.
    VariableSet {
        /// Which.
        name: Name,
        /// The value; `None` where it is secret.
        value: Option<Redacted<String>>,
    },
    /// The ticket's category.
    CategorySet {
        /// Which.
        category: Name,
    },
    /// The contact's priority.
    PrioritySet {
        /// Which.
        priority: Priority,
    },
    /// The caller gave a score.
    SurveyAnswered {
        /// Which survey.
        step: Name,
        /// 1 to 5.
        score: u8,
    },
    /// The flow could not go on and ended the call; a flow that passed `check` never does this.
    FlowFaulted {
        /// Where.
        step: Name,
        /// What to look at.
        reason: String,
    },
}

/// An input that is no answer to what was asked; nothing changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step} of flow {flow} does not wait for {got}")]
pub struct Unexpected {
    /// The flow of the step.
    pub flow: Name,
    /// The step that waits.
    pub step: Name,
    /// What came.
    pub got: &'static str,
}
