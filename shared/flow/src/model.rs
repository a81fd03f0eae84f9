//! A flow as a model: what the text says, with the place of every reference.

use hotline_base::{Lang, Name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::{Key, Millis, Pos};

/// A whole flow. Two flows are equal when they mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name.
    pub name: Name,
    /// Where its name was written.
    pub at: Pos,
    /// What it is for, in the author's words.
    pub note: Option<String>,
    /// Not empty; a call starts in the first.
    pub languages: Vec<Lang>,
    /// The text-to-speech voice of a language, where one was chosen.
    pub voices: BTreeMap<Lang, String>,
    /// What callers hear while decisions cannot be had.
    pub fallback: Option<FallbackRule>,
    /// The first step.
    pub start: Ref,
    /// What can be said.
    pub prompts: BTreeMap<Name, Prompt>,
    /// What can happen.
    pub steps: BTreeMap<Name, Step>,
}

/// A reference by name and where it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Ref {
    /// The name.
    pub name: Name,
    /// Where.
    pub at: Pos,
}

impl fmt::Debug for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

/// What callers hear while decisions cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackRule {
    /// Said once.
    pub say: Vec<Ref>,
    /// Looped; `None`: the built-in music.
    pub music: Option<Ref>,
    /// Hang up after this.
    pub give_up: Millis,
}

/// Something to say, in each language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Where it was written.
    pub at: Pos,
    /// By language.
    pub by_lang: BTreeMap<Lang, Utterance>,
}

/// One language's form of a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Utterance {
    /// Spoken by the text-to-speech engine.
    Text {
        /// What is said; `{name}` stands for a variable.
        text: String,
        /// The language of the text, where it is not the caller's: "For English, press two."
        spoken: Option<Lang>,
    },
    /// An uploaded recording.
    Audio(Ref),
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where its name was written.
    pub at: Pos,
    /// What it is for, in the author's words.
    pub note: Option<String>,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Says prompts.
    Play(Play),
    /// Asks for one key.
    Menu(Menu),
    /// Asks for digits.
    Gather(Gather),
    /// Chooses by circumstances; the first case that holds wins.
    Branch(Branch),
    /// Remembers things.
    Set(Set),
    /// Waits for an agent of a queue.
    Queue(QueueStep),
    /// Rings one agent, or a group.
    Ring(Ring),
    /// Records a message.
    Voicemail(Voicemail),
    /// Promises to call back.
    Callback(CallbackStep),
    /// Asks for a score from 1 to 5.
    Survey(Survey),
    /// Connects the caller with an outside number.
    Transfer(Transfer),
    /// Sends keys to the caller's side.
    SendKeys(SendKeys),
    /// Says good-bye and ends the call.
    Hangup(Hangup),
    /// Refuses the call before it is answered.
    Reject(RejectReason),
    /// Runs another flow and comes back.
    Subflow(Subflow),
    /// Goes back to the flow that called this one.
    Return,
    /// Asks a web service or a function.
    Hook(Hook),
}

/// Says prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play {
    /// What.
    pub say: Vec<Ref>,
    /// A key press does not cut it short.
    pub must_hear: bool,
    /// Next.
    pub then: Ref,
}

/// Asks for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    /// The question.
    pub say: Vec<Ref>,
    /// What each key means.
    pub options: BTreeMap<Key, MenuOption>,
    /// Waiting time for a key after the question.
    pub timeout: Millis,
    /// How often the question is repeated.
    pub retries: u8,
    /// After the last silence.
    pub no_input: Miss,
    /// After the last wrong key.
    pub no_match: Miss,
}

/// One choice of a menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuOption {
    /// Shown in reports and drawings.
    pub label: Option<String>,
    /// The category of the ticket from now on.
    pub category: Option<Name>,
    /// The caller's language from now on.
    pub language: Option<Lang>,
    /// Next.
    pub go: Ref,
}

/// What happens when an answer is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// Said before the question is repeated.
    pub say: Vec<Ref>,
    /// Next, when the retries are used up.
    pub go: Ref,
}

/// Asks for digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The question.
    pub say: Vec<Ref>,
    /// The variable that takes them.
    pub into: Name,
    /// At least so many.
    pub min_digits: u8,
    /// At most so many.
    pub max_digits: u8,
    /// This key ends the input.
    pub finish: Option<Key>,
    /// Waiting time for the first digit.
    pub timeout: Millis,
    /// Waiting time for each further digit.
    pub between: Millis,
    /// Never shown in facts and logs.
    pub secret: bool,
    /// How often the question is repeated.
    pub retries: u8,
    /// After the last silence.
    pub no_input: Miss,
    /// After the last input with too few digits.
    pub no_match: Miss,
    /// Next.
    pub then: Ref,
}

