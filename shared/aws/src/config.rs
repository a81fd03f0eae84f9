//! The names of the deployed resources, as the template hands them over in the environment.

use std::collections::BTreeMap;

/// Which speech engine a function uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Amazon Polly.
    Polly,
    /// `espeak-ng` as a process on the same machine.
    Espeak,
}

/// What the functions need to know of their surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Entities and index rows.
    pub state_table: String,
    /// History.
    pub facts_table: String,
    /// Armed timers by minute.
    pub timers_table: String,
    /// Effects to dispatch.
    pub outbox_table: String,
    /// Names of the recordings and prompts buckets.
    pub buckets: Buckets,
    /// URL of the timers queue.
    pub timers_queue: String,
    /// URL of the work queue.
    pub work_queue: String,
    /// A node's queue is called this and its id.
    pub node_queue_prefix: String,
    /// Cognito user pool.
    pub user_pool: String,
    /// Its app client.
    pub user_pool_client: String,
    /// Base of the WebSocket management API, stage included.
    pub websocket_endpoint: String,
    /// Speech.
    pub engine: Engine,
    /// Functions that flows may call are called this and a name.
    pub hook_prefix: String,
}

/// The two buckets' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// Call recordings.
    pub recordings: String,
    /// Prompts and flow versions.
    pub prompts: String,
}

/// What a media node needs to know of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The function that decides about calls.
    pub ivr_function: String,
    /// The function that knows SIP users and nodes.
    pub directory_function: String,
    /// A node's queue is called this and its id.
    pub node_queue_prefix: String,
    /// Where recordings go and prompts come from.
    pub buckets: Buckets,
}

/// The environment lacks something or holds something unreadable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("environment: {}; the stack's outputs hold the values", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// Reads variables and remembers everything that is wrong, so that one run shows it all.
struct Reader<'a> {
    vars: &'a BTreeMap<String, String>,
    wrong: Vec<String>,
}

impl Reader<'_> {
    fn text(&mut self, name: &str) -> String {
        match self.vars.get(name).map(|v| v.trim()) {
            Some(value) if !value.is_empty() => value.into(),
            _ => {
                self.wrong.push(format!("{name} is not set"));
                String::new()
            }
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { recordings: self.text("HOTLINE_BUCKET_RECORDINGS"), prompts: self.text("HOTLINE_BUCKET_PROMPTS") }
    }

    fn done<T>(self, value: T) -> Result<T, ConfigError> {
        if self.wrong.is_empty() { Ok(value) } else { Err(ConfigError(self.wrong)) }
    }
}

impl Config {
    /// Reads the `HOTLINE_*` variables of this process; names all that are missing at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(&std::env::vars().collect())
    }

    /// The same from a given map.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut read = Reader { vars, wrong: Vec::new() };
        let engine = match read.text("HOTLINE_TTS_ENGINE").as_str() {
            "polly" => Engine::Polly,
            "espeak" | "" => Engine::Espeak,
            other => {
                read.wrong.push(format!("HOTLINE_TTS_ENGINE is {other:?}: write polly or espeak"));
                Engine::Espeak
            }
        };
        let config = Self {
            state_table: read.text("HOTLINE_TABLE_STATE"),
            facts_table: read.text("HOTLINE_TABLE_FACTS"),
            timers_table: read.text("HOTLINE_TABLE_TIMERS"),
            outbox_table: read.text("HOTLINE_TABLE_OUTBOX"),
            buckets: read.buckets(),
            timers_queue: read.text("HOTLINE_QUEUE_TIMERS"),
            work_queue: read.text("HOTLINE_QUEUE_WORK"),
            node_queue_prefix: read.text("HOTLINE_NODE_QUEUE_PREFIX"),
            user_pool: read.text("HOTLINE_USER_POOL"),
            user_pool_client: read.text("HOTLINE_USER_POOL_CLIENT"),
            websocket_endpoint: read.text("HOTLINE_WEBSOCKET_ENDPOINT"),
            engine,
            hook_prefix: read.text("HOTLINE_HOOK_PREFIX"),
        };
        read.done(config)
    }
}

impl NodeConfig {
    /// Reads the `HOTLINE_*` variables of this process; names all that are missing at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(&std::env::vars().collect())
    }

    /// The same from a given map.
    pub fn from_vars(vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let mut read = Reader { vars, wrong: Vec::new() };
        let config = Self {
            ivr_function: read.text("HOTLINE_FUNCTION_IVR"),
            directory_function: read.text("HOTLINE_FUNCTION_DIRECTORY"),
            node_queue_prefix: read.text("HOTLINE_NODE_QUEUE_PREFIX"),
            buckets: read.buckets(),
        };
        read.done(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_missing_is_named_at_once() {
        let vars = BTreeMap::from([
            ("HOTLINE_FUNCTION_IVR".to_string(), "hotline-ivr".to_string()),
            ("HOTLINE_BUCKET_PROMPTS".to_string(), " ".to_string()),
        ]);
        let error = NodeConfig::from_vars(&vars).unwrap_err();
        assert_eq!(
            error.0,
            [
                "HOTLINE_FUNCTION_DIRECTORY is not set",
                "HOTLINE_NODE_QUEUE_PREFIX is not set",
                "HOTLINE_BUCKET_RECORDINGS is not set",
                "HOTLINE_BUCKET_PROMPTS is not set",
            ]
        );
        assert_eq!(Config::from_vars(&BTreeMap::new()).unwrap_err().0.len(), 14);
    }
}
