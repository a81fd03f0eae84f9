//! OPTIONS outside a dialog (RFC 3261 §11): is a peer there?

use std::time::Instant;

use super::layer::Owner;
use super::send::Request;
use super::{CommandError, Endpoint};
use crate::api::{CallHandle, Path};
use crate::draft::clean;
use crate::uri::{parse_name_addr, parse_uri};

impl Endpoint {
    pub(super) fn ping(
        &mut self,
        now: Instant,
        call: CallHandle,
        uri: String,
        path: Path,
        from: &str,
    ) -> Result<(), CommandError> {
        if !clean(&uri) || parse_uri(uri.as_bytes()).is_err() {
            return Err(CommandError::BadField { field: "uri", remedy: "write a sip: or sips: URI without <>" });
        }
        if !clean(from) || !parse_name_addr(from.as_bytes()).is_ok_and(|a| a.param("tag").is_none()) {
            return Err(CommandError::BadField { field: "from", remedy: "write a name-addr without tag" });
        }
        if self.transactions_in_progress() >= self.config.limits.transactions {
            return Err(CommandError::Full);
        }
        self.next_call = self.next_call.max(call.0.saturating_add(1));
        let request = Request {
            method: "OPTIONS",
            to: format!("<{uri}>").into(),
            routes: Vec::new(),
            from: format!("{from};tag={:x}", self.entropy.next_u64()).into(),
            call_id: self.fresh_call_id(),
            cseq: 1,
            path,
            contact: Some(self.contact(path, uri.as_bytes())),
            headers: vec![("Accept", "application/sdp".to_owned())],
            body: None,
            uri: uri.into(),
        };
        self.send_request(now, Owner::Ping(call), request);
        Ok(())
    }
}