/// Chooses by circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The first that holds wins.
    pub cases: Vec<Case>,
    /// Where none holds.
    pub otherwise: Ref,
}

/// One case of a branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What must hold.
    pub when: Condition,
    /// Next.
    pub go: Ref,
}

/// Something that holds or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The calendar is open now.
    Open(Ref),
    /// The calendar is closed now.
    Closed(Ref),
    /// The caller's number starts with one of these.
    CallerStarts(Vec<String>),
    /// The caller's number is on this list.
    CallerIn(Ref),
    /// The caller withheld the number.
    CallerHidden,
    /// The caller speaks this language.
    Language(Lang),
    /// The state of a queue.
    Queue(Ref, QueueTest),
    /// A variable has this value.
    VariableEquals(Ref, String),
    /// A variable has any value.
    VariableSet(Ref),
}

/// A question about a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueTest {
    /// Somebody who serves it is signed in, busy or not.
    Staffed,
    /// Nobody who serves it is signed in.
    NotStaffed,
    /// Somebody could take a call at once.
    Free,
    /// More callers wait than this.
    WaitingOver(u32),
    /// Somebody has waited longer than this.
    LongestWaitOver(Millis),
    /// A new caller would wait longer than this; does not hold while there is no estimate.
    EstimatedWaitOver(Millis),
}

/// Remembers things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The caller's language.
    pub language: Option<Lang>,
    /// The category of the ticket.
    pub category: Option<Name>,
    /// The priority of the contact and its ticket.
    pub priority: Option<Priority>,
    /// Skills that the agent should have, added to those before.
    pub skills: BTreeSet<Name>,
    /// Variables.
    pub variables: BTreeMap<Name, String>,
    /// Next.
    pub then: Ref,
}

/// How urgent a contact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Can wait.
    Low,
    /// As usual.
    #[default]
    Medium,
    /// Before others.
    High,
    /// At once.
    Urgent,
}

/// Waits for an agent of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStep {
    /// Which.
    pub queue: Ref,
    /// Said once before the music.
    pub say: Vec<Ref>,
    /// An uploaded recording; `None`: the built-in music.
    pub music: Option<Ref>,
    /// Said while waiting.
    pub announce: Vec<AnnounceRule>,
    /// Counts as if the caller had come so much earlier.
    pub credit: Millis,
    /// Skills that the agent should have, beside those set before.
    pub skills: BTreeSet<Name>,
    /// How long to wait, and where to go then.
    pub max_wait: MaxWait,
    /// Where to go when nobody who serves the queue is signed in; `None`: wait anyway.
    pub not_staffed: Option<Ref>,
    /// Where the queue's overflow rules may send the caller; a way that is not named leads to
    /// where a wait that was too long does.
    pub overflow: BTreeMap<Overflow, Ref>,
    /// Where to go when the queue leaves the caller to machines; `None`: as when nobody is staffed.
    pub self_service: Option<Ref>,
    /// Keys with which the caller leaves the queue.
    pub leave: BTreeMap<Key, Ref>,
    /// Next, when the agent hung up first and the caller is still there.
    pub then: Ref,
}

/// What a queue's overflow rules may have a flow do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// Take a message.
    Voicemail,
    /// Promise a call back.
    Callback,
    /// Say something, and end.
    Message,
    /// Send a link to another channel.
    Link,
}

impl Overflow {
    /// All, by the words of the language.
    pub const ALL: [(&'static str, Overflow); 4] = [
        ("voicemail", Overflow::Voicemail),
        ("callback", Overflow::Callback),
        ("message", Overflow::Message),
        ("link", Overflow::Link),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Overflow::Voicemail => "voicemail",
            Overflow::Callback => "callback",
            Overflow::Message => "message",
            Overflow::Link => "link",
        }
    }
}

/// How long to wait in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MaxWait {
    /// Until an agent comes, however long it takes.
    Forever,
    /// At most this long.
    Limit {
        /// How long.
        after: Millis,
        /// Next.
        go: Ref,
    },
}

