//! Captures on demand: the SIP messages of the next calls to or from a number, and their RTP and RTCP where that
//! is asked for, as a file for tshark and sngrep; and the messages of all calls to a HEP collector, where
//! one is configured.
//!
//! What proves an account, keys of SRTP and digits of INFO are struck out, byte by byte, so that
//! lengths stay true. Numbers are not: whoever may read `data_dir` may read them.

mod hep;
mod mask;
mod pcap;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hotline_rtp::mirror::{MirrorDetail, MirrorPacket, MirrorReader, MirrorSink, mirror};
use hotline_sip::api::Path as Way;

use crate::config::CaptureSection;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::trace::Trace;
use hep::Collector;

/// Messages that wait for the disk; above it they are left out.
const WAITING: usize = 1_024;
/// RTP packets that wait for the disk.
const RTP_WAITING: usize = 4_096;
/// How often RTP is looked for: media threads wake nobody.
const POLL: Duration = Duration::from_millis(20);
/// Files of the same second.
const SAME_SECOND: u32 = 1_000;

/// One message.
pub(crate) struct Packet {
    /// Since 1970, microseconds.
    pub at_us: u64,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Its length as it was, bytes.
    pub length: usize,
    /// What was struck out is out, and what was said may be cut off.
    pub bytes: Box<[u8]>,
}

impl From<MirrorPacket> for Packet {
    fn from(packet: MirrorPacket) -> Self {
        let MirrorPacket { at_us, from, to, length, bytes } = packet;
        Self { at_us, from, to, length, bytes }
    }
}

/// A file that a call's messages go to.
#[derive(Clone)]
pub struct Capture {
    messages: SyncSender<Packet>,
    rtp: Option<MirrorSink>,
}

/// All captures.
pub struct Captures {
    settings: CaptureSection,
    folder: PathBuf,
    filter: Trace,
    open: Mutex<Option<Capture>>,
    collector: Option<Collector>,
    rtp_dropped: Arc<AtomicU64>,
}

