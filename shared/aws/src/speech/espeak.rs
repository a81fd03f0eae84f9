//! `espeak-ng` as a process: text on its standard input, a WAV on its standard output.

use async_trait::async_trait;
use hotline_base::Lang;
use hotline_ports::{Fault, Tts};
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{MAX_CHARS, resample};

const PART: &str = "espeak-ng";
/// It speaks some hundred times faster than real time; this is for a machine under load.
const LIMIT: Duration = Duration::from_secs(30);
/// Words a minute: slower than its default, for a telephone.
const SPEED: &str = "150";

/// Speech by the Debian package `espeak-ng`.
#[derive(Debug, Clone)]
pub struct Espeak {
    program: String,
}

impl Default for Espeak {
    fn default() -> Self {
        Self { program: "espeak-ng".into() }
    }
}

impl Espeak {
    /// With a program of another name or place.
    pub fn at(program: &str) -> Self {
        Self { program: program.into() }
    }
}

#[async_trait]
impl Tts for Espeak {
    async fn speak(&self, text: &str, lang: Lang, voice: Option<&str>) -> Result<Vec<i16>, Fault> {
        if text.chars().count() > MAX_CHARS {
            return Err(Fault::permanent(PART, format!("a prompt may have {MAX_CHARS} characters; split it")));
        }
        let voice = voice.unwrap_or(match lang {
            Lang::Zh => "cmn",
            Lang::En => "en-us",
        });
        if !voice.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '_')) || voice.starts_with('-') {
            return Err(Fault::permanent(
                PART,
                format!("{voice:?} is not the name of a voice; `espeak-ng --voices` lists them"),
            ));
        }
        let mut child = Command::new(&self.program)
            .args(["-v", voice, "-s", SPEED, "-b", "1", "--stdin", "--stdout"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => Fault::permanent(
                    PART,
                    format!(
                        "{} is not installed: sudo apt-get install espeak-ng (or deploy with TtsEngine=polly)",
                        self.program
                    ),
                ),
                _ => Fault::transient(PART, error),
            })?;
        let mut input = child.stdin.take().ok_or_else(|| Fault::transient(PART, "no standard input"))?;
        let text = text.as_bytes().to_vec();
        // Text and speech flow at the same time: either pipe may fill up first.
        let feed = tokio::spawn(async move {
            let written = input.write_all(&text).await;
            drop(input);
            written
        });
        let output = tokio::time::timeout(LIMIT, child.wait_with_output())
            .await
            .map_err(|_| Fault::transient(PART, format!("no speech after {} s", LIMIT.as_secs())))?
            .map_err(|e| Fault::transient(PART, e))?;
        // A process that ends early breaks the pipe; its own message says more than that.
        let _ = feed.await;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Fault::permanent(PART, format!("{}: {}", output.status, said.trim())));
        }
        let (rate, samples) = wav(&output.stdout)?;
        Ok(resample::to_8k(&samples, rate))
    }

    fn engine(&self) -> String {
        format!("espeak-ng-{SPEED}")
    }
}

/// Rate and samples of a 16-bit mono WAV whose lengths may be unknown, as of a pipe.
fn wav(bytes: &[u8]) -> Result<(u32, Vec<i16>), Fault> {
    let wrong = || Fault::permanent(PART, "its output is not a 16-bit mono WAV");
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(wrong());
    }
    let mut at = 12;
    let mut rate = None;
    loop {
        let size = word(at + 4).ok_or_else(wrong)? as usize;
        let body = at + 8;
        match bytes.get(at..at + 4) {
            Some(b"fmt ") => {
                let format = bytes.get(body..body + 16).ok_or_else(wrong)?;
                if format[..4] != [1, 0, 1, 0] || format[14..16] != [16, 0] {
                    return Err(wrong());
                }
                rate = word(body + 4);
            }
            Some(b"data") => {
                let end = body.saturating_add(size).min(bytes.len());
                let data = bytes.get(body..end).ok_or_else(wrong)?;
                let samples = data.chunks_exact(2).map(|p| i16::from_le_bytes([p[0], p[1]])).collect();
                return Ok((rate.ok_or_else(wrong)?, samples));
            }
            _ => {}
        }
        at = body.saturating_add(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_names_the_package() {
        let error = Espeak::at("no-such-espeak").speak("hello", Lang::En, None).await.unwrap_err();
        assert!(error.to_string().contains("apt-get install espeak-ng"), "{error}");
    }

    #[tokio::test]
    async fn a_voice_cannot_smuggle_an_option() {
        let error = Espeak::default().speak("hello", Lang::En, Some("-f/etc/passwd")).await.unwrap_err();
        assert!(error.to_string().contains("not the name of a voice"), "{error}");
    }

    #[test]
    fn a_piped_wav_has_no_lengths() {
        let mut bytes = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        bytes.extend(22_050u32.to_le_bytes());
        bytes.extend(44_100u32.to_le_bytes());
        bytes.extend([2, 0, 16, 0]);
        bytes.extend(b"data\xff\xff\xff\x7f");
        bytes.extend([1, 0, 0xff, 0xff]);
        assert_eq!(wav(&bytes).unwrap(), (22_050, vec![1, -1]));
        assert!(wav(&bytes[..30]).is_err());
        assert!(wav(b"").is_err());
    }
}
