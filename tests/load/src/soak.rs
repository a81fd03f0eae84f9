//! A long run at one level with constant churn: does anything grow, does anything stay behind?

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastrand::Rng;
use serde::Serialize;

use crate::bench::Bench;
use crate::process::{Subject, own_cpu_s};
use crate::rtp::{Side, StreamId};
use crate::sip::State;

/// The shortest and the longest talk.
const TALK_MS: (u64, u64) = (5_000, 60_000);
/// A stream is measured once it has run for so long, and until so long before its call's end: every
/// packet that is counted as sent has both legs there and time to arrive.
const MARGIN_MS: u64 = 1_000;
/// Packets under way at the end of a minute have arrived after this.
const FLIGHT_MS: u64 = 400;
/// A call that lasts so much longer than it should is stuck.
const STUCK_MS: u64 = 40_000;
/// New calls a second, at most, while the level is being reached.
const RAMP_PER_S: u64 = 20;
/// What the node may still be busy with when all calls are over: lingering transactions.
const DRAIN_MS: u64 = 45_000;
/// Figures of the subject are taken as often as this.
const SAMPLE_MS: u64 = 10_000;
/// Growth of memory that is none: the noise of an allocator.
const MEMORY_SLACK: f64 = 0.05;

/// The numbers that are called: how many of a hundred calls, who hangs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// 700: two legs joined; the caller hangs up.
    Bridge,
    /// 700, and the agent hangs up.
    BridgeEndedByAgent,
    /// 701: the same, recorded.
    Record,
    /// 600: a prompt; the node hangs up.
    Menu,
    /// 800: music, then one of fifty agents.
    Queue,
    /// A number that does not exist: refused with 404.
    Unknown,
}

impl Kind {
    fn drawn(of_100: u64) -> Kind {
        match of_100 {
            0..=59 => Kind::Bridge,
            60..=84 => Kind::BridgeEndedByAgent,
            85..=86 => Kind::Record,
            87..=91 => Kind::Menu,
            92..=96 => Kind::Queue,
            _ => Kind::Unknown,
        }
    }

    fn number(self) -> &'static str {
        match self {
            Kind::Bridge | Kind::BridgeEndedByAgent => "700",
            Kind::Record => "701",
            Kind::Menu => "600",
            Kind::Queue => "800",
            Kind::Unknown => "404404",
        }
    }
}

/// One minute of the run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Minute {
    pub minute: u64,
    pub memory_kb: u64,
    pub descriptors: u64,
    /// UDP sockets of the subject.
    pub ports: u64,
    /// Calls that the tool has up, and that the node says it has.
    pub live: u64,
    pub live_at_node: u64,
    pub started: u64,
    pub ended: u64,
    pub failed: u64,
    pub packets_sent: u64,
    pub packets_lost: u64,
    pub delay_p50_us: f64,
    pub delay_p99_us: f64,
    pub setup_p99_ms: Option<u64>,
    pub cpu_percent: f64,
    pub generator_cpu_percent: f64,
    /// The generator could not send what it should: a busy machine, not the subject.
    pub starved: bool,
}

/// What the whole run showed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    pub ok: bool,
    /// What is wrong, in words.
    pub faults: Vec<String>,
    pub minutes: u64,
    pub level: usize,
    pub seed: u64,
    pub started: u64,
    pub ended: u64,
    pub refused_as_expected: u64,
    pub failed: u64,
    pub stuck: u64,
    pub packets_sent: u64,
    pub packets_lost: u64,
    /// Least squares over the samples after the warm-up.
    pub memory_slope_kb_per_h: f64,
    /// Medians of the first and of the last third after the warm-up.
    pub memory_early_kb: f64,
    pub memory_late_kb: f64,
    pub descriptors_slope_per_h: f64,
    pub memory_before_kb: u64,
    pub memory_after_kb: u64,
    pub descriptors_before: u64,
    pub descriptors_after: u64,
    pub ports_before: u64,
    pub ports_after: u64,
    pub node_started: u64,
    pub node_ended: u64,
    pub node_live_after: u64,
    pub node_legs_after: u64,
    pub statuses: Vec<(u16, u64)>,
}

