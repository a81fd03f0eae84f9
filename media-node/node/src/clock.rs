//! The clocks and the randomness of the operating system.

use hotline_base::Timestamp;
use hotline_session::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks.
pub fn now() -> Now {
    Now { mono: Instant::now(), wall: wall() }
}

/// Domain time.
pub fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Random bytes from the kernel.
///
/// # Panics
/// Where the kernel gives none: without them no secret of this process would be one.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut bytes[filled..];
        // SAFETY: the pointer and the length describe `rest`, which lives through the call.
        let got = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(got) {
            Ok(got) => filled += got,
            Err(_) => {
                let error = std::io::Error::last_os_error();
                assert!(error.kind() == std::io::ErrorKind::Interrupted, "the kernel gives no random bytes: {error}");
            }
        }
    }
    bytes
}
