//! An hour of a large hotline: 100,000 calls and 10,000 agents through the real use-cases, from a
//! cold start, with a burst in it.
//!
//! Nothing fails here; what is looked for is what size does: matchers in each other's way, hot
//! partitions, environments that are not there yet, waits, and the bill. Time is virtual. Every
//! call on a port takes as long as [`prices`] says, so that use-cases overlap as they would.

mod calls;
mod clock;
mod cost;
mod flood;
mod ports;
pub mod prices;
mod report;
mod store;

pub use cost::{Costs, costs};
pub use flood::{Flood, FloodCounts, Whose};
pub use report::HourReport;
pub use store::{CountingStore, Heat, Units};

use hotline_base::{AgentId, ContactId, EntityKey, Name, NodeId, Redacted, TenantId, Timestamp};
use hotline_ports::{FactRow, World as _};
use hotline_routing::QueueConfig;
use hotline_routing::agent::{AgentProfile, Capacity, Membership, Requested};
use hotline_service::config::{self, Did, Kind};
use hotline_service::settings::{self, CallLimits, Settings};
use hotline_service::{Service, ServiceError, agents, directory, facts, flows, ivr, nodes, outbox, thresholds, timers};
use hotline_wire::node::{CallInput, Decision, DirectoryInput, NodeAction};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::rng::Rng;
use calls::Calls;
use clock::Clock;
use ports::Wires;
use prices::{COLD_START_MS, SCALE_PER_10_S};
use report::Counts;

const TENANT: TenantId = TenantId::from_u128(1);
/// The node of what is measured alone.
const NODE: NodeId = NodeId::from_u128(7);
/// Calls at the same time that one node carries.
const CALLS_PER_NODE: u64 = 500;
/// A queue that takes more calls a second than this keeps its lists in several parts.
const WHOLE_QUEUE_PER_S: f64 = 100.0;
const DID: &str = "+861012345678";
/// Agents come within this, milliseconds; calls begin after it.
const MORNING_MS: i64 = 60_000;
/// The queues, and how many of 100 calls each gets.
pub(crate) const QUEUES: [(&str, u64); 4] = [("main", 70), ("billing", 10), ("technical", 10), ("sales", 10)];
/// The end, whatever is still going on, milliseconds.
const LONGEST_MS: i64 = 4 * 3_600_000;

/// How large the hour is.
#[derive(Debug, Clone, Copy)]
pub struct HourPlan {
    /// Calls in all.
    pub calls: u64,
    /// Agents.
    pub agents: u64,
    /// Calls a second.
    pub per_s: f64,
    /// Calls a second in the burst, which lasts a minute.
    pub burst_per_s: f64,
    /// The burst begins so long after the first call, seconds.
    pub burst_at_s: u64,
    /// Decides talk times, patience and everything else that varies.
    pub seed: u64,
    /// Beside all this.
    pub flood: Option<Flood>,
}

impl HourPlan {
    /// 100,000 calls, 10,000 agents, 28 calls a second and a minute of 300.
    pub fn full() -> Self {
        Self {
            calls: 100_000,
            agents: 10_000,
            per_s: 28.0,
            burst_per_s: 300.0,
            burst_at_s: 1_200,
            seed: 1,
            flood: None,
        }
    }

    /// The same hour with so many calls; everything else in proportion.
    pub fn with_calls(calls: u64) -> Self {
        let part = calls as f64 / 100_000.0;
        let full = Self::full();
        Self {
            calls,
            agents: ((full.agents as f64 * part).ceil() as u64).max(4),
            per_s: full.per_s * part,
            burst_per_s: full.burst_per_s * part,
            ..full
        }
    }

    /// Nodes that carry the calls.
    fn nodes(&self) -> u64 {
        self.agents.div_ceil(CALLS_PER_NODE).max(1)
    }

    /// The node that the n-th call or phone is at.
    fn node(&self, n: u64) -> NodeId {
        NodeId::from_u128(NODE.as_u128() + u128::from(n % self.nodes()))
    }

