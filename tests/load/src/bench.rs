//! The scenarios: each places calls, measures from outside and says what it saw.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

use crate::attack::{Flood, Kind};
use crate::process::{Subject, own_cpu_s};
use crate::rtp::{Figures, Rtp, Side, StreamId};
use crate::sip::{Sip, State};

/// Time for streams to settle before they are measured.
const SETTLE_MS: u64 = 2_000;
/// Packets under way at the end of an interval have arrived after this.
const FLIGHT_MS: u64 = 400;

/// What a scenario showed; figures that do not apply are absent.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub scenario: String,
    pub subject: String,
    pub calls: u64,
    pub failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// 100: one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent_per_100_calls: Option<f64>,
    /// What one datagram sent and received costs here by itself, measured beside the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare_udp_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_call: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_max_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_kb_per_call: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_p50_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_p99_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// From the first caller's arrival until the last one's agent heard them.
    pub drained_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overtaken: Option<u64>,
    /// The generator could not send what it should: the figures say little about the subject.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub starved: bool,
    /// What the generator itself used, 100: one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_cpu_percent: Option<f64>,
    /// Anything a reader must know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Row {
    /// An empty row.
    pub fn new(scenario: &str, subject: &str) -> Row {
        Row { scenario: scenario.into(), subject: subject.into(), ..Row::default() }
    }

    fn with_audio(mut self, figures: &Figures) -> Row {
        self.packets_sent = Some(figures.sent);
        self.packets_lost = Some(figures.lost());
        self.delay_p50_us = Some(figures.delay_p50_us);
        self.delay_p99_us = Some(figures.delay_p99_us);
        self.delay_max_us = Some(figures.delay_max_us);
        self.jitter_p99_us = Some(figures.jitter_p99_us);
        self
    }

    fn with_setups(mut self, sorted_ms: &[u64]) -> Row {
        self.setup_p50_ms = percentile(sorted_ms, 0.5).map(|ms| ms as f64);
        self.setup_p99_ms = percentile(sorted_ms, 0.99).map(|ms| ms as f64);
        self
    }
}

fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied()
}

/// Callers, agents and their audio.
pub struct Bench {
    pub sip: Sip,
    pub rtp: Rtp,
    epoch: Instant,
}

impl Bench {
    pub fn new(sip: Sip, rtp: Rtp) -> Bench {
        Bench { sip, rtp, epoch: Instant::now() }
    }

    pub fn now_ms(&self) -> u64 {
        // Never 0: the generator takes that for "not started".
        self.epoch.elapsed().as_millis() as u64 + 1_000
    }

    /// One millisecond: everything due is done, then the tool sleeps to the next one.
    pub(crate) fn step(&mut self) -> u64 {
        let now = self.now_ms();
        self.sip.tick(now);
        self.rtp.tick(now);
        let elapsed = self.epoch.elapsed();
        let rest = Duration::from_micros(1_000 - u64::from(elapsed.subsec_micros() % 1_000));
        std::thread::sleep(rest);
        now
    }

    /// Runs for so long.
    pub fn run_ms(&mut self, ms: u64) {
        let until = self.now_ms() + ms;
        while self.step() < until {}
    }

