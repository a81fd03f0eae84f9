//! What other threads hand to a SIP worker.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hotline_base::{ContactId, Timestamp};
use hotline_session::{DecisionFailure, DialError, LegNo, Loaded};
use hotline_sip::api::{CallHandle, Ha1, Path, RequestHandle};
use hotline_wire::legs::DialogRef;
use hotline_wire::node::{Decision, NodeCommand};

use crate::worker::Wanted;

/// SIP messages that may wait for a worker; above it they are dropped as by a full socket.
const MESSAGES: usize = 8_192;

/// One thing for a worker to look at.
pub enum Mail {
    /// A message of this worker's calls that another thread received.
    Message { path: Path, bytes: Bytes },
    /// A stream connection is gone.
    Closed { connection: u64 },
    /// No connection to a peer can be had.
    Unreachable { path: Path },
    /// A decision, or its failure.
    Decided { contact: ContactId, seq: u32, result: Result<Decision, DecisionFailure> },
    /// A command of the functions.
    Command(Box<NodeCommand>),
    /// A wrong digest was seen by another worker.
    Guessed { user: String, source: IpAddr },
    /// An account was looked up.
    Account { request: RequestHandle, ha1: Option<Ha1> },
    /// Prompt objects came.
    Loaded { contact: ContactId, sounds: Vec<Loaded> },
    /// A host name was resolved.
    Resolved {
        contact: ContactId,
        leg: LegNo,
        wanted: Box<Wanted>,
        hop: Result<(hotline_sip::api::Transport, std::net::SocketAddr), DialError>,
    },
    /// A phone at another worker wants its caller brought together with a dialog that may be here.
    Attends(Box<Attending>),
    /// A gateway's name was resolved.
    GatewayFound { gateway: usize, found: Result<crate::dns::Found, crate::dns::NotFound> },
    /// New calls are refused from now on, or no longer.
    RefuseNewCalls(bool),
    /// All calls end now.
    EndAll,
    /// The calls that the node carried before a moment are others' now.
    TakenOver { before: Timestamp },
    /// A user's phone is rung for another call: what rings it for another node stops.
    RungAnew { user: String },
    /// The worker ends.
    Stop,
}

/// A REFER whose Replaces names a dialog at another worker.
pub struct Attending {
    /// The worker that has the phone's call.
    pub asker: usize,
    /// The phone's call there.
    pub call: CallHandle,
    /// The REFER.
    pub request: RequestHandle,
    /// Its target.
    pub refer_to: String,
    /// The dialog, once it was found.
    pub found: Option<DialogRef>,
}

struct Inner {
    queue: Mutex<VecDeque<Mail>>,
    wake: OwnedFd,
}

/// A worker's inbox; any thread posts, the worker polls [`Mailbox::fd`].
#[derive(Clone)]
pub struct Mailbox(Arc<Inner>);

impl Mailbox {
    /// An empty one.
    ///
    /// # Errors
    /// Where the kernel has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let wake = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(Inner { queue: Mutex::new(VecDeque::new()), wake })))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Mail>> {
        self.0.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Readable when something was posted.
    pub fn fd(&self) -> RawFd {
        self.0.wake.as_raw_fd()
    }

    /// Wakes the worker.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the pointer and length describe `one`. A full counter wakes as well.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes note of a wake-up.
    pub fn woken(&self) {
        let mut counter = [0u8; 8];
        // SAFETY: the pointer and length describe `counter`; the descriptor does not block.
        unsafe { libc::read(self.fd(), counter.as_mut_ptr().cast(), counter.len()) };
    }

    /// Adds something; `false` where it is a message and the queue is full.
    pub fn post(&self, mail: Mail) -> bool {
        let was_empty = {
            let mut queue = self.lock();
            if queue.len() >= MESSAGES && matches!(mail, Mail::Message { .. }) {
                return false;
            }
            queue.push_back(mail);
            queue.len() == 1
        };
        if was_empty {
            self.wake();
        }
        true
    }

    /// Everything that was posted.
    pub fn take(&self) -> VecDeque<Mail> {
        std::mem::take(&mut *self.lock())
    }

    /// How much is waiting.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_dropped_above_the_limit_and_nothing_else_is() {
        let mailbox = Mailbox::new().unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        let path = Path { transport: hotline_sip::api::Transport::Udp, local: address, remote: address, connection: 0 };
        let message = || Mail::Message { path, bytes: Bytes::new() };
        for _ in 0..MESSAGES {
            assert!(mailbox.post(message()));
        }
        assert!(!mailbox.post(message()));
        assert!(mailbox.post(Mail::Stop));
        assert_eq!(mailbox.take().len(), MESSAGES + 1);
        assert_eq!(mailbox.waiting(), 0);
        mailbox.woken();
    }
}
