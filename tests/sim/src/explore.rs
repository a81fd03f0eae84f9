//! Every interleaving of a small world over the pure cores: offers, answers, refusals, hang-ups,
//! leases that lapse, timers that come late, effects that come twice or late, matchers that die
//! between their look and their claim, and a node that loses its calls.
//!
//! A world is a state; each thing that could happen next is an edge; states that were seen before
//! are not entered again. What only counts (commands, scripts, conversations so far) and which fresh
//! id an offer has make no difference between states. What must hold is checked in every state, and what must hold once nothing
//! is under way any more is checked where only timers are left.

mod check;
mod held;
mod people;
mod world;

use std::collections::{HashSet, VecDeque};

use world::World;

/// How large the world is, and how often the rare things may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    /// Calls that come.
    pub contacts: usize,
    /// Agents who become available.
    pub agents: usize,
    /// Calls whose caller hangs up at any moment.
    pub hang_ups: u8,
    /// Refusals: on the phone, on the console, or by letting it ring.
    pub refusals: u8,
    /// Agents whose phone and console fall silent.
    pub lapses: u8,
    /// Effects that are carried out and stay for another time.
    pub repeats: u8,
    /// Matchers that die between look and claim.
    pub deaths: u8,
    /// Nodes that lose all calls.
    pub crashes: u8,
    /// Times that the clock goes to the next deadline.
    pub advances: u8,
    /// States at most; beyond it the exploration is not complete.
    pub max_states: usize,
}

impl Size {
    /// One call and one agent, with everything that can go wrong once.
    pub fn smallest() -> Self {
        Self {
            contacts: 1,
            agents: 1,
            hang_ups: 1,
            refusals: 1,
            lapses: 1,
            repeats: 1,
            deaths: 1,
            crashes: 1,
            advances: 3,
            max_states: 400_000,
        }
    }

    /// Two calls want one agent.
    pub fn two_calls() -> Self {
        Self { contacts: 2, refusals: 0, lapses: 0, crashes: 0, advances: 1, ..Self::smallest() }
    }

    /// Two agents and one call.
    pub fn two_agents() -> Self {
        Self { agents: 2, repeats: 0, lapses: 0, crashes: 0, advances: 1, ..Self::smallest() }
    }

    /// Two of each: claims cross, a matcher dies, a caller hangs up. Small enough to be explored whole.
    pub fn two_of_each() -> Self {
        Self {
            contacts: 2,
            agents: 2,
            hang_ups: 1,
            refusals: 0,
            lapses: 0,
            repeats: 0,
            deaths: 1,
            crashes: 0,
            advances: 0,
            max_states: 1_000_000,
        }
    }

    /// Two of each, and an effect is carried out twice or late. Small enough to be explored whole.
    pub fn two_of_each_twice() -> Self {
        Self { hang_ups: 0, repeats: 1, ..Self::two_of_each() }
    }

    /// Two of each, and one agent's phone and console fall silent at any moment. Small enough to be
    /// explored whole.
    pub fn two_of_each_lapsing() -> Self {
        Self { hang_ups: 0, deaths: 0, lapses: 1, ..Self::two_of_each() }
    }

    /// The worlds of a full exploration, with their names.
    pub fn all() -> [(&'static str, Size); 6] {
        [
            ("one call, one agent", Self::smallest()),
            ("two calls, one agent", Self::two_calls()),
            ("one call, two agents", Self::two_agents()),
            ("two calls, two agents", Self::two_of_each()),
            ("the same with repeats", Self::two_of_each_twice()),
            ("the same with a lapse", Self::two_of_each_lapsing()),
        ]
    }
}

/// What is wrong with the machines on purpose, to see that the exploration notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    /// Nothing.
    #[default]
    None,
    /// A claim steps the contact although the agent refused.
    OneSidedClaim,
    /// An agent who becomes free looks before the availability is written.
    LooksTooEarly,
}

/// What an exploration came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Edges followed.
    pub edges: usize,
    /// Steps from the beginning to the farthest state that was gone on from.
    pub depth: usize,
    /// Of the states, those in which nothing but timers was left.
    pub quiet: usize,
    /// Every state was seen; otherwise the bound on states was reached.
    pub complete: bool,
    /// What did not hold, with the way that leads there.
    pub violation: Option<(String, Vec<String>)>,
}

/// Explores a world of this size, nearest states first, so that what is found wrong comes with a
/// shortest way to it.
pub fn explore(size: Size, flaw: Flaw) -> Explored {
    let first = World::new(size, flaw);
    let mut seen: HashSet<u128> = HashSet::from([first.hash()]);
    let mut told = Explored { states: 1, edges: 0, depth: 0, quiet: 0, complete: true, violation: None };
    // Each state by its number: where it was come from, and by what.
    let mut ways: Vec<(usize, String)> = vec![(0, String::new())];
    let mut next = VecDeque::from([(0, 0, first)]);
    while let Some((number, depth, world)) = next.pop_front() {
        told.depth = depth;
        for action in world.actions() {
            told.edges += 1;
            let mut after = world.clone();
            let wrong = after.act(&action).err();
            let wrong = wrong.or_else(|| if after.is_quiet() { check::quiet(&after).err() } else { None });
            if let Some(wrong) = wrong {
                let mut way = vec![format!("{action:?}")];
                let mut at = number;
                while let Some((from, label)) = ways.get(at).filter(|_| at > 0) {
                    way.push(label.clone());
                    at = *from;
                }
                way.reverse();
                told.violation = Some((wrong, way));
                return told;
            }
            if !seen.insert(after.hash()) {
                continue;
            }
            told.states += 1;
            told.quiet += usize::from(after.is_quiet());
            if told.states >= size.max_states {
                told.complete = false;
                return told;
            }
            ways.push((number, format!("{action:?}")));
            next.push_back((ways.len() - 1, depth + 1, after));
        }
    }
    told
}
