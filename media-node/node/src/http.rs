//! `/healthz`, `/readyz`, `/metrics`, `/trace` and `/capture` on a loopback port.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use hotline_rtp::mirror::MirrorDetail;

use crate::decisions::Decider;
use crate::shared::Shared;

/// The head of a request.
const HEAD: usize = 4_096;
/// A request must be whole, and its answer taken, within this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests at a time.
const REQUESTS: usize = 32;

/// Answers until the process ends.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(REQUESTS));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, answer(&shared, stream)).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        if head.len() > HEAD {
            return Ok(());
        }
        let mut part = [0u8; 512];
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(part.get(..count).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&head);
    let mut words = text.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = respond(shared, method, target);
    let reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(shared: &Shared, method: &str, target: &str) -> (&'static str, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match (method, path) {
        ("GET", "/healthz") => ("200 OK", "alive\n".into()),
        ("GET", "/readyz") if shared.is_draining() => ("503 Service Unavailable", "draining\n".into()),
        ("GET", "/readyz") => ("200 OK", format!("ready\n{}", shared.gateways.report())),
        ("GET", "/metrics") => ("200 OK", metrics(shared)),
        ("POST", "/trace") => trace(shared, query),
        ("POST", "/capture") => capture(shared, query),
        (_, "/healthz" | "/readyz" | "/metrics" | "/trace" | "/capture") => {
            ("405 Method Not Allowed", "use GET; POST for /trace and /capture\n".into())
        }
        _ => ("404 Not Found", "there are /healthz, /readyz, /metrics, /trace and /capture\n".into()),
    }
}

/// `POST /trace?number=600&calls=3` logs the SIP messages of the next three calls with 600.
fn trace(shared: &Shared, query: &str) -> (&'static str, String) {
    match wanted(query) {
        Ok((number, calls)) => {
            shared.trace.arm(&number, calls);
            ("200 OK", format!("the next {calls} calls are traced\n"))
        }
        Err(refusal) => refusal,
    }
}

/// `POST /capture?number=600&calls=3` writes the SIP messages of the next three calls with 600 to a file;
/// with `rtp=headers` or `rtp=all` their RTP and RTCP too.
fn capture(shared: &Shared, query: &str) -> (&'static str, String) {
    let (number, calls) = match wanted(query) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    let rtp = match value(query, "rtp").as_deref() {
        None | Some("none") => None,
        Some("" | "headers") => Some(MirrorDetail::Headers),
        Some("all") => Some(MirrorDetail::All),
        Some(_) => return ("400 Bad Request", "rtp: write headers, all or none\n".into()),
    };
    match shared.captures.arm(&number, calls, rtp) {
        Ok(path) => ("200 OK", format!("the next {calls} calls are written to {}\n", path.display())),
        Err(error) => ("500 Internal Server Error", format!("the file cannot be made: {error}\n")),
    }
}

/// A value of a query.
fn value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%2B", "+"))
}

/// The number and the count of a query.
fn wanted(query: &str) -> Result<(String, usize), (&'static str, String)> {
    match value(query, "calls").map_or(Ok(1), |text| text.parse::<usize>()) {
        Ok(calls @ 0..=1_000) => Ok((value(query, "number").unwrap_or_default(), calls)),
        _ => Err(("400 Bad Request", "calls: write a number from 0 to 1000\n".into())),
    }
}

fn metrics(shared: &Shared) -> String {
    let media = shared.media.metrics();
    let queued: usize = shared.mailboxes.iter().map(|m| m.waiting()).sum();
    let waiting = match &shared.decider {
        Decider::Local(stand_alone) => stand_alone.waiting(),
        Decider::Remote(_) => 0,
    };
    let gate = shared.gate.load();
    let mut text = shared.metrics.text(&[
        ("worker_queue", "Items waiting for the SIP workers.", queued as u64),
        ("waiting", "Calls in stand-alone queues.", waiting as u64),
        ("outside_calls", "Calls to outside now.", shared.gateways.calls() as u64),
        ("phones", "Registered users.", shared.registrar.users() as u64),
        ("media_legs", "Media legs open.", media.legs),
        ("recordings", "Recordings running.", media.recordings),
        ("rtp_packets_received", "RTP packets received.", media.packets_received),
        ("rtp_packets_sent", "RTP packets sent.", media.packets_sent),
        ("rtp_packets_rejected", "RTP packets rejected.", media.packets_rejected),
        ("rtp_send_failures", "RTP packets the kernel did not take.", media.send_failures),
        ("decisions_limit", "Decisions that may be asked for at a time.", gate.0 as u64),
        ("decisions_in_flight", "Decisions being asked for.", gate.1 as u64),
        ("decisions_waiting", "Decisions that wait for their turn.", gate.2 as u64),
        ("spool_bytes", "Bytes in the recording spool.", media.spool_bytes),
        ("uploads_pending", "Spool files not yet in object storage.", shared.uploads.pending.load(Ordering::Relaxed)),
        ("prompt_cache_bytes", "Bytes of sound in memory.", shared.sounds.bytes() as u64),
        ("capture_rtp_dropped", "RTP packets that a capture could not take.", shared.captures.rtp_dropped()),
        ("memory_bytes", "Resident memory.", resident_bytes()),
        (
            "tls_certificate_not_after_seconds",
            "When the certificate ends, seconds since 1970; 0: there is none.",
            shared.streams.tls().map_or(0, |tls| tls.not_after()),
        ),
        ("draining", "1 while no new calls are taken.", u64::from(shared.is_draining())),
    ]);
    shared.gateways.metrics(&mut text);
    text
}

/// Resident memory from the kernel's own figures.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4_096
}
