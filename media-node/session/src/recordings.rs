//! Recordings of a session: started at the join or by a verb, stopped at the end.

use hotline_base::{RecordingId, TenantId};
use hotline_rtp::api::{MediaCommand, MediaLegId, RecordLegs, Token};
use hotline_wire::recording::{ChannelRole, RecordingMeta};
use std::time::Instant;

use crate::session::Session;
use crate::types::{LegNo, Note, Output};

/// How long the end of a recording may take to be reported, milliseconds.
const STOP_MS: u64 = 5_000;

/// One that runs or is being stopped.
#[derive(Debug)]
struct Active {
    recording: RecordingId,
    token: Token,
    /// With whom; `None`: a voicemail.
    partner: Option<LegNo>,
    /// Set when it was stopped: until when its end is waited for.
    stopping: Option<Instant>,
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
    /// Starts a recording of the caller, and of a partner on the right channel.
    pub(crate) fn start_recording(&mut self, recording: RecordingId, partner: Option<(LegNo, MediaLegId)>) {
        let Some(caller) = self.caller.media else {
            return;
        };
        let roles = match partner {
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
            legs: RecordLegs { left: caller.id, right: partner.map(|(_, media)| media) },
            spool: format!("{recording}.spool").into(),
            meta,
        });
        self.recordings.0.push(Active { recording, token, partner: partner.map(|(leg, _)| leg), stopping: None });
        self.note(Note::RecordingStarted(recording));
    }

    /// Stops the recording with a partner, or the voicemail (`None`).
    pub(crate) fn stop_recording_with(&mut self, partner: Option<LegNo>) {
        self.stop_where(|r| r.partner == partner);
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
