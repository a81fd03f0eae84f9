//! Recordings to object storage: a thread that asks the uploader what is next and has it put.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hotline_base::{ContactId, NodeId, RecordingId, TenantId};
use hotline_ports::Bucket;
use hotline_rtp::spool::{UploadEvent, Uploader, WorkId};
use hotline_wire::node::{CallEvent, CallInput};

use crate::clock;
use crate::decisions::{Decider, Decisions};
use crate::metrics::Metrics;
use crate::shared::Shared;

/// How often the spool is looked at for new chunks.
const LOOK: Duration = Duration::from_secs(1);
/// The longest pause between tries to report a saved recording.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What others may know of the uploads.
#[derive(Debug, Default)]
pub struct Uploads {
    /// Spool files not yet in object storage.
    pub pending: AtomicU64,
    stop: AtomicBool,
}

impl Uploads {
    /// Ends the thread after what is on its way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread; what a crashed process left in the spool is uploaded first.
///
/// # Errors
/// Where no thread can be started.
pub fn start(shared: Arc<Shared>, uploader: Uploader) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("uploads".into()).spawn(move || run(&shared, uploader))
}

fn run(shared: &Arc<Shared>, mut uploader: Uploader) {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (done, results) = channel::<(WorkId, Result<(), String>)>();
    let (confirm, confirmed) = channel::<RecordingId>();
    let mut flying = 0usize;
    loop {
        let stopping = shared.uploads.stop.load(Ordering::Relaxed);
        while let Some(work) = uploader.next_work(now_ms()) {
            flying += 1;
            let (done, objects) = (done.clone(), shared.objects.clone());
            shared.runtime.spawn(async move {
                let put = objects.put(Bucket::Recordings, &work.key, work.body.to_vec(), work.content_type);
                let result = put.await.map_err(|fault| fault.to_string());
                let _ = done.send((work.id, result));
            });
        }
        let pending = uploader.pending() as u64;
        shared.uploads.pending.store(pending, Ordering::Relaxed);
        for event in uploader.take_events() {
            report(shared, event, &confirm);
        }
        for recording in confirmed.try_iter() {
            uploader.confirm(recording);
        }
        if stopping && flying == 0 {
            return;
        }
        match results.recv_timeout(LOOK) {
            Ok((id, result)) => {
                flying = flying.saturating_sub(1);
                Metrics::add(match &result {
                    Ok(()) => &shared.metrics.uploads,
                    Err(_) => &shared.metrics.upload_failures,
                });
                uploader.work_done(id, result, now_ms());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn report(shared: &Arc<Shared>, event: UploadEvent, confirm: &Sender<RecordingId>) {
    match event {
        UploadEvent::Complete { tenant, contact, recording, manifest, duration_ms, failure } => {
            tracing::info!(%tenant, %contact, %recording, duration_ms, ?failure, "recording saved");
            let event = CallEvent::RecordingEnded { recording, manifest, duration_ms, failure };
            let confirm = confirm.clone();
            let Decider::Remote(decisions) = &shared.decider else {
                let _ = confirm.send(recording);
                return;
            };
            // Without the node itself: a report that is tried again must not keep its sockets.
            let (decisions, node) = (decisions.clone(), shared.node);
            shared.runtime.spawn(async move {
                tell(decisions.as_ref(), node, tenant, contact, recording, event).await;
                // The thread is gone while the node stops: the next start tells it again.
                let _ = confirm.send(recording);
            });
        }
        UploadEvent::Unreadable { path, reason } => {
            tracing::error!(path = %path.display(), reason, "a spool file was set aside");
        }
    }
}

/// The number of a recording's report: the same in every try and after a restart, and above all
/// numbers that a session counts.
pub fn report_seq(recording: RecordingId) -> u32 {
    0x8000_0000 | (recording.as_u128() as u32 & 0x7fff_ffff)
}

/// Reports a saved recording until that is taken note of.
async fn tell(
    decisions: &dyn Decisions,
    node: NodeId,
    tenant: TenantId,
    contact: ContactId,
    recording: RecordingId,
    event: CallEvent,
) {
    let input = CallInput { contact, tenant: Some(tenant), node, seq: report_seq(recording), at: clock::wall(), event };
    let mut pause = Duration::from_millis(500);
    loop {
        match decisions.decide(&input).await {
            Ok(_) => return,
            Err(fault @ hotline_ports::Fault::Permanent { .. }) => {
                tracing::error!(%contact, %recording, error = %fault, "a saved recording was not taken note of");
                return;
            }
            Err(fault) => {
                tracing::warn!(%contact, %recording, error = %fault, "reporting a recording is tried again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recordings_report_has_one_number_above_the_sessions() {
        let id = RecordingId::from_u128(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        assert_eq!(report_seq(id), report_seq(id));
        assert!(report_seq(id) >= 0x8000_0000);
    }
}
