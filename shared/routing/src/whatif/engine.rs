//! The virtual clock: calls come, wait, are offered, answered, handled; agents come and go.

use hotline_base::{AgentId, ContactId, IndexRow, Name, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::figures::{Column, End, Tally};
use super::patience::{Leaves, Patience, draw};
use super::{Call, Member, Period, Seen};
use crate::agent::{Window, available_partition};
use crate::estimate::{HandleTime, estimate_ms};
use crate::overflow::{self, OverflowAction, QueueView};
use crate::search::{Ask, Search};
use crate::waiting::{Priority, WaitingEntry};
use crate::{AvailableAgent, Decision, QueueConfig};

/// An overflow rule sends a call on so often at most, as with live calls.
const MAX_MOVES: u8 = 8;
/// Handle times of calls that nobody answered, where no call of the queue was.
const RING_MS: i64 = 3_000;
const TALK_MS: i64 = 240_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A stretch of staffing begins or ends.
    Comes(usize),
    Goes(usize),
    Free(usize),
    Answers {
        call: usize,
        agent: usize,
    },
    Ends {
        call: usize,
        agent: usize,
    },
    Arrives {
        call: usize,
        visit: usize,
    },
    Leaves {
        call: usize,
        turn: u32,
    },
    Look {
        call: usize,
        turn: u32,
    },
}

struct Desk {
    member: Member,
    /// Stretches of staffing that cover this moment.
    there: u32,
    busy: bool,
    /// Where it is listed as free: queue and sort key.
    rows: Vec<(Name, String)>,
    since: Timestamp,
    window: Window,
}

struct Stay {
    queue: Name,
    came: Timestamp,
    entry: WaitingEntry,
    applied: u32,
    moves: u8,
    leaves: Option<(Timestamp, Leaves)>,
}

#[derive(Default)]
struct Progress {
    visit: usize,
    turn: u32,
    stay: Option<Stay>,
}

#[derive(Default)]
struct Market {
    waiting: BTreeMap<String, IndexRow>,
    available: BTreeMap<String, IndexRow>,
    staffed: u32,
    patience: Patience,
    handled: Vec<(i64, i64, i64)>,
    handle: HandleTime,
}

pub(super) struct Engine<'a> {
    period: &'a Period,
    queues: BTreeMap<Name, QueueConfig>,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    order: u64,
    desks: Vec<Desk>,
    calls: Vec<Progress>,
    markets: BTreeMap<Name, Market>,
    by_agent: BTreeMap<AgentId, usize>,
    by_contact: BTreeMap<ContactId, usize>,
    tally: Tally,
}

impl<'a> Engine<'a> {
    pub(super) fn new(period: &'a Period, queues: &BTreeMap<Name, QueueConfig>, staff: &[Member]) -> Self {
        let mut engine = Self {
            period,
            queues: queues.clone(),
            now: period.from,
            events: BinaryHeap::new(),
            order: 0,
            desks: Vec::new(),
            calls: period.calls.iter().map(|_| Progress::default()).collect(),
            markets: BTreeMap::new(),
            by_agent: staff.iter().enumerate().map(|(i, member)| (member.agent, i)).collect(),
            by_contact: period.calls.iter().enumerate().map(|(i, call)| (call.contact, i)).collect(),
            tally: Tally::default(),
        };
        engine.learn();
        for (i, member) in staff.iter().enumerate() {
            for shift in &member.shifts {
                engine.at(shift.from, Event::Comes(i));
                engine.at(shift.to, Event::Goes(i));
            }
            engine.desks.push(Desk {
                member: member.clone(),
                there: 0,
                busy: false,
                rows: Vec::new(),
                since: period.from,
                window: Window::default(),
            });
        }
        for (i, call) in period.calls.iter().enumerate() {
            if let Some(first) = call.visits.first() {
                engine.at(first.at, Event::Arrives { call: i, visit: 0 });
            }
        }
        engine
    }

