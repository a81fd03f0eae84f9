//! Digits as telephone events (RFC 4733), received and sent.

use crate::stream::Micros;

/// Samples in the 20 ms between two packets of an event.
const STEP: u16 = 160;
/// An event without a packet for so long has ended although its end was not heard.
const LOST_END_US: Micros = 150_000;
/// A sent digit's length: five steps, 100 ms.
const SENT_STEPS: u16 = 5;
/// End packets (RFC 4733 §2.5.1.4).
const END_COPIES: u8 = 3;
/// Steps of rest after a sent digit.
const REST_STEPS: u8 = 4;

/// The digit of an event code; `None` for codes that are no key.
pub fn digit(event: u8) -> Option<char> {
    match event {
        0..=9 => Some(char::from(b'0' + event)),
        10 => Some('*'),
        11 => Some('#'),
        12..=15 => Some(char::from(b'A' + event - 12)),
        _ => None,
    }
}

/// The event code of a key.
pub fn event_code(digit: char) -> Option<u8> {
    match digit {
        '0'..='9' => Some(digit as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(digit as u8 - b'A' + 12),
        'a'..='d' => Some(digit as u8 - b'a' + 12),
        _ => None,
    }
}

/// One key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// The key.
    pub digit: char,
    /// How long it was held as far as is known, milliseconds.
    pub duration_ms: u32,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    event: u8,
    timestamp: u32,
    /// Samples of earlier segments of a long press (RFC 4733 §2.5.1.3).
    before: u32,
    duration: u16,
    last_at: Micros,
}

/// Steps of the events' clock in a millisecond.
#[derive(Debug, Clone, Copy)]
struct Khz(u32);

impl Default for Khz {
    fn default() -> Self {
        Self(8)
    }
}

/// Makes one press out of an event's many packets.
#[derive(Debug, Clone, Default)]
pub struct EventReceiver {
    at_start: bool,
    khz: Khz,
    current: Option<Current>,
    /// The timestamp of the newest event that has ended.
    ended: Option<u32>,
}

impl EventReceiver {
    /// `at_start`: a press is reported at its first packet (with the length seen so far), not at
    /// its end.
    pub fn new(at_start: bool) -> Self {
        Self { at_start, ..Self::default() }
    }

    /// The events' clock runs so many steps a millisecond.
    pub fn set_khz(&mut self, khz: u8) {
        self.khz = Khz(u32::from(khz.max(1)));
    }

    /// Takes the payload of a telephone-event packet; gives the press it completes. Two presses
    /// come where a new event shows that the end of the one before it was lost.
    pub fn receive(&mut self, timestamp: u32, payload: &[u8], now: Micros) -> [Option<Press>; 2] {
        let &[event, flags, high, low, ..] = payload else {
            return [None; 2];
        };
        let end = flags & 0x80 != 0;
        let duration = u16::from_be_bytes([high, low]);
        if self.ended.is_some_and(|ended| (timestamp.wrapping_sub(ended) as i32) <= 0) {
            return [None; 2];
        }
        let mut reports = [None; 2];
        match &mut self.current {
            Some(current) if current.timestamp == timestamp => {
                current.duration = current.duration.max(duration);
                current.last_at = now;
            }
            // A packet of an event before the present one: late.
            Some(current) if (timestamp.wrapping_sub(current.timestamp) as i32) < 0 => {
                return reports;
            }
            // The next segment of a key held for more than 8 s.
            Some(current)
                if current.event == event
                    && current.duration > 0xF000
                    && timestamp.wrapping_sub(current.timestamp) <= 0x1_0000 =>
            {
                current.before = current.before.saturating_add(timestamp.wrapping_sub(current.timestamp));
                current.timestamp = timestamp;
                current.duration = duration;
                current.last_at = now;
            }
            _ => {
                reports[0] = self.finish();
                self.current = Some(Current { event, timestamp, before: 0, duration, last_at: now });
                if self.at_start {
                    reports[1] = press(event, u32::from(duration), self.khz);
                }
            }
        }
        if end {
            let finished = self.finish();
            reports[1] = reports[1].or(finished);
        }
        reports
    }

    /// Ends an event whose end packets were lost; call it every some 20 ms while events may come.
    pub fn timeout(&mut self, now: Micros) -> Option<Press> {
        self.current.filter(|current| now.saturating_sub(current.last_at) >= LOST_END_US)?;
        self.finish()
    }

    /// A key is down.
    pub fn is_pressed(&self) -> bool {
        self.current.is_some()
    }

    /// A new source counts its timestamps anew; a press under way is ended.
    pub fn restart(&mut self) -> Option<Press> {
        let press = self.finish();
        self.ended = None;
        press
    }

    fn finish(&mut self) -> Option<Press> {
        let current = self.current.take()?;
        self.ended = Some(current.timestamp);
        if self.at_start {
            None
        } else {
            press(current.event, current.before.saturating_add(u32::from(current.duration)), self.khz)
        }
    }
}

fn press(event: u8, steps: u32, khz: Khz) -> Option<Press> {
    Some(Press { digit: digit(event)?, duration_ms: steps / khz.0 })
}

/// What to send in a 20 ms step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStep {
    /// An event packet: the first of its event, or a further one with the same timestamp.
    Event {
        /// Take a fresh timestamp and set the marker.
        first: bool,
        /// The payload.
        payload: [u8; 4],
        /// How many times it is sent: three at the end.
        copies: u8,
    },
    /// Nothing: the rest between digits.
    Rest,
}

/// Spells digits as events: 100 ms each, 80 ms apart.
#[derive(Debug, Clone, Default)]
pub struct EventSender {
    events: std::collections::VecDeque<u8>,
    step: u16,
    rest: u8,
}

