//! A console's WebSocket: connects with a one-time ticket and keeps what it is told.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::hotline::{Hotline, Session, eventually};

/// A connected console; dropped, it disconnects.
pub struct Console {
    say: mpsc::Sender<String>,
    heard: Arc<Mutex<Vec<Value>>>,
    stop: Arc<Mutex<bool>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Console {
    /// Connects as the person of a session, and waits until a heartbeat was answered.
    pub fn connect(hotline: &Hotline, session: &Session) -> Result<Self> {
        let answer = session.send("POST", "/v1/ws-tickets", Some(&json!({})))?;
        let ticket = answer.body["ticket"].as_str().with_context(|| format!("no ticket: {answer:?}"))?;
        let address = format!("{}?ticket={ticket}", hotline.websocket());
        let (mut socket, _) = tungstenite::connect(&address).context("the console's WebSocket")?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        }
        socket.send(Message::text(r#"{"type":"heartbeat"}"#))?;
        let (heard, stop) = (Arc::default(), Arc::default());
        let (say, said) = mpsc::channel();
        let reader = std::thread::spawn({
            let (heard, stop) = (Arc::clone(&heard), Arc::clone(&stop));
            move || read(socket, &said, &heard, &stop)
        });
        let console = Self { say, heard, stop, reader: Some(reader) };
        console.wait_for("an answer to the heartbeat", |event| event["event"] == "alive")?;
        // A ticket is good once.
        if tungstenite::connect(&address).is_ok() {
            bail!("a ticket was accepted twice");
        }
        Ok(console)
    }

    /// Sends a message.
    pub fn say(&self, message: &Value) -> Result<()> {
        self.say.send(message.to_string()).context("the console is closed")
    }

    /// Waits for an event, 20 s at most.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(Duration::from_secs(20), || {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let found = heard.iter().find(|event| is(event)).cloned();
            found.with_context(|| format!("the console was not told of {what}; it heard {heard:?}"))
        })
    }
}

fn read(
    mut socket: WebSocket<MaybeTlsStream<TcpStream>>,
    said: &mpsc::Receiver<String>,
    heard: &Mutex<Vec<Value>>,
    stop: &Mutex<bool>,
) {
    while !*stop.lock().unwrap_or_else(PoisonError::into_inner) {
        for message in said.try_iter() {
            if socket.send(Message::text(message)).is_err() {
                return;
            }
        }
        match socket.read() {
            Ok(Message::Text(text)) => {
                let event = serde_json::from_str(&text).unwrap_or_else(|_| json!(text.as_str()));
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
    let _ = socket.close(None);
    let _ = socket.flush();
}

impl Drop for Console {
    fn drop(&mut self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
