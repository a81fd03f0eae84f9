//! A free agent as a queue sees it: one index row per queue served.

use hotline_base::{AgentId, IndexRow, Timestamp};
use serde::{Deserialize, Serialize};

use crate::queue::Selection;
use crate::skill::Skills;

/// A free agent; the body of a row in `available/<queue>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AvailableAgent {
    /// Which agent.
    #[serde(rename = "a")]
    pub agent: AgentId,
    /// Skills and levels.
    #[serde(rename = "s", default, skip_serializing_if = "Skills::is_empty")]
    pub skills: Skills,
    /// Waiting for work since.
    #[serde(rename = "i")]
    pub idle_since: Timestamp,
    /// Occupied per 1,000 of staffed time, as of becoming free.
    #[serde(rename = "o", default)]
    pub occupancy_pm: u16,
}

impl AvailableAgent {
    /// The row's sort key: the best agent by the queue's selection comes first, then by id.
    pub fn sort(&self, selection: Selection) -> String {
        let idle = self.idle_since.as_millis().max(0);
        match selection {
            Selection::LongestIdle => format!("{idle:015}/{}", self.agent),
            Selection::LowestOccupancy => {
                format!("{:04}/{idle:015}/{}", self.occupancy_pm, self.agent)
            }
        }
    }

    /// The agent of a row.
    pub fn from_row(row: &IndexRow) -> Result<Self, serde_json::Error> {
        serde_json::from_str(&row.body)
    }
}
