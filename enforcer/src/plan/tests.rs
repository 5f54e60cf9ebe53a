//! Cases of the planner.
