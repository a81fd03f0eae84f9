//! Session timers (RFC 4028).

use std::time::{Duration, Instant};

use super::Endpoint;
use super::call::{Call, Phase, Reinvite, SessionTimer};
use super::layer::Purpose;
use super::timer::CallTimer;
use crate::api::{CallHandle, Event, Header};
use crate::message::{Message, Name};

/// The least interval (RFC 4028 §5).
const MIN_SE_S: u32 = 90;

/// 422 where the interval asked for is too small (RFC 4028 §9).
pub(super) fn too_brief(message: &Message) -> Option<(u16, Vec<(&'static str, String)>)> {
    let asked = message.number(Name::SessionExpires)?;
    (asked < MIN_SE_S).then(|| (422, vec![("Min-SE", MIN_SE_S.to_string())]))
}

/// Who refreshes, as a Session-Expires value says.
fn refresher(message: &Message) -> Option<bool> {
    let value = message.header(Name::SessionExpires)?;
    let (_, params) = crate::uri::cut(value, b';');
    let param = crate::uri::Params::new(params?).filter_map(Result::ok).find(|p| p.is("refresher"))?;
    Some(param.value?.eq_ignore_ascii_case(b"uac"))
}

/// What our 200 says about refreshing, and what was agreed by it (RFC 4028 §9).
pub(super) fn agree(request: &Message) -> (Vec<Header>, Option<SessionTimer>) {
    let Some(seconds) = request.number(Name::SessionExpires) else {
        return (Vec::new(), None);
    };
    let peer_can = request.has_token(Name::Supported, "timer");
    let by_uac = peer_can && refresher(request).unwrap_or(true);
    let mut headers =
        vec![("Session-Expires".to_owned(), format!("{seconds};refresher={}", if by_uac { "uac" } else { "uas" }))];
    if by_uac {
        headers.push(("Require".to_owned(), "timer".to_owned()));
    }
    let interval = Duration::from_secs(u64::from(seconds));
    (headers, Some(SessionTimer { interval, we_refresh: !by_uac }))
}

/// What a 2xx to our request says (RFC 4028 §7.2).
pub(super) fn agreed(response: &Message) -> Option<SessionTimer> {
    let seconds = response.number(Name::SessionExpires)?.max(MIN_SE_S);
    let we_refresh = refresher(response).unwrap_or(true);
    Some(SessionTimer { interval: Duration::from_secs(u64::from(seconds)), we_refresh })
}

impl Endpoint {
    /// The headers of our own INVITE and refreshes.
    pub(super) fn session_headers(&self, call: Option<&Call>, min_se_s: Option<u32>) -> Vec<(&'static str, String)> {
        let agreed = call.and_then(|c| c.session).map(|s| s.interval);
        let Some(interval) = agreed.or(self.config.timers.session_expires) else {
            return Vec::new();
        };
        let seconds = (interval.as_secs() as u32).max(min_se_s.unwrap_or(MIN_SE_S));
        let mut value = seconds.to_string();
        if agreed.is_some() {
            value += ";refresher=uac";
        }
        vec![("Session-Expires", value), ("Min-SE", min_se_s.unwrap_or(MIN_SE_S).to_string())]
    }

    /// Starts the clock anew after a 2xx (RFC 4028 §10).
    pub(super) fn restart_session(&mut self, now: Instant, handle: CallHandle, session: Option<SessionTimer>) {
        let Some(call) = self.calls.get_mut(&handle) else {
            return;
        };
        call.session = session;
        *call.deadline(CallTimer::Refresh) = None;
        *call.deadline(CallTimer::Expired) = None;
        let Some(session) = session else { return };
        if session.we_refresh {
            self.arm_call(handle, CallTimer::Refresh, now + session.interval / 2);
        } else {
            let margin = (session.interval / 3).min(Duration::from_secs(32));
            self.arm_call(handle, CallTimer::Expired, now + session.interval - margin);
        }
    }

    /// Half of the interval is over: UPDATE where the peer allows it, else a re-INVITE.
    pub(super) fn refresh_session(&mut self, now: Instant, handle: CallHandle) {
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        if call.phase != Phase::Up {
            return;
        }
        if call.reinvite.is_some() || call.reoffer.is_some() || call.ok.is_some() {
            self.arm_call(handle, CallTimer::Refresh, now + Duration::from_secs(5));
            return;
        }
        let headers = self.session_headers(Some(call), None);
        if call.peer.update {
            self.send_in_dialog(now, handle, "UPDATE", Purpose::Refresh, headers, None);
            return;
        }
        let sdp = call.local_sdp.clone();
        let tx =
            self.send_in_dialog(now, handle, "INVITE", Purpose::Reinvite, headers, Some(("application/sdp", &sdp)));
        if let Some(call) = self.calls.get_mut(&handle) {
            call.reinvite = Some(Reinvite { tx, sdp, refresh: true, authorized: false });
        }
    }

    /// The dialog is dead on the other side: BYE, and the event.
    pub(super) fn end_dead(&mut self, now: Instant, handle: CallHandle, fault: &'static str) {
        let Some(call) = self.calls.get(&handle) else {
            return;
        };
        let silent = call.silent || call.phase == Phase::Ending;
        self.bye(now, handle);
        if !silent {
            self.event(Event::Ended { call: handle, by_peer: false, fault: Some(fault), reasons: Vec::new() });
        }
    }
}
