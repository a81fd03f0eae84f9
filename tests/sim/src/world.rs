//! One world: the clock, the agenda, and everybody in it.

mod acts;
mod audit;
mod calls;
mod floor;
mod office;
mod setup;
mod tasks;

use hotline_base::{AgentId, ContactId, EntityKey, NodeId, OfferId, RecordingId, Timestamp};
use hotline_ports::memory::{Memory, Message};
use hotline_ports::{FactRow, World as _};
use hotline_routing::alarm::alarms_partition;
use hotline_service::Service;
use hotline_wire::node::{NodeCommand, OfferFailure};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crate::exec::Executor;
use crate::jobs::{Done, Job};
use crate::model::Model;
use crate::node::{Later, SimNode};
use crate::people::{Act, Person};
use crate::plan::{DAWN, NodePlan, Plan};
use crate::report::{Failure, Outcome, Stats};
use crate::rng::Rng;
use crate::watch::Watch;

use audit::Audit;
use setup::FaultDice;

/// The world must be quiet this long after its last planned event, milliseconds: thirty days.
const NEVER_QUIET_MS: i64 = 30 * 86_400_000;
/// Polls of one world at most: a world that goes on for ever is a failure.
const MAX_POLLS: u64 = 20_000_000;

/// A part of Hotline that is taken away, to test the simulator itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store does not check versions: a step overwrites what it did not see.
    NoVersionCheck,
    /// Effects left behind by a crash are never carried out.
    NoOutboxSweep,
    /// Timers that are not near are never handed over.
    NoTimerSweep,
    /// Nobody looks after the calls of dead nodes.
    NoLeaseCheck,
}

/// What may be varied for all seeds.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Nothing fails: no faults, stalls, crashes or duplicates.
    pub no_faults: bool,
    /// What is broken on purpose, to see that worlds notice.
    pub sabotage: Option<Sabotage>,
    /// Keep the table of events also where nothing failed.
    pub keep_table: bool,
}

/// What happens at a moment.
#[derive(Debug)]
enum Happening {
    /// A planned caller dials.
    Dials(usize),
    /// A node comes back to a call.
    Node { node: NodeId, contact: ContactId, later: Later },
    /// An agent's phone did not take a call.
    NotTaken { node: NodeId, contact: ContactId, offer: OfferId, reason: OfferFailure, status: Option<u16> },
    /// A command reaches its node.
    Command { node: NodeId, command: Box<NodeCommand> },
    /// A person does something.
    Act { person: usize, act: Act },
    /// A node renews its lease.
    Alive(usize),
    /// A node loses power.
    Crash(usize),
    /// A node starts again, with what its disk still holds.
    Start(usize),
    /// A node reports a recording on its disk as uploaded.
    Report { node: NodeId, recording: RecordingId },
    /// Somebody at an office does something.
    Office,
    /// The next fact of an entity is handed to its consumer again.
    Consume(EntityKey),
    /// The scheduled functions run.
    Minute,
    /// The lease check runs.
    Leases,
    /// The slow invariants are checked.
    Audit,
}

struct NodeSlot {
    plan: NodePlan,
    node: SimNode,
    /// When it started last, by its own clock.
    started_at: Timestamp,
}

/// A line of the table.
struct Line {
    at: Timestamp,
    who: String,
    what: String,
}

type Lines = Rc<RefCell<Vec<Line>>>;

struct World {
    rng: Rng,
    plan: Plan,
    memory: Memory,
    watch: Arc<Watch>,
    dice: Arc<FaultDice>,
    service: Service,
    exec: Executor<Done>,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    agenda: BTreeMap<(Timestamp, u64), Happening>,
    next_happening: u64,
    nodes: Vec<NodeSlot>,
    people: Vec<Person>,
    /// Callers whose node lost power.
    orphans: BTreeMap<ContactId, floor::Orphan>,
    /// Facts waiting for their consumer, by entity, in order.
    stream: BTreeMap<EntityKey, VecDeque<FactRow>>,
    deliveries: BTreeMap<u64, u32>,
    model: Model,
    audit: Audit,
    lines: Lines,
    names: BTreeMap<String, String>,
    stats: Stats,
    sabotage: Option<Sabotage>,
}

