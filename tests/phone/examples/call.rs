//! One call from the command line: dials, sends digits, prints what happened and what was heard.
//!
//! `cargo run -p hotline-phone --example call -- 127.0.0.1:5060 sip:600@127.0.0.1 [digits] [heard.wav] [tcp]`

use hotline_phone::{Microphone, Phone, PhoneConfig, PhoneError, PhoneEvent, loudness, tone_share};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (server, uri) = match arguments.as_slice() {
        [server, uri, ..] => (server.parse()?, uri.as_str()),
        _ => return Err("give the server's address and the URI to call".into()),
    };
    let mut config = PhoneConfig::new("127.0.0.1:0".parse()?, server);
    config.user = "caller".into();
    config.tcp = arguments.last().is_some_and(|a| a == "tcp");
    config.microphone = Microphone::Tone(1_000);
    let mut phone = Phone::start(config).await?;
    phone.call(uri).await?;
    let result = converse(&mut phone, arguments.get(2).map_or("", String::as_str)).await;
    print!("{}", phone.ladder());
    let heard = phone.heard();
    println!(
        "heard {:.1} s, loudness {:.0}, {:?}",
        heard.len() as f64 / 8_000.0,
        loudness(&heard),
        phone.media_counts()
    );
    for hz in [300, 440, 600, 880, 1_000] {
        println!("{hz:>5} Hz in {:>3.0} % of it", tone_share(&heard, hz) * 100.0);
    }
    if let Some(file) = arguments.get(3) {
        phone.save_heard(std::path::Path::new(file))?;
    }
    phone.stop().await;
    Ok(result?)
}

async fn converse(phone: &mut Phone, digits: &str) -> Result<(), PhoneError> {
    phone.wait_answered(Duration::from_secs(30)).await?;
    if !digits.is_empty() {
        phone.send_digits(digits).await?;
    }
    match phone.wait_ended(Duration::from_secs(10)).await {
        Ok(PhoneEvent::Ended { by_peer, reason, .. }) => println!("ended, by the other side: {by_peer} {reason}"),
        // Long enough for a look.
        _ => phone.hangup().await?,
    }
    Ok(())
}
