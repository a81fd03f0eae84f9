//! What the live tests share: a hotline of their own, real phones, and ears.

pub mod apart;
pub mod baresip;
pub mod hotline;
pub mod load;
pub mod push;
pub mod sound;
pub mod staff;