/// A call of the run.
struct Talk {
    index: usize,
    kind: Kind,
    talk_ms: u64,
    placed_ms: u64,
    up_ms: Option<u64>,
    caller: Option<StreamId>,
    /// The agent's stream and Call-ID.
    agent: Option<(StreamId, String, u64)>,
    measured: bool,
    hung_up: bool,
    stuck: bool,
}

/// Figures of the node's own, from `/metrics`.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    started: u64,
    ended: u64,
    live: u64,
    legs: u64,
}

fn own_figures(http: SocketAddr) -> Option<Own> {
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix("hotline_node_")?.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    Some(Own {
        started: value("calls_started ")?,
        ended: value("calls_ended ")?,
        live: value("calls ")?,
        legs: value("media_legs ")?,
    })
}

/// The slope of a line through (x, y), by least squares; 0 for fewer than two points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (above, below) =
        points.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + (x - mx) * (y - my), b + (x - mx).powi(2)));
    if below > 0.0 { above / below } else { 0.0 }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

struct Run<'a> {
    bench: &'a mut Bench,
    /// The same seed, the same calls.
    random: Rng,
    level: usize,
    talks: Vec<Talk>,
    begin_ms: u64,
    placed: u64,
    ended: u64,
    refused: u64,
    failed: u64,
    stuck: u64,
    statuses: std::collections::BTreeMap<u16, u64>,
    setups_ms: Vec<u64>,
}

impl Run<'_> {
    /// Everything of one millisecond; new calls only while `open`.
    fn step(&mut self, open: bool) -> u64 {
        let now = self.bench.step();
        let allowed = (now - self.begin_ms) * RAMP_PER_S / 1_000;
        while open && self.talks.len() < self.level && self.placed < allowed {
            self.place(now);
        }
        self.take_answered();
        let mut talks = std::mem::take(&mut self.talks);
        talks.retain_mut(|talk| self.follow(talk, now));
        self.talks = talks;
        now
    }

    fn place(&mut self, now: u64) {
        let kind = Kind::drawn(self.random.u64(..100));
        let talk_ms = TALK_MS.0 + self.random.u64(..TALK_MS.1 - TALK_MS.0);
        let index = self.bench.sip.call(kind.number(), now);
        self.placed += 1;
        self.talks.push(Talk {
            index,
            kind,
            talk_ms,
            placed_ms: now,
            up_ms: None,
            caller: None,
            agent: None,
            measured: false,
            hung_up: false,
            stuck: false,
        });
    }

    /// Agents that answered: whose caller it is, their From says.
    fn take_answered(&mut self) {
        for answered in std::mem::take(&mut self.bench.sip.answered) {
            let index = answered.from.strip_prefix('c').and_then(|text| text.parse::<usize>().ok());
            let talk = self.talks.iter_mut().find(|talk| Some(talk.index) == index && talk.agent.is_none());
            if let Some(talk) = talk {
                let stream = self.bench.rtp.add(answered.rtp, Side::Agent, true);
                self.bench.rtp.measure(stream, false);
                talk.agent = Some((stream, answered.call_id, answered.at_ms));
            }
        }
        self.bench.sip.agent_ended.clear();
    }

    /// What a call needs now; `false` when it is over.
    fn follow(&mut self, talk: &mut Talk, now: u64) -> bool {
        let Some(call) = self.bench.sip.calls.get(talk.index) else { return false };
        let (state, answered, started, rtp) = (call.state, call.answered_ms, call.started_ms, call.rtp);
        match state {
            State::Up => {
                let rtp_to = talk.caller.is_none().then_some(rtp).flatten();
                if let Some(to) = rtp_to {
                    let stream = self.bench.rtp.add(to, Side::Caller, talk.kind != Kind::Menu);
                    self.bench.rtp.measure(stream, false);
                    talk.caller = Some(stream);
                    talk.up_ms = Some(now);
                    self.setups_ms.push(answered.unwrap_or(now) - started);
                }
                self.follow_up(talk, now);
            }
            State::Done { .. } => {
                self.ended += 1;
                self.end_streams(talk);
                return false;
            }
            State::Failed(status) => {
                if talk.kind == Kind::Unknown && status == 404 {
                    self.refused += 1;
                } else {
                    self.failed += 1;
                }
                *self.statuses.entry(status).or_default() += 1;
                self.end_streams(talk);
                return false;
            }
            State::Inviting | State::Ending => {}
        }
        if !talk.stuck && now > talk.placed_ms + talk.talk_ms + STUCK_MS {
            talk.stuck = true;
            self.stuck += 1;
        }
        true
    }

    fn follow_up(&mut self, talk: &mut Talk, now: u64) {
        if talk.kind == Kind::Menu {
            return;
        }
        let Some(up) = talk.up_ms else { return };
        let until = up + talk.talk_ms;
        // In a queue the caller is up long before the agent is.
        let both = talk.agent.as_ref().map(|(.., at)| (*at).max(up));
        let measured = both.is_some_and(|both| now >= both + MARGIN_MS) && now + MARGIN_MS < until;
        if measured != talk.measured {
            talk.measured = measured;
            for stream in talk.caller.into_iter().chain(talk.agent.as_ref().map(|(id, ..)| *id)) {
                self.bench.rtp.measure(stream, measured);
            }
        }
        if now >= until && !talk.hung_up {
            talk.hung_up = true;
            match (&talk.agent, talk.kind) {
                (Some((_, call_id, _)), Kind::BridgeEndedByAgent) => self.bench.sip.agent_hangs_up(call_id),
                _ => self.bench.sip.hang_up(talk.index, now),
            }
        }
    }

    fn end_streams(&mut self, talk: &mut Talk) {
        for stream in talk.caller.take().into_iter().chain(talk.agent.take().map(|(id, ..)| id)) {
            self.bench.rtp.remove(stream);
        }
        self.bench.sip.forget(talk.index);
    }
}

