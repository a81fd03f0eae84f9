//! Amazon Polly.

use async_trait::async_trait;
use aws_sdk_polly::Client;
use aws_sdk_polly::types::{Engine, OutputFormat, TextType, VoiceId};
use hotline_base::Lang;
use hotline_ports::{Fault, Tts};

use super::MAX_CHARS;
use crate::Sdk;
use crate::error::fault;
use crate::sdk::timeouts;

const PART: &str = "Polly";

/// Amazon Polly's neural voices.
#[derive(Debug, Clone)]
pub struct Polly {
    client: Client,
}

impl Polly {
    /// In the region of the configuration.
    pub fn new(sdk: &Sdk) -> Self {
        let config = aws_sdk_polly::config::Builder::from(sdk.config()).timeout_config(timeouts(15, 40)).build();
        Self { client: Client::from_conf(config) }
    }
}

#[async_trait]
impl Tts for Polly {
    async fn speak(&self, text: &str, lang: Lang, voice: Option<&str>) -> Result<Vec<i16>, Fault> {
        if text.chars().count() > MAX_CHARS {
            return Err(Fault::permanent(PART, format!("a prompt may have {MAX_CHARS} characters; split it")));
        }
        let default = match lang {
            Lang::Zh => "Zhiyu",
            Lang::En => "Joanna",
        };
        let request = self
            .client
            .synthesize_speech()
            .engine(Engine::Neural)
            .output_format(OutputFormat::Pcm)
            .sample_rate("8000")
            .text_type(TextType::Text)
            .text(text)
            .voice_id(VoiceId::from(voice.unwrap_or(default)));
        let answer = request.send().await.map_err(|e| fault(PART, &e))?;
        let bytes = answer.audio_stream.collect().await.map_err(|e| Fault::transient(PART, e))?.to_vec();
        Ok(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    fn engine(&self) -> String {
        "polly-neural-1".into()
    }
}
