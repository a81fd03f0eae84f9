//! Bad networks on one machine: two network namespaces, and between them a wire that loses, delays,
//! repeats and reorders packets as a seed says; or several around a hub, that can be cut off ([`Star`]). And a disk
//! that can be full ([`Disk`]).
//!
//! The wire does in a thread what `tc netem` does in kernels that have it; so the same weather comes
//! everywhere, from the same seed. It needs root (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`, `CAP_NET_RAW`) and
//! the `ip` program (Debian package `iproute2`). Everything is gone with the process.

mod disk;
mod place;
mod star;
mod wire;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

pub use disk::Disk;
pub use place::Place;
pub use star::Star;
pub use wire::{Counts, Weather};

use wire::Wire;

/// Two places with a wire between them.
pub struct World {
    /// Where the node is.
    pub node: Place,
    /// Where callers and agents are.
    pub phones: Place,
    weather: Arc<Mutex<Weather>>,
    wire: Wire,
}

impl World {
    /// The node's address.
    pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The phones' address.
    pub const PHONES: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// Makes both and the wire, in fine weather.
    ///
    /// # Errors
    /// What is missing, with the remedy.
    pub fn new(seed: u64) -> Result<World> {
        let (node, phones, between) = (Place::new("node")?, Place::new("phones")?, Place::new("between")?);
        let (to_node, to_phones) = (node.handle(), phones.handle());
        between.run(move || {
            place::ip(&["link", "add", "far0", "type", "veth", "peer", "name", "near0"])?;
            place::ip(&["link", "add", "far1", "type", "veth", "peer", "name", "near1"])?;
            place::ip(&["link", "set", "far0", "netns", &to_node])?;
            place::ip(&["link", "set", "far1", "netns", &to_phones])?;
            place::ip(&["link", "set", "near0", "up"])?;
            place::ip(&["link", "set", "near1", "up"])
        })?;
        for (place, link, address) in [(&node, "far0", World::NODE), (&phones, "far1", World::PHONES)] {
            place.run(move || {
                place::ip(&["address", "add", &format!("{address}/24"), "dev", link])?;
                place::ip(&["link", "set", "lo", "up"])?;
                place::ip(&["link", "set", link, "up"])
            })?;
        }
        let weather = Arc::new(Mutex::new(Weather::default()));
        let of_wire = weather.clone();
        let wire = between.run(move || Wire::start(["near0", "near1"], of_wire, seed))?;
        Ok(World { node, phones, weather, wire })
    }

    /// Changes the weather, in both directions.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// What the wire did so far.
    pub fn counts(&self) -> Counts {
        self.wire.counts()
    }
}
