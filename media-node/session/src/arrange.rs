//! Who hears whom: a relay of two, a mix of more, music for those who are held. What should be is
//! worked out anew after every change and compared with what is: only the difference is sent.

use hotline_base::OfferId;
use hotline_rtp::api::{HeardBy, MediaCommand, MediaLegId, MixLeg, Sound};
use hotline_wire::legs::{Arrangement, CallerMode, LegMode};
use hotline_wire::node::Prompt;
use std::collections::BTreeMap;

use crate::partners::{Partner, State};
use crate::session::{CallerState, Session};
use crate::sounds::Resolved;
use crate::types::{LegNo, Note};

/// Heard by whoever waits where no other sound can be had (ITU-T E.180).
const RING_BACK: Sound = Sound::Tone { hz: [425, 0], on_ms: 1_000, off_ms: 4_000, times: 1 };

/// How the legs are joined at the media engine.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Audio {
    #[default]
    Apart,
    Relay(MediaLegId, MediaLegId),
    Mix(Vec<MixLeg>),
}

impl Audio {
    fn legs(&self) -> Vec<MediaLegId> {
        match self {
            Audio::Apart => Vec::new(),
            Audio::Relay(a, b) => vec![*a, *b],
            Audio::Mix(legs) => legs.iter().map(|l| l.leg).collect(),
        }
    }
}

/// What a leg outside the conversation hears.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tune {
    Music(Prompt),
    RingBack(Vec<Prompt>),
}

/// A leg with a part in the conversation.
struct Part {
    leg: LegNo,
    media: MediaLegId,
    mode: LegMode,
}

/// The music of an arrangement.
pub(crate) fn music_of(arrangement: &Arrangement) -> impl Iterator<Item = &Prompt> {
    let caller = match &arrangement.caller {
        CallerMode::Held { music } => Some(music),
        CallerMode::Talks => None,
    };
    let agents = arrangement.agents.values().filter_map(|mode| match mode {
        LegMode::Held { music } => Some(music),
        _ => None,
    });
    caller.into_iter().chain(agents)
}

impl Session {
    /// A command says who hears whom.
    pub(crate) fn arrange(&mut self, arrangement: Arrangement) {
        if !self.is_joined() {
            self.note(Note::CommandDropped("nobody is joined"));
            return;
        }
        let fetch = self.sounds.want(music_of(&arrangement));
        self.load(fetch);
        self.arrangement = Some(arrangement);
        self.rearrange();
        self.note(Note::Arranged);
    }

    /// What a partner does in the arrangement at hand.
    fn mode_of(&self, partner: &Partner) -> LegMode {
        match (&self.arrangement, partner.offer()) {
            (Some(arrangement), Some(offer)) => match (arrangement.agents.get(&offer), &self.fallback) {
                (Some(mode), _) => mode.clone(),
                (None, Some(fallback)) => LegMode::Held { music: fallback.music.clone() },
                (None, None) => LegMode::Listens,
            },
            _ => LegMode::Talks,
        }
    }

    fn caller_mode(&self) -> CallerMode {
        self.arrangement.as_ref().map_or(CallerMode::Talks, |a| a.caller.clone())
    }

