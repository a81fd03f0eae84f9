//! `hotline trace`: what happened to a contact, with times.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::client::{Client, encode};
use crate::place::Place;
use crate::up::Endpoints;

/// What `trace` may be asked for.
#[derive(clap::Args, Debug)]
pub struct TraceOptions {
    /// The contact's id (con_…); without it: the newest contacts
    pub contact: Option<String>,
    /// Callers whose calls were not let in lately: too many of them, or of the tenant
    #[arg(long, conflicts_with = "contact")]
    pub refused: bool,
    /// The API's answer as it is
    #[arg(long)]
    pub json: bool,
}

/// Prints a contact's ladder, or lists the newest contacts.
pub fn run(place: &Place, options: &TraceOptions) -> Result<()> {
    let api = supervisor(place)?;
    let Some(contact) = &options.contact else {
        let page = api.get(if options.refused { "/v1/floods?limit=50" } else { "/v1/contacts?limit=15" })?;
        if options.json {
            println!("{page:#}");
            return Ok(());
        }
        for contact in items(&page) {
            println!("{}", summary(contact));
        }
        if items(&page).next().is_none() {
            match options.refused {
                true => println!("No call was refused within the last week."),
                false => println!("No contact yet. Place one with `hotline call`."),
            }
        }
        return Ok(());
    };
    let trace = api.get(&format!("/v1/contacts/{}/trace", encode(contact)))?;
    if options.json {
        println!("{trace:#}");
        return Ok(());
    }
    print_ladder(&trace);
    Ok(())
}

/// Why the contact went to whom it went.
pub fn why(place: &Place, contact: &str) -> Result<()> {
    let answer = supervisor(place)?.get(&format!("/v1/contacts/{}/why", encode(contact)))?;
    let decisions: Vec<&Value> = answer["decisions"].as_array().into_iter().flatten().collect();
    if decisions.is_empty() {
        println!("No agent was ever matched with this contact.");
    }
    for decision in decisions {
        let agrees = if decision["replay_agrees"] == true { "replayed: the same" } else { "replayed: DIFFERENT" };
        println!("queue {}   offer {}   {agrees}", text(&decision["queue"]), text(&decision["offer"]));
        for line in decision["lines"].as_array().into_iter().flatten() {
            println!("  {}", text(line));
        }
    }
    Ok(())
}

/// A session of the demo's supervisor.
pub fn supervisor(place: &Place) -> Result<Client> {
    let endpoints = Endpoints::read(place)?;
    let user = endpoints.user("supervisor")?;
    Client::new(&endpoints.api).sign_in(&user.name, &user.password).context("is the hotline up? `hotline status` tells")
}

/// The ladder lines of a trace.
pub fn print_ladder(trace: &Value) {
    for line in trace["ladder"].as_array().into_iter().flatten() {
        println!("  {}", text(line));
    }
}

/// The items of a page.
pub fn items(page: &Value) -> impl Iterator<Item = &Value> {
    page["items"].as_array().into_iter().flatten()
}

fn summary(contact: &Value) -> String {
    let id = text(if contact["id"].is_null() { &contact["contact"] } else { &contact["id"] });
    let mut line = id;
    for (name, value) in contact.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "id" | "contact") && !value.is_null() && !value.is_object() && !value.is_array() {
            line.push_str(&format!("  {name} {}", text(value)));
        }
    }
    line
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
