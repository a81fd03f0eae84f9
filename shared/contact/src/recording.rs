//! Recordings: delivered by the node, composed by a function, saved or lost.

use hotline_base::RecordingId;

use crate::step::Work;
use crate::{ContactEffect, ContactFact, Recording, RecordingKind, RecordingStatus, Saved};

/// A message shorter than this, milliseconds, was not meant as one.
const VOICEMAIL_MIN_MS: u64 = 1_000;

impl Work<'_> {
    /// The node delivered a recording, or lost it.
    pub(crate) fn recording_ended(
        &mut self,
        recording: RecordingId,
        manifest: &str,
        duration_ms: u64,
        failure: Option<&str>,
    ) {
        let contact = &mut self.contact;
        let known = contact.recordings.iter().position(|known| known.recording == recording);
        let index = known.unwrap_or_else(|| {
            // An answer whose report never came (the node died in between) had started it.
            let kind = RecordingKind::Call;
            let status = RecordingStatus::Running;
            contact.recordings.push(Recording { recording, kind, agent: contact.agent(), status });
            contact.recordings.len() - 1
        });
        let Some(entry) = contact.recordings.get_mut(index) else {
            return;
        };
        if matches!(entry.status, RecordingStatus::Delivered | RecordingStatus::Saved) {
            return;
        }
        let kind = entry.kind;
        if manifest.is_empty() {
            entry.status = RecordingStatus::Failed;
            let reason = failure.unwrap_or("the node delivered nothing").to_string();
            self.facts.push(ContactFact::RecordingFailed { recording, kind, reason });
            return;
        }
        entry.status = RecordingStatus::Delivered;
        self.effects.push(ContactEffect::ComposeRecording { recording, manifest: manifest.into() });
        if kind == RecordingKind::Voicemail && !self.contact.voicemail && duration_ms >= VOICEMAIL_MIN_MS {
            // The caller hung up while speaking: that is how most messages end.
            self.contact.voicemail = true;
            let queue = self.contact.queue.clone();
            self.facts.push(ContactFact::VoicemailLeft { recording, duration_ms, queue });
        }
    }

    /// The playable file is there, or cannot be made.
    pub(crate) fn recording_composed(&mut self, recording: RecordingId, result: &Result<Saved, String>) {
        let mut all = self.contact.recordings.iter_mut();
        let Some(entry) = all.find(|known| known.recording == recording) else {
            return;
        };
        if entry.status == RecordingStatus::Saved {
            return;
        }
        let kind = entry.kind;
        let fact = match result {
            Ok(Saved { key, duration_ms, sha256, missing }) => {
                entry.status = RecordingStatus::Saved;
                ContactFact::RecordingSaved {
                    recording,
                    kind,
                    key: key.clone(),
                    duration_ms: *duration_ms,
                    sha256: sha256.clone(),
                    missing: missing.clone(),
                }
            }
            Err(_) if entry.status == RecordingStatus::Failed => return,
            Err(reason) => {
                entry.status = RecordingStatus::Failed;
                ContactFact::RecordingFailed { recording, kind, reason: reason.clone() }
            }
        };
        self.facts.push(fact);
    }

    /// The node has not delivered in time. A later delivery still counts.
    pub(crate) fn recordings_overdue(&mut self) {
        for entry in &mut self.contact.recordings {
            if entry.status == RecordingStatus::Running {
                entry.status = RecordingStatus::Failed;
                self.facts.push(ContactFact::RecordingFailed {
                    recording: entry.recording,
                    kind: entry.kind,
                    reason: "the node did not deliver it within a day".into(),
                });
            }
        }
    }
}