impl Captures {
    /// None yet; files go below `data_dir`.
    pub fn new(settings: &CaptureSection, data_dir: &Path) -> Self {
        Self {
            settings: settings.clone(),
            folder: data_dir.join("captures"),
            filter: Trace::default(),
            open: Mutex::new(None),
            collector: settings.hep.as_deref().map(|to| Collector::new(to, settings.hep_id)),
            rtp_dropped: Arc::default(),
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Option<Capture>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Captures the next `calls` calls to or from `number` (empty: all) into one file; a capture that
    /// still waits for calls ends. `rtp`: how much of their RTP is written too; `None`: nothing.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn arm(&self, number: &str, calls: usize, rtp: Option<MirrorDetail>) -> io::Result<PathBuf> {
        std::fs::create_dir_all(&self.folder)?;
        self.prune()?;
        let (path, file) = self.create()?;
        let (sender, receiver) = sync_channel(WAITING);
        let (sink, reader) = rtp.map(|detail| mirror(RTP_WAITING, detail)).unzip();
        let limit = self.settings.max_mb << 20;
        let dropped = self.rtp_dropped.clone();
        std::thread::Builder::new().name("capture".into()).spawn(move || {
            let mut sources = Sources { messages: receiver, rtp: reader, copies: Vec::new(), dropped };
            if let Err(error) = write(&file, &mut sources, limit) {
                tracing::warn!(%error, "a capture ended early");
            }
        })?;
        *self.open() = Some(Capture { messages: sender, rtp: sink });
        self.filter.arm(number, calls);
        Ok(path)
    }

    fn create(&self) -> io::Result<(PathBuf, File)> {
        use std::os::unix::fs::OpenOptionsExt;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for number in 0..SAME_SECOND {
            let path = self.folder.join(format!("{seconds}-{number:03}.pcap"));
            match File::options().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many captures at once"))
    }

    /// Makes room: the oldest files go.
    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(&self.folder)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
            .collect();
        // Their names count up.
        files.sort();
        let surplus = (files.len() + 1).saturating_sub(self.settings.max_files);
        for path in files.iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// The file for a call that begins, where it is to be captured.
    pub fn wants(&self, did: &str, from: &str) -> Option<Capture> {
        if !self.filter.wants(did, from) {
            return None;
        }
        let mut open = self.open();
        let capture = open.clone();
        if self.filter.is_idle() {
            // The file is whole when the last of its calls is over.
            *open = None;
        }
        capture
    }

    /// RTP packets that no capture had room for.
    pub fn rtp_dropped(&self) -> u64 {
        self.rtp_dropped.load(Ordering::Relaxed)
    }

    /// Whether every message is wanted.
    pub fn collects(&self) -> bool {
        self.collector.is_some()
    }

    /// A message, for the collector.
    pub fn collect(&self, shared: &Shared, packet: &Packet, way: &Way, call_id: &str) {
        if let Some(collector) = &self.collector
            && !collector.send(packet, way.transport, call_id)
        {
            Metrics::add(&shared.metrics.capture_dropped);
        }
    }
}

impl Capture {
    /// A message of a captured call; `false` where it is left out.
    pub(crate) fn add(&self, packet: Packet) -> bool {
        self.messages.try_send(packet).is_ok()
    }

    /// Where copies of a call's RTP go, if they are wanted.
    pub(crate) fn rtp(&self) -> Option<&MirrorSink> {
        self.rtp.as_ref()
    }
}

/// A message as it goes by a path.
pub(crate) fn packet(outgoing: bool, way: &Way, bytes: &[u8]) -> Packet {
    let (from, to) = if outgoing { (way.local, way.remote) } else { (way.remote, way.local) };
    let at_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let bytes = mask::masked(bytes).into_boxed_slice();
    Packet { at_us: u64::try_from(at_us).unwrap_or(u64::MAX), from, to, length: bytes.len(), bytes }
}

/// Where packets of a capture come from.
struct Sources {
    messages: Receiver<Packet>,
    rtp: Option<MirrorReader>,
    copies: Vec<MirrorPacket>,
    dropped: Arc<AtomicU64>,
}

impl Sources {
    /// What comes next, in order; `false`: the last call is over.
    fn next(&mut self, into: &mut Vec<Packet>) -> bool {
        let Some(rtp) = &mut self.rtp else {
            let message = self.messages.recv();
            let more = message.is_ok();
            into.extend(message);
            return more;
        };
        std::thread::sleep(POLL);
        let calls = loop {
            match self.messages.try_recv() {
                Ok(message) => into.push(message),
                Err(TryRecvError::Empty) => break true,
                Err(TryRecvError::Disconnected) => break false,
            }
        };
        let legs = rtp.drain(&mut self.copies);
        self.dropped.fetch_add(rtp.take_lost(), Ordering::Relaxed);
        into.extend(self.copies.drain(..).map(Packet::from));
        into.sort_by_key(|packet| packet.at_us);
        calls || legs
    }
}

fn write(file: &File, sources: &mut Sources, limit: u64) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    out.write_all(&pcap::head())?;
    out.flush()?;
    let (mut written, mut packets) = (0u64, Vec::new());
    let mut more = true;
    while more {
        more = sources.next(&mut packets);
        for packet in packets.drain(..) {
            let record = pcap::record(&packet);
            written += record.len() as u64;
            if written > limit {
                return out.flush();
            }
            out.write_all(&record)?;
        }
        out.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CaptureSection {
        CaptureSection { hep: None, hep_id: 1, max_files: 2, max_mb: 1 }
    }

    fn way() -> Way {
        Way {
            transport: hotline_sip::api::Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.9:5070".parse().unwrap(),
            connection: 0,
        }
    }

    #[test]
    fn files_are_few_and_hold_the_calls_that_were_asked_for() {
        let folder = std::env::temp_dir().join(format!("captures-{}", std::process::id()));
        let captures = Captures::new(&settings(), &folder);
        assert!(captures.wants("600", "a").is_none());
        for _ in 0..3 {
            captures.arm("600", 1, None).unwrap();
        }
        let path = captures.arm("600", 2, None).unwrap();
        let count = std::fs::read_dir(folder.join("captures")).unwrap().count();
        assert_eq!(count, 2, "the oldest are gone");
        assert!(captures.wants("700", "a").is_none());
        let first = captures.wants("600", "a").unwrap();
        let second = captures.wants("1", "600").unwrap();
        assert!(captures.wants("600", "a").is_none());
        assert!(first.add(packet(false, &way(), b"OPTIONS sip:x SIP/2.0\r\n\r\n")));
        assert!(second.add(packet(true, &way(), b"SIP/2.0 200 OK\r\n\r\n")));
        drop((first, second));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let read = loop {
            let read = pcap::read(&std::fs::read(&path).unwrap());
            if read.len() == 2 || std::time::Instant::now() > end {
                break read;
            }
            std::thread::yield_now();
        };
        let texts: Vec<_> = read.iter().map(|p| String::from_utf8_lossy(&p.bytes).into_owned()).collect();
        assert_eq!(texts, ["OPTIONS sip:x SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n"]);
        assert_eq!((read[0].from, read[1].from), (way().remote, way().local));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn rtp_lies_between_the_messages_and_the_file_stays_small() {
        let folder = std::env::temp_dir().join(format!("captures-rtp-{}", std::process::id()));
        let captures = Captures::new(&settings(), &folder);
        let path = captures.arm("", 1, Some(MirrorDetail::Headers)).unwrap();
        let capture = captures.wants("600", "a").unwrap();
        assert!(capture.add(packet(false, &way(), b"INVITE")));
        assert!(capture.add(packet(true, &way(), b"SIP/2.0 200 OK")));
        let leg = capture.rtp().unwrap().at("192.0.2.1:20000".parse().unwrap());
        drop(capture);
        // Whoever still has a leg keeps the file open.
        drop(leg);
        let end = std::time::Instant::now() + Duration::from_secs(10);
        let length = || std::fs::metadata(&path).unwrap().len();
        let wanted = pcap::head().len() as u64 + 2 * (16 + 28) + 6 + 14;
        while length() < wanted && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        assert_eq!((length(), captures.rtp_dropped()), (wanted, 0));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