    /// What the recorded calls say about patience and handle times.
    fn learn(&mut self) {
        let mut seen: BTreeMap<&Name, Vec<(i64, Option<Leaves>)>> = BTreeMap::new();
        for visit in self.period.calls.iter().flat_map(|call| &call.visits) {
            let left = match visit.seen {
                Seen::Abandoned { .. } => Some(Leaves::Abandons),
                Seen::Left { .. } => Some(Leaves::GoesOn),
                _ => None,
            };
            seen.entry(&visit.queue).or_default().push((visit.seen.wait_ms(), left));
            let market = self.markets.entry(visit.queue.clone()).or_default();
            if let Seen::Answered { ring_ms, talk_ms, wrap_ms, .. } = visit.seen {
                let wrap_ms = wrap_ms
                    .unwrap_or_else(|| i64::from(self.queues.get(&visit.queue).map_or(0, |queue| queue.wrap_up_ms)));
                market.handled.push((ring_ms.max(0), talk_ms.max(0), wrap_ms.max(0)));
            }
        }
        for (queue, seen) in seen {
            self.markets.entry(queue.clone()).or_default().patience = Patience::of(seen);
        }
    }

    fn at(&mut self, moment: Timestamp, event: Event) {
        self.order += 1;
        self.events.push(Reverse((moment.max(self.now), self.order, event)));
    }

    pub(super) fn run(mut self) -> Column {
        while let Some(Reverse((moment, _, event))) = self.events.pop() {
            self.now = moment;
            match event {
                Event::Comes(desk) => self.comes(desk),
                Event::Goes(desk) => self.goes(desk),
                Event::Free(desk) => self.becomes_free(desk),
                Event::Answers { call, agent } => self.answers(call, agent),
                Event::Ends { call, agent } => self.ends(call, agent),
                Event::Arrives { call, visit } => self.arrives(call, visit),
                Event::Leaves { call, turn } => self.leaves(call, turn),
                Event::Look { call, turn } => self.look(call, turn),
            }
        }
        for i in 0..self.calls.len() {
            if let Some(stay) = self.calls.get_mut(i).and_then(|call| call.stay.take()) {
                self.count(&stay, self.now, End::Unserved);
            }
        }
        for i in 0..self.desks.len() {
            self.spend(i);
        }
        self.tally.column()
    }

    fn config(&self, queue: &Name) -> QueueConfig {
        self.queues.get(queue).cloned().unwrap_or_else(|| QueueConfig::new(queue.clone()))
    }

    // Agents.

    /// Adds the time since the last change to what the agent did in it.
    fn spend(&mut self, desk: usize) {
        let now = self.now;
        let Some(desk) = self.desks.get_mut(desk) else { return };
        let (staffed, occupied) = (desk.there > 0 || desk.busy, desk.busy);
        let ms = now.since_ms(desk.since).max(0);
        if staffed {
            self.tally.staffed_ms += ms;
        }
        if occupied {
            self.tally.occupied_ms += ms;
        }
        desk.window.add(desk.since, now, staffed, occupied);
        desk.since = now;
    }

    fn comes(&mut self, index: usize) {
        self.spend(index);
        let Some(desk) = self.desks.get_mut(index) else { return };
        desk.there += 1;
        if desk.there == 1 && !desk.busy {
            let queues: Vec<Name> = desk.member.queues.keys().cloned().collect();
            for queue in queues {
                self.markets.entry(queue).or_default().staffed += 1;
            }
            self.becomes_free(index);
        }
    }

    fn goes(&mut self, index: usize) {
        self.spend(index);
        let Some(desk) = self.desks.get_mut(index) else { return };
        desk.there = desk.there.saturating_sub(1);
        if desk.there == 0 && !desk.busy {
            self.withdraw(index);
            self.unstaff(index);
        }
    }

    fn unstaff(&mut self, index: usize) {
        let queues = self.desks.get(index).map(|desk| desk.member.queues.clone()).unwrap_or_default();
        for queue in queues.keys() {
            if let Some(market) = self.markets.get_mut(queue) {
                market.staffed = market.staffed.saturating_sub(1);
            }
        }
    }

