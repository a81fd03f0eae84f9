//! The routes.

use hotline_wire::api::Role::{Admin, Agent, Operator, Supervisor};
use std::sync::LazyLock;

use super::Access::{self, Public, Roles, SignedIn};
use super::{Body, Config, Op, Route};

/// Everybody who belongs to a tenant.
pub(super) const TENANT: Access = Roles(&[Agent, Supervisor, Admin]);
/// Who steers and who configures.
pub(super) const LEADS: Access = Roles(&[Supervisor, Admin]);
/// Who configures.
const ADMIN: Access = Roles(&[Admin]);
/// Who takes contacts.
const WORKERS: Access = Roles(&[Agent, Supervisor]);
/// Who runs the platform.
const PLATFORM: Access = Roles(&[Operator]);

const PAGING: [(&str, &str); 2] =
    [("cursor", "The `next` of the page before"), ("limit", "Items on the page, 1 to 100; 50 where absent")];
pub(super) const PAGED: &[(&str, &str)] = &PAGING;
const PERIOD: &[(&str, &str)] = &[
    ("from", "First moment, RFC 3339 or milliseconds since the epoch; a day ago where absent"),
    ("to", "Last moment, exclusive; now where absent"),
    ("interval", "Width of the intervals: 15m, 30m, 1h or 1d; 15m where absent"),
];

pub(super) const fn route(
    method: &'static str,
    path: &'static str,
    op: Op,
    access: Access,
    summary: &'static str,
    takes: Body,
    gives: (u16, Body),
) -> Route {
    Route { method, path, op, access, summary, query: &[], takes, gives }
}

impl Route {
    pub(super) const fn asks(mut self, query: &'static [(&'static str, &'static str)]) -> Self {
        self.query = query;
        self
    }
}

/// Routes of one kind of configuration.
macro_rules! config {
    ($kind:ident, $list:literal, $one:literal, $schema:literal, $what:literal) => {
        [
            route(
                "GET",
                $list,
                Op::ListConfig(Config::$kind),
                TENANT,
                concat!("Lists ", $what, "s."),
                Body::None,
                (200, Body::Versions($schema)),
            )
            .asks(PAGED),
            route(
                "GET",
                $one,
                Op::GetConfig(Config::$kind),
                TENANT,
                concat!("Reads a ", $what, "."),
                Body::None,
                (200, Body::Versioned($schema)),
            ),
            route(
                "PUT",
                $one,
                Op::PutConfig(Config::$kind),
                ADMIN,
                concat!("Creates or replaces a ", $what, "; `If-Match` or `If-None-Match: *` make it conditional."),
                Body::Json($schema),
                (200, Body::Versioned($schema)),
            ),
            route(
                "DELETE",
                $one,
                Op::DeleteConfig(Config::$kind),
                ADMIN,
                concat!("Removes a ", $what, "."),
                Body::None,
                (204, Body::None),
            ),
        ]
    };
}

/// Every route.
pub fn routes() -> &'static [Route] {
    static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(table);
    &ROUTES
}

