//! hotline-sim.
