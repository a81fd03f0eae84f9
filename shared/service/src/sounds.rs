//! Sounds that come with the product: made once, kept in the prompts bucket.

use hotline_base::Lang;
use hotline_contact::HOLD_MUSIC_KEY;
use hotline_ports::Bucket;

use crate::{Service, ServiceError, wave};

/// The object key of "this number is not in service", in both languages.
pub const UNKNOWN_NUMBER_KEY: &str = "prompts/shared/unknown-number.ulaw";
/// The content type of raw µ-law.
pub const MU_LAW_TYPE: &str = "audio/basic";

const UNKNOWN_NUMBER: [(Lang, &str); 2] = [
    (Lang::Zh, "您拨打的号码是空号，请核对后再拨。"),
    (Lang::En, "The number you have dialled is not in service. Please check it and dial again."),
];

/// Makes what is missing of the built-in sounds.
///
/// # Errors
/// Faults of object storage or of the speech engine.
pub async fn ensure(service: &Service) -> Result<(), ServiceError> {
    let objects = &service.ports.objects;
    let there = objects.list(Bucket::Prompts, "prompts/shared/", 100).await?;
    if !there.iter().any(|key| key == HOLD_MUSIC_KEY) {
        let music = wave::to_mu_law(&hold_music());
        objects.put(Bucket::Prompts, HOLD_MUSIC_KEY, music, MU_LAW_TYPE).await?;
    }
    if !there.iter().any(|key| key == UNKNOWN_NUMBER_KEY) {
        let mut samples = Vec::new();
        for (lang, text) in UNKNOWN_NUMBER {
            samples.extend(service.ports.tts.speak(text, lang, None).await?);
            samples.extend([0; 4000]);
        }
        let speech = wave::to_mu_law(&samples);
        objects.put(Bucket::Prompts, UNKNOWN_NUMBER_KEY, speech, MU_LAW_TYPE).await?;
    }
    Ok(())
}

/// Whether the announcement of unknown numbers was made.
pub(crate) async fn has_unknown_number(service: &Service) -> Result<bool, ServiceError> {
    let found = service.ports.objects.list(Bucket::Prompts, UNKNOWN_NUMBER_KEY, 1).await?;
    Ok(!found.is_empty())
}

/// Sixteen seconds of soft arpeggios that can be looped: 8 kHz, quiet.
fn hold_music() -> Vec<i16> {
    // C, A minor, F, G: eight quavers each, as semitones above middle C.
    const CHORDS: [[i32; 4]; 4] = [[0, 4, 7, 12], [-3, 0, 4, 9], [-7, -3, 0, 5], [-5, -1, 2, 7]];
    const NOTE: usize = 4000;
    let order = [0, 1, 2, 3, 2, 3, 1, 2];
    let notes = CHORDS.iter().flat_map(|chord| order.iter().filter_map(|n| chord.get(*n)));
    let mut samples = vec![0f64; NOTE * order.len() * CHORDS.len()];
    let length = samples.len();
    for (place, semitones) in notes.enumerate() {
        let hz = 261.63 * 2f64.powf(f64::from(*semitones) / 12.0);
        // A note rings on under the next two; the end rings into the beginning.
        for n in 0..NOTE * 3 {
            let seconds = n as f64 / 8000.0;
            let attack = (seconds / 0.02).min(1.0);
            let phase = seconds * hz * std::f64::consts::TAU;
            let tone = phase.sin() + 0.3 * (2.0 * phase).sin() + 0.1 * (3.0 * phase).sin();
            if let Some(sample) = samples.get_mut((place * NOTE + n) % length) {
                *sample += tone * attack * (-2.5 * seconds).exp() * 2600.0;
            }
        }
    }
    samples.into_iter().map(|sample| sample.clamp(-20_000.0, 20_000.0) as i16).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_music_is_heard_and_not_loud() {
        let music = super::hold_music();
        assert_eq!(music.len(), 8000 * 16);
        let loudest = music.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((2_000..12_000).contains(&loudest), "{loudest}");
        // The loop closes without a click.
        assert!((i32::from(music[0]) - i32::from(music[music.len() - 1])).abs() < 1_500);
    }
}