    /// Parts of the lists of a queue that gets so many of 100 calls.
    fn shards(&self, share: u64) -> u8 {
        let per_s = self.burst_per_s * share as f64 / 100.0;
        if per_s > WHOLE_QUEUE_PER_S { (per_s / WHOLE_QUEUE_PER_S).ceil() as u8 + 1 } else { 1 }
    }

    /// When each call comes, milliseconds after the first moment.
    fn arrivals(&self, rng: &mut Rng) -> Vec<i64> {
        let mut all = Vec::new();
        let mut s = 0_u64;
        let mut owed = 0.0;
        while (all.len() as u64) < self.calls {
            let in_burst = (self.burst_at_s..self.burst_at_s + 60).contains(&s);
            owed += if in_burst { self.burst_per_s } else { self.per_s };
            while owed >= 1.0 && (all.len() as u64) < self.calls {
                owed -= 1.0;
                all.push(MORNING_MS + s as i64 * 1_000 + rng.between(0, 999));
            }
            s += 1;
        }
        all.sort_unstable();
        all
    }
}

/// Which function a use-case runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Function {
    Ivr,
    Directory,
    Timers,
    Facts,
    Sweep,
}

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    Dials(u64),
    Floods(u64),
    AgentComes(u64),
    Command(ContactId, Box<NodeAction>),
    Message(String),
    Answers(ContactId, hotline_base::OfferId),
    TalkEnds(ContactId, hotline_base::OfferId),
    GivesUp(ContactId),
    AskAgain(ContactId),
    Alive(u64),
    Minute,
}

/// What a use-case came to.
pub(crate) enum Done {
    Decided(ContactId, Result<Decision, String>),
    Followed(EntityKey, Vec<String>),
    Other(Result<(), ServiceError>),
}

type Work = Pin<Box<dyn Future<Output = Done>>>;

struct Task {
    work: Work,
    function: Function,
    began: Timestamp,
}

/// Environments of one function.
#[derive(Default)]
struct Pool {
    idle: u64,
    window: i64,
    started: usize,
}

pub(crate) struct Hour {
    clock: Clock,
    pub(crate) store: Arc<CountingStore>,
    service: Service,
    wires: Wires,
    rng: Rng,
    plan: HourPlan,
    agenda: BinaryHeap<Reverse<(Timestamp, u64)>>,
    happenings: HashMap<u64, Happening>,
    order: u64,
    tasks: Vec<Option<Task>>,
    spare: Vec<usize>,
    pools: BTreeMap<Function, Pool>,
    stream: HashMap<EntityKey, VecDeque<FactRow>>,
    calls: Calls,
    pub(crate) counts: Counts,
}