fn table() -> Vec<Route> {
    use Body::{Json, None, Page, Svg, Versioned, Wav};
    let mut all = vec![
        route("GET", "/v1/health", Op::Health, Public, "Says that the API answers.", None, (200, Json("Health"))),
        route(
            "POST",
            "/v1/sign-in",
            Op::SignIn,
            Public,
            "Exchanges name and password for tokens.",
            Json("SignIn"),
            (200, Json("Session")),
        ),
        route(
            "POST",
            "/v1/sign-in/refresh",
            Op::RefreshSession,
            Public,
            "Exchanges a refresh token for a new token.",
            Json("RefreshSession"),
            (200, Json("Session")),
        ),
        route("GET", "/v1/me", Op::Me, SignedIn, "Says who is signed in.", None, (200, Json("Me"))),
        route(
            "POST",
            "/v1/tenants",
            Op::CreateTenant,
            PLATFORM,
            "Creates a tenant with its first administrator.",
            Json("NewTenant"),
            (201, Json("TenantCreated")),
        ),
        route("GET", "/v1/tenants", Op::ListTenants, PLATFORM, "Lists tenants.", None, (200, Page("TenantView")))
            .asks(PAGED),
        route("GET", "/v1/tenants/{slug}", Op::GetTenant, PLATFORM, "Reads a tenant.", None, (200, Json("TenantView"))),
        route(
            "PUT",
            "/v1/dids/{number}",
            Op::PutDid,
            PLATFORM,
            "Points a dialled number at a tenant's flow.",
            Json("DidTarget"),
            (200, Json("DidView")),
        ),
        route("DELETE", "/v1/dids/{number}", Op::DeleteDid, PLATFORM, "Takes a number away.", None, (204, None)),
        route(
            "GET",
            "/v1/dids",
            Op::ListDids,
            Roles(&[Operator, Supervisor, Admin]),
            "Lists numbers: all for operators, the tenant's own for others.",
            None,
            (200, Page("DidView")),
        )
        .asks(PAGED),
        route(
            "PUT",
            "/v1/dids/{number}/flow",
            Op::SetDidFlow,
            ADMIN,
            "Chooses the flow that answers one of the tenant's numbers.",
            Json("DidFlow"),
            (200, Json("DidView")),
        ),
        route(
            "POST",
            "/v1/users",
            Op::AddUser,
            ADMIN,
            "Adds a person; agents and supervisors get a phone account. Passwords are shown this once.",
            Json("NewUser"),
            (201, Json("UserCreated")),
        ),
        route("GET", "/v1/users", Op::ListUsers, LEADS, "Lists people.", None, (200, Page("UserView"))).asks(PAGED),
        route("GET", "/v1/users/{id}", Op::GetUser, LEADS, "Reads a person.", None, (200, Json("UserView"))),
        route(
            "PATCH",
            "/v1/users/{id}",
            Op::ChangeUser,
            ADMIN,
            "Changes a person.",
            Json("UserChanges"),
            (200, Json("UserView")),
        ),
        route(
            "POST",
            "/v1/users/{id}/sip-password",
            Op::RenewPhone,
            ADMIN,
            "Makes a new phone password, shown this once.",
            None,
            (200, Json("SipAccount")),
        ),
        route(
            "POST",
            "/v1/flows/check",
            Op::CheckFlow,
            LEADS,
            "Checks the text of a flow against the tenant's queues, calendars and prompts.",
            Json("FlowText"),
            (200, Json("FlowReport")),
        ),
        route("GET", "/v1/flows", Op::ListFlows, TENANT, "Lists flows.", None, (200, Page("FlowView"))).asks(PAGED),
        route(
            "GET",
            "/v1/flows/{name}",
            Op::GetFlow,
            TENANT,
            "Reads a flow: its current version with text.",
            None,
            (200, Json("FlowVersionView")),
        ),
        route(
            "POST",
            "/v1/flows/{name}/versions",
            Op::PublishFlow,
            ADMIN,
            "Publishes a flow as a new version: checks it, makes its speech, and lets new calls run it.",
            Json("FlowText"),
            (201, Json("FlowPublished")),
        ),
        route(
            "GET",
            "/v1/flows/{name}/versions",
            Op::ListFlowVersions,
            TENANT,
            "Lists a flow's versions.",
            None,
            (200, Page("FlowVersionSummary")),
        )
        .asks(PAGED),
        route(
            "GET",
            "/v1/flows/{name}/versions/{version}",
            Op::GetFlowVersion,
            TENANT,
            "Reads a version with its text.",
            None,
            (200, Json("FlowVersionView")),
        ),
        route(
            "POST",
            "/v1/flows/{name}/rollback",
            Op::RollBackFlow,
            ADMIN,
            "Lets new calls run an earlier version.",
            Json("FlowVersionRef"),
            (200, Json("FlowView")),
        ),
        route(
            "GET",
            "/v1/flows/{name}/diff",
            Op::DiffFlow,
            TENANT,
            "Compares two versions by meaning.",
            None,
            (200, Json("FlowDiff")),
        )
        .asks(&[
            ("from", "A version; the one before `to` where absent"),
            ("to", "A version; the current one where absent"),
        ]),
        route("GET", "/v1/flows/{name}/render", Op::RenderFlow, TENANT, "Draws a version.", None, (200, Svg))
            .asks(&[("version", "The current one where absent")]),
        route(
            "PUT",
            "/v1/prompts/{name}",
            Op::PutPrompt,
            ADMIN,
            "Uploads a prompt as WAV; it is converted to 8 kHz.",
            Wav,
            (200, Json("PromptView")),
        ),
        route(
            "GET",
            "/v1/prompts",
            Op::ListPrompts,
            TENANT,
            "Lists uploaded prompts.",
            None,
            (200, Page("PromptView")),
        )
        .asks(PAGED),
        route(
            "DELETE",
            "/v1/prompts/{name}",
            Op::DeletePrompt,
            ADMIN,
            "Removes an uploaded prompt; published versions keep it.",
            None,
            (204, None),
        ),
        route(
            "GET",
            "/v1/agents",
            Op::ListAgents,
            TENANT,
            "Lists agents and what they do.",
            None,
            (200, Page("AgentView")),
        )
        .asks(PAGED),
        route("GET", "/v1/agents/me", Op::MyAgent, WORKERS, "Reads one's own agent.", None, (200, Json("AgentState"))),
        route(
            "PUT",
            "/v1/agents/me/state",
            Op::SetMyState,
            WORKERS,
            "Asks for a state; during a call it takes effect at its end.",
            Json("StateRequest"),
            (200, Json("AgentState")),
        ),
        route(
            "POST",
            "/v1/agents/me/heartbeat",
            Op::BeatMyHeart,
            WORKERS,
            "Renews presence; send it every 20 s while a console is open.",
            Json("Heartbeat"),
            (200, Json("AgentState")),
        ),
        route(
            "POST",
            "/v1/agents/me/wrap-up",
            Op::MyWrapUp,
            WORKERS,
            "Ends or lengthens wrap-up.",
            Json("WrapUpRequest"),
            (200, Json("AgentState")),
        ),
        route(
            "POST",
            "/v1/agents/me/decline",
            Op::DeclineMyOffer,
            WORKERS,
            "Declines an offer.",
            Json("OfferRef"),
            (200, Json("AgentState")),
        ),
        route(
            "PUT",
            "/v1/agents/{id}/state",
            Op::SetAgentState,
            LEADS,
            "Asks for a state on an agent's behalf.",
            Json("StateRequest"),
            (200, Json("AgentState")),
        ),
        route(
            "GET",
            "/v1/queue-states",
            Op::ListQueueStates,
            TENANT,
            "Lists queues with who waits and who serves them.",
            None,
            (200, Page("QueueState")),
        )
        .asks(PAGED),
        route(
            "GET",
            "/v1/contacts",
            Op::ListContacts,
            LEADS,
            "Lists contacts, newest first.",
            None,
            (200, Page("ContactView")),
        )
        .asks(&[PAGING[0], PAGING[1], ("party", "Only those of this caller's number")]),
        route(
            "GET",
            "/v1/contacts/{id}",
            Op::GetContact,
            TENANT,
            "Reads a contact.",
            None,
            (200, Json("ContactDetail")),
        ),
        route(
            "GET",
            "/v1/contacts/{id}/trace",
            Op::TraceContact,
            TENANT,
            "Tells a contact's journey: every fact with its time.",
            None,
            (200, Json("Trace")),
        ),
        route(
            "GET",
            "/v1/contacts/{id}/why",
            Op::WhyContact,
            LEADS,
            "Explains the routing decisions about a contact.",
            None,
            (200, Json("Why")),
        ),
        route(
            "POST",
            "/v1/contacts/{id}/end",
            Op::EndContact,
            LEADS,
            "Ends a contact.",
            None,
            (202, Json("ContactDetail")),
        ),
        route(
            "POST",
            "/v1/contacts/{id}/actions",
            Op::ActOnContact,
            TENANT,
            "Does something with a call: transfer, advice, conference, hold, supervision; takes, gives or moves one that waits.",
            Json("ContactAction"),
            (200, Json("ContactDetail")),
        ),
        route(
            "POST",
            "/v1/callbacks",
            Op::RequestCallback,
            TENANT,
            "Asks for somebody to be called back by a queue.",
            Json("CallbackRequest"),
            (202, Json("ContactDetail")),
        ),
        route(
            "GET",
            "/v1/contacts/{id}/recordings",
            Op::ListContactRecordings,
            TENANT,
            "Lists a contact's recordings.",
            None,
            (200, Page("RecordingView")),
        ),
        route(
            "GET",
            "/v1/recordings",
            Op::ListRecordings,
            LEADS,
            "Lists recordings of the newest contacts; a page looks at `limit` contacts, whatever they hold.",
            None,
            (200, Page("RecordingView")),
        )
        .asks(PAGED),
        route(
            "POST",
            "/v1/contacts/{id}/recordings/{recording}/link",
            Op::LinkRecording,
            LEADS,
            "Makes a short-lived link to a recording; who asked is kept as a fact.",
            None,
            (200, Json("RecordingLink")),
        ),
        route(
            "POST",
            "/v1/tickets",
            Op::CreateTicket,
            TENANT,
            "Opens a ticket.",
            Json("NewTicket"),
            (201, Versioned("Ticket")),
        ),
        route(
            "GET",
            "/v1/tickets",
            Op::ListTickets,
            TENANT,
            "Lists tickets: newest first, or by deadline where filtered by status, priority, owner or queue.",
            None,
            (200, Page("TicketView")),
        )
        .asks(&[
            PAGING[0],
            PAGING[1],
            ("status", "Only those with this status"),
            ("priority", "Only live ones with this priority"),
            ("owner", "Only live ones of this agent; `me`"),
            ("queue", "Only live ones of this queue"),
            ("requester", "Only those of this number"),
            ("contact", "Only those about this contact"),
        ]),
        route("GET", "/v1/tickets/{id}", Op::GetTicket, TENANT, "Reads a ticket.", None, (200, Versioned("Ticket"))),
        route(
            "POST",
            "/v1/tickets/{id}/actions",
            Op::ActOnTicket,
            TENANT,
            "Does something to a ticket; `If-Match` makes it conditional.",
            Json("TicketAction"),
            (200, Versioned("Ticket")),
        ),
        route(
            "GET",
            "/v1/tickets/{id}/explain",
            Op::ExplainTicket,
            TENANT,
            "Explains how the ticket's deadlines came about.",
            None,
            (200, Json("DeadlineExplanations")),
        )
        .asks(&[("lang", "zh or en; zh where absent")]),
        route(
            "GET",
            "/v1/tickets/{id}/history",
            Op::TicketHistory,
            TENANT,
            "Tells what happened to a ticket: every fact with its time.",
            None,
            (200, Json("Trace")),
        ),
        route(
            "GET",
            "/v1/reports/summary",
            Op::Summary,
            LEADS,
            "Calls, service level, waits and handle times by queue and interval, and tickets.",
            None,
            (200, Json("SummaryReport")),
        )
        .asks(PERIOD),
        route(
            "GET",
            "/v1/reports/agents",
            Op::AgentReport,
            LEADS,
            "Figures of each agent.",
            None,
            (200, Json("AgentReport")),
        )
        .asks(PERIOD),
        route(
            "POST",
            "/v1/ws-tickets",
            Op::CreateWsTicket,
            TENANT,
            "Makes a ticket with which a console connects to the WebSocket once, within a minute.",
            None,
            (201, Json("WsTicket")),
        ),
    ];
    all.extend(super::decisions::routes());
    all.extend(super::settings::routes());
    all.extend(config!(Queue, "/v1/queues", "/v1/queues/{name}", "Queue", "queue"));
    all.extend(config!(Skill, "/v1/skills", "/v1/skills/{name}", "Skill", "skill"));
    all.extend(config!(Calendar, "/v1/calendars", "/v1/calendars/{name}", "Calendar", "calendar"));
    all.extend(config!(Policy, "/v1/policies", "/v1/policies/{name}", "Policy", "policy"));
    all.extend(config!(VipList, "/v1/vip-lists", "/v1/vip-lists/{name}", "VipList", "VIP list"));
    all
}
