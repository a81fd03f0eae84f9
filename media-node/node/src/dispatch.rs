//! Which worker has a message: that of its Call-ID, or, for a call that takes another one over
//! (RFC 3891), the worker that has the other. A call of ours to ourselves may have its ends at two
//! workers: there our tag in the message says which end it is for.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hotline_sip::{shard_of, shard_of_call_id, shard_of_tag};

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
            return recipient(message).filter(|own| *own < self.workers).unwrap_or(worker);
        }
        let Some(replaces) = header(message, &[b"replaces"]).filter(|_| takes_over) else { return usual };
        let old = replaces.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let worker = self.worker_of_call_id(old);
        if worker != usual {
            self.moved().add(of(call_id), worker);
            self.any.store(true, Ordering::Relaxed);
        }
        worker
    }

    /// The worker that has a dialog with this Call-ID, if any has.
    pub fn worker_of_call_id(&self, call_id: &[u8]) -> usize {
        let moved = self.moved().get(self.random.hash_one(call_id));
        moved.unwrap_or_else(|| shard_of_call_id(call_id, self.workers))
    }
}

/// The worker whose tag is the recipient's: To of a request within a dialog, From of a response.
fn recipient(message: &[u8]) -> Option<usize> {
    let names: &[&[u8]] = if message.starts_with(b"SIP/2.0 ") { &[b"from", b"f"] } else { &[b"to", b"t"] };
    let value = header(message, names)?;
    let after_uri = value.rsplit(|byte| *byte == b'>').next()?;
    let mut params = after_uri.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    shard_of_tag(params.find_map(|param| param.strip_prefix(b"tag="))?)
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
        // Where the other end is ours as well, our tags tell the two apart.
        let (a, b) = ((0..).find(|n| home(&format!("a{n}")) == 2), (0..).find(|n| home(&format!("b{n}")) == 5));
        let (old, new) = (format!("a{}", a.unwrap()), format!("b{}", b.unwrap()));
        assert_eq!(
            dispatch.worker_of(&message("INVITE", &new, &format!("Replaces: {old};to-tag=1;from-tag=2\r\n"))),
            2
        );
        let tags = "From: <sip:x;tag=0-0>;tag=5000000000001-a\r\nTo: \"y\" <sip:y>;tag=2000000000007-b\r\n";
        assert_eq!(dispatch.worker_of(&message("ACK", &new, tags)), 2);
        let reply = format!("SIP/2.0 200 OK\r\nCall-ID: {new}\r\n{tags}\r\n");
        assert_eq!(dispatch.worker_of(reply.as_bytes()), 5);
        assert_eq!(dispatch.worker_of(&message("CANCEL", &new, "To: <sip:y>\r\n")), 2);
        assert_eq!(dispatch.worker_of(&message("BYE", &new, "t: <sip:y>;tag=ff00000000000007-b\r\n")), 2);
        assert_eq!(Dispatch::new(1).worker_of(b"x"), 0);
        for noise in [&b""[..], b"INVITE ", b"INVITE \r\n:\r\nReplaces", b"\r\n\r\n"] {
            assert!(dispatch.worker_of(noise) < 7);
        }
    }
}
