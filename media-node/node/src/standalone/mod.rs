//! Stand-alone mode: decisions from a file, and a small queue in memory. No cloud.

mod file;
mod queue;
mod yaml;

pub use file::{DecisionFile, FileErrors};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use hotline_base::{CommandId, ContactId, NodeId, RecordingId, TenantId, Timestamp};
use hotline_wire::node::{
    CallEvent, CallInput, Decision, MediaScript, NodeAction, NodeCommand, RingAgent, TapVoices, Verb, VerbResult,
};

use file::Action;
use queue::{Match, Queues};

/// The tenant of a node that has none.
const TENANT: TenantId = TenantId::PLATFORM;

/// Decides by a file.
pub struct StandAlone {
    node: NodeId,
    state: Mutex<State>,
}

struct State {
    file: Arc<DecisionFile>,
    path: Option<PathBuf>,
    queues: Queues,
    /// Makes ids unique.
    counter: u128,
}

impl StandAlone {
    /// Decides by `file`; `path` is where it is read again on [`StandAlone::reload`].
    pub fn new(node: NodeId, file: DecisionFile, path: Option<PathBuf>) -> Self {
        let queues = Queues::new(&file);
        Self { node, state: Mutex::new(State { file: Arc::new(file), path, queues, counter: 0 }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// A sound file of the decision file.
    pub fn sound(&self, key: &str) -> Option<Arc<[u8]>> {
        self.lock().file.sounds.get(key).cloned()
    }

    /// Reads the file again; calls in queues are kept where their rule still is one.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub fn reload(&self) -> Result<(), FileErrors> {
        let Some(path) = self.lock().path.clone() else {
            return Ok(());
        };
        let file = read(&path)?;
        let mut state = self.lock();
        state.queues.replace(&file);
        state.file = Arc::new(file);
        Ok(())
    }

    /// What to do with a call, and what to tell others because of it.
    pub fn decide(&self, input: &CallInput) -> (Decision, Vec<NodeCommand>) {
        let mut state = self.lock();
        let (label, script) = state.step(input);
        let tap = state.taps(input);
        let matches = state.queues.matches(input.at);
        let mut script = script;
        let mut commands = Vec::new();
        for found in matches {
            let ring = state.ring(self.node, &found, input.at);
            match &mut script {
                // The caller at hand need not wait for a command.
                Some(verbs) if found.contact == input.contact && matches!(verbs.last(), Some(Verb::Hold { .. })) => {
                    let at = verbs.len() - 1;
                    verbs.insert(at, Verb::Ring(ring));
                }
                _ => commands.push(state.command(found.contact, ring, input.at)),
            }
        }
        let decision = Decision { tenant: TENANT, label, script, fallback: None, tap };
        (decision, commands)
    }

    /// Rings agents whose wrap-up or penalty is over.
    pub fn tick(&self, now: Timestamp) -> Vec<NodeCommand> {
        let mut state = self.lock();
        let matches = state.queues.matches(now);
        matches
            .into_iter()
            .map(|found| {
                let ring = state.ring(self.node, &found, now);
                state.command(found.contact, ring, now)
            })
            .collect()
    }

    /// Calls that wait for an agent.
    pub fn waiting(&self) -> usize {
        self.lock().queues.waiting()
    }
}

/// Reads a decision file from disk.
///
/// # Errors
/// Every mistake, or that the file cannot be read.
pub fn read(path: &std::path::Path) -> Result<DecisionFile, FileErrors> {
    let text = std::fs::read_to_string(path).map_err(|e| FileErrors(vec![format!("{}: {e}", path.display())]))?;
    let folder = path.parent().unwrap_or(std::path::Path::new("."));
    DecisionFile::read(&text, folder)
}

impl State {
    fn fresh(&mut self) -> u128 {
        self.counter += 1;
        self.counter
    }

    /// Whose voices of a call that arrives go to a speech engine.
    fn taps(&self, input: &CallInput) -> Option<TapVoices> {
        let CallEvent::Arrived { did, .. } = &input.event else { return None };
        self.file.rules.iter().find(|rule| matches(&rule.dial, did))?.tap
    }

    fn step(&mut self, input: &CallInput) -> (String, Option<MediaScript>) {
        let file = self.file.clone();
        match &input.event {
            CallEvent::Arrived { did, .. } => {
                let rule = file.rules.iter().enumerate().find(|(_, r)| matches(&r.dial, did));
                match rule {
                    Some((index, rule)) => {
                        let label = index.to_string();
                        let script = self.script(input, &rule.action, index);
                        (label, Some(script))
                    }
                    None => (
                        "unknown-number".into(),
                        Some(vec![Verb::Reject { status: 404, prompts: Vec::new(), retry_after_s: None }]),
                    ),
                }
            }
            CallEvent::ScriptEnded { label, result } => {
                let index: Option<usize> = label.parse().ok();
                let action = index.and_then(|i| file.rules.get(i)).map(|r| &r.action);
                let next = match (action, result) {
                    (Some(Action::Menu { keys, .. }), VerbResult::Digits { digits }) => {
                        digits.expose().chars().next().and_then(|d| keys.get(&d))
                    }
                    _ => None,
                };
                match (next, index) {
                    (Some(action), Some(index)) => {
                        let script = self.script(input, action, index);
                        ("key".into(), Some(script))
                    }
                    _ => ("end".into(), Some(vec![Verb::Hangup])),
                }
            }
            CallEvent::OfferFailed { .. } => {
                self.queues.offer_failed(input.contact, input.at);
                ("queue".into(), None)
            }
            CallEvent::AgentLegEnded { .. } => {
                self.queues.call_ended(input.contact, input.at);
                ("end".into(), Some(vec![Verb::Hangup]))
            }
            CallEvent::CallEnded { .. } => {
                self.queues.call_ended(input.contact, input.at);
                ("end".into(), None)
            }
            CallEvent::PartyFailed { .. } | CallEvent::ReanchorFailed { .. } => {
                self.queues.call_ended(input.contact, input.at);
                ("end".into(), None)
            }
            CallEvent::OfferRinging { .. }
            | CallEvent::OfferAnswered { .. }
            | CallEvent::RecordingEnded { .. }
            | CallEvent::PartyRinging
            | CallEvent::PartyAnswered { .. }
            | CallEvent::Reanchored { .. }
            | CallEvent::TransferAsked { .. }
            | CallEvent::EmergencyCalled { .. }
            | CallEvent::SoundChanged { .. } => ("talk".into(), None),
        }
    }

    /// The verbs of an action.
    fn script(&mut self, input: &CallInput, action: &Action, rule: usize) -> MediaScript {
        match action {
            Action::Menu { prompt, wait_ms, .. } => vec![
                Verb::Answer,
                Verb::Gather {
                    prompts: vec![prompt.clone()],
                    max_digits: 1,
                    terminators: String::new(),
                    first_digit_ms: *wait_ms,
                    next_digit_ms: *wait_ms,
                    secret: false,
                },
            ],
            Action::Play { prompt } => vec![Verb::Answer, Verb::Play { prompts: vec![prompt.clone()] }, Verb::Hangup],
            Action::Bridge { to, ring_timeout_ms, record } => {
                let random = self.fresh();
                vec![
                    Verb::Transfer {
                        target: to.clone(),
                        ring_timeout_ms: *ring_timeout_ms,
                        record: record.then(|| RecordingId::new(input.at, random)),
                        keys: None,
                    },
                    Verb::Hangup,
                ]
            }
            Action::Queue { music, .. } => {
                self.queues.enter(rule, input.contact);
                vec![Verb::Answer, Verb::Hold { music: music.clone(), announce: Vec::new(), keys: String::new() }]
            }
            Action::Reject { status, prompt } => {
                vec![Verb::Reject { status: *status, prompts: prompt.iter().cloned().collect(), retry_after_s: None }]
            }
            Action::Hangup => vec![Verb::Hangup],
        }
    }

    fn ring(&mut self, node: NodeId, found: &Match, now: Timestamp) -> RingAgent {
        let record = found.record.then(|| RecordingId::new(now, self.fresh()));
        RingAgent {
            offer: found.offer,
            agent: found.agent,
            sip_user: found.uri.clone(),
            phone_node: node,
            ring_timeout_ms: found.ring_timeout_ms,
            caller_label: String::new().into(),
            whisper: Vec::new(),
            record,
            phone_address: None,
            arrange: None,
            replaces: None,
            number: None,
        }
    }

    fn command(&mut self, contact: ContactId, ring: RingAgent, now: Timestamp) -> NodeCommand {
        NodeCommand {
            id: CommandId::new(now, self.fresh()),
            contact,
            expires: now.plus_ms(i64::from(ring.ring_timeout_ms)),
            action: NodeAction::Ring(ring),
        }
    }
}

/// Whether a number fits a pattern: equal, or its start where the pattern ends in `*`.
fn matches(pattern: &str, number: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => number.starts_with(start),
        None => pattern == number,
    }
}