fn name(text: &str) -> Name {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn agent_id(n: u64) -> AgentId {
    AgentId::from_u128((1 << 64) | u128::from(n))
}

/// Runs an hour. `progress` is told every five virtual minutes.
///
/// # Errors
/// What went wrong, where a use-case failed for good.
pub fn run_hour(plan: HourPlan, progress: &dyn Fn(&str)) -> Result<HourReport, String> {
    let mut hour = Hour::new(plan);
    hour.fill()?;
    let before = hour.store.units();
    hour.run(progress)?;
    let units = hour.store.units().since(&before);
    Ok(hour.report(units))
}

impl Hour {
    pub(crate) fn new(plan: HourPlan) -> Self {
        let clock = Clock::new(crate::plan::DAWN, plan.seed);
        let store = Arc::new(CountingStore::new(clock.clone()));
        let wires = Wires::new(clock.clone());
        let service = Service::new(ports::ports(clock.clone(), store.clone(), &wires));
        Self {
            clock,
            store,
            service,
            wires,
            rng: Rng::new(plan.seed ^ 0x5eed),
            plan,
            agenda: BinaryHeap::new(),
            happenings: HashMap::new(),
            order: 0,
            tasks: Vec::new(),
            spare: Vec::new(),
            pools: BTreeMap::new(),
            stream: HashMap::new(),
            calls: Calls::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// Runs one use-case to its end and gives what it took; for measuring it alone.
    pub(crate) fn measured<T: 'static>(&mut self, work: impl Future<Output = T> + 'static) -> (T, Units) {
        let before = self.store.units();
        let mut work = Box::pin(work);
        let mut context = Context::from_waker(Waker::noop());
        self.clock.enter(usize::MAX);
        let done = loop {
            match work.as_mut().poll(&mut context) {
                Poll::Ready(done) => break done,
                Poll::Pending => {
                    self.clock.wake();
                }
            }
        };
        (done, self.store.units().since(&before))
    }

    /// The tenant, its queues, its flow, its people.
    pub(crate) fn fill(&mut self) -> Result<(), String> {
        let (service, plan) = (self.service.clone(), self.plan);
        let filled = async move {
            for (queue, share) in QUEUES {
                let mut config = QueueConfig::new(name(queue));
                config.wrap_up_ms = 20_000;
                config.max_waiting = 100_000;
                config.max_per_caller = 100;
                config.shards = plan.shards(share);
                config.recording = hotline_routing::queue::RecordingPolicy::Never;
                config::put(&service, TENANT, Kind::QUEUE, queue, &config, None, "hour").await?;
                let text = calls::FLOW.replace("QUEUE", queue);
                flows::publish(&service, TENANT, &name(queue), &text, "hour").await?;
                let did = Did { tenant: TENANT, flow: name(queue) };
                let number = format!("{DID}{}", &queue[..1]);
                config::put(&service, TenantId::PLATFORM, Kind::DID, &number, &did, None, "hour").await?;
            }
            let limits = CallLimits { calls_at_once: 100_000, ..CallLimits::default() };
            let settings = Settings { limits, ..Settings::default() };
            settings::put(&service, TENANT, &settings, None, "hour").await?;
            for n in 0..plan.agents {
                agents::configure(&service, TENANT, profile(n, &plan)).await?;
            }
            if plan.flood.is_some_and(|flood| flood.whose == Whose::OtherTenant) {
                flood::fill(&service).await?;
            }
            Ok::<_, ServiceError>(())
        };
        self.measured(filled).0.map_err(|error| error.to_string())?;
        self.store.take_stream();
        Ok(())
    }

    pub(crate) fn at(&mut self, moment: Timestamp, happening: Happening) {
        self.order += 1;
        self.agenda.push(Reverse((moment.max(self.clock.now()), self.order)));
        self.happenings.insert(self.order, happening);
    }

    pub(crate) fn after(&mut self, ms: i64, happening: Happening) {
        self.at(self.clock.now().plus_ms(ms), happening);
    }

    fn schedule(&mut self) {
        let start = self.clock.now();
        for n in 0..self.plan.agents {
            let ms = self.rng.between(0, MORNING_MS - 5_000);
            self.at(start.plus_ms(ms), Happening::AgentComes(n));
        }
        let plan = self.plan;
        for (n, ms) in plan.arrivals(&mut self.rng).into_iter().enumerate() {
            self.at(start.plus_ms(ms), Happening::Dials(n as u64));
        }
        if let Some(flood) = plan.flood {
            let first = start.plus_ms(MORNING_MS + flood.at_s as i64 * 1_000);
            for n in 0..flood.calls() {
                self.at(first.plus_ms((n * 1_000 / flood.per_s.max(1)) as i64), Happening::Floods(n));
            }
        }
        for n in 0..plan.nodes() {
            self.after(n as i64 * 97, Happening::Alive(n));
        }
        self.after(7_000, Happening::Minute);
    }

    fn run(&mut self, progress: &dyn Fn(&str)) -> Result<(), String> {
        let start = self.clock.now();
        self.schedule();
        let mut told = 0;
        while self.counts.ended < self.plan.calls {
            let minutes = self.clock.now().since_ms(start) / 60_000;
            if minutes >= told + 5 {
                told = minutes;
                let waiting: usize = self.waiting();
                let Counts { answered, abandoned, .. } = self.counts;
                progress(&format!("minute {minutes}: {answered} answered, {abandoned} gave up, {waiting} waiting"));
            }
            if self.clock.now().since_ms(start) > LONGEST_MS {
                return Err(format!(
                    "{} of {} calls never ended",
                    self.plan.calls - self.counts.ended,
                    self.plan.calls
                ));
            }
            let (sleeper, planned) = (self.clock.next(), self.agenda.peek().map(|Reverse((at, _))| *at));
            match (sleeper, planned) {
                (None, None) => return Err("nothing happens any more".into()),
                (Some(sleeper), planned) if planned.is_none_or(|planned| sleeper <= planned) => {
                    if let Some(task) = self.clock.wake() {
                        self.poll(task)?;
                    }
                }
                _ => self.happen(),
            }
            self.drain();
        }
        self.counts.virtual_ms = self.clock.now().since_ms(start);
        Ok(())
    }

    pub(crate) fn waiting(&self) -> usize {
        QUEUES.iter().map(|(queue, _)| self.store.count_rows(TENANT, &format!("waiting/{queue}"))).sum()
    }

    fn happen(&mut self) {
        let Some(Reverse((at, order))) = self.agenda.pop() else { return };
        self.clock.set(at);
        let Some(happening) = self.happenings.remove(&order) else { return };
        let service = self.service.clone();
        match happening {
            Happening::AgentComes(n) => {
                let expires = Some(self.clock.now().plus_ms(3_600_000));
                let node = self.plan.node(n / 7);
                self.spawn(Function::Directory, async move {
                    let agent = agent_id(n);
                    let input = DirectoryInput::Registered { tenant: TENANT, agent, node, expires };
                    if let Err(error) = directory::handle(&service, input).await {
                        return Done::Other(Err(error));
                    }
                    let done = agents::request_state(&service, TENANT, agent, Requested::Available).await;
                    Done::Other(done.map(drop))
                });
            }
            Happening::Message(body) => {
                self.counts.messages += 1;
                self.spawn(Function::Timers, async move { Done::Other(timers::handle(&service, &body).await) });
            }
            Happening::Alive(n) => {
                let input = DirectoryInput::NodeAlive {
                    node: self.plan.node(n),
                    sip_address: format!("10.0.0.{}:5060", n + 1),
                    calls: 0,
                    draining: false,
                    expires: self.clock.now().plus_ms(15_000),
                    started_at: None,
                };
                let work = async move { Done::Other(directory::handle(&service, input).await.map(drop)) };
                self.spawn(Function::Directory, work);
                self.after(5_000, Happening::Alive(n));
            }
            Happening::Minute => {
                self.spawn(Function::Sweep, async move {
                    let done = async {
                        timers::sweep(&service).await?;
                        outbox::sweep(&service).await?;
                        nodes::check_leases(&service).await?;
                        thresholds::tick(&service).await.map(drop)
                    };
                    Done::Other(done.await)
                });
                self.after(60_000, Happening::Minute);
            }
            call => self.call_happens(call),
        }
    }

    /// Runs a use-case in an environment of its function: an idle one, or a new one.
    pub(crate) fn spawn(&mut self, function: Function, work: impl Future<Output = Done> + 'static) {
        let now = self.clock.now();
        let pool = self.pools.entry(function).or_default();
        let mut delay = 0;
        if pool.idle > 0 {
            pool.idle -= 1;
        } else {
            let window = now.as_millis().div_euclid(10_000);
            if pool.window != window {
                (pool.window, pool.started) = (window, 0);
            }
            pool.started += 1;
            let late = (pool.started / SCALE_PER_10_S) as i64 * 10_000;
            delay = COLD_START_MS + late;
            self.counts.cold += 1;
            self.counts.throttled += u64::from(late > 0);
        }
        let sleep = self.clock.sleep(delay.max(1));
        // Use-cases are large: each is moved once, to where it stays.
        let work: Work = Box::pin(work);
        let work = Box::pin(async move {
            sleep.await;
            work.await
        });
        let task = Task { work, function, began: now.plus_ms(delay) };
        let place = match self.spare.pop() {
            Some(place) => {
                if let Some(slot) = self.tasks.get_mut(place) {
                    *slot = Some(task);
                }
                place
            }
            None => {
                self.tasks.push(Some(task));
                self.tasks.len() - 1
            }
        };
        // Its first sleep is registered by its first poll, which never ends it.
        let _ = self.poll(place);
    }

    fn poll(&mut self, place: usize) -> Result<(), String> {
        let Some(slot) = self.tasks.get_mut(place) else { return Ok(()) };
        let Some(task) = slot.as_mut() else { return Ok(()) };
        self.clock.enter(place);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(done) = task.work.as_mut().poll(&mut context) else { return Ok(()) };
        let (function, began) = (task.function, task.began);
        *slot = None;
        self.spare.push(place);
        self.pools.entry(function).or_default().idle += 1;
        let took = self.counts.functions.entry(function).or_default();
        took.invocations += 1;
        took.ms += self.clock.now().since_ms(began).max(0) as u64;
        self.done(done)
    }

    fn done(&mut self, done: Done) -> Result<(), String> {
        match done {
            Done::Decided(contact, decision) => self.decided(contact, decision),
            Done::Followed(subject, names) => {
                if names.iter().any(|name| name == "ContactEnded") {
                    self.store.forget(&subject);
                }
                match self.stream.get(&subject) {
                    Some(more) if !more.is_empty() => self.follow(subject),
                    _ => {
                        self.stream.remove(&subject);
                    }
                }
            }
            Done::Other(Err(ServiceError::Fault(fault @ hotline_ports::Fault::Permanent { .. }))) => {
                return Err(format!("a use-case failed for good: {fault}"));
            }
            Done::Other(result) => self.counts.failed += u64::from(result.is_err()),
        }
        Ok(())
    }

    /// Takes what use-cases sent: messages, commands, facts.
    fn drain(&mut self) {
        for (at, happening) in self.wires.take() {
            self.at(at, happening);
        }
        for fact in self.store.take_stream() {
            if self.plan.flood.is_none() || !flood::is_flood(&fact.subject.id) {
                self.counts.fact(&fact);
            }
            let subject = fact.subject.clone();
            let under_way = self.stream.contains_key(&subject);
            self.stream.entry(subject.clone()).or_default().push_back(fact);
            if !under_way {
                self.follow(subject);
            }
        }
    }

    fn follow(&mut self, subject: EntityKey) {
        let facts: Vec<FactRow> =
            self.stream.get_mut(&subject).map(|facts| facts.drain(..).collect()).unwrap_or_default();
        let service = self.service.clone();
        self.spawn(Function::Facts, async move {
            for fact in &facts {
                let mut tries = 0;
                while facts::consume(&service, fact).await.is_err() && tries < 10 {
                    tries += 1;
                }
            }
            Done::Followed(subject, facts.into_iter().map(|fact| fact.name).collect())
        });
    }

    /// Asks for a decision.
    pub(crate) fn ask(&mut self, input: CallInput) {
        let (service, contact) = (self.service.clone(), input.contact);
        self.spawn(Function::Ivr, async move {
            let decision = ivr::handle(&service, input).await;
            Done::Decided(contact, decision.map_err(|error| error.to_string()))
        });
    }
}

pub(crate) fn profile(n: u64, plan: &HourPlan) -> AgentProfile {
    // Each serves one queue; one in ten helps out in the next one.
    let place = n % 100;
    let mut sum = 0;
    let mine = QUEUES.iter().position(|(_, share)| {
        sum += share;
        place < sum
    });
    let mine = mine.unwrap_or(0);
    let mut queues = BTreeMap::new();
    let seat = |share, preference| {
        let shards = plan.shards(share);
        Membership { preference, shards: if shards > 1 { shards } else { 0 }, ..Membership::default() }
    };
    if let Some((queue, share)) = QUEUES.get(mine) {
        queues.insert(name(queue), seat(*share, 0));
    }
    if n % 10 == 3
        && let Some((other, share)) = QUEUES.get((mine + 1) % QUEUES.len())
    {
        queues.insert(name(other), seat(*share, 1));
    }
    AgentProfile {
        agent: agent_id(n),
        display_name: Redacted::new(format!("Agent {n}")),
        sip_user: format!("agent{n}.hour"),
        voice: true,
        capacity: Capacity::default(),
        skills: [(name("lang-zh"), 5), (name("router"), (n % 9 + 1) as u8)].into(),
        queues,
        groups: Vec::new(),
    }
}
