//! RTP, RTCP, DTMF, G.711, relay, prompts and recording: pure parts and the media threads that drive them.

pub mod api;