/// Runs the world of a seed to its end.
pub fn run_seed(seed: u64, options: &Options) -> Outcome {
    let lines: Lines = Rc::default();
    let names = Rc::new(RefCell::new(BTreeMap::new()));
    let stats = Rc::new(RefCell::new(Stats::default()));
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, options, lines.clone())?;
        let result = world.run();
        *names.borrow_mut() = std::mem::take(&mut world.names);
        *stats.borrow_mut() = world.stats;
        result.map_err(|what| Failure { at: world.now(), what })
    }));
    let failure = match ran {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|t| (*t).to_owned()));
            let at = lines.borrow().last().map_or(DAWN, |line| line.at);
            Some(Failure { at, what: format!("panic: {}", text.unwrap_or_default()) })
        }
    };
    let keep = options.keep_table || failure.is_some();
    let table = if keep { table(&lines.borrow(), &names.borrow()) } else { String::new() };
    let failure = failure.map(|f| Failure { what: shorten(&f.what, &names.borrow()), ..f });
    let stats = *stats.borrow();
    Outcome { seed, failure, table, stats }
}

fn shorten(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Ids are a prefix of three letters, an underscore and 26 characters.
    while let Some(found) = rest.find('_') {
        let start = found.wrapping_sub(3);
        let name = rest.get(start..found + 27).and_then(|id| names.get(id));
        match name {
            Some(name) => {
                out.push_str(rest.get(..start).unwrap_or_default());
                out.push_str(name);
                rest = rest.get(found + 27..).unwrap_or_default();
            }
            None => {
                out.push_str(rest.get(..=found).unwrap_or_default());
                rest = rest.get(found + 1..).unwrap_or_default();
            }
        }
    }
    out.push_str(rest);
    out
}

fn table(lines: &[Line], names: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for line in lines {
        let s = line.at.since_ms(DAWN) as f64 / 1_000.0;
        let what: String = shorten(&line.what, names).chars().take(180).collect();
        text.push_str(&format!("{s:>11.3}  {:<8} {what}\n", shorten(&line.who, names)));
    }
    text
}

impl World {
    fn now(&self) -> Timestamp {
        self.memory.world.now()
    }

    fn elapsed_ms(&self) -> i64 {
        self.now().since_ms(DAWN)
    }

    fn say(&self, who: impl ToString, what: impl ToString) {
        let line = Line { at: self.now(), who: who.to_string(), what: what.to_string() };
        self.lines.borrow_mut().push(line);
    }

    fn at(&mut self, moment: Timestamp, happening: Happening) {
        self.next_happening += 1;
        self.agenda.insert((moment.max(self.now()), self.next_happening), happening);
    }

    fn after(&mut self, ms: i64, happening: Happening) {
        let moment = self.now().plus_ms(ms.max(0));
        self.at(moment, happening);
    }

    fn person_of(&self, agent: AgentId) -> Option<usize> {
        self.people.iter().position(|p| p.plan.id == agent)
    }

