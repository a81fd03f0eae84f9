//! What the local cloud leaves out of a deployment: HTTP API CORS is stored but inert until an
//! update of the API names it again.

use anyhow::{Context, Result};
use serde_json::json;

/// Sends the API's CORS settings to the local cloud once more. `origins`: comma-separated.
pub fn repair(endpoint: &str, api: &str, origins: &str) -> Result<()> {
    let body = json!({"corsConfiguration": {
        "allowOrigins": origins.split(',').collect::<Vec<_>>(),
        "allowMethods": ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        "allowHeaders": ["authorization", "content-type", "idempotency-key", "if-match"],
        "exposeHeaders": ["etag", "location", "retry-after"],
        "maxAge": 600,
    }});
    let url = format!("{}/v2/apis/{api}", endpoint.trim_end_matches('/'));
    ureq::patch(&url)
        .header("content-type", "application/json")
        .send(body.to_string())
        .context("updating the API's CORS")?;
    Ok(())
}
