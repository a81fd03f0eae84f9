//! Endpoints joined by a virtual network.

mod accounts;
mod flows;
mod net;
mod phases;
mod races;
