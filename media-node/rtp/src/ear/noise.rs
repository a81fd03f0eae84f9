//! Comfort noise (RFC 3389): the level of a peer's silence, rendered as soft hiss.

/// A generator of noise.
#[derive(Debug, Clone)]
pub struct Noise {
    peak: f32,
    state: u32,
    last: f32,
}

impl Noise {
    /// From the payload of a comfort noise packet: its first byte is the level in −dBov; the
    /// spectrum after it is not rendered. `None`: the payload is empty.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let level = f32::from(payload.first()? & 0x7F);
        // 0 dBov is the power of a full-scale square wave; a uniform noise of peak p has p/√3, and
        // the smoothing below leaves 1/√3 of that.
        let peak = 32_768.0 * 10f32.powf(-level / 20.0) * 3.0;
        Some(Self { peak: peak.min(8_000.0), state: 0x2545_F491, last: 0.0 })
    }

    /// Fills a stretch.
    pub fn fill(&mut self, into: &mut [i16]) {
        for sample in into {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            let white = (self.state as f32 / u32::MAX as f32 * 2.0 - 1.0) * self.peak;
            self.last = 0.5 * self.last + 0.5 * white;
            *sample = self.last as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_level_that_was_said() {
        for level in [40u8, 50, 60, 70] {
            let mut noise = Noise::read(&[level, 1, 2, 3]).unwrap();
            let mut samples = [0; 8_000];
            noise.fill(&mut samples);
            let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 8_000.0;
            let dbov = 10.0 * (power / 32_768f64.powi(2)).log10();
            assert!((dbov + f64::from(level)).abs() < 1.5, "{level}: {dbov}");
        }
        assert!(Noise::read(&[]).is_none());
        let mut deafening = Noise::read(&[0]).unwrap();
        let mut samples = [0; 800];
        deafening.fill(&mut samples);
        assert!(samples.iter().all(|sample| sample.abs() <= 8_000));
    }
}
