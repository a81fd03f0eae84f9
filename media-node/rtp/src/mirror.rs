//! Copies of a leg's packets for a capture, RTP and RTCP: as they are on the wire, and without what is said unless
//! all is asked for. A media thread hands them over and never waits; what finds no room is counted.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::packet::{HEADER_LEN, Header};

/// How much of a packet is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorDetail {
    /// Its header: enough for loss and jitter, nothing of what is said or pressed. RTCP is there whole: it says how
    /// packets fared, not what is in them.
    Headers,
    /// All of it, but for the time in which keys are secret.
    All,
}

/// A packet, as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorPacket {
    /// Since 1970, microseconds.
    pub at_us: u64,
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Its length on the wire, bytes.
    pub length: usize,
    /// Its beginning, or all of it.
    pub bytes: Box<[u8]>,
}

/// Where legs put their copies; may be given to many of them.
#[derive(Debug, Clone)]
pub struct MirrorSink {
    into: SyncSender<MirrorPacket>,
    lost: Arc<AtomicU64>,
    detail: MirrorDetail,
}

/// The other end, for one thread. Over when all sinks, and the mirrors made of them, are gone.
#[derive(Debug)]
pub struct MirrorReader {
    from: Receiver<MirrorPacket>,
    lost: Arc<AtomicU64>,
}

/// Room for so many packets. The reader polls: then the other side has nobody to wake.
pub fn mirror(packets: usize, detail: MirrorDetail) -> (MirrorSink, MirrorReader) {
    let (into, from) = sync_channel(packets.max(1));
    let lost = Arc::<AtomicU64>::default();
    (MirrorSink { into, lost: lost.clone(), detail }, MirrorReader { from, lost })
}

impl MirrorSink {
    /// For a leg that is seen at `local`.
    pub fn at(&self, local: SocketAddr) -> Mirror {
        Mirror { local, sink: self.clone() }
    }
}

impl MirrorReader {
    /// What has come; whether more may.
    pub fn drain(&mut self, into: &mut Vec<MirrorPacket>) -> bool {
        loop {
            match self.from.try_recv() {
                Ok(packet) => into.push(packet),
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Packets without room since the last time.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// A leg's end.
#[derive(Debug)]
pub struct Mirror {
    local: SocketAddr,
    sink: MirrorSink,
}

impl Mirror {
    /// A packet came.
    pub(crate) fn came(&self, from: SocketAddr, datagram: &[u8], secret: bool) {
        self.add(from, self.local, datagram, secret);
    }

    /// A packet was sent.
    pub(crate) fn went(&self, to: SocketAddr, datagram: &[u8], secret: bool) {
        self.add(self.local, to, datagram, secret);
    }

    /// An RTCP packet came; `muxed`: on the port of RTP.
    pub(crate) fn report_came(&self, from: SocketAddr, datagram: &[u8], muxed: bool) {
        self.copy(from, self.report_port(muxed), datagram, datagram.len());
    }

    /// An RTCP packet was sent.
    pub(crate) fn report_went(&self, to: SocketAddr, datagram: &[u8], muxed: bool) {
        self.copy(self.report_port(muxed), to, datagram, datagram.len());
    }

    /// Where the leg has its RTCP: RFC 3550 §11.
    fn report_port(&self, muxed: bool) -> SocketAddr {
        let port = self.local.port().saturating_add(u16::from(!muxed));
        SocketAddr::new(self.local.ip(), port)
    }

    fn add(&self, from: SocketAddr, to: SocketAddr, datagram: &[u8], secret: bool) {
        let whole = self.sink.detail == MirrorDetail::All && !secret;
        let kept = match Header::read(datagram) {
            _ if whole => datagram.len(),
            Some(header) => header.payload_start,
            None => HEADER_LEN,
        };
        self.copy(from, to, datagram, kept);
    }

    fn copy(&self, from: SocketAddr, to: SocketAddr, datagram: &[u8], kept: usize) {
        let bytes = datagram.get(..kept.min(datagram.len())).unwrap_or_default().into();
        let at_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let packet = MirrorPacket { at_us, from, to, length: datagram.len(), bytes };
        if self.sink.into.try_send(packet).is_err() {
            self.sink.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_left_out_unless_all_is_asked_for() {
        let (local, remote): (SocketAddr, SocketAddr) =
            ("192.0.2.1:4000".parse().unwrap(), "192.0.2.2:5000".parse().unwrap());
        let mut datagram = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
        datagram.extend([0x55; 160]);
        for (detail, secret, kept) in
            [(MirrorDetail::Headers, false, 12), (MirrorDetail::All, false, 172), (MirrorDetail::All, true, 12)]
        {
            let (sink, mut reader) = mirror(2, detail);
            let mirror = sink.at(local);
            mirror.came(remote, &datagram, secret);
            mirror.went(remote, b"short", secret);
            mirror.went(remote, &datagram, secret);
            let mut got = Vec::new();
            assert!(reader.drain(&mut got), "more may come");
            assert_eq!((got.len(), reader.take_lost(), reader.take_lost()), (2, 1, 0));
            assert_eq!((got[0].from, got[0].to, got[0].length), (remote, local, 172));
            assert_eq!(got[0].bytes[..], datagram[..kept]);
            assert_eq!((got[1].from, got[1].to, &got[1].bytes[..]), (local, remote, &b"short"[..]));
            mirror.report_came(remote, &datagram, false);
            mirror.report_went(remote, &datagram, true);
            reader.drain(&mut got);
            assert!(got[2..].iter().all(|report| report.bytes[..] == datagram), "reports are whole");
            assert_eq!((got[2].to.port(), got[3].from), (local.port() + 1, local));
            drop((sink, mirror));
            assert!(!reader.drain(&mut got), "all are gone");
        }
    }
}