    /// Runs until `done`, at most so long; `false` where it took longer.
    fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&mut Bench, u64) -> bool) -> bool {
        let until = self.now_ms() + limit_ms;
        loop {
            let now = self.step();
            if done(self, now) {
                return true;
            }
            if now > until {
                return false;
            }
        }
    }

    /// Calls `number` `count` times at `per_s`, with audio from callers and agents.
    fn place(&mut self, number: &str, count: usize, per_s: f64, speaks: bool) -> HashMap<usize, StreamId> {
        let (begin, mut placed, mut agents) = (self.now_ms(), 0, 0);
        let mut streams: HashMap<usize, StreamId> = HashMap::new();
        let limit = (count as f64 / per_s * 1_000.0) as u64 + 40_000;
        self.run_until(limit, |bench, now| {
            let due = ((now - begin) as f64 * per_s / 1_000.0) as usize + 1;
            while placed < count.min(due) {
                bench.sip.call(number, now);
                placed += 1;
            }
            for index in 0..placed {
                if bench.sip.calls[index].state == State::Up
                    && let (Some(rtp), false) = (bench.sip.calls[index].rtp, streams.contains_key(&index))
                {
                    streams.insert(index, bench.rtp.add(rtp, Side::Caller, speaks));
                }
            }
            while let Some(answered) = bench.sip.answered.get(agents) {
                bench.rtp.add(answered.rtp, Side::Agent, speaks);
                agents += 1;
            }
            placed == count && bench.sip.count(|state| state == State::Inviting) == 0
        });
        streams
    }

    pub(crate) fn clear(&mut self) {
        self.sip.reset();
        self.rtp.clear();
    }

    fn hang_up_all(&mut self) {
        let up: Vec<usize> =
            (0..self.sip.calls.len()).filter(|index| self.sip.calls[*index].state == State::Up).collect();
        for batch in up.chunks(2) {
            let now = self.step();
            for index in batch {
                self.sip.hang_up(*index, now);
            }
        }
        self.run_until(10_000, |bench, _| bench.sip.count(|state| matches!(state, State::Up | State::Ending)) == 0);
        self.rtp.clear();
        self.run_ms(500);
    }

    /// Holds bridged calls and measures their audio.
    pub fn bridge(&mut self, subject: &Subject, scenario: &str, number: &str, count: usize, seconds: u64) -> Row {
        self.clear();
        let memory_before = subject.memory_kb();
        self.place(number, count, 100.0, true);
        self.run_ms(SETTLE_MS);
        let up = self.sip.count(|state| state == State::Up);
        let mut row = self.measure(subject, scenario, up, seconds).with_setups(&self.sip.setup_times_ms());
        row.failed = (count - up) as u64;
        row.memory_kb_per_call = Some((subject.memory_kb().saturating_sub(memory_before)) as f64 / up.max(1) as f64);
        self.hang_up_all();
        row.failed += self.sip.count(|state| matches!(state, State::Failed(_))).saturating_sub(count - up) as u64;
        row
    }

    /// Measures the audio of the streams there are.
    pub fn measure(&mut self, subject: &Subject, scenario: &str, calls: usize, seconds: u64) -> Row {
        let (cpu, own, begin) = (subject.cpu_s(), own_cpu_s(), Instant::now());
        self.rtp.start_window();
        self.run_ms(seconds * 1_000);
        self.rtp.stop_window();
        let passed = begin.elapsed().as_secs_f64();
        let used = (subject.cpu_s() - cpu) / passed * 100.0;
        let own = (own_cpu_s() - own) / passed * 100.0;
        self.run_ms(FLIGHT_MS);
        let mut row = Row::new(scenario, "").with_audio(&self.rtp.figures());
        let due = self.rtp.rate_per_s() * seconds;
        if row.packets_sent.unwrap_or(0) * 100 < due * 97 {
            row.starved = true;
            row.note = format!("the generator was starved: {} of {due} packets left it", row.packets_sent.unwrap_or(0));
        }
        row.calls = calls as u64;
        row.cpu_percent = Some(used);
        row.cpu_percent_per_100_calls = Some(used * 100.0 / calls.max(1) as f64);
        row.generator_cpu_percent = Some(own);
        row.memory_kb = Some(subject.memory_kb());
        row
    }

    /// Callers of a menu: prompt, key, prompt, end by the node.
    pub fn ivr(&mut self, subject: &Subject, per_s: f64, seconds: u64) -> Row {
        self.clear();
        let count = (per_s * seconds as f64) as usize;
        let (cpu, begin, mut placed) = (subject.cpu_s(), self.now_ms(), 0);
        let mut streams: HashMap<usize, (StreamId, bool)> = HashMap::new();
        let mut short = 0u64;
        let mut open: Vec<usize> = Vec::new();
        self.run_until(seconds * 1_000 + 30_000, |bench, now| {
            let due = ((now - begin) as f64 * per_s / 1_000.0) as usize + 1;
            while placed < count.min(due) {
                open.push(bench.sip.call("600", now));
                placed += 1;
            }
            open.retain(|index| {
                let call = &bench.sip.calls[*index];
                match (call.state, call.answered_ms, call.rtp) {
                    (State::Up, Some(answered), Some(rtp)) => {
                        let (stream, pressed) =
                            streams.entry(*index).or_insert_with(|| (bench.rtp.add(rtp, Side::Caller, false), false));
                        if !*pressed && now >= answered + 5_300 {
                            *pressed = true;
                            bench.rtp.press(*stream, 1);
                        }
                        true
                    }
                    (State::Done { .. }, ..) => {
                        if let Some((stream, _)) = streams.remove(index) {
                            // 250 and 150 packets of 20 ms; the first may leave before the answer is read.
                            short += u64::from(bench.rtp.heard(stream) < 380);
                            bench.rtp.remove(stream);
                        }
                        false
                    }
                    (State::Failed(_), ..) => false,
                    _ => true,
                }
            });
            placed == count && open.is_empty()
        });
        let used = subject.cpu_s() - cpu;
        let done = self.sip.count(|state| matches!(state, State::Done { by_node: true }));
        let mut row = Row::new("ivr", "").with_setups(&self.sip.setup_times_ms());
        row.calls = count as u64;
        row.failed = (count - done) as u64 + short;
        row.rate_per_s = Some(per_s);
        row.cpu_ms_per_call = Some(used * 1_000.0 / count.max(1) as f64);
        row.memory_kb = Some(subject.memory_kb());
        if short > 0 {
            row.note = format!("{short} heard less than both prompts");
        }
        self.rtp.clear();
        row
    }

    /// Calls that are set up through the subject and ended at once, without audio.
    pub fn setups(&mut self, subject: &Subject, number: &str, per_s: f64, seconds: u64) -> Row {
        self.clear();
        let count = (per_s * seconds as f64) as usize;
        let (cpu, begin, mut placed) = (subject.cpu_s(), self.now_ms(), 0);
        let mut open: Vec<usize> = Vec::new();
        self.run_until(seconds * 1_000 + 35_000, |bench, now| {
            let due = ((now - begin) as f64 * per_s / 1_000.0) as usize + 1;
            while placed < count.min(due) {
                open.push(bench.sip.call(number, now));
                placed += 1;
            }
            open.retain(|index| match bench.sip.calls[*index].state {
                State::Up => {
                    bench.sip.hang_up(*index, now);
                    true
                }
                State::Inviting | State::Ending => true,
                State::Done { .. } | State::Failed(_) => false,
            });
            placed == count && open.is_empty()
        });
        let last = self.sip.calls.iter().filter_map(|call| call.ended_ms).max().unwrap_or(begin + 1);
        let done = self.sip.count(|state| matches!(state, State::Done { .. }));
        let used = subject.cpu_s() - cpu;
        let mut row = Row::new("setup", "").with_setups(&self.sip.setup_times_ms());
        row.calls = count as u64;
        row.failed = (count - done) as u64;
        row.rate_per_s = Some(done as f64 * 1_000.0 / (last - begin).max(1) as f64);
        row.cpu_ms_per_call = Some(used * 1_000.0 / done.max(1) as f64);
        row.memory_kb = Some(subject.memory_kb());
        row
    }

    /// Set-ups at a rate, first in peace, then under each flood; and calls that talk while RTP is
    /// injected at the node's ports.
    ///
    /// # Errors
    /// The floods have no sockets.
    pub fn attack(&mut self, subject: &Subject, node: SocketAddrV4, ports: (u16, u16), per_s: u64) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let named = |mut row: Row, name: &str| {
            row.scenario = name.into();
            row
        };
        rows.push(named(self.setups(subject, "700", 20.0, 8), "attack: none"));
        for (name, kind, sources, per_s) in [
            ("attack: requests, 1 source", Kind::Requests, 1, per_s),
            ("attack: requests, 1000 sources", Kind::Requests, 1_000, per_s),
            ("attack: 60 kB messages, 1 source", Kind::Large, 1, per_s / 40),
        ] {
            let flood = Flood::start(kind, node, sources, per_s)?;
            let begin = Instant::now();
            self.run_ms(1_000);
            let mut row = self.setups(subject, "700", 20.0, 8);
            let seconds = begin.elapsed().as_secs_f64();
            row.note = format!("{:.0} packets a second", flood.end() as f64 / seconds);
            rows.push(named(row, name));
            self.run_ms(1_000);
        }
        self.clear();
        self.place("700", 100, 100.0, true);
        self.run_ms(SETTLE_MS);
        rows.push(self.measure(subject, "attack: none, 100 bridged", 100, 5));
        let flood = Flood::start(Kind::Rtp { first: ports.0, last: ports.1 }, node, 1, per_s)?;
        self.run_ms(1_000);
        rows.push(self.measure(subject, "attack: RTP injected, 100 bridged", 100, 5));
        flood.end();
        self.hang_up_all();
        Ok(rows)
    }

    /// Callers in a queue for fifty agents; each talk lasts `talk_ms`, then the agent hangs up.
    pub fn queue(&mut self, callers: usize, over_ms: u64, talk_ms: u64) -> Row {
        self.clear();
        let (begin, mut placed, mut taken) = (self.now_ms(), 0, 0);
        let mut caller_of: HashMap<StreamId, usize> = HashMap::new();
        let mut known: Vec<bool> = vec![false; callers];
        // Agents' streams with their Call-ID and the end of the talk once the caller is heard.
        let mut talks: Vec<(StreamId, String, Option<u64>, bool)> = Vec::new();
        let mut waits: Vec<(usize, u64)> = Vec::new();
        let finished = self.run_until(over_ms + 120_000, |bench, now| {
            let due = ((now - begin) as f64 * callers as f64 / over_ms as f64) as usize + 1;
            while placed < callers.min(due) {
                bench.sip.call("800", now);
                placed += 1;
            }
            for (index, known) in known.iter_mut().enumerate().take(placed).filter(|(_, known)| !**known) {
                if let (State::Up, Some(rtp)) = (bench.sip.calls[index].state, bench.sip.calls[index].rtp) {
                    *known = true;
                    caller_of.insert(bench.rtp.add(rtp, Side::Caller, true), index);
                }
            }
            while let Some(answered) = bench.sip.answered.get(taken) {
                let stream = bench.rtp.add(answered.rtp, Side::Agent, true);
                talks.push((stream, answered.call_id.clone(), None, false));
                taken += 1;
            }
            for (stream, call_id, until, over) in talks.iter_mut().filter(|(.., over)| !over) {
                match until {
                    None => {
                        if let Some(caller) = bench.rtp.heard_from(*stream).and_then(|from| caller_of.get(&from)) {
                            waits.push((*caller, now - bench.sip.calls[*caller].started_ms));
                            *until = Some(now + talk_ms);
                        }
                    }
                    Some(until) if now >= *until => {
                        bench.sip.agent_hangs_up(call_id);
                        *over = true;
                    }
                    Some(_) => {}
                }
            }
            placed == callers && bench.sip.count(|state| matches!(state, State::Inviting | State::Up)) == 0
        });
        let served = waits.len();
        // Somebody who came later was answered earlier by more than one talk's rounding.
        let answered_at = |(caller, wait): &(usize, u64)| self.sip.calls[*caller].started_ms + wait;
        let mut by_arrival = waits.clone();
        by_arrival.sort_by_key(|(caller, _)| *caller);
        let overtaken =
            by_arrival.windows(2).filter(|pair| answered_at(&pair[0]) > answered_at(&pair[1]) + 100).count();
        let mut times: Vec<u64> = waits.iter().map(|(_, wait)| *wait).collect();
        times.sort_unstable();
        let mut row = Row::new("queue", "").with_setups(&self.sip.setup_times_ms());
        row.calls = callers as u64;
        row.failed = (callers - served) as u64;
        row.wait_p50_s = percentile(&times, 0.5).map(|ms| ms as f64 / 1_000.0);
        row.wait_p99_s = percentile(&times, 0.99).map(|ms| ms as f64 / 1_000.0);
        let last = waits.iter().map(answered_at).max().unwrap_or(begin);
        row.drained_s = finished.then_some((last - begin) as f64 / 1_000.0);
        row.overtaken = Some(overtaken as u64);
        self.hang_up_all();
        row
    }

    /// Streams through a relay that was told of its calls in another way.
    pub fn add_pairs(&mut self, pairs: &[(SocketAddrV4, SocketAddrV4)]) {
        self.clear();
        for (caller, agent) in pairs {
            self.rtp.add(*caller, Side::Caller, true);
            self.rtp.add(*agent, Side::Agent, true);
        }
    }
}

/// A SIP address that can be reached here.
///
/// # Errors
/// It is not one of the loopback: load never leaves this machine.
pub fn loopback(address: SocketAddr) -> Result<SocketAddr> {
    if !address.ip().is_loopback() {
        bail!("{address} is not a loopback address; the load tool does not send anywhere else");
    }
    Ok(address)
}
