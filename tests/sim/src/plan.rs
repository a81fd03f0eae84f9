//! What a seed plans: tenants, queues, agents, callers, nodes, and how badly things go.

use hotline_base::{AgentId, NodeId, TenantId, Timestamp};
use std::collections::VecDeque;

use crate::rng::Rng;

/// The moment at which every world begins: a working Wednesday, 2027-01-13T02:00Z.
pub const DAWN: Timestamp = Timestamp::from_millis(1_799_805_600_000);

/// How a caller behaves.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Hangs up after this in any case, milliseconds.
    pub patience_ms: i64,
    /// What is pressed at each question; nothing where empty or used up.
    pub keys: VecDeque<String>,
    /// Presses the key that leaves the queue after this wait.
    pub leaves_queue_ms: Option<i64>,
    /// The length of a message, milliseconds.
    pub message_ms: i64,
    /// With an agent the caller hangs up after this, milliseconds.
    pub talks_ms: i64,
}

/// One call to come.
#[derive(Debug, Clone)]
pub struct CallerPlan {
    /// When, milliseconds after the beginning.
    pub at_ms: i64,
    /// Which tenant's number is dialled; beyond the last: a number nobody has.
    pub tenant: usize,
    /// The caller's number; empty where withheld.
    pub from: String,
    /// Which node the call comes to.
    pub node: usize,
    /// How the caller behaves.
    pub manner: Manner,
}

/// How a person answers a ringing phone, of 1,000; the rest ignores it.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// Answers.
    pub answers_pm: u32,
    /// Refuses on the phone.
    pub refuses_pm: u32,
    /// Refuses on the console.
    pub declines_pm: u32,
    /// The phone cannot be reached.
    pub unreachable_pm: u32,
    /// Ends wrap-up before its time.
    pub ends_wrap_up_pm: u32,
    /// Goes away for a while when looking at the console.
    pub goes_away_pm: u32,
}

/// An agent.
#[derive(Debug, Clone)]
pub struct AgentPlan {
    /// Which.
    pub id: AgentId,
    /// Short, for the table and the SIP user name.
    pub name: String,
    /// Queues served: indices into [`QUEUES`].
    pub queues: Vec<usize>,
    /// Speaks English as well as Chinese.
    pub english: bool,
    /// Comes after so many milliseconds.
    pub from_ms: i64,
    /// Leaves after so many milliseconds.
    pub until_ms: i64,
    /// Has a console open beside the phone.
    pub console: bool,
    /// Console and phone fall silent for this stretch, milliseconds after the beginning.
    pub vanishes: Option<(i64, i64)>,
    /// How they answer.
    pub habits: Habits,
    /// The node where the phone registers.
    pub node: usize,
}

/// A tenant.
#[derive(Debug, Clone)]
pub struct TenantPlan {
    /// Which.
    pub id: TenantId,
    /// Its number.
    pub did: String,
    /// Its people.
    pub agents: Vec<AgentPlan>,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Its first id.
    pub id: NodeId,
    /// Its clock is wrong by so much.
    pub skew_ms: i64,
    /// Loses power at this time, milliseconds after the beginning.
    pub crash_ms: Option<i64>,
    /// Starts again after this long, milliseconds, under the same id; `None`: the machine is lost
    /// with its disk.
    pub restart_ms: Option<i64>,
}

/// Likelihoods of faults, of 1,000 calls on a port each.
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultPlan {
    /// A commit meets another transaction.
    pub conflict_pm: u32,
    /// A transient fault, nothing done.
    pub before_pm: u32,
    /// A transient fault, although it was done.
    pub after_pm: u32,
    /// A message or command comes twice.
    pub duplicate_pm: u32,
    /// A message comes late.
    pub delay_pm: u32,
    /// A use-case stalls for seconds between two of its steps.
    pub stall_pm: u32,
    /// A use-case dies between two of its steps.
    pub crash_pm: u32,
    /// The node asks twice because the first answer was lost.
    pub lost_answer_pm: u32,
}

/// A whole world, before it begins.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Tenants.
    pub tenants: Vec<TenantPlan>,
    /// Calls, by time.
    pub callers: Vec<CallerPlan>,
    /// Nodes.
    pub nodes: Vec<NodePlan>,
    /// Faults.
    pub faults: FaultPlan,
    /// Something may fail.
    pub has_faults: bool,
    /// The last call comes before this, milliseconds after the beginning.
    pub length_ms: i64,
}

/// The queues of every tenant.
pub const QUEUES: [&str; 3] = ["technical", "billing", "general"];

/// The flow that every tenant publishes.
pub const FLOW: &str = include_str!("world.flow.yaml");

/// What a party goes through that one of the queues calls back.
pub const CALLED_BACK: &str = include_str!("called_back.flow.yaml");

fn number(rng: &mut Rng) -> String {
    // A few numbers come back, some are withheld.
    match rng.below(10) {
        0 => String::new(),
        1..=3 => format!("+86138001380{:02}", rng.below(4)),
        _ => format!("+8613{:09}", rng.below(1_000_000_000)),
    }
}

