//! Recordings of a shard: packets in, records for the spool file out, every 400 ms.

use std::path::PathBuf;
use std::sync::Arc;

use super::io::MediaSocket;
use super::shard::{Shard, Slot};
use crate::align::Aligner;
use crate::api::{Law, MediaEvent, MediaLegId, RecordLegs, Token};
use crate::spool::RecordingSlot;
use crate::spool::format::{MAX_FRAMES, SpoolHeader, finish_record, start_frames};
use crate::stream::Micros;

/// Most legs of a recording at a time.
const MAX_SOURCES: usize = 16;

/// A recording under way.
pub(super) struct Recording {
    token: Token,
    /// Names it at the writer.
    id: u64,
    pub aligner: Aligner,
    /// The leg of each of the aligner's sources.
    legs: Vec<Option<Slot>>,
    paused: bool,
    slot: Arc<RecordingSlot>,
    /// Frames dropped because the disk was too far behind.
    dropped: u64,
}

impl Recording {
    /// Whether silence is written at present.
    pub fn is_paused(&self) -> bool {
        self.paused
    }
}

impl<S: MediaSocket> Shard<S> {
    pub fn start_recording(&mut self, token: Token, legs: RecordLegs, spool: PathBuf, meta: &str, now: Micros) {
        if let Err((sink, reason)) = self.try_start_recording(token, legs, spool, meta, now) {
            tracing::error!(reason, "a recording was refused; its call goes on");
            self.tell(sink, MediaEvent::RecordingStopped { token, duration_ms: 0, failure: Some(reason) });
        }
    }

    fn try_start_recording(
        &mut self,
        token: Token,
        legs: RecordLegs,
        spool: PathBuf,
        meta: &str,
        now: Micros,
    ) -> Result<(), (usize, String)> {
        let ids: Vec<_> = std::iter::once(legs.left).chain(legs.right).collect();
        let known: Vec<Slot> = ids.iter().filter_map(|id| self.slot_of(*id)).collect();
        let sink = known.into_iter().find_map(|slot| self.leg(slot).map(|leg| leg.sink)).unwrap_or(0);
        let refused = |reason: String| (sink, reason);
        let mut slots = Vec::new();
        let mut laws = Vec::new();
        for id in ids {
            let slot = self.slot_of(id).ok_or_else(|| refused(format!("media leg {} is not open", id.0)))?;
            let leg = self.leg(slot).ok_or_else(|| refused(format!("media leg {} is not open", id.0)))?;
            if leg.recording.is_some() || slots.contains(&slot) {
                return Err(refused(format!("media leg {} is being recorded already", id.0)));
            }
            slots.push(slot);
            laws.push(leg.remote.map_or(Law::Mu, |remote| remote.format.codec.law().unwrap_or(Law::Mu)));
        }
        if self.recording_tokens.contains_key(&token) {
            return Err(refused(format!("a recording with token {} is under way already", token.0)));
        }
        let header = SpoolHeader::new(meta, &laws).map_err(|error| refused(error.to_string()))?;
        self.spool.spool.admit().map_err(refused)?;
        let path = self.spool_path(&spool).map_err(refused)?;
        let id = self.next_recording_id;
        self.next_recording_id += 1;
        let sender = self.sinks.get(sink).cloned().ok_or_else(|| refused("no sink".into()))?;
        let slot = self.spool.writer.open(id, path, header, token, sender);
        let legs = slots.iter().copied().map(Some).collect();
        let recording =
            Recording { token, id, aligner: Aligner::new(&laws, now), legs, paused: false, slot, dropped: 0 };
        let index = self.place_recording(recording);
        self.recording_tokens.insert(token, index);
        for (channel, slot) in slots.into_iter().enumerate() {
            if let Some(leg) = self.leg(slot) {
                leg.recording = Some((index, channel as u8));
            }
            self.mask_recording(slot, now);
        }
        self.wheel.add_recording(index, id);
        Ok(())
    }

    fn place_recording(&mut self, recording: Recording) -> u32 {
        let place = self.recordings.iter().position(Option::is_none).unwrap_or_else(|| {
            self.recordings.push(None);
            self.recordings.len() - 1
        });
        if let Some(slot) = self.recordings.get_mut(place) {
            *slot = Some(Box::new(recording));
        }
        place as u32
    }

    /// Whether this place still holds this recording.
    pub fn is_recording(&self, index: u32, id: u64) -> bool {
        matches!(self.recordings.get(index as usize), Some(Some(recording)) if recording.id == id)
    }

    fn recording(&mut self, index: u32) -> Option<&mut Recording> {
        self.recordings.get_mut(index as usize)?.as_deref_mut()
    }

