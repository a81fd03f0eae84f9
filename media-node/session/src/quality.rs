//! How the legs sound: told when it changes, and at the end of the call.

use hotline_base::OfferId;
use hotline_rtp::api::{LegStats, MediaLegId};
use hotline_rtp::emodel::mos;
use hotline_wire::node::{CallEvent, LegQuality};
use hotline_wire::quality::{AgentLegQuality, CallQuality, SoundBand};
use std::time::Instant;

use crate::session::Session;
use crate::types::{LegNo, Note};

/// An interval with fewer packets, lost ones included, says nothing.
const PACKETS_AT_LEAST: u64 = 50;
/// A leg's sound is told of at most so often, milliseconds.
const TOLD_EVERY_MS: u64 = 15_000;
/// Legs of one call beside the caller's that are measured.
const OTHER_LEGS: usize = 64;

/// What a leg's statistics said.
#[derive(Debug)]
struct Measured {
    latest: Option<LegStats>,
    /// As the functions know it.
    band: SoundBand,
    quiet_until: Option<Instant>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { latest: None, band: SoundBand::Good, quiet_until: None }
    }
}

impl Measured {
    /// Takes the next statistics; what was measured since the ones before, where that says anything.
    fn take(&mut self, stats: LegStats) -> Option<LegQuality> {
        let before = self.latest.replace(stats).unwrap_or_default();
        let packets = stats.packets.saturating_sub(before.packets);
        let lost = stats.lost.saturating_sub(before.lost);
        if packets + lost < PACKETS_AT_LEAST {
            return None;
        }
        let loss = lost as f32 / (packets + lost) as f32;
        let mos = mos(loss, stats.jitter_ms, stats.round_trip_ms.unwrap_or_default() / 2.0);
        Some(LegQuality { packets, lost, mos, ..whole(stats) })
    }

    /// The band to tell of, where it is another one and the last one was not told of just now.
    fn told(&mut self, mos: f32, now: Instant, again_at: Instant) -> Option<SoundBand> {
        let band = self.band.then(mos);
        if band == self.band || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.band = band;
        self.quiet_until = Some(again_at);
        Some(band)
    }
}

/// Since the beginning of the leg.
fn whole(stats: LegStats) -> LegQuality {
    LegQuality {
        packets: stats.packets,
        lost: stats.lost,
        jitter_ms: stats.jitter_ms,
        round_trip_ms: stats.round_trip_ms,
        mos: stats.mos,
    }
}

/// Another leg than the caller's, which is remembered beyond its end.
#[derive(Debug)]
struct OtherLeg {
    media: MediaLegId,
    leg: LegNo,
    /// That brought it; `None`: somebody outside.
    offer: Option<OfferId>,
    measured: Measured,
}

/// All legs of a session.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    caller: Measured,
    others: Vec<OtherLeg>,
}

impl Quality {
    /// What is told at the end of the call.
    pub(crate) fn of_call(&self) -> Option<CallQuality> {
        let agents = self.others.iter().filter_map(|leg| {
            let quality = whole(leg.measured.latest?);
            Some(AgentLegQuality { offer: leg.offer?, quality })
        });
        Some(CallQuality { caller: whole(self.caller.latest?), agents: agents.collect() })
    }
}

impl Session {
    /// Statistics of one of the legs came.
    pub(crate) fn measured(&mut self, media: MediaLegId, stats: LegStats) {
        let (now, again_at) = (self.now.mono, self.now.after_ms(TOLD_EVERY_MS));
        let (leg, offer, measured) = if self.caller.media.map(|m| m.id) == Some(media) {
            (LegNo::CALLER, None, &mut self.quality.caller)
        } else {
            let Some(other) = self.other_leg(media) else { return };
            (other.leg, other.offer, &mut other.measured)
        };
        let Some(quality) = measured.take(stats) else { return };
        let told = measured.told(quality.mos, now, again_at);
        self.note(Note::Sounded(leg, quality.mos));
        let concerns = leg == LegNo::CALLER || offer.is_some();
        if let Some(band) = told.filter(|_| concerns && !self.caller_left()) {
            self.ask(CallEvent::SoundChanged { offer, band, quality });
        }
    }

    /// What is known of another leg by its audio.
    fn other_leg(&mut self, media: MediaLegId) -> Option<&mut OtherLeg> {
        self.know_leg(media);
        self.quality.others.iter_mut().find(|leg| leg.media == media)
    }

    /// Remembers whose leg this is, beyond its end.
    pub(crate) fn know_leg(&mut self, media: MediaLegId) {
        let others = &self.quality.others;
        if others.len() == OTHER_LEGS || others.iter().any(|leg| leg.media == media) {
            return;
        }
        let partner = self.partners.iter().find(|p| p.media.map(|m| m.id) == Some(media));
        if let Some((leg, offer)) = partner.map(|p| (p.leg, p.offer())) {
            self.quality.others.push(OtherLeg { media, leg, offer, measured: Measured::default() });
        }
    }
}
