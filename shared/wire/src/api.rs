//! The HTTP API: roles, and the bodies of requests and responses that are not domain documents.

use hotline_base::{AgentId, Name, Redacted, TenantId, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a person may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Takes contacts, works on tickets.
    Agent,
    /// Sees and steers a tenant's floor.
    Supervisor,
    /// Configures a tenant.
    Admin,
    /// Runs the platform: tenants, numbers. Sees no tenant's content.
    Operator,
}

impl Role {
    /// All of them, from least to most.
    pub const ALL: [Role; 4] = [Role::Agent, Role::Supervisor, Role::Admin, Role::Operator];

    /// As in tokens and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Supervisor => "supervisor",
            Role::Admin => "admin",
            Role::Operator => "operator",
        }
    }
}

/// Name and password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// An e-mail address.
    #[schema(value_type = String)]
    pub name: Redacted<String>,
    /// The password.
    #[schema(value_type = String)]
    pub password: Redacted<String>,
}

/// A refresh token.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshSession {
    /// As given at sign-in.
    #[schema(value_type = String)]
    pub refresh_token: Redacted<String>,
}

/// What a sign-in gives.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Sent as `Authorization: Bearer …`.
    #[schema(value_type = String)]
    pub id_token: Redacted<String>,
    /// For `POST /v1/sign-in/refresh`; absent from a refresh.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<Redacted<String>>,
    /// Seconds until the token is no longer good.
    pub expires_in_s: u32,
}

/// Who is signed in.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The person.
    #[schema(value_type = String)]
    pub user: UserId,
    /// The tenant.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// What they may do.
    pub role: Role,
    /// The agent that this person is; nobody else's.
    #[schema(value_type = String)]
    pub agent: AgentId,
}

/// A tenant to create, with its first administrator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// Short and unique: part of SIP user names.
    pub slug: String,
    /// What it calls itself.
    pub display_name: String,
    /// Its first administrator.
    pub admin: NewAdmin,
}

/// A tenant's first administrator.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAdmin {
    /// An e-mail address.
    #[schema(value_type = String)]
    pub name: Redacted<String>,
    /// Shown to colleagues.
    #[schema(value_type = String)]
    pub display_name: Redacted<String>,
    /// At least 10 characters with upper case, lower case and a digit; made and returned where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<Redacted<String>>,
}

/// A created tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantCreated {
    /// The tenant.
    pub tenant: TenantView,
    /// Its first administrator.
    pub admin: UserCreated,
}

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TenantView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: TenantId,
    /// Short and unique.
    #[schema(value_type = String)]
    pub slug: Name,
    /// What it calls itself.
    pub display_name: String,
    /// Milliseconds since the epoch.
    pub created_at: i64,
}

/// Where a dialled number leads.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DidTarget {
    /// The tenant's slug.
    pub tenant: String,
    /// The flow that answers; it may be published later.
    pub flow: String,
}

/// A number's flow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DidFlow {
    /// The flow that answers.
    pub flow: String,
}

/// A dialled number.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DidView {
    /// The number, E.164.
    pub number: String,
    /// Whose calls.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// The flow that answers.
    #[schema(value_type = String)]
    pub flow: Name,
}

/// A person to add.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// An e-mail address: the sign-in name.
    #[schema(value_type = String)]
    pub name: Redacted<String>,
    /// Shown to colleagues.
    #[schema(value_type = String)]
    pub display_name: Redacted<String>,
    /// `agent`, `supervisor` or `admin`.
    pub role: Role,
    /// At least 10 characters with upper case, lower case and a digit; made and returned where absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub password: Option<Redacted<String>>,
    /// The first part of the phone's user name; made of the e-mail address where absent. Agents
    /// and supervisors get a phone account.
    #[serde(default)]
    pub sip_name: Option<String>,
    /// Skill and level, 1 to 10; languages are `lang-zh` and `lang-en`.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u8>)]
    pub skills: BTreeMap<Name, u8>,
    /// Queue and preference; lower first.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u8>)]
    pub queues: BTreeMap<Name, u8>,
    /// Groups that a flow can ring as one.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub groups: Vec<Name>,
}

/// What may be changed of a person; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChanges {
    /// Shown to colleagues.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub display_name: Option<Redacted<String>>,
    /// `false` ends the access for good.
    #[serde(default)]
    pub active: Option<bool>,
    /// All skills and levels.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, u8>>)]
    pub skills: Option<BTreeMap<Name, u8>>,
    /// All queues and preferences.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, u8>>)]
    pub queues: Option<BTreeMap<Name, u8>>,
    /// All groups.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Vec<Name>>,
}

/// A person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: UserId,
    /// The agent's id.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// The sign-in name.
    #[schema(value_type = String)]
    pub name: Redacted<String>,
    /// Shown to colleagues.
    #[schema(value_type = String)]
    pub display_name: Redacted<String>,
    /// What they may do.
    pub role: Role,
    /// Whether they may sign in.
    pub active: bool,
    /// The phone's user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_user: Option<String>,
    /// Changes with each change.
    pub version: u64,
}

