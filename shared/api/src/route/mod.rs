//! The table of routes: what exists, who may, what it takes and gives. Dispatch, the OpenAPI
//! document and the authorisation matrix all come from it.

mod decisions;
mod settings;
mod table;

pub use table::routes;

use hotline_wire::api::Role;
use std::collections::BTreeMap;

/// Who may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, without a token.
    Public,
    /// Everybody with a token.
    SignedIn,
    /// These roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Whether a role may.
    pub fn allows(self, role: Role) -> bool {
        match self {
            Access::Public | Access::SignedIn => true,
            Access::Roles(roles) => roles.contains(&role),
        }
    }
}

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// JSON of the named schema.
    Json(&'static str),
    /// A page of items of the named schema.
    Page(&'static str),
    /// A versioned document of the named schema.
    Versioned(&'static str),
    /// A page of versioned documents of the named schema.
    Versions(&'static str),
    /// A WAV file.
    Wav,
    /// A drawing.
    Svg,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// Upper-case.
    pub method: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    /// What it does.
    pub op: Op,
    /// Who may.
    pub access: Access,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Query parameters: name and meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// What it takes.
    pub takes: Body,
    /// Status and content of its success.
    pub gives: (u16, Body),
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Op {
    Health,
    SignIn,
    RefreshSession,
    Me,
    CreateTenant,
    ListTenants,
    GetTenant,
    PutDid,
    ListDids,
    DeleteDid,
    SetDidFlow,
    AddUser,
    ListUsers,
    GetUser,
    ChangeUser,
    RenewPhone,
    PutConfig(Config),
    GetConfig(Config),
    ListConfig(Config),
    DeleteConfig(Config),
    CheckFlow,
    PublishFlow,
    ListFlows,
    GetFlow,
    ListFlowVersions,
    GetFlowVersion,
    RollBackFlow,
    DiffFlow,
    RenderFlow,
    PutPrompt,
    ListPrompts,
    DeletePrompt,
    ListAgents,
    MyAgent,
    SetMyState,
    BeatMyHeart,
    MyWrapUp,
    DeclineMyOffer,
    SetAgentState,
    ListQueueStates,
    ListAlarms,
    ListContacts,
    GetContact,
    TraceContact,
    EndContact,
    ActOnContact,
    RequestCallback,
    WhyContact,
    ReplayContact,
    WhatIf,
    ListContactRecordings,
    ListRecordings,
    LinkRecording,
    CreateTicket,
    ListTickets,
    GetTicket,
    ActOnTicket,
    ExplainTicket,
    TicketHistory,
    Summary,
    AgentReport,
    CreateWsTicket,
    GetSettings,
    PutSettings,
    ListFloods,
}

/// Kinds of documents that tenants configure by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Config {
    Queue,
    Skill,
    Calendar,
    Policy,
    VipList,
}

/// What a path leads to.
#[derive(Debug)]
pub enum Found {
    /// A route, with its decoded parameters.
    Route(Route, BTreeMap<&'static str, String>),
    /// The path exists with these methods.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Finds the route of a request. A literal segment goes before a parameter.
pub fn find(method: &str, path: &str) -> Found {
    let mut best: Option<(usize, Route, BTreeMap<&'static str, String>)> = None;
    let mut others = Vec::new();
    for route in routes() {
        let Some(params) = matches(route.path, path) else { continue };
        if route.method != method {
            others.push(route.method);
        } else if best.as_ref().is_none_or(|(count, ..)| params.len() < *count) {
            best = Some((params.len(), *route, params));
        }
    }
    match best {
        Some((_, route, params)) => Found::Route(route, params),
        None if others.is_empty() => Found::Nothing,
        None => Found::OtherMethods(others),
    }
}

fn matches(pattern: &'static str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut params = BTreeMap::new();
    let mut given = path.split('/');
    for part in pattern.split('/') {
        let segment = given.next()?;
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => {
                let value = decode(segment)?;
                if value.is_empty() || value.len() > 200 {
                    return None;
                }
                params.insert(name, value);
            }
            None if part == segment => {}
            None => return None,
        }
    }
    given.next().is_none().then_some(params)
}

/// Percent-decoding (RFC 3986 §2.1); `None` for a bad escape or no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |b: u8| char::from(b).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push((high * 16 + low) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_route_is_unique_and_found_by_itself() {
        let mut seen = BTreeSet::new();
        for route in routes() {
            assert!(seen.insert((route.method, route.path)), "{} {} twice", route.method, route.path);
            let path = route.path.replace(['{', '}'], "");
            match find(route.method, &path) {
                Found::Route(found, _) => assert_eq!(found.op, route.op, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
    }

    #[test]
    fn parameters_are_decoded_and_odd_paths_lead_nowhere() {
        match find("PUT", "/v1/dids/%2B8610") {
            Found::Route(route, params) => assert_eq!((route.op, params["number"].as_str()), (Op::PutDid, "+8610")),
            other => panic!("{other:?}"),
        }
        assert!(matches!(find("GET", "/v1/agents/me"), Found::Route(r, _) if r.op == Op::MyAgent));
        assert!(matches!(find("POST", "/v1/queues/a"), Found::OtherMethods(m) if m == ["GET", "PUT", "DELETE"]));
        for odd in ["", "/", "/v1", "/v1/queues/%zz", "/v1/queues/%ff", "/v1/queues//", "/v1/tickets/a/b/c"] {
            assert!(matches!(find("GET", odd), Found::Nothing), "{odd}");
        }
    }
}