    fn becomes_free(&mut self, index: usize) {
        self.spend(index);
        let now = self.now;
        let Some(desk) = self.desks.get_mut(index) else { return };
        desk.busy = false;
        if desk.there == 0 {
            return self.unstaff(index);
        }
        let listed = AvailableAgent {
            agent: desk.member.agent,
            skills: desk.member.skills.clone(),
            idle_since: now,
            occupancy_pm: desk.window.occupancy_pm(now),
        };
        // Holds only strings, numbers and a map with text keys: it always serialises.
        let body = serde_json::to_string(&listed).unwrap_or_default();
        let mut queues: Vec<(u8, Name)> = desk.member.queues.iter().map(|(name, p)| (*p, name.clone())).collect();
        queues.sort();
        for (_, queue) in &queues {
            let selection = self.queues.get(queue).map(|config| config.selection).unwrap_or_default();
            let sort = listed.sort(selection);
            let row = IndexRow { partition: available_partition(queue), sort: sort.clone(), body: body.clone() };
            desk.rows.push((queue.clone(), sort.clone()));
            self.markets.entry(queue.clone()).or_default().available.insert(sort, row);
        }
        for (_, queue) in &queues {
            self.bring_together(queue);
        }
    }

    fn withdraw(&mut self, index: usize) {
        let rows = self.desks.get_mut(index).map(|desk| std::mem::take(&mut desk.rows)).unwrap_or_default();
        for (queue, sort) in rows {
            if let Some(market) = self.markets.get_mut(&queue) {
                market.available.remove(&sort);
            }
        }
    }

    // Calls.

