//! Codecs by name.

use super::read::Reader;
use hotline_rtp::api::Codec;
use hotline_session::sdp::CodecList;

/// What is spoken unless the file says otherwise, as it is written there.
const DEFAULT: [&str; 4] = ["opus", "g722", "pcmu", "pcma"];

/// The codec that is called so, in any case.
pub(super) fn by_name(name: &str) -> Option<Codec> {
    Codec::ALL.into_iter().find(|codec| codec.name().eq_ignore_ascii_case(name.trim()))
}

impl Reader<'_> {
    /// `media.codecs`.
    pub(super) fn codecs(&mut self) -> CodecList {
        let names = self.list("media", "codecs", &DEFAULT);
        let codecs: Option<Vec<Codec>> = names.iter().map(|name| by_name(name)).collect();
        codecs.and_then(|codecs| CodecList::new(&codecs)).unwrap_or_else(|| {
            self.wrong("media", "codecs", format_args!("write some of {}", DEFAULT.join(", ")));
            CodecList::default()
        })
    }
}
