//! Counters, in the text format of Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the set-up time buckets, milliseconds.
const BUCKETS_MS: [u64; 10] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/// Upper bounds of the buckets of sound, hundredths of a mean opinion score.
const BUCKETS_MOS: [u64; 8] = [150, 200, 260, 310, 360, 400, 420, 440];

/// How often each of some values came; what is above the last bound counts as more.
#[derive(Debug)]
struct Histogram<const N: usize> {
    bounds: [u64; N],
    /// Those not above each bound.
    buckets: [AtomicU64; N],
    count: AtomicU64,
    sum: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [u64; N]) -> Self {
        Self { bounds, buckets: std::array::from_fn(|_| AtomicU64::new(0)), count: 0.into(), sum: 0.into() }
    }

    /// Counts `value` in its buckets; `exact` is what the sum grows by.
    fn add(&self, value: u64, exact: u64) {
        for (_, bucket) in self.bounds.iter().zip(&self.buckets).filter(|(bound, _)| value <= **bound) {
            Metrics::add(bucket);
        }
        Metrics::add(&self.count);
        self.sum.fetch_add(exact, Ordering::Relaxed);
    }

    /// In the units of people: `per` of the bounds and `sum_per` of the sum are one.
    fn write(&self, out: &mut String, name: &str, help: &str, per: f64, sum_per: f64) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            let count = bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {count}", *bound as f64 / per);
        }
        let (count, sum) = (self.count.load(Ordering::Relaxed), self.sum.load(Ordering::Relaxed) as f64 / sum_per);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident: $kind:literal = $help:literal,)*) => {
        /// All counters of the node; any thread adds to them.
        #[derive(Debug)]
        pub struct Metrics {
            $($(#[$doc])* pub $name: AtomicU64,)*
            setup_ms: Histogram<{ BUCKETS_MS.len() }>,
            mos_hundredths: Histogram<{ BUCKETS_MOS.len() }>,
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self {
                    $($name: AtomicU64::new(0),)*
                    setup_ms: Histogram::new(BUCKETS_MS),
                    mos_hundredths: Histogram::new(BUCKETS_MOS),
                }
            }
        }

        impl Metrics {
            fn write(&self, out: &mut String) {
                $(metric(out, concat!("hotline_node_", stringify!($name)), $kind, $help,
                    self.$name.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    /// INVITEs that became calls.
    calls_started: "counter" = "Calls that arrived.",
    /// Calls whose caller's leg ended.
    calls_ended: "counter" = "Calls whose caller left.",
    /// Calls that were answered.
    calls_answered: "counter" = "Calls that were answered.",
    /// Calls whose caller is there.
    calls: "gauge" = "Calls in progress.",
    /// Calls, and ended ones whose reports are on their way.
    sessions: "gauge" = "Calls in progress or being reported.",
    /// INVITEs with an unusable description and the like.
    calls_refused: "counter" = "INVITEs that could not become calls.",
    /// Legs besides the callers'.
    dials: "counter" = "Phones called.",
    /// Legs joined.
    joins: "counter" = "Phones joined with a caller.",
    /// Rings sent to phones at other nodes.
    remote_rings: "counter" = "Phones at other nodes called.",
    /// Other nodes' rings of phones here, now.
    relays: "gauge" = "Phones here on calls of other nodes.",
    /// Other nodes' rings of phones here.
    relays_started: "counter" = "Rings of other nodes for phones here.",
    /// Other nodes' rings that were not taken.
    relays_refused: "counter" = "Rings of other nodes refused: signature, repetition, no such phone.",
    /// Numbers called.
    outside_dials: "counter" = "Calls sent to gateways, failovers included.",
    /// Emergency numbers called.
    outside_emergency: "counter" = "Calls to emergency numbers sent to gateways.",
    /// Numbers that may not be called.
    outside_forbidden: "counter" = "Calls to outside that policy or limits forbade.",
    /// Gateways that did not take a call.
    gateway_failovers: "counter" = "Calls that went on to the next gateway.",
    /// Calls that this node placed.
    calls_placed: "counter" = "Call-backs and take-overs begun.",
    /// Calls of others that commands came for.
    lost_calls: "counter" = "Calls reported as lost because a command came for them.",
    /// Decisions asked for.
    decisions: "counter" = "Decisions asked for.",
    /// Decisions that failed.
    decisions_failed: "counter" = "Decisions that failed or timed out.",
    /// Times the fallback began.
    company: "counter" = "Times the fallback kept a caller company.",
    /// Inputs given up.
    given_up: "counter" = "Calls whose last reports could not be delivered.",
    /// Commands from the functions.
    commands: "counter" = "Commands received.",
    /// Commands that were not carried out.
    commands_dropped: "counter" = "Commands dropped: repeats, expired, unknown call.",
    /// Datagrams and stream messages.
    sip_received: "counter" = "SIP messages received.",
    /// Datagrams and stream messages.
    sip_sent: "counter" = "SIP messages sent.",
    /// Messages the kernel or a connection did not take.
    sip_send_failures: "counter" = "SIP messages that could not be sent.",
    /// Messages dropped because a worker did not keep up.
    sip_dropped: "counter" = "SIP messages dropped by a full queue.",
    /// Commands of a session that the endpoint refused.
    sip_command_errors: "counter" = "Session commands the SIP endpoint refused.",
    /// Commands the media engine refused.
    media_command_errors: "counter" = "Commands the media engine refused.",
    /// Messages that a capture left out.
    capture_dropped: "counter" = "Messages that a capture could not take.",
    /// Voices on their way to the speech engine.
    tap_streams: "gauge" = "Voices handed to the speech engine now.",
    /// 20 ms each.
    tap_frames: "counter" = "Frames of 20 ms handed to the speech engine.",
    /// The engine was too slow, or away.
    tap_frames_lost: "counter" = "Frames of 20 ms that the speech engine did not get: it was too slow, or away.",
    /// The engine could not be reached, or broke off.
    tap_failures: "counter" = "Streams to the speech engine that could not begin or broke off.",
    /// Above the limit, or without an engine.
    tap_refused: "counter" = "Voices that were asked for and not handed on: no speech engine, or too many.",
    /// Stream connections.
    streams: "gauge" = "SIP stream connections.",
    /// Above the bounds of streams.
    streams_refused: "counter" = "SIP stream connections refused: too many, or too many of one source.",
    /// TLS or WebSocket was not agreed on.
    handshakes_failed: "counter" = "TLS and WebSocket handshakes that failed or took too long.",
    /// Changed certificates taken over.
    tls_reloads: "counter" = "Changed certificates taken over.",
    /// Changed certificates that cannot be used.
    tls_reload_failures: "counter" = "Looks at a certificate that could not be used.",
    /// REGISTERs answered with 200.
    registrations: "counter" = "Registrations granted.",
    /// Uploaded to object storage.
    uploads: "counter" = "Recording objects uploaded.",
    /// Tries that failed.
    upload_failures: "counter" = "Uploads that failed and will be tried again.",
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

impl Metrics {
    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one from a gauge.
    pub fn sub(gauge: &AtomicU64) {
        gauge.fetch_sub(1, Ordering::Relaxed);
    }

    /// From INVITE to 200.
    pub fn set_up(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.setup_ms.add(ms, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The mean opinion score of a leg's last seconds, 1 to 4.5.
    pub fn sounded(&self, mos: f32) {
        let hundredths = (mos.clamp(0.0, 5.0) * 100.0).round() as u64;
        self.mos_hundredths.add(hundredths, hundredths);
    }

    /// All of them, with gauges that others hold.
    pub fn text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut out = String::with_capacity(8_192);
        self.write(&mut out);
        self.setup_ms.write(&mut out, "hotline_node_setup_seconds", "From INVITE to 200.", 1e3, 1e6);
        let help = "How legs sounded (G.107), every five seconds of each.";
        self.mos_hundredths.write(&mut out, "hotline_node_leg_mos", help, 100.0, 100.0);
        for (name, help, value) in gauges {
            metric(&mut out, &format!("hotline_node_{name}"), "gauge", help, *value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let metrics = Metrics::default();
        metrics.set_up(Duration::from_millis(30));
        metrics.set_up(Duration::from_secs(60));
        Metrics::add(&metrics.calls_started);
        metrics.sounded(3.0);
        metrics.sounded(4.41);
        let text = metrics.text(&[("legs", "Legs.", 3)]);
        for line in [
            "hotline_node_calls_started 1",
            "hotline_node_setup_seconds_bucket{le=\"0.025\"} 0",
            "hotline_node_setup_seconds_bucket{le=\"0.05\"} 1",
            "hotline_node_setup_seconds_bucket{le=\"5\"} 1",
            "hotline_node_setup_seconds_bucket{le=\"+Inf\"} 2",
            "hotline_node_setup_seconds_sum 60.03",
            "hotline_node_leg_mos_bucket{le=\"2.6\"} 0",
            "hotline_node_leg_mos_bucket{le=\"3.1\"} 1",
            "hotline_node_leg_mos_count 2",
            "hotline_node_leg_mos_sum 7.41",
            "hotline_node_legs 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}