/// Runs for so many minutes at `level` calls; `each` gets every minute's line as it comes.
pub fn soak(
    bench: &mut Bench,
    subject: &Subject,
    http: SocketAddr,
    (minutes, level, seed): (u64, usize, u64),
    mut each: impl FnMut(&Minute),
) -> Verdict {
    bench.clear();
    bench.run_ms(1_000);
    let before = own_figures(http).unwrap_or_default();
    let mut verdict = Verdict { minutes, level, seed, memory_before_kb: subject.memory_kb(), ..Verdict::default() };
    (verdict.descriptors_before, verdict.ports_before) = subject.descriptors();
    let begin_ms = bench.now_ms();
    let mut run = Run {
        bench,
        random: Rng::with_seed(seed),
        level,
        talks: Vec::new(),
        begin_ms,
        placed: 0,
        ended: 0,
        refused: 0,
        failed: 0,
        stuck: 0,
        statuses: Default::default(),
        setups_ms: Vec::new(),
    };
    // Minutes since the start, memory, descriptors.
    let mut samples: Vec<(f64, f64, f64)> = Vec::new();
    for minute in 1..=minutes {
        let until = begin_ms + minute * 60_000;
        let (cpu, own) = (subject.cpu_s(), own_cpu_s());
        let (placed, ended, failed) = (run.placed, run.ended, run.failed);
        let mut next_sample = run.bench.now_ms() + SAMPLE_MS;
        run.bench.rtp.start_window();
        let mut due = 0u64;
        let from = run.bench.now_ms();
        let mut last = from;
        loop {
            let now = run.step(true);
            due += run.bench.rtp.rate_per_s() * (now - last);
            last = now;
            if now >= next_sample {
                next_sample += SAMPLE_MS;
                let minutes = (now - begin_ms) as f64 / 60_000.0;
                samples.push((minutes, subject.memory_kb() as f64, subject.descriptors().0 as f64));
            }
            if now + FLIGHT_MS >= until {
                break;
            }
        }
        run.bench.rtp.stop_window();
        let seconds = (run.bench.now_ms() - from) as f64 / 1_000.0;
        let used = |before: f64, after: f64| (after - before) / seconds * 100.0;
        let (cpu_percent, generator_cpu_percent) = (used(cpu, subject.cpu_s()), used(own, own_cpu_s()));
        while run.step(true) < until {}
        let figures = run.bench.rtp.figures();
        let (descriptors, ports) = subject.descriptors();
        let mut setups = std::mem::take(&mut run.setups_ms);
        setups.sort_unstable();
        let line = Minute {
            minute,
            memory_kb: subject.memory_kb(),
            descriptors,
            ports,
            live: run.talks.len() as u64,
            live_at_node: own_figures(http).map_or(0, |own| own.live),
            started: run.placed - placed,
            ended: run.ended - ended,
            failed: run.failed - failed,
            packets_sent: figures.sent,
            packets_lost: figures.lost(),
            delay_p50_us: figures.delay_p50_us,
            delay_p99_us: figures.delay_p99_us,
            setup_p99_ms: setups.get((setups.len() * 99 / 100).min(setups.len().saturating_sub(1))).copied(),
            cpu_percent,
            generator_cpu_percent,
            starved: figures.sent * 100 < due / 1_000 * 97,
        };
        verdict.packets_sent += line.packets_sent;
        verdict.packets_lost += line.packets_lost;
        each(&line);
    }
    // Everybody leaves in their own time; then what lingers goes as well.
    let limit = run.bench.now_ms() + TALK_MS.1 + STUCK_MS + 5_000;
    while !run.talks.is_empty() && run.step(false) < limit {}
    let limit = run.bench.now_ms() + DRAIN_MS;
    while run.step(false) < limit {}
    verdict.started = run.placed;
    verdict.ended = run.ended;
    verdict.refused_as_expected = run.refused;
    verdict.failed = run.failed;
    verdict.stuck = run.stuck.max(run.talks.len() as u64);
    verdict.statuses = std::mem::take(&mut run.statuses).into_iter().collect();
    verdict.memory_after_kb = subject.memory_kb();
    (verdict.descriptors_after, verdict.ports_after) = subject.descriptors();
    let after = own_figures(http);
    judge(&mut verdict, &samples, before, after);
    verdict
}

