//! Which worker has a message: that of its Call-ID, or, for a call that takes another one over
//! (RFC 3891), the worker that has the other.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hotline_sip::{shard_of, shard_of_call_id};

use crate::remembered::Remembered;

/// Calls remembered that are with another worker than their Call-ID says.
const MOVED: usize = 8_192;

/// Hands messages to workers.
#[derive(Debug)]
pub struct Dispatch {
    workers: usize,
    any: AtomicBool,
    moved: Mutex<Remembered<u64, usize>>,
    random: RandomState,
}

impl Dispatch {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let moved = Mutex::new(Remembered::new(MOVED));
        Self { workers: workers.max(1), any: AtomicBool::new(false), moved, random: RandomState::new() }
    }

    fn moved(&self) -> MutexGuard<'_, Remembered<u64, usize>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker of a whole message, valid or not.
    pub fn worker_of(&self, message: &[u8]) -> usize {
        if self.workers == 1 {
            return 0;
        }
        let usual = shard_of(message, self.workers);
        let takes_over = message.starts_with(b"INVITE ");
        if !takes_over && !self.any.load(Ordering::Relaxed) {
            return usual;
        }
        let Some(call_id) = header(message, &[b"call-id", b"i"]) else { return usual };
        let of = |call_id: &[u8]| self.random.hash_one(call_id);
        if let Some(worker) = self.any.load(Ordering::Relaxed).then(|| self.moved().get(of(call_id))).flatten() {
            return worker;
        }
        let Some(replaces) = header(message, &[b"replaces"]).filter(|_| takes_over) else { return usual };
        let old = replaces.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let mut moved = self.moved();
        let worker = moved.get(of(old)).unwrap_or_else(|| shard_of_call_id(old, self.workers));
        if worker != usual {
            moved.add(of(call_id), worker);
            self.any.store(true, Ordering::Relaxed);
        }
        worker
    }
}

/// The value of the first header with one of these names.
fn header<'a>(message: &'a [u8], names: &[&[u8]]) -> Option<&'a [u8]> {
    let lines = message.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        names
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
            .then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, call_id: &str, more: &str) -> Vec<u8> {
        format!("{method} sip:a SIP/2.0\r\nCall-ID: {call_id}\r\n{more}\r\n").into_bytes()
    }

    #[test]
    fn a_call_that_takes_over_goes_where_the_other_is_and_stays_there() {
        let dispatch = Dispatch::new(7);
        let home = |call_id: &str| shard_of_call_id(call_id.as_bytes(), 7);
        for number in 0..200 {
            let (old, new) = (format!("old{number}"), format!("new{number}"));
            assert_eq!(dispatch.worker_of(&message("INVITE", &old, "")), home(&old));
            let replaces = format!("Replaces: {old};to-tag=1;from-tag=2\r\n");
            assert_eq!(dispatch.worker_of(&message("INVITE", &new, &replaces)), home(&old));
            for method in ["ACK", "BYE", "INVITE"] {
                assert_eq!(dispatch.worker_of(&message(method, &new, "")), home(&old));
            }
            // And again, by way of the new one.
            let replaces = format!("Replaces: {new};to-tag=1;from-tag=2\r\n");
            assert_eq!(dispatch.worker_of(&message("INVITE", &format!("third{number}"), &replaces)), home(&old));
            let elsewhere = format!("else{number}");
            assert_eq!(dispatch.worker_of(&message("BYE", &elsewhere, &replaces)), home(&elsewhere));
        }
        assert_eq!(Dispatch::new(1).worker_of(b"x"), 0);
        for noise in [&b""[..], b"INVITE ", b"INVITE \r\n:\r\nReplaces", b"\r\n\r\n"] {
            assert!(dispatch.worker_of(noise) < 7);
        }
    }
}