/// An added person. The secrets are shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserCreated {
    /// The person.
    pub user: UserView,
    /// The made password; absent where one was given, or the answer is a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password: Option<Redacted<String>>,
    /// The phone account; absent for administrators, and in a replay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipAccount>,
}

/// A phone's account. The password is shown this once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SipAccount {
    /// The user name, `<name>.<tenant slug>`.
    pub user: String,
    /// The password.
    #[schema(value_type = String)]
    pub password: Redacted<String>,
    /// The digest realm.
    pub realm: String,
}

/// A state asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum StateRequest {
    /// Free for offers.
    Available,
    /// Signed in, not working on contacts.
    Away {
        /// Why: a word such as `lunch`.
        #[schema(value_type = String)]
        reason: Name,
    },
    /// In reserve.
    Standby,
    /// Signed out.
    Offline,
}

/// A sign of life of a console.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Names the browser tab, at most 64 characters.
    pub console: String,
    /// Whether its microphone can be used; left out where the agent has a telephone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microphone: Option<bool>,
}

/// What to do with wrap-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum WrapUpRequest {
    /// Ends it now.
    End,
    /// Lengthens it.
    Extend {
        /// By how much, milliseconds.
        by_ms: u32,
    },
}

/// Which offer to decline.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OfferRef {
    /// The offer's id.
    #[schema(value_type = String)]
    pub offer: hotline_base::OfferId,
}

/// The text of a flow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowText {
    /// YAML.
    pub text: String,
}

/// A version of a flow.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowVersionRef {
    /// Counts up from 1 with each publication.
    pub version: u32,
}

/// A one-time ticket for the WebSocket.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WsTicket {
    /// Connect to `wss://…?ticket=` with it.
    #[schema(value_type = String)]
    pub ticket: Redacted<String>,
    /// When it is no longer good, milliseconds since the epoch.
    pub expires_at: i64,
}

/// A link that plays a recording.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordingLink {
    /// A WAV file: caller left, agent right.
    #[schema(value_type = String)]
    pub url: Redacted<String>,
    /// When it is no longer good, milliseconds since the epoch.
    pub expires_at: i64,
}

/// Whereto a caller goes, or whose advice is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CallTarget {
    /// Whoever serves this queue.
    #[schema(value_type = String)]
    Queue(Name),
    /// This agent.
    #[schema(value_type = String)]
    Agent(AgentId),
    /// This number outside, in international form; transfers only.
    #[schema(value_type = String)]
    Number(Redacted<String>),
    /// The queue of the next line of support.
    NextTier,
}

/// How somebody supervises a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuperviseHow {
    /// Hears everybody, is heard by nobody.
    Listen,
    /// Is heard by the agent only.
    Whisper,
    /// Is heard by everybody.
    Barge,
}

/// What somebody does with a call under way or waiting. Agents act on their own calls and take
/// contacts of their queues; `supervise`, `remove`, `assign`, `move` and `take_back` are for
/// supervisors and administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum ContactAction {
    /// Gives the caller to somebody else at once.
    Transfer {
        /// Whereto.
        to: CallTarget,
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
    /// Asks a colleague; the caller hears music meanwhile.
    Consult {
        /// Whom.
        to: CallTarget,
    },
    /// The colleague takes the caller over.
    Complete {
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
    /// The colleague leaves; the caller is back.
    CancelConsult,
    /// Caller, agent and colleague talk together.
    Conference,
    /// The caller hears music.
    Hold,
    /// The caller is back.
    Resume,
    /// Stops recording for a while.
    PauseRecording,
    /// Records on.
    ResumeRecording,
    /// Leaves somebody else's call: a colleague who was asked, a supervisor.
    Leave,
    /// Takes a waiting contact out of turn.
    Pull {
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
    /// Listens in, whispers or barges in; changes the manner.
    Supervise {
        /// How.
        mode: SuperviseHow,
    },
    /// Takes a colleague or supervisor off the call.
    Remove {
        /// Whom.
        #[schema(value_type = String)]
        agent: AgentId,
    },
    /// Gives a waiting contact to an agent out of turn.
    Assign {
        /// To whom.
        #[schema(value_type = String)]
        agent: AgentId,
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
    /// Moves a waiting contact to another queue; its place is kept.
    Move {
        /// Which.
        #[schema(value_type = String)]
        queue: Name,
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
    /// Takes an offer back; this agent is not asked again.
    TakeBack {
        /// Why; at most 500 characters.
        #[serde(default)]
        #[schema(value_type = String)]
        reason: Redacted<String>,
    },
}

/// Asks for somebody to be called back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// Whom, in international form.
    #[schema(value_type = String)]
    pub number: Redacted<String>,
    /// The person's name, at most 80 characters.
    #[serde(default)]
    #[schema(value_type = String)]
    pub name: Redacted<String>,
    /// Which queue calls.
    #[schema(value_type = String)]
    pub queue: Name,
    /// The number of yours that is shown.
    pub did: String,
}