/// Something said while waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceRule {
    /// Again and again after this time; 0: once, at the start.
    pub every: Millis,
    /// What. A prompt whose numbers are not known is left out.
    pub say: Vec<Ref>,
}

/// Rings one agent, or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Whom.
    pub target: RingRef,
    /// How long.
    pub timeout: Millis,
    /// Next, when nobody answered.
    pub no_answer: Ref,
    /// Next, when the agent hung up first.
    pub then: Ref,
}

/// Whom to ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingRef {
    /// One agent by name.
    Agent(Ref),
    /// Any agent of a group.
    Group(Ref),
}

/// Records a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voicemail {
    /// Said first.
    pub say: Vec<Ref>,
    /// Longest message.
    pub max: Millis,
    /// A silence of this length ends it; 0: never.
    pub silence: Millis,
    /// A tone before it.
    pub beep: bool,
    /// The queue whose people get it.
    pub queue: Option<Ref>,
    /// Next, when nothing was said; `None`: as `then`.
    pub no_message: Option<Ref>,
    /// Next.
    pub then: Ref,
}

/// Promises to call back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackStep {
    /// The queue that calls back.
    pub queue: Ref,
    /// Whom.
    pub to: CallbackTo,
    /// Next, when the number cannot be called.
    pub refused: Ref,
    /// Next.
    pub then: Ref,
}

/// Which number to call back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackTo {
    /// The caller's own.
    Caller,
    /// The one in this variable.
    Variable(Ref),
}

/// Asks for a score from 1 to 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The question.
    pub say: Vec<Ref>,
    /// Waiting time for a key.
    pub timeout: Millis,
    /// How often the question is repeated after a wrong key.
    pub retries: u8,
    /// Next, with or without a score.
    pub then: Ref,
}

/// Connects the caller with an outside number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// A number (`+8610…`) or a SIP address (`sip:…`).
    pub target: String,
    /// How long it may ring.
    pub timeout: Millis,
    /// Sent to it as soon as it has answered, such as an extension.
    pub keys: Option<Keys>,
    /// Next, when nobody answered.
    pub no_answer: Ref,
    /// Next, when the other side hung up first.
    pub then: Ref,
}

/// Sends keys to the caller's side: to a machine that asks for a PIN or an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendKeys {
    /// Which.
    pub keys: Keys,
    /// Never shown, captured or recorded.
    pub secret: bool,
    /// Next.
    pub then: Ref,
}

/// Keys to send: `0` to `9`, `*`, `#`, `A` to `D`, the pauses `,` (0.5 s) and `w` (1 s), and
/// `{variables}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// As it was written.
    pub text: String,
    /// The variables in it.
    pub variables: Vec<Ref>,
}

/// Says good-bye and ends the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hangup {
    /// Said first; may be empty.
    pub say: Vec<Ref>,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectReason {
    /// The caller hears the busy tone (486).
    Busy,
    /// The call is not wanted (603).
    Declined,
}

/// Runs another flow and comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subflow {
    /// Which.
    pub flow: Ref,
    /// Next, after its `return`.
    pub then: Ref,
}

/// Asks a web service or a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// An `https://` address or the name of a function.
    pub target: String,
    /// How long it may take, at most 5 s.
    pub timeout: Millis,
    /// Variables that it is told.
    pub send: Vec<Ref>,
    /// Variables that it may set.
    pub receive: Vec<Name>,
    /// Next, when it did not answer in time or answered with an error.
    pub on_error: Ref,
    /// Next.
    pub then: Ref,
}

impl StepKind {
    /// The word that names it in the text of a flow.
    pub fn word(&self) -> &'static str {
        match self {
            StepKind::Play(_) => "play",
            StepKind::Menu(_) => "menu",
            StepKind::Gather(_) => "gather",
            StepKind::Branch(_) => "branch",
            StepKind::Set(_) => "set",
            StepKind::Queue(_) => "queue",
            StepKind::Ring(_) => "ring",
            StepKind::Voicemail(_) => "voicemail",
            StepKind::Callback(_) => "callback",
            StepKind::Survey(_) => "survey",
            StepKind::Transfer(_) => "transfer",
            StepKind::SendKeys(_) => "send_keys",
            StepKind::Hangup(_) => "hangup",
            StepKind::Reject(_) => "reject",
            StepKind::Subflow(_) => "subflow",
            StepKind::Return => "return",
            StepKind::Hook(_) => "hook",
        }
    }
}

impl Priority {
    /// The word that names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        }
    }
}
