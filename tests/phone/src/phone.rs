//! The handle of a running phone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::config::{Microphone, PhoneConfig};
use crate::ladder::Ladder;
use crate::media::{Heard, HeardDigit, MediaCounts, event_of};
use crate::shell::Shell;

/// What goes wrong with a phone.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// A socket cannot be bound.
    #[error("cannot bind {address}: {source}; choose a free port (0 takes any)")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server does not take TCP connections.
    #[error("cannot connect to {address}: {source}; is the server running, with a TCP listener?")]
    Connect {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// 0.0.0.0 cannot be written into messages.
    #[error("bind: {0} names no interface; give the address that peers reach, such as 127.0.0.1")]
    Unspecified(SocketAddr),
    /// A WAV file cannot be read or written.
    #[error("{file}: {reason}")]
    Wav {
        /// Which file.
        file: String,
        /// Why.
        reason: String,
    },
    /// The endpoint refused a command.
    #[error(transparent)]
    Command(#[from] hotline_sip::CommandError),
    /// There is a call already.
    #[error("the phone is in a call: hang up first")]
    Busy,
    /// There is no call, or it ended.
    #[error("the phone is in no call")]
    NoCall,
    /// Digits cannot be sent.
    #[error(
        "{0:?} cannot be sent: digits are 0-9, *, #, A-D, at most 64, and the call must have agreed on telephone-event"
    )]
    Digits(String),
    /// What was waited for did not come.
    #[error("no {waited_for} within {within:?}; events so far: {seen:?}")]
    Timeout {
        /// What was waited for.
        waited_for: &'static str,
        /// How long.
        within: Duration,
        /// What came instead.
        seen: Vec<PhoneEvent>,
    },
    /// The call or registration was refused while something else was waited for.
    #[error("refused with {status} {reason}")]
    Refused {
        /// SIP status.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// The phone's task ended.
    #[error("the phone was stopped")]
    Stopped,
}

/// What a phone reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhoneEvent {
    /// The registrar granted these seconds; 0: we are unregistered.
    Registered {
        /// Seconds.
        expires_s: u32,
    },
    /// The registrar refused, or did not answer (408).
    RegistrationFailed {
        /// SIP status.
        status: u16,
    },
    /// Somebody calls.
    Incoming {
        /// User part of From.
        from: String,
        /// User part of the Request-URI.
        to: String,
    },
    /// The called side rings (180), or sends early media (183).
    Ringing {
        /// SIP status.
        status: u16,
        /// Sound comes already.
        early_media: bool,
    },
    /// The call is up.
    Answered,
    /// A key was pressed on the other side.
    Digit(char),
    /// The other side changed the stream (hold and resume).
    Reoffered {
        /// The peer wants to hear us.
        hears_us: bool,
    },
    /// Another node took the call over: it goes on in a new dialog (RFC 3891).
    Replaced,
    /// How the transfer goes that [`Phone::transfer`] asked for (RFC 3515).
    Transfer {
        /// SIP status; below 200 it is not decided yet.
        status: u16,
    },
    /// The call is over.
    Ended {
        /// The other side ended it.
        by_peer: bool,
        /// The status of a refusal; `None` where the call was up.
        status: Option<u16>,
        /// Reason phrase, or the Reason header.
        reason: String,
    },
}

/// What the handle asks of the task.
pub(crate) enum Ask {
    Register { on: bool },
    Call { uri: String, headers: Vec<(String, String)> },
    Answer,
    Refuse { status: u16 },
    HangUp,
    Digits { events: Vec<u8>, sent: oneshot::Sender<()> },
    Hold { on: bool },
    Transfer { to: String },
    Microphone(Microphone),
    Stop,
}

/// What handle and task share.
#[derive(Default)]
pub(crate) struct Shared {
    pub heard: Heard,
    pub ladder: Ladder,
}

pub(crate) fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // A panic elsewhere leaves samples and lines as good as they were.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = oneshot::Sender<Result<(), PhoneError>>;

/// A running phone; dropping it stops it without a farewell, [`Phone::stop`] says goodbye.
pub struct Phone {
    asks: mpsc::Sender<(Ask, Answer)>,
    events: mpsc::Receiver<PhoneEvent>,
    shared: Arc<Mutex<Shared>>,
    seen: Vec<PhoneEvent>,
    local: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Phone {
    /// Binds the sockets and starts the phone's task.
    ///
    /// # Errors
    /// [`PhoneError::Bind`], [`PhoneError::Unspecified`].
    pub async fn start(config: PhoneConfig) -> Result<Self, PhoneError> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (asks, asked) = mpsc::channel(16);
        let (report, events) = mpsc::channel(1_024);
        let shell = Shell::bind(config, shared.clone(), report).await?;
        let local = shell.local();
        let task = tokio::spawn(shell.run(asked));
        Ok(Self { asks, events, shared, seen: Vec::new(), local, task })
    }

