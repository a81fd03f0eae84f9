//! Recordings of a session: started at the join or by a verb, stopped at the end.

use hotline_base::{RecordingId, TenantId};
use hotline_rtp::api::{MediaCommand, MediaLegId, RecordLegs, Token};
use hotline_wire::node::CallEvent;
use hotline_wire::recording::{ChannelRole, RecordingMeta};
use std::time::Instant;

use crate::session::Session;
use crate::types::{Note, Output};

/// How long the end of a recording may take to be reported, milliseconds.
const STOP_MS: u64 = 5_000;

/// One that runs or is being stopped.
#[derive(Debug)]
struct Active {
    recording: RecordingId,
    token: Token,
    what: What,
    /// Set when it was stopped: until when its end is waited for.
    stopping: Option<Instant>,
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Voicemail,
    /// The legs on it and the channel of each.
    Conversation(Vec<(MediaLegId, u8)>),
}

/// All of a session.
#[derive(Debug, Default)]
pub(crate) struct Recordings(Vec<Active>);

impl Recordings {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter_map(|r| r.stopping).min()
    }
}

impl Session {
    /// Starts a recording of the caller alone.
    pub(crate) fn record_voicemail(&mut self, recording: RecordingId) {
        self.start_recording(recording, None);
    }

    /// Starts the recording of the conversation, unless one runs: that one goes on as long as any
    /// agent is there.
    pub(crate) fn record_conversation(&mut self, recording: RecordingId) {
        let runs = |r: &Active| r.stopping.is_none() && r.what != What::Voicemail;
        if self.recordings.0.iter().any(runs) {
            return;
        }
        let talks = self.recorded().into_iter().find(|(_, channel)| *channel == 1).map(|(media, _)| media);
        let right = talks.or_else(|| self.joined().find_map(|p| p.media.map(|m| m.id)));
        if right.is_some() {
            self.start_recording(recording, right);
            self.follow_recording();
        }
    }

    fn start_recording(&mut self, recording: RecordingId, right: Option<MediaLegId>) {
        let Some(caller) = self.caller.media else {
            return;
        };
        let roles = match right {
            Some(_) => vec![ChannelRole::Caller, ChannelRole::Agent],
            None => vec![ChannelRole::Caller],
        };
        let meta = RecordingMeta {
            tenant: self.tenant.unwrap_or(TenantId::PLATFORM),
            contact: self.contact,
            recording,
            started_at: self.now.wall,
            roles,
        };
        // These types hold ids, numbers and names: they always serialise.
        let meta = serde_json::to_string(&meta).unwrap_or_default();
        let token = self.fresh_token();
        self.media(MediaCommand::StartRecording {
            token,
            legs: RecordLegs { left: caller.id, right },
            spool: format!("{recording}.spool").into(),
            meta,
        });
        let what = right.map_or(What::Voicemail, |right| What::Conversation(vec![(caller.id, 0), (right, 1)]));
        self.recordings.0.push(Active { recording, token, what, stopping: None });
        self.note(Note::RecordingStarted(recording));
    }

    /// Brings the legs on the recording up to date with the conversation.
    pub(crate) fn follow_recording(&mut self) {
        let wanted = self.recorded();
        let mut changes = Vec::new();
        for active in self.recordings.0.iter_mut().filter(|r| r.stopping.is_none()) {
            let What::Conversation(legs) = &mut active.what else {
                continue;
            };
            let token = active.token;
            changes.extend(legs.iter().filter(|leg| !wanted.contains(leg)).map(|(leg, _)| MediaCommand::RecordLeg {
                token,
                leg: *leg,
                channel: None,
            }));
            changes.extend(
                wanted.iter().filter(|leg| !legs.contains(leg)).map(|(leg, channel)| MediaCommand::RecordLeg {
                    token,
                    leg: *leg,
                    channel: Some(*channel),
                }),
            );
            legs.clone_from(&wanted);
        }
        for change in changes {
            if matches!(&change, MediaCommand::RecordLeg { leg, .. } if self.has_media(*leg)) {
                self.media(change);
            }
        }
    }

    /// Pauses or resumes a recording that runs.
    pub(crate) fn pause_recording(&mut self, recording: RecordingId, paused: bool) {
        let found = self.recordings.0.iter().find(|r| r.recording == recording && r.stopping.is_none());
        match found.map(|r| r.token) {
            Some(token) => self.media(MediaCommand::PauseRecording { token, paused }),
            None => self.note(Note::CommandDropped("no such recording runs")),
        }
    }

    /// Stops the voicemail.
    pub(crate) fn stop_voicemail_recording(&mut self) {
        self.stop_where(|r| r.what == What::Voicemail);
    }

    /// Stops the recording of the conversation.
    pub(crate) fn stop_conversation_recording(&mut self) {
        self.stop_where(|r| r.what != What::Voicemail);
    }

    /// Stops all.
    pub(crate) fn stop_recordings(&mut self) {
        self.stop_where(|_| true);
    }

    fn stop_where(&mut self, which: impl Fn(&Active) -> bool) {
        let until = self.now.after_ms(STOP_MS);
        let mut stopped = Vec::new();
        for active in &mut self.recordings.0 {
            if active.stopping.is_none() && which(active) {
                active.stopping = Some(until);
                stopped.push(active.token);
            }
        }
        for token in stopped {
            self.media(MediaCommand::StopRecording { token });
        }
    }

    /// The engine says that a recording is whole in its file, or that it failed.
    pub(crate) fn recording_stopped(&mut self, token: Token, duration_ms: u64, failure: Option<String>) {
        let Some(index) = self.recordings.0.iter().position(|r| r.token == token) else {
            return;
        };
        let active = self.recordings.0.remove(index);
        self.output(Output::Spooled { recording: active.recording, duration_ms, failure: failure.clone() });
        if let (0, Some(reason)) = (duration_ms, &failure) {
            // Nothing reached the disk, so no upload will speak for it.
            self.ask(CallEvent::RecordingEnded {
                recording: active.recording,
                manifest: String::new(),
                duration_ms: 0,
                failure: Some(reason.clone()),
            });
        }
        self.verb_recorded(active.recording, duration_ms, failure);
    }

    /// An end that was never reported is reported as a failure.
    pub(crate) fn recordings_timeout(&mut self) {
        while let Some(token) =
            self.recordings.0.iter().find(|r| r.stopping.is_some_and(|until| until <= self.now.mono)).map(|r| r.token)
        {
            let failure = "the media thread did not confirm the end of the recording".to_string();
            self.recording_stopped(token, 0, Some(failure));
        }
    }
}
