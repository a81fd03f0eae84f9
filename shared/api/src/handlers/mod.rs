//! What each route does.

mod accounts;
mod agents;
mod configs;
mod contacts;
mod decisions;
mod floor;
mod flows;
mod prompts;
mod reports;
mod session;
mod settings;
mod tickets;
mod trace;
pub(crate) mod wav;

use crate::call::Call;
use crate::reply::{Failure, Reply};
use crate::route::Op;

/// Carries out a route's operation.
pub async fn dispatch(call: &Call<'_>, op: Op) -> Result<Reply, Failure> {
    match op {
        Op::Health => session::health(),
        Op::SignIn => session::sign_in(call).await,
        Op::RefreshSession => session::refresh(call).await,
        Op::Me => session::me(call),
        Op::CreateWsTicket => session::ws_ticket(call).await,
        Op::CreateTenant => accounts::create_tenant(call).await,
        Op::ListTenants => accounts::list_tenants(call).await,
        Op::GetTenant => accounts::get_tenant(call).await,
        Op::PutDid => accounts::put_did(call).await,
        Op::ListDids => accounts::list_dids(call).await,
        Op::DeleteDid => accounts::delete_did(call).await,
        Op::SetDidFlow => accounts::set_did_flow(call).await,
        Op::AddUser => accounts::add_user(call).await,
        Op::ListUsers => accounts::list_users(call).await,
        Op::GetUser => accounts::get_user(call).await,
        Op::ChangeUser => accounts::change_user(call).await,
        Op::RenewPhone => accounts::renew_phone(call).await,
        Op::PutConfig(kind) => configs::put(call, kind).await,
        Op::GetConfig(kind) => configs::get(call, kind).await,
        Op::ListConfig(kind) => configs::list(call, kind).await,
        Op::DeleteConfig(kind) => configs::delete(call, kind).await,
        Op::CheckFlow => flows::check(call).await,
        Op::PublishFlow => flows::publish(call).await,
        Op::ListFlows => flows::list(call).await,
        Op::GetFlow => flows::get(call).await,
        Op::ListFlowVersions => flows::versions(call).await,
        Op::GetFlowVersion => flows::version(call).await,
        Op::RollBackFlow => flows::roll_back(call).await,
        Op::DiffFlow => flows::diff(call).await,
        Op::RenderFlow => flows::render(call).await,
        Op::PutPrompt => prompts::put(call).await,
        Op::ListPrompts => prompts::list(call).await,
        Op::DeletePrompt => prompts::delete(call).await,
        Op::ListAgents => agents::list(call).await,
        Op::MyAgent => agents::mine(call).await,
        Op::SetMyState => agents::set_mine(call).await,
        Op::BeatMyHeart => agents::beat(call).await,
        Op::MyWrapUp => agents::wrap_up(call).await,
        Op::DeclineMyOffer => agents::decline(call).await,
        Op::SetAgentState => agents::set(call).await,
        Op::ListQueueStates => agents::queue_states(call).await,
        Op::ListContacts => contacts::list(call).await,
        Op::GetContact => contacts::get(call).await,
        Op::TraceContact => contacts::trace(call).await,
        Op::WhyContact => contacts::why(call).await,
        Op::ReplayContact => decisions::replay(call).await,
        Op::WhatIf => decisions::whatif(call).await,
        Op::ListAlarms => decisions::alarms(call).await,
        Op::EndContact => contacts::end(call).await,
        Op::ActOnContact => floor::act(call).await,
        Op::RequestCallback => floor::call_back(call).await,
        Op::ListContactRecordings => contacts::recordings(call).await,
        Op::ListRecordings => contacts::all_recordings(call).await,
        Op::LinkRecording => contacts::link(call).await,
        Op::CreateTicket => tickets::create(call).await,
        Op::ListTickets => tickets::list(call).await,
        Op::GetTicket => tickets::get(call).await,
        Op::ActOnTicket => tickets::act(call).await,
        Op::ExplainTicket => tickets::explain(call).await,
        Op::TicketHistory => tickets::history(call).await,
        Op::Summary => reports::summary(call).await,
        Op::GetSettings => settings::get(call).await,
        Op::PutSettings => settings::put(call).await,
        Op::ListFloods => settings::floods(call).await,
        Op::AgentReport => reports::agents(call).await,
    }
}