    pub fn pause_recording(&mut self, token: Token, paused: bool, now: Micros) {
        let Some(index) = self.recording_tokens.get(&token).copied() else {
            return;
        };
        let Some(recording) = self.recording(index) else {
            return;
        };
        recording.paused = paused;
        for slot in recording.legs.clone().into_iter().flatten() {
            self.mask_recording(slot, now);
        }
    }

    /// Adds a leg to a channel of a recording, or takes it out.
    pub fn record_leg(&mut self, token: Token, leg: MediaLegId, channel: Option<u8>, now: Micros) {
        let (Some(index), Some(slot)) = (self.recording_tokens.get(&token).copied(), self.slot_of(leg)) else {
            return;
        };
        let current = self.leg(slot).and_then(|leg| leg.recording);
        let Some(recording) = self.recordings.get_mut(index as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        let source = match (channel, current) {
            (None, Some((of, source))) if of == index => {
                if let Some(place) = recording.legs.get_mut(usize::from(source)) {
                    *place = None;
                }
                recording.aligner.mask(usize::from(source), false, now);
                None
            }
            (Some(channel), None) => {
                let channel = usize::from(channel);
                let free =
                    recording.aligner.sources().zip(&recording.legs).position(|(c, leg)| c == channel && leg.is_none());
                let source = match free {
                    Some(source) => source,
                    None if recording.legs.len() >= MAX_SOURCES => return,
                    None => match recording.aligner.add_source(channel) {
                        Some(source) => {
                            recording.legs.push(None);
                            source
                        }
                        None => return,
                    },
                };
                recording.aligner.restart(source);
                recording.aligner.mask(source, false, now);
                if let Some(place) = recording.legs.get_mut(source) {
                    *place = Some(slot);
                }
                Some((index, source as u8))
            }
            // In it already, in another one, or in none.
            _ => return,
        };
        if let Some(leg) = self.leg(slot) {
            leg.recording = source;
        }
        self.mask_recording(slot, now);
    }

    /// Brings the mask of a leg's channel up to date with the pause and the leg's secrecy.
    pub fn mask_recording(&mut self, slot: Slot, now: Micros) {
        let Some(leg) = self.leg(slot) else { return };
        let (secret, Some((index, channel))) = (leg.secret, leg.recording) else {
            return;
        };
        if let Some(recording) = self.recording(index) {
            let masked = secret || recording.paused;
            recording.aligner.mask(usize::from(channel), masked, now);
        }
    }

    /// Writes what is ready; `false` where the recording is over.
    pub fn flush_recording(&mut self, index: u32, now: Micros, all: bool) -> bool {
        let writer = self.spool.writer.clone();
        let Some(recording) = self.recordings.get_mut(index as usize).and_then(Option::as_deref_mut) else {
            return false;
        };
        if recording.slot.failed() {
            self.drop_recording(index);
            return false;
        }
        loop {
            let mut bytes = writer.buffer();
            let first = recording.aligner.next_frame() as u32;
            let at = start_frames(&mut bytes, first);
            let count = recording.aligner.take(now, all, MAX_FRAMES, &mut bytes);
            if count == 0 {
                return true;
            }
            finish_record(&mut bytes, at);
            if !writer.append(recording.id, bytes) {
                recording.dropped += count as u64;
            }
            if count < MAX_FRAMES {
                return true;
            }
        }
    }

    /// Ends a recording in its file; the writer tells when all is in it.
    pub fn finish_recording(&mut self, index: u32, now: Micros) {
        if !self.flush_recording(index, now, true) {
            return;
        }
        let writer = self.spool.writer.clone();
        if let Some(recording) = self.recording(index) {
            let failure = (recording.dropped > 0)
                .then(|| format!("the disk was too slow: {} ms are missing", recording.dropped * 20));
            writer.close(recording.id, recording.aligner.next_frame() as u32, failure);
        }
        self.drop_recording(index);
    }

    fn drop_recording(&mut self, index: u32) {
        let Some(recording) = self.recordings.get_mut(index as usize).and_then(Option::take) else {
            return;
        };
        self.recording_tokens.remove(&recording.token);
        for slot in recording.legs.into_iter().flatten() {
            if let Some(leg) = self.leg(slot) {
                leg.recording = None;
            }
        }
    }

    /// A leg closes: its channel goes on as silence; with its last leg a recording ends.
    pub fn leave_recording(&mut self, slot: Slot, now: Micros) {
        let Some((index, channel)) = self.leg(slot).and_then(|leg| leg.recording.take()) else {
            return;
        };
        let Some(recording) = self.recording(index) else {
            return;
        };
        if let Some(place) = recording.legs.get_mut(usize::from(channel)) {
            *place = None;
        }
        if recording.legs.iter().all(Option::is_none) {
            self.finish_recording(index, now);
        }
    }
}