    fn slot_of(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|slot| slot.node.id == node)
    }

    /// Runs to the end.
    fn run(&mut self) -> Result<(), String> {
        let mut polls = 0_u64;
        loop {
            polls += 1;
            if polls > MAX_POLLS {
                return Err(format!("not at its end after {MAX_POLLS} polls"));
            }
            self.take_commits()?;
            self.take_messages();
            self.take_facts();
            self.take_commands();
            self.happen()?;
            if self.poll()? {
                // A call on a port takes its time.
                let ms = if self.rng.chance(20) { self.rng.between(5, 60) } else { self.rng.between(0, 3) };
                self.memory.world.advance_ms(ms);
                continue;
            }
            if self.is_over() {
                break;
            }
            let Some(next) = self.next_moment() else { break };
            if next.since_ms(DAWN) > self.plan.length_ms + NEVER_QUIET_MS {
                return Err(format!("never quiet: {}", self.noise()));
            }
            self.memory.world.set(next);
        }
        self.stats.virtual_ms = self.elapsed_ms().max(0) as u64;
        self.stats.faults = self.dice.count();
        self.final_checks()
    }

    fn next_moment(&self) -> Option<Timestamp> {
        let agenda = self.agenda.keys().next().map(|(at, _)| *at);
        let message = self.memory.queues.next_visible();
        [agenda, message, self.exec.next_start()].into_iter().flatten().min()
    }

    /// Everything planned has happened and nothing is under way.
    fn is_over(&self) -> bool {
        let planned = |h: &Happening| {
            !matches!(h, Happening::Minute | Happening::Leases | Happening::Audit | Happening::Alive(_))
        };
        self.exec.is_empty()
            && !self.agenda.values().any(planned)
            && self.nodes.iter().all(|slot| slot.node.calls.is_empty() && (slot.node.disk.is_empty() || !slot.node.up))
            && self.stream.values().all(VecDeque::is_empty)
            && self.memory.queues.next_visible().is_none()
            && self.memory.store.timers().is_empty()
            && self.memory.store.unsettled().is_empty()
            && self.model.counts().0 == self.model.counts().1
            // Whatever is raised is cleared at the latest by the minute after.
            && self.memory.store.all_rows().iter().all(|(_, row)| row.partition != alarms_partition())
    }

    /// What keeps the world from being quiet.
    fn noise(&self) -> String {
        let timers = self.memory.store.timers();
        let outbox = self.memory.store.unsettled();
        let alive = self.model.contacts.iter().filter(|(_, c)| c.is_alive()).map(|(k, _)| k.id.clone());
        format!(
            "timers {:?}, effects {:?}, contacts alive {:?}, messages {}, tasks {}",
            timers.iter().take(5).collect::<Vec<_>>(),
            outbox.iter().take(5).map(|row| &row.body).collect::<Vec<_>>(),
            alive.collect::<Vec<_>>(),
            self.memory.queues.next_visible().is_some(),
            self.jobs.len(),
        )
    }

    /// What is due on the agenda.
    fn happen(&mut self) -> Result<(), String> {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > self.memory.world.now() {
                return Ok(());
            }
            let happening = entry.remove();
            match happening {
                Happening::Dials(caller) => self.dials(caller),
                Happening::Node { node, contact, later } => self.node_later(node, contact, later),
                Happening::NotTaken { node, contact, offer, reason, status } => {
                    self.with_node(node, |n, scene| n.not_taken(scene, contact, offer, reason, status));
                }
                Happening::Command { node, command } => self.command(node, *command),
                Happening::Act { person, act } => self.act(person, act),
                Happening::Alive(slot) => self.alive(slot),
                Happening::Crash(slot) => self.crash(slot),
                Happening::Start(slot) => self.start(slot),
                Happening::Report { node, recording } => self.report(node, recording),
                Happening::Office => self.office(),
                Happening::Consume(entity) => self.consume_next(&entity),
                Happening::Minute => self.minute(),
                Happening::Leases => self.leases(),
                Happening::Audit => self.audit()?,
            }
        }
        Ok(())
    }

    /// Takes messages of managed queues that have become visible.
    fn take_messages(&mut self) {
        for message in self.memory.queues.take_visible() {
            self.deliver(message);
        }
    }

    fn deliver(&mut self, message: Message) {
        let copies = if self.dice.is_on() && self.rng.chance(self.plan.faults.duplicate_pm) { 2 } else { 1 };
        for _ in 0..copies {
            self.spawn(Job::Deliver(message.clone()));
        }
    }
}