    fn call(&self, call: usize) -> Option<&'a Call> {
        self.period.calls.get(call)
    }

    fn arrives(&mut self, index: usize, visit: usize) {
        let Some(call) = self.call(index) else { return };
        let Some(stay) = call.visits.get(visit) else { return };
        let config = self.config(&stay.queue);
        let priority = Priority { credit_ms: stay.credit_ms, class: 0 };
        let since = self.now.plus_ms(-stay.kept_ms.max(0));
        let entry = WaitingEntry::new(call.contact, &config, call.lang, priority, since);
        let waited_ms = stay.seen.wait_ms();
        let leaves = match stay.seen {
            Seen::Abandoned { .. } => Some((waited_ms, Leaves::Abandons)),
            Seen::Left { .. } => Some((waited_ms, Leaves::GoesOn)),
            _ => {
                let market = self.markets.get(&stay.queue);
                market.and_then(|market| market.patience.after(waited_ms, draw(call.contact, visit)))
            }
        };
        let longest = i64::from(config.max_wait_ms);
        let leaves = leaves.filter(|(ms, _)| *ms < longest).unwrap_or((longest, Leaves::GoesOn));
        self.tally.offered(&stay.queue, self.now, visit > 0);
        let stay = Stay {
            queue: stay.queue.clone(),
            came: self.now,
            entry,
            applied: 0,
            moves: 0,
            leaves: Some((since.plus_ms(leaves.0), leaves.1)),
        };
        if let Some(progress) = self.calls.get_mut(index) {
            progress.visit = visit;
        }
        self.waits(index, stay);
    }

    /// Puts a call into its queue and looks for an agent.
    fn waits(&mut self, index: usize, stay: Stay) {
        let queue = stay.queue.clone();
        let row = stay.entry.row(&queue);
        let leaves = stay.leaves.map(|(at, _)| at);
        let Some(progress) = self.calls.get_mut(index) else { return };
        progress.turn += 1;
        let turn = progress.turn;
        progress.stay = Some(stay);
        self.markets.entry(queue.clone()).or_default().waiting.insert(row.sort.clone(), row);
        if let Some(at) = leaves {
            self.at(at, Event::Leaves { call: index, turn });
        }
        self.bring_together(&queue);
        self.look(index, turn);
    }

    /// Takes a waiting call out of its queue; `None` where it does not wait any more.
    fn takes(&mut self, index: usize, turn: Option<u32>) -> Option<Stay> {
        let progress = self.calls.get_mut(index)?;
        if turn.is_some_and(|turn| turn != progress.turn) {
            return None;
        }
        let stay = progress.stay.take()?;
        progress.turn += 1;
        if let Some(market) = self.markets.get_mut(&stay.queue) {
            market.waiting.remove(&stay.entry.sort());
        }
        Some(stay)
    }

    fn count(&mut self, stay: &Stay, at: Timestamp, end: End) {
        let wait_ms = stay.entry.waited_ms(at);
        let threshold_s = self.config(&stay.queue).service_level.threshold_s;
        self.tally.ended(&stay.queue, stay.came, wait_ms, end, threshold_s);
    }

    fn leaves(&mut self, index: usize, turn: u32) {
        let Some(stay) = self.takes(index, Some(turn)) else { return };
        let goes_on = stay.leaves.is_some_and(|(_, how)| how == Leaves::GoesOn);
        self.count(&stay, self.now, if goes_on { End::Left } else { End::Abandoned });
        let recorded = self.call(index).and_then(|call| call.visits.get(self.calls.get(index)?.visit));
        if goes_on && recorded.is_some_and(|visit| matches!(visit.seen, Seen::Left { .. })) {
            self.next_visit(index);
        }
    }

    /// The stay after the present one, with the pause that was between them.
    fn next_visit(&mut self, index: usize) {
        let (Some(call), Some(progress)) = (self.call(index), self.calls.get(index)) else { return };
        let next = progress.visit + 1;
        let (Some(before), Some(after)) = (call.visits.get(progress.visit), call.visits.get(next)) else { return };
        let talked = match before.seen {
            Seen::Answered { talk_ms, .. } => talk_ms,
            _ => 0,
        };
        let ended = before.at.plus_ms(before.seen.wait_ms() - before.kept_ms + talked);
        let pause_ms = after.at.since_ms(ended).clamp(0, 3_600_000);
        self.at(self.now.plus_ms(pause_ms), Event::Arrives { call: index, visit: next });
    }

    /// Overflow rules, and needs that relax.
    fn look(&mut self, index: usize, turn: u32) {
        let Some(stay) = self.calls.get(index).filter(|p| p.turn == turn).and_then(|p| p.stay.as_ref()) else {
            return;
        };
        let (queue, entry, applied) = (stay.queue.clone(), stay.entry.clone(), stay.applied);
        let config = self.config(&queue);
        let view = self.view(&queue, &entry);
        if let Some((rule, action)) = overflow::due(&config, &entry, &view, applied, self.now) {
            return self.overflows(index, turn, rule, &action.clone());
        }
        let next = [
            overflow::next_due(&config, &entry, applied, self.now),
            entry.next_change(self.now),
            // Rules about length, estimate and staff are looked at from time to time.
            (config.overflow.len() > applied.count_ones() as usize).then(|| self.now.plus_ms(10_000)),
        ];
        if let Some(at) = next.into_iter().flatten().min() {
            self.at(at, Event::Look { call: index, turn });
        }
        if entry.next_change(entry.enqueued_at).is_some() {
            self.bring_together(&queue);
        }
    }

    fn view(&self, queue: &Name, entry: &WaitingEntry) -> QueueView {
        let Some(market) = self.markets.get(queue) else { return QueueView::default() };
        let ahead = market.waiting.range(..entry.sort()).count() as u32;
        let free = market.available.len() as u32;
        QueueView {
            ahead,
            staffed: market.staffed,
            free,
            estimated_wait_ms: estimate_ms(ahead, market.staffed, free, &market.handle),
        }
    }

    fn overflows(&mut self, index: usize, turn: u32, rule: usize, action: &OverflowAction) {
        let Some(mut stay) = self.takes(index, Some(turn)) else { return };
        stay.applied |= 1 << rule.min(31);
        match action {
            OverflowAction::Relax => {
                stay.entry.relax_all();
                self.waits(index, stay);
            }
            // Nobody knows who would have come.
            OverflowAction::Reserve => self.waits(index, stay),
            OverflowAction::Queue { queue } if stay.moves < MAX_MOVES => {
                self.count(&stay, self.now, End::MovedOn);
                self.tally.offered(queue, self.now, true);
                let config = self.config(queue);
                let lang = self.call(index).and_then(|call| call.lang);
                let (contact, since) = (stay.entry.contact, stay.entry.enqueued_at);
                let entry = WaitingEntry::new(contact, &config, lang, stay.entry.priority, since);
                let (moves, leaves, came) = (stay.moves + 1, stay.leaves, self.now);
                self.waits(index, Stay { queue: queue.clone(), came, entry, applied: 0, moves, leaves });
            }
            OverflowAction::Queue { .. } => self.waits(index, stay),
            OverflowAction::Voicemail | OverflowAction::Callback | OverflowAction::Message | OverflowAction::Link => {
                self.count(&stay, self.now, End::Left);
            }
        }
    }

    // Both.

    /// Offers until nobody in the queue fits any more, with the search that live calls use.
    fn bring_together(&mut self, queue: &Name) {
        let config = self.config(queue);
        while let Some((contact, agent)) = self.choose(&config) {
            let (Some(&call), Some(&desk)) = (self.by_contact.get(&contact), self.by_agent.get(&agent)) else {
                return;
            };
            self.spend(desk);
            self.withdraw(desk);
            let Some(at_desk) = self.desks.get_mut(desk) else { return };
            at_desk.busy = true;
            let Some(stay) = self.takes(call, None) else { return };
            let ring_ms = self.handling(call).0;
            if let Some(progress) = self.calls.get_mut(call) {
                progress.stay = Some(Stay { leaves: None, ..stay });
            }
            self.at(self.now.plus_ms(ring_ms), Event::Answers { call, agent: desk });
        }
    }

    fn choose(&self, config: &QueueConfig) -> Option<(ContactId, AgentId)> {
        let market = self.markets.get(&config.name)?;
        if market.waiting.is_empty() || market.available.is_empty() {
            return None;
        }
        let mut search = Search::new(config, self.now);
        loop {
            match search.next() {
                Ask::Read { partition, from, limit } => {
                    let side = if partition == available_partition(&config.name) {
                        &market.available
                    } else {
                        &market.waiting
                    };
                    let page = side.range(from.unwrap_or_default()..).take(limit);
                    search.give(page.map(|(_, row)| row.clone()).collect());
                }
                Ask::Done { decision: Decision::Match { contact, agent, .. }, .. } => return Some((contact, agent)),
                Ask::Done { .. } => return None,
            }
        }
    }

    /// Ring, talk and wrap-up of the present stay, milliseconds.
    fn handling(&self, index: usize) -> (i64, i64, i64) {
        let none = (RING_MS, TALK_MS, 0);
        let (Some(call), Some(progress)) = (self.call(index), self.calls.get(index)) else { return none };
        let Some(visit) = call.visits.get(progress.visit) else { return none };
        let queue = progress.stay.as_ref().map_or(&visit.queue, |stay| &stay.queue);
        let granted = self.queues.get(queue).map_or(0, |config| i64::from(config.wrap_up_ms));
        let found = match visit.seen {
            Seen::Answered { ring_ms, talk_ms, wrap_ms, .. } => {
                Some((ring_ms.max(0), talk_ms.max(0), wrap_ms.unwrap_or(granted).max(0)))
            }
            _ => self.markets.get(&visit.queue).and_then(|market| {
                let place = draw(call.contact, progress.visit + 1_000) * market.handled.len() as f64;
                market.handled.get(place as usize).copied()
            }),
        };
        let (ring, talk, wrap) = found.unwrap_or(none);
        // A queue that grants less wrap-up ends it sooner; one that grants more does not stretch it.
        (ring, talk, wrap.min(granted))
    }

    fn answers(&mut self, call: usize, agent: usize) {
        let (_, talk_ms, wrap_ms) = self.handling(call);
        let Some(stay) = self.calls.get_mut(call).and_then(|progress| progress.stay.take()) else { return };
        self.count(&stay, self.now, End::Answered);
        if let Some(market) = self.markets.get_mut(&stay.queue) {
            market.handle.learn(u32::try_from(talk_ms + wrap_ms).unwrap_or(u32::MAX));
        }
        self.at(self.now.plus_ms(talk_ms), Event::Ends { call, agent });
        self.at(self.now.plus_ms(talk_ms + wrap_ms), Event::Free(agent));
    }

    fn ends(&mut self, call: usize, _agent: usize) {
        let recorded = self.call(call).and_then(|c| c.visits.get(self.calls.get(call)?.visit));
        if recorded.is_some_and(|visit| matches!(visit.seen, Seen::Answered { .. })) {
            self.next_visit(call);
        }
    }
}