/// Fills in what follows from the samples and says what is wrong.
fn judge(verdict: &mut Verdict, samples: &[(f64, f64, f64)], before: Own, after: Option<Own>) {
    // Tables reach their size with the traffic of the lingering time; a third of a short run, ten
    // minutes of a long one.
    let warm = (verdict.minutes as f64 / 3.0).min(10.0);
    let settled: Vec<&(f64, f64, f64)> = samples.iter().filter(|(minute, ..)| *minute > warm).collect();
    let memory: Vec<(f64, f64)> = settled.iter().map(|(minute, kb, _)| (minute / 60.0, *kb)).collect();
    let descriptors: Vec<(f64, f64)> = settled.iter().map(|(minute, _, count)| (minute / 60.0, *count)).collect();
    let third = memory.len().div_ceil(3);
    verdict.memory_slope_kb_per_h = slope(&memory);
    verdict.descriptors_slope_per_h = slope(&descriptors);
    verdict.memory_early_kb = median(memory.iter().take(third).map(|(_, kb)| *kb));
    verdict.memory_late_kb = median(memory.iter().rev().take(third).map(|(_, kb)| *kb));
    if let Some(after) = after {
        verdict.node_started = after.started - before.started;
        verdict.node_ended = after.ended - before.ended;
        verdict.node_live_after = after.live;
        verdict.node_legs_after = after.legs;
    }
    let mut faults = Vec::new();
    let mut fault = |wrong: bool, text: String| faults.extend(wrong.then_some(text));
    fault(samples.iter().any(|(_, kb, _)| *kb == 0.0), "the node that was started is gone; see its log".into());
    fault(after.is_none(), "the node's /metrics could not be read".into());
    let v = &*verdict;
    fault(
        v.memory_late_kb > v.memory_early_kb * (1.0 + MEMORY_SLACK),
        format!("memory grew from {:.0} to {:.0} kB after the warm-up", v.memory_early_kb, v.memory_late_kb),
    );
    fault(
        v.descriptors_after > v.descriptors_before,
        format!("{} descriptors before, {} after", v.descriptors_before, v.descriptors_after),
    );
    fault(v.ports_after > v.ports_before, format!("{} ports before, {} after", v.ports_before, v.ports_after));
    fault(v.stuck > 0, format!("{} calls were stuck", v.stuck));
    fault(v.failed > 0, format!("{} calls failed: {:?}", v.failed, v.statuses));
    fault(
        v.started != v.ended + v.refused_as_expected + v.failed,
        format!("{} started; {} ended, {} refused, {} failed", v.started, v.ended, v.refused_as_expected, v.failed),
    );
    fault(v.node_started != v.node_ended, format!("the node began {} and ended {}", v.node_started, v.node_ended));
    fault(
        after.is_some() && v.node_started != v.started,
        format!("the tool placed {} calls, the node counted {}", v.started, v.node_started),
    );
    fault(
        v.node_live_after + v.node_legs_after > 0,
        format!("the node still has {} calls and {} media legs", v.node_live_after, v.node_legs_after),
    );
    fault(v.packets_lost > 0, format!("{} of {} packets were lost", v.packets_lost, v.packets_sent));
    verdict.ok = faults.is_empty();
    verdict.faults = faults;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Verdict {
        Verdict { minutes: 60, started: 10, ended: 9, refused_as_expected: 1, ..Verdict::default() }
    }

    fn samples(kb: impl Fn(f64) -> f64) -> Vec<(f64, f64, f64)> {
        (0..360).map(|n| f64::from(n) / 6.0).map(|minute| (minute, kb(minute), 700.0)).collect()
    }

    fn own(started: u64, ended: u64, live: u64) -> Own {
        Own { started, ended, live, legs: 2 * live }
    }

    #[test]
    fn a_level_run_passes_and_the_warm_up_does_not_count() {
        let mut verdict = clean();
        let ramp = |minute: f64| if minute < 9.0 { 100.0 + minute * 2_000.0 } else { 18_000.0 + minute % 2.0 * 100.0 };
        judge(&mut verdict, &samples(ramp), own(5, 5, 0), Some(own(15, 15, 0)));
        assert!(verdict.ok, "{:?}", verdict.faults);
        assert!(verdict.memory_slope_kb_per_h.abs() < 50.0, "{}", verdict.memory_slope_kb_per_h);
    }

    #[test]
    fn what_grows_stays_or_is_lost_is_said() {
        let mut verdict = clean();
        judge(&mut verdict, &samples(|minute| 18_000.0 + minute * 60.0), own(0, 0, 0), Some(own(10, 10, 0)));
        assert!(verdict.faults[0].starts_with("memory grew"), "{:?}", verdict.faults);
        assert!((verdict.memory_slope_kb_per_h - 3_600.0).abs() < 1.0);
        let mut verdict = Verdict { descriptors_after: 1, packets_lost: 1, ended: 8, ..clean() };
        judge(&mut verdict, &samples(|_| 18_000.0), own(0, 0, 0), Some(own(10, 9, 1)));
        assert_eq!(
            verdict.faults,
            [
                "0 descriptors before, 1 after",
                "10 started; 8 ended, 1 refused, 0 failed",
                "the node began 10 and ended 9",
                "the node still has 1 calls and 2 media legs",
                "1 of 0 packets were lost",
            ]
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_calls() {
        let draw = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..1_000).map(|_| (Kind::drawn(random.u64(..100)), random.u64(..55_000))).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for kind in [Kind::Bridge, Kind::BridgeEndedByAgent, Kind::Record, Kind::Menu, Kind::Queue, Kind::Unknown] {
            assert!(draw(1).iter().any(|(drawn, _)| *drawn == kind), "{kind:?}");
        }
    }
}
