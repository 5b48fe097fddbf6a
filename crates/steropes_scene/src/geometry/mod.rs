//! Estimates of single cameras and poses from points.

pub mod focal;
