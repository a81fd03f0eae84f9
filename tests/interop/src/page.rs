//! Serves the phone's page and talks with it over a WebSocket.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

use crate::eventually;

const HTML: &str = "<!doctype html><meta charset=\"utf-8\"><title>phone</title><script src=\"/phone.js\"></script>";

/// A page under control; dropped, nobody serves it any more.
pub struct Page {
    pub address: String,
    told: Arc<Mutex<Vec<Value>>>,
    asks: mpsc::Sender<String>,
    next: AtomicU64,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

fn lock(told: &Mutex<Vec<Value>>) -> MutexGuard<'_, Vec<Value>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    /// Serves a script on the loopback.
    pub fn serve(script: String) -> Result<Self> {
        let (web, control) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        web.set_nonblocking(true)?;
        control.set_nonblocking(true)?;
        let address =
            format!("http://127.0.0.1:{}/?control={}", web.local_addr()?.port(), control.local_addr()?.port());
        let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (asks, asked) = mpsc::channel();
        let threads = vec![
            std::thread::spawn({
                let stop = Arc::clone(&stop);
                move || serve(&web, &script, &stop)
            }),
            std::thread::spawn({
                let (stop, told) = (Arc::clone(&stop), Arc::clone(&told));
                move || talk(&control, &told, &asked, &stop)
            }),
        ];
        Ok(Self { address, told, asks, next: AtomicU64::new(1), stop, threads })
    }

    /// Asks the page to do something; its answer, 15 s at most.
    pub fn ask(&self, act: &str, mut more: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        more["id"] = json!(id);
        more["act"] = json!(act);
        self.asks.send(more.to_string()).context("the page's thread ended")?;
        let reply = self.take(&format!("an answer to {act}"), |event| event["reply"] == json!(id))?;
        match reply.get("error") {
            Some(error) => bail!("{act}: {error}"),
            None => Ok(reply["value"].clone()),
        }
    }

    /// Waits for something that the page tells and takes it, 20 s at most.
    pub fn take(&self, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(Duration::from_secs(20), || {
            let mut told = lock(&self.told);
            match told.iter().position(&is) {
                Some(at) => Ok(told.remove(at)),
                None => bail!("the page did not tell of {what}; it told {told:?}"),
            }
        })
    }

    /// Forgets what was told so far.
    pub fn forget(&self) {
        lock(&self.told).clear();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The next connection, or `None` at the end.
fn next(listener: &TcpListener, stop: &AtomicBool) -> Option<TcpStream> {
    while !stop.load(Ordering::Relaxed) {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).ok()?;
            return Some(stream);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// Two files by HTTP.
fn serve(listener: &TcpListener, script: &str, stop: &AtomicBool) {
    while let Some(mut stream) = next(listener, stop) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut head = [0u8; 4_096];
        let count = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(head.get(..count).unwrap_or_default()).into_owned();
        let (status, kind, body) = if head.starts_with("GET /phone.js ") {
            ("200 OK", "text/javascript", script)
        } else if head.starts_with("GET / ") || head.starts_with("GET /?") {
            ("200 OK", "text/html", HTML)
        } else {
            ("404 Not Found", "text/plain", "")
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
}

/// One page after the other (a reload makes another one).
fn talk(listener: &TcpListener, told: &Mutex<Vec<Value>>, asks: &mpsc::Receiver<String>, stop: &AtomicBool) {
    while let Some(stream) = next(listener, stop) {
        // A browser also connects ahead, for pages to come, and says nothing.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let Ok(mut socket) = tungstenite::accept(stream) else { continue };
        let _ = socket.get_ref().set_read_timeout(Some(Duration::from_millis(10)));
        while !stop.load(Ordering::Relaxed) && exchange(&mut socket, told, asks) {}
    }
}

fn exchange(socket: &mut WebSocket<TcpStream>, told: &Mutex<Vec<Value>>, asks: &mpsc::Receiver<String>) -> bool {
    for ask in asks.try_iter() {
        if socket.send(Message::text(ask)).is_err() {
            return false;
        }
    }
    match socket.read() {
        Ok(Message::Text(text)) => {
            lock(told).push(serde_json::from_str(&text).unwrap_or(Value::Null));
            true
        }
        Ok(_) => true,
        Err(tungstenite::Error::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
        Err(_) => false,
    }
}
