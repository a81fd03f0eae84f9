//! Codecs in descriptions: which are agreed on, in which order, and what their lines say.

use hotline_rtp::api::{Codec, Format};
use std::fmt::Write;

/// Payload type of telephone-event at 8 kHz in our offers.
const OUR_DTMF_PT: u8 = 101;
/// The same at 48 kHz, beside Opus.
const OUR_WIDE_DTMF_PT: u8 = 110;
/// Payload type of Opus in our offers.
const OUR_OPUS_PT: u8 = 111;

/// Telephone-event (RFC 4733) as a description has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventFormat {
    /// 96 to 127.
    pub payload_type: u8,
    /// Its clock, kHz: 8 or 48.
    pub khz: u8,
}

/// The codecs a node speaks, in its order of preference; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodecList([Option<Codec>; Codec::ALL.len()]);

impl Default for CodecList {
    fn default() -> Self {
        Self(Codec::ALL.map(Some))
    }
}

impl CodecList {
    /// From a list; repeats are left out. `None`: it is empty.
    pub fn new(codecs: &[Codec]) -> Option<Self> {
        let mut list = [None; Codec::ALL.len()];
        let mut count = 0;
        for codec in codecs {
            if !list.contains(&Some(*codec))
                && let Some(place) = list.get_mut(count)
            {
                *place = Some(*codec);
                count += 1;
            }
        }
        (count > 0).then_some(Self(list))
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Codec> + '_ {
        self.0.iter().flatten().copied()
    }

    /// Whether it is spoken.
    pub fn has(&self, codec: Codec) -> bool {
        self.0.contains(&Some(codec))
    }

    /// What is offered to a leg that is to be joined with one that speaks `first`: that, so that
    /// nothing need be transcoded, then the rest. To a narrowband leg there is nothing to gain from
    /// wideband, so only the narrowband ones follow: a phone with an order of its own would take a
    /// wideband one though it has the other's. One that has none of these is rung again ([`Self::all_led_by`]).
    pub fn led_by(&self, first: Codec) -> Vec<Codec> {
        let mut codecs = self.all_led_by(first);
        codecs.retain(|codec| first.is_wideband() || !codec.is_wideband());
        codecs
    }

    /// All of them, the other side's first: for a phone that refused what [`Self::led_by`] offers.
    pub fn all_led_by(&self, first: Codec) -> Vec<Codec> {
        std::iter::once(first).chain(self.iter().filter(|codec| *codec != first)).collect()
    }
}

/// Our payload type for a codec, in offers.
pub(super) fn offered(codec: Codec) -> Format {
    Format { codec, payload_type: codec.static_payload_type().unwrap_or(OUR_OPUS_PT) }
}

/// The telephone-events that go with these codecs in an offer.
pub(super) fn offered_events(codecs: &[Codec]) -> Vec<EventFormat> {
    let wide = codecs.contains(&Codec::Opus).then_some(EventFormat { payload_type: OUR_WIDE_DTMF_PT, khz: 48 });
    std::iter::once(EventFormat { payload_type: OUR_DTMF_PT, khz: 8 }).chain(wide).collect()
}

/// The lines of these formats below their media line.
pub(super) fn write_maps(out: &mut String, formats: &[Format], events: &[EventFormat]) {
    for Format { codec, payload_type } in formats {
        let _ = match codec {
            // RFC 7587 §7: two channels whatever is sent, and mono is asked for.
            Codec::Opus => write!(
                out,
                "a=rtpmap:{payload_type} opus/48000/2\r\na=fmtp:{payload_type} minptime=10;useinbandfec=1\r\n"
            ),
            other => write!(out, "a=rtpmap:{payload_type} {}/8000\r\n", other.name()),
        };
    }
    for EventFormat { payload_type, khz } in events {
        let _ = write!(out, "a=rtpmap:{payload_type} telephone-event/{khz}000\r\na=fmtp:{payload_type} 0-15\r\n");
    }
}

/// What the `rtpmap` lines of a section say.
#[derive(Debug, Default)]
pub(super) struct Maps {
    opus: Option<u8>,
    events: Vec<EventFormat>,
    /// Static types that are said to be something else.
    mapped_away: Vec<u8>,
}

impl Maps {
    /// Reads the value of an `a=rtpmap` line.
    pub fn read(&mut self, map: &str) -> Result<(), &'static str> {
        const WHAT: &str = "expected `a=rtpmap:type name/rate`";
        let (pt, encoding) = map.trim_start().split_once(' ').ok_or(WHAT)?;
        let pt: u8 = pt.parse().map_err(|_| WHAT)?;
        let mut parts = encoding.trim().split('/');
        let name = parts.next().unwrap_or_default();
        let rate = parts.next().unwrap_or_default();
        let known = Codec::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(pt));
        match (pt, known) {
            // The static types keep their meaning; a map that says otherwise takes them away.
            (_, Some(codec)) if !(name.eq_ignore_ascii_case(codec.name()) && rate == "8000") => {
                self.mapped_away.push(pt);
            }
            (96..=127, _) if name.eq_ignore_ascii_case("opus") && rate == "48000" => {
                self.opus.get_or_insert(pt);
            }
            (96..=127, _) if name.eq_ignore_ascii_case("telephone-event") => {
                let khz = match rate {
                    "8000" => 8,
                    "48000" => 48,
                    _ => return Ok(()),
                };
                if self.events.iter().all(|event| event.khz != khz) {
                    self.events.push(EventFormat { payload_type: pt, khz });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The codecs among these payload types, in their order.
    pub fn codecs(&self, payload_types: &[u8], spoken: CodecList) -> Vec<Format> {
        let mut formats: Vec<Format> = Vec::new();
        for pt in payload_types {
            let known = Codec::ALL.into_iter().find(|codec| codec.static_payload_type() == Some(*pt));
            let codec = match known {
                Some(_) if self.mapped_away.contains(pt) => None,
                None if self.opus == Some(*pt) => Some(Codec::Opus),
                known => known,
            };
            if let Some(codec) = codec.filter(|codec| spoken.has(*codec))
                && formats.iter().all(|format| format.codec != codec)
            {
                formats.push(Format { codec, payload_type: *pt });
            }
        }
        formats
    }

    /// The telephone-events among these payload types.
    pub fn events(&self, payload_types: &[u8]) -> Vec<EventFormat> {
        self.events.iter().filter(|event| payload_types.contains(&event.payload_type)).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_order_and_leaves_repeats_out() {
        let list = CodecList::new(&[Codec::Pcma, Codec::Opus, Codec::Pcma]).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [Codec::Pcma, Codec::Opus]);
        assert!(list.has(Codec::Opus) && !list.has(Codec::G722));
        assert_eq!(CodecList::new(&[]), None);
    }

    #[test]
    fn the_other_sides_codec_comes_first_and_wideband_only_where_it_helps() {
        let all = CodecList::default();
        assert_eq!(all.led_by(Codec::Pcma), [Codec::Pcma, Codec::Pcmu]);
        assert_eq!(all.all_led_by(Codec::Pcma), [Codec::Pcma, Codec::Opus, Codec::G722, Codec::Pcmu]);
        assert_eq!(all.led_by(Codec::G722), [Codec::G722, Codec::Opus, Codec::Pcmu, Codec::Pcma]);
        let few = CodecList::new(&[Codec::Pcmu]).unwrap();
        assert_eq!(few.led_by(Codec::Opus), [Codec::Opus, Codec::Pcmu]);
    }
}
