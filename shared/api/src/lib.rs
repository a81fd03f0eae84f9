//! The HTTP and WebSocket API over the use-cases: routes, roles, paging, problems. No I/O of
//! its own, no cloud: a shell maps its gateway's events to [`ApiRequest`] and back.

mod call;
mod handlers;
mod idempotency;
pub mod openapi;
mod reply;
mod request;
pub mod route;
pub mod ws;

pub use request::{ApiRequest, ApiResponse, Principal};

use hotline_base::limits::{BODY_BYTES, PROMPT_BYTES};
use hotline_base::{TenantId, UserId};
use hotline_service::accounts::{USER, User};
use hotline_service::{Service, config};
use hotline_wire::api::Role;
use hotline_wire::problem::{ErrorKind, Problem};

use call::Call;
use idempotency::Begin;
use reply::{Failure, Reply};
use route::{Access, Body, Found, Route};

/// Answers one request. `who`: the principal of a verified token; `None` where there was none.
pub async fn handle(service: &Service, who: Option<Principal>, request: ApiRequest) -> ApiResponse {
    let (route, params) = match route::find(&request.method, &request.path) {
        Found::Route(route, params) => (route, params),
        Found::OtherMethods(methods) => {
            let allowed = methods.join(", ");
            let detail = format!("{} is not for this path; it takes {allowed}", shown(&request.method));
            let problem = Problem::new(ErrorKind::MethodNotAllowed, "method-not-allowed", detail);
            let mut response = ApiResponse::from(&problem);
            response.headers.insert("allow".into(), allowed);
            return response;
        }
        Found::Nothing => {
            let detail = "there is no such path; openapi.json lists all";
            return ApiResponse::from(&Problem::new(ErrorKind::NotFound, "no-such-path", detail));
        }
    };
    let result = match enter(service, who, &route, &request).await {
        Ok(who) => {
            let call = Call { service, who, request: &request, params };
            once(&call, &route).await
        }
        Err(failure) => Err(failure),
    };
    let response = match result {
        Ok(response) => response,
        Err(failure) => {
            let status = failure.problem.status;
            if let Some(cause) = &failure.cause {
                tracing::error!(method = route.method, path = route.path, status, cause, "request failed");
            }
            ApiResponse::from(failure.problem.as_ref())
        }
    };
    tracing::info!(method = route.method, path = route.path, status = response.status, "answered");
    response
}

fn shown(method: &str) -> String {
    method.chars().filter(char::is_ascii_alphabetic).take(10).collect()
}

/// Who comes in: the principal, where the route lets it.
async fn enter(
    service: &Service,
    who: Option<Principal>,
    route: &Route,
    request: &ApiRequest,
) -> Result<Principal, Failure> {
    let most = if route.takes == Body::Wav { PROMPT_BYTES } else { BODY_BYTES };
    if request.body.len() > most {
        let detail = format!("the body has {} bytes; at most {most} are accepted", request.body.len());
        return Err(Problem::new(ErrorKind::TooLarge, "body-too-large", detail).into());
    }
    if route.access == Access::Public {
        let nobody = UserId::from_u128(0);
        return Ok(Principal { tenant: TenantId::PLATFORM, role: Role::Agent, user: nobody });
    }
    let Some(who) = who else {
        let detail = "send Authorization: Bearer with the id_token of POST /v1/sign-in";
        return Err(Problem::new(ErrorKind::Unauthenticated, "not-signed-in", detail).into());
    };
    // An operator belongs to no tenant, and nobody else to the platform.
    if (who.role == Role::Operator) != (who.tenant == TenantId::PLATFORM) {
        return Err(
            Problem::new(ErrorKind::Unauthenticated, "not-signed-in", "this token is not good; sign in again").into()
        );
    }
    if who.role != Role::Operator {
        let user = config::cached::<User>(service, who.tenant, USER, &who.user.to_string()).await?;
        if !user.is_some_and(|user| user.active) {
            let detail = "this access was ended; ask an administrator";
            return Err(Problem::new(ErrorKind::Unauthenticated, "access-ended", detail).into());
        }
    }
    if !route.access.allows(who.role) {
        let detail = format!("{} may not do this", who.role.as_str());
        return Err(Problem::new(ErrorKind::Forbidden, "forbidden", detail).into());
    }
    Ok(who)
}

/// Does it, once per idempotency key.
async fn once(call: &Call<'_>, route: &Route) -> Result<ApiResponse, Failure> {
    let keyed = route.method != "GET" && route.access != Access::Public;
    let begin = if keyed { idempotency::begin(call.service, &call.who, call.request).await? } else { Begin::NoKey };
    let claim = match begin {
        Begin::Again(response) => return Ok(response),
        Begin::NoKey => None,
        Begin::First(claim) => Some(claim),
    };
    let answer: Result<Reply, Failure> = handlers::dispatch(call, route.op).await;
    if let Some(claim) = claim {
        idempotency::end(call.service, &call.who, claim, &answer).await;
    }
    answer.map(ApiResponse::from)
}
