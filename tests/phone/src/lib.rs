//! A small softphone for tests and for `hotline call`: SIP through the project's own endpoint,
//! plain RTP and G.711 of its own, so that what it hears is judged independently of the media node; its
//! G.722 and Opus are those of `hotline-rtp`.
//!
//! One phone carries one call at a time. It registers, calls, answers, holds, asks for transfers
//! (REFER), lets another node take its call over (Replaces), sends digits (RFC 4733), records what it
//! hears at 8 kHz, and keeps the ladder of its SIP messages.
//!
//! ```no_run
//! # async fn example() -> Result<(), hotline_phone::PhoneError> {
//! use hotline_phone::{Microphone, Phone, PhoneConfig, tone_share};
//! use std::time::Duration;
//! let mut config = PhoneConfig::new("127.0.0.1:0".parse().unwrap(), "127.0.0.1:5060".parse().unwrap());
//! config.microphone = Microphone::Tone(600);
//! let mut phone = Phone::start(config).await?;
//! phone.call("sip:600@127.0.0.1").await?;
//! phone.wait_answered(Duration::from_secs(5)).await?;
//! phone.send_digits("1").await?;
//! phone.wait_ended(Duration::from_secs(20)).await?;
//! assert!(tone_share(&phone.heard(), 440) > 0.5);
//! # Ok(()) }
//! ```

mod config;
mod g711;
mod ladder;
mod media;
mod phone;
mod sdp;
mod shell;
mod tone;
mod wav;
mod wire;

pub use config::{Microphone, PhoneConfig};
pub use g711::{Law, decode, encode};
pub use hotline_rtp::api::Codec;
pub use ladder::{Ladder, LadderLine};
pub use media::{HeardDigit, MediaCounts};
pub use phone::{Phone, PhoneError, PhoneEvent};
pub use tone::{Tone, loudness, tone_ms, tone_presence, tone_share};
pub use wav::{read_wav, write_tone, write_wav};