    /// Our SIP address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    async fn ask(&self, ask: Ask) -> Result<(), PhoneError> {
        let (answer, answered) = oneshot::channel();
        self.asks.send((ask, answer)).await.map_err(|_| PhoneError::Stopped)?;
        answered.await.map_err(|_| PhoneError::Stopped)?
    }

    /// Registers, and waits up to 10 s until that is done; it is refreshed from then on.
    ///
    /// # Errors
    /// [`PhoneError::Refused`], [`PhoneError::Timeout`].
    pub async fn register(&mut self) -> Result<u32, PhoneError> {
        self.ask(Ask::Register { on: true }).await?;
        self.wait_registered().await
    }

    /// Removes our registration, waiting up to 10 s.
    ///
    /// # Errors
    /// [`PhoneError::Refused`], [`PhoneError::Timeout`].
    pub async fn unregister(&mut self) -> Result<u32, PhoneError> {
        self.ask(Ask::Register { on: false }).await?;
        self.wait_registered().await
    }

    async fn wait_registered(&mut self) -> Result<u32, PhoneError> {
        self.wait("registration", Duration::from_secs(10), |event| match event {
            PhoneEvent::Registered { expires_s } => Some(Ok(*expires_s)),
            PhoneEvent::RegistrationFailed { status } => {
                Some(Err(PhoneError::Refused { status: *status, reason: "registration".into() }))
            }
            _ => None,
        })
        .await
    }

    /// Calls a SIP URI through the server; see [`Phone::wait_answered`].
    ///
    /// # Errors
    /// [`PhoneError::Busy`]; [`PhoneError::Command`] for a bad URI.
    pub async fn call(&mut self, uri: &str) -> Result<(), PhoneError> {
        self.call_with(uri, Vec::new()).await
    }

    /// The same with headers added to the INVITE.
    ///
    /// # Errors
    /// As [`Phone::call`].
    pub async fn call_with(&mut self, uri: &str, headers: Vec<(String, String)>) -> Result<(), PhoneError> {
        self.ask(Ask::Call { uri: uri.into(), headers }).await
    }

    /// Answers the incoming call.
    ///
    /// # Errors
    /// [`PhoneError::NoCall`].
    pub async fn answer(&mut self) -> Result<(), PhoneError> {
        self.ask(Ask::Answer).await
    }

    /// Refuses the incoming call, 300 to 699.
    ///
    /// # Errors
    /// [`PhoneError::NoCall`].
    pub async fn refuse(&mut self, status: u16) -> Result<(), PhoneError> {
        self.ask(Ask::Refuse { status }).await
    }

    /// Ends the call in whatever state it is.
    ///
    /// # Errors
    /// [`PhoneError::NoCall`].
    pub async fn hangup(&mut self) -> Result<(), PhoneError> {
        self.ask(Ask::HangUp).await
    }

    /// Presses keys (RFC 4733, 100 ms each) and returns when all were sent.
    ///
    /// # Errors
    /// [`PhoneError::Digits`], [`PhoneError::NoCall`] (also when the call ends meanwhile).
    pub async fn send_digits(&mut self, digits: &str) -> Result<(), PhoneError> {
        let events: Option<Vec<u8>> = digits.chars().map(event_of).collect();
        let events =
            events.filter(|e| !e.is_empty() && e.len() <= 64).ok_or_else(|| PhoneError::Digits(digits.into()))?;
        let (sent, all_sent) = oneshot::channel();
        self.ask(Ask::Digits { events, sent }).await?;
        all_sent.await.map_err(|_| PhoneError::NoCall)
    }

    /// Puts the peer on hold (`sendonly`) or takes it back.
    ///
    /// # Errors
    /// [`PhoneError::NoCall`], [`PhoneError::Command`].
    pub async fn hold(&mut self, on: bool) -> Result<(), PhoneError> {
        self.ask(Ask::Hold { on }).await
    }

    /// Asks the peer to call somebody else instead of us (REFER); [`PhoneEvent::Transfer`] tells how
    /// it goes.
    ///
    /// # Errors
    /// [`PhoneError::NoCall`]; [`PhoneError::Command`] for a bad URI.
    pub async fn transfer(&mut self, to: &str) -> Result<(), PhoneError> {
        self.ask(Ask::Transfer { to: to.into() }).await
    }

    /// Waits until the transfer is decided and gives its status.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn wait_transferred(&mut self, within: Duration) -> Result<u16, PhoneError> {
        self.wait("outcome of the transfer", within, |event| match event {
            PhoneEvent::Transfer { status } if *status >= 200 => Some(Ok(*status)),
            _ => None,
        })
        .await
    }

    /// Changes what is sent, from now on.
    ///
    /// # Errors
    /// [`PhoneError::Stopped`].
    pub async fn set_microphone(&mut self, microphone: Microphone) -> Result<(), PhoneError> {
        self.ask(Ask::Microphone(microphone)).await
    }

    /// Ends the call and the registration, and stops.
    pub async fn stop(mut self) {
        // The task may be gone already.
        let _ = self.ask(Ask::Stop).await;
        let _ = (&mut self.task).await;
    }

    /// The next event; `None` when the phone was stopped.
    pub async fn next_event(&mut self) -> Option<PhoneEvent> {
        let event = self.events.recv().await?;
        self.seen.push(event.clone());
        Some(event)
    }

    /// Every event taken so far, oldest first.
    pub fn seen(&self) -> &[PhoneEvent] {
        &self.seen
    }

    /// Waits for the first event for which `wanted` gives something; the others are passed over.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`], [`PhoneError::Stopped`], or what `wanted` makes of an event.
    pub async fn wait<T>(
        &mut self,
        waited_for: &'static str,
        within: Duration,
        mut wanted: impl FnMut(&PhoneEvent) -> Option<Result<T, PhoneError>>,
    ) -> Result<T, PhoneError> {
        let until = tokio::time::Instant::now() + within;
        loop {
            match tokio::time::timeout_at(until, self.next_event()).await {
                Err(_) => {
                    return Err(PhoneError::Timeout { waited_for, within, seen: self.seen.clone() });
                }
                Ok(None) => return Err(PhoneError::Stopped),
                Ok(Some(event)) => {
                    if let Some(result) = wanted(&event) {
                        return result;
                    }
                }
            }
        }
    }

    /// Waits until the call is up.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] when it ends instead, [`PhoneError::Timeout`].
    pub async fn wait_answered(&mut self, within: Duration) -> Result<(), PhoneError> {
        self.wait("answer", within, |event| match event {
            PhoneEvent::Answered => Some(Ok(())),
            PhoneEvent::Ended { status, reason, .. } => {
                Some(Err(PhoneError::Refused { status: status.unwrap_or(0), reason: reason.clone() }))
            }
            _ => None,
        })
        .await
    }

    /// Waits for an incoming call and gives the user part of its From.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn wait_incoming(&mut self, within: Duration) -> Result<String, PhoneError> {
        self.wait("incoming call", within, |event| match event {
            PhoneEvent::Incoming { from, .. } => Some(Ok(from.clone())),
            _ => None,
        })
        .await
    }

    /// Waits for the end of the call and gives the event.
    ///
    /// # Errors
    /// [`PhoneError::Timeout`].
    pub async fn wait_ended(&mut self, within: Duration) -> Result<PhoneEvent, PhoneError> {
        self.wait("end of the call", within, |event| match event {
            PhoneEvent::Ended { .. } => Some(Ok(event.clone())),
            _ => None,
        })
        .await
    }

    /// What was heard since the start of the last call (or [`Phone::forget_heard`]): 8 kHz, mono,
    /// silence where nothing came; at most ten minutes.
    pub fn heard(&self) -> Vec<i16> {
        lock(&self.shared).heard.samples.clone()
    }

    /// The keys that were pressed on the other side.
    pub fn heard_digits(&self) -> Vec<HeardDigit> {
        lock(&self.shared).heard.digits.clone()
    }

    /// Packets of the last call.
    pub fn media_counts(&self) -> MediaCounts {
        lock(&self.shared).heard.counts
    }

    /// Forgets what was heard so far; the recording begins anew with the next packet.
    pub fn forget_heard(&self) {
        lock(&self.shared).heard = Heard::default();
    }

    /// Writes what was heard as a WAV.
    ///
    /// # Errors
    /// [`PhoneError::Wav`].
    pub fn save_heard(&self, file: &std::path::Path) -> Result<(), PhoneError> {
        crate::wav::write_wav(file, &self.heard())
    }

    /// The SIP messages so far.
    pub fn ladder(&self) -> Ladder {
        lock(&self.shared).ladder.clone()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.task.abort();
    }
}