fn keys(rng: &mut Rng) -> VecDeque<String> {
    let press = |rng: &mut Rng, likely: &[&str]| match rng.below(12) {
        0 => String::new(),
        1 => "7".into(),
        _ => rng.pick(likely).map(|k| (*k).to_owned()).unwrap_or_default(),
    };
    let mut keys: VecDeque<String> = [press(rng, &["1", "2"]), press(rng, &["1", "2", "0", "3", "4"])].into();
    for _ in 0..rng.below(4) {
        let key = press(rng, &["1", "2", "3", "4", "5"]);
        keys.push_back(key);
    }
    keys
}

pub(crate) fn manner(rng: &mut Rng) -> Manner {
    let patience_ms = match rng.below(12) {
        0 => rng.between(10, 3_000),
        1 => rng.between(3_000, 20_000),
        2..=4 => rng.between(20_000, 180_000),
        _ => rng.between(180_000, 600_000),
    };
    Manner {
        patience_ms,
        keys: keys(rng),
        leaves_queue_ms: rng.chance(120).then(|| rng.between(500, 90_000)),
        message_ms: rng.between(20, 30_000),
        talks_ms: if rng.chance(300) { rng.between(200, 5_000) } else { rng.between(5_000, 200_000) },
    }
}

fn agent(rng: &mut Rng, n: usize, tenant: usize, length_ms: i64, nodes: usize) -> AgentPlan {
    let mut queues: Vec<usize> = (0..QUEUES.len()).filter(|_| rng.chance(600)).collect();
    if queues.is_empty() {
        queues.push(rng.below(QUEUES.len()));
    }
    let from_ms = if rng.chance(700) { rng.between(0, 10_000) } else { rng.between(0, length_ms) };
    let until_ms = if rng.chance(700) { length_ms + 600_000 } else { rng.between(from_ms, length_ms + 600_000) };
    let careless = rng.chance(250);
    AgentPlan {
        id: AgentId::from_u128((u128::from(rng.next()) << 64) | u128::from(rng.next())),
        name: format!("t{tenant}a{n}"),
        queues,
        english: rng.chance(700),
        from_ms,
        until_ms,
        console: rng.chance(700),
        vanishes: rng.chance(200).then(|| {
            let from = rng.between(0, length_ms);
            (from, from + rng.between(10_000, 600_000))
        }),
        habits: Habits {
            answers_pm: if careless { 400 } else { 880 },
            refuses_pm: 40,
            declines_pm: 30,
            unreachable_pm: 20,
            ends_wrap_up_pm: 400,
            goes_away_pm: 30,
        },
        node: rng.below(nodes),
    }
}

impl Plan {
    /// The plan of a seed. The same seed always gives the same plan.
    pub fn new(rng: &mut Rng, faults: bool) -> Self {
        let length_ms = rng.between(60_000, 900_000);
        let node_count = 1 + rng.below(2);
        let tenant_count = 1 + rng.below(2);
        let tenants: Vec<TenantPlan> = (0..tenant_count)
            .map(|t| TenantPlan {
                id: TenantId::from_u128((u128::from(rng.next()) << 64) | u128::from(rng.next())),
                did: format!("+8610555500{t:02}"),
                agents: (0..1 + rng.below(5)).map(|n| agent(rng, n, t, length_ms, node_count)).collect(),
            })
            .collect();
        let count = 1 + rng.below(20);
        let mut callers: Vec<CallerPlan> = (0..count)
            .map(|_| CallerPlan {
                at_ms: rng.between(0, length_ms),
                tenant: if rng.chance(20) { 99 } else { rng.below(tenant_count) },
                from: number(rng),
                node: rng.below(node_count),
                manner: manner(rng),
            })
            .collect();
        // Now and then everybody calls at once.
        if rng.chance(200) {
            let at = rng.between(0, length_ms);
            for caller in &mut callers {
                caller.at_ms = at + rng.between(0, 3_000);
            }
        }
        callers.sort_by_key(|c| c.at_ms);
        let nodes = (0..node_count)
            .map(|_| NodePlan {
                id: NodeId::from_u128((u128::from(rng.next()) << 64) | u128::from(rng.next())),
                skew_ms: if rng.chance(200) { rng.between(-2_000, 2_000) } else { 0 },
                crash_ms: (faults && rng.chance(350)).then(|| rng.between(0, length_ms)),
                restart_ms: rng.chance(700).then(|| rng.between(500, 120_000)),
            })
            .collect();
        let mut rate = |most: i64| if faults { rng.between(0, most) as u32 } else { 0 };
        let has_faults = faults;
        let faults = FaultPlan {
            conflict_pm: rate(60),
            before_pm: rate(20),
            after_pm: rate(20),
            duplicate_pm: rate(100),
            delay_pm: rate(100),
            stall_pm: rate(15),
            crash_pm: rate(3),
            lost_answer_pm: rate(60),
        };
        Self { tenants, callers, nodes, faults, has_faults, length_ms }
    }
}