    /// The legs of the conversation, the caller first.
    fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let caller_there = matches!(self.caller.state, CallerState::Early | CallerState::Answered);
        if let Some(media) = self.caller.media
            && caller_there
            && !self.caller.held
            && self.caller.away.is_none()
            && self.caller_mode() == CallerMode::Talks
        {
            parts.push(Part { leg: LegNo::CALLER, media: media.id, mode: LegMode::Talks });
        }
        let there = |p: &&Partner| (p.state == State::Joined || p.early) && !p.held && p.away.is_none();
        for partner in self.partners.iter().filter(there) {
            let mode = self.mode_of(partner);
            if let (Some(media), false) = (partner.media, matches!(mode, LegMode::Held { .. })) {
                parts.push(Part { leg: partner.leg, media: media.id, mode });
            }
        }
        parts
    }

    fn audio_of(&self, parts: &[Part]) -> Audio {
        match parts {
            [] | [_] => Audio::Apart,
            [a, b] if a.mode == LegMode::Talks && b.mode == LegMode::Talks => Audio::Relay(a.media, b.media),
            all => Audio::Mix(
                all.iter().map(|part| MixLeg { leg: part.media, heard_by: self.heard_by(&part.mode, all) }).collect(),
            ),
        }
    }

    fn heard_by(&self, mode: &LegMode, parts: &[Part]) -> HeardBy {
        let media_of = |offer: &OfferId| {
            let leg = self.partners.iter().find(|p| p.offer() == Some(*offer))?.leg;
            parts.iter().find(|part| part.leg == leg).map(|part| part.media)
        };
        match mode {
            LegMode::Talks => HeardBy::Everybody,
            LegMode::Listens | LegMode::Held { .. } => HeardBy::Nobody,
            LegMode::Whispers { to } => media_of(to).map_or(HeardBy::Nobody, HeardBy::Only),
        }
    }

    /// What those hear who are not in the conversation.
    fn tunes(&self, parts: &[Part]) -> BTreeMap<LegNo, Tune> {
        let mut tunes = BTreeMap::new();
        if !self.is_joined() {
            return tunes;
        }
        if self.caller.state == CallerState::Absent {
            let ringback = self.mission_ringback();
            tunes.extend(self.joined().map(|p| (p.leg, Tune::RingBack(ringback.clone()))));
            return tunes;
        }
        for partner in self.joined() {
            if let LegMode::Held { music } = self.mode_of(partner) {
                tunes.insert(partner.leg, Tune::Music(music));
            }
        }
        // Until the caller's browser comes back, one agent alone hears what a caller would.
        if let (Some(_), Some(fallback), [only]) = (self.caller.away, &self.fallback, parts) {
            tunes.insert(only.leg, Tune::Music(fallback.music.clone()));
        }
        match self.caller_mode() {
            CallerMode::Held { music } => {
                tunes.insert(LegNo::CALLER, Tune::Music(music));
            }
            // Everybody else has put the call on hold at the phone: the flow's music.
            CallerMode::Talks => {
                let alone = matches!(parts, [only] if only.leg == LegNo::CALLER);
                if let Some(fallback) = &self.fallback
                    && alone
                    && self.joined().any(|p| p.held || p.away.is_some())
                {
                    tunes.insert(LegNo::CALLER, Tune::Music(fallback.music.clone()));
                }
            }
        }
        tunes
    }

    fn media_of(&self, leg: LegNo) -> Option<MediaLegId> {
        let media = match leg {
            LegNo::CALLER => self.caller.media,
            _ => self.partners.iter().find(|p| p.leg == leg)?.media,
        };
        media.map(|m| m.id)
    }

    /// Whether a media leg is one of ours still: what closes leaves everything by itself.
    pub(crate) fn has_media(&self, media: MediaLegId) -> bool {
        let partners = self.partners.iter().map(|p| p.media);
        partners.chain([self.caller.media]).flatten().any(|m| m.id == media)
    }

    /// Brings the media engine from what is to what should be.
    pub(crate) fn rearrange(&mut self) {
        let parts = self.parts();
        let (audio, tunes) = (self.audio_of(&parts), self.tunes(&parts));
        let ended: Vec<LegNo> =
            self.tunes.iter().filter(|(leg, (tune, _))| tunes.get(leg) != Some(tune)).map(|(leg, _)| *leg).collect();
        for leg in ended {
            let started = self.tunes.remove(&leg).is_some_and(|(_, started)| started);
            if let (Some(media), true) = (self.media_of(leg), started) {
                self.media(MediaCommand::StopPlay { leg: media });
            }
        }
        if audio != self.audio {
            self.change_audio(audio);
        }
        for (leg, tune) in tunes {
            self.tunes.entry(leg).or_insert((tune, false));
        }
        self.start_tunes();
        self.follow_recording();
    }

    fn change_audio(&mut self, audio: Audio) {
        let kept = audio.legs();
        match std::mem::replace(&mut self.audio, audio.clone()) {
            Audio::Relay(a, b) if !kept.contains(&a) && !kept.contains(&b) => {
                self.media(MediaCommand::Unbridge { leg: a });
            }
            Audio::Mix(legs) => {
                // A mix of one takes that leg out of the one it was in.
                for leg in legs.into_iter().filter(|l| !kept.contains(&l.leg)) {
                    if !self.has_media(leg.leg) {
                        continue;
                    }
                    self.media(MediaCommand::Mix { legs: vec![leg] });
                }
            }
            _ => {}
        }
        match audio {
            Audio::Apart => {}
            Audio::Relay(a, b) => self.media(MediaCommand::Bridge { a, b }),
            Audio::Mix(legs) => self.media(MediaCommand::Mix { legs }),
        }
    }

    /// Plays music whose sound is there.
    pub(crate) fn start_tunes(&mut self) {
        let waiting: Vec<(LegNo, Tune)> = self
            .tunes
            .iter()
            .filter(|(_, (_, started))| !started)
            .map(|(leg, (tune, _))| (*leg, tune.clone()))
            .collect();
        for (leg, tune) in waiting {
            let resolved = match &tune {
                Tune::Music(music) => self.sounds.resolve(std::slice::from_ref(music)),
                Tune::RingBack(prompts) => self.sounds.resolve(prompts),
            };
            let Resolved::Ready(mut sounds, _) = resolved else {
                continue;
            };
            if sounds.is_empty() && matches!(tune, Tune::RingBack(_)) {
                sounds.push(RING_BACK);
            }
            if let (Some(media), false) = (self.media_of(leg), sounds.is_empty()) {
                let token = self.fresh_token();
                self.media(MediaCommand::Play { leg: media, token, sounds, looped: true });
            }
            if let Some((_, started)) = self.tunes.get_mut(&leg) {
                *started = true;
            }
        }
    }

    /// Who belongs in the recording: whoever is there for everybody to hear; the caller's channel is
    /// the left one (0), the agents' the right one (1).
    pub(crate) fn recorded(&self) -> Vec<(MediaLegId, u8)> {
        let caller = self.caller.media.filter(|_| self.caller_mode() == CallerMode::Talks).map(|m| (m.id, 0));
        let agents = self.joined().filter(|p| self.mode_of(p) == LegMode::Talks);
        caller.into_iter().chain(agents.filter_map(|p| p.media.map(|m| (m.id, 1)))).collect()
    }

    /// A leg is gone: nothing is to be stopped on it.
    pub(crate) fn unheard(&mut self, leg: LegNo) {
        self.tunes.remove(&leg);
    }

    /// All legs are being closed: how they were joined does not matter any more.
    pub(crate) fn forget_audio(&mut self) {
        self.audio = Audio::Apart;
        self.tunes.clear();
        self.arrangement = None;
    }
}
