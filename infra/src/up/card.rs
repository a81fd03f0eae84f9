//! The card that `up` prints at its end.

use super::Endpoints;
use crate::place::Place;

/// What a person needs to place a call.
pub fn print(place: &Place, endpoints: &Endpoints) {
    let number = endpoints.did.trim_start_matches('+');
    println!();
    println!("  ┌─ Hotline is up ───────────────────────────────────────────────────────");
    println!("  │ Dial      {}   (sip:{number}@{}, UDP or TCP)", endpoints.did, endpoints.sip);
    if let Some(address) = endpoints.browsers.first() {
        println!("  │ Browsers  {address}   (SIP over WebSocket)");
    }
    for user in endpoints.users.iter().filter(|u| u.role == "agent") {
        if let Some(sip) = &user.sip {
            println!("  │ Agent     {}   SIP user {}   password {}", user.name, sip.user, sip.password);
        }
    }
    println!("  │ API       {}", endpoints.api);
    println!("  │ WebSocket {}", endpoints.websocket);
    if let Ok(admin) = endpoints.user("admin") {
        println!("  │ Sign in   {}   password {}", admin.name, admin.password);
    }
    println!("  │");
    println!("  │ Hear it now, without a phone:   ./hotline call");
    println!("  │ For scripts: {}", place.local("endpoints.json").display());
    println!("  └───────────────────────────────────────────────────────────────────────");
}