impl EventSender {
    /// Most digits waiting.
    pub const MAX_WAITING: usize = 64;

    /// Appends digits; characters that are no key are left out, and so is what would make it too long.
    pub fn push(&mut self, digits: &str) {
        let room = Self::MAX_WAITING - self.events.len();
        self.events.extend(digits.chars().filter_map(event_code).take(room));
    }

    /// The next 20 ms; `None` when all is sent.
    pub fn step(&mut self) -> Option<SendStep> {
        if self.rest > 0 {
            self.rest -= 1;
            return Some(SendStep::Rest);
        }
        let &event = self.events.front()?;
        self.step += 1;
        let end = self.step > SENT_STEPS;
        let duration = STEP * self.step.min(SENT_STEPS);
        let [high, low] = duration.to_be_bytes();
        // Volume −10 dBm0.
        let payload = [event, if end { 0x8A } else { 0x0A }, high, low];
        let first = self.step == 1;
        if end {
            self.events.pop_front();
            self.step = 0;
            self.rest = REST_STEPS;
        }
        Some(SendStep::Event { first, payload, copies: if end { END_COPIES } else { 1 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(event: u8, end: bool, duration: u16) -> [u8; 4] {
        let [high, low] = duration.to_be_bytes();
        [event, if end { 0x8A } else { 0x0A }, high, low]
    }

    /// Timestamp, event, end, duration.
    type Sent = (u32, u8, bool, u16);

    fn feed(receiver: &mut EventReceiver, packets: &[Sent]) -> String {
        let mut told = String::new();
        let mut now = 0;
        for &(timestamp, event, end, duration) in packets {
            now += 20_000;
            for press in receiver.receive(timestamp, &packet(event, end, duration), now).into_iter().flatten() {
                told.push_str(&format!("{}:{} ", press.digit, press.duration_ms));
            }
        }
        if let Some(press) = receiver.timeout(now + LOST_END_US) {
            told.push_str(&format!("{}:{} lost end", press.digit, press.duration_ms));
        }
        told.trim_end().to_string()
    }

    #[test]
    fn a_press_is_reported_once() {
        let one = [
            (1_000, 1, false, 160),
            (1_000, 1, false, 320),
            (1_000, 1, true, 800),
            (1_000, 1, true, 800),
            (1_000, 1, true, 800),
        ];
        assert_eq!(feed(&mut EventReceiver::new(false), &one), "1:100");
        assert_eq!(feed(&mut EventReceiver::new(true), &one), "1:20");
    }

    #[test]
    fn every_fault_of_the_way_leaves_one_press() {
        let cases: [(&str, &[Sent], &str); 8] = [
            ("only an end arrived", &[(5, 11, true, 640)], "#:80"),
            ("end lost", &[(5, 10, false, 160), (5, 10, false, 640)], "*:80 lost end"),
            ("end lost, next key", &[(5, 1, false, 480), (2_000, 1, false, 160), (2_000, 1, true, 320)], "1:60 1:40"),
            (
                "end overtakes an update",
                &[(5, 2, false, 160), (5, 2, true, 480), (5, 2, false, 320), (5, 2, true, 480)],
                "2:60",
            ),
            (
                "old event after a new one",
                &[(5, 3, false, 160), (900, 4, false, 160), (5, 3, true, 480), (900, 4, true, 320)],
                "3:20 4:40",
            ),
            ("same key twice", &[(5, 7, true, 320), (1_000, 7, true, 320)], "7:40 7:40"),
            ("the clock wraps", &[(0xFFFF_FFF0, 8, true, 320), (0x10, 9, true, 320)], "8:40 9:40"),
            ("a flash is no key", &[(5, 16, true, 320)], ""),
        ];
        for (name, packets, told) in cases {
            assert_eq!(feed(&mut EventReceiver::new(false), packets), told, "{name}");
        }
    }

    #[test]
    fn a_key_held_for_ten_seconds_is_one_press() {
        let mut receiver = EventReceiver::new(false);
        let mut packets: Vec<_> = (1..=409u32).map(|step| (0, 5, false, (step * 160) as u16)).collect();
        packets.push((0, 5, false, 0xFFFF));
        packets.extend((1..=90u32).map(|step| (0xFFFF, 5, false, (step * 160) as u16)));
        packets.push((0xFFFF, 5, true, 14_465));
        assert_eq!(feed(&mut receiver, &packets), "5:10000");
    }

    #[test]
    fn what_is_sent_is_understood() {
        let mut sender = EventSender::default();
        sender.push("1 x9#");
        let mut receiver = EventReceiver::new(false);
        let (mut heard, mut now, mut timestamp, mut packets) = (String::new(), 0, 0, 0);
        while let Some(step) = sender.step() {
            now += 20_000;
            if let SendStep::Event { first, payload, copies } = step {
                if first {
                    timestamp = now as u32 * 8 / 1_000;
                }
                for _ in 0..copies {
                    packets += 1;
                    heard.extend(
                        receiver.receive(timestamp, &payload, now).into_iter().flatten().map(|press| press.digit),
                    );
                }
            }
        }
        assert_eq!(heard, "19#");
        assert_eq!(packets, 3 * (5 + 3));
    }

    proptest! {
        #[test]
        fn random_payloads_never_panic(packets in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..6), any::<u32>()), 0..50)) {
            let mut receiver = EventReceiver::new(false);
            for (timestamp, payload, now) in packets {
                let _ = receiver.receive(timestamp, &payload, Micros::from(now));
                let _ = receiver.timeout(Micros::from(now));
            }
        }
    }
}
