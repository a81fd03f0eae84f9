//! Business calendars and the SLA clock, both of which explain themselves.
//!
//! A [`Calendar`] says when a tenant works (time zone, weekly hours, holidays); a [`Policy`]
//! promises a response and a resolution per priority; a [`Clock`] runs one promise and knows
//! its deadline; [`explain`] tells a person how that deadline came about.

mod calendar;
mod clock;
mod draft;
mod explain;
mod policy;
#[cfg(test)]
mod testing;

pub use calendar::{Calendar, HORIZON_DAYS, Hours};
pub use clock::{Clock, Goal, Phase, Run};
pub use draft::{CalendarDraft, HolidayDraft, HoursDraft};
pub use explain::{Explanation, explain};
pub use policy::{Basis, Policy, Priority, Target, Targets, Tier};
