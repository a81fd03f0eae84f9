//! Endpoints joined by a virtual network.

mod accounts;
mod flows;
mod gateways;
mod net;
mod phases;
mod races;
mod reasons;
mod transports;
